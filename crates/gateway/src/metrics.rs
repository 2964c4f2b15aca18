//! What the gateway counts, and its Prometheus text form (GTW-013).

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidings_envelope::Outcome;
use tidings_envelope::api::SendResult;
use tidings_types::{ErrorCode, PicoDollarsTotal};

use crate::account::{FundsReport, PayerReport, ShardReport, Spent};
use crate::network::{HealthTable, Network};

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
    counts: [Counter; BUCKETS_US.len() + 1],
    sum_us: Counter,
}

impl Histogram {
    /// Enters one duration.
    pub fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|end| *end < us);
        if let Some(count) = self.counts.get(bucket) {
            count.increment();
        }
        self.sum_us.add(us);
    }
}

/// The gateway's counters.
#[derive(Debug)]
pub struct Metrics {
    /// How long send requests took, answered or refused.
    pub send_duration: Histogram,
    /// How long nodes took to answer batches.
    pub publish_duration: Histogram,
    /// Batches that a node did not answer.
    pub failed_batches: Counter,
    /// Answers that did not verify.
    pub lies: Counter,
    /// Attempts after the first.
    pub retries: Counter,
    /// Requests over the address limit.
    pub rate_limited: Counter,
    batches: Counter,
    batched_envelopes: Counter,
    stored: Counter,
    ordered: Counter,
    conflicted: Counter,
    /// In picodollars.
    fees: Counter,
    /// Of what was stored or ordered.
    bytes: Counter,
    refused: Vec<Counter>,
    /// By hundreds: 1xx to 5xx.
    requests: [Counter; 5],
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            send_duration: Histogram::default(),
            publish_duration: Histogram::default(),
            failed_batches: Counter::default(),
            lies: Counter::default(),
            retries: Counter::default(),
            rate_limited: Counter::default(),
            batches: Counter::default(),
            batched_envelopes: Counter::default(),
            stored: Counter::default(),
            ordered: Counter::default(),
            conflicted: Counter::default(),
            fees: Counter::default(),
            bytes: Counter::default(),
            refused: ErrorCode::ALL.iter().map(|_| Counter::default()).collect(),
            requests: Default::default(),
        }
    }
}

impl Metrics {
    /// Counts a signed batch and its envelopes.
    pub fn batch_sent(&self, envelopes: usize) {
        self.batches.increment();
        self.batched_envelopes.add(u64::try_from(envelopes).unwrap_or(u64::MAX));
    }

    /// Counts what became of an envelope.
    pub fn sent(&self, result: &SendResult) {
        match result {
            SendResult::Stored(_) => self.stored.increment(),
            SendResult::Refused { code } => self.refused(*code),
            SendResult::Ordered(receipt) => match receipt.decided.outcome {
                Outcome::Applied { .. } => self.ordered.increment(),
                Outcome::Conflict { .. } => self.conflicted.increment(),
                Outcome::Refused { code } => self.refused(code),
            },
        }
    }

    /// Counts a refused envelope, or a request refused as a whole.
    pub fn refused(&self, code: ErrorCode) {
        let place = ErrorCode::ALL.iter().position(|known| *known == code);
        if let Some(counter) = place.and_then(|place| self.refused.get(place)) {
            counter.increment();
        }
    }

    /// Counts what was spent.
    pub fn spent(&self, spent: &Spent) {
        self.fees.add(u64::try_from(spent.fee.0).unwrap_or(u64::MAX));
        self.bytes.add(spent.bytes);
    }

    /// Counts an answered HTTP request.
    pub fn answered(&self, status: u16) {
        let class = usize::from(status / 100).checked_sub(1);
        if let Some(counter) = class.and_then(|class| self.requests.get(class)) {
            counter.increment();
        }
    }

