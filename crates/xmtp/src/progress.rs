//! How far a reader of the network has come, and what it can therefore show.

use std::collections::BTreeMap;

use tidings_envelope::LogId;
use tidings_types::{Height, LogIndex, ShardId};

use crate::index::Reached;
use crate::place::Place;

/// The next index of each log and the next height of each lane; everything before is readable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// By log.
    pub logs: BTreeMap<LogId, LogIndex>,
    /// By shard.
    pub lanes: BTreeMap<ShardId, Height>,
}

impl Progress {
    /// Goes on to where a stretch ends; never back.
    pub fn reach(&mut self, reached: Reached) {
        match reached {
            Reached::Log(log, next) => {
                let known = self.logs.entry(log).or_default();
                *known = (*known).max(next);
            }
            Reached::Lane(shard, next) => {
                let known = self.lanes.entry(shard).or_default();
                *known = (*known).max(next);
            }
        }
    }

    /// Whether what stands at the place is readable.
    #[must_use]
    pub fn covers(&self, place: &Place) -> bool {
        match place {
            Place::Log { log, index } => self.logs.get(log).is_some_and(|next| next > index),
            Place::Lane { shard, height, .. } => {
                self.lanes.get(shard).is_some_and(|next| next > height)
            }
        }
    }

    /// Where `other` stands in each log and lane that reaches further here.
    pub fn beyond(&self, other: &Self) -> impl Iterator<Item = Place> {
        let logs = self.logs.iter().filter_map(|(log, next)| {
            let index = other.logs.get(log).copied().unwrap_or_default();
            (*next > index).then_some(Place::Log { log: *log, index })
        });
        let lanes = self.lanes.iter().filter_map(|(shard, next)| {
            let height = other.lanes.get(shard).copied().unwrap_or_default();
            (*next > height).then_some(Place::Lane { shard: *shard, height, operation: 0 })
        });
        logs.chain(lanes)
    }

    /// What went on since `before`, or everything without it.
    #[must_use]
    pub fn since(&self, before: Option<&Self>) -> Self {
        let Some(before) = before else { return self.clone() };
        let logs = self.logs.iter().filter(|(log, next)| before.logs.get(log) != Some(next));
        let lanes = self.lanes.iter().filter(|(lane, next)| before.lanes.get(lane) != Some(next));
        Self {
            logs: logs.map(|(log, next)| (*log, *next)).collect(),
            lanes: lanes.map(|(lane, next)| (*lane, *next)).collect(),
        }
    }

    /// Takes what went on.
    pub fn merge(&mut self, news: &Self) {
        news.logs.iter().for_each(|(log, next)| self.reach(Reached::Log(*log, *next)));
        news.lanes.iter().for_each(|(lane, next)| self.reach(Reached::Lane(*lane, *next)));
    }
}

#[cfg(test)]
mod tests {
    use tidings_types::{Incarnation, NodeId};

    use super::*;

    #[test]
    fn news_bring_another_to_the_same_place() {
        let log =
            |node| LogId { node: NodeId(node), shard: ShardId(0), incarnation: Incarnation(1) };
        let mut here = Progress::default();
        here.reach(Reached::Log(log(1), LogIndex(3)));
        here.reach(Reached::Lane(ShardId(0), Height(2)));
        let mut there = Progress::default();
        there.merge(&here.since(None));
        assert_eq!(there, here);
        let before = here.clone();
        here.reach(Reached::Log(log(2), LogIndex(1)));
        here.reach(Reached::Log(log(1), LogIndex(2)));
        let news = here.since(Some(&before));
        assert_eq!((news.logs.len(), news.lanes.len()), (1, 0));
        there.merge(&news);
        assert_eq!(there, here);
        let at = |index| Place::Log { log: log(1), index: LogIndex(index) };
        assert!(there.covers(&at(2)) && !there.covers(&at(3)));
        let lane = |height| Place::Lane { shard: ShardId(0), height: Height(height), operation: 0 };
        assert!(there.covers(&lane(1)) && !there.covers(&lane(2)));
    }
}
