//! The signatures of an update, and who each is shown to be by.

use std::fmt;

use alloy_primitives::{Signature as EthereumSignature, eip191_hash_message};
use ed25519_dalek::VerifyingKey;
use sha2::{Digest, Sha256, Sha512};
use tidings_types::EthereumAddress;

use super::contract::{ContractClaim, ContractVerdict, ContractWallets};
use super::{
    AssociationError, Identifier, InstallationKey, Member, PasskeyAssertion, SignatureText,
};

/// The context string of installations' signatures over updates (Ed25519ph, RFC 8032 §5.1).
const INSTALLATION_CONTEXT: &[u8] = b"IDENTITY UPDATE SIGNATURE";

/// The kinds of signature; each stands for one kind of member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureKind {
    /// An Ethereum account's over the EIP-191 form of the text.
    Eip191,
    /// A contract wallet's.
    Contract,
    /// An installation's.
    Installation,
    /// A passkey's.
    Passkey,
}

impl fmt::Display for SignatureKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Eip191 => "eip-191",
            Self::Contract => "contract wallet",
            Self::Installation => "installation",
            Self::Passkey => "passkey",
        })
    }
}

/// A contract wallet's signature, not judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractSignature {
    /// The wallet.
    pub account: EthereumAddress,
    /// The EIP-155 id of its chain.
    pub chain_id: u64,
    /// The block at whose state it is to be judged.
    pub block_number: u64,
    /// The signature, at most [`super::CONTRACT_SIGNATURE_BYTES_MAX`] bytes.
    pub signature: Vec<u8>,
}

/// One signature of an update, in its form and not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// `r`, `s` and recovery id over secp256k1; its signer is recovered.
    Eip191([u8; 65]),
    /// By a contract wallet.
    Contract(ContractSignature),
    /// Ed25519ph over the text by an installation's key.
    Installation {
        /// Who signed.
        key: InstallationKey,
        /// `R` and `s`.
        bytes: [u8; 64],
    },
    /// By a passkey.
    Passkey(PasskeyAssertion),
}

/// What tells a signature from all others, whichever way it is encoded, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplayKey([u8; 32]);

impl ReplayKey {
    fn new(kind: SignatureKind, canonical: &[u8]) -> Self {
        Self(Sha256::new().chain_update([kind as u8]).chain_update(canonical).finalize().into())
    }
}

impl fmt::Debug for ReplayKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ReplayKey({})", hex::encode(self.0))
    }
}

/// A verified signature: who consented, for an account of a contract on which chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub(super) signer: Member,
    pub(super) chain_id: Option<u64>,
    pub(super) replay_key: ReplayKey,
}

impl Signed {
    /// Who signed.
    #[must_use]
    pub const fn signer(&self) -> &Member {
        &self.signer
    }

    /// The chain of the contract that consented; none for any other signer.
    #[must_use]
    pub const fn chain_id(&self) -> Option<u64> {
        self.chain_id
    }
}

impl Signature {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> SignatureKind {
        match self {
            Self::Eip191(_) => SignatureKind::Eip191,
            Self::Contract(_) => SignatureKind::Contract,
            Self::Installation { .. } => SignatureKind::Installation,
            Self::Passkey(_) => SignatureKind::Passkey,
        }
    }

    /// Who consented to `text` by it.
    pub(super) fn verify<W: ContractWallets + ?Sized>(
        &self,
        text: &SignatureText,
        wallets: &W,
    ) -> Result<Signed, AssociationError> {
        let (signer, chain_id, canonical) = match self {
            Self::Eip191(bytes) => {
                let (address, canonical) = recover(bytes, text).ok_or_else(|| self.invalid())?;
                (Identifier::Ethereum(address).into(), None, canonical.to_vec())
            }
            Self::Contract(signature) => {
                judge(signature, text, wallets)?;
                let signer = Identifier::Ethereum(signature.account).into();
                (signer, Some(signature.chain_id), signature.signature.clone())
            }
            Self::Installation { key, bytes } => {
                verify_installation(*key, bytes, text).ok_or_else(|| self.invalid())?;
                (Member::Installation(*key), None, bytes.to_vec())
            }
            Self::Passkey(assertion) => {
                let canonical = assertion.verify(text)?;
                (Identifier::Passkey(assertion.key().clone()).into(), None, canonical.to_vec())
            }
        };
        Ok(Signed { signer, chain_id, replay_key: ReplayKey::new(self.kind(), &canonical) })
    }

    const fn invalid(&self) -> AssociationError {
        AssociationError::SignatureInvalid { kind: self.kind() }
    }
}

/// The account that signed `text`, and the signature with low `s` and recovery id 0 or 1.
fn recover(bytes: &[u8; 65], text: &SignatureText) -> Option<(EthereumAddress, [u8; 65])> {
    // Wallets write 0, 1, 27 or 28; the library would also take EIP-155's.
    let [.., 0 | 1 | 27 | 28] = bytes else { return None };
    let signature = EthereumSignature::from_raw_array(bytes).ok()?.normalized_s();
    let digest = eip191_hash_message(text.as_str());
    let address = signature.recover_address_from_prehash(&digest).ok()?;
    Some((EthereumAddress(address.into_array()), signature.as_rsy()))
}

fn judge<W: ContractWallets + ?Sized>(
    signature: &ContractSignature,
    text: &SignatureText,
    wallets: &W,
) -> Result<(), AssociationError> {
    let ContractSignature { account, chain_id, .. } = *signature;
    match wallets.judge(&ContractClaim::new(signature, text)) {
        ContractVerdict::Valid => Ok(()),
        ContractVerdict::Invalid => {
            Err(AssociationError::SignatureInvalid { kind: SignatureKind::Contract })
        }
        ContractVerdict::Unavailable => {
            Err(AssociationError::ContractWalletUnavailable { account, chain_id })
        }
        ContractVerdict::Unsupported => {
            Err(AssociationError::ContractWalletUnsupported { account, chain_id })
        }
    }
}

/// Stricter than clients on keys of small order, which sign any text.
fn verify_installation(key: InstallationKey, bytes: &[u8; 64], text: &SignatureText) -> Option<()> {
    let key = VerifyingKey::from_bytes(&key.0).ok()?;
    let signature = ed25519_dalek::Signature::from_bytes(bytes);
    let prehash = Sha512::new().chain_update(text.as_str());
    key.verify_prehashed_strict(prehash, Some(INSTALLATION_CONTEXT), &signature).ok()
}
