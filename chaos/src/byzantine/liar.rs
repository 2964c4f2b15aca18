//! What a lying node says instead of the truth.

use std::collections::{BTreeMap, BTreeSet};

use tidings_envelope::{
    Checkpoint, EntryHeader, LogId, PayerEnvelope, Proposal, Registry, Vote, WriteProof,
};
use tidings_order::OrderMessage;
use tidings_replica::wire::{ControlFrame, FeedFlush, FeedFrame};
use tidings_types::node_key::NodeKey;
use tidings_types::{BlockHash, Hash, NetworkId, NodeId, TimestampSeconds, Wire, merkle, sha256};

/// The hash of a block that does not exist.
const NO_BLOCK: BlockHash = BlockHash([0xb1; 32]);

/// How a node lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// It tells one peer another history of its log than the others, and signs both.
    Equivocate,
    /// It signs an entry that nobody wrote.
    Forge,
    /// It gives its log to one peer alone.
    Withhold,
    /// It votes one way with one peer and another way with the others.
    VoteTwice,
    /// It proposes one block to one peer and another to the others.
    ProposeTwice,
}

impl Lie {
    /// All there are.
    pub const ALL: [Self; 5] =
        [Self::Equivocate, Self::Forge, Self::Withhold, Self::VoteTwice, Self::ProposeTwice];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Equivocate => "equivocate",
            Self::Forge => "forge",
            Self::Withhold => "withhold",
            Self::VoteTwice => "vote-twice",
            Self::ProposeTwice => "propose-twice",
        }
    }

    /// Whether it leaves signed evidence; what is only left unsaid is healed.
    #[must_use]
    pub fn is_provable(self) -> bool {
        self != Self::Withhold
    }
}

/// A node's keys and what it has said.
#[derive(Debug)]
pub struct Liar {
    lie: Lie,
    node: NodeId,
    key: NodeKey,
    network: NetworkId,
    /// The other nodes, by rising id.
    peers: Vec<NodeId>,
    /// The leaves of the node's own logs as far as it has told anybody.
    leaves: BTreeMap<LogId, Vec<Hash>>,
    /// Whom it has lied to about which log; it tells them no more of it.
    deceived: BTreeSet<(NodeId, LogId)>,
}

impl Liar {
    /// A liar with the keys of `node`.
    #[must_use]
    pub fn new(lie: Lie, node: NodeId, key: NodeKey, registry: &Registry) -> Self {
        let peers = registry.nodes.iter().map(|record| record.id).filter(|id| *id != node);
        Self {
            lie,
            node,
            key,
            network: registry.network_id(),
            peers: peers.collect(),
            leaves: BTreeMap::new(),
            deceived: BTreeSet::new(),
        }
    }

    /// What the node says to `to` on its control stream.
    pub fn control(&mut self, to: NodeId, frame: ControlFrame) -> Vec<ControlFrame> {
        let ControlFrame::Lane { shard, message } = frame else { return vec![frame] };
        let is_victim = Some(&to) == self.peers.last();
        let message = match (self.lie, message) {
            (Lie::VoteTwice, OrderMessage::Vote(signed))
                if is_victim && signed.node == self.node =>
            {
                let block = match signed.vote.block {
                    Some(_) => None,
                    None => Some(NO_BLOCK),
                };
                let vote = Vote { block, ..signed.vote };
                OrderMessage::Vote(vote.sign(self.node, &self.key, self.network))
            }
            (Lie::ProposeTwice, OrderMessage::Proposal(signed))
                if is_victim && signed.node == self.node =>
            {
                let proposal = Proposal { block: NO_BLOCK, ..signed.proposal };
                OrderMessage::Proposal(proposal.sign(self.node, &self.key, self.network))
            }
            (_, message) => message,
        };
        vec![ControlFrame::Lane { shard, message }]
    }

    /// What the node answers `to` on a data stream.
    pub fn feed(&mut self, to: NodeId, frame: FeedFrame) -> Vec<FeedFrame> {
        let FeedFrame::Flush(flush) = frame else { return vec![frame] };
        let log = flush.checkpoint.checkpoint.log;
        if log.node != self.node {
            return vec![FeedFrame::Flush(flush)];
        }
        let is_known = self.note(&flush);
        if self.deceived.contains(&(to, log)) {
            return Vec::new();
        }
        let lied = match self.lie {
            Lie::Withhold if Some(&to) != self.peers.first() => return Vec::new(),
            Lie::Equivocate if is_known && Some(&to) == self.peers.last() => {
                self.retold(&flush, |header, _| {
                    header.timestamp = TimestampSeconds(header.timestamp.0 + 1);
                    true
                })
            }
            Lie::Forge if is_known => self.retold(&flush, forge),
            _ => None,
        };
        match lied {
            Some(lied) => {
                self.deceived.insert((to, log));
                vec![FeedFrame::Flush(lied)]
            }
            None => vec![FeedFrame::Flush(flush)],
        }
    }

