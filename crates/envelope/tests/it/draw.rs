//! Values of every wire type, drawn from a source of randomness.

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use tidings_envelope::api::*;
use tidings_envelope::*;
use tidings_types::ed25519::{PublicKey, Signature};
use tidings_types::node_key::NodeSignature;
use tidings_types::*;

/// Something that can be drawn.
pub trait Draw: Sized {
    fn draw(rng: &mut ChaCha20Rng) -> Self;
}

/// A number below `limit`.
fn below(rng: &mut ChaCha20Rng, limit: u32) -> u32 {
    rng.next_u32() % limit
}

macro_rules! draw_number {
    ($($number:ty),*) => {$(
        impl Draw for $number {
            /// Ends of the range come as often as all between.
            fn draw(rng: &mut ChaCha20Rng) -> Self {
                match below(rng, 4) {
                    0 => Self::MIN,
                    1 => Self::MAX,
                    _ => rng.next_u64() as Self,
                }
            }
        }
    )*};
}
draw_number!(u16, u32, u64);

impl Draw for u128 {
    fn draw(rng: &mut ChaCha20Rng) -> Self {
        Self::from_be_bytes(Draw::draw(rng))
    }
}

impl Draw for u8 {
    fn draw(rng: &mut ChaCha20Rng) -> Self {
        rng.next_u32().to_be_bytes()[0]
    }
}

impl<const LENGTH: usize> Draw for [u8; LENGTH] {
    fn draw(rng: &mut ChaCha20Rng) -> Self {
        let mut bytes = [0; LENGTH];
        rng.fill_bytes(&mut bytes);
        bytes
    }
}

impl<T: Draw> Draw for Option<T> {
    fn draw(rng: &mut ChaCha20Rng) -> Self {
        (below(rng, 2) == 1).then(|| T::draw(rng))
    }
}

impl<const MAX: usize> Draw for BoundedBytes<MAX> {
    fn draw(rng: &mut ChaCha20Rng) -> Self {
        let length = usize::try_from(below(rng, 100)).unwrap();
        let mut bytes = vec![0; length.min(MAX)];
        rng.fill_bytes(&mut bytes);
        Self::new(bytes).unwrap()
    }
}

impl<T: Draw, const MAX: usize> Draw for BoundedVec<T, MAX> {
    fn draw(rng: &mut ChaCha20Rng) -> Self {
        let count = usize::try_from(below(rng, 3)).unwrap().min(MAX);
        Self::new((0..count).map(|_| T::draw(rng)).collect()).unwrap()
    }
}

impl Draw for ErrorCode {
    fn draw(rng: &mut ChaCha20Rng) -> Self {
        let place = rng.next_u64() % u64::try_from(Self::ALL.len()).unwrap();
        Self::ALL[usize::try_from(place).unwrap()]
    }
}

macro_rules! draw_newtype {
    ($($name:ident),* $(,)?) => {$(
        impl Draw for $name {
            fn draw(rng: &mut ChaCha20Rng) -> Self {
                Self(Draw::draw(rng))
            }
        }
    )*};
}
draw_newtype!(
    NetworkId,
    InboxId,
    OperationHash,
    OffenceId,
    TopicId,
    EnvelopeId,
    EntryHash,
    BlockHash,
    EthereumAddress,
    PublicKey,
    Signature,
    NodeSignature,
    NodeId,
    ShardId,
    Incarnation,
    LogIndex,
    LogSize,
    TopicIndex,
    Height,
    Round,
    Position,
    Period,
    RegistryEpoch,
    TimestampSeconds,
    PicoDollars,
    PicoDollarsTotal,
    ReportDigest,
);

