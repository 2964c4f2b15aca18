//! Nodes and the court come to one verdict on the same bytes, whatever these are.

use std::collections::BTreeMap;

use alloy::primitives::Address;
use alloy::providers::DynProvider;
use tidings_chain::contracts::EvidenceCourt;
use tidings_chain::contracts::evidence_court::EvidenceCourt::EvidenceCourtErrors;
use tidings_chain::{Endpoints, address};
use tidings_envelope::{
    BatchHeader, Checkpoint, EntryHeader, EnvelopeBody, Evidence, InclusionProof, InvalidEntry,
    Lane, LogId, PayerEnvelope, Payload, Proposal, SignedCheckpoint, Step, Target, Topic,
    TopicKind, Vote,
};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::SigningKey;
use tidings_types::node_key::NodeKey;
use tidings_types::{
    BlockHash, BoundedVec, EntryHash, EthereumAddress, Hash, Height, Incarnation, LogIndex,
    LogSize, NetworkId, NodeId, Period, PicoDollars, RegistryEpoch, Round, ShardId,
    TimestampSeconds, TopicId, TopicIndex, Wire, merkle, sha256,
};

use crate::anvil::Stage;

const CASES: u32 = 600;

/// What the node signs with; a stranger's is one more.
const SEED: u8 = 1;

const PERIOD: Period = Period(5);

/// Numbers that look random and are the same each time.
struct Tape {
    block: Hash,
    used: usize,
}

impl Tape {
    fn new(case: u32) -> Self {
        Self { block: sha256(&case.to_be_bytes()), used: 0 }
    }

    fn below(&mut self, count: u8) -> u8 {
        if self.used == self.block.len() {
            *self = Self { block: sha256(&self.block), used: 0 };
        }
        self.used += 1;
        self.block[self.used - 1] % count
    }

    fn rarely(&mut self) -> bool {
        self.below(12) == 0
    }

    /// The usual number, or now and then the one after it.
    fn about(&mut self, usual: u8) -> u8 {
        usual + u8::from(self.rarely())
    }
}

/// A node that signs whatever it is told to.
struct Author {
    network: NetworkId,
    node: NodeId,
    tape: Tape,
}

impl Author {
    fn key(&mut self) -> NodeKey {
        NodeKey::from_secret(&[self.tape.about(SEED); 32]).unwrap()
    }

    fn evidence(&mut self) -> Evidence {
        match self.tape.below(5) {
            0 => Evidence::Checkpoints(self.checkpoint(), self.checkpoint()),
            1 => Evidence::Entries(self.proof(), self.proof()),
            2 => {
                let votes = [(); 2].map(|()| {
                    let (vote, node, key) = (self.vote(), self.voter(), self.key());
                    vote.sign(node, &key, self.network)
                });
                Evidence::Votes(votes[0], votes[1])
            }
            3 => {
                let proposals = [(); 2].map(|()| {
                    let (proposal, node, key) = (self.proposal(), self.voter(), self.key());
                    proposal.sign(node, &key, self.network)
                });
                Evidence::Proposals(proposals[0], proposals[1])
            }
            _ => Evidence::InvalidEntry(self.invalid_entry()),
        }
    }

    fn voter(&mut self) -> NodeId {
        NodeId(self.node.0 + u32::from(self.tape.rarely()))
    }

    fn log(&mut self) -> LogId {
        LogId {
            node: self.voter(),
            shard: ShardId(self.tape.about(0).into()),
            incarnation: Incarnation(self.tape.about(1).into()),
        }
    }

    fn signed(&mut self, log: LogId, size: u64, root: Hash) -> SignedCheckpoint {
        let period = Period(self.tape.about(5).into());
        let mut checkpoint = Checkpoint::new(log, LogSize(size), root, period);
        checkpoint.version = self.tape.about(1).into();
        let key = self.key();
        checkpoint.sign(&key, self.network)
    }

    fn checkpoint(&mut self) -> SignedCheckpoint {
        let (log, size) = (self.log(), self.tape.about(3).into());
        let root = [self.tape.below(2); 32];
        self.signed(log, size, root)
    }

    fn vote(&mut self) -> Vote {
        Vote {
            shard: ShardId(self.tape.about(0).into()),
            height: Height(self.tape.about(4).into()),
            round: Round(self.tape.about(2).into()),
            step: if self.tape.rarely() { Step::Precommit } else { Step::Prevote },
            // Sometimes for no block, and sometimes for the one of zeros.
            block: Some(self.tape.below(6)).filter(|it| *it < 5).map(|it| BlockHash([it; 32])),
        }
    }

