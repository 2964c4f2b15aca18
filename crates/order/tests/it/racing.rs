//! Compare and swap: one winner per position, and everybody gets a turn.

use tidings_envelope::Outcome;
use tidings_types::{NodeId, Position};

use crate::network::Committee;

#[test]
fn one_of_two_racing_commits_wins() {
    // covers: ORD-001
    let mut committee = Committee::new(4);
    let (one, two) =
        (committee.envelope(9, Some(0), b"one"), committee.envelope(9, Some(0), b"two"));
    committee.submit(NodeId(1), one.clone());
    committee.submit(NodeId(2), two.clone());
    committee.run();
    assert_eq!(committee.outcomes_of(&one), [Outcome::Applied { position: Position(1) }]);
    assert_eq!(committee.outcomes_of(&two), [Outcome::Conflict { position: Position(1) }]);
}

#[test]
fn proposals_in_a_block_do_not_outrun_a_commit() {
    // covers: ORD-002
    let mut committee = Committee::new(4);
    // A block is under way, so the rest waits for the next one together.
    let first = committee.envelope(8, None, b"busy");
    committee.submit(NodeId(1), first);
    for number in 0..20u8 {
        let proposal = committee.envelope(9, None, &[number]);
        committee.submit(NodeId(1), proposal);
    }
    let commit = committee.envelope(9, Some(0), b"commit");
    committee.submit(NodeId(1), commit.clone());
    committee.run();
    assert_eq!(committee.outcomes_of(&commit), [Outcome::Applied { position: Position(1) }]);
}

#[test]
fn losers_that_rebase_all_land() {
    // covers: ORD-001
    let mut committee = Committee::new(4);
    let mut waiting: Vec<u8> = (0..20).collect();
    for round in 0u64..20 {
        let commits: Vec<_> = waiting
            .iter()
            .map(|member| (*member, committee.envelope(9, Some(round), &[*member, 1])))
            .collect();
        for (member, commit) in &commits {
            committee.submit(NodeId(1 + u32::from(*member) % 4), commit.clone());
        }
        committee.run();
        let won = |commit| {
            committee
                .outcomes_of(commit)
                .contains(&Outcome::Applied { position: Position(round + 1) })
        };
        let winners: Vec<u8> =
            commits.iter().filter(|(_, commit)| won(commit)).map(|(member, _)| *member).collect();
        assert_eq!(winners.len(), 1, "round {round}");
        waiting.retain(|member| !winners.contains(member));
    }
    assert!(waiting.is_empty());
}
