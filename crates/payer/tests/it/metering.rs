//! From blocks and pinned entries to reports: what is billed, to whom, once, and alike everywhere.

use tidings_envelope::registry::PayerRecord;
use tidings_envelope::{
    Block, BlockHeader, Checkpoint, Evidence, Operation, Outcome, Step, Tariff,
    UNCONGESTED_PERMILLE, Vote,
};
use tidings_payer::{MeterError, PROTOCOL};
use tidings_types::constants::{FEE_PERIODS_BEFORE_EXPIRY_MAX, PROTOCOL_VERSION};
use tidings_types::{
    BlockHash, ErrorCode, EthereumAddress, Height, LogIndex, LogSize, NodeId, Period, PicoDollars,
    PicoDollarsTotal, Position, RegistryEpoch,
};

use crate::lane::{Lane, SHARD, committee, header, key, log, stated};
use crate::network::{batch, message, network};

#[test]
fn pinned_entries_are_billed_and_who_worked_earns() {
    // covers: SET-004
    // covers: SET-006
    let mut lane = stated((2, 2));
    let pins = lane.meter.pins().unwrap();
    assert_eq!((pins.len(), pins[0].from, pins[0].size), (1, LogIndex(0), LogSize(2)));
    let report = lane.close(&[(1, header(0, 1, 1, 1_000)), (1, header(1, 2, 1, 2_000))]);
    assert_eq!((report.first, report.last), (Period(1), Period(1)));
    assert_eq!((report.billed, lane.billed()), (PicoDollarsTotal(3_000), 3_000));
    // A quarter for taking in, half for storing and a fifth for ordering, each by two members.
    assert_eq!((lane.earned(1), lane.earned(2)), (750 + 750 + 300, 750 + 300));
    assert_eq!(lane.earned(3), 0, "it said nothing in the period");
    assert_eq!(lane.earned(PROTOCOL.0), 150);
}

#[test]
fn what_a_member_does_not_hold_it_is_not_paid_for() {
    // covers: SET-006
    let mut lane = stated((2, 1));
    let report = lane.close(&[(1, header(0, 1, 1, 1_000))]);
    assert_eq!(report.billed, PicoDollarsTotal(1_000));
    assert_eq!(lane.earned(2), 250 + 100);
    // The second entry waits for another holder.
    lane.state(2, &[(1, 2, [7; 32])], &[]);
    lane.begin_period();
    lane.close(&[]);
    lane.begin_period();
    assert_eq!(lane.meter.pins().unwrap()[0].from, LogIndex(1));
    lane.close(&[(1, header(1, 2, 1, 1_000))]);
    assert_eq!(lane.billed(), 2_000, "late, but not too late");
}

#[test]
fn an_id_is_billed_once_wherever_it_comes_again() {
    // covers: SET-004
    let mut lane = Lane::new();
    for member in 1..=2 {
        lane.state(member, &[(1, 2, [7; 32]), (2, 1, [8; 32])], &[]);
    }
    lane.begin_period();
    lane.state(1, &[(3, 1, [9; 32])], &[]);
    lane.begin_period();
    let copies =
        [(1, header(0, 1, 1, 1_000)), (1, header(1, 1, 1, 1_000)), (2, header(0, 1, 1, 1_000))];
    lane.close(&copies);
    assert_eq!(lane.billed(), 1_000);
    lane.begin_period();
    lane.close(&[(3, header(0, 1, 2, 1_000))]);
    assert_eq!(lane.billed(), 1_000, "nor in the next period");
}

