//! The reference node: storage, links to its peers, and the HTTP API around a replica.

pub mod config;
pub mod feed;
pub mod http;
pub mod hub;
pub mod link;
pub mod metrics;
mod runtime;
pub mod settlement;
pub mod storage;

pub use runtime::{
    KeyFileError, NodeError, RegistryFile, RegistryFileError, RegistrySource, read_secret, run,
};
