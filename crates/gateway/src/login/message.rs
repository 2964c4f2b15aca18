//! The text that a wallet signs to log in: EIP-4361, read strictly.

use std::fmt;

use alloy_primitives::Address;
use tidings_types::EthereumAddress;

use super::time::Timestamp;

/// The longest message; nobody needs one, and every field is bounded by it.
///
/// Unit: bytes.
pub const MESSAGE_BYTES_MAX: usize = 4_096;

/// The most resources that a message names.
const RESOURCES_MAX: usize = 16;

/// What follows the domain in the first line.
const PREAMBLE: &str = " wants you to sign in with your Ethereum account:";

/// A message as EIP-4361 lays it out; what it holds is well formed, and nothing more is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `https` or another scheme, if the message names one.
    pub scheme: Option<String>,
    /// Who asks for the signature: a host, perhaps with a port.
    pub domain: String,
    /// Who signs.
    pub address: EthereumAddress,
    /// What people are told that they agree to; one line.
    pub statement: Option<String>,
    /// What the log-in is for.
    pub uri: String,
    /// EIP-155 id of the chain that the account is on.
    pub chain_id: u64,
    /// At least eight letters and digits.
    pub nonce: String,
    /// When the message was made.
    pub issued_at: Timestamp,
    /// From when on it is worth nothing.
    pub expiration: Option<Timestamp>,
    /// Until when it is worth nothing.
    pub not_before: Option<Timestamp>,
    /// Whatever the maker calls the request.
    pub request_id: Option<String>,
    /// What the signer is to look at; URIs.
    pub resources: Vec<String>,
}