    /// Remembers the leaves of a stretch; whether all leaves through its end are known.
    fn note(&mut self, flush: &FeedFlush) -> bool {
        let known = self.leaves.entry(flush.checkpoint.checkpoint.log).or_default();
        for entry in flush.entries.iter() {
            if entry.header.index.0 == known.len() as u64 {
                known.push(entry.header.hash().0);
            }
        }
        known.len() as u64 >= flush.checkpoint.checkpoint.size.0
    }

    /// The stretch with another last entry, signed; none if `change` changes nothing.
    fn retold(
        &self,
        flush: &FeedFlush,
        change: impl FnOnce(&mut EntryHeader, &mut PayerEnvelope) -> bool,
    ) -> Option<FeedFlush> {
        let Checkpoint { log, size, period, .. } = flush.checkpoint.checkpoint;
        let mut entries = flush.entries.clone().into_vec();
        let last = entries.last_mut()?;
        let mut inner = last.open()?;
        if !change(&mut last.header, &mut inner) {
            return None;
        }
        let payload = inner.to_wire();
        last.header.payload_hash = sha256(&payload);
        last.payload = Some(payload.try_into().ok()?);
        let mut leaves = self.leaves.get(&log)?.get(..usize::try_from(size.0).ok()?)?.to_vec();
        *leaves.last_mut()? = last.header.hash().0;
        let root = merkle::root(&leaves);
        let checkpoint = Checkpoint::new(log, size, root, period).sign(&self.key, self.network);
        Some(FeedFlush { entries: entries.try_into().ok()?, checkpoint })
    }
}

/// Breaks the writer's signature.
fn forge(_: &mut EntryHeader, inner: &mut PayerEnvelope) -> bool {
    match &mut inner.envelope.proof {
        WriteProof::Key { signature, .. } => {
            signature.0[0] ^= 1;
            true
        }
        WriteProof::FeeStamp | WriteProof::SelfAuthenticating => false,
    }
}

#[cfg(test)]
mod tests {
    use tidings_envelope::registry::{FeeSchedule, NodeRecord};
    use tidings_envelope::{
        BatchHeader, EnvelopeBody, Evidence, LogEntry, SignedCheckpoint, Step, Target, Topic,
    };
    use tidings_types::constants::PROTOCOL_VERSION;
    use tidings_types::ed25519::SigningKey;
    use tidings_types::{
        EthereumAddress, Genesis, Height, Incarnation, LogIndex, LogSize, Period, PicoDollars,
        RegistryEpoch, Round, ShardId,
    };

    use super::*;

    const OWN: NodeId = NodeId(2);
    const LOG: LogId = LogId { node: OWN, shard: ShardId(0), incarnation: Incarnation(1) };
    const PAYER: EthereumAddress = EthereumAddress([1; 20]);

    fn key() -> NodeKey {
        NodeKey::from_secret(&[7; 32]).unwrap()
    }