macro_rules! draw_struct {
    ($($name:ident { $($field:ident),* $(,)? })*) => {$(
        impl Draw for $name {
            fn draw(rng: &mut ChaCha20Rng) -> Self {
                Self { $($field: Draw::draw(rng)),* }
            }
        }
    )*};
}
draw_struct! {
    Topic { kind, id }
    Dependency { topic, position }
    EnvelopeBody {
        version, topic, lane, payer, not_after, retention_days, expected_position, depends_on,
        payload,
    }
    ClientEnvelope { body, proof }
    BatchHeader {
        version, payer, session_key, target, registry_epoch, not_after, max_fee, count, root,
    }
    PayerBatch { header, signature }
    PayerEnvelope { envelope, batch, index, path }
    EntryHeader {
        version, envelope_id, index, timestamp, topic, topic_index, previous, payer,
        payload_hash, payload_length, retention_days, fee_period, fee,
    }
    LogEntry { header, payload }
    LogId { node, shard, incarnation }
    Checkpoint { version, log, size, root, period }
    SignedCheckpoint { checkpoint, signature }
    SignedAcknowledgement { replica, signature }
    ChainReference { chain_id, number, hash }
    BlockHeader {
        version, shard, height, parent, period, chain_reference, registry_epoch, next_epoch,
        next_committee, operations_count, operations_root, state_root,
    }
    IncarnationRequest { node, shard, previous, nonce, signature }
    PeriodMarker { period, extension }
    Service { reachability_permille, acknowledgement_ms, cadence_permille, served_permille }
    PeerService { node, service }
    PeriodStatement { version, node, shard, period, held, measured, taken, signature }
    UsageReport {
        version, shard, first, last, epoch, previous, ranges, usage, earnings, measurements, billed,
    }
    SignedAttestation { node, signature }
    ReportAttestation { report, attestation }
    DecidedOperation { operation, outcome }
    Block { header, operations }
    CommitSignature { node, signature }
    Certificate { round, signatures }
    Vote { shard, height, round, step, block }
    SignedVote { node, vote, signature }
    Proposal { shard, height, round, valid_round, block }
    SignedProposal { node, proposal, signature }
    InvalidEntry { proof, payload }
    CertifiedBlock { block, certificate }
    Receipt { header, path, checkpoint, acknowledgements }
    OrderedReceipt { header, certificate, index, path, decided }
    InclusionProof { header, path, checkpoint }
    PublishRequest { version, level, batch, ids, envelopes }
    AcknowledgedCheckpoint { checkpoint, acknowledgements }
    PublishResponse { version, checkpoints, results }
    SendRequest { version, level, envelopes }
    SendResponse { version, results }
    LogCursor { log, next, previous }
    TopicCursor { logs, position }
    TopicQuery { version, topic, cursor, limit }
    TopicEntry { log, entry }
    TopicPage { version, ordered, broadcast, more }
    NewestQuery { version, topic }
    StateBranch { leaf, path }
    StateProof { version, key, branch, header, certificate }
    StateQuery { version, shard, key, known }
    StateAnswer { version, proof, value }
    TopicHead { position, last }
    LogPage { version, first, entries, checkpoint }
    BlockPage { version, blocks }
    Subscription { topic, cursor }
}

