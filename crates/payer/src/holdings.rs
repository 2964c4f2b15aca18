//! Who holds how much of each log, by what members have stated, and what that pins.

use std::collections::{BTreeMap, BTreeSet};

use tidings_envelope::{LogId, PeriodStatement};
use tidings_types::constants::LATE_PERIODS_MAX;
use tidings_types::{Hash, LogIndex, LogSize, NodeId, Period};

use crate::counting::EARLY_PERIODS_MAX;

/// A stretch of a log that so many members hold that it can be billed (SET-023).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Which log.
    pub log: LogId,
    /// The first entry that was not pinned before.
    pub from: LogIndex,
    /// The size up to which entries are pinned.
    pub size: LogSize,
    /// The log's root at that size, as whoever was the last that was needed to pin it said.
    pub root: Hash,
    /// How much each member holds.
    pub holders: BTreeMap<NodeId, LogSize>,
}

/// A member's word that it holds a log up to a size with a root, and when it said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    size: LogSize,
    root: Hash,
    said: Period,
}

/// How long a word counts that pins nothing: what it covers is billed to nobody any more.
const WORD_PERIODS: u64 = LATE_PERIODS_MAX + EARLY_PERIODS_MAX;

/// What members of one shard hold of logs beyond what is pinned.
///
/// As many logs are kept as members can name within [`WORD_PERIODS`], whatever they name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Holdings {
    held: BTreeMap<LogId, BTreeMap<NodeId, Word>>,
    pinned: BTreeMap<LogId, LogSize>,
}

impl Holdings {
    /// Takes over a member's statement.
    pub(crate) fn note(&mut self, statement: &PeriodStatement) {
        for held in statement.held.iter() {
            let checkpoint = &held.checkpoint;
            let (log, size) = (checkpoint.log, checkpoint.size);
            if size <= self.pinned.get(&log).copied().unwrap_or_default() {
                continue;
            }
            let word = Word { size, root: checkpoint.root, said: statement.period };
            let words = self.held.entry(log).or_default();
            let known = words.entry(statement.node).or_insert(word);
            if known.size < size {
                *known = word;
            }
        }
    }

    /// Pins what at least `needed` of `committee` hold and was not pinned before, by rising log,
    /// for the report of `last`; the `forked` logs are left alone, of which members may hold
    /// two histories.
    pub(crate) fn pin(
        &mut self,
        last: Period,
        committee: &[NodeId],
        needed: usize,
        forked: &BTreeSet<LogId>,
    ) -> Vec<Pin> {
        let mut pins = Vec::new();
        for (log, words) in &self.held {
            let agreed = agreed(words, log.node, committee, needed);
            let Some((size, root)) = agreed.filter(|_| !forked.contains(log)) else {
                continue;
            };
            let from = self.pinned.insert(*log, size).unwrap_or_default().next_index();
            let holders = holders(words, log.node, committee);
            pins.push(Pin { log: *log, from, size, root, holders });
        }
        self.forget(last);
        pins
    }

    /// Forgets the words that pin nothing any more.
    fn forget(&mut self, last: Period) {
        let oldest = last.minus(WORD_PERIODS);
        let pinned = &self.pinned;
        self.held.retain(|log, words| {
            let before = pinned.get(log).copied().unwrap_or_default();
            words.retain(|_, word| word.size > before && word.said >= oldest);
            !words.is_empty()
        });
    }
}

/// The largest size that `needed` members hold, with its root (SET-023).
///
/// Who wrote a log holds all that it signed, and so counts, as a member, for what others state;
/// its own statements count for nothing beside theirs, or it could have a root pinned that it
/// showed to nobody. Two words of one size with different roots pin nothing: one of them is a lie,
/// and both are evidence.
fn agreed(
    words: &BTreeMap<NodeId, Word>,
    originator: NodeId,
    committee: &[NodeId],
    needed: usize,
) -> Option<(LogSize, Hash)> {
    let is_member = committee.contains(&originator);
    let alone = needed <= usize::from(is_member);
    let counts = |node: &NodeId| committee.contains(node) && (alone || *node != originator);
    let counted = words.iter().filter(|(node, _)| counts(node));
    let mut sizes: Vec<(LogSize, Hash)> = counted.map(|(_, it)| (it.size, it.root)).collect();
    sizes.sort_unstable_by(|one, other| other.cmp(one));
    let holding = |word: &(LogSize, Hash)| sizes.iter().filter(|it| *it == word).count();
    let (size, root) = match is_member || needed <= 1 {
        true => sizes.get(needed.saturating_sub(2)).copied()?,
        // A log that its writer left behind ends somewhere, and all who hold it say the same.
        false => sizes.iter().find(|word| holding(word) >= needed).copied()?,
    };
    let is_disputed = sizes.iter().any(|it| it.0 == size && it.1 != root);
    (!is_disputed).then_some((size, root))
}

