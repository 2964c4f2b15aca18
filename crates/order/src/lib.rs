//! The ordered lane of one shard: its state machine, its blocks, and who decides on them.
//!
//! [`LaneState`] executes operations deterministically: the same block gives the same state
//! at every replica. An [`Orderer`] makes replicas agree on blocks; it takes inputs, returns
//! effects, and holds no clock, socket or file. The rules are in spec/06-ordered-lane.md.
#![deny(clippy::disallowed_methods)]

mod execute;
mod judge;
mod lottery;
mod orderer;
mod sequencer;
mod state;

pub use execute::{BlockInvalid, LaneContext, Staged};
pub use judge::judge_operation;
pub use orderer::{DecidedBlock, OrderContext, OrderEffect, OrderMessage, Orderer, SubmitError};
pub use sequencer::Sequencer;
pub use state::{LaneState, StateCorrupt, StateKey, StateValue, TopicHead};
