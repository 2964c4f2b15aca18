//! Where an envelope stands: its place in Tidings, and the originator and sequence number that
//! XMTP clients know it by.

use tidings_envelope::LogId;
use tidings_types::{Height, LogIndex, ShardId};

/// Commits and proposals of groups are under this originator: clients look for nothing else.
pub const COMMITS: u32 = 0;

/// Identity updates are under this originator: clients fetch others again and again.
pub const IDENTITY_UPDATES: u32 = 1;

/// The originators of logs begin here; below are those that mean something to clients.
const LOGS: u32 = 16;

const SHARD_BITS: u32 = 15;
const OPERATION_BITS: u32 = 15;
const INDEX_BITS: u32 = 40;

/// Sequence numbers stay below this: clients keep them in signed 64-bit numbers.
const SEQUENCE_END: u64 = 1 << 63;

/// A place in Tidings, which no two envelopes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In a log of the broadcast lane.
    Log {
        /// Whose log.
        log: LogId,
        /// Which entry.
        index: LogIndex,
    },
    /// In the ordered lane.
    Lane {
        /// Of which shard.
        shard: ShardId,
        /// In which block.
        height: Height,
        /// Which of its operations.
        operation: u32,
    },
}

/// An originator and a sequence number: rising within a topic, and shared by no two envelopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The originator.
    pub originator: u32,
    /// From 1 to 2⁶³ − 1.
    pub sequence: u64,
}

impl Place {
    /// How clients know this place (XMTP-004), or none where the numbers do not reach: after a
    /// thousand million million entries, or for a node beyond 65,535.
    #[must_use]
    pub fn mark(&self, ordered_as: u32) -> Option<Mark> {
        match *self {
            Self::Log { log, index } => {
                let shard = fits(u64::from(log.shard.0), SHARD_BITS)?;
                let node = fits(u64::from(log.node.0), 31 - SHARD_BITS)?;
                let originator = u32::try_from((node << SHARD_BITS) | shard).ok()? + LOGS;
                let index = fits(index.0.checked_add(1)?, INDEX_BITS)?;
                let sequence = (u64::from(log.incarnation.0) << INDEX_BITS) | index;
                (sequence < SEQUENCE_END).then_some(Mark { originator, sequence })
            }
            Self::Lane { shard, height, operation } => {
                let shard = fits(u64::from(shard.0), SHARD_BITS)?;
                let operation = fits(u64::from(operation), OPERATION_BITS)?;
                let height = fits(height.0, 63 - SHARD_BITS - OPERATION_BITS)?;
                let above = (height << OPERATION_BITS) | operation;
                let sequence = (above << SHARD_BITS) | shard;
                (sequence > 0).then_some(Mark { originator: ordered_as, sequence })
            }
        }
    }
}

fn fits(value: u64, bits: u32) -> Option<u64> {
    (value < 1 << bits).then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidings_types::{Incarnation, NodeId};

    use super::*;

    fn places() -> impl Strategy<Value = Place> {
        let log = (0..3u32, 0..3u16, 0..3u32, 0..4u64).prop_map(|(node, shard, start, index)| {
            let (node, shard) = (NodeId(node), ShardId(shard));
            let log = LogId { node, shard, incarnation: Incarnation(start) };
            Place::Log { log, index: LogIndex(index) }
        });
        let lane = (0..3u16, 1..4u64, 0..3u32).prop_map(|(shard, height, operation)| Place::Lane {
            shard: ShardId(shard),
            height: Height(height),
            operation,
        });
        prop_oneof![log, lane]
    }

    proptest! {
        #[test]
        fn no_two_places_share_a_mark_and_later_is_higher(one in places(), other in places()) {
            // covers: XMTP-004
            let (first, second) = (one.mark(COMMITS).unwrap(), other.mark(COMMITS).unwrap());
            prop_assert_eq!(first == second, one == other);
            let is_one_log = match (one, other) {
                (Place::Log { log, .. }, Place::Log { log: known, .. }) => {
                    (log.node, log.shard) == (known.node, known.shard)
                }
                (Place::Lane { shard, .. }, Place::Lane { shard: known, .. }) => shard == known,
                _ => false,
            };
            if is_one_log {
                prop_assert_eq!(first.originator, second.originator);
                prop_assert_eq!(first.sequence < second.sequence, one < other);
            }
        }
    }

    #[test]
    fn what_does_not_fit_has_no_mark() {
        let log = |node, shard, start| LogId {
            node: NodeId(node),
            shard: ShardId(shard),
            incarnation: Incarnation(start),
        };
        let mark = |log, index| Place::Log { log, index: LogIndex(index) }.mark(COMMITS);
        let most = mark(log(65_535, 32_767, (1 << 23) - 1), (1 << 40) - 2).unwrap();
        assert_eq!(most.sequence, (1 << 63) - 1);
        assert_eq!(mark(log(65_536, 0, 1), 0), None);
        assert_eq!(mark(log(0, 32_768, 1), 0), None);
        assert_eq!(mark(log(0, 0, 1 << 23), 0), None);
        assert_eq!(mark(log(0, 0, 1), (1 << 40) - 1), None);
        assert_eq!(mark(log(0, 0, 1), u64::MAX), None);
        let lane = |height, operation| {
            Place::Lane { shard: ShardId(1), height: Height(height), operation }.mark(COMMITS)
        };
        assert!(lane((1 << 33) - 1, 4_095).is_some());
        assert_eq!(lane(1 << 33, 0), None);
        assert_eq!(lane(1, 1 << 15), None);
    }
}
