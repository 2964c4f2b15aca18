//! Why the chain could not be asked.

use alloy::primitives::B256;

/// Why nothing certain is known of the chain now. All of it may pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No endpoint was given.
    #[error("no endpoint of the chain is configured")]
    NoEndpoint,
    /// An endpoint's address is not a URL.
    #[error("{url} is no HTTP URL: {reason}")]
    Url {
        /// The text.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Fewer endpoints than are needed gave one answer.
    #[error("of {asked} endpoints of the chain {agreed} agree, and {needed} must; last: {reason}")]
    Disagreement {
        /// How many were asked.
        asked: usize,
        /// The most that gave one and the same answer.
        agreed: usize,
        /// How many must.
        needed: usize,
        /// What the last that failed said, or that answers differ.
        reason: String,
    },
    /// A contract refused a call, or its answer makes no sense.
    #[error("the contract refused: {0}")]
    Contract(String),
    /// A block that was final is no longer on the chain.
    #[error("block {number} was {expected} and is {found} now: the chain took back what was final")]
    Reorganised {
        /// Which block.
        number: u64,
        /// The hash that was final.
        expected: B256,
        /// What is there now.
        found: B256,
    },
}
