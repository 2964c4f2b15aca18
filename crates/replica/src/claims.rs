//! What peers say that they hold of a log, compared with what is held here (EVD-008).

use std::collections::{BTreeMap, VecDeque};

use tidings_envelope::SignedCheckpoint;
use tidings_tlog::Frontier;
use tidings_types::{LogSize, NodeId};

use crate::store::EntryRecord;

/// How many of the newest checkpoints are remembered: with a flush every 3 ms those of three
/// seconds, and peers that show theirs once a second are seldom further apart.
const RECENT_MAX: usize = 1_024;

/// A peer and the checkpoint that it shows.
pub(crate) type Claim = (NodeId, SignedCheckpoint);

/// How a claim compares with what is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Compared {
    /// It is a checkpoint of what is held.
    Agrees,
    /// It covers more than is held.
    Ahead,
    /// This one, which covers what is held, is of the same size and another root.
    Contradicts(Box<SignedCheckpoint>),
    /// No checkpoint of its size is remembered.
    Unknown,
}

/// The checkpoints of one log that its replicas told of.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// The newest that are durable here, oldest first.
    recent: VecDeque<SignedCheckpoint>,
    /// Those that cover more than is held, one for each peer, until the entries have come.
    ahead: BTreeMap<NodeId, SignedCheckpoint>,
}

impl Claims {
    /// Everything under a checkpoint is durable here.
    pub(crate) fn hold(&mut self, checkpoint: SignedCheckpoint) {
        self.recent.push_back(checkpoint);
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
    }

    /// Compares a claim with what is durable here.
    pub(crate) fn compare(&self, claim: &SignedCheckpoint) -> Compared {
        let (size, root) = (claim.checkpoint.size, claim.checkpoint.root);
        if self.recent.back().is_none_or(|newest| newest.checkpoint.size < size) {
            return Compared::Ahead;
        }
        let place = self.recent.binary_search_by_key(&size, |held| held.checkpoint.size);
        match place.ok().and_then(|place| self.recent.get(place)) {
            None => Compared::Unknown,
            Some(held) if held.checkpoint.root == root => Compared::Agrees,
            Some(held) => Compared::Contradicts(Box::new(*held)),
        }
    }

    /// Remembers a claim that covers more than is held; the first of a peer stays until it is
    /// reached, so that a log that grows all the time is compared too.
    pub(crate) fn wait(&mut self, peer: NodeId, claim: SignedCheckpoint) {
        self.ahead.entry(peer).or_insert(claim);
    }

    /// Whether a claim of the peer waits.
    pub(crate) fn is_waiting(&self, peer: NodeId) -> bool {
        self.ahead.contains_key(&peer)
    }

    /// The claims that cover no more than is durable here by now; they wait no longer.
    pub(crate) fn due(&mut self, durable: LogSize) -> impl Iterator<Item = Claim> {
        self.ahead.extract_if(.., move |_, claim| claim.checkpoint.size <= durable)
    }

    /// The claims that `entries` reach and do not lead to; those reached wait no longer.
    pub(crate) fn reach(&mut self, before: &Frontier, entries: &[EntryRecord]) -> Vec<Claim> {
        let size = before.size().plus(entries.len() as u64);
        let mut reached: Vec<Claim> = self.due(size).collect();
        if reached.is_empty() {
            return reached;
        }
        let mut frontier = before.clone();
        for entry in entries {
            frontier.append(entry.hash.0);
            let size = frontier.size();
            let agrees = |claim: &SignedCheckpoint| {
                claim.checkpoint.size == size && claim.checkpoint.root == frontier.root()
            };
            reached.retain(|(_, claim)| !agrees(claim));
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use tidings_envelope::{Checkpoint, LogId};
    use tidings_types::node_key::NodeKey;
    use tidings_types::{Hash, Incarnation, NetworkId, Period, ShardId};

    use super::*;

    fn checkpoint(size: u64, root: Hash) -> SignedCheckpoint {
        let log = LogId { node: NodeId(1), shard: ShardId(0), incarnation: Incarnation(1) };
        let key = NodeKey::from_secret(&[1; 32]).unwrap();
        Checkpoint::new(log, LogSize(size), root, Period(1)).sign(&key, NetworkId([9; 32]))
    }

    #[test]
    fn claims_are_compared_by_size() {
        // covers: EVD-008
        let mut claims = Claims::default();
        assert_eq!(claims.compare(&checkpoint(1, [1; 32])), Compared::Ahead);
        let newest = RECENT_MAX as u64 + 8;
        for size in 1..=newest {
            claims.hold(checkpoint(size * 10, [1; 32]));
        }
        let newest = newest * 10;
        let before = checkpoint(newest - 10, [1; 32]);
        for (size, root, expected) in [
            (newest, 1, Compared::Agrees),
            (newest - 10, 1, Compared::Agrees),
            (newest - 5, 1, Compared::Unknown),
            (10, 1, Compared::Unknown),
            (newest + 1, 1, Compared::Ahead),
            (newest - 10, 2, Compared::Contradicts(Box::new(before))),
        ] {
            assert_eq!(claims.compare(&checkpoint(size, [root; 32])), expected, "{size} {root}");
        }
    }

    #[test]
    fn a_claim_waits_until_what_it_covers_is_held() {
        // covers: EVD-008
        let mut claims = Claims::default();
        claims.hold(checkpoint(10, [1; 32]));
        claims.wait(NodeId(2), checkpoint(20, [1; 32]));
        claims.wait(NodeId(2), checkpoint(30, [1; 32]));
        claims.wait(NodeId(3), checkpoint(25, [2; 32]));
        assert_eq!(claims.due(LogSize(19)).count(), 0);
        let due: Vec<_> = claims.due(LogSize(24)).collect();
        assert_eq!(due, [(NodeId(2), checkpoint(20, [1; 32]))], "a peer's first");
        assert_eq!(claims.due(LogSize(25)).count(), 1);
        assert_eq!(claims.due(LogSize(99)).count(), 0);
    }
}
