//! The task that reads final blocks and pinned entries, and comes to the reports.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidings_envelope::{LogId, Operation, RegistryHistory, UsageReport};
use tidings_payer::{Attestations, Meter, MeterError, Pin};
use tidings_tlog::Frontier;
use tidings_types::constants::BLOCK_BYTES_MAX;
use tidings_types::{LogIndex, NetworkId, NodeId, ShardId};
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
    #[error("the node is stopping")]
    Stopping,
}

/// One shard's meter with what its task keeps beside it.
struct ShardMeter {
    meter: Meter,
    attestations: Attestations,
    /// The trees of logs up to the entry that was counted last.
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
        let pins = self.meter.pins().unwrap_or_default().to_vec();
        for pin in &pins {
            // When something is missing, it is gone on from here later.
            let tree = self.frontiers.entry(pin.log).or_default();
            count(&mut self.meter, pin, tree, &inputs.storage).await?;
        }
        let report = self.meter.close()?;
        self.publish(report, inputs, registries).await
    }

    async fn publish(
        &mut self,
        report: UsageReport,
        inputs: &MeteringInputs,
        registries: &RegistryHistory,
    ) -> Result<(), Stopped> {
        let (shard, last) = (report.shard, report.last);
        let attested = AttestedReport::unattested(report);
        inputs.book.add_report(attested, self.meter.ledger().clone());
        for (node, field) in self.attestations.differing(&report) {
            tell_difference(node, &report, field);
        }
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
            let (report, node) = (&attested.report, attested.attestation.node);
            let registry = registries.at(report.epoch);
            // Whoever is in no committee has nothing to attest, and nobody keeps it.
            let counts = registry.is_some_and(|it| it.committee(shard).contains(&node));
            if !counts || !decided.outcome.is_applied() {
                continue;
            }
            self.attestations.note(**attested);
            if let Some(known) = inputs.book.report(shard, report.last) {
                if let Some(field) = known.report.first_difference(report) {
                    tell_difference(node, &known.report, field);
                }
                self.refresh(&known.report, inputs, registries);
            }
        }
    }

    /// Writes down who attested a report, and who another one.
    fn refresh(&self, report: &UsageReport, inputs: &MeteringInputs, registries: &RegistryHistory) {
        let registry = registries.at(report.epoch);
        let quorum = registry
            .and_then(|registry| self.attestations.quorum(report, registry, inputs.network));
        let is_attested = quorum.is_some();
        let attestations = quorum.unwrap_or_else(|| self.attestations.of(report));
        let differing = self.attestations.differing(report);
        let report = *report;
        let attested = AttestedReport { report, attestations, differing, is_attested };
        inputs.book.set_attestations(attested);
    }
}

/// Tells the operator that a member differs (SET-004).
fn tell_difference(node: NodeId, report: &UsageReport, field: &'static str) {
    tracing::error!(%node, shard = %report.shard, period = %report.last, field,
        "a member came to another usage report; this is the first difference");
}

