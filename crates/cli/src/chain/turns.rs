//! Whose turn it is: what is due since when, and what was refused lately.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use tidings_types::{NodeId, OffenceId, Period, ShardId};

/// The most places that anybody waits for: of many members the last ones try together.
const RANK_MAX: usize = 32;

/// How long something refused is left alone before it is tried again, at most.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// Something to be done on the chain, by whichever member comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    /// Evidence of an offence is to be judged.
    Evidence(OffenceId),
    /// This node's probation may be over.
    Graduation,
    /// The next epoch is to be opened.
    Epoch,
    /// The report that ends with a period is to be brought.
    Report(ShardId, Period),
    /// Payers are to be charged under the report that ends with a period.
    Charge(ShardId, Period),
    /// A node is to be jailed for its service by the report that ends with a period.
    Service(ShardId, NodeId, Period),
    /// A node's earnings are to be claimed under the report that ends with a period.
    Claim(ShardId, NodeId, Period),
}

impl fmt::Display for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evidence(offence) => write!(formatter, "evidence {offence}"),
            Self::Graduation => write!(formatter, "graduation"),
            Self::Epoch => write!(formatter, "epoch"),
            Self::Report(shard, last) => write!(formatter, "report {} {last}", shard.0),
            Self::Charge(shard, last) => write!(formatter, "charge {} {last}", shard.0),
            Self::Service(shard, node, last) => {
                write!(formatter, "service {} {node} {last}", shard.0)
            }
            Self::Claim(shard, node, last) => {
                write!(formatter, "claim {} {} {last}", shard.0, node.0)
            }
        }
    }
}

/// The place of `node` in a committee whose order moves on with each `turn`; others come after all
/// members.
pub(super) fn rank(committee: &[NodeId], node: NodeId, turn: u64) -> usize {
    let count = committee.len();
    let place = committee.iter().position(|member| *member == node);
    let moved = place.and_then(|place| (place as u64).wrapping_add(turn).checked_rem(count as u64));
    moved.and_then(|moved| usize::try_from(moved).ok()).unwrap_or(count)
}

/// When things became due and were refused.
#[derive(Debug)]
pub(super) struct Turns {
    stagger: Duration,
    due: BTreeMap<Task, Instant>,
    refused: BTreeMap<Task, Instant>,
}

impl Turns {
    /// Of members who follow each other by `stagger`.
    pub(super) fn new(stagger: Duration) -> Self {
        Self { stagger, due: BTreeMap::new(), refused: BTreeMap::new() }
    }

    /// Whether it is the turn of whoever has this rank: members try the same thing one after the
    /// other, and whoever is refused waits a little.
    pub(super) fn is_turn(&mut self, task: Task, rank: usize, now: Instant) -> bool {
        let since = *self.due.entry(task).or_insert(now);
        let rank = u32::try_from(rank.min(RANK_MAX)).unwrap_or(u32::MAX);
        let pause = REFUSED_PAUSE.min(self.stagger);
        let is_refused =
            self.refused.get(&task).is_some_and(|at| now.saturating_duration_since(*at) < pause);
        !is_refused && now.saturating_duration_since(since) >= self.stagger.saturating_mul(rank)
    }

    /// A contract refused something as things are.
    pub(super) fn refuse(&mut self, task: Task, now: Instant) {
        self.refused.insert(task, now);
    }

    /// Something is done, or need not be done any more.
    pub(super) fn done(&mut self, task: Task) {
        self.due.remove(&task);
        self.refused.remove(&task);
    }

    /// Forgets what is over.
    pub(super) fn retain(&mut self, keep: impl Fn(&Task) -> bool) {
        self.due.retain(|task, _| keep(task));
        self.refused.retain(|task, _| keep(task));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGGER: Duration = Duration::from_secs(2);

    #[test]
    fn every_member_has_a_place_of_its_own_and_strangers_come_last() {
        for count in [1u32, 2, 4, 7, 13] {
            let committee: Vec<NodeId> = (0..count).map(|place| NodeId(place * 3)).collect();
            for turn in [0, 1, 5, u64::MAX - 20] {
                let ranks = committee.iter().map(|member| rank(&committee, *member, turn));
                let mut ranks: Vec<usize> = ranks.collect();
                ranks.sort_unstable();
                assert!(ranks.into_iter().eq(0..count as usize), "{count} {turn}");
            }
            assert_eq!(rank(&committee, NodeId(1), 9), count as usize);
        }
        assert_eq!(rank(&[], NodeId(1), 9), 0);
        // Whose turn it is changes.
        let committee = [NodeId(1), NodeId(2)];
        assert_ne!(rank(&committee, NodeId(1), 1), rank(&committee, NodeId(1), 2));
    }

    #[test]
    fn members_follow_each_other() {
        let (mut turns, begun) = (Turns::new(STAGGER), Instant::now());
        let task = Task::Report(ShardId(0), Period(7));
        assert!(turns.is_turn(task, 0, begun));
        for rank in 1..=3u32 {
            let turn = begun + STAGGER * rank;
            assert!(!turns.is_turn(task, rank as usize, turn - Duration::from_millis(1)));
            assert!(turns.is_turn(task, rank as usize, turn));
        }
        assert!(turns.is_turn(task, usize::MAX, begun + STAGGER * 32));
        // What comes up again begins anew.
        turns.done(task);
        assert!(!turns.is_turn(task, 1, begun + STAGGER * 40));
    }

    #[test]
    fn what_is_refused_is_left_alone_for_a_while() {
        let (mut turns, begun) = (Turns::new(STAGGER), Instant::now());
        assert!(turns.is_turn(Task::Epoch, 0, begun));
        turns.refuse(Task::Epoch, begun);
        assert!(!turns.is_turn(Task::Epoch, 0, begun + STAGGER / 2));
        assert!(turns.is_turn(Task::Graduation, 0, begun + STAGGER / 2));
        assert!(turns.is_turn(Task::Epoch, 0, begun + STAGGER));
    }

    #[test]
    fn shards_do_not_forget_for_each_other() {
        let (mut turns, begun) = (Turns::new(STAGGER), Instant::now());
        let claim = |shard, last| Task::Claim(ShardId(shard), NodeId(1), Period(last));
        for task in [claim(0, 5), claim(0, 15), claim(1, 9)] {
            turns.is_turn(task, 1, begun);
        }
        turns.retain(|task| match task {
            Task::Claim(ShardId(0), _, period) => *period == Period(15),
            _ => true,
        });
        let later = begun + STAGGER;
        assert!(turns.is_turn(claim(1, 9), 1, later) && turns.is_turn(claim(0, 15), 1, later));
        assert!(!turns.is_turn(claim(0, 5), 1, later));
        assert_eq!((turns.due.len(), turns.refused.len()), (3, 0));
    }
}