/// The text is not a message of EIP-4361.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message is not one of EIP-4361: {0}")]
pub struct MessageInvalid(pub &'static str);

impl Message {
    /// Reads a message. Every message has one text: what this takes, [`Message`]'s display form
    /// gives back byte for byte.
    ///
    /// # Errors
    /// [`MessageInvalid`] says which part is not as it must be.
    pub fn parse(text: &str) -> Result<Self, MessageInvalid> {
        if text.len() > MESSAGE_BYTES_MAX {
            return Err(MessageInvalid("it is too long"));
        }
        let mut lines = Lines(text.split('\n').peekable());
        let origin = lines.next()?.strip_suffix(PREAMBLE);
        let (scheme, domain) = origin_of(origin.ok_or(MessageInvalid("the first line"))?)?;
        let address = address_of(lines.next()?)?;
        lines.empty()?;
        // A statement has an empty line behind it; without, there is an empty line for it.
        let statement = match lines.next()? {
            "" => None,
            text if is_statement(text) => {
                lines.empty()?;
                Some(text.to_owned())
            }
            _ => return Err(MessageInvalid("the statement")),
        };
        let uri = lines.field("URI: ")?;
        if lines.field("Version: ")? != "1" {
            return Err(MessageInvalid("the version"));
        }
        let message = Self {
            scheme,
            domain,
            address,
            statement,
            uri: checked(uri, is_uri, "the URI")?,
            chain_id: number(lines.field("Chain ID: ")?)?,
            nonce: checked(lines.field("Nonce: ")?, is_nonce, "the nonce")?,
            issued_at: time(lines.field("Issued At: ")?)?,
            expiration: lines.optional("Expiration Time: ").map(time).transpose()?,
            not_before: lines.optional("Not Before: ").map(time).transpose()?,
            request_id: lines
                .optional("Request ID: ")
                .map(|text| checked(text, is_request_id, "the request id"))
                .transpose()?,
            resources: lines.resources()?,
        };
        lines.end()?;
        Ok(message)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = &self.scheme {
            write!(formatter, "{scheme}://")?;
        }
        let address = Address::from(self.address.0).to_checksum(None);
        write!(formatter, "{}{PREAMBLE}\n{address}\n\n", self.domain)?;
        if let Some(statement) = &self.statement {
            writeln!(formatter, "{statement}")?;
        }
        write!(formatter, "\nURI: {}\nVersion: 1\nChain ID: {}\n", self.uri, self.chain_id)?;
        write!(formatter, "Nonce: {}\nIssued At: {}", self.nonce, self.issued_at)?;
        if let Some(time) = &self.expiration {
            write!(formatter, "\nExpiration Time: {time}")?;
        }
        if let Some(time) = &self.not_before {
            write!(formatter, "\nNot Before: {time}")?;
        }
        if let Some(id) = &self.request_id {
            write!(formatter, "\nRequest ID: {id}")?;
        }
        if !self.resources.is_empty() {
            write!(formatter, "\nResources:")?;
        }
        self.resources.iter().try_for_each(|uri| write!(formatter, "\n- {uri}"))
    }
}

/// The lines that are left.
struct Lines<'a>(std::iter::Peekable<std::str::Split<'a, char>>);

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a str, MessageInvalid> {
        self.0.next().ok_or(MessageInvalid("a line is missing"))
    }

    fn empty(&mut self) -> Result<(), MessageInvalid> {
        match self.next()? {
            "" => Ok(()),
            _ => Err(MessageInvalid("an empty line is missing")),
        }
    }

    fn field(&mut self, label: &str) -> Result<&'a str, MessageInvalid> {
        self.next()?.strip_prefix(label).ok_or(MessageInvalid("a field is missing"))
    }

    fn optional(&mut self, label: &str) -> Option<&'a str> {
        let value = self.0.peek()?.strip_prefix(label)?;
        self.0.next();
        Some(value)
    }

    /// The list of resources; an empty list has no text of its own, so it is none.
    fn resources(&mut self) -> Result<Vec<String>, MessageInvalid> {
        if self.0.next_if_eq(&"Resources:").is_none() {
            return Ok(Vec::new());
        }
        let mut resources = Vec::new();
        while let Some(uri) = self.optional("- ") {
            resources.push(checked(uri, is_uri, "a resource")?);
        }
        match (1..=RESOURCES_MAX).contains(&resources.len()) {
            true => Ok(resources),
            false => Err(MessageInvalid("the resources")),
        }
    }

    fn end(&mut self) -> Result<(), MessageInvalid> {
        match self.0.next() {
            None => Ok(()),
            Some(_) => Err(MessageInvalid("something follows its end")),
        }
    }
}

/// `scheme://` if it is there, and the authority (RFC 3986 §3.2) without user information.
fn origin_of(text: &str) -> Result<(Option<String>, String), MessageInvalid> {
    let (scheme, domain) = match text.split_once("://") {
        Some((scheme, domain)) => (Some(checked(scheme, is_scheme, "the scheme")?), domain),
        None => (None, text),
    };
    Ok((scheme, checked(domain, is_domain, "the domain")?))
}

/// The address in the case of its checksum (EIP-55), which is its one form.
fn address_of(text: &str) -> Result<EthereumAddress, MessageInvalid> {
    let address = Address::parse_checksummed(text, None);
    let address = address.map_err(|_| MessageInvalid("the address"))?;
    // The library takes it without its prefix, too.
    match text.starts_with("0x") {
        true => Ok(EthereumAddress(address.into_array())),
        false => Err(MessageInvalid("the address")),
    }
}

/// A decimal number in its one form.
fn number(text: &str) -> Result<u64, MessageInvalid> {
    let number: u64 = text.parse().map_err(|_| MessageInvalid("the chain's id"))?;
    match number.to_string() == text {
        true => Ok(number),
        false => Err(MessageInvalid("the chain's id")),
    }
}

fn time(text: &str) -> Result<Timestamp, MessageInvalid> {
    Timestamp::parse(text).ok_or(MessageInvalid("a time"))
}

