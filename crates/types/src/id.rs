//! Fixed-length identifiers as newtypes, written as lower-case hex for people (ENC-009).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

/// A text is not the hex form of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} bytes in hex")]
pub struct ParseIdError {
    /// How many bytes the id has.
    pub expected: usize,
}

macro_rules! fixed_id {
    ($(#[$doc:meta])* $name:ident, $length:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        #[derive(TlsSize, TlsSerialize, TlsDeserializeBytes)]
        pub struct $name(pub [u8; $length]);

        impl $name {
            /// The id's bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!($prefix, "{}"), hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), hex::encode(self.0))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let digits = text.strip_prefix("0x").unwrap_or(text);
                let mut bytes = [0; $length];
                hex::decode_to_slice(digits, &mut bytes)
                    .map_err(|_| ParseIdError { expected: $length })?;
                Ok(Self(bytes))
            }
        }

        impl From<[u8; $length]> for $name {
            fn from(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

fixed_id!(
    /// Names a network: the hash of its genesis; every signature binds it.
    NetworkId, 32, ""
);
fixed_id!(
    /// Names an inbox: hash of its first identifier and a nonce (IDN-001).
    InboxId, 32, ""
);
fixed_id!(
    /// The id part of a topic; what it hashes depends on the topic's kind.
    TopicId, 32, ""
);
fixed_id!(
    /// Names a client envelope: hash of its signed body, without the proof (ENV-003).
    EnvelopeId, 32, ""
);
fixed_id!(
    /// Names a payer batch: hash of its signed header.
    BatchId, 32, ""
);
fixed_id!(
    /// The RFC 6962 leaf hash of a log entry's header.
    EntryHash, 32, ""
);
fixed_id!(
    /// The EIP-712 digest of a checkpoint.
    CheckpointDigest, 32, ""
);
fixed_id!(
    /// The EIP-712 digest of a usage report.
    ReportDigest, 32, ""
);
fixed_id!(
    /// Names a block of the ordered lane: hash of its header.
    BlockHash, 32, ""
);
fixed_id!(
    /// Names an operation of the ordered lane: hash of its canonical bytes.
    OperationHash, 32, ""
);
fixed_id!(
    /// Names what a node did wrong, whichever statements prove it.
    OffenceId, 32, ""
);
fixed_id!(
    /// Tells apart networks that share chain and registry.
    GenesisSalt, 32, ""
);
fixed_id!(
    /// An Ethereum address, 20 bytes; written without checksum case.
    EthereumAddress, 20, "0x"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Wire;

    #[test]
    fn text_and_wire_forms_round_trip() {
        // covers: ENC-009
        let (id, address) = (InboxId([0xab; 32]), EthereumAddress([0xcd; 20]));
        assert_eq!(id.to_string(), "ab".repeat(32));
        assert_eq!(address.to_string(), format!("0x{}", "cd".repeat(20)));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(format!("0x{}", "AB".repeat(32)).parse(), Ok(id));
        assert_eq!(address.to_string().parse(), Ok(address));
        assert_eq!(InboxId::from_wire(&id.to_wire()), Ok(id));
        for other in ["zz", "", &"ab".repeat(31), &"ab".repeat(33)] {
            assert_eq!(other.parse::<InboxId>(), Err(ParseIdError { expected: 32 }));
        }
    }
}