    /// Everything counted, the nodes' health, and how the payers are off, in the Prometheus text
    /// format.
    #[must_use]
    pub fn exposition(&self, network: &Network, payers: &[PayerReport]) -> String {
        let mut text = Exposition::default();
        self.write_results(&mut text);
        let counters = [
            ("tidings_gateway_batches_total", "Signed batches.", &self.batches),
            (
                "tidings_gateway_batched_envelopes_total",
                "Envelopes in signed batches.",
                &self.batched_envelopes,
            ),
            (
                "tidings_gateway_failed_batches_total",
                "Batches that a node did not answer.",
                &self.failed_batches,
            ),
            (
                "tidings_gateway_unverified_answers_total",
                "Answers of nodes that did not verify.",
                &self.lies,
            ),
            ("tidings_gateway_retries_total", "Attempts after the first.", &self.retries),
            (
                "tidings_gateway_rate_limited_total",
                "Requests over the address limit.",
                &self.rate_limited,
            ),
            (
                "tidings_gateway_fees_picodollars_total",
                "Fees of what was stored or ordered.",
                &self.fees,
            ),
            (
                "tidings_gateway_stored_bytes_total",
                "Bytes that were stored or ordered.",
                &self.bytes,
            ),
        ];
        for (name, help, counter) in counters {
            text.family(name, "counter", help);
            text.sample(name, &[], counter.value());
        }
        text.histogram(
            "tidings_gateway_send_seconds",
            "Duration of send requests.",
            &self.send_duration,
        );
        text.histogram(
            "tidings_gateway_publish_seconds",
            "Time that nodes took to answer batches.",
            &self.publish_duration,
        );
        write_health(&mut text, &network.health());
        write_payers(&mut text, payers);
        text.into_text()
    }

    fn write_results(&self, text: &mut Exposition) {
        let name = "tidings_gateway_send_results_total";
        text.family(name, "counter", "Envelopes by what became of them.");
        text.sample(name, &[("result", "stored")], self.stored.value());
        text.sample(name, &[("result", "ordered")], self.ordered.value());
        text.sample(name, &[("result", "conflicted")], self.conflicted.value());
        for (code, counter) in ErrorCode::ALL.iter().zip(&self.refused) {
            if counter.value() > 0 {
                text.sample(name, &[("result", code.as_str())], counter.value());
            }
        }
        let name = "tidings_gateway_http_requests_total";
        text.family(name, "counter", "Answered requests by status class.");
        for (class, counter) in (1..).zip(&self.requests) {
            text.sample(name, &[("class", &format!("{class}xx"))], counter.value());
        }
    }
}

fn write_payers(text: &mut Exposition, payers: &[PayerReport]) {
    let name = "tidings_gateway_payer_ready";
    text.family(name, "gauge", "Whether the payer can pay now.");
    for payer in payers {
        text.sample(name, &[("payer", &payer.payer.to_string())], u64::from(payer.can_pay));
    }
    let reports = payers.iter().filter_map(|it| Some((it.payer.to_string(), it.funds.as_ref()?)));
    let reports: Vec<_> = reports.collect();
    if !reports.is_empty() {
        write_funds(text, &reports);
    }
}

fn write_funds(text: &mut Exposition, reports: &[(String, &FundsReport)]) {
    // The form has no larger numbers; a payer with more has no need to know.
    let amount = |amount: PicoDollarsTotal| u64::try_from(amount.0).unwrap_or(u64::MAX);
    type OfPayer = fn(&FundsReport) -> PicoDollarsTotal;
    let of_payer: [(&str, &str, OfPayer); 2] = [
        ("balance", "What the payer has on the chain.", |funds| funds.balance_picodollars),
        ("owed", "What is spent of it and not charged yet.", |funds| funds.owed_picodollars),
    ];
    for (name, help, of) in of_payer {
        let name = format!("tidings_gateway_funds_{name}_picodollars");
        text.family(&name, "gauge", help);
        for (payer, funds) in reports {
            text.sample(&name, &[("payer", payer)], amount(of(funds)));
        }
    }
    type OfShard = fn(&ShardReport) -> PicoDollarsTotal;
    let of_shard: [(&str, &str, OfShard); 2] = [
        ("cap", "What may be spent for a shard in the present period.", |it| it.cap_picodollars),
        ("cap_spent", "What is spent of it.", |it| it.spent_picodollars),
    ];
    for (name, help, of) in of_shard {
        let name = format!("tidings_gateway_{name}_picodollars");
        text.family(&name, "gauge", help);
        for (payer, shard) in reports.iter().flat_map(|(payer, funds)| {
            let shards = funds.shards.iter();
            shards.map(move |shard| (payer, shard))
        }) {
            let labels = [("payer", payer.as_str()), ("shard", &shard.shard.to_string())];
            text.sample(&name, &labels, amount(of(shard)));
        }
    }
}

