//! The shared vectors: what an independent implementation encodes, hashes and signs.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tidings_envelope::registry::{FeeSchedule, NodeRecord};
use tidings_envelope::*;
use tidings_types::ed25519::{PublicKey, SigningKey};
use tidings_types::node_key::NodeKey;
use tidings_types::*;

#[derive(Deserialize)]
struct Suite<Case> {
    #[serde(default)]
    network: NetworkId,
    cases: Vec<Case>,
}

fn suite<Case: DeserializeOwned>(path: &str) -> Suite<Case> {
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors");
    let text = std::fs::read_to_string(format!("{vectors}/{path}")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

fn wire<T: Wire>(text: &str) -> T {
    T::from_wire(&bytes(text)).unwrap()
}

fn secret(text: &str) -> [u8; 32] {
    bytes(text).try_into().unwrap()
}

#[derive(Deserialize)]
struct TopicId {
    kind: String,
    source: String,
    topic: String,
    shards: Vec<Shard>,
}

#[derive(Deserialize)]
struct Shard {
    count: u16,
    shard: u16,
}

#[test]
fn topics_and_their_shards() {
    // covers: TOP-002
    // covers: TOP-004
    // covers: TOP-006
    for case in suite::<TopicId>("topics/ids.json").cases {
        let topic = match case.kind.as_str() {
            "group" => Topic::group(&wire(&case.source)),
            "keys" => Topic::keys(&wire(&case.source)),
            "mailbox" => Topic::mailbox(wire(&case.source)),
            _ => Topic::identity(wire(&case.source)),
        };
        assert_eq!(topic, wire(&case.topic));
        for Shard { count, shard } in case.shards {
            assert_eq!(topic.shard(count), ShardId(shard));
        }
    }
}

#[derive(Deserialize)]
struct Bucket {
    installation: PublicKey,
    buckets: u32,
    bucket: u32,
}

#[test]
fn mailbox_buckets() {
    // covers: TOP-003
    for case in suite::<Bucket>("topics/buckets.json").cases {
        let topic = Topic::mailbox_of(&case.installation, case.buckets);
        assert_eq!(topic, Topic::mailbox(case.bucket));
    }
}

#[derive(Deserialize)]
struct Committee {
    comment: String,
    nodes: Vec<Candidate>,
    shard: u16,
    replication_factor: u16,
    committee: Vec<NodeId>,
    committee_hash: String,
    faults_tolerated: usize,
    durability_quorum: usize,
    certificate_quorum: usize,
}

#[derive(Deserialize)]
struct Candidate {
    id: NodeId,
    weight: u32,
    active: bool,
}

fn registry(case: &Committee) -> Registry {
    let record = |node: &Candidate| NodeRecord {
        id: node.id,
        name: String::new(),
        signing: EthereumAddress::default(),
        transport: PublicKey::default(),
        quic: String::new(),
        http: String::new(),
        weight: node.weight,
        active: node.active,
    };
    Registry {
        genesis: Genesis::without_chain(GenesisSalt([1; 32])),
        epoch: RegistryEpoch(1),
        shard_count: 1,
        replication_factor: case.replication_factor,
        period_ms: 1,
        mailbox_buckets: 1,
        nodes: case.nodes.iter().map(record).collect(),
        payers: Vec::new(),
        edges: Vec::new(),
        fees: FeeSchedule::default(),
    }
}

#[test]
fn committees_and_quorums() {
    // covers: TOP-005
    // covers: TOP-008
    // covers: ORD-011
    for case in suite::<Committee>("topics/committees.json").cases {
        let (mut registry, shard) = (registry(&case), ShardId(case.shard));
        let comment = &case.comment;
        assert_eq!(registry.committee(shard), case.committee, "{comment}");
        assert_eq!(hex::encode(registry.committee_hash(shard)), case.committee_hash, "{comment}");
        assert_eq!(registry.faults_tolerated(shard), case.faults_tolerated, "{comment}");
        assert_eq!(registry.durability_quorum(shard), case.durability_quorum, "{comment}");
        assert_eq!(registry.certificate_quorum(shard), case.certificate_quorum, "{comment}");
        // The order in which a registry lists its nodes decides nothing.
        registry.nodes.reverse();
        assert_eq!(registry.committee(shard), case.committee, "{comment}");
    }
}

#[derive(Deserialize)]
struct Padding {
    length: usize,
    padded: usize,
}

#[test]
fn padded_lengths() {
    // covers: ENV-009
    for case in suite::<Padding>("envelopes/padding.json").cases {
        assert_eq!(padding::padded_length(case.length), case.padded);
        let padded = padding::pad(vec![1; case.length]);
        assert_eq!(padded.len(), case.padded);
        assert_eq!(padding::unpad(padded).map(|plain| plain.len()), Some(case.length));
    }
}

#[derive(Deserialize)]
struct Client {
    comment: String,
    topic: String,
    lane: String,
    payer: EthereumAddress,
    not_after: Period,
    retention_days: u16,
    expected_position: Option<Position>,
    depends_on: Option<DependsOn>,
    payload: String,
    proof: String,
    secret: Option<String>,
    body: String,
    id: EnvelopeId,
    envelope: String,
}

#[derive(Deserialize)]
struct DependsOn {
    topic: String,
    position: Position,
}

impl Client {
    fn body(&self) -> EnvelopeBody {
        let lane = match self.lane.as_str() {
            "broadcast" => Lane::Broadcast,
            _ => Lane::Ordered,
        };
        let payload = bytes(&self.payload).try_into().unwrap();
        let depends_on = self.depends_on.as_ref();
        EnvelopeBody {
            lane,
            retention_days: self.retention_days,
            expected_position: self.expected_position,
            depends_on: depends_on
                .map(|on| Dependency { topic: wire(&on.topic), position: on.position }),
            ..EnvelopeBody::broadcast(wire(&self.topic), self.payer, self.not_after, payload)
        }
    }

    fn envelope(&self, network: NetworkId) -> ClientEnvelope {
        let body = self.body();
        match (self.proof.as_str(), &self.secret) {
            ("key", Some(text)) => body.sign(&SigningKey::from_secret(&secret(text)), network),
            ("stamp", _) => ClientEnvelope { body, proof: WriteProof::FeeStamp },
            _ => ClientEnvelope { body, proof: WriteProof::SelfAuthenticating },
        }
    }
}

#[test]
fn client_envelopes() {
    // covers: ENV-002
    // covers: ENV-003
    let suite = suite::<Client>("envelopes/client.json");
    for case in suite.cases {
        let comment = &case.comment;
        let envelope = case.envelope(suite.network);
        assert_eq!(hex::encode(envelope.body.to_wire()), case.body, "{comment}");
        assert_eq!(envelope.body.id(), case.id, "{comment}");
        assert_eq!(hex::encode(envelope.to_wire()), case.envelope, "{comment}");
        let parsed = ParsedEnvelope::parse(&bytes(&case.envelope)).unwrap();
        assert_eq!((parsed.id(), parsed.envelope()), (case.id, &envelope), "{comment}");
        let statement = envelope.statement(suite.network);
        assert!(statement.is_none_or(|statement| statement.verify().is_ok()), "{comment}");
    }
}

#[derive(Deserialize)]
struct Batch {
    comment: String,
    payer: EthereumAddress,
    secret: String,
    target: String,
    registry_epoch: RegistryEpoch,
    not_after: Period,
    max_fee: String,
    ids: Vec<EnvelopeId>,
    root: String,
    header: String,
    batch_id: BatchId,
    batch: String,
    paths: Vec<Vec<String>>,
}

#[test]
fn payer_batches() {
    // covers: ENV-007
    // covers: ENV-008
    let suite = suite::<Batch>("envelopes/batches.json");
    for case in suite.cases {
        let comment = &case.comment;
        let key = SigningKey::from_secret(&secret(&case.secret));
        let header = BatchHeader {
            version: 1,
            payer: case.payer,
            session_key: key.public_key(),
            target: wire(&case.target),
            registry_epoch: case.registry_epoch,
            not_after: case.not_after,
            max_fee: PicoDollars(case.max_fee.parse().unwrap()),
            count: u32::try_from(case.ids.len()).unwrap(),
            root: BatchHeader::root_of(&case.ids),
        };
        assert_eq!(hex::encode(header.root), case.root, "{comment}");
        assert_eq!(hex::encode(header.to_wire()), case.header, "{comment}");
        let batch = header.sign(&key, suite.network);
        assert_eq!(hex::encode(batch.to_wire()), case.batch, "{comment}");
        assert_eq!(batch.id(), case.batch_id, "{comment}");
        assert!(batch.signature_is_valid(suite.network), "{comment}");
        for ((index, id), path) in (0u64..).zip(&case.ids).zip(&case.paths) {
            let path: Vec<Hash> = path.iter().map(|hash| secret(hash)).collect();
            let leaf = merkle::leaf_hash(id.as_bytes());
            let root = merkle::root_from_path(leaf, index, u64::from(header.count), &path);
            assert_eq!(root, Some(header.root), "{comment}");
        }
    }
}

#[derive(Deserialize)]
struct Signed {
    comment: String,
    kind: String,
    digest: CheckpointDigest,
    secret: String,
    signer: EthereumAddress,
    wire: String,
    typed_data: TypedData,
}

#[derive(Deserialize)]
struct TypedData {
    message: serde_json::Value,
}

fn check_checkpoint(case: &Signed, network: NetworkId, key: &NodeKey) {
    let signed: SignedCheckpoint = wire(&case.wire);
    assert_eq!(signed.checkpoint.digest(network), case.digest, "{}", case.comment);
    assert_eq!(signed.checkpoint.sign(key, network), signed, "{}", case.comment);
    signed.verify(network, case.signer).unwrap();
    let log = signed.checkpoint.log;
    let message = &case.typed_data.message;
    assert_eq!(message["node"], log.node.0);
    assert_eq!(message["incarnation"], log.incarnation.0);
    assert_eq!(message["size"], signed.checkpoint.size.to_string());
}

#[test]
fn checkpoints_and_acknowledgements() {
    // covers: LOG-005
    // covers: LOG-006
    // covers: ENC-007
    let suite = suite::<Signed>("envelopes/statements.json");
    let mut checkpoint = CheckpointDigest::default();
    for case in suite.cases {
        let key = NodeKey::from_secret(&secret(&case.secret)).unwrap();
        assert_eq!(key.address(), case.signer);
        if case.kind == "checkpoint" {
            check_checkpoint(&case, suite.network, &key);
            checkpoint = case.digest;
            continue;
        }
        let signed: SignedAcknowledgement = wire(&case.wire);
        let again = SignedAcknowledgement::sign(signed.replica, checkpoint, &key, suite.network);
        assert_eq!(signed, again, "{}", case.comment);
        signed.verify(checkpoint, suite.network, case.signer).unwrap();
        let recovered = signed.signature.recover(case.digest.as_bytes());
        assert_eq!(recovered, Ok(case.signer), "{}", case.comment);
    }
}

#[derive(Deserialize)]
struct Entry {
    comment: String,
    header: String,
    hash: EntryHash,
    envelope_id: EnvelopeId,
    payer_envelope: String,
    entry: String,
}

#[test]
fn log_entries() {
    // covers: LOG-001
    // covers: LOG-004
    let suite = suite::<Entry>("envelopes/entries.json");
    for case in suite.cases {
        let comment = &case.comment;
        let entry: LogEntry = wire(&case.entry);
        assert_eq!(hex::encode(entry.header.to_wire()), case.header, "{comment}");
        assert_eq!(entry.header.hash(), case.hash, "{comment}");
        assert_eq!(entry.header.envelope_id, case.envelope_id, "{comment}");
        let envelope: PayerEnvelope = wire(&case.payer_envelope);
        assert_eq!(envelope.envelope.body.id(), case.envelope_id, "{comment}");
        assert!(envelope.is_covered() && entry.header.matches(&bytes(&case.payer_envelope)));
        assert!(envelope.batch.signature_is_valid(suite.network), "{comment}");
        let expected = entry.payload.is_some().then_some(envelope);
        assert_eq!(entry.open(), expected, "{comment}");
    }
}
