//! The node's brain: admission, both lanes, replication duties. Inputs in, effects out.
//!
//! The shell (`tidings-node`, or a simulator) moves bytes and keeps time; everything that
//! decides lives here and runs unchanged under both. What is costly and needs no state,
//! [`prepare_publish`] and [`examine_flush`], can run on other threads.
#![deny(clippy::disallowed_methods)]

mod answers;
mod claims;
mod durable;
mod effect;
mod followed;
mod following;
mod inputs;
mod inquiry;
mod lane;
mod look_up;
mod offences;
mod own_log;
mod publish;
mod replica;
mod requests;
mod service;
mod statement;
pub mod store;
pub mod wire;

pub use effect::{Alarm, Effect, Now, RequestId, WriteTicket};
pub use followed::{ExaminedFlush, examine_flush};
pub use publish::{PreparedPublish, prepare_publish};
pub use replica::{
    CongestionByShard, RecentEntry, Replica, ReplicaConfig, RestoreError, ShardStatus,
};
