//! What an edge counts, in the Prometheus text format (XMTP-011).

use std::time::Duration;

use tidings_gateway::{Counter, Exposition, Histogram};

use crate::edge::Edge;
use crate::index::Stored;
use crate::publish::PublishError;

/// An edge's counters.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Envelopes entered into the index.
    pub entered: Counter,
    /// Things on `xmtp` topics that were passed over.
    pub set_aside: Counter,
    /// Nodes that were no longer followed.
    pub nodes_lost: Counter,
    /// Publishes answered before a slow edge showed them.
    pub peers_late: Counter,
    published: Counter,
    invalid: Counter,
    failed: Counter,
    duration: Histogram,
}

impl Metrics {
    /// Counts a request to publish.
    pub fn published(&self, result: &Result<Vec<Stored>, PublishError>, took: Duration) {
        self.duration.observe(took);
        match result {
            Ok(stored) => self.published.add(stored.len() as u64),
            Err(error) if error.is_passing() => self.failed.increment(),
            Err(_) => self.invalid.increment(),
        }
    }

    /// Everything counted.
    #[must_use]
    pub fn exposition(&self, edge: &Edge) -> String {
        let mut text = Exposition::default();
        let name = "tidings_xmtp_publish_results_total";
        text.family(name, "counter", "Envelopes published, and requests that were refused.");
        text.sample(name, &[("result", "published")], self.published.value());
        text.sample(name, &[("result", "invalid")], self.invalid.value());
        text.sample(name, &[("result", "failed")], self.failed.value());
        for (name, help, counter) in [
            ("tidings_xmtp_entered_total", "Envelopes made readable.", &self.entered),
            ("tidings_xmtp_set_aside_total", "Things passed over.", &self.set_aside),
            ("tidings_xmtp_nodes_lost_total", "Nodes no longer followed.", &self.nodes_lost),
            (
                "tidings_xmtp_peers_late_total",
                "Publishes answered before a slow edge showed them.",
                &self.peers_late,
            ),
        ] {
            text.family(name, "counter", help);
            text.sample(name, &[], counter.value());
        }
        let name = "tidings_xmtp_serving";
        text.family(name, "gauge", "Whether the edge has caught up and serves.");
        text.sample(name, &[], u64::from(edge.is_serving()));
        let name = "tidings_xmtp_peers_living";
        text.family(name, "gauge", "Other edges that live.");
        text.sample(name, &[], edge.peers.living().len() as u64);
        text.histogram(
            "tidings_xmtp_publish_seconds",
            "Time from a request to publish until every living edge shows it.",
            &self.duration,
        );
        text.into_text()
    }
}
