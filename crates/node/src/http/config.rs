//! How the HTTP API is set up: addresses, TLS, CORS and limits, all with defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The largest body of a publish request, in bytes: a full flush, so one request never needs two
/// (API-004).
pub const PUBLISH_BYTES_MAX: usize = 8 << 20;

/// The largest body of any other request, in bytes: a query whose cursor names 4,096 logs of 50
/// bytes, and room to spare (API-004).
pub const QUERY_BYTES_MAX: usize = 256 << 10;

/// The largest message of a subscriber, in bytes: a thousand topics with cursors of twenty logs
/// (API-013).
pub const SUBSCRIBER_FRAME_BYTES_MAX: usize = 1 << 20;

/// The HTTP API's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate and key, for HTTPS alone (API-022); plain HTTP without.
    pub tls: Option<TlsFiles>,
    /// Origins whose pages may use the API, or `*` for any; none by default (API-019).
    pub cors_origins: Vec<String>,
    /// Limits.
    pub limits: HttpLimits,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            tls: None,
            cors_origins: Vec::new(),
            limits: HttpLimits::default(),
        }
    }
}

/// PEM files for TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate chain, leaf first.
    pub certificate: PathBuf,
    /// The leaf's private key.
    pub key: PathBuf,
}

/// What one caller, and all together, may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpLimits {
    /// Requests that an address may make per minute, and subscriber messages with them (API-014).
    ///
    /// The default lets one gateway keep 2,000 small batches a second.
    pub address_requests_per_minute: u32,
    /// Requests that an address may save up for a burst.
    pub address_burst: u32,
    /// Connections from one address.
    pub address_connections_max: usize,
    /// Connections altogether; an idle one costs about 15 kB.
    pub connections_max: usize,
    /// Requests being answered at once (API-015).
    pub requests_max: usize,
    /// Memory for bodies being received or answered, in kilobytes (API-015).
    pub body_kilobytes_max: u32,
    /// Proofs being computed at once, each of which reads a few hundred hashes.
    pub proofs_max: usize,
    /// Storage reads for subscribers at once, so that catching up leaves room for others.
    pub catch_up_reads_max: usize,
    /// Time for a request's head, also on an idle connection, in milliseconds (API-021).
    pub head_timeout_ms: u64,
    /// Time for a request's body, in milliseconds (API-021).
    pub body_timeout_ms: u64,
    /// Time for a subscriber to take a message off the wire, in milliseconds (API-021).
    pub write_timeout_ms: u64,
    /// Silence after which a subscriber is sent a heartbeat, in milliseconds (API-011).
    pub heartbeat_ms: u64,
    /// Silence of a subscriber, pings unanswered, after which it is given up, in milliseconds.
    pub subscriber_silence_ms: u64,
    /// Time for connections to finish when the node stops, in milliseconds (API-018).
    pub drain_timeout_ms: u64,
    /// Frames that may wait for a subscriber.
    pub outbox_frames_max: usize,
    /// Bytes that may wait for a subscriber.
    pub outbox_bytes_max: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            address_requests_per_minute: 120_000,
            address_burst: 4_000,
            address_connections_max: 4_096,
            connections_max: 16_384,
            requests_max: 1_024,
            body_kilobytes_max: 256 << 10,
            proofs_max: 16,
            catch_up_reads_max: 4,
            head_timeout_ms: 30_000,
            body_timeout_ms: 30_000,
            write_timeout_ms: 10_000,
            heartbeat_ms: 5_000,
            subscriber_silence_ms: 60_000,
            drain_timeout_ms: 10_000,
            outbox_frames_max: 1_024,
            outbox_bytes_max: 4 << 20,
        }
    }
}

impl HttpLimits {
    /// The limits of one connection's outbox.
    #[must_use]
    pub fn outbox(&self) -> crate::hub::OutboxLimits {
        crate::hub::OutboxLimits {
            frames_max: self.outbox_frames_max,
            bytes_max: self.outbox_bytes_max,
        }
    }

    pub(super) fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }

    pub(super) fn subscriber_silence(&self) -> Duration {
        Duration::from_millis(self.subscriber_silence_ms)
    }

    pub(super) fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms)
    }

    pub(super) fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.body_timeout_ms)
    }

    pub(super) fn head_timeout(&self) -> Duration {
        Duration::from_millis(self.head_timeout_ms)
    }

    pub(super) fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_optional_and_spelling_mistakes_are_not() {
        let config: HttpConfig = serde_json::from_str(r#"{"cors_origins": ["*"]}"#).unwrap();
        assert_eq!(config.limits, HttpLimits::default());
        assert!(serde_json::from_str::<HttpConfig>(r#"{"cors_origin": ["*"]}"#).is_err());
        assert!(serde_json::from_str::<HttpConfig>(r#"{"limits": {"burst": 1}}"#).is_err());
    }
}
