//! What the signers of an update sign, in the three forms they sign it in.

use alloy_primitives::{B256, eip191_hash_message};
use alloy_sol_types::sol;
use serde::Serialize;
use tidings_types::{Hash, InboxId, NetworkId, Wire, node_key};

use crate::{Sequence, UpdateBody};

mod eip712 {
    //! The EIP-712 type, named as wallets show it.
    super::sol! {
        struct InboxUpdate {
            bytes32 inbox;
            uint64 sequence;
            bytes32 previous;
            string summary;
            bytes32 update;
        }
    }
}

/// An update on one network, ready to be shown and signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    network: NetworkId,
    inbox: InboxId,
    sequence: Sequence,
    previous: Hash,
    update: Hash,
    lines: Vec<String>,
    body: Vec<u8>,
}

impl Statement {
    /// The statement that signers of `body` make on `network`.
    #[must_use]
    pub fn new(body: &UpdateBody, network: NetworkId) -> Self {
        Self {
            network,
            inbox: body.inbox,
            sequence: body.sequence,
            previous: body.previous,
            update: body.hash(),
            lines: body.actions.iter().map(ToString::to_string).collect(),
            body: body.to_wire(),
        }
    }

    /// The network that the signatures bind.
    #[must_use]
    pub const fn network(&self) -> NetworkId {
        self.network
    }

    /// The update's hash.
    #[must_use]
    pub const fn update(&self) -> Hash {
        self.update
    }

    /// The canonical body, which installations sign under the label `identity update` (IDN-011).
    #[must_use]
    pub fn body_bytes(&self) -> &[u8] {
        &self.body
    }

    /// The EIP-712 signing hash (IDN-008).
    #[must_use]
    pub fn typed_data_digest(&self) -> Hash {
        let message = eip712::InboxUpdate {
            inbox: B256::new(self.inbox.0),
            sequence: self.sequence.0,
            previous: B256::new(self.previous),
            summary: self.summary(),
            update: B256::new(self.update),
        };
        node_key::digest(&message, self.network)
    }

    /// The typed data as JSON, whole, as `eth_signTypedData_v4` takes it (IDN-008).
    #[must_use]
    pub fn typed_data_json(&self) -> String {
        let bytes32 = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));
        let data = TypedData {
            types: Types { domain: DOMAIN_FIELDS, update: UPDATE_FIELDS },
            primary_type: "InboxUpdate",
            domain: Domain { name: "Tidings", version: "1", salt: bytes32(&self.network.0) },
            message: Message {
                inbox: bytes32(&self.inbox.0),
                sequence: self.sequence.to_string(),
                previous: bytes32(&self.previous),
                summary: self.summary(),
                update: bytes32(&self.update),
            },
        };
        serde_json::to_string(&data).expect("strings under fixed keys are always JSON")
    }

    /// The text for `personal_sign`, in ASCII with line feeds and none at the end (IDN-009).
    #[must_use]
    pub fn eip191_text(&self) -> String {
        let mut text = String::from("Tidings inbox update\n\n");
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        let (previous, update) = (hex::encode(self.previous), hex::encode(self.update));
        text.push_str(&format!("\nInbox: {}\nSequence: {}\n", self.inbox, self.sequence));
        text.push_str(&format!("Previous: {previous}\nUpdate: {update}\n"));
        text.push_str(&format!("Network: {}", self.network));
        text
    }

    /// The EIP-191 (version `0x45`) hash of [`Self::eip191_text`] (IDN-009).
    #[must_use]
    pub fn eip191_digest(&self) -> Hash {
        eip191_hash_message(self.eip191_text()).0
    }

    fn summary(&self) -> String {
        self.lines.join("; ")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TypedData {
    types: Types,
    primary_type: &'static str,
    domain: Domain,
    message: Message,
}

#[derive(Serialize)]
struct Types {
    #[serde(rename = "EIP712Domain")]
    domain: [Field; 3],
    #[serde(rename = "InboxUpdate")]
    update: [Field; 5],
}

#[derive(Serialize)]
struct Domain {
    name: &'static str,
    version: &'static str,
    salt: String,
}

#[derive(Serialize)]
struct Message {
    inbox: String,
    /// In decimal: a JSON number would lose precision above 2^53.
    sequence: String,
    previous: String,
    summary: String,
    update: String,
}

#[derive(Serialize)]
struct Field {
    name: &'static str,
    r#type: &'static str,
}

const DOMAIN_FIELDS: [Field; 3] = [
    Field { name: "name", r#type: "string" },
    Field { name: "version", r#type: "string" },
    Field { name: "salt", r#type: "bytes32" },
];

const UPDATE_FIELDS: [Field; 5] = [
    Field { name: "inbox", r#type: "bytes32" },
    Field { name: "sequence", r#type: "uint64" },
    Field { name: "previous", r#type: "bytes32" },
    Field { name: "summary", r#type: "string" },
    Field { name: "update", r#type: "bytes32" },
];
