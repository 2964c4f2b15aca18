//! What people type to say whom they mean: an inbox, an address, or a name to be resolved.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::Address;
use tidings_types::{EthereumAddress, InboxId};

/// A text is not an Ethereum address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseAddressError {
    /// The text is not `0x` and 40 hexadecimal digits.
    #[error("expected 0x and 40 hexadecimal digits")]
    Form,
    /// The case of the letters is not the EIP-55 checksum (IDN-020).
    #[error("the address does not match its checksum; is a letter mistyped?")]
    Checksum,
}

/// Reads an address; letters in both cases must form the EIP-55 checksum (IDN-020).
///
/// # Errors
/// [`ParseAddressError`] for any other text.
pub fn parse_address(text: &str) -> Result<EthereumAddress, ParseAddressError> {
    let digits = text.strip_prefix("0x").ok_or(ParseAddressError::Form)?;
    let address: EthereumAddress = digits.parse().map_err(|_| ParseAddressError::Form)?;
    let has = |case: fn(&u8) -> bool| digits.as_bytes().iter().any(case);
    let mixed = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    if mixed && Address::parse_checksummed(text, None).is_err() {
        return Err(ParseAddressError::Checksum);
    }
    Ok(address)
}

/// A name in a naming system, such as ENS or Lens: labels joined by dots, at most 255 bytes.
///
/// A name is never an identity: it counts only as long as it resolves (IDN-020).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

/// A text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected labels joined by dots, without spaces, at most 255 bytes")]
pub struct ParseNameError;

impl Name {
    /// The name, ASCII letters in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, ParseNameError> {
        let labels_are_full = text.contains('.') && text.split('.').all(|label| !label.is_empty());
        let is_plain = !text.chars().any(|letter| letter.is_whitespace() || letter.is_control());
        match labels_are_full && is_plain && text.len() <= 255 {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(ParseNameError),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Whom somebody means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// An inbox, by its id.
    Inbox(InboxId),
    /// The inbox that an account belongs to.
    Address(EthereumAddress),
    /// The inbox of the account that a name resolves to.
    Name(Name),
}

/// A text names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseRecipientError {
    /// The text starts like an address and is none.
    #[error(transparent)]
    Address(#[from] ParseAddressError),
    /// The text is nothing that is known.
    #[error("expected an inbox id, an address (0x…) or a name (alice.eth)")]
    Form,
}

impl FromStr for Recipient {
    type Err = ParseRecipientError;

    fn from_str(text: &str) -> Result<Self, ParseRecipientError> {
        if let Ok(name) = text.parse() {
            return Ok(Self::Name(name));
        }
        if text.starts_with("0x") && text.len() <= 42 {
            return Ok(Self::Address(parse_address(text)?));
        }
        text.parse().map(Self::Inbox).map_err(|_| ParseRecipientError::Form)
    }
}

/// A naming system: from names to accounts and back.
///
/// An implementation reads one consistent state of the naming system per call.
pub trait NameResolver {
    /// Why there is no answer now.
    type Error: std::error::Error;

    /// The account that `name` points to; `None` when it points to none.
    ///
    /// # Errors
    /// The resolver's own error; never for a name that does not exist.
    fn address_of(&self, name: &Name) -> Result<Option<EthereumAddress>, Self::Error>;

    /// The name that the owner of `address` claims; anybody can claim any name.
    ///
    /// # Errors
    /// The resolver's own error; never for an address without a name.
    fn claimed_name_of(&self, address: EthereumAddress) -> Result<Option<Name>, Self::Error>;

    /// The name to show for `address`: the claimed one, if it points back (IDN-020).
    ///
    /// # Errors
    /// The resolver's own error.
    fn name_of(&self, address: EthereumAddress) -> Result<Option<Name>, Self::Error> {
        let Some(name) = self.claimed_name_of(address)? else {
            return Ok(None);
        };
        Ok((self.address_of(&name)? == Some(address)).then_some(name))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;

    const CHECKSUMMED: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

    fn check(text: &str, expected: Result<Recipient, ParseRecipientError>) {
        assert_eq!(text.parse(), expected, "{text}");
    }

    #[test]
    fn recipients_are_told_apart_by_form() {
        let address = parse_address(&CHECKSUMMED.to_lowercase()).unwrap();
        check(CHECKSUMMED, Ok(Recipient::Address(address)));
        check(&"07".repeat(32), Ok(Recipient::Inbox(InboxId([7; 32]))));
        check("Alice.eth", Ok(Recipient::Name(Name("alice.eth".into()))));
        check("0x12", Err(ParseAddressError::Form.into()));
        for text in ["", "alice", "alice..eth", ".eth", "al ice.eth", "al\u{7}ice.eth"] {
            check(text, Err(ParseRecipientError::Form));
        }
    }

    #[test]
    fn a_mistyped_checksum_is_refused() {
        // covers: IDN-020
        let mistyped = CHECKSUMMED.replace('B', "b");
        assert_eq!(parse_address(&mistyped), Err(ParseAddressError::Checksum));
        assert!(parse_address(CHECKSUMMED).is_ok());
        let upper = format!("0x{}", CHECKSUMMED[2..].to_uppercase());
        assert_eq!(parse_address(&upper), parse_address(CHECKSUMMED));
        assert_eq!(parse_address(&CHECKSUMMED[2..]), Err(ParseAddressError::Form));
    }

    struct Table {
        forward: BTreeMap<Name, EthereumAddress>,
        claims: BTreeMap<EthereumAddress, Name>,
    }

    impl NameResolver for Table {
        type Error = Infallible;

        fn address_of(&self, name: &Name) -> Result<Option<EthereumAddress>, Infallible> {
            Ok(self.forward.get(name).copied())
        }

        fn claimed_name_of(&self, address: EthereumAddress) -> Result<Option<Name>, Infallible> {
            Ok(self.claims.get(&address).cloned())
        }
    }

    #[test]
    fn a_claimed_name_counts_only_if_it_points_back() {
        // covers: IDN-020
        let (alice, mallory) = (EthereumAddress([1; 20]), EthereumAddress([2; 20]));
        let name: Name = "alice.eth".parse().unwrap();
        let table = Table {
            forward: BTreeMap::from([(name.clone(), alice)]),
            claims: BTreeMap::from([(alice, name.clone()), (mallory, name.clone())]),
        };
        assert_eq!(table.name_of(alice), Ok(Some(name)));
        assert_eq!(table.name_of(mallory), Ok(None));
        assert_eq!(table.name_of(EthereumAddress([3; 20])), Ok(None));
    }
}