    fn registry() -> Registry {
        let record = |id: u32| NodeRecord {
            id: NodeId(id),
            name: String::new(),
            signing: key().address(),
            transport: SigningKey::from_secret(&[1; 32]).public_key(),
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

    /// What an honest node tells of its log: one entry per stretch.
    fn flushes(count: u64) -> Vec<FeedFrame> {
        let network = registry().network_id();
        let writer = SigningKey::from_secret(&[9; 32]);
        let topic = Topic::group(&writer.public_key());
        let mut leaves = Vec::new();
        let mut flush = |index: u64| {
            let payload = vec![1; 256].try_into().unwrap();
            let body = EnvelopeBody::broadcast(topic, PAYER, Period(1), payload);
            let envelope = body.sign(&writer, network);
            let header = BatchHeader {
                version: PROTOCOL_VERSION,
                payer: PAYER,
                session_key: writer.public_key(),
                target: Target::Node(OWN),
                registry_epoch: RegistryEpoch(1),
                not_after: Period(1),
                max_fee: PicoDollars(1),
                count: 1,
                root: BatchHeader::root_of(&[envelope.body.id()]),
            };
            let batch = header.sign(&writer, network);
            let inner =
                PayerEnvelope { envelope, batch, index: 0, path: Vec::new().try_into().unwrap() };
            let payload = inner.to_wire();
            let header = EntryHeader {
                version: PROTOCOL_VERSION,
                envelope_id: inner.envelope.body.id(),
                index: LogIndex(index),
                timestamp: TimestampSeconds(5),
                topic,
                topic_index: Default::default(),
                previous: Default::default(),
                payer: PAYER,
                payload_hash: sha256(&payload),
                payload_length: u32::try_from(payload.len()).unwrap(),
                retention_days: 1,
                fee_period: Period(0),
                fee: PicoDollars(1),
            };
            leaves.push(header.hash().0);
            let root = merkle::root(&leaves);
            let checkpoint = Checkpoint::new(LOG, LogSize(index + 1), root, Period(0));
            let entry = LogEntry { header, payload: Some(payload.try_into().unwrap()) };
            let checkpoint = checkpoint.sign(&key(), network);
            FeedFrame::Flush(FeedFlush { entries: vec![entry].try_into().unwrap(), checkpoint })
        };
        (0..count).map(&mut flush).collect()
    }

    /// What each peer is told, in order.
    fn told(lie: Lie) -> BTreeMap<u32, Vec<FeedFrame>> {
        let mut liar = Liar::new(lie, OWN, key(), &registry());
        let mut told: BTreeMap<u32, Vec<FeedFrame>> = BTreeMap::new();
        for frame in flushes(3) {
            for peer in [1, 3, 4] {
                told.entry(peer).or_default().extend(liar.feed(NodeId(peer), frame.clone()));
            }
        }
        told
    }

    fn stretch(frame: &FeedFrame) -> (&LogEntry, SignedCheckpoint) {
        let FeedFrame::Flush(flush) = frame else { panic!("a log is told in stretches") };
        (flush.entries.last().unwrap(), flush.checkpoint)
    }

    #[test]
    fn an_equivocation_is_evidence() {
        let (told, honest) = (told(Lie::Equivocate), flushes(3));
        assert_eq!((&told[&1], &told[&3]), (&honest, &honest));
        let [lied] = told[&4].as_slice() else { panic!("one lie and then silence") };
        let ((entry, one), (_, other)) = (stretch(lied), stretch(&honest[0]));
        assert_eq!(merkle::root(&[entry.header.hash().0]), one.checkpoint.root);
        assert!(entry.open().is_some(), "the other history is as good as the first");
        let evidence = Evidence::Checkpoints(one, other);
        evidence.verify(registry().network_id(), key().address()).unwrap();
    }

    #[test]
    fn a_forgery_is_signed_and_nobody_wrote_it() {
        let told = told(Lie::Forge);
        assert!(told.values().all(|frames| frames.len() == 1 && *frames == told[&1]));
        let (entry, signed) = stretch(&told[&1][0]);
        let network = registry().network_id();
        signed.verify(network, key().address()).unwrap();
        assert_eq!(merkle::root(&[entry.header.hash().0]), signed.checkpoint.root);
        let WriteProof::Key { key, signature } = entry.open().unwrap().envelope.proof else {
            panic!("a group's topic has a key")
        };
        let body = entry.open().unwrap().envelope.body.to_wire();
        assert!(key.verify("topic write", network, &body, &signature).is_err());
    }

    #[test]
    fn double_votes_and_proposals_are_evidence() {
        let network = registry().network_id();
        let (shard, height, round) = (ShardId(0), Height(3), Round(0));
        let block = BlockHash([5; 32]);
        let vote = Vote { shard, height, round, step: Step::Prevote, block: Some(block) };
        let vote = OrderMessage::Vote(vote.sign(OWN, &key(), network));
        let proposal = Proposal { shard, height, round, valid_round: None, block };
        let proposal = OrderMessage::Proposal(proposal.sign(OWN, &key(), network));
        for (lie, message) in [(Lie::VoteTwice, vote), (Lie::ProposeTwice, proposal)] {
            let mut liar = Liar::new(lie, OWN, key(), &registry());
            let frame = ControlFrame::Lane { shard, message };
            assert_eq!(liar.control(NodeId(1), frame.clone()), std::slice::from_ref(&frame));
            let lied = liar.control(NodeId(4), frame.clone()).remove(0);
            let evidence = match (frame, lied) {
                (
                    ControlFrame::Lane { message: OrderMessage::Vote(one), .. },
                    ControlFrame::Lane { message: OrderMessage::Vote(other), .. },
                ) => Evidence::Votes(one, other),
                (
                    ControlFrame::Lane { message: OrderMessage::Proposal(one), .. },
                    ControlFrame::Lane { message: OrderMessage::Proposal(other), .. },
                ) => Evidence::Proposals(one, other),
                other => panic!("{other:?}"),
            };
            evidence.verify(network, key().address()).unwrap();
        }
    }

    #[test]
    fn one_peer_hears_what_is_withheld_from_the_others() {
        let told = told(Lie::Withhold);
        assert_eq!(told[&1], flushes(3));
        assert!(told[&3].is_empty() && told[&4].is_empty());
    }
}
