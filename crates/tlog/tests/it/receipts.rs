//! From an appended entry to a receipt that its publisher verifies.

use tidings_envelope::registry::{FeeSchedule, NodeRecord};
use tidings_envelope::{
    AckLevel, Checkpoint, Receipt, ReceiptInvalid, Registry, SignedAcknowledgement,
};
use tidings_tlog::{AckTracker, Frontier, RecentTree};
use tidings_types::ed25519::PublicKey;
use tidings_types::node_key::NodeKey;
use tidings_types::{
    Genesis, LogSize, NetworkId, NodeId, Period, RegistryEpoch, ShardId, Wire, merkle,
};

use crate::originator::{LOG, Originator};

fn key(node: u32) -> NodeKey {
    NodeKey::from_secret(&[node as u8; 32]).unwrap()
}

fn registry() -> Registry {
    let record = |id: u32| NodeRecord {
        id: NodeId(id),
        name: format!("node-{id}"),
        signing: key(id).address(),
        transport: PublicKey([id as u8; 32]),
        quic: String::new(),
        http: String::new(),
        weight: 1,
        active: true,
    };
    Registry {
        genesis: Genesis::without_chain([1; 32].into()),
        epoch: RegistryEpoch(1),
        shard_count: 1,
        replication_factor: 4,
        period_ms: 10_000,
        mailbox_buckets: 1,
        nodes: (1..=4).map(record).collect(),
        payers: Vec::new(),
        edges: Vec::new(),
        fees: FeeSchedule::default(),
    }
}

/// A log of which 20 entries are under the last checkpoint, and nobody else has acknowledged.
struct World {
    originator: Originator,
    tree: RecentTree,
    tracker: AckTracker,
    registry: Registry,
    network: NetworkId,
}

impl World {
    fn new() -> Self {
        let (registry, originator) = (registry(), Originator::with_entries(20, 1));
        let network = registry.network_id();
        let mut tree = RecentTree::new(&Frontier::default());
        originator.headers.iter().for_each(|header| tree.append(header.hash().0));
        let shard = ShardId(0);
        let committee = registry.committee(shard);
        let replicas = committee.iter().map(|node| (*node, key(node.0).address()));
        let needed = registry.durability_quorum(shard);
        let mut tracker = AckTracker::new(network, LOG, needed, replicas);
        let checkpoint = Checkpoint::new(LOG, tree.size(), tree.root(), Period(4));
        tracker.publish(checkpoint.sign(&originator.key, network)).unwrap();
        Self { originator, tree, tracker, registry, network }
    }

    fn acknowledge(&mut self, node: u32) -> Option<LogSize> {
        let digest = self.tracker.newest().unwrap().checkpoint().checkpoint.digest(self.network);
        let acknowledgement =
            SignedAcknowledgement::sign(NodeId(node), digest, &key(node), self.network);
        self.tracker.acknowledge(self.tree.size(), acknowledgement).unwrap()
    }

    fn receipt(&self, index: usize) -> Receipt {
        let header = self.originator.headers[index];
        let newest = self.tracker.newest().unwrap();
        let path = self.tree.prover().inclusion_proof(header.index).unwrap();
        let acknowledgements: Vec<_> = newest.acknowledgements().copied().collect();
        Receipt {
            header,
            path: path.try_into().unwrap(),
            checkpoint: *newest.checkpoint(),
            acknowledgements: acknowledgements.try_into().unwrap(),
        }
    }

    fn check(&self, receipt: &Receipt, level: AckLevel, expected: Result<(), ReceiptInvalid>) {
        assert_eq!(receipt.verify(self.network, &self.registry, level), expected);
    }
}

#[test]
fn a_receipt_is_replicated_when_f_plus_one_hold_it() {
    // covers: LOG-007
    // covers: LOG-015
    let mut world = World::new();
    let local = world.receipt(3);
    world.check(&local, AckLevel::Local, Ok(()));
    let alone = Err(ReceiptInvalid::TooFew { found: 1, needed: 2 });
    world.check(&local, AckLevel::Replicated, alone);
    assert_eq!(world.acknowledge(3), Some(LogSize(20)));
    for index in 0..20 {
        world.check(&world.receipt(index), AckLevel::Replicated, Ok(()));
    }
}

#[test]
fn a_receipt_proves_one_entry_of_one_log() {
    // covers: LOG-001
    // covers: LOG-007
    let mut world = World::new();
    world.acknowledge(3);
    let receipt = world.receipt(3);
    assert_eq!(receipt.header.hash().0, merkle::leaf_hash(&receipt.header.to_wire()));
    let mut other = receipt.clone();
    other.header.fee.0 += 1;
    world.check(&other, AckLevel::Local, Err(ReceiptInvalid::Path));
    let mut moved = receipt.clone();
    moved.header.index.0 += 1;
    world.check(&moved, AckLevel::Local, Err(ReceiptInvalid::Path));
    let mut forged = receipt.clone();
    forged.checkpoint.checkpoint.size.0 += 1;
    world.check(&forged, AckLevel::Local, Err(ReceiptInvalid::Checkpoint));
    let mut lent = receipt;
    let mut acknowledgement = lent.acknowledgements[0];
    acknowledgement.replica = NodeId(2);
    lent.acknowledgements = vec![acknowledgement].try_into().unwrap();
    let expected = Err(ReceiptInvalid::Acknowledgement(NodeId(2)));
    world.check(&lent, AckLevel::Replicated, expected);
}