/// How much each member holds; who wrote the log holds all that anybody does.
fn holders(
    words: &BTreeMap<NodeId, Word>,
    originator: NodeId,
    committee: &[NodeId],
) -> BTreeMap<NodeId, LogSize> {
    let members = words.iter().filter(|(node, _)| committee.contains(node));
    let mut holders: BTreeMap<_, _> = members.map(|(node, it)| (*node, it.size)).collect();
    let most = holders.values().max().copied();
    holders.extend(most.filter(|_| committee.contains(&originator)).map(|most| (originator, most)));
    holders
}

#[cfg(test)]
mod tests {
    use tidings_envelope::{Checkpoint, SignedCheckpoint};
    use tidings_types::node_key::NodeKey;
    use tidings_types::{BoundedVec, Incarnation, NetworkId, ShardId};

    use super::*;

    const NETWORK: NetworkId = NetworkId([9; 32]);

    fn log(node: u32) -> LogId {
        LogId { node: NodeId(node), shard: ShardId(0), incarnation: Incarnation(1) }
    }

    fn statement(node: u32, held: &[(u32, u64)]) -> PeriodStatement {
        let root = |size: u64| [u8::try_from(size).unwrap(); 32];
        let held: Vec<_> =
            held.iter().map(|(node, size)| (log(*node), *size, root(*size))).collect();
        stated(node, 1, &held)
    }

    fn stated(node: u32, period: u64, held: &[(LogId, u64, Hash)]) -> PeriodStatement {
        let key = NodeKey::from_secret(&[1; 32]).unwrap();
        let signed = |(log, size, root): &(LogId, u64, Hash)| -> SignedCheckpoint {
            Checkpoint::new(*log, LogSize(*size), *root, Period(period)).sign(&key, NETWORK)
        };
        let held: Vec<_> = held.iter().map(signed).collect();
        let about = (NodeId(node), ShardId(0), Period(period));
        let held = held.try_into().unwrap();
        PeriodStatement::sign(about, held, BoundedVec::default(), 0, &key, NETWORK)
    }

    fn committee() -> Vec<NodeId> {
        (1..=4).map(NodeId).collect()
    }

    fn pinned(holdings: &mut Holdings, forked: &[u32]) -> Vec<(u32, u64, u64)> {
        let forked = forked.iter().copied().map(log).collect();
        let pins = holdings.pin(Period(1), &committee(), 2, &forked);
        pins.iter().map(|pin| (pin.log.node.0, pin.from.0, pin.size.0)).collect()
    }

    #[test]
    fn what_enough_members_hold_is_pinned_once() {
        // covers: SET-023
        let mut holdings = Holdings::default();
        holdings.note(&statement(1, &[(1, 9)]));
        assert_eq!(pinned(&mut holdings, &[]), [], "its own word is not enough");
        holdings.note(&statement(2, &[(1, 5)]));
        assert_eq!(pinned(&mut holdings, &[]), [(1, 0, 5)]);
        assert_eq!(pinned(&mut holdings, &[]), []);
        holdings.note(&statement(3, &[(1, 7)]));
        assert_eq!(pinned(&mut holdings, &[]), [(1, 5, 7)]);
        // Nobody takes a word back.
        holdings.note(&statement(3, &[(1, 2)]));
        assert_eq!(pinned(&mut holdings, &[]), []);
    }

    #[test]
    fn the_log_of_a_node_that_is_gone_is_pinned_by_those_who_hold_it() {
        // covers: SET-023
        let mut holdings = Holdings::default();
        holdings.note(&statement(2, &[(1, 5)]));
        assert_eq!(pinned(&mut holdings, &[]), [(1, 0, 5)], "the checkpoint has its signature");
    }

