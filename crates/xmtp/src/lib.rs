//! The XMTP edge: unmodified XMTP clients on Tidings.
//!
//! An edge speaks the public gRPC API of XMTP's decentralized mode. What clients publish it
//! checks, signs with its registered key, and has stored by the network: commits, proposals and
//! identity updates in the ordered lane, all else in the broadcast lane. What clients read comes
//! from its index, which it makes by following the network's logs and lanes at one node, and at
//! another when that one fails. Clients keep their own MLS; Tidings orders, stores, replicates,
//! limits and bills.
//!
//! [`run`] is the whole service; `spec/14-xmtp.md` states what it promises, and what it cannot
//! give.

pub mod association;
mod config;
mod edge;
pub mod envelope;
mod follow;
mod grpc;
mod inbox;
mod index;
mod limit;
mod metrics;
mod note;
mod peers;
pub mod place;
mod progress;
pub mod proto;
mod publish;
mod registries;
mod service;
mod stale;
mod subscription;
mod take;
pub mod topic;
mod wrap;

pub use config::{ConfigError, EdgeConfig, Limits};
pub use note::Note;
pub use service::{EdgeError, RunningEdge, run};
