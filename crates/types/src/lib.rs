//! Foundations shared by every Tidings crate: ids, indexes, money, the wire codec,
//! domain-separated signing and the constants that Rust and Solidity share.
//!
//! The crate is sans-IO and holds no clock and no source of randomness.
#![deny(clippy::disallowed_methods)]

/// Whether a deliberate bug of [`mutant::Mutant`] is switched on for this thread; `false` without the feature
/// `mutants`.
#[cfg(feature = "mutants")]
#[macro_export]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutant::is($crate::mutant::Mutant::$name)
    };
}

/// Whether a deliberate bug is switched on, which only the feature `mutants` can do: `false`, so
/// that nothing of it is in what is built.
#[cfg(not(feature = "mutants"))]
#[macro_export]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}

mod codec;
pub mod constants;
pub mod ed25519;
mod error;
mod hash;
mod id;
mod index;
pub mod merkle;
mod money;
#[cfg(any(test, feature = "mutants"))]
pub mod mutant;
mod network;
pub mod node_key;
pub mod sparse_merkle;

pub use codec::{BoundedBytes, BoundedVec, DecodeError, LengthError, Wire};
pub use error::ErrorCode;
pub use hash::{Hash, labelled_hash, sha256};
pub use id::{
    BatchId, BlockHash, CheckpointDigest, EntryHash, EnvelopeId, EthereumAddress, GenesisSalt,
    InboxId, NetworkId, OffenceId, OperationHash, ParseIdError, ReportDigest, TopicId,
};
pub use index::{
    EdgeId, Height, Incarnation, LogIndex, LogSize, NodeId, Period, Position, RegistryEpoch, Round,
    ShardId, TimestampSeconds, TopicIndex,
};
pub use money::{MoneyOverflow, PicoDollars, PicoDollarsTotal};
pub use network::Genesis;
