//! The order within a block: who wins a race is drawn, and drawn alike by everybody.

use tidings_envelope::{Operation, Outcome};
use tidings_types::{EthereumAddress, Position, labelled_hash};

use crate::lane::{Lane, applied, conflict, marker, operations};
use crate::network::payer;

fn payer_of(operation: &Operation) -> Option<EthereumAddress> {
    match operation {
        Operation::Envelope(envelope) => Some(envelope.envelope.body.payer),
        _ => None,
    }
}

/// A commit to position 0 paid by payer `number`.
fn commit(lane: &Lane, number: u8) -> Operation {
    lane.envelope(9, |body| {
        body.payer = payer(number);
        body.expected_position = Some(Position(0));
    })
}

#[test]
fn the_lowest_ticket_wins_whatever_came_first() {
    // covers: ORD-002
    let mut lane = Lane::new();
    let mut winners = std::collections::BTreeSet::new();
    for _ in 0..12 {
        lane.begin_period();
        let parent = lane.state.head();
        let ticket = |number: &u8| labelled_hash("commit lottery", &[&parent.0, &payer(*number).0]);
        let mut expected: Vec<u8> = (0..4).collect();
        expected.sort_by_key(ticket);
        let forwards: Vec<_> = (0..4).map(|number| commit(&lane, number)).collect();
        let backwards: Vec<_> = forwards.iter().rev().cloned().collect();
        let block = lane.stage(forwards).block;
        assert_eq!(block, lane.stage(backwards).block);
        let order: Vec<_> = operations(&block).iter().map(payer_of).collect();
        let expected: Vec<_> = expected.into_iter().map(|number| Some(payer(number))).collect();
        assert_eq!(order, expected);
        let outcomes: Vec<Outcome> =
            block.operations.iter().map(|decided| decided.outcome).collect();
        assert_eq!(outcomes, [applied(1), conflict(1), conflict(1), conflict(1)]);
        winners.insert(order[0]);
    }
    assert!(winners.len() > 1, "the draw is drawn anew for every block");
}

#[test]
fn a_payer_has_one_commit_per_topic_in_a_block() {
    // covers: ORD-002
    let lane = Lane::new();
    let commits: Vec<_> = (0..3u8).map(|text| lane.commit_at(9, 0, &[text])).collect();
    let elsewhere = lane.commit_at(8, 0, b"elsewhere");
    let all = [commits.clone(), vec![elsewhere.clone()]].concat();
    let (staged, waiting) = lane.state.stage(all, lane.context()).unwrap();
    assert_eq!(waiting, commits[1..]);
    let mut taken = operations(&staged.block);
    taken.retain(|operation| *operation != elsewhere);
    assert_eq!(taken, commits[..1]);
    assert_eq!(staged.block.operations.len(), 2);
}

#[test]
fn kinds_have_their_places() {
    // covers: ORD-002
    let lane = Lane::new();
    let proposals = [lane.envelope(8, |_| {}), lane.envelope(9, |_| {})];
    let commit = lane.commit_at(7, 0, b"commit");
    let openings = [lane.opening(2, 0, 1), lane.opening(1, 0, 1)];
    let given = vec![
        proposals[0].clone(),
        commit.clone(),
        openings[0].clone(),
        proposals[1].clone(),
        marker(2),
        openings[1].clone(),
    ];
    let block = lane.stage(given).block;
    let [one, two] = openings;
    let [first, second] = proposals;
    assert_eq!(operations(&block), [marker(2), one, two, commit, first, second]);
}

#[test]
fn time_passes_by_one_period_per_block() {
    // covers: ORD-002
    // covers: ORD-006
    let lane = Lane::new();
    let (staged, waiting) = lane.state.stage(vec![marker(2), marker(3)], lane.context()).unwrap();
    assert_eq!(operations(&staged.block), [marker(2)]);
    assert_eq!(waiting, [marker(3)]);
}
