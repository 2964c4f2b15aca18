//! Kills at any point: one history, and nobody contradicts itself, whatever its disk kept.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tidings_envelope::{Evidence, SignedVote, Step};
use tidings_order::{OrderMessage, Recalled};
use tidings_types::{NodeId, Round};

use crate::network::Committee;

/// A node's own votes among messages.
fn votes(node: u32, sent: Vec<(NodeId, OrderMessage)>) -> Vec<SignedVote> {
    let votes = sent.into_iter().filter_map(|(_, message)| match message {
        OrderMessage::Vote(signed) if signed.node == NodeId(node) => Some(signed),
        _ => None,
    });
    votes.collect()
}

#[test]
fn a_vote_waits_for_the_disk() {
    // covers: ORD-015
    let mut committee = Committee::new(4);
    committee.slow_disks = (1..=4).map(NodeId).collect();
    let operation = committee.envelope(9, None, b"text");
    committee.submit(NodeId(1), operation.clone());
    committee.run();
    // Height 2 is node 3's to propose; its proposal waits for its disk as well.
    assert!(committee.outcomes_of(&operation).is_empty());
    committee.sync(NodeId(3));
    let sent = votes(3, committee.sent_by(NodeId(3)));
    assert!(!sent.is_empty());
}

#[test]
fn a_member_that_was_killed_repeats_its_vote() {
    // covers: ORD-015
    let mut committee = Committee::new(4);
    let operation = committee.envelope(9, None, b"text");
    committee.submit(NodeId(1), operation.clone());
    let mut before = Vec::new();
    while before.is_empty() && committee.step() {
        before = votes(2, committee.sent_by(NodeId(2)));
    }
    let said = before[0];
    assert_eq!((said.node, said.vote.step, said.vote.round), (NodeId(2), Step::Prevote, Round(0)));
    committee.kill(NodeId(2));
    committee.start(NodeId(2));
    let mut again = Vec::new();
    for _ in 0..4 {
        committee.now_ms += 250;
        committee.pass(0);
        again.extend(votes(2, committee.sent_by(NodeId(2))));
    }
    assert!(again.iter().all(|signed| {
        (signed.vote.step, signed.vote.round) != (said.vote.step, said.vote.round)
            || *signed == said
    }));
    assert!(committee.evidence.is_empty());
    committee.pass_until(|committee| !committee.outcomes_of(&operation).is_empty());
}

#[test]
fn a_member_whose_disk_forgot_is_reminded_by_the_others() {
    // covers: ORD-021
    let mut committee = Committee::new(4);
    let operation = committee.envelope(9, None, b"text");
    let backup = committee.disks[&NodeId(2)].clone();
    committee.submit(NodeId(1), operation.clone());
    let mut said = Vec::new();
    while said.is_empty() && committee.step() {
        let sent = committee.sent_by(NodeId(2));
        said = votes(2, sent.clone());
        for (to, message) in sent {
            committee.inject(NodeId(2), to, message);
        }
    }
    assert!(said[0].vote.block.is_some());
    committee.kill(NodeId(2));
    committee.disks.insert(NodeId(2), backup);
    committee.start(NodeId(2));
    committee.pass_until(|committee| !committee.outcomes_of(&operation).is_empty());
    committee.pass(1_000);
    assert_eq!(committee.evidence, []);
}

#[test]
fn an_answer_about_another_height_reminds_of_nothing() {
    // covers: ORD-021
    let mut committee = Committee::new(4);
    let node = NodeId(2);
    committee.kill(node);
    for other in [1, 3, 4].map(NodeId) {
        committee.cut.insert((node, other));
        committee.cut.insert((other, node));
    }
    committee.start(node);
    let operation = committee.envelope(9, None, b"text");
    committee.submit(node, operation);
    // Two members answer what they were asked about before, and one is not there yet.
    let next = committee.state(node).height().plus(1);
    let none = |height, next| {
        let (votes, proposals) = Default::default();
        OrderMessage::Recalled(Recalled { height, next, votes, proposals })
    };
    committee.inject(NodeId(1), node, none(next.minus(1), next));
    committee.inject(NodeId(3), node, none(next, next.minus(1)));
    committee.inject(NodeId(4), node, none(next, next));
    committee.tick(1_000);
    committee.tick(1_000);
    assert_eq!(votes(2, committee.sent_by(node)), []);
    committee.inject(NodeId(1), node, none(next, next));
    // It waits for the others a little, then it takes part and finds the proposer silent.
    committee.tick(300);
    committee.tick(500);
    assert!(!votes(2, committee.sent_by(node)).is_empty());
}

#[test]
fn all_members_killed_at_once_go_on() {
    // covers: ORD-015
    for steps in (0..60).step_by(4) {
        let mut committee = Committee::new(4);
        let operation = committee.envelope(9, None, b"text");
        committee.submit(NodeId(1), operation.clone());
        (0..steps).for_each(|_| {
            committee.step();
        });
        for node in 1..=4 {
            committee.kill(NodeId(node));
        }
        for node in 1..=4 {
            committee.start(NodeId(node));
        }
        let again = committee.envelope(9, None, b"again");
        committee.submit(NodeId(2), again.clone());
        committee.run();
        committee.pass_until(|committee| !committee.outcomes_of(&again).is_empty());
        assert_eq!(committee.evidence, []);
    }
}