#[test]
fn an_id_is_billed_once_as_long_as_its_envelope_can_come_again() {
    // covers: SET-004
    let mut lane = Lane::new();
    for member in 1..=2 {
        lane.state(member, &[(1, 1, [7; 32])], &[]);
    }
    lane.begin_period();
    lane.begin_period();
    lane.close(&[(1, header(0, 1, 1, 1_000))]);
    assert_eq!(lane.billed(), 1_000);
    // An envelope that expires in period 7 may be of any period from the first on, and whoever
    // keeps a copy back is billed for up to four periods.
    let last = 1 + FEE_PERIODS_BEFORE_EXPIRY_MAX + 4;
    while lane.period < last {
        lane.begin_period();
        lane.close(&[]);
    }
    for member in 1..=2 {
        lane.state(member, &[(3, 2, [9; 32])], &[]);
    }
    lane.begin_period();
    lane.close(&[]);
    lane.begin_period();
    let expiry = 1 + FEE_PERIODS_BEFORE_EXPIRY_MAX;
    let report = lane.close(&[(3, header(0, 1, expiry, 1_000)), (3, header(1, 2, expiry, 50))]);
    assert_eq!((report.last, lane.billed()), (Period(last), 1_050));
}

#[test]
fn what_comes_too_late_or_too_early_is_not_billed_now() {
    // covers: SET-004
    let mut lane = Lane::new();
    lane.begin_period();
    lane.begin_period();
    lane.close(&[]);
    while lane.period < 6 {
        lane.begin_period();
        lane.close(&[]);
    }
    for member in 1..=2 {
        lane.state(member, &[(1, 4, [7; 32])], &[]);
    }
    lane.begin_period();
    lane.close(&[]);
    lane.begin_period();
    let headers =
        [header(0, 1, 1, 1), header(1, 2, 2, 20), header(2, 3, 7, 300), header(3, 4, 9, 4_000)];
    lane.close(&headers.map(|header| (1, header)));
    assert_eq!(lane.billed(), 20, "five periods are too many, and period 7 is not over");
    for _ in 7..=9 {
        lane.begin_period();
        lane.close(&[]);
    }
    assert_eq!(lane.billed(), 320, "nobody honest has taken an entry of period 9 in period 6");
}

#[test]
fn operations_pay_by_what_became_of_them() {
    // covers: SET-004
    let mut lane = Lane::new();
    lane.state(1, &[], &[]);
    let envelopes = batch(&["a", "b", "c", "d"].map(message), PicoDollars(u64::MAX));
    let outcomes = [
        Outcome::Applied { position: Position(1) },
        Outcome::Conflict { position: Position(1) },
        Outcome::Refused { code: ErrorCode::TopicInvalid },
        Outcome::Refused { code: ErrorCode::Repeated },
    ];
    let registry = committee();
    let tariff = Tariff { schedule: &registry.fees, congestion_permille: UNCONGESTED_PERMILLE };
    let fee =
        |place: usize| tariff.decided_fee(&envelopes[place], outcomes[place]).map(|fee| fee.0);
    let lost = |place| fee(place).unwrap();
    let expected = tariff.operation_fee(&envelopes[0]).unwrap().0 + lost(1) + lost(2);
    assert_eq!((fee(0), fee(3)), (tariff.operation_fee(&envelopes[0]).map(|fee| fee.0), None));
    // For its bytes, of which there are some hundred, and not for what it is alone.
    assert!(lost(1) > 4 * (2_000_000 + 100 * 100), "{}", lost(1));
    let operations = envelopes.into_iter().map(Operation::Envelope).zip(outcomes);
    lane.block(operations.collect()).unwrap();
    lane.begin_period();
    lane.begin_period();
    lane.close(&[]);
    assert_eq!(lane.billed(), u128::from(expected));
    let usage: u128 = (1..=4).map(|node| lane.earned(node)).sum();
    assert_eq!(usage + lane.earned(PROTOCOL.0), lane.billed());
}

