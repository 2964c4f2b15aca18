//! Who holds how much of each log, by what members have stated, and what that pins.

use std::collections::{BTreeMap, BTreeSet};

use tidings_envelope::{LogId, PeriodStatement};
use tidings_types::{Hash, LogIndex, LogSize, NodeId};

/// A stretch of a log that so many members hold that it can be billed (SET-023).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Which log.
    pub log: LogId,
    /// The first entry that was not pinned before.
    pub from: LogIndex,
    /// The size up to which entries are pinned.
    pub size: LogSize,
    /// The log's root at that size.
    pub root: Hash,
    /// How much each member holds.
    pub holders: BTreeMap<NodeId, LogSize>,
}

/// What members of one shard hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Holdings {
    held: BTreeMap<LogId, BTreeMap<NodeId, (LogSize, Hash)>>,
    pinned: BTreeMap<LogId, LogSize>,
}

impl Holdings {
    /// Takes over a member's statement; who wrote a log holds all that it signed.
    pub(crate) fn note(&mut self, statement: &PeriodStatement) {
        for held in statement.held.iter() {
            let checkpoint = &held.checkpoint;
            let holders = self.held.entry(checkpoint.log).or_default();
            for holder in [statement.node, checkpoint.log.node] {
                let known = holders.entry(holder).or_insert((checkpoint.size, checkpoint.root));
                if known.0 < checkpoint.size {
                    *known = (checkpoint.size, checkpoint.root);
                }
            }
        }
    }

    /// Pins what at least `needed` of `committee` hold and was not pinned before, by rising log;
    /// logs of `convicted` nodes may have two histories and are left alone.
    pub(crate) fn pin(
        &mut self,
        committee: &[NodeId],
        needed: usize,
        convicted: &BTreeSet<NodeId>,
    ) -> Vec<Pin> {
        let mut pins = Vec::new();
        for (log, held) in &self.held {
            let members = held.iter().filter(|(node, _)| committee.contains(node));
            let mut sizes: Vec<(LogSize, Hash)> = members.clone().map(|(_, it)| *it).collect();
            sizes.sort_unstable_by(|one, other| other.cmp(one));
            let Some((size, root)) = sizes.get(needed.saturating_sub(1)).copied() else { continue };
            let before = self.pinned.get(log).copied().unwrap_or_default();
            if size > before && !convicted.contains(&log.node) {
                let holders = members.map(|(node, (size, _))| (*node, *size)).collect();
                pins.push(Pin { log: *log, from: before.next_index(), size, root, holders });
                self.pinned.insert(*log, size);
            }
        }
        pins
    }
}

#[cfg(test)]
mod tests {
    use tidings_envelope::{Checkpoint, SignedCheckpoint};
    use tidings_types::node_key::NodeKey;
    use tidings_types::{BoundedVec, Incarnation, NetworkId, Period, ShardId};

    use super::*;

    const NETWORK: NetworkId = NetworkId([9; 32]);

    fn log(node: u32) -> LogId {
        LogId { node: NodeId(node), shard: ShardId(0), incarnation: Incarnation(1) }
    }

    fn statement(node: u32, held: &[(u32, u64)]) -> PeriodStatement {
        let key = NodeKey::from_secret(&[1; 32]).unwrap();
        let signed = |(node, size): &(u32, u64)| -> SignedCheckpoint {
            let root = [u8::try_from(*size).unwrap(); 32];
            Checkpoint::new(log(*node), LogSize(*size), root, Period(1)).sign(&key, NETWORK)
        };
        let held: Vec<_> = held.iter().map(signed).collect();
        let about = (NodeId(node), ShardId(0), Period(1));
        let held = held.try_into().unwrap();
        PeriodStatement::sign(about, held, BoundedVec::default(), &key, NETWORK)
    }

    fn committee() -> Vec<NodeId> {
        (1..=4).map(NodeId).collect()
    }

    fn pinned(holdings: &mut Holdings, convicted: &[u32]) -> Vec<(u32, u64, u64)> {
        let convicted = convicted.iter().copied().map(NodeId).collect();
        let pins = holdings.pin(&committee(), 2, &convicted);
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
    fn strangers_and_convicts_pin_nothing() {
        // covers: SET-023
        let mut holdings = Holdings::default();
        holdings.note(&statement(7, &[(8, 5)]));
        holdings.note(&statement(1, &[(8, 5)]));
        assert_eq!(pinned(&mut holdings, &[]), []);
        holdings.note(&statement(2, &[(1, 5)]));
        assert_eq!(pinned(&mut holdings, &[1]), []);
        assert_eq!(pinned(&mut holdings, &[]), [(1, 0, 5)]);
    }
}