fn write_health(text: &mut Exposition, health: &HealthTable) {
    let name = "tidings_gateway_node_healthy";
    text.family(name, "gauge", "Whether the node answered and serves.");
    for (node, seen) in health {
        text.sample(name, &[("node", &node.to_string())], u64::from(seen.healthy));
    }
    let name = "tidings_gateway_node_latency_microseconds";
    text.family(name, "gauge", "Smoothed time of a status look-up.");
    for (node, seen) in health {
        if let Some(latency) = seen.latency {
            let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            text.sample(name, &[("node", &node.to_string())], us);
        }
    }
}

/// A document in the Prometheus text format; writing to a string cannot fail.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// The document.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }

    /// Begins a family of samples of a kind.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample. Label values hold no quote, backslash or newline.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<_> =
            labels.iter().map(|(label, text)| format!("{label}=\"{text}\"")).collect();
        let _ = match labels.is_empty() {
            true => writeln!(self.0, "{name} {value}"),
            false => writeln!(self.0, "{name}{{{}}} {value}", labels.join(",")),
        };
    }

    /// A family of one histogram, in seconds.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        for (place, count) in histogram.counts.iter().enumerate() {
            below += count.value();
            let end = BUCKETS_US.get(place).map_or_else(|| "+Inf".to_owned(), |us| seconds(*us));
            self.sample(&bucket, &[("le", &end)], below);
        }
        let sum = seconds(histogram.sum_us.value());
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
    use tidings_types::{EthereumAddress, NetworkId, ShardId};

    use super::*;
    use crate::account::ShardReport;
    use crate::network::NodeClient;

    #[test]
    fn the_text_form_is_that_of_prometheus() {
        // covers: GTW-013
        let metrics = Metrics::default();
        metrics.send_duration.observe(Duration::from_millis(1));
        metrics.send_duration.observe(Duration::from_micros(3_500));
        metrics.send_duration.observe(Duration::from_secs(60));
        metrics.sent(&SendResult::Refused { code: ErrorCode::Unreachable });
        metrics.batch_sent(7);
        metrics.answered(404);
        let client = NodeClient::new(Duration::from_secs(1)).unwrap();
        let network = Network::new(NetworkId([1; 32]), Vec::new(), client, Duration::ZERO);
        metrics.spent(&Spent { envelopes: 1, bytes: 3, fee: PicoDollarsTotal(1 << 70) });
        let shard = ShardReport {
            shard: ShardId(2),
            cap_picodollars: PicoDollarsTotal(9),
            spent_picodollars: PicoDollarsTotal(4),
        };
        let funds = FundsReport {
            balance_picodollars: PicoDollarsTotal(1 << 70),
            owed_picodollars: PicoDollarsTotal(4),
            available_picodollars: PicoDollarsTotal(5),
            shards: vec![shard],
        };
        assert!(!metrics.exposition(&network, &[]).contains("_funds_"));
        let payers = [(1, Some(funds)), (2, None)].map(|(byte, funds)| PayerReport {
            payer: EthereumAddress([byte; 20]),
            can_pay: funds.is_some(),
            funds,
        });
        let text = metrics.exposition(&network, &payers);
        for line in [
            "# TYPE tidings_gateway_send_seconds histogram",
            "tidings_gateway_send_seconds_bucket{le=\"0.001\"} 1",
            "tidings_gateway_send_seconds_bucket{le=\"0.005\"} 2",
            "tidings_gateway_send_seconds_bucket{le=\"+Inf\"} 3",
            "tidings_gateway_send_seconds_sum 60.0045",
            "tidings_gateway_send_seconds_count 3",
            "tidings_gateway_send_results_total{result=\"unreachable\"} 1",
            "tidings_gateway_batched_envelopes_total 7",
            "tidings_gateway_http_requests_total{class=\"4xx\"} 1",
            "tidings_gateway_stored_bytes_total 3",
            "tidings_gateway_payer_ready{payer=\"PAYER\"} 1",
            "tidings_gateway_payer_ready{payer=\"0x0202020202020202020202020202020202020202\"} 0",
            "tidings_gateway_funds_balance_picodollars{payer=\"PAYER\"} 18446744073709551615",
            "tidings_gateway_funds_owed_picodollars{payer=\"PAYER\"} 4",
            "tidings_gateway_cap_picodollars{payer=\"PAYER\",shard=\"2\"} 9",
            "tidings_gateway_cap_spent_picodollars{payer=\"PAYER\",shard=\"2\"} 4",
        ] {
            let line = line.replace("PAYER", &format!("0x{}", "01".repeat(20)));
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
