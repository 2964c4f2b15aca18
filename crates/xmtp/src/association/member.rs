//! Who can belong to an inbox, and how they are named in text.

use std::fmt;

use p256::ecdsa::VerifyingKey;
use tidings_types::{EthereumAddress, sha256};

use super::{AssociationError, wire};

/// The kinds of member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberKind {
    /// An Ethereum account, of a key or of a contract.
    Ethereum,
    /// A passkey over P-256.
    Passkey,
    /// An app on a device.
    Installation,
}

/// An installation's Ed25519 public key, 32 bytes; may be any bytes until a signature verifies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstallationKey(pub [u8; 32]);

impl fmt::Display for InstallationKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for InstallationKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "InstallationKey({self})")
    }
}

/// A passkey's P-256 public key in one of its SEC 1 forms, 33 or 65 bytes.
///
/// The two forms of one key are two members, as XMTP has it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PasskeyKey(Box<[u8]>);

impl PasskeyKey {
    /// The key in `bytes`.
    ///
    /// # Errors
    /// [`AssociationError::PasskeyMalformed`] when they are no point in compressed or
    /// uncompressed form.
    pub fn parse(bytes: &[u8]) -> Result<Self, AssociationError> {
        let form_is_known =
            matches!((bytes.first(), bytes.len()), (Some(2 | 3), 33) | (Some(4), 65));
        match form_is_known && VerifyingKey::from_sec1_bytes(bytes).is_ok() {
            true => Ok(Self(bytes.into())),
            false => Err(AssociationError::PasskeyMalformed),
        }
    }

    /// The key as it was given.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for PasskeyKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for PasskeyKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PasskeyKey({self})")
    }
}

/// What people are found by: a member that is not an installation.
///
/// Its text is what inbox ids are made of and what look-ups ask for: `0x` and 40 lower-case
/// digits, or a passkey in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identifier {
    /// An Ethereum account.
    Ethereum(EthereumAddress),
    /// A passkey.
    Passkey(PasskeyKey),
}

impl Identifier {
    /// The Ethereum account with this address.
    ///
    /// # Errors
    /// [`AssociationError::AddressMalformed`] unless `text` is `0x` and 40 lower-case hex digits:
    /// any other form would never equal a signer, and the text is signed as it is.
    pub fn ethereum(text: &str) -> Result<Self, AssociationError> {
        match text.parse::<EthereumAddress>() {
            Ok(address) if address.to_string() == text => Ok(Self::Ethereum(address)),
            _ => Err(AssociationError::AddressMalformed),
        }
    }

    /// What a look-up asks for, where an address may be in checksum case.
    ///
    /// `kind` is a number of `IdentifierKind` on the wire.
    ///
    /// # Errors
    /// As [`Self::ethereum`] and [`Self::passkey`], and
    /// [`AssociationError::IdentifierKindUnknown`].
    pub fn lookup(text: &str, kind: i32) -> Result<Self, AssociationError> {
        wire::identifier(&text.to_ascii_lowercase(), kind)
    }

    /// The passkey with this key in hex.
    ///
    /// # Errors
    /// [`AssociationError::PasskeyMalformed`] when `text` is not the hex form of a key.
    pub fn passkey(text: &str) -> Result<Self, AssociationError> {
        // The longest key has 65 bytes; longer text is not worth decoding.
        let bytes = (text.len() <= 130).then(|| hex::decode(text));
        match bytes {
            Some(Ok(bytes)) => PasskeyKey::parse(&bytes).map(Self::Passkey),
            _ => Err(AssociationError::PasskeyMalformed),
        }
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> MemberKind {
        match self {
            Self::Ethereum(_) => MemberKind::Ethereum,
            Self::Passkey(_) => MemberKind::Passkey,
        }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ethereum(address) => address.fmt(formatter),
            Self::Passkey(key) => key.fmt(formatter),
        }
    }
}

/// One that belongs to an inbox and can sign for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// An Ethereum account or a passkey.
    Identifier(Identifier),
    /// An installation.
    Installation(InstallationKey),
}

impl Member {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> MemberKind {
        match self {
            Self::Identifier(identifier) => identifier.kind(),
            Self::Installation(_) => MemberKind::Installation,
        }
    }

    /// What it is found by; `None` for an installation.
    #[must_use]
    pub const fn identifier(&self) -> Option<&Identifier> {
        match self {
            Self::Identifier(identifier) => Some(identifier),
            Self::Installation(_) => None,
        }
    }

    /// Its key, for an installation.
    #[must_use]
    pub const fn installation(&self) -> Option<InstallationKey> {
        match self {
            Self::Identifier(_) => None,
            Self::Installation(key) => Some(*key),
        }
    }
}

impl From<Identifier> for Member {
    fn from(identifier: Identifier) -> Self {
        Self::Identifier(identifier)
    }
}

impl From<InstallationKey> for Member {
    fn from(key: InstallationKey) -> Self {
        Self::Installation(key)
    }
}

impl fmt::Display for Member {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identifier(identifier) => identifier.fmt(formatter),
            Self::Installation(key) => key.fmt(formatter),
        }
    }
}

/// Names an XMTP inbox: the hash of its first identifier and a nonce, 32 bytes.
///
/// Unlike Tidings' own inbox id it is a bare SHA-256; written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboxId(pub [u8; 32]);

impl InboxId {
    /// The id of the inbox that `first` opens under `nonce`.
    #[must_use]
    pub fn derive(first: &Identifier, nonce: u64) -> Self {
        Self(sha256(format!("{first}{nonce}").as_bytes()))
    }

    /// The id written as `text`.
    ///
    /// # Errors
    /// [`AssociationError::InboxIdMalformed`] unless it is 64 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Self, AssociationError> {
        let mut bytes = [0; 32];
        let id = hex::decode_to_slice(text, &mut bytes).map(|()| Self(bytes));
        match id {
            Ok(id) if id.to_string() == text => Ok(id),
            _ => Err(AssociationError::InboxIdMalformed),
        }
    }
}

impl fmt::Display for InboxId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for InboxId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "InboxId({self})")
    }
}
