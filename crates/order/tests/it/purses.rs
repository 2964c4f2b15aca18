//! What payers may have ordered in a period, by their caps.

use std::sync::Arc;

use tidings_envelope::registry::CapRecord;
use tidings_envelope::{Operation, Registry, StateKey, StateLeaf, Tariff, UNCONGESTED_PERMILLE};
use tidings_order::{BlockInvalid, OrderMessage};
use tidings_types::{ErrorCode, NodeId, Period, PicoDollars, RegistryEpoch, ShardId, Wire};

use crate::lane::{Lane, conflict};
use crate::network::{Committee, payer, registry};
use crate::voting::{block, prevotes};

/// A snapshot in which the first payer's part for what the lane orders is `purse`.
fn capped(nodes: u32, purse: u64) -> Registry {
    let mut registry = registry(nodes);
    let amount = PicoDollars(purse * u64::from(nodes + 1));
    let cap = CapRecord { shard: ShardId(0), before: amount, from: Period(0), amount };
    registry.payers[0].caps = Some(vec![cap]);
    registry
}

fn fee(operation: &Operation, registry: &Registry) -> u64 {
    let Operation::Envelope(envelope) = operation else { panic!("not an envelope") };
    let tariff = Tariff { schedule: &registry.fees, congestion_permille: UNCONGESTED_PERMILLE };
    tariff.operation_fee(envelope).unwrap().0
}

/// A lane in which the payer's operations may cost as much as so many thousandths of one.
fn lane(permille: u64) -> (Lane, u64) {
    let plain = Lane::new();
    let fee = fee(&plain.envelope(9, |_| {}), &plain.registry);
    (Lane::of(capped(4, fee * permille / 1_000)), fee)
}

fn spent(lane: &Lane) -> Option<PicoDollars> {
    let proof = lane.state.prove(&StateKey::OperationFees(payer(0))).unwrap();
    match proof.leaf {
        StateLeaf::Value(bytes) => Some(PicoDollars(u64::from_wire(&bytes).unwrap())),
        _ => None,
    }
}

#[test]
fn a_block_orders_no_more_than_a_payers_part() {
    // covers: ORD-034
    let (mut lane, fee) = lane(2_500);
    let [one, two, three] = [1, 2, 3].map(|key| lane.envelope(key, |_| {}));
    let over = |index| BlockInvalid::Operation { index, code: ErrorCode::PayerOverCap };
    let all = lane.stage(vec![one.clone(), two.clone(), three.clone()]);
    assert_eq!(lane.state.check(&all.block, |_| true, lane.context()), Err(over(2)));
    lane.apply(vec![one, two]);
    assert_eq!(spent(&lane), Some(PicoDollars(2 * fee)));
    let third = lane.stage(vec![three.clone()]);
    assert_eq!(lane.state.check(&third.block, |_| true, lane.context()), Err(over(0)));
    // What is final stays so, whoever voted for it.
    assert!(lane.state.restage(&third.block, lane.context()).is_ok());
    lane.begin_period();
    assert_eq!(spent(&lane), None);
    lane.apply(vec![three]);
    assert_eq!(spent(&lane), Some(PicoDollars(fee)));
}

#[test]
fn a_block_that_begins_a_period_is_held_to_that_ones_caps() {
    // covers: ORD-034
    let (mut lane, _) = lane(1_000);
    let [one, two, three] = [1, 2, 3].map(|key| lane.envelope(key, |_| {}));
    lane.apply(vec![one]);
    lane.apply(vec![crate::lane::marker(2), two]);
    let third = lane.stage(vec![three]);
    assert!(lane.state.check(&third.block, |_| true, lane.context()).is_err());
}

#[test]
fn what_loses_takes_what_it_costs() {
    // covers: ORD-034
    let (mut lane, fee) = lane(10_000);
    let lost = lane.commit_at(9, 4, b"lost");
    assert_eq!(lane.apply(vec![lost.clone()]), [conflict(0)]);
    let of_loss = spent(&lane).unwrap().0;
    assert!(0 < of_loss && of_loss < fee, "{of_loss} of {fee}");
    lane.apply(vec![lost]);
    assert_eq!(spent(&lane), Some(PicoDollars(of_loss)), "a repeat costs nothing");
}