/// What may befall a committee.
#[derive(Debug, Clone)]
enum Event {
    Kill(u32),
    /// Kills, and brings back what the disk held some decisions ago.
    Restore(u32),
    StartAll,
    Submit(u32),
    Steps(u8),
    Sync(u32),
    Pass(u16),
    Cut(u32, u32),
    Heal,
    /// Everybody is up, with a fast disk, and can be reached, until nobody has anything to say.
    Meet,
}

fn event() -> impl Strategy<Value = Event> {
    let node = 1u32..5;
    prop_oneof![
        1 => node.clone().prop_map(Event::Kill),
        1 => node.clone().prop_map(Event::Restore),
        2 => Just(Event::StartAll),
        4 => node.clone().prop_map(Event::Submit),
        6 => (1u8..40).prop_map(Event::Steps),
        3 => node.clone().prop_map(Event::Sync),
        4 => (50u16..800).prop_map(Event::Pass),
        1 => (node.clone(), node).prop_map(|(one, two)| Event::Cut(one, two)),
        1 => Just(Event::Heal),
    ]
}

/// Events of which an old backup is one whose member then hears from all others: what it said to
/// one of them alone nobody else can remind it of.
fn schedule() -> impl Strategy<Value = Vec<Event>> {
    let events = prop::collection::vec(event(), 1..80);
    events.prop_map(|events| {
        let reminded = events.into_iter().flat_map(|event| match event {
            Event::Restore(_) => vec![event, Event::Meet],
            _ => vec![event],
        });
        reminded.collect()
    })
}

/// Whom anybody accuses after these events, in a committee some of whose disks are slow.
fn accused(events: Vec<Event>, slow: BTreeSet<NodeId>) -> Vec<Evidence> {
    let mut committee = Committee::new(4);
    committee.slow_disks = slow;
    let mut down: BTreeSet<NodeId> = BTreeSet::new();
    let backup = committee.disks.clone();
    let mut restored = None;
    for (serial, event) in events.into_iter().enumerate() {
        match event {
            Event::Kill(node) if down.len() < 3 => {
                committee.kill(NodeId(node));
                down.insert(NodeId(node));
            }
            Event::Restore(node) if restored.is_none_or(|one| one == NodeId(node)) => {
                restored = Some(NodeId(node));
                committee.kill(NodeId(node));
                committee.disks.insert(NodeId(node), backup[&NodeId(node)].clone());
                committee.start(NodeId(node));
                down.remove(&NodeId(node));
            }
            Event::StartAll => {
                std::mem::take(&mut down).into_iter().for_each(|node| committee.start(node));
            }
            Event::Submit(node) if committee.is_up(NodeId(node)) => {
                let text = serial.to_be_bytes();
                let operation = committee.envelope(9, None, &text);
                committee.submit(NodeId(node), operation);
            }
            Event::Steps(count) => (0..count).for_each(|_| {
                committee.step();
            }),
            Event::Sync(node) if committee.is_up(NodeId(node)) => committee.sync(NodeId(node)),
            Event::Pass(ms) => {
                committee.now_ms += u64::from(ms);
                committee.pass(0);
            }
            Event::Cut(one, two) => {
                committee.cut.insert((NodeId(one), NodeId(two)));
            }
            Event::Heal => committee.cut.clear(),
            Event::Meet => {
                committee.cut.clear();
                let slow = std::mem::take(&mut committee.slow_disks);
                slow.iter().for_each(|node| committee.sync(*node));
                std::mem::take(&mut down).into_iter().for_each(|node| committee.start(node));
                committee.run();
                committee.slow_disks = slow;
            }
            _ => {}
        }
        committee.history();
    }
    committee.cut.clear();
    committee.slow_disks.clear();
    for node in (1..=4).map(NodeId) {
        match committee.is_up(node) {
            true => committee.sync(node),
            false => committee.start(node),
        }
    }
    let last = committee.envelope(9, None, b"last");
    committee.submit(NodeId(1), last.clone());
    committee.run();
    committee.pass_until(|committee| !committee.outcomes_of(&last).is_empty());
    committee.pass(1_000);
    committee.history();
    committee.evidence
}

#[test]
fn a_member_that_was_killed_itself_reminds_others_all_the_same() {
    // covers: ORD-021
    // Node 1 votes for what node 3 proposes, and both are killed; node 3 forgets.
    let events = vec![
        Event::Submit(3),
        Event::Sync(3),
        Event::Kill(2),
        Event::Submit(2),
        Event::Sync(4),
        Event::Steps(30),
        Event::Kill(1),
        Event::StartAll,
        Event::Restore(3),
        Event::Steps(28),
        Event::Pass(543),
    ];
    assert_eq!(accused(events, [3, 4].map(NodeId).into()), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Kills, lost writes, old backups and cut links leave one history and accuse nobody, as
    /// long as one member at a time loses what it had made durable, and all the others remind it.
    #[test]
    fn any_schedule_leaves_one_history_and_no_accusation(
        events in schedule(),
        slow in prop::collection::btree_set((1u32..5).prop_map(NodeId), 0..3),
    ) {
        // covers: ORD-015
        // covers: ORD-021
        let accused = accused(events, slow);
        prop_assert!(accused.is_empty(), "{:?}", accused);
    }
}