    fn proposal(&mut self) -> Proposal {
        Proposal {
            shard: ShardId(self.tape.about(0).into()),
            height: Height(self.tape.about(4).into()),
            round: Round(self.tape.about(2).into()),
            valid_round: Some(Round(self.tape.below(2).into())).filter(|it| it.0 > 0),
            block: BlockHash([self.tape.below(3); 32]),
        }
    }

    /// The entry at about the same index of a log whose entries differ by their fees.
    fn proof(&mut self) -> InclusionProof {
        let (_, header) = self.entry();
        let headers: Vec<EntryHeader> = (0..4u64)
            .map(|index| {
                let (index, fee) = (LogIndex(index), PicoDollars(self.tape.below(2).into()));
                EntryHeader { index, fee, ..header }
            })
            .collect();
        self.proof_of(&headers, 1)
    }

    /// The proof of the entry at `index`, or of a neighbour, or none.
    fn proof_of(&mut self, headers: &[EntryHeader], index: u8) -> InclusionProof {
        let leaves: Vec<Hash> = headers.iter().map(|header| header.hash().0).collect();
        let index = usize::from(self.tape.about(index)).min(leaves.len() - 1);
        let size = leaves.len() - usize::from(self.tape.below(2)).min(leaves.len() - 1 - index);
        let mut path = merkle::path(&leaves[..size], index);
        if self.tape.rarely() {
            path.push([3; 32]);
        }
        let log = self.log();
        let checkpoint =
            self.signed(log, u64::try_from(size).unwrap(), merkle::root(&leaves[..size]));
        InclusionProof { header: headers[index], path: path.try_into().unwrap(), checkpoint }
    }

    /// A payer's envelope and the header that an honest node makes of it.
    fn entry(&mut self) -> (PayerEnvelope, EntryHeader) {
        let member = SigningKey::from_secret(&[9; 32]);
        let session = SigningKey::from_secret(&[50; 32]);
        let payload = Payload::new(b"ciphertext".to_vec()).unwrap();
        let topic = Topic::group(&member.public_key());
        let payer = EthereumAddress([7; 20]);
        let mut body = EnvelopeBody::broadcast(topic, payer, PERIOD.plus(1), payload);
        if self.tape.below(3) == 0 {
            self.spoil_body(&mut body);
        }
        let envelope = body.sign(&member, self.network);
        let id = envelope.body.id();
        let mut batch = BatchHeader {
            version: PROTOCOL_VERSION,
            payer,
            session_key: session.public_key(),
            target: Target::Node(self.node),
            registry_epoch: RegistryEpoch(1),
            not_after: PERIOD.plus(1),
            max_fee: PicoDollars(1_000),
            count: 1,
            root: BatchHeader::root_of(&[id]),
        };
        if self.tape.below(3) == 0 {
            self.spoil_batch(&mut batch);
        }
        let batch = batch.sign(&session, self.network);
        let envelope = PayerEnvelope { envelope, batch, index: 0, path: BoundedVec::default() };
        let body = &envelope.envelope.body;
        let header = EntryHeader {
            version: PROTOCOL_VERSION,
            envelope_id: id,
            index: LogIndex(0),
            timestamp: TimestampSeconds(1_700_000_000),
            topic: body.topic,
            topic_index: TopicIndex(0),
            previous: EntryHash::default(),
            payer: body.payer,
            payload_hash: [0; 32],
            payload_length: 0,
            retention_days: body.retention_days,
            fee_period: PERIOD,
            fee: PicoDollars(1),
        };
        (envelope, header)
    }

    fn spoil_body(&mut self, body: &mut EnvelopeBody) {
        match self.tape.below(8) {
            0 => body.version = 2,
            1 => body.lane = Lane::Ordered,
            2 => body.retention_days = [0, 1, 365, 366, u16::MAX][usize::from(self.tape.below(5))],
            3 => body.expected_position = Some(Default::default()),
            4 => body.topic.id = TopicId([self.tape.below(2); 32]),
            5 => {
                let kinds = [
                    TopicKind::Group,
                    TopicKind::Identity,
                    TopicKind::Keys,
                    TopicKind::Mailbox,
                    TopicKind::Xmtp,
                ];
                body.topic.kind = kinds[usize::from(self.tape.below(5))];
            }
            6 => body.payer.0[0] ^= 1,
            _ => body.not_after = Period(self.tape.below(12).into()),
        }
    }

    fn spoil_batch(&mut self, batch: &mut BatchHeader) {
        match self.tape.below(8) {
            0 => batch.version = 2,
            1 => batch.target = Target::Shard(ShardId(0)),
            2 => batch.target = Target::Node(NodeId(self.node.0 + 1)),
            3 => batch.not_after = Period(self.tape.below(12).into()),
            4 => batch.max_fee = PicoDollars(self.tape.below(3).into()),
            5 => batch.count = self.tape.below(3).into(),
            6 => batch.root[0] ^= 1,
            _ => batch.payer.0[0] ^= 1,
        }
    }

