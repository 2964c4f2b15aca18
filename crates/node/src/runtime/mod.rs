//! The running node: a replica, driven by tasks that do what it asks for.
//!
//! One task owns the replica and never waits for a disk or a peer; around it are the
//! persister (one transaction at a time), the examiner (signatures of incoming entries),
//! the links and the HTTP API.

mod actor;
mod backend;
mod examiner;
mod keys;
mod lookup;
mod persister;
mod registry_file;
mod start;

pub use keys::{KeyFileError, read_secret};
pub use registry_file::{RegistryFile, RegistryFileError, RegistrySource};
pub use start::{NodeError, run};