    #[test]
    fn strangers_pin_nothing_and_forks_are_not_pinned() {
        // covers: SET-023
        let mut holdings = Holdings::default();
        holdings.note(&statement(7, &[(8, 5)]));
        holdings.note(&statement(1, &[(8, 5)]));
        assert_eq!(pinned(&mut holdings, &[]), []);
        holdings.note(&statement(2, &[(1, 5)]));
        assert_eq!(pinned(&mut holdings, &[1]), []);
        assert_eq!(pinned(&mut holdings, &[]), [(1, 0, 5)]);
    }

    #[test]
    fn one_member_pins_nothing_that_no_other_holds() {
        // covers: SET-023
        let roots =
            |pins: &[Pin]| pins.iter().map(|pin| (pin.size.0, pin.root)).collect::<Vec<_>>();
        // Node 1 shows to nobody but the chain what it says of itself, first or last, high or low.
        for (mine, theirs) in [([1; 32], [2; 32]), ([2; 32], [1; 32])] {
            let said = [(1, 5, mine), (1, 200, mine), (2, 5, theirs), (3, 4, [4; 32])];
            for first in 0..said.len() {
                let mut holdings = Holdings::default();
                for (node, size, root) in said[first..].iter().chain(&said[..first]) {
                    holdings.note(&stated(*node, 1, &[(log(1), *size, *root)]));
                }
                let pins = holdings.pin(Period(1), &committee(), 2, &BTreeSet::new());
                assert_eq!(roots(&pins), [(5, theirs)], "{first}");
                assert_eq!(pins[0].holders[&NodeId(1)], LogSize(200), "who wrote it holds it");
            }
        }
        // Nor what it and a node that is in no committee make up.
        let mut holdings = Holdings::default();
        holdings.note(&stated(2, 1, &[(log(9), 8, [8; 32])]));
        holdings.note(&stated(3, 1, &[(log(9), 9, [9; 32])]));
        assert_eq!(holdings.pin(Period(1), &committee(), 2, &BTreeSet::new()), []);
        holdings.note(&stated(4, 2, &[(log(9), 9, [9; 32])]));
        let pins = holdings.pin(Period(2), &committee(), 2, &BTreeSet::new());
        assert_eq!(roots(&pins), [(9, [9; 32])], "two members hold the same");
        assert!(!pins[0].holders.contains_key(&NodeId(9)));
    }

    #[test]
    fn two_roots_of_one_size_pin_nothing() {
        // covers: SET-023
        let mut holdings = Holdings::default();
        holdings.note(&stated(2, 1, &[(log(1), 5, [1; 32])]));
        holdings.note(&stated(3, 1, &[(log(1), 5, [2; 32])]));
        assert_eq!(holdings.pin(Period(1), &committee(), 2, &BTreeSet::new()), []);
    }

    #[test]
    fn who_is_alone_pins_its_own_log() {
        // covers: SET-023
        let mut holdings = Holdings::default();
        holdings.note(&stated(1, 1, &[(log(1), 5, [1; 32])]));
        let pins = holdings.pin(Period(1), &[NodeId(1)], 1, &BTreeSet::new());
        assert_eq!(pins.len(), 1);
    }

    #[test]
    fn what_a_member_makes_up_is_forgotten() {
        // covers: SET-023
        let mut holdings = Holdings::default();
        let made_up = |period: u64| -> Vec<(LogId, u64, Hash)> {
            let incarnation = |number| Incarnation(u32::try_from(period * 10 + number).unwrap());
            let log = |number| LogId { incarnation: incarnation(number), ..log(4) };
            (0..10).map(|number| (log(number), u64::MAX, [7; 32])).collect()
        };
        for period in 1..100 {
            holdings.note(&stated(4, period, &made_up(period)));
            holdings.note(&stated(2, period, &[(log(1), period, [1; 32])]));
            let pins = holdings.pin(Period(period), &committee(), 2, &BTreeSet::new());
            assert_eq!(pins.len(), 1, "in period {period}");
        }
        assert!(holdings.held.len() <= 10 * (WORD_PERIODS as usize + 1), "{}", holdings.held.len());
        assert_eq!(holdings.pinned.len(), 1);
    }
}
