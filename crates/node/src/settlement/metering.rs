//! The task that reads final blocks and pinned entries, and comes to the reports.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidings_envelope::{LogId, Operation, Outcome, RegistryHistory, UsageReport};
use tidings_payer::{Attestations, Meter, MeterError, Pin};
use tidings_tlog::Frontier;
use tidings_types::constants::BLOCK_BYTES_MAX;
use tidings_types::{LogIndex, NetworkId, NodeId, Period, ShardId};
use tokio::sync::{mpsc, watch};

use super::book::{AttestedReport, SettlementBook};
use crate::storage::{Storage, StorageError};

/// Blocks read at once.
const BLOCKS_AT_ONCE: usize = 64;

/// Entries read at once.
const ENTRIES_AT_ONCE: u64 = 1_000;

/// How long to wait for what is not here yet, before it is looked for again.
const RETRY: Duration = Duration::from_millis(500);

/// How many periods attestations are waited for.
const ATTESTATION_PERIODS: u64 = 4_096;

/// What metering needs.
#[derive(Debug)]
pub struct MeteringInputs {
    /// Which node this is.
    pub node: NodeId,
    /// Of which network.
    pub network: NetworkId,
    /// Where blocks and entries are.
    pub storage: Arc<Storage>,
    /// The registries that this node knows.
    pub registries: watch::Receiver<Arc<RegistryHistory>>,
    /// Changes with every block that is final and durable here.
    pub blocks: watch::Receiver<()>,
    /// Where reports of shards that this node keeps go to be attested.
    pub reports: mpsc::Sender<UsageReport>,
    /// Where every report is written down.
    pub book: Arc<SettlementBook>,
}

/// Why a shard goes no further for now.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Meter(#[from] MeterError),
    #[error("entries of log {0} are not here yet")]
    Missing(LogId),
    #[error("log {0} has another history here than the one that members hold")]
    OtherHistory(LogId),
    #[error("the node is stopping")]
    Stopping,
}

/// One shard's meter with what its task keeps beside it.
struct ShardMeter {
    meter: Meter,
    attestations: Attestations,
    frontiers: BTreeMap<LogId, Frontier>,
    told: Option<String>,
}

