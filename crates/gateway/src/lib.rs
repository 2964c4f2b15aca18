//! The payer gateway: it authenticates its users, pays for their envelopes, and finds nodes that
//! store them.
//!
//! A user sends client envelopes with an API key. The gateway checks key and quota, gathers the
//! envelopes of many users into batches, signs each batch with the payer's session key, picks the
//! nearest node of the topic's shard, and believes its answer only when the receipts verify.
//! Where a node fails, another is tried; an envelope keeps its id, so that nobody reads it twice.
//!
//! [`run`] is the whole service; `spec/12-gateway.md` states what it promises.

mod account;
mod config;
mod date;
mod estimate;
mod http;
mod login;
mod metrics;
mod network;
mod publish;
mod publisher;
mod service;
mod session_key;

pub use account::{
    ApiKey, ApiKeyInvalid, Database, DatabaseError, DaySpend, FundsWatch, FundsWatches, KeyDigest,
    MoneyUsage, OwedAmount, Quota, Spent, Terms, User, UserSpend, UserUsage, add_user,
};
pub use config::{
    ChainConfig, ConfigError, GatewayConfig, Limits, LoginConfig, PAYERS_MAX, PayerConfig,
    TlsFiles, Who,
};
pub use date::Date;
pub use http::AddressRates;
pub use metrics::{Counter, Exposition, Histogram};
pub use publisher::{NodeView, Publisher, PublisherConfig};
pub use service::{Gateway, GatewayError, run};
pub use session_key::{SessionKeyError, read_session_key};
