//! The task that comes to usage reports, over blocks and entries that are really stored.

use std::sync::Arc;

use tidings_envelope::registry::{FeeSchedule, NodeRecord, PayerRecord};
use tidings_envelope::{
    Block, DecidedOperation, Operation, Outcome, PeriodMarker, PeriodStatement, Registry,
    RegistryHistory, ReportAttestation, SignedAttestation, SignedCheckpoint, UsageReport,
};
use tidings_node::settlement::{MeteringInputs, SettlementBook, run};
use tidings_node::storage::Storage;
use tidings_payer::{Ledger, Meter};
use tidings_replica::store::{Decided, Flush, WriteSet};
use tidings_types::ed25519::PublicKey;
use tidings_types::node_key::NodeKey;
use tidings_types::{
    BoundedVec, EthereumAddress, Genesis, NodeId, Period, PicoDollarsTotal, Position,
    RegistryEpoch, ShardId,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::fixture::{Item, LaneWriter, LogWriter, NETWORK, decided, open};

/// Whoever every entry here is billed to.
const PAYER: EthereumAddress = EthereumAddress([3; 20]);

fn key(node: u32) -> NodeKey {
    NodeKey::from_secret(&[u8::try_from(node).unwrap(); 32]).unwrap()
}

/// Four nodes keep two shards.
fn registries() -> RegistryHistory {
    let node = |id: u32| NodeRecord {
        id: NodeId(id),
        name: format!("node-{id}"),
        signing: key(id).address(),
        transport: PublicKey([id as u8; 32]),
        quic: String::new(),
        http: String::new(),
        weight: 1,
        active: true,
    };
    RegistryHistory::new(Arc::new(Registry {
        genesis: Genesis::without_chain([1; 32].into()),
        epoch: RegistryEpoch(1),
        shard_count: 2,
        replication_factor: 4,
        period_ms: 10_000,
        mailbox_buckets: 1,
        nodes: (1..=4).map(node).collect(),
        payers: vec![PayerRecord::unlimited(PAYER, Vec::new())],
        edges: Vec::new(),
        fees: FeeSchedule::default(),
    }))
}

/// A shard's lane and the log of one node, as they are made elsewhere.
struct Shard {
    lane: LaneWriter,
    log: LogWriter,
    period: Period,
}

impl Shard {
    fn new(number: u16) -> Self {
        let mut log = LogWriter::new(1, 1);
        log.log.shard = ShardId(number);
        let lane = LaneWriter { shard: ShardId(number), ..LaneWriter::default() };
        Self { lane, log, period: Period(0) }
    }

    fn apply(&mut self, operations: Vec<Operation>) -> Decided {
        let outcome = Outcome::Applied { position: Position(1) };
        let decided =
            operations.into_iter().map(|operation| DecidedOperation { operation, outcome });
        let block = self.lane.block_of(self.period, decided.collect());
        self.lane.certify(block, Vec::new())
    }

    fn begin_period(&mut self) -> Decided {
        self.period = self.period.plus(1);
        self.apply(vec![Operation::PeriodMarker(PeriodMarker::new(self.period))])
    }

    /// Some of the committee state that they hold the log up to a checkpoint.
    fn state(&mut self, nodes: &[u32], checkpoint: SignedCheckpoint) -> Decided {
        let statements = nodes.iter().map(|node| {
            let about = (NodeId(*node), self.lane.shard, self.period);
            let held = vec![checkpoint].try_into().unwrap();
            let statement =
                PeriodStatement::sign(about, held, BoundedVec::default(), 0, &key(*node), NETWORK);
            Operation::Statement(Box::new(statement))
        });
        let statements = statements.collect();
        self.apply(statements)
    }

    /// The periods 1 to 4, so that 1 and 2 are reported: in the first, two flushes of the log are
    /// pinned, in the second another one.
    fn two_periods(&mut self) -> (Vec<Flush>, Vec<Decided>) {
        let item = |topic, fee_period| Item { fee_period, ..Item::of(topic) };
        let mut blocks = vec![self.begin_period()];
        let one = self.log.flush(&[item(1, 1), item(2, 1), item(1, 1)], 1);
        let two = self.log.flush(&[item(3, 1), item(1, 2)], 1);
        blocks.push(self.state(&[1, 2, 3, 4], two.checkpoint));
        blocks.push(self.begin_period());
        let three = self.log.flush(&[item(2, 2), item(2, 2)], 2);
        blocks.push(self.state(&[2, 3], three.checkpoint));
        blocks.extend([self.begin_period(), self.begin_period()]);
        (vec![one, two, three], blocks)
    }

    /// The ledgers after each report, by a meter that is handed everything.
    fn by_hand(&self) -> Vec<Ledger> {
        let (mut meter, registries) = (Meter::new(self.lane.shard, NETWORK), registries());
        let mut ledgers = Vec::new();
        for certified in &self.lane.blocks {
            let block: &Block = &certified.block;
            meter.take_block(block, &registries).unwrap();
            let Some(pins) = meter.pins().map(<[_]>::to_vec) else { continue };
            for pin in pins {
                let entries = &self.log.entries[pin.from.0 as usize..pin.size.0 as usize];
                entries.iter().for_each(|entry| meter.count(pin.log, &entry.header).unwrap());
                meter.counted(pin.log, pin.root);
            }
            meter.close().unwrap();
            ledgers.push(meter.ledger().clone());
        }
        ledgers
    }

    fn reports(&self) -> Vec<UsageReport> {
        self.by_hand().iter().map(|ledger| *ledger.last().unwrap()).collect()
    }
}

/// The task of node 1.
struct Metering {
    book: Arc<SettlementBook>,
    reports: mpsc::Receiver<UsageReport>,
    blocks: watch::Sender<()>,
    task: JoinHandle<()>,
    _registries: watch::Sender<Arc<RegistryHistory>>,
}

impl Metering {
    fn start(storage: &Arc<Storage>) -> Self {
        let (registries, known) = watch::channel(Arc::new(registries()));
        let (blocks, news) = watch::channel(());
        let (told, reports) = mpsc::channel(16);
        let book = Arc::new(SettlementBook::default());
        let inputs = MeteringInputs {
            node: NodeId(1),
            network: NETWORK,
            storage: Arc::clone(storage),
            registries: known,
            blocks: news,
            reports: told,
            book: Arc::clone(&book),
        };
        Self { book, reports, blocks, task: tokio::spawn(run(inputs)), _registries: registries }
    }

    async fn next(&mut self) -> UsageReport {
        self.reports.recv().await.unwrap()
    }

    fn periods(&self, shard: u16) -> usize {
        self.book.reports(ShardId(shard), Period(0), usize::MAX).len()
    }

    async fn write(&self, storage: &Storage, set: WriteSet) {
        storage.write(&set).await.unwrap();
        self.blocks.send_replace(());
    }

    async fn end(self) {
        drop(self.blocks);
        self.task.await.unwrap();
    }
}

fn flushed(flushes: Vec<Flush>) -> WriteSet {
    WriteSet { flushes, ..WriteSet::default() }
}

pub async fn reports_are_those_of_a_meter_fed_by_hand_before_and_after_a_restart(url: String) {
    // covers: SET-004
    let storage = Arc::new(open(&url).await);
    let mut shard = Shard::new(0);
    let (flushes, blocks) = shard.two_periods();
    let mut metering = Metering::start(&storage);
    metering.write(&storage, WriteSet { flushes, ..decided(blocks) }).await;
    let expected = shard.by_hand();
    for ledger in &expected {
        let report = metering.next().await;
        assert_eq!(Some(&report), ledger.last());
        let known = metering.book.ledger(ShardId(0), report.last).unwrap();
        assert_eq!(&*known, ledger);
    }
    // An entry of the second period was written in the first, and waited.
    let billed = expected.iter().map(|ledger| ledger.billed_to(PAYER));
    assert_eq!(billed.collect::<Vec<_>>(), [20, 35].map(PicoDollarsTotal));

    // Members attest; the node hears of it by a block.
    let report = *expected[0].last().unwrap();
    let wrong = UsageReport { usage: [1; 32], ..report };
    let attested = [(4, wrong), (1, report), (2, report), (3, report)].map(|(node, report)| {
        let attestation = SignedAttestation::sign(NodeId(node), report.digest(NETWORK), &key(node));
        Operation::Attestation(Box::new(ReportAttestation { report, attestation }))
    });
    let block = shard.apply(attested.to_vec());
    let mut news = metering.book.subscribe();
    metering.write(&storage, decided(vec![block])).await;
    while !metering.book.report(ShardId(0), Period(1)).unwrap().is_attested {
        news.changed().await.unwrap();
    }
    let before = metering.book.reports(ShardId(0), Period(0), 9);
    assert_eq!(before[0].attestations.len(), 3);
    assert_eq!(before[0].differing, [(NodeId(4), "usage")]);
    assert!(!before[1].is_attested);
    metering.end().await;
    storage.close().await;

    let storage = Arc::new(open(&url).await);
    let mut metering = Metering::start(&storage);
    for expected in shard.reports() {
        assert_eq!(metering.next().await, expected);
    }
    let mut news = metering.book.subscribe();
    while metering.book.reports(ShardId(0), Period(0), 9) != before {
        news.changed().await.unwrap();
    }
    metering.end().await;
    storage.close().await;
}

pub async fn entries_that_are_not_here_yet_are_waited_for(url: String) {
    // covers: SET-004
    let storage = Arc::new(open(&url).await);
    let (mut late, mut whole) = (Shard::new(0), Shard::new(1));
    let (flushes, blocks) = late.two_periods();
    let [one, two, three] = <[Flush; 3]>::try_from(flushes).unwrap();
    storage.write(&WriteSet { flushes: vec![one], ..decided(blocks) }).await.unwrap();
    let (flushes, blocks) = whole.two_periods();
    storage.write(&WriteSet { flushes, ..decided(blocks) }).await.unwrap();

    // The first shard comes first, and lacks entries.
    let mut metering = Metering::start(&storage);
    let expected = whole.reports();
    assert_eq!([metering.next().await, metering.next().await], expected[..]);
    assert_eq!(metering.periods(0), 0);

    // What was there at first is counted once.
    let expected = late.reports();
    metering.write(&storage, flushed(vec![two])).await;
    assert_eq!(metering.next().await, expected[0]);
    metering.write(&storage, flushed(vec![three])).await;
    assert_eq!(metering.next().await, expected[1]);
    metering.end().await;
    storage.close().await;
}

pub async fn another_history_makes_another_report(url: String) {
    // covers: SET-004
    // covers: SET-023
    let storage = Arc::new(open(&url).await);
    let (mut shard, mut sound) = (Shard::new(0), Shard::new(1));
    let (flushes, blocks) = shard.two_periods();
    // As many entries under the same log, and other ones.
    let mut other = Shard::new(0).log;
    let others = flushes.iter().map(|flush| {
        let items: Vec<_> = flush.entries.iter().map(|_| Item::of(9)).collect();
        other.flush(&items, 1)
    });
    let others = others.collect();
    storage.write(&WriteSet { flushes: others, ..decided(blocks) }).await.unwrap();
    let (flushes, blocks) = sound.two_periods();
    storage.write(&WriteSet { flushes, ..decided(blocks) }).await.unwrap();

    let mut metering = Metering::start(&storage);
    let mut made = Vec::new();
    for _ in 0..4 {
        made.push(metering.next().await);
    }
    let of = |shard| made.iter().filter(move |it| it.shard == ShardId(shard)).copied();
    assert_eq!(of(1).collect::<Vec<_>>(), sound.reports());
    for (mine, theirs) in of(0).zip(shard.reports()) {
        assert!(mine.last == theirs.last && mine.ranges != theirs.ranges, "{mine:?}");
    }
    assert_eq!((metering.periods(0), metering.periods(1)), (2, 2));
    metering.end().await;
    storage.close().await;
}
