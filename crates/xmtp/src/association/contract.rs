//! Contract wallets, which only their chain can judge.

use alloy_primitives::eip191_hash_message;
use tidings_types::{EthereumAddress, Hash};

use super::{AssociationError, ContractSignature, SignatureText};

/// What a chain is asked: whether the wallet takes the signature, by ERC-6492 with ERC-1271.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContractClaim<'a> {
    /// The wallet.
    pub account: EthereumAddress,
    /// The EIP-155 id of its chain.
    pub chain_id: u64,
    /// The block at whose state the client wants it judged.
    pub block_number: u64,
    /// The EIP-191 (version `0x45`) hash of the update's text.
    pub digest: Hash,
    /// The signature, in whatever form the contract takes.
    pub signature: &'a [u8],
}

impl<'a> ContractClaim<'a> {
    pub(super) fn new(signature: &'a ContractSignature, text: &SignatureText) -> Self {
        Self {
            account: signature.account,
            chain_id: signature.chain_id,
            block_number: signature.block_number,
            digest: eip191_hash_message(text.as_str()).0,
            signature: &signature.signature,
        }
    }
}

/// What is known about a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContractVerdict {
    /// The contract takes the signature.
    Valid,
    /// The contract refuses it, or there is none.
    Invalid,
    /// The chain did not answer; it may later.
    Unavailable,
    /// The chain is not read here.
    Unsupported,
}

/// What judges contract wallets' signatures.
///
/// A shell asks the chains about [`super::ParsedUpdate::contract_claims`] first and answers from
/// what it learnt, so that verification itself does no I/O.
pub trait ContractWallets {
    /// What is known about `claim`.
    fn judge(&self, claim: &ContractClaim<'_>) -> ContractVerdict;
}

/// Of an edge that reads no chain.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoContractWallets;

impl ContractWallets for NoContractWallets {
    fn judge(&self, _: &ContractClaim<'_>) -> ContractVerdict {
        ContractVerdict::Unsupported
    }
}

/// Of a log that was judged before it was ordered: a wallet's signers change, so a signature is
/// judged once, and everyone who replays the log takes it as valid.
#[derive(Debug, Clone, Copy, Default)]
pub struct JudgedContractWallets;

impl ContractWallets for JudgedContractWallets {
    fn judge(&self, _: &ContractClaim<'_>) -> ContractVerdict {
        ContractVerdict::Valid
    }
}

/// An account on an Ethereum chain, from its CAIP-10 id.
pub(super) fn parse_account_id(text: &str) -> Result<(EthereumAddress, u64), AssociationError> {
    let parse = || {
        let (chain, address) = text.strip_prefix("eip155:")?.split_once(':')?;
        let chain_id = chain.parse::<u64>().ok().filter(|id| id.to_string() == chain)?;
        let digits = address.strip_prefix("0x")?;
        let mut bytes = [0; 20];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        Some((EthereumAddress(bytes), chain_id))
    };
    parse().ok_or(AssociationError::AccountIdMalformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_ids_are_canonical() {
        let address = "0x1234567890AbcdEF1234567890aBcdef12345678";
        let account = EthereumAddress(hex_literal(address));
        let id = |chain: &str| format!("{chain}:{address}");
        assert_eq!(parse_account_id(&id("eip155:1")), Ok((account, 1)));
        assert_eq!(parse_account_id(&id("eip155:18446744073709551615")), Ok((account, u64::MAX)));
        for chain in ["eip155:", "eip155:01", "eip155:+1", "eip155:0x1", "EIP155:1", "cosmos:1"] {
            assert_eq!(parse_account_id(&id(chain)), Err(AssociationError::AccountIdMalformed));
        }
        for id in ["", "eip155", "eip155:1", "eip155:1:", "eip155:1:0x12", "eip155:1:1:0x12"] {
            assert_eq!(parse_account_id(id), Err(AssociationError::AccountIdMalformed), "{id}");
        }
    }

    fn hex_literal(address: &str) -> [u8; 20] {
        hex::decode(&address[2..]).unwrap().try_into().unwrap()
    }
}