/// Counts the entries of a pin that `tree` does not have yet, and adds them to it.
async fn count(
    meter: &mut Meter,
    pin: &Pin,
    tree: &mut Frontier,
    storage: &Storage,
) -> Result<(), Stopped> {
    let (mut next, end) = (tree.size().next_index(), pin.size.next_index());
    while next < end {
        let to = next.plus(ENTRIES_AT_ONCE).min(end);
        let headers = storage.headers(pin.log, next, to).await?;
        for (index, header) in (next.0..).map(LogIndex).zip(&headers) {
            if header.index != index {
                return Err(Stopped::Missing(pin.log));
            }
            meter.count(pin.log, header)?;
            tree.append(header.hash().0);
        }
        next = tree.size().next_index();
        if next < to {
            return Err(Stopped::Missing(pin.log));
        }
    }
    if tree.root() != pin.root {
        tracing::error!(log = %pin.log, size = %pin.size,
            "members hold another history of a log, or say so");
    }
    meter.counted(pin.log, tree.root());
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidings_envelope::registry::{FeeSchedule, NodeRecord, PayerRecord, Registry};
    use tidings_envelope::{
        Block, BlockHeader, Checkpoint, DecidedOperation, EntryHeader, Outcome, PeriodMarker,
        PeriodStatement, SignedCheckpoint, Topic,
    };
    use tidings_replica::store::{EntryRecord, Flush, WriteSet};
    use tidings_types::constants::PROTOCOL_VERSION;
    use tidings_types::ed25519::PublicKey;
    use tidings_types::node_key::NodeKey;
    use tidings_types::{
        BlockHash, BoundedVec, EntryHash, EnvelopeId, EthereumAddress, Genesis, Height,
        Incarnation, Period, PicoDollars, Position, RegistryEpoch, TimestampSeconds, TopicIndex,
    };

    use super::*;

    const SHARD: ShardId = ShardId(0);
    const LOG: LogId = LogId { node: NodeId(1), shard: SHARD, incarnation: Incarnation(1) };
    const PAYER: EthereumAddress = EthereumAddress([7; 20]);

    fn key() -> NodeKey {
        NodeKey::from_secret(&[1; 32]).unwrap()
    }

    fn registry() -> Registry {
        let node = NodeRecord {
            id: NodeId(1),
            name: "node-1".into(),
            signing: key().address(),
            transport: PublicKey([1; 32]),
            quic: String::new(),
            http: String::new(),
            weight: 1,
            active: true,
        };
        Registry {
            genesis: Genesis::without_chain([1; 32].into()),
            epoch: RegistryEpoch(1),
            shard_count: 1,
            replication_factor: 1,
            period_ms: 10_000,
            mailbox_buckets: 1,
            nodes: vec![node],
            payers: vec![PayerRecord::unlimited(PAYER, Vec::new())],
            edges: Vec::new(),
            fees: FeeSchedule::default(),
        }
    }

    fn network() -> NetworkId {
        registry().network_id()
    }

    fn header(index: u64) -> EntryHeader {
        let number = u8::try_from(index).unwrap();
        EntryHeader {
            version: PROTOCOL_VERSION,
            envelope_id: EnvelopeId([number; 32]),
            index: LogIndex(index),
            timestamp: TimestampSeconds(1),
            topic: Topic::group(&PublicKey([1; 32])),
            topic_index: TopicIndex(index),
            previous: EntryHash([0; 32]),
            payer: PAYER,
            payload_hash: [1; 32],
            payload_length: 1,
            retention_days: 1,
            fee_period: Period(1),
            fee: PicoDollars(1),
        }
    }

    fn tree(size: u64) -> Frontier {
        let mut tree = Frontier::default();
        (0..size).for_each(|index| tree.append(header(index).hash().0));
        tree
    }

    fn checkpoint(size: u64, root: [u8; 32]) -> SignedCheckpoint {
        Checkpoint::new(LOG, tree(size).size(), root, Period(1)).sign(&key(), network())
    }

    /// A meter whose shard has one member, which has stated what it holds.
    fn pinned(held: SignedCheckpoint) -> Meter {
        let marker = |period| Operation::PeriodMarker(PeriodMarker::new(Period(period)));
        let about = (NodeId(1), SHARD, Period(1));
        let held = vec![held].try_into().unwrap();
        let said = PeriodStatement::sign(about, held, BoundedVec::default(), 0, &key(), network());
        let said = Operation::Statement(Box::new(said));
        let mut meter = Meter::new(SHARD, network());
        let registries = RegistryHistory::new(Arc::new(registry()));
        for (height, operation) in (1..).zip([marker(1), said, marker(2), marker(3)]) {
            let outcome = Outcome::Applied { position: Position(1) };
            let header = BlockHeader {
                version: PROTOCOL_VERSION,
                shard: SHARD,
                height: Height(height),
                parent: BlockHash([0; 32]),
                period: Period(1),
                chain_reference: None,
                registry_epoch: RegistryEpoch(1),
                next_epoch: RegistryEpoch(1),
                next_committee: [0; 32],
                operations_count: 1,
                operations_root: [0; 32],
                state_root: [0; 32],
            };
            let operations = vec![DecidedOperation { operation, outcome }].try_into().unwrap();
            meter.take_block(&Block { header, operations }, &registries).unwrap();
        }
        meter
    }

    async fn append(storage: &Storage, from: u64, size: u64) {
        let record = |index| {
            let header = header(index);
            EntryRecord { header, hash: header.hash(), payload: None }
        };
        let flush = Flush {
            log: LOG,
            entries: (from..size).map(record).collect(),
            checkpoint: checkpoint(size, tree(size).root()),
            frontier: Vec::new(),
        };
        storage.write(&WriteSet { flushes: vec![flush], ..WriteSet::default() }).await.unwrap();
    }

    #[tokio::test]
    async fn what_was_missing_is_gone_on_from_and_nothing_is_counted_twice() {
        // covers: SET-004
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("node.db").display());
        let storage = Storage::open(&url, network()).await.unwrap();
        let mut meter = pinned(checkpoint(9, tree(9).root()));
        let pin = meter.pins().unwrap()[0].clone();
        let mut counted = Frontier::default();
        for (from, size) in [(0, 4), (4, 9)] {
            let missing = count(&mut meter, &pin, &mut counted, &storage).await;
            assert!(matches!(missing, Err(Stopped::Missing(LOG))), "{missing:?}");
            append(&storage, from, size).await;
        }
        count(&mut meter, &pin, &mut counted, &storage).await.unwrap();
        // Once more, as when another log is still missing.
        count(&mut meter, &pin, &mut counted, &storage).await.unwrap();
        assert_eq!(meter.close().unwrap().billed.0, 9);
        storage.close().await;
    }

    #[tokio::test]
    async fn what_members_say_of_a_root_makes_no_difference() {
        // covers: SET-023
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("node.db").display());
        let storage = Storage::open(&url, network()).await.unwrap();
        append(&storage, 0, 3).await;
        let mut reports = Vec::new();
        for said in [tree(3).root(), [9; 32]] {
            let mut meter = pinned(checkpoint(3, said));
            let pin = meter.pins().unwrap()[0].clone();
            count(&mut meter, &pin, &mut Frontier::default(), &storage).await.unwrap();
            reports.push(meter.close().unwrap());
        }
        assert_eq!((reports[0].billed.0, reports[0]), (3, reports[1]));
        storage.close().await;
    }
}
