//! The ordered lane of one shard: its state machine, its blocks, and who decides on them.
//!
//! [`LaneState`] executes operations deterministically: the same block gives the same state
//! at every replica. [`Agreement`] makes the committee agree on blocks; it takes inputs, returns
//! effects, and holds no clock, socket or file. The rules are in spec/06-ordered-lane.md.
#![deny(clippy::disallowed_methods)]

mod agreement;
mod execute;
mod judge;
mod lottery;
mod message;
mod orderer;
mod purse;
mod signers;
mod state;
mod state_tree;

pub use agreement::{Agreement, LogRecord, LoggedTimeout, period_length_ms};
pub use execute::{BlockInvalid, LaneContext, Staged};
pub use judge::{JudgingContext, judge_operation};
pub use message::{OrderMessage, RECALLED_STATEMENTS_MAX, Recalled, VoteList};
pub use orderer::{
    DecidedBlock, LaneLog, OrderContext, OrderEffect, RestoredAgreement, SubmitError,
};
pub use signers::Signers;
pub use state::{LaneState, StateCorrupt, StateValue};
pub use state_tree::StateTree;
pub use tidings_envelope::{StateKey, TopicHead};
