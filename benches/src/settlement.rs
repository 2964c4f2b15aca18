//! What it takes four nodes to come to the same usage report, and to attest it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidings_envelope::registry::{CapRecord, FeeSchedule, PayerRecord};
use tidings_envelope::{
    Block, BlockHeader, Checkpoint, DecidedOperation, EntryHeader, FeeClass, LogId, Operation,
    Outcome, PeriodMarker, PeriodStatement, Registry, RegistryHistory, ReportAttestation,
    SignedCheckpoint, Tariff, Topic, UsageReport,
};
use tidings_node::storage::Storage;
use tidings_payer::{Attestations, Meter};
use tidings_replica::store::{EntryRecord, Flush, WriteSet};
use tidings_tlog::Frontier;
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::PublicKey;
use tidings_types::{
    BlockHash, BoundedVec, EntryHash, EnvelopeId, EthereumAddress, Incarnation, LogIndex, LogSize,
    NodeId, Period, PicoDollars, Position, ShardId, TimestampSeconds, TopicIndex, labelled_hash,
};

use crate::committee::{NODES, node_key, registry};
use crate::machine::resident_mib;
use crate::report::{Figure, Section};

const ENVELOPES: u64 = 1_000_000;
const PAYERS: u64 = 10_000;
const SHARD: ShardId = ShardId(0);

/// Entries written and read at once.
const ENTRIES_AT_ONCE: usize = 1_000;

/// What one node spent on a report.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    hash: Duration,
    count: Duration,
    close: Duration,
    attest: Duration,
}

impl Times {
    fn total(&self) -> Duration {
        self.hash + self.count + self.close + self.attest
    }
}

/// A log with its headers and its tree at the end.
struct Log {
    id: LogId,
    headers: Vec<EntryHeader>,
    tree: Frontier,
}

/// Four nodes count the same million entries each, and then read them from a store as well.
///
/// # Errors
/// When two nodes come to different reports.
pub async fn run() -> Result<Section> {
    let registries = RegistryHistory::new(Arc::new(capped_registry()?));
    let logs: Vec<Log> = (1..=NODES).map(log).collect();
    let blocks = blocks(&logs, &registries)?;
    let before_mib = resident_mib(std::process::id())?;
    let mut held_mib = 0;
    let mut times = Vec::new();
    let mut reports = Vec::new();
    for _ in 1..=NODES {
        let mut meter = pinned(&blocks, &registries)?;
        let mut spent = Times::default();
        count(&mut meter, &logs, &mut spent)?;
        let begun = Instant::now();
        reports.push(meter.close()?);
        spent.close = begun.elapsed();
        held_mib = held_mib.max(resident_mib(std::process::id())?.saturating_sub(before_mib));
        times.push(spent);
    }
    attest(&reports, &registries, &mut times)?;
    let read = read(&logs, &blocks, &registries, reports.first().context("a report")?).await?;
    Ok(section(&times, held_mib, read))
}

fn section(times: &[Times], held_mib: u64, read: Duration) -> Section {
    let total: Duration = times.iter().map(Times::total).sum();
    let part = |name: &str, of: fn(&Times) -> Duration| {
        let sum: Duration = times.iter().map(of).sum();
        let permille = sum.as_micros() * 1_000 / total.as_micros().max(1);
        Figure {
            name: format!("of that {name}"),
            value: format!("{}, {}.{} %", seconds(sum), permille / 10, permille % 10),
            target: "",
        }
    };
    let slowest = times.iter().map(Times::total).max().unwrap_or_default();
    Section {
        title: "Settlement of one period",
        method: format!(
            "In one process on one thread, {NODES} nodes one after the other: each counts the same \
             {ENVELOPES} pinned headers of {PAYERS} payers in {NODES} logs, hashing them up to the \
             root that is pinned, closes the period, signs the report and verifies what the others \
             signed; then once more with the headers read from SQLite, a thousand at a time."
        ),
        figures: vec![
            Figure {
                name: format!("a report by {NODES} nodes"),
                value: seconds(total),
                target: "< 5 s",
            },
            Figure { name: "the slowest node".into(), value: seconds(slowest), target: "" },
            part("hash headers", |spent| spent.hash),
            part("count", |spent| spent.count),
            part("close", |spent| spent.close),
            part("attest", |spent| spent.attest),
            Figure {
                name: "one node, headers read from SQLite".into(),
                value: seconds(read),
                target: "",
            },
            Figure {
                name: "memory of one meter".into(),
                value: format!("{held_mib} MiB"),
                target: "",
            },
        ],
    }
}