macro_rules! draw_enum {
    ($name:ident, $count:literal, $rng:ident, $($number:literal => $value:expr),* $(,)?) => {
        impl Draw for $name {
            fn draw($rng: &mut ChaCha20Rng) -> Self {
                match below($rng, $count) {
                    $($number => $value,)*
                    _ => unreachable!(),
                }
            }
        }
    };
}
draw_enum!(Step, 2, rng, 0 => Self::Prevote, 1 => Self::Precommit);
draw_enum!(Lane, 2, rng, 0 => Self::Broadcast, 1 => Self::Ordered);
draw_enum!(AckLevel, 2, rng, 0 => Self::Local, 1 => Self::Replicated);
draw_enum!(
    TopicKind, 5, rng,
    0 => Self::Group, 1 => Self::Keys, 2 => Self::Mailbox, 3 => Self::Identity, 4 => Self::Xmtp,
);
draw_enum!(
    WriteProof, 3, rng,
    0 => Self::Key { key: Draw::draw(rng), signature: Draw::draw(rng) },
    1 => Self::FeeStamp,
    2 => Self::SelfAuthenticating,
);
draw_enum!(
    Target, 2, rng,
    0 => Self::Node(Draw::draw(rng)),
    1 => Self::Shard(Draw::draw(rng)),
);
draw_enum!(
    Operation, 6, rng,
    0 => Self::Envelope(Draw::draw(rng)),
    1 => Self::OpenIncarnation(Draw::draw(rng)),
    2 => Self::PeriodMarker(Draw::draw(rng)),
    3 => Self::Evidence(Box::new(Draw::draw(rng))),
    4 => Self::Statement(Box::new(Draw::draw(rng))),
    5 => Self::Attestation(Box::new(Draw::draw(rng))),
);
draw_enum!(
    Outcome, 3, rng,
    0 => Self::Applied { position: Draw::draw(rng) },
    1 => Self::Conflict { position: Draw::draw(rng) },
    2 => Self::Refused { code: Draw::draw(rng) },
);
draw_enum!(
    Evidence, 5, rng,
    0 => Self::Checkpoints(Draw::draw(rng), Draw::draw(rng)),
    1 => Self::Entries(Draw::draw(rng), Draw::draw(rng)),
    2 => Self::Votes(Draw::draw(rng), Draw::draw(rng)),
    3 => Self::Proposals(Draw::draw(rng), Draw::draw(rng)),
    4 => Self::InvalidEntry(Draw::draw(rng)),
);
draw_enum!(
    StateKey, 8, rng,
    0 => Self::Period,
    1 => Self::Topic(Draw::draw(rng)),
    2 => Self::Inbox(Draw::draw(rng)),
    3 => Self::Account(Draw::draw(rng)),
    4 => Self::Incarnation(Draw::draw(rng)),
    5 => Self::Decided(Draw::draw(rng), Draw::draw(rng)),
    6 => Self::Offence(Draw::draw(rng), Draw::draw(rng)),
    7 => Self::Decisions(Draw::draw(rng)),
);
draw_enum!(
    StateLeaf, 4, rng,
    0 => Self::Empty,
    1 => Self::Other { path: Draw::draw(rng), value: Draw::draw(rng) },
    2 => Self::Value(Draw::draw(rng)),
    3 => Self::Digest(Draw::draw(rng)),
);
draw_enum!(
    PublishResult, 3, rng,
    0 => Self::Stored {
        header: Draw::draw(rng),
        path: Draw::draw(rng),
        checkpoint: Draw::draw(rng),
    },
    1 => Self::Ordered(Draw::draw(rng)),
    2 => Self::Refused { code: Draw::draw(rng) },
);
draw_enum!(
    SendResult, 3, rng,
    0 => Self::Stored(Draw::draw(rng)),
    1 => Self::Ordered(Draw::draw(rng)),
    2 => Self::Refused { code: Draw::draw(rng) },
);
draw_enum!(
    SubscriberFrame, 2, rng,
    0 => Self::Subscribe(Draw::draw(rng)),
    1 => Self::Unsubscribe(Draw::draw(rng)),
);
draw_enum!(
    NodeFrame, 6, rng,
    0 => Self::Hello {
        version: Draw::draw(rng),
        network: Draw::draw(rng),
        period: Draw::draw(rng),
    },
    1 => Self::Broadcast(Draw::draw(rng)),
    2 => Self::Ordered(Draw::draw(rng)),
    3 => Self::CaughtUp(Draw::draw(rng)),
    4 => Self::Heartbeat { period: Draw::draw(rng) },
    5 => Self::Refused { topic: Draw::draw(rng), code: Draw::draw(rng) },
);

impl Draw for StatePath {
    fn draw(rng: &mut ChaCha20Rng) -> Self {
        let sibling = |rng: &mut ChaCha20Rng| match below(rng, 3) {
            0 => *b"SPARSE_MERKLE_PLACEHOLDER_HASH__",
            _ => Draw::draw(rng),
        };
        let siblings: Vec<_> = (0..below(rng, 257)).map(|_| sibling(rng)).collect();
        Self::new(&siblings).unwrap()
    }
}
