//! What may be in a block at all, and the code of everything that may not.

use tidings_envelope::{
    BatchHeader, Checkpoint, ClientEnvelope, EnvelopeBody, Lane as Order, LogId, Operation,
    PayerEnvelope, PeriodMarker, Target, Topic, WriteProof,
};
use tidings_order::judge_operation;
use tidings_types::ed25519::Signature;
use tidings_types::{
    ErrorCode, EthereumAddress, Incarnation, LogSize, NodeId, Period, Position, ShardId,
};

use crate::lane::{Lane, marker};
use crate::network::{ordered, paid, signing_key};

fn judge(lane: &Lane, operation: &Operation) -> Result<(), ErrorCode> {
    let period = lane.state.period();
    judge_operation(operation, ShardId(0), period, lane.network, &lane.registry)
}

fn check(
    change: impl FnOnce(&mut EnvelopeBody),
    pay: impl FnOnce(&mut BatchHeader),
    alter: impl FnOnce(&mut PayerEnvelope),
    expected: Result<(), ErrorCode>,
) {
    let mut lane = Lane::new();
    for _ in 0..4 {
        lane.begin_period();
    }
    let key = signing_key(9);
    let mut body = ordered(Topic::group(&key.public_key()), Period(6), b"text");
    change(&mut body);
    let mut envelope = paid(body.sign(&key, lane.network), lane.network, pay);
    alter(&mut envelope);
    assert_eq!(judge(&lane, &Operation::Envelope(envelope)), expected);
}

fn check_body(change: impl FnOnce(&mut EnvelopeBody), expected: Result<(), ErrorCode>) {
    check(change, |_| {}, |_| {}, expected);
}

fn check_batch(pay: impl FnOnce(&mut BatchHeader), expected: Result<(), ErrorCode>) {
    check(|_| {}, pay, |_| {}, expected);
}

fn check_altered(alter: impl FnOnce(&mut PayerEnvelope), expected: Result<(), ErrorCode>) {
    check(|_| {}, |_| {}, alter, expected);
}

#[test]
fn an_envelope_is_in_form() {
    // covers: ORD-007
    check_body(|_| {}, Ok(()));
    check_body(|body| body.version = 2, Err(ErrorCode::UnknownVersion));
    check_body(|body| body.retention_days = 0, Err(ErrorCode::RetentionOutOfRange));
    check_body(|body| body.lane = Order::Broadcast, Err(ErrorCode::LaneNotAllowed));
    let other = Topic::group(&signing_key(8).public_key());
    check_body(|body| body.topic = other, Err(ErrorCode::TopicKeyMismatch));
    let keys = Topic::keys(&signing_key(9).public_key());
    check_body(|body| body.topic = keys, Err(ErrorCode::LaneNotAllowed));
    check_body(
        |body| {
            let (topic, position) = (body.topic, Position(0));
            body.depends_on = Some(tidings_envelope::Dependency { topic, position });
        },
        Err(ErrorCode::PositionMisplaced),
    );
}

#[test]
fn an_envelope_is_in_time() {
    // covers: ORD-007
    for (not_after, expected) in [
        (4, Err(ErrorCode::EnvelopeExpired)),
        (5, Ok(())),
        (7, Ok(())),
        (8, Err(ErrorCode::NotAfterTooFar)),
    ] {
        check_body(|body| body.not_after = Period(not_after), expected);
    }
    check_batch(|header| header.not_after = Period(4), Err(ErrorCode::EnvelopeExpired));
}

#[test]
fn an_envelope_is_paid_for() {
    // covers: ORD-007
    check_body(|body| body.payer = EthereumAddress([99; 20]), Err(ErrorCode::PayerUnknown));
    let other = crate::network::payer(1);
    check_batch(|header| header.payer = other, Err(ErrorCode::PayerMismatch));
    let stranger = signing_key(9).public_key();
    check_batch(|header| header.session_key = stranger, Err(ErrorCode::SessionKeyUnknown));
    check_batch(|header| header.target = Target::Node(NodeId(1)), Err(ErrorCode::BatchTargetWrong));
    check_batch(
        |header| header.target = Target::Shard(ShardId(1)),
        Err(ErrorCode::BatchTargetWrong),
    );
    check_batch(|header| header.version = 2, Err(ErrorCode::UnknownVersion));
    check_batch(|header| header.count = 0, Err(ErrorCode::Malformed));
    check_batch(|header| header.root = [0; 32], Err(ErrorCode::BatchRootMismatch));
    check_altered(|envelope| envelope.index = 1, Err(ErrorCode::BatchRootMismatch));
    let unsigned = |envelope: &mut PayerEnvelope| envelope.batch.signature = Signature([0; 64]);
    check_altered(unsigned, Err(ErrorCode::BatchSignatureInvalid));
}

#[test]
fn an_envelope_is_by_who_may_write() {
    // covers: ORD-007
    let forged = |envelope: &mut PayerEnvelope| {
        let (key, signature) = (signing_key(9).public_key(), Signature([0; 64]));
        envelope.envelope.proof = WriteProof::Key { key, signature };
    };
    check_altered(forged, Err(ErrorCode::WriteProofInvalid));
    let bare =
        |envelope: &mut PayerEnvelope| envelope.envelope.proof = WriteProof::SelfAuthenticating;
    check_altered(bare, Err(ErrorCode::WriteProofInvalid));
}

#[test]
fn an_operation_is_for_this_shard() {
    // covers: ORD-007
    let lane = Lane::new();
    let mut registry = lane.registry.clone();
    registry.shard_count = 4;
    let operation = lane.envelope(9, |_| {});
    let Operation::Envelope(PayerEnvelope { envelope: ClientEnvelope { body, .. }, .. }) =
        &operation
    else {
        unreachable!()
    };
    let home = body.topic.shard(4);
    for shard in (0..4).map(ShardId) {
        let verdict =
            judge_operation(&operation, shard, lane.state.period(), lane.network, &registry);
        let expected = match (shard == home, home == ShardId(0)) {
            (false, _) => Err(ErrorCode::WrongShard),
            (true, true) => Ok(()),
            // The payer signed for shard 0.
            (true, false) => Err(ErrorCode::BatchTargetWrong),
        };
        assert_eq!(verdict, expected);
    }
}

#[test]
fn a_marker_pins_nothing_yet() {
    // covers: ORD-007
    let lane = Lane::new();
    assert_eq!(judge(&lane, &marker(2)), Ok(()));
    let log = LogId { node: NodeId(1), shard: ShardId(0), incarnation: Incarnation(1) };
    let pin = Checkpoint::new(log, LogSize(1), [0; 32], Period(1));
    let pins = vec![pin].try_into().unwrap();
    let pinned = Operation::PeriodMarker(PeriodMarker { period: Period(2), pins });
    assert_eq!(judge(&lane, &pinned), Err(ErrorCode::OperationInvalid));
}