fn seconds(time: Duration) -> String {
    format!("{}.{:03} s", time.as_secs(), time.subsec_millis())
}

fn log(node: u8) -> Log {
    let incarnation = Incarnation(1);
    let id = LogId { node: NodeId(node.into()), shard: SHARD, incarnation };
    let count = ENVELOPES / u64::from(NODES);
    let first = u64::from(node - 1) * count;
    let headers: Vec<_> = (0..count).map(|index| header(first + index, index)).collect();
    let mut tree = Frontier::default();
    headers.iter().for_each(|header| tree.append(header.hash().0));
    Log { id, headers, tree }
}

/// The network's registry, in which every payer has a cap that is looked up and never reached.
fn capped_registry() -> Result<Registry> {
    let amount = PicoDollars(u64::MAX);
    let cap = CapRecord { shard: SHARD, before: amount, from: Period(0), amount };
    let unlimited = |number| PayerRecord::unlimited(payer(number), Vec::new());
    let payers =
        (0..PAYERS).map(|number| PayerRecord { caps: Some(vec![cap]), ..unlimited(number) });
    Ok(Registry { payers: payers.collect(), ..registry()? })
}

fn digest(label: &str, number: u64) -> [u8; 32] {
    labelled_hash(label, &[&number.to_be_bytes()])
}

fn payer(number: u64) -> EthereumAddress {
    let mut payer = EthereumAddress([0; 20]);
    payer.0.copy_from_slice(&digest("bench payer", number % PAYERS)[..20]);
    payer
}

fn header(number: u64, index: u64) -> EntryHeader {
    let payer = payer(number);
    let (payload_length, retention_days) = (1_724, 90);
    let fees = FeeSchedule::default();
    let tariff = Tariff::uncongested(&fees);
    let fee = tariff.fee(payload_length, retention_days, FeeClass::Broadcast).unwrap_or_default();
    EntryHeader {
        version: PROTOCOL_VERSION,
        envelope_id: EnvelopeId(digest("bench envelope", number)),
        index: LogIndex(index),
        timestamp: TimestampSeconds(1_700_000_000),
        topic: Topic::group(&PublicKey(digest("bench topic", number % PAYERS))),
        topic_index: TopicIndex(number / PAYERS),
        previous: EntryHash(digest("bench previous", number)),
        payer,
        payload_hash: digest("bench payload", number),
        payload_length,
        retention_days,
        fee_period: Period(1),
        fee,
    }
}

/// A period in which every member states that it holds all logs, and the two after it.
fn blocks(logs: &[Log], registries: &RegistryHistory) -> Result<Vec<Block>> {
    let network = registries.latest().network_id();
    let mut held: Vec<SignedCheckpoint> = Vec::new();
    for (number, log) in (1..=NODES).zip(logs) {
        let checkpoint = Checkpoint::new(log.id, log.tree.size(), log.tree.root(), Period(1));
        held.push(checkpoint.sign(&node_key(number)?, network));
    }
    let marker = |period| Operation::PeriodMarker(PeriodMarker::new(Period(period)));
    let mut operations = vec![marker(1)];
    for number in 1..=NODES {
        let about = (NodeId(number.into()), SHARD, Period(1));
        let held = BoundedVec::new(held.clone())?;
        let key = node_key(number)?;
        let statement = PeriodStatement::sign(about, held, BoundedVec::default(), 0, &key, network);
        operations.push(Operation::Statement(Box::new(statement)));
    }
    operations.extend([marker(2), marker(3)]);
    let applied = |operation| {
        let outcome = Outcome::Applied { position: Position(1) };
        BoundedVec::new(vec![DecidedOperation { operation, outcome }])
    };
    let mut blocks = Vec::new();
    let mut height = tidings_types::Height::default();
    for operation in operations {
        height = height.plus(1);
        let header = BlockHeader {
            version: PROTOCOL_VERSION,
            shard: SHARD,
            height,
            parent: BlockHash([0; 32]),
            period: Period(1),
            chain_reference: None,
            registry_epoch: registries.latest().epoch,
            next_epoch: registries.latest().epoch,
            next_committee: [0; 32],
            operations_count: 1,
            operations_root: [0; 32],
            state_root: [0; 32],
        };
        blocks.push(Block { header, operations: applied(operation)? });
    }
    Ok(blocks)
}

