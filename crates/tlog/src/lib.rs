//! Append-only Merkle logs (RFC 6962): one per originator, shard and incarnation.
//!
//! The crate appends ([`Frontier`], [`RecentTree`]), proves and verifies ([`ProofPlan`],
//! [`verify_inclusion`], [`verify_consistency`]), stores trees as tiles ([`TileBuilder`]),
//! follows another node's log ([`Follower`], [`Subscription`]), finds where two histories of one part
//! ([`compare_histories`]) and tells when enough replicas hold one's own ([`AckTracker`]).
//! It is sans-IO: callers move the bytes, and storage is asked only for what is listed first.
//!
//! ```
//! use tidings_tlog::{Frontier, RecentTree, verify_inclusion};
//! use tidings_types::{LogIndex, merkle::leaf_hash};
//!
//! let mut tree = RecentTree::new(&Frontier::default());
//! tree.append(leaf_hash(b"one"));
//! tree.append(leaf_hash(b"two"));
//! let proof = tree.prover().inclusion_proof(LogIndex(1))?;
//! let (leaf, root) = (leaf_hash(b"two"), tree.root());
//! verify_inclusion(leaf, LogIndex(1), tree.size(), &root, &proof)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(clippy::disallowed_methods)]

mod ack_tracker;
mod divergence;
mod follower;
mod frontier;
mod proof;
mod recent;
mod subscription;
mod tile;
mod topic_chain;
mod tree;

pub use ack_tracker::{AckError, AckTracker, CoveredCheckpoint, RegressError};
pub use divergence::{Divergence, compare_histories, last_common};
pub use follower::{FollowError, Follower, FollowerInvalid, conflicting_entries, contradiction};
pub use frontier::{Frontier, FrontierInvalid};
pub use proof::{
    ProofError, ProofInvalid, ProofPlan, consistency_proof, inclusion_proof, verify_consistency,
    verify_inclusion,
};
pub use recent::{RecentProver, RecentTree};
pub use subscription::{Gap, Intake, Step, Subscription};
pub use tile::{TILE_HASHES, Tile, TileBuilder, TileEdgeInvalid, TileId, TileInvalid, TileSource};
pub use topic_chain::{TopicChainBroken, TopicHead};
pub use tree::{MemoryTree, NodeSource, Subtree};
