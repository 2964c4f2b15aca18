//! Who can belong to an inbox: identifiers on the wire and in text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidings_types::EthereumAddress;
use tidings_types::ed25519::PublicKey;
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::name::parse_address;

/// An identifier that can belong to an inbox or hold its recovery.
///
/// Members are ordered as their encodings are.
/// Contract wallets and passkeys have their place in the encoding and are refused as unknown
/// until their signatures can be checked (IDN-004).
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    TlsSize,
    TlsSerialize,
    TlsDeserializeBytes,
)]
#[repr(u8)]
pub enum Member {
    /// An account that a secp256k1 key controls.
    #[tls_codec(discriminant = 1)]
    EthereumAccount(EthereumAddress),
    /// One installed app: an Ed25519 key made there, which never leaves it.
    #[tls_codec(discriminant = 2)]
    Installation(PublicKey),
    /// A contract account; the chain is part of the identifier.
    #[tls_codec(discriminant = 3)]
    ContractWallet {
        /// EIP-155 id of the chain that holds the contract.
        chain_id: u64,
        /// The contract.
        address: EthereumAddress,
    },
    /// A P-256 public key in its 33-byte SEC 1 form.
    #[tls_codec(discriminant = 4)]
    Passkey([u8; 33]),
}

/// A text is not the form of a member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 0x…, installation:…, eip155:<chain>:0x… or passkey:…")]
pub struct ParseMemberError;

impl Member {
    /// Whether signatures of this kind can be checked (IDN-004).
    #[must_use]
    pub const fn is_supported(&self) -> bool {
        matches!(self, Self::EthereumAccount(_) | Self::Installation(_))
    }

    /// The installation's key, if this is one.
    #[must_use]
    pub const fn installation(&self) -> Option<PublicKey> {
        match self {
            Self::Installation(key) => Some(*key),
            _ => None,
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EthereumAccount(address) => write!(formatter, "{address}"),
            Self::Installation(key) => write!(formatter, "installation:{key}"),
            Self::ContractWallet { chain_id, address } => {
                write!(formatter, "eip155:{chain_id}:{address}")
            }
            Self::Passkey(key) => write!(formatter, "passkey:{}", hex::encode(key)),
        }
    }
}

impl FromStr for Member {
    type Err = ParseMemberError;

    fn from_str(text: &str) -> Result<Self, ParseMemberError> {
        let Some((kind, rest)) = text.split_once(':') else {
            return address(text).map(Self::EthereumAccount);
        };
        match kind {
            "installation" => rest.parse().map(Self::Installation).map_err(|_| ParseMemberError),
            "eip155" => {
                let (chain, account) = rest.split_once(':').ok_or(ParseMemberError)?;
                let chain_id = chain.parse().map_err(|_| ParseMemberError)?;
                Ok(Self::ContractWallet { chain_id, address: address(account)? })
            }
            "passkey" => {
                let mut key = [0; 33];
                hex::decode_to_slice(rest, &mut key).map_err(|_| ParseMemberError)?;
                Ok(Self::Passkey(key))
            }
            _ => Err(ParseMemberError),
        }
    }
}

fn address(text: &str) -> Result<EthereumAddress, ParseMemberError> {
    parse_address(text).map_err(|_| ParseMemberError)
}

impl Serialize for Member {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use tidings_types::Wire;

    use super::*;

    fn check(member: Member, text: &str, wire: &str) {
        assert_eq!(member.to_string(), text);
        assert_eq!(text.parse(), Ok(member));
        assert_eq!(hex::encode(member.to_wire()), wire);
        assert_eq!(Member::from_wire(&member.to_wire()), Ok(member));
    }

    #[test]
    fn every_kind_has_one_text_and_one_encoding() {
        // covers: IDN-004
        let address = EthereumAddress([0xab; 20]);
        let ab = "ab".repeat(20);
        check(Member::EthereumAccount(address), &format!("0x{ab}"), &format!("01{ab}"));
        let key = "11".repeat(32);
        let installation = Member::Installation(PublicKey([0x11; 32]));
        check(installation, &format!("installation:{key}"), &format!("02{key}"));
        let contract = Member::ContractWallet { chain_id: 10, address };
        check(contract, &format!("eip155:10:0x{ab}"), &format!("03000000000000000a{ab}"));
        let key = "02".repeat(33);
        check(Member::Passkey([2; 33]), &format!("passkey:{key}"), &format!("04{key}"));
    }

    #[test]
    fn other_texts_and_kinds_are_refused() {
        for text in ["", "0x12", "installation:", "eip155:0x00", "passkey:02", "lens:x"] {
            assert_eq!(text.parse::<Member>(), Err(ParseMemberError));
        }
        assert!(Member::from_wire(&[5; 21]).is_err());
    }
}
