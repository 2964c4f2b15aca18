//! Topics, client envelopes and payer batches.

use tidings_envelope::{
    ClientEnvelope, Dependency, Lane, PayerBatch, PayerEnvelope, Target, Topic, TopicKind,
    WriteProof,
};
use tidings_identity::ParsedUpdate;

use super::Describe;
use crate::inspect::tree::{Tree, record};

impl Describe for Topic {
    fn describe(&self) -> Tree {
        Tree::Text(format!("{}:{}", self.kind.word(), self.id))
    }
}

/// The word for a variant.
trait Word {
    fn word(self) -> &'static str;
}

impl Word for TopicKind {
    fn word(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Keys => "keys",
            Self::Mailbox => "mailbox",
            Self::Identity => "identity",
            Self::Xmtp => "xmtp",
        }
    }
}

impl Describe for Lane {
    fn describe(&self) -> Tree {
        Tree::shown(match self {
            Self::Broadcast => "broadcast",
            Self::Ordered => "ordered",
        })
    }
}

impl Describe for Dependency {
    fn describe(&self) -> Tree {
        record! { "topic" => self.topic, "position" => self.position }
    }
}

impl Describe for WriteProof {
    fn describe(&self) -> Tree {
        match self {
            Self::Key { key, signature } => {
                record! { "kind" => "key", "key" => *key, "signature" => *signature }
            }
            Self::FeeStamp => Tree::shown("fee stamp"),
            Self::SelfAuthenticating => Tree::shown("self-authenticating"),
        }
    }
}

impl Describe for ClientEnvelope {
    fn describe(&self) -> Tree {
        let body = &self.body;
        record! {
            "id" => body.id(),
            "version" => body.version,
            "topic" => body.topic,
            "lane" => body.lane,
            "payer" => body.payer,
            "not_after" => body.not_after,
            "retention_days" => body.retention_days,
            "expected_position" => body.expected_position,
            "depends_on" => body.depends_on,
            "payload" => payload(&body.topic, &body.payload),
            "proof" => self.proof,
        }
    }
}

/// Everything but identity updates is a ciphertext.
fn payload(topic: &Topic, bytes: &[u8]) -> Tree {
    let update = match topic.kind {
        TopicKind::Identity => ParsedUpdate::parse(bytes).ok(),
        _ => None,
    };
    update.map_or_else(|| Tree::opaque(bytes), |update| update.as_update().describe())
}

impl Describe for Target {
    fn describe(&self) -> Tree {
        match self {
            Self::Node(node) => record! { "node" => *node },
            Self::Shard(shard) => record! { "shard" => *shard },
        }
    }
}

impl Describe for PayerBatch {
    fn describe(&self) -> Tree {
        let header = &self.header;
        record! {
            "id" => Tree::shown(self.id()),
            "version" => header.version,
            "payer" => header.payer,
            "session_key" => header.session_key,
            "target" => header.target,
            "registry_epoch" => header.registry_epoch,
            "not_after" => header.not_after,
            "max_fee_picodollars" => header.max_fee,
            "count" => header.count,
            "root" => header.root,
            "signature" => self.signature,
        }
    }
}

impl Describe for PayerEnvelope {
    fn describe(&self) -> Tree {
        record! {
            "envelope" => self.envelope,
            "batch" => self.batch,
            "index" => self.index,
            "path" => self.path,
            "covered_by_batch" => if self.is_covered() { "yes" } else { "no" },
        }
    }
}
