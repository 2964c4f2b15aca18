//! The messages and services of XMTP's API, and of edges among themselves, generated from
//! `proto/`.

#[expect(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::pedantic,
    reason = "generated; `proto/` says what is what"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}

pub use generated::grpc::health::v1 as health;
pub use generated::tidings::xmtp::edges;
pub use generated::xmtp;
pub use generated::xmtp::identity::associations;
pub use generated::xmtp::mls::api::v1 as mls;
pub use generated::xmtp::xmtpv4::{envelopes, message_api, payer_api};
