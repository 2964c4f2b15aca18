//! The XMTP edge as its users see it.

mod alone;
mod association_cast;
mod association_contract;
mod association_flow;
mod association_limit;
mod association_mutation;
mod association_official;
mod association_refusal;
mod association_text;
