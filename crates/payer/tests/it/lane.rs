//! A lane without agreement, and what its meter makes of it.

use std::sync::Arc;

use tidings_envelope::{
    Block, BlockHeader, Checkpoint, DecidedOperation, EntryHeader, LogId, Operation, Outcome,
    PeerService, PeriodMarker, PeriodStatement, Registry, RegistryHistory, Service,
    SignedCheckpoint, UsageReport,
};
use tidings_payer::{Meter, MeterError};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::node_key::NodeKey;
use tidings_types::{
    BlockHash, EnvelopeId, Hash, Incarnation, LogSize, NodeId, Period, PicoDollars, Position,
    ShardId,
};

use crate::network::{PAYER, batch, entry, message, network, registry};

pub const SHARD: ShardId = ShardId(0);

pub fn key(node: u32) -> NodeKey {
    NodeKey::from_secret(&[u8::try_from(node).unwrap(); 32]).unwrap()
}

/// Four nodes keep the shard.
pub fn committee() -> Registry {
    let mut registry = registry();
    let node = registry.nodes.remove(0);
    registry.replication_factor = 4;
    registry.nodes = (1..=4)
        .map(|id| {
            let mut node = node.clone();
            (node.id, node.signing) = (NodeId(id), key(id).address());
            node
        })
        .collect();
    registry
}

pub fn log(node: u32) -> LogId {
    LogId { node: NodeId(node), shard: SHARD, incarnation: Incarnation(1) }
}

pub fn header(index: u64, id: u8, period: u64, fee: u64) -> EntryHeader {
    let envelope = batch(&[message("text")], PicoDollars(u64::MAX)).remove(0);
    EntryHeader {
        envelope_id: EnvelopeId([id; 32]),
        fee_period: Period(period),
        fee: PicoDollars(fee),
        payload_length: 100,
        retention_days: 10,
        ..entry(&envelope, index).header
    }
}

/// A lane without agreement: blocks with the outcomes that they are given.
pub struct Lane {
    pub meter: Meter,
    pub registries: RegistryHistory,
    pub period: u64,
    /// What members state to have taken.
    pub taken: u64,
}

impl Lane {
    pub fn new() -> Self {
        Self::of(committee())
    }

    pub fn of(registry: Registry) -> Self {
        let registries = RegistryHistory::new(Arc::new(registry));
        let meter = Meter::new(SHARD, network());
        let mut lane = Self { meter, registries, period: 0, taken: 0 };
        lane.begin_period();
        lane
    }

    pub fn block(&mut self, decided: Vec<(Operation, Outcome)>) -> Result<(), MeterError> {
        let decided =
            decided.into_iter().map(|(operation, outcome)| DecidedOperation { operation, outcome });
        let operations: Vec<_> = decided.collect();
        let epoch = self.registries.latest().epoch;
        let header = BlockHeader {
            version: PROTOCOL_VERSION,
            shard: SHARD,
            height: self.meter.height().plus(1),
            parent: BlockHash([0; 32]),
            period: Period(self.period),
            chain_reference: None,
            registry_epoch: epoch,
            next_epoch: epoch,
            next_committee: [0; 32],
            operations_count: u32::try_from(operations.len()).unwrap(),
            operations_root: [0; 32],
            state_root: [0; 32],
        };
        let block = Block { header, operations: operations.try_into().unwrap() };
        self.meter.take_block(&block, &self.registries)
    }

    pub fn apply(&mut self, operation: Operation) {
        self.block(vec![(operation, Outcome::Applied { position: Position(1) })]).unwrap();
    }

    pub fn begin_period(&mut self) {
        self.period += 1;
        self.apply(Operation::PeriodMarker(PeriodMarker::new(Period(self.period))));
    }

    pub fn state(&mut self, node: u32, held: &[(u32, u64, Hash)], measured: &[(u32, u32)]) {
        let signed = |(node, size, root): &(u32, u64, Hash)| -> SignedCheckpoint {
            Checkpoint::new(log(*node), LogSize(*size), *root, Period(self.period))
                .sign(&key(*node), network())
        };
        let held: Vec<_> = held.iter().map(signed).collect();
        let measured: Vec<_> = measured
            .iter()
            .map(|(node, permille)| PeerService {
                node: NodeId(*node),
                service: Service {
                    reachability_permille: *permille,
                    acknowledgement_ms: 1,
                    cadence_permille: 1_000,
                    served_permille: 1_000,
                },
            })
            .collect();
        let about = (NodeId(node), SHARD, Period(self.period));
        let (held, measured) = (held.try_into().unwrap(), measured.try_into().unwrap());
        let statement =
            PeriodStatement::sign(about, held, measured, self.taken, &key(node), network());
        self.apply(Operation::Statement(Box::new(statement)));
    }

    /// Counts `entries` where they are pinned and closes the period.
    pub fn close(&mut self, entries: &[(u32, EntryHeader)]) -> UsageReport {
        for (node, header) in entries {
            self.meter.count(log(*node), header).unwrap();
        }
        let pins = self.meter.pins().unwrap_or_default().to_vec();
        pins.iter().for_each(|pin| self.meter.counted(pin.log, pin.root));
        self.meter.close().unwrap()
    }

    pub fn billed(&self) -> u128 {
        self.meter.ledger().billed_to(PAYER).0
    }

    pub fn earned(&self, node: u32) -> u128 {
        self.meter.ledger().earned_by(NodeId(node)).0
    }
}

/// The lane after a period in which nodes 1 and 2 hold so much of node 1's log.
pub fn stated(sizes: (u64, u64)) -> Lane {
    let mut lane = Lane::new();
    lane.state(1, &[(1, sizes.0, [7; 32])], &[]);
    lane.state(2, &[(1, sizes.1, [7; 32])], &[]);
    lane.begin_period();
    lane.begin_period();
    lane
}
