//! How each wire structure is shown.

mod api;
mod envelope;
mod identity;
mod log;
mod ordered;
mod settlement;

use tidings_types::ed25519::{PublicKey, Signature};
use tidings_types::node_key::NodeSignature;
use tidings_types::{
    BlockHash, BoundedVec, CheckpointDigest, EntryHash, EnvelopeId, ErrorCode, EthereumAddress,
    Hash, Height, InboxId, Incarnation, LogIndex, LogSize, NetworkId, NodeId, OperationHash,
    Period, PicoDollars, Position, RegistryEpoch, Round, ShardId, TimestampSeconds, TopicIndex,
};

use super::tree::Tree;

/// A structure that can be shown.
pub trait Describe {
    /// What it holds.
    fn describe(&self) -> Tree;
}

impl Describe for Tree {
    fn describe(&self) -> Tree {
        self.clone()
    }
}

impl<T: Describe> Describe for Option<T> {
    fn describe(&self) -> Tree {
        self.as_ref().map_or(Tree::Absent, Describe::describe)
    }
}

impl<T: Describe, const MAX: usize> Describe for BoundedVec<T, MAX> {
    fn describe(&self) -> Tree {
        Tree::List(self.iter().map(Describe::describe).collect())
    }
}

macro_rules! shown_in_hex {
    ($($name:ty),*) => {
        $(impl Describe for $name {
            fn describe(&self) -> Tree {
                Tree::Text(hex::encode(self.0))
            }
        })*
    };
}

macro_rules! shown_as_text {
    ($($name:ty),*) => {
        $(impl Describe for $name {
            fn describe(&self) -> Tree {
                Tree::shown(self)
            }
        })*
    };
}

macro_rules! shown_as_number {
    ($($name:ty),*) => {
        $(impl Describe for $name {
            fn describe(&self) -> Tree {
                Tree::Number(self.0.into())
            }
        })*
    };
}

shown_in_hex!(Signature, NodeSignature);
shown_as_text!(
    BlockHash,
    CheckpointDigest,
    EntryHash,
    EnvelopeId,
    ErrorCode,
    EthereumAddress,
    InboxId,
    NetworkId,
    OperationHash,
    PublicKey
);
shown_as_number!(
    Height,
    Incarnation,
    LogIndex,
    LogSize,
    NodeId,
    Period,
    PicoDollars,
    Position,
    RegistryEpoch,
    Round,
    ShardId,
    TimestampSeconds,
    TopicIndex
);

impl Describe for Hash {
    fn describe(&self) -> Tree {
        Tree::Text(hex::encode(self))
    }
}

macro_rules! plain_number {
    ($($name:ty),*) => {
        $(impl Describe for $name {
            fn describe(&self) -> Tree {
                Tree::Number((*self).into())
            }
        })*
    };
}

plain_number!(u8, u16, u32, u64);

impl Describe for &str {
    fn describe(&self) -> Tree {
        Tree::shown(self)
    }
}