#[test]
fn what_a_busy_shard_adds_is_the_protocols() {
    // covers: FEE-010
    // covers: SET-004
    // covers: SET-006
    let mut registry = committee();
    // A thousand bytes in a period of ten seconds.
    registry.fees.congestion.target_bytes = 100;
    let mut lane = Lane::of(registry.clone());
    lane.taken = 2_000;
    (1..=3).for_each(|member| lane.state(member, &[], &[]));
    lane.begin_period();
    lane.begin_period();
    lane.close(&[]);
    // Period 3 is dearer by an eighth.
    lane.taken = 1_000;
    (1..=2).for_each(|member| lane.state(member, &[(1, 1, [7; 32])], &[]));
    let envelope = batch(&[message("a")], PicoDollars(u64::MAX)).remove(0);
    lane.apply(Operation::Envelope(envelope.clone()));
    lane.begin_period();
    lane.close(&[]);
    lane.begin_period();
    lane.close(&[(1, header(0, 1, 3, 1_125))]);
    let fee = |permille| {
        let tariff = Tariff { schedule: &registry.fees, congestion_permille: permille };
        u128::from(tariff.operation_fee(&envelope).unwrap().0)
    };
    let plain = fee(1_000) + 1_000;
    assert_eq!(lane.billed(), fee(1_125) + 1_125);
    let earned: u128 = (1..=4).map(|node| lane.earned(node)).sum();
    // Of the plain fees all but a twentieth is the operators', but for what rounding takes.
    let shared = plain * 950 / 1_000;
    assert!((shared - 8..=shared).contains(&earned), "{earned} of {plain}");
    assert_eq!(lane.earned(PROTOCOL.0), lane.billed() - earned);
}

#[test]
fn the_payer_never_pays_more_than_it_signed_for() {
    // covers: SET-004
    let mut lane = Lane::new();
    let envelope = batch(&[message("a")], PicoDollars(5)).remove(0);
    lane.apply(Operation::Envelope(envelope));
    lane.begin_period();
    lane.begin_period();
    lane.close(&[]);
    assert_eq!(lane.billed(), 5);
}

#[test]
fn a_log_with_two_histories_is_left_alone_and_no_other() {
    // covers: SET-023
    let mut lane = Lane::new();
    for member in 1..=2 {
        lane.state(member, &[(1, 2, [7; 32]), (2, 1, [8; 32])], &[]);
    }
    lane.begin_period();
    let signed = |root| {
        let checkpoint = Checkpoint::new(log(1), LogSize(2), [root; 32], Period(1));
        checkpoint.sign(&key(1), network())
    };
    let evidence = Evidence::Checkpoints(signed(7), signed(8));
    lane.apply(Operation::Evidence(Box::new(evidence)));
    // Who voted twice has its log billed all the same.
    let vote = |block| {
        let vote = Vote {
            shard: SHARD,
            height: Height(9),
            round: tidings_types::Round(0),
            step: Step::Prevote,
            block: Some(BlockHash([block; 32])),
        };
        vote.sign(NodeId(2), &key(2), network())
    };
    let evidence = Evidence::Votes(vote(1), vote(2));
    lane.apply(Operation::Evidence(Box::new(evidence)));
    lane.begin_period();
    let pinned: Vec<_> = lane.meter.pins().unwrap().iter().map(|pin| pin.log).collect();
    assert_eq!(pinned, [log(2)]);
    assert_eq!(lane.close(&[(2, header(0, 1, 1, 1_000))]).billed, PicoDollarsTotal(1_000));
}

#[test]
fn measurements_are_those_of_the_period() {
    // covers: SET-007
    let mut lanes = [Lane::new(), Lane::new()];
    for (lane, permille) in lanes.iter_mut().zip([900, 100]) {
        for member in [1, 3, 4] {
            lane.state(member, &[], &[(2, permille)]);
        }
        lane.begin_period();
        lane.state(3, &[], &[(2, 5)]);
        lane.begin_period();
    }
    let [one, other] = lanes.map(|mut lane| lane.close(&[]));
    assert_eq!(one.first_difference(&other), Some("measurements"));
}