/// Meters every shard from its first block on, until nobody sends blocks or takes reports any more.
pub async fn run(mut inputs: MeteringInputs) {
    let mut shards: BTreeMap<ShardId, ShardMeter> = BTreeMap::new();
    loop {
        let registries = inputs.registries.borrow().clone();
        for shard in (0..registries.latest().shard_count).map(ShardId) {
            let network = inputs.network;
            let meter = shards.entry(shard).or_insert_with(|| ShardMeter::new(shard, network));
            match meter.proceed(&inputs, &registries).await {
                Err(Stopped::Stopping) => return,
                Err(stopped) => meter.tell(shard, &stopped),
                Ok(()) => meter.told = None,
            }
        }
        tokio::select! {
            changed = inputs.blocks.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

impl ShardMeter {
    fn new(shard: ShardId, network: NetworkId) -> Self {
        Self {
            meter: Meter::new(shard, network),
            attestations: Attestations::default(),
            frontiers: BTreeMap::new(),
            told: None,
        }
    }

    /// Tells the operator once why there are no new reports.
    fn tell(&mut self, shard: ShardId, stopped: &Stopped) {
        let reason = stopped.to_string();
        if self.told.as_ref() == Some(&reason) {
            return;
        }
        match stopped {
            // Replication and registries come a little later than blocks.
            Stopped::Missing(_) | Stopped::Meter(MeterError::Registry(_)) => {
                tracing::debug!(%shard, reason, "metering waits");
            }
            _ => tracing::warn!(%shard, reason, "metering waits"),
        }
        self.told = Some(reason);
    }

    /// Goes on as far as what is here reaches.
    async fn proceed(
        &mut self,
        inputs: &MeteringInputs,
        registries: &RegistryHistory,
    ) -> Result<(), Stopped> {
        loop {
            if self.meter.pins().is_some() {
                self.close(inputs, registries).await?;
            }
            let (shard, from) = (self.meter.ledger().shard(), self.meter.height().plus(1));
            let blocks =
                inputs.storage.blocks(shard, from, BLOCKS_AT_ONCE, BLOCK_BYTES_MAX).await?;
            if blocks.is_empty() {
                return Ok(());
            }
            for certified in &blocks {
                self.meter.take_block(&certified.block, registries)?;
                self.note_attestations(&certified.block, inputs, registries);
                if self.meter.pins().is_some() {
                    self.close(inputs, registries).await?;
                }
            }
        }
    }

    /// Counts what is pinned and closes the period.
    async fn close(
        &mut self,
        inputs: &MeteringInputs,
        registries: &RegistryHistory,
    ) -> Result<(), Stopped> {
        // What was counted before something was missing is not counted twice.
        let mut after = self.meter.clone();
        let mut frontiers = Vec::new();
        for pin in self.meter.pins().unwrap_or_default() {
            let before = self.frontiers.get(&pin.log).cloned().unwrap_or_default();
            frontiers.push((pin.log, count(&mut after, pin, before, &inputs.storage).await?));
        }
        let report = after.close(registries)?;
        self.meter = after;
        self.frontiers.extend(frontiers);
        self.publish(report, inputs, registries).await
    }

    async fn publish(
        &mut self,
        report: UsageReport,
        inputs: &MeteringInputs,
        registries: &RegistryHistory,
    ) -> Result<(), Stopped> {
        let (shard, last) = (report.shard, report.last);
        let attested = AttestedReport { report, attestations: Vec::new(), is_attested: false };
        inputs.book.add_report(attested, self.meter.ledger().clone());
        self.refresh(&report, inputs, registries);
        let registry = registries.at(report.epoch).unwrap_or_else(|| registries.latest());
        tracing::debug!(%shard, period = %last, billed = %report.billed.0, "a period is closed");
        if registry.committee(shard).contains(&inputs.node) {
            inputs.reports.send(report).await.map_err(|_| Stopped::Stopping)?;
        }
        self.attestations.forget_before(last.minus(ATTESTATION_PERIODS));
        Ok(())
    }

    fn note_attestations(
        &mut self,
        block: &tidings_envelope::Block,
        inputs: &MeteringInputs,
        registries: &RegistryHistory,
    ) {
        let shard = block.header.shard;
        for decided in block.operations.iter() {
            let Operation::Attestation(attested) = &decided.operation else { continue };
            if !matches!(decided.outcome, Outcome::Applied { .. }) {
                continue;
            }
            self.attestations.note(**attested);
            let last: Period = attested.report.last;
            if let Some(known) = inputs.book.report(shard, last) {
                self.refresh(&known.report, inputs, registries);
            }
        }
    }

    /// Writes down who attested a report, and tells of those who came to another one.
    fn refresh(&self, report: &UsageReport, inputs: &MeteringInputs, registries: &RegistryHistory) {
        let about = (report.shard, report.last);
        for (node, field) in self.attestations.differing(report) {
            tracing::error!(%node, shard = %about.0, period = %about.1, field,
                "a member came to another usage report; this is the first difference");
        }
        let registry = registries.at(report.epoch);
        let quorum = registry
            .and_then(|registry| self.attestations.quorum(report, registry, inputs.network));
        let is_attested = quorum.is_some();
        let attestations = quorum.unwrap_or_else(|| self.attestations.of(report));
        inputs.book.set_attestations(about, attestations, is_attested);
    }
}

/// Counts the entries of a pin; answers the log's tree up to its end.
async fn count(
    meter: &mut Meter,
    pin: &Pin,
    mut tree: Frontier,
    storage: &Storage,
) -> Result<Frontier, Stopped> {
    let (mut next, end) = (pin.from, pin.size.next_index());
    while next < end {
        let to = next.plus(ENTRIES_AT_ONCE).min(end);
        let headers = storage.headers(pin.log, next, to).await?;
        if (headers.len() as u64) < to.0 - next.0 {
            return Err(Stopped::Missing(pin.log));
        }
        for (index, header) in (next.0..).map(LogIndex).zip(&headers) {
            if header.index != index {
                return Err(Stopped::Missing(pin.log));
            }
            tree.append(header.hash().0);
            meter.count(pin.log, header)?;
        }
        next = to;
    }
    match tree.root() == pin.root {
        true => Ok(tree),
        false => Err(Stopped::OtherHistory(pin.log)),
    }
}
