//! Where to get a log's next entries from: one stream at a time, resumed without a gap.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use tidings_envelope::LogId;
use tidings_types::{LogIndex, LogSize, NodeId};

/// The state of getting one log, from its originator or from any replica that has it.
///
/// Feed it what peers offer and send, and do what [`Subscription::poll`] says until it says
/// nothing.
#[derive(Debug, Clone)]
pub struct Subscription {
    log: LogId,
    next: LogIndex,
    offers: BTreeMap<NodeId, LogSize>,
    source: Option<NodeId>,
    stalled: BTreeSet<NodeId>,
    closing: Option<NodeId>,
}

/// What the shell is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask `peer` for the log from this index on, and for what is appended later.
    Subscribe {
        /// Whom to ask.
        peer: NodeId,
        /// The first index wanted.
        from: LogIndex,
    },
    /// End the stream from `peer`.
    Unsubscribe {
        /// Whose stream.
        peer: NodeId,
    },
}

/// What to do with entries that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    /// Take all but the first `skip`, which are held already.
    Take {
        /// How many to leave out; below the number that came.
        skip: u64,
    },
    /// There is nothing new in them, or their sender is not the one subscribed to.
    Ignore,
}

/// A peer left out entries; it is no longer a source (LOG-016).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry {found} came where {expected} was due")]
pub struct Gap {
    /// The index due.
    pub expected: LogIndex,
    /// The index that came.
    pub found: LogIndex,
}

impl Subscription {
    /// A subscription to `log`, of which `held` entries are durable here.
    #[must_use]
    pub fn new(log: LogId, held: LogSize) -> Self {
        let next = held.next_index();
        Self {
            log,
            next,
            offers: BTreeMap::new(),
            source: None,
            stalled: BTreeSet::new(),
            closing: None,
        }
    }

    /// The log subscribed to.
    #[must_use]
    pub fn log(&self) -> LogId {
        self.log
    }

    /// The index of the next entry to come.
    #[must_use]
    pub fn next(&self) -> LogIndex {
        self.next
    }

    /// The indexes that some peer offers and that have not come yet.
    #[must_use]
    pub fn missing(&self) -> Range<LogIndex> {
        let most = self.offers.values().max().copied().unwrap_or_default();
        self.next..most.next_index().max(self.next)
    }

    /// Notes that `peer` is connected and holds `size` entries.
    pub fn offer(&mut self, peer: NodeId, size: LogSize) {
        let known = self.offers.entry(peer).or_default();
        *known = size.max(*known);
        if size.0 > self.next.0 {
            self.stalled.remove(&peer);
        }
    }

    /// Notes that `peer` can no longer be asked.
    pub fn withdraw(&mut self, peer: NodeId) {
        self.offers.remove(&peer);
        self.stalled.remove(&peer);
        if self.source == Some(peer) {
            self.source = None;
        }
        if self.closing == Some(peer) {
            self.closing = None;
        }
    }

    /// Notes that what `peer` sent did not verify, so that only `held` entries are believed.
    ///
    /// The peer is no source until it makes a new offer.
    pub fn reject(&mut self, peer: NodeId, held: LogSize) {
        if self.source == Some(peer) {
            self.closing = Some(peer);
            self.source = None;
        }
        self.offers.remove(&peer);
        self.stalled.remove(&peer);
        self.next = held.next_index().min(self.next);
    }

    /// Says what to do with `count` entries that `peer` sent, the first of which is `first`.
    ///
    /// # Errors
    /// [`Gap`] when entries are left out; the peer is dropped as a source (LOG-016).
    pub fn receive(&mut self, peer: NodeId, first: LogIndex, count: u64) -> Result<Intake, Gap> {
        if self.source != Some(peer) {
            return Ok(Intake::Ignore);
        }
        if first > self.next {
            let gap = Gap { expected: self.next, found: first };
            self.reject(peer, LogSize(self.next.0));
            return Err(gap);
        }
        let end = first.plus(count);
        self.offer(peer, LogSize(end.0));
        let skip = self.next.0 - first.0;
        if skip >= count {
            return Ok(Intake::Ignore);
        }
        self.next = end;
        self.stalled.clear();
        Ok(Intake::Take { skip })
    }

    /// Notes that the source has sent nothing for too long by the shell's clock.
    ///
    /// Changes nothing unless another peer offers more than has come; answers the source.
    pub fn stalled(&mut self) -> Option<NodeId> {
        let source = self.source?;
        let others = self.offers.keys().filter(|peer| **peer != source);
        if others.filter(|peer| self.can_serve(**peer)).count() > 0 {
            self.stalled.insert(source);
            self.closing = Some(source);
            self.source = None;
        }
        Some(source)
    }

    /// The next thing to do, if anything (LOG-017).
    ///
    /// The originator is the source when it is connected and not behind, or else the replica that
    /// offers most; a source is kept until it is lost, rejected or stalled, or the originator
    /// comes back.
    pub fn poll(&mut self) -> Option<Step> {
        if let Some(peer) = self.closing.take() {
            return Some(Step::Unsubscribe { peer });
        }
        let best = self.best_source()?;
        match self.source.replace(best) {
            Some(source) if source == best => None,
            Some(peer) => {
                self.source = None;
                Some(Step::Unsubscribe { peer })
            }
            None => Some(Step::Subscribe { peer: best, from: self.next }),
        }
    }

    fn best_source(&self) -> Option<NodeId> {
        let originator = self.log.node;
        let Some(source) = self.source else {
            let rank = |(peer, size): (&NodeId, &LogSize)| {
                let able = (!self.stalled.contains(peer), self.can_serve(*peer));
                (able, *peer == originator, *size, Reverse(*peer))
            };
            return self.offers.iter().max_by_key(|offer| rank(*offer)).map(|(peer, _)| *peer);
        };
        let offered = |peer| self.offers.get(&peer).copied();
        let bar = offered(source).max(Some(LogSize(self.next.0)));
        let is_back = offered(originator) >= bar && !self.stalled.contains(&originator);
        Some(if is_back { originator } else { source })
    }

    /// Whether `peer` offers entries that have not come, and has not stalled.
    fn can_serve(&self, peer: NodeId) -> bool {
        let offers_more = self.offers.get(&peer).is_some_and(|size| size.0 > self.next.0);
        offers_more && !self.stalled.contains(&peer)
    }
}