#[test]
fn who_is_on_trial_is_measured_too() {
    // covers: SET-007
    let mut registry = committee();
    let mut newcomer = registry.nodes[0].clone();
    (newcomer.id, newcomer.active) = (NodeId(9), false);
    registry.nodes.push(newcomer);
    let mut lane = Lane::of(registry);
    for member in 1..=3 {
        lane.state(member, &[], &[(9, 300), (10, 300)]);
    }
    lane.begin_period();
    lane.begin_period();
    lane.close(&[]);
    let measured: Vec<_> = lane.meter.ledger().measurements().iter().map(|of| of.node).collect();
    assert_eq!(measured, [NodeId(9)], "and no stranger");
}

#[test]
fn one_member_measures_nobody_alone() {
    // covers: SET-007
    let mut lane = Lane::new();
    // Of a member that others are silent about, and of a node that is none.
    lane.state(1, &[], &[(2, 0), (9, 0)]);
    for member in [2, 3, 4] {
        lane.state(member, &[], &[(9, 0)]);
    }
    lane.begin_period();
    lane.begin_period();
    assert_eq!(lane.close(&[]).measurements, [0; 32]);
}

#[test]
fn a_batch_of_an_epoch_that_never_was_stops_nobody() {
    // covers: SET-004
    let mut lane = Lane::new();
    let mut envelope = batch(&[message("a")], PicoDollars(u64::MAX)).remove(0);
    envelope.batch.header.registry_epoch = RegistryEpoch(u64::MAX);
    lane.apply(Operation::Envelope(envelope));
    lane.begin_period();
    lane.begin_period();
    lane.close(&[]);
    assert!(lane.billed() > 4 * 2_000_000, "by the schedule that was in force");
}

#[test]
fn nothing_is_taken_out_of_order() {
    // covers: SET-004
    let mut lane = stated((2, 2));
    let before = lane.meter.clone();
    assert_eq!(lane.block(Vec::new()), Err(MeterError::Unclosed(Period(1))));
    let missing = MeterError::Entry { log: log(1), index: 0 };
    assert_eq!(lane.meter.close(), Err(missing));
    let wrong = [(log(2), header(0, 1, 1, 1)), (log(1), header(1, 1, 1, 1))];
    for (log, header) in wrong {
        assert!(lane.meter.count(log, &header).is_err(), "{log}");
    }
    assert_eq!(lane.meter, before);
    let mut early = Lane::new();
    let skipped = BlockHeader { height: Height(9), ..lane_header(&early) };
    let block = Block { header: skipped, operations: Vec::new().try_into().unwrap() };
    let taken = early.meter.take_block(&block, &early.registries);
    assert_eq!(taken, Err(MeterError::Height(Height(9))));
}

fn lane_header(lane: &Lane) -> BlockHeader {
    BlockHeader {
        version: PROTOCOL_VERSION,
        shard: SHARD,
        height: lane.meter.height(),
        parent: BlockHash([0; 32]),
        period: Period(1),
        chain_reference: None,
        registry_epoch: lane.registries.latest().epoch,
        next_epoch: lane.registries.latest().epoch,
        next_committee: [0; 32],
        operations_count: 0,
        operations_root: [0; 32],
        state_root: [0; 32],
    }
}

#[test]
fn sums_of_other_payers_do_not_mix() {
    // covers: SET-004
    let other_payer = EthereumAddress([9; 20]);
    let mut registry = committee();
    registry.payers.push(PayerRecord::unlimited(other_payer, Vec::new()));
    let mut lane = Lane::of(registry);
    for member in 1..=2 {
        lane.state(member, &[(1, 2, [7; 32])], &[]);
    }
    lane.begin_period();
    lane.begin_period();
    let mut other = header(1, 2, 1, 40);
    other.payer = other_payer;
    lane.close(&[(1, header(0, 1, 1, 2)), (1, other)]);
    assert_eq!(lane.billed(), 2);
    assert_eq!(lane.meter.ledger().billed_to(other_payer).0, 40);
}