fn checked(
    text: &str,
    is_good: fn(&str) -> bool,
    what: &'static str,
) -> Result<String, MessageInvalid> {
    match is_good(text) {
        true => Ok(text.to_owned()),
        false => Err(MessageInvalid(what)),
    }
}

/// RFC 3986 §3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// A host with an optional port; brackets are those of IPv6.
fn is_domain(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]%".contains(&byte))
}

/// Unreserved and reserved characters and spaces (EIP-4361, `statement`).
fn is_statement(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || (is_uri_byte(byte) && byte != b'%'))
}

/// A scheme and what RFC 3986 allows behind it.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    is_scheme(scheme) && is_escaped(rest)
}

fn is_nonce(text: &str) -> bool {
    (8..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Any number of `pchar` (RFC 3986 §3.3).
fn is_request_id(text: &str) -> bool {
    is_escaped(text) && !text.bytes().any(|byte| b"/?#[]".contains(&byte))
}

/// Characters of URIs, a percent sign only before two hexadecimal digits.
fn is_escaped(text: &str) -> bool {
    let mut escapes = text.split('%');
    let first = escapes.next().unwrap_or_default();
    let is_plain = |text: &str| text.bytes().all(is_uri_byte);
    let has_digits = |text: &str| {
        text.as_bytes().first_chunk::<2>().is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    is_plain(first) && escapes.all(|escape| has_digits(escape) && is_plain(escape))
}

/// Unreserved, reserved (RFC 3986 §2.2, §2.3) or a percent sign.
fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of EIP-4361, in substance.
    const EXAMPLE: &str = "https://example.com wants you to sign in with your Ethereum account:
0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2

I accept the ExampleOrg Terms of Service: https://example.com/tos

URI: https://example.com/login
Version: 1
Chain ID: 1
Nonce: 32891756
Issued At: 2021-09-30T16:25:24Z
Expiration Time: 2021-09-30T16:35:24.5Z
Not Before: 2021-09-30T16:25:24+02:00
Request ID: a%20b
Resources:
- ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/
- https://example.com/my-web2-claim.json";

    const MINIMAL: &str = "localhost:4361 wants you to sign in with your Ethereum account:
0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2


URI: tidings:
Version: 1
Chain ID: 31337
Nonce: abcDEF12
Issued At: 2021-09-30T16:25:24Z";

    fn check(old: &str, new: &str) {
        assert!(EXAMPLE.contains(old), "{old}");
        let changed = EXAMPLE.replacen(old, new, 1);
        assert!(Message::parse(&changed).is_err(), "{changed}");
    }

    #[test]
    fn the_example_is_read_and_written() {
        // covers: GTW-019
        let message = Message::parse(EXAMPLE).unwrap();
        assert_eq!(message.domain, "example.com");
        assert_eq!(message.scheme.as_deref(), Some("https"));
        assert_eq!((message.chain_id, message.nonce.as_str()), (1, "32891756"));
        assert_eq!(message.resources.len(), 2);
        assert_eq!(message.to_string(), EXAMPLE);
        let message = Message::parse(MINIMAL).unwrap();
        assert_eq!((&message.statement, &message.expiration), (&None, &None));
        assert_eq!(message.to_string(), MINIMAL);
    }

    #[test]
    fn what_is_not_quite_a_message_is_refused() {
        // covers: GTW-019
        check("https://", "1https://");
        check("example.com wants", "example.com/ wants");
        check("example.com wants", "ada@example.com wants");
        check("https://example.com wants", " wants");
        check("account:\n", "account\n");
        check("0xC02a", "0xc02a");
        check("0xC02a", "C02a");
        check("Cc2\n", "Cc\n");
        check("\n\nI accept", "\nI accept");
        check("/tos\n\n", "/tos\n");
        check("/tos\n\n", "/tos\n\n\n");
        check("I accept", "I\u{e9} accept");
        check("I accept", "I\taccept");
        check("URI: ", "Uri: ");
        check("https://example.com/login", "example.com");
        check("https://example.com/login", "https://example.com/%2");
        check("Version: 1", "Version: 2");
        check("Version: 1", "Version: 1 ");
        check("Chain ID: 1", "Chain ID: 01");
        check("Chain ID: 1", "Chain ID: +1");
        check("Chain ID: 1", "Chain ID: 18446744073709551616");
        check("Nonce: 32891756", "Nonce: 3289175");
        check("Nonce: 32891756", "Nonce: 3289-1756");
        check("T16:25:24Z", " 16:25:24Z");
        check("a%20b", "a b");
        check("a%20b", "a/b");
        check("Resources:\n", "Resources:\n\n");
        check("- https", "* https");
        check("\n- https://example.com/my-web2-claim.json", "\n");
        check("Issued At", "Issued at");
        check("Expiration Time: 2021-09-30T16:35:24.5Z\n", "Not Before: 2021-09-30T16:35:24Z\n");
        check("\n", "\r\n");
        for text in ["", "\n", &format!("{EXAMPLE}\n"), &format!("{EXAMPLE}\nX: y")] {
            assert!(Message::parse(text).is_err(), "{text}");
        }
        let many = format!("{MINIMAL}\nResources:{}", "\n- a:b".repeat(17));
        assert!(Message::parse(&many).is_err());
        let none = format!("{MINIMAL}\nResources:");
        assert!(Message::parse(&none).is_err());
        let long =
            MINIMAL.replace("tidings:", &format!("tidings:{}", "x".repeat(MESSAGE_BYTES_MAX)));
        assert!(Message::parse(&long).is_err());
    }

    fn messages() -> impl Strategy<Value = Message> {
        let time = || "20[0-9]{2}-0[1-9]-[12][0-8]T1[0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]1[0-3]:30)";
        let times = (time(), prop::option::of(time()), prop::option::of(time()));
        let origin = (prop::option::of("[a-z][a-z0-9+.-]{0,5}"), "[a-z0-9.-]{1,20}(:[0-9]{1,5})?");
        let rest = (
            prop::option::of("[A-Za-z0-9 .,:/?!'()-]{1,40}"),
            "[a-z]{1,5}:[a-z0-9/?#=&@]{0,20}(%2F)?",
            prop::option::of("[a-z0-9:@!]{0,10}(%20)?"),
            prop::collection::vec("[a-z]{1,5}:[a-z0-9/]{0,20}", 0..17),
        );
        let ids = (any::<[u8; 20]>(), any::<u64>(), "[A-Za-z0-9]{8,64}");
        (origin, times, rest, ids).prop_map(|(origin, times, rest, ids)| {
            let time = |text: String| Timestamp::parse(&text).unwrap();
            Message {
                scheme: origin.0,
                domain: origin.1,
                address: EthereumAddress(ids.0),
                statement: rest.0,
                uri: rest.1,
                chain_id: ids.1,
                nonce: ids.2,
                issued_at: time(times.0),
                expiration: times.1.map(time),
                not_before: times.2.map(time),
                request_id: rest.2,
                resources: rest.3,
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(message in messages()) {
            // covers: GTW-019
            prop_assert_eq!(Message::parse(&message.to_string()), Ok(message));
        }

        #[test]
        fn a_message_has_one_text(
            place in 0..EXAMPLE.len(), change in any::<u8>(), cut in 0..EXAMPLE.len()
        ) {
            // covers: GTW-019
            let mut bytes = EXAMPLE.as_bytes().to_vec();
            bytes[place] = change;
            for text in [&bytes[..], &bytes[..cut]] {
                if let Ok(text) = std::str::from_utf8(text)
                    && let Ok(message) = Message::parse(text)
                {
                    prop_assert_eq!(message.to_string(), text);
                }
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}") {
            let _ = Message::parse(&text);
            let _ = Timestamp::parse(&text);
        }
    }
}
