//! Real logs and blocks to be stored, and databases to store them in.

use std::collections::BTreeMap;
use std::env;
use std::hash::{BuildHasher, Hasher, RandomState};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use tidings_envelope::{
    Block, BlockHeader, Certificate, CertifiedBlock, Checkpoint, CommitSignature, DecidedOperation,
    EntryHeader, LogId, Operation, Outcome, PeriodMarker, SignedCheckpoint, Topic,
};
use tidings_node::storage::Storage;
use tidings_replica::store::{Decided, EntryRecord, Flush, OrderedPlace, WriteSet};
use tidings_tlog::{Frontier, TopicHead};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::node_key::NodeKey;
use tidings_types::{
    BlockHash, EnvelopeId, EthereumAddress, Height, Incarnation, NetworkId, NodeId, Period,
    PicoDollars, Position, RegistryEpoch, Round, ShardId, TimestampSeconds, Wire, merkle, sha256,
};

/// The network of every store here.
pub const NETWORK: NetworkId = NetworkId([9; 32]);

/// Where the tests' PostgreSQL is; `cargo xtask test` starts one and sets this.
const POSTGRES_URL: &str = "TIDINGS_TEST_POSTGRES_URL";

/// Runs `test` on an empty SQLite file.
pub async fn on_sqlite(test: impl AsyncFnOnce(String)) {
    let dir = tempfile::tempdir().unwrap();
    test(format!("sqlite:{}", dir.path().join("node.db").display())).await;
}

/// Runs `test` on an empty PostgreSQL database, which is dropped when it succeeded.
pub async fn on_postgres(test: impl AsyncFnOnce(String)) {
    let server = env::var(POSTGRES_URL).unwrap_or_else(|_| {
        panic!("{POSTGRES_URL} is not set: run `cargo xtask test`, which starts a PostgreSQL")
    });
    let name = format!("tidings_{:016x}", RandomState::new().build_hasher().finish());
    let (base, options) = server.split_once('?').unwrap_or((&server, ""));
    let authority = base.split_once("//").map_or(0, |(scheme, _)| scheme.len() + 2);
    let end = base[authority..].find('/').map_or(base.len(), |slash| authority + slash);
    let mut admin = PgConnection::connect(&server).await.unwrap();
    admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    test(format!("{}/{name}?{options}", &base[..end])).await;
    admin.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await.unwrap();
}

/// Opens the store of the tests' network.
pub async fn open(url: &str) -> Storage {
    Storage::open(url, NETWORK).await.unwrap()
}

/// Runs a statement beside the store, as an operator or an intruder would.
pub async fn execute(url: &str, sql: &'static str) {
    match url.strip_prefix("sqlite:") {
        Some(path) => {
            let mut connection =
                SqliteConnection::connect(&format!("sqlite://{path}")).await.unwrap();
            connection.execute(sql).await.unwrap();
            connection.close().await.unwrap();
        }
        None => {
            let mut connection = PgConnection::connect(url).await.unwrap();
            connection.execute(sql).await.unwrap();
            connection.close().await.unwrap();
        }
    }
}

/// The topic with this number.
pub fn topic(number: u32) -> Topic {
    Topic::mailbox(number)
}

/// An entry to be appended.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    pub topic: u32,
    pub payload_bytes: usize,
    pub retention_days: u16,
    pub fee_period: u64,
    /// What its originator says of the time, in seconds.
    pub timestamp: u64,
}

impl Item {
    /// An entry of this topic that is kept for 30 days.
    pub fn of(topic: u32) -> Self {
        let timestamp = BUILT_AT;
        Self { topic, payload_bytes: 300, retention_days: 30, fee_period: 1, timestamp }
    }
}

/// When every entry here was built, in seconds.
pub const BUILT_AT: u64 = 1_000_000;

/// A log as its originator writes it.
#[derive(Debug, Clone)]
pub struct LogWriter {
    pub log: LogId,
    pub entries: Vec<EntryRecord>,
    pub checkpoints: Vec<SignedCheckpoint>,
    pub frontier: Frontier,
    pub heads: BTreeMap<Topic, TopicHead>,
}

impl LogWriter {
    pub fn new(node: u32, incarnation: u32) -> Self {
        let (node, incarnation) = (NodeId(node), Incarnation(incarnation));
        Self {
            log: LogId { node, shard: ShardId(0), incarnation },
            entries: Vec::new(),
            checkpoints: Vec::new(),
            frontier: Frontier::default(),
            heads: BTreeMap::new(),
        }
    }