    fn spoil_header(&mut self, header: &mut EntryHeader) {
        match self.tape.below(7) {
            0 => header.version = 2,
            1 => header.envelope_id.0[0] ^= 1,
            2 => header.payer.0[0] ^= 1,
            3 => header.retention_days += 1,
            4 => header.fee_period = Period(self.tape.below(12).into()),
            5 => header.fee = PicoDollars(self.tape.below(255).into()),
            _ => header.topic.id.0[0] ^= 1,
        }
    }

    fn invalid_entry(&mut self) -> InvalidEntry {
        let (envelope, mut header) = self.entry();
        if self.tape.below(3) == 0 {
            self.spoil_header(&mut header);
        }
        let payload = envelope.to_wire();
        header.payload_hash = sha256(&payload);
        header.payload_length = u32::try_from(payload.len()).unwrap();
        if self.tape.rarely() {
            header.payload_length += 1;
        }
        let proof = self.proof_of(&[header], 0);
        InvalidEntry { proof, payload: payload.try_into().unwrap() }
    }

    /// Evidence as bytes, now and then with one bit, the end or a part of it changed.
    fn bytes(&mut self) -> Vec<u8> {
        let mut bytes = self.evidence().to_wire();
        if self.tape.below(5) > 0 {
            return bytes;
        }
        let far = usize::from(self.tape.below(255)) * bytes.len() / 255;
        match self.tape.below(3) {
            0 => bytes[far] ^= 1 << self.tape.below(8),
            1 => bytes.truncate(far),
            _ => bytes.push(self.tape.below(255)),
        }
        bytes
    }
}

/// What somebody finds of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Guilty,
    NothingShown,
    /// Left to nodes: what takes Ed25519 or formats that may grow (SET-019).
    NotJudged,
}

fn of_nodes(bytes: &[u8], network: NetworkId, node: NodeId) -> Verdict {
    let signer = NodeKey::from_secret(&[SEED; 32]).unwrap().address();
    let evidence = Evidence::from_wire(bytes).ok().filter(|it| it.accused() == node);
    match evidence.is_some_and(|it| it.verify(network, signer).is_ok()) {
        true => Verdict::Guilty,
        false => Verdict::NothingShown,
    }
}

async fn of_court(bytes: Vec<u8>, court: Address, chain: &Endpoints) -> Verdict {
    let asked = chain.agreed(move |provider: DynProvider| {
        let bytes = bytes.clone();
        async move {
            let answer = EvidenceCourt::new(court, &provider).judge(bytes.into()).call().await;
            let Err(error) = answer else { return Ok::<_, String>(Verdict::Guilty) };
            match error.as_decoded_interface_error::<EvidenceCourtErrors>() {
                Some(EvidenceCourtErrors::NotJudgedHere(_)) => Ok(Verdict::NotJudged),
                Some(_) => Ok(Verdict::NothingShown),
                None => Err(error.to_string()),
            }
        }
    });
    asked.await.unwrap()
}

/// The court convicts by nothing that nodes refuse, and refuses nothing that nodes accept but what
/// it says it leaves to them.
#[tokio::test]
async fn the_court_and_nodes_come_to_one_verdict_on_whatever_a_node_signs() {
    // covers: SET-019
    let mut stage = Stage::set().await;
    let node = stage.add_node(0, SEED).await;
    stage.open_epoch().await;
    let network = stage.deployment.genesis().network_id();
    let (court, chain) = (address(stage.deployment.court), stage.anvil.endpoints());
    let mut seen = BTreeMap::new();
    for case in 0..CASES {
        let bytes = Author { network, node, tape: Tape::new(case) }.bytes();
        let kind = bytes.first().copied().unwrap_or_default();
        let (nodes, court) =
            (of_nodes(&bytes, network, node), of_court(bytes, court, &chain).await);
        let agree = nodes == court || court == Verdict::NotJudged && kind == 5;
        assert!(agree, "case {case} of kind {kind}: nodes {nodes:?}, court {court:?}");
        *seen.entry((kind, nodes, court)).or_insert(0u32) += 1;
    }
    for kind in 1..=5 {
        for verdict in [Verdict::Guilty, Verdict::NothingShown] {
            let count = seen.get(&(kind, verdict, verdict)).copied().unwrap_or_default();
            assert!(count >= 5, "kind {kind} {verdict:?}: {seen:?}");
        }
    }
}
