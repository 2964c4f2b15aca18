//! What may be in a block at all, and the code of everything that may not.

use tidings_envelope::{
    BatchHeader, Checkpoint, ClientEnvelope, EnvelopeBody, Lane as Order, LogId, Operation,
    PayerEnvelope, PeriodStatement, ReportAttestation, Target, Tariff, Topic, UsageReport,
    WriteProof,
};
use tidings_order::{LaneContext, judge_operation};
use tidings_types::ed25519::Signature;
use tidings_types::{
    BoundedVec, ErrorCode, EthereumAddress, Incarnation, LogSize, NodeId, Period, PicoDollars,
    PicoDollarsTotal, Position, ReportDigest, ShardId,
};

use crate::lane::{Lane, applied, conflict, marker};
use crate::network::{node_key, ordered, paid, registry, signing_key};

fn judge(lane: &Lane, operation: &Operation) -> Result<(), ErrorCode> {
    judge_operation(operation, &lane.judging(ShardId(0)))
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
fn a_payer_signs_for_the_fee() {
    // covers: FEE-005
    // covers: ORD-007
    check_batch(|header| header.max_fee = PicoDollars(0), Err(ErrorCode::FeeAboveMaximum));
    let mut registry = registry(4);
    registry.fees.congestion.target_bytes = 1;
    let mut lane = Lane::of(registry);
    let key = signing_key(9);
    let body =
        ordered(Topic::group(&key.public_key()), Period(3), b"text").sign(&key, lane.network);
    let envelope = |max_fee| paid(body.clone(), lane.network, |header| header.max_fee = max_fee);
    let tariff = Tariff::uncongested(&lane.registry.fees);
    let fee = tariff.operation_fee(&envelope(PicoDollars(u64::MAX))).unwrap();
    let exact = Operation::Envelope(envelope(fee));
    let less = Operation::Envelope(envelope(PicoDollars(fee.0 - 1)));
    assert_eq!(judge(&lane, &exact), Ok(()));
    assert_eq!(judge(&lane, &less), Err(ErrorCode::FeeAboveMaximum));
    // What was enough is not when the shard has become busy.
    lane.say_taken(&[1_000; 3]);
    lane.begin_period();
    assert_eq!(judge(&lane, &exact), Ok(()), "it is settled a period before it counts");
    lane.begin_period();
    assert_eq!(judge(&lane, &exact), Err(ErrorCode::FeeAboveMaximum));
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
        let judging = lane.state.judging(LaneContext { shard, ..lane.context() }, &registry);
        let verdict = judge_operation(&operation, &judging);
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
fn a_marker_is_in_form() {
    // covers: ORD-007
    assert_eq!(judge(&Lane::new(), &marker(2)), Ok(()));
}

/// Node 2's statement of a period about node 1's log, after a change.
fn statement(lane: &Lane, period: u64, change: impl FnOnce(&mut PeriodStatement)) -> Operation {
    let log = LogId { node: NodeId(1), shard: ShardId(0), incarnation: Incarnation(1) };
    let held = Checkpoint::new(log, LogSize(1), [0; 32], Period(1));
    let held = vec![held.sign(&node_key(NodeId(1)), lane.network)].try_into().unwrap();
    let about = (NodeId(2), ShardId(0), Period(period));
    let key = node_key(NodeId(2));
    let mut statement =
        PeriodStatement::sign(about, held, BoundedVec::default(), 0, &key, lane.network);
    change(&mut statement);
    Operation::Statement(Box::new(statement))
}

#[test]
fn members_speak_of_the_period_that_it_is() {
    // covers: SET-023
    // covers: ORD-007
    let mut lane = Lane::new();
    lane.apply_one(lane.opening(1, 0, 1));
    let period = lane.begin_period().0;
    let check = |operation: Operation, expected| assert_eq!(judge(&lane, &operation), expected);
    check(statement(&lane, period, |_| {}), Ok(()));
    let invalid = Err(ErrorCode::OperationInvalid);
    check(statement(&lane, period + 1, |_| {}), invalid);
    check(statement(&lane, period - 1, |_| {}), invalid);
    check(statement(&lane, period, |it| it.node = NodeId(1)), invalid);
    check(statement(&lane, period, |it| it.node = NodeId(99)), invalid);
    check(statement(&lane, period, |it| it.version = 2), invalid);
    check(statement(&lane, period, |it| it.held = BoundedVec::default()), invalid);
    check(statement(&lane, period, |it| it.shard = ShardId(1)), Err(ErrorCode::WrongShard));
    let said = statement(&lane, period, |_| {});
    assert_eq!(lane.apply_one(said.clone()), applied(period));
    assert_eq!(lane.apply_one(said), conflict(period), "it is said once");
    assert_eq!(lane.state.stated(NodeId(2)), Period(period));
}

fn attestation(lane: &Lane, last: u64, change: impl FnOnce(&mut ReportAttestation)) -> Operation {
    let report = UsageReport {
        version: 1,
        shard: ShardId(0),
        first: Period(last),
        last: Period(last),
        epoch: lane.registry.epoch,
        previous: ReportDigest::default(),
        ranges: [1; 32],
        usage: [2; 32],
        earnings: [3; 32],
        measurements: [4; 32],
        billed: PicoDollarsTotal(5),
    };
    let mut attested =
        ReportAttestation::sign(NodeId(2), report, &node_key(NodeId(2)), lane.network);
    change(&mut attested);
    Operation::Attestation(Box::new(attested))
}

#[test]
fn reports_are_attested_when_their_periods_are_over() {
    // covers: SET-024
    // covers: ORD-007
    let mut lane = Lane::new();
    while lane.state.period() < Period(4) {
        lane.begin_period();
    }
    let check = |operation: Operation, expected| assert_eq!(judge(&lane, &operation), expected);
    check(attestation(&lane, 3, |_| {}), Ok(()));
    let invalid = Err(ErrorCode::OperationInvalid);
    check(attestation(&lane, 4, |_| {}), invalid);
    check(attestation(&lane, 3, |it| it.report.first = Period(4)), invalid);
    check(attestation(&lane, 3, |it| it.report.version = 2), invalid);
    check(attestation(&lane, 3, |it| it.report.billed.0 += 1), invalid);
    check(attestation(&lane, 3, |it| it.attestation.node = NodeId(99)), invalid);
    check(attestation(&lane, 3, |it| it.attestation.node = NodeId(1)), invalid);
    let elsewhere = attestation(&lane, 3, |it| it.report.shard = ShardId(1));
    check(elsewhere, Err(ErrorCode::WrongShard));
    let (second, third) = (attestation(&lane, 2, |_| {}), attestation(&lane, 3, |_| {}));
    assert_eq!(lane.apply_one(third.clone()), applied(3));
    assert_eq!(lane.apply_one(third), conflict(3));
    assert_eq!(lane.apply_one(second), conflict(3), "nobody goes back");
    assert_eq!(lane.state.attested(NodeId(2)), Period(3));
}