/// A meter that is to count what the blocks pin.
fn pinned(blocks: &[Block], registries: &RegistryHistory) -> Result<Meter> {
    let mut meter = Meter::new(SHARD, registries.latest().network_id());
    for block in blocks {
        meter.take_block(block, registries)?;
    }
    let pins = meter.pins().context("nothing is pinned")?;
    let pinned: u64 = pins.iter().map(|pin| pin.size.0 - pin.from.0).sum();
    ensure!(pinned == ENVELOPES, "{pinned} entries are pinned");
    Ok(meter)
}

/// Hashes and counts as a node does, a thousand entries at a time.
fn count(meter: &mut Meter, logs: &[Log], spent: &mut Times) -> Result<()> {
    for log in logs {
        let mut tree = Frontier::default();
        for headers in log.headers.chunks(ENTRIES_AT_ONCE) {
            let begun = Instant::now();
            headers.iter().for_each(|header| tree.append(header.hash().0));
            spent.hash += begun.elapsed();
            let begun = Instant::now();
            for header in headers {
                meter.count(log.id, header)?;
            }
            spent.count += begun.elapsed();
        }
        ensure!(tree.root() == log.tree.root(), "{} has another history", log.id);
        meter.counted(log.id, tree.root());
    }
    Ok(())
}

/// Every node signs its report and verifies what the others signed.
fn attest(
    reports: &[UsageReport],
    registries: &RegistryHistory,
    times: &mut [Times],
) -> Result<()> {
    let registry = registries.latest();
    let network = registry.network_id();
    let mut attested = Vec::new();
    for ((number, report), spent) in (1..=NODES).zip(reports).zip(times.iter_mut()) {
        let begun = Instant::now();
        let key = node_key(number)?;
        attested.push(ReportAttestation::sign(NodeId(number.into()), *report, &key, network));
        spent.attest += begun.elapsed();
    }
    for (report, spent) in reports.iter().zip(times) {
        let begun = Instant::now();
        let mut attestations = Attestations::default();
        attested.iter().for_each(|it| attestations.note(*it));
        let quorum = attestations.quorum(report, registry, network);
        spent.attest += begun.elapsed();
        ensure!(quorum.is_some_and(|all| all.len() == reports.len()), "two reports differ");
    }
    Ok(())
}

/// Counts once more with the headers from a store, which is filled first; how long that took.
async fn read(
    logs: &[Log],
    blocks: &[Block],
    registries: &RegistryHistory,
    expected: &UsageReport,
) -> Result<Duration> {
    let dir = tempfile::tempdir()?;
    let url = format!("sqlite:{}", dir.path().join("node.db").display());
    let storage = Storage::open(&url, registries.latest().network_id()).await?;
    for (number, log) in (1..=NODES).zip(logs) {
        fill(&storage, log, number, registries).await?;
    }
    let begun = Instant::now();
    let mut meter = pinned(blocks, registries)?;
    for log in logs {
        let mut tree = Frontier::default();
        while tree.size() < log.tree.size() {
            let from = tree.size().next_index();
            let headers = storage.headers(log.id, from, from.plus(ENTRIES_AT_ONCE as u64)).await?;
            ensure!(!headers.is_empty(), "the store has not all of {}", log.id);
            for header in &headers {
                tree.append(header.hash().0);
                meter.count(log.id, header)?;
            }
        }
        ensure!(tree.root() == log.tree.root(), "{} has another history", log.id);
        meter.counted(log.id, tree.root());
    }
    let report = meter.close()?;
    let took = begun.elapsed();
    ensure!(report == *expected, "the store leads to another report");
    storage.close().await;
    Ok(took)
}

async fn fill(
    storage: &Storage,
    log: &Log,
    number: u8,
    registries: &RegistryHistory,
) -> Result<()> {
    let (key, network) = (node_key(number)?, registries.latest().network_id());
    let mut tree = Frontier::default();
    for headers in log.headers.chunks(ENTRIES_AT_ONCE) {
        let record = |header: &EntryHeader| {
            let hash = header.hash();
            tree.append(hash.0);
            EntryRecord { header: *header, hash, payload: None }
        };
        let entries = headers.iter().map(record).collect();
        let (size, root): (LogSize, _) = (tree.size(), tree.root());
        let checkpoint = Checkpoint::new(log.id, size, root, Period(1)).sign(&key, network);
        let flush = Flush { log: log.id, entries, checkpoint, frontier: Vec::new() };
        storage.write(&WriteSet { flushes: vec![flush], ..WriteSet::default() }).await?;
    }
    Ok(())
}