#[test]
fn where_there_are_no_caps_nothing_is_noted() {
    // covers: ORD-034
    let mut lane = Lane::new();
    lane.apply_one(lane.envelope(9, |_| {}));
    assert_eq!(spent(&lane), None);
}

#[test]
fn nothing_is_ordered_for_who_is_short_of_money_in_the_period() {
    // covers: ORD-034
    let mut short = capped(4, u64::MAX / 8);
    short.payers[0].is_short = true;
    let mut lane = Lane::of(short);
    // Of the first epoch: its first marker settled that of the period after the next.
    let is_valid = |lane: &Lane| {
        let staged = lane.stage(vec![lane.envelope(9, |_| {})]);
        lane.state.check(&staged.block, |_| true, lane.context()).is_ok()
    };
    assert!(!is_valid(&lane));
    let mut enough = capped(4, u64::MAX / 8);
    enough.epoch = RegistryEpoch(2);
    lane.registries.insert(Arc::new(enough.clone())).unwrap();
    lane.apply(Vec::new());
    lane.registry = enough;
    lane.begin_period();
    assert!(!is_valid(&lane), "a period that is held to the epoch before");
    lane.begin_period();
    assert!(is_valid(&lane));
}

/// A committee whose payer's operations may cost as much as one and a half.
fn committee() -> Committee {
    let plain = Committee::new(4);
    let fee = fee(&plain.envelope(9, None, b"text"), &registry(4));
    Committee::of(capped(4, fee * 3 / 2))
}

#[test]
fn what_finds_no_room_is_refused_and_takes_nobodys_place() {
    // covers: ORD-034
    let mut committee = committee();
    let [one, two, three] = [1, 2, 3].map(|key| committee.envelope(key, None, b"text"));
    committee.submit(NodeId(1), one.clone());
    assert_eq!(committee.try_submit(NodeId(1), two.clone()), Err(ErrorCode::PayerOverCap));
    assert_eq!(committee.try_submit(NodeId(1), one.clone()), Ok(()), "it waits already");
    // Another member that has not heard of the first takes another.
    committee.submit(NodeId(2), three.clone());
    committee.run();
    committee.pass_until(|committee| {
        !committee.outcomes_of(&one).is_empty() || !committee.outcomes_of(&three).is_empty()
    });
    let is_decided = |committee: &Committee| {
        [&one, &three].map(|operation| committee.outcomes_of(operation).len())
    };
    assert_eq!(is_decided(&committee).iter().sum::<usize>(), 1);
    let began = committee.state(NodeId(1)).period();
    committee.pass_until(|committee| committee.state(NodeId(1)).period() > began);
    assert_eq!(is_decided(&committee).iter().sum::<usize>(), 1, "what lost does not wait");
    // The next period has room.
    committee.submit(NodeId(1), two.clone());
    committee.run();
    committee.pass_until(|committee| committee.outcomes_of(&two).len() == 1);
}

#[test]
fn a_proposal_beyond_a_payers_part_gets_no_vote() {
    // covers: ORD-034
    for (count, expected) in [(1, true), (2, false)] {
        let mut committee = committee();
        let operations: Vec<_> =
            (1..=count).map(|key| committee.envelope(key, None, b"text")).collect();
        let block = block(&committee, operations);
        let votes = prevotes(&mut committee, NodeId(3), &block);
        assert_eq!(votes.contains(&Some(block.header.hash())), expected, "{count}");
    }
}

#[test]
fn what_peers_bring_counts_as_what_is_submitted() {
    // covers: ORD-034
    let mut committee = committee();
    for key in 1..=20 {
        let operation = committee.envelope(key, None, b"text");
        committee.inject(NodeId(4), NodeId(1), OrderMessage::Order(operation));
    }
    let other = committee.envelope(21, None, b"text");
    assert_eq!(committee.try_submit(NodeId(1), other), Err(ErrorCode::PayerOverCap));
}
