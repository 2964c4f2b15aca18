//! What the node counts, and its Prometheus text form.
//!
//! Counters are plain atomics: whoever knows of an event adds to its counter, and `/metrics`
//! reads them all (API-016).

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidings_envelope::Outcome;
use tidings_envelope::api::{PublishResponse, PublishResult};
use tidings_types::ErrorCode;

/// Upper ends of the latency buckets, in microseconds: 1 ms to 10 s, roughly 1-2-5.
const BUCKETS_US: [u64; 13] = [
    1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000,
    5_000_000, 10_000_000,
];

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long things took.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One per bucket, and the last for everything longer.
    counts: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Enters one duration.
    pub fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|end| *end < us);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }
}

/// The node's counters.
#[derive(Debug)]
pub struct Metrics {
    /// How long publish requests took, answered or refused.
    pub publish_duration: Histogram,
    /// Topics read from storage again because their subscriber fell behind.
    pub fallen_behind: Counter,
    /// Answers that storage failed to give.
    storage_errors: Counter,
    /// By code, in the order of `ErrorCode::ALL`.
    refusals: Vec<Counter>,
    stored: Counter,
    ordered: Counter,
    conflicts: Counter,
    refused: Vec<Counter>,
    /// By hundreds: 1xx to 5xx.
    requests: [Counter; 5],
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            publish_duration: Histogram::default(),
            fallen_behind: Counter::default(),
            storage_errors: Counter::default(),
            stored: Counter::default(),
            ordered: Counter::default(),
            conflicts: Counter::default(),
            refusals: by_code(),
            refused: by_code(),
            requests: Default::default(),
        }
    }
}

impl Metrics {
    /// Counts what became of each envelope of a publish request.
    pub fn published(&self, response: &PublishResponse) {
        for result in response.results.iter() {
            match result {
                PublishResult::Stored { .. } => self.stored.increment(),
                PublishResult::Refused { code } => {
                    self.refused(*code);
                    self.failed(*code);
                }
                PublishResult::Ordered(receipt) => match receipt.decided.outcome {
                    Outcome::Applied { .. } => self.ordered.increment(),
                    Outcome::Conflict { .. } => self.conflicts.increment(),
                    Outcome::Refused { code } => self.refused(code),
                },
            }
        }
    }

    /// Counts an envelope, or a whole publish request, that was refused.
    pub fn refused(&self, code: ErrorCode) {
        count(&self.refused, code);
    }

    /// How many requests were refused with this code.
    #[must_use]
    pub fn refusals(&self, code: ErrorCode) -> u64 {
        let place = ErrorCode::ALL.iter().position(|known| *known == code);
        place.and_then(|place| self.refusals.get(place)).map_or(0, Counter::value)
    }

    /// Counts something that was not done, if storage is why.
    pub fn failed(&self, code: ErrorCode) {
        if code == ErrorCode::StorageUnavailable {
            self.storage_errors.increment();
        }
    }

    /// Counts an answered HTTP request, and the code if it was refused.
    pub fn answered(&self, status: u16, refusal: Option<ErrorCode>) {
        if let Some(code) = refusal {
            count(&self.refusals, code);
            self.failed(code);
        }
        let class = usize::from(status / 100).checked_sub(1);
        if let Some(counter) = class.and_then(|class| self.requests.get(class)) {
            counter.increment();
        }
    }

