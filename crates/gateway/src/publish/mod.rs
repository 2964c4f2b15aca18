//! From a user's envelopes to proofs that they are stored: check, gather, sign, send, verify,
//! and try elsewhere.

mod cost;
mod gather;
mod lanes;
mod outgoing;
mod sender;
mod verify;

pub use cost::{Bill, Cost};
pub use gather::BATCH_BYTES_MAX;
pub use lanes::{Desk, Ways};
pub use outgoing::{Outgoing, stored_bytes};
pub use sender::Sender;