    /// Appends entries under one checkpoint of `period`.
    pub fn flush(&mut self, items: &[Item], period: u64) -> Flush {
        let entries: Vec<_> = items.iter().map(|item| self.append(*item)).collect();
        let key = NodeKey::from_secret(&[7; 32]).unwrap();
        let (size, root) = (self.frontier.size(), self.frontier.root());
        let checkpoint = Checkpoint::new(self.log, size, root, Period(period)).sign(&key, NETWORK);
        self.checkpoints.push(checkpoint);
        Flush { log: self.log, entries, checkpoint, frontier: self.frontier.to_wire() }
    }

    /// A write set of one flush.
    pub fn write_set(&mut self, items: &[Item], period: u64) -> WriteSet {
        WriteSet { flushes: vec![self.flush(items, period)], ..WriteSet::default() }
    }

    fn append(&mut self, item: Item) -> EntryRecord {
        let topic = topic(item.topic);
        let head = self.heads.get(&topic).copied().unwrap_or_default();
        let index = self.frontier.size().next_index();
        let seed = [self.log.to_wire(), index.to_wire()].concat();
        let payload: Vec<u8> = sha256(&seed).into_iter().cycle().take(item.payload_bytes).collect();
        let header = EntryHeader {
            version: PROTOCOL_VERSION,
            envelope_id: EnvelopeId(sha256(&payload)),
            index,
            timestamp: TimestampSeconds(item.timestamp),
            topic,
            topic_index: head.next,
            previous: head.last,
            payer: EthereumAddress([3; 20]),
            payload_hash: sha256(&payload),
            payload_length: u32::try_from(payload.len()).unwrap(),
            retention_days: item.retention_days,
            fee_period: Period(item.fee_period),
            fee: PicoDollars(5),
        };
        self.heads.insert(topic, head.advance(&header).unwrap());
        self.frontier.append(header.hash().0);
        let record = EntryRecord { header, hash: header.hash(), payload: Some(payload.into()) };
        self.entries.push(record.clone());
        record
    }
}

/// A shard's ordered lane as its committee writes it.
#[derive(Debug, Clone, Default)]
pub struct LaneWriter {
    pub shard: ShardId,
    pub blocks: Vec<CertifiedBlock>,
    pub positions: BTreeMap<Topic, Position>,
}

impl LaneWriter {
    /// The next block, with one operation for each of `topics`.
    pub fn block(&mut self, topics: &[u32]) -> Block {
        let mut positions = self.positions.clone();
        let operations: Vec<_> = (0..)
            .zip(topics)
            .map(|(index, number)| {
                let position = positions.entry(topic(*number)).or_default();
                *position = position.plus(1);
                let period = Period(self.blocks.len() as u64 * 1000 + index);
                let marker = PeriodMarker::new(period);
                let outcome = Outcome::Applied { position: *position };
                DecidedOperation { operation: Operation::PeriodMarker(marker), outcome }
            })
            .collect();
        self.block_of(Period(1), operations)
    }

    /// The next block, in this period and of these operations.
    pub fn block_of(&self, period: Period, operations: Vec<DecidedOperation>) -> Block {
        let parent = self.blocks.last().map(|parent| parent.block.header);
        let header = BlockHeader {
            version: PROTOCOL_VERSION,
            shard: self.shard,
            height: Height(self.blocks.len() as u64 + 1),
            parent: parent.map_or(BlockHash::default(), |header| header.hash()),
            period,
            chain_reference: None,
            registry_epoch: RegistryEpoch(1),
            next_epoch: RegistryEpoch(1),
            next_committee: [4; 32],
            operations_count: u32::try_from(operations.len()).unwrap(),
            operations_root: merkle::root(&Block::leaves(&operations)),
            state_root: [5; 32],
        };
        Block { header, operations: operations.try_into().unwrap() }
    }

    /// Makes the next block final; each operation is its topic's next ordered entry.
    pub fn decide(&mut self, topics: &[u32]) -> Decided {
        let block = self.block(topics);
        let places = (0..).zip(topics).map(|(index, number)| {
            let position = self.positions.entry(topic(*number)).or_default();
            *position = position.plus(1);
            OrderedPlace { topic: topic(*number), position: *position, index }
        });
        let places = places.collect();
        self.certify(block, places)
    }

    /// Makes a block final, whose operations have these places.
    pub fn certify(&mut self, block: Block, places: Vec<OrderedPlace>) -> Decided {
        let key = NodeKey::from_secret(&[7; 32]).unwrap();
        let vote = CommitSignature::sign(NodeId(1), &block.header, Round(0), &key, NETWORK);
        let votes = vec![vote].try_into().unwrap();
        let certificate = Certificate { round: Round(0), signatures: votes };
        let certified = CertifiedBlock { block, certificate };
        self.blocks.push(certified.clone());
        Decided { certified, places, state: Vec::new() }
    }
}

/// A write set of these final blocks.
pub fn decided(decided: Vec<Decided>) -> WriteSet {
    WriteSet { decided, ..WriteSet::default() }
}