    /// Writes everything counted here.
    pub fn write(&self, text: &mut Exposition) {
        text.family(
            "tidings_publish_results_total",
            "counter",
            "Envelopes by what became of them.",
        );
        let mut result = |name: &str, counter: &Counter| {
            text.labelled("tidings_publish_results_total", &[("result", name)], counter.value());
        };
        result("stored", &self.stored);
        result("ordered", &self.ordered);
        result("conflicted", &self.conflicts);
        for (code, counter) in ErrorCode::ALL.iter().zip(&self.refused) {
            if counter.value() > 0 {
                result(code.as_str(), counter);
            }
        }
        text.family("tidings_http_requests_total", "counter", "Answered requests by status class.");
        for (class, counter) in (1..).zip(&self.requests) {
            let class = format!("{class}xx");
            text.labelled("tidings_http_requests_total", &[("class", &class)], counter.value());
        }
        text.family("tidings_http_refusals_total", "counter", "Refused requests by code.");
        for (code, counter) in ErrorCode::ALL.iter().zip(&self.refusals) {
            if counter.value() > 0 {
                let labels = [("code", code.as_str())];
                text.labelled("tidings_http_refusals_total", &labels, counter.value());
            }
        }
        text.counter(
            "tidings_fallen_behind_total",
            "Topics read from storage again for a subscriber that fell behind.",
            &self.fallen_behind,
        );
        text.counter(
            "tidings_storage_errors_total",
            "Answers that storage failed to give.",
            &self.storage_errors,
        );
        text.histogram(
            "tidings_publish_seconds",
            "Duration of publish requests.",
            &self.publish_duration,
        );
    }
}

fn by_code() -> Vec<Counter> {
    ErrorCode::ALL.iter().map(|_| Counter::default()).collect()
}

fn count(counters: &[Counter], code: ErrorCode) {
    let place = ErrorCode::ALL.iter().position(|known| *known == code);
    if let Some(counter) = place.and_then(|place| counters.get(place)) {
        counter.increment();
    }
}

/// A document in the Prometheus text format.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// The document's text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }

    /// Opens a family of samples.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "gauge", help);
        self.labelled(name, &[], value);
    }

    /// A counter without labels.
    pub fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.total(name, help, counter.value());
    }

    /// A counter without labels, by its value.
    pub fn total(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.labelled(name, &[], value);
    }

    /// One sample; label values hold no quote, backslash or newline.
    pub fn labelled(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.0.push_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            let opening = if place == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{opening}{label}=\"{text}\"");
        }
        let closing = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{closing} {value}");
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        for (place, count) in histogram.counts.iter().enumerate() {
            below += count.load(Ordering::Relaxed);
            let end = BUCKETS_US.get(place).map_or_else(|| "+Inf".to_owned(), |us| seconds(*us));
            self.labelled(&bucket, &[("le", &end)], below);
        }
        let sum = seconds(histogram.sum_us.load(Ordering::Relaxed));
        let _ = writeln!(self.0, "{name}_sum {sum}\n{name}_count {below}");
    }
}

/// Microseconds as decimal seconds.
fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(us: u64, expected: &str) {
        assert_eq!(seconds(us), expected);
    }

    #[test]
    fn seconds_are_decimal() {
        check(0, "0");
        check(1_000, "0.001");
        check(1_500_000, "1.5");
        check(10_000_000, "10");
    }

    #[test]
    fn the_text_form_is_that_of_prometheus() {
        // covers: API-016
        let metrics = Metrics::default();
        metrics.publish_duration.observe(Duration::from_millis(1));
        metrics.publish_duration.observe(Duration::from_millis(3));
        metrics.publish_duration.observe(Duration::from_secs(60));
        metrics.refused(ErrorCode::Malformed);
        metrics.answered(404, Some(ErrorCode::NotFound));
        let mut text = Exposition::default();
        metrics.write(&mut text);
        let text = text.into_text();
        for line in [
            "# TYPE tidings_publish_seconds histogram",
            "tidings_publish_seconds_bucket{le=\"0.001\"} 1",
            "tidings_publish_seconds_bucket{le=\"0.005\"} 2",
            "tidings_publish_seconds_bucket{le=\"10\"} 2",
            "tidings_publish_seconds_bucket{le=\"+Inf\"} 3",
            "tidings_publish_seconds_sum 60.004",
            "tidings_publish_seconds_count 3",
            "tidings_publish_results_total{result=\"malformed\"} 1",
            "tidings_http_requests_total{class=\"4xx\"} 1",
            "tidings_http_refusals_total{code=\"not_found\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
