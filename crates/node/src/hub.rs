//! Live delivery: what became durable goes from memory to the connections that follow its topic.
//!
//! The runtime calls [`Hub::broadcast`] and [`Hub::ordered`] right after durability; nothing here
//! reads storage. A frame is encoded once, however many follow the topic. A connection that
//! does not keep up loses frames and learns for which topics, so that it reads those from
//! storage again: there is no silent gap (API-012).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use tidings_envelope::api::{NodeFrame, TopicEntry};
use tidings_envelope::{CertifiedBlock, LogId, Operation, OrderedReceipt, Topic};
use tidings_replica::store::Flush;
use tidings_types::{Position, TopicIndex, Wire};
use tokio::sync::{Notify, broadcast};

/// How much a connection may have waiting before it falls behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Frames that may wait; a thousand small messages are under a megabyte.
    pub frames_max: usize,
    /// Bytes that may wait, shared with other connections though they are.
    pub bytes_max: usize,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self { frames_max: 1_024, bytes_max: 4 << 20 }
    }
}

/// Where in its topic a live frame belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the broadcast lane.
    Log {
        /// Whose log.
        log: LogId,
        /// Its place among the log's entries of the topic.
        index: TopicIndex,
    },
    /// In the ordered lane.
    Ordered {
        /// The position that the entry took.
        position: Position,
    },
}

/// An encoded `NodeFrame` and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveFrame {
    /// Which topic.
    pub topic: Topic,
    /// Where in the topic.
    pub place: Place,
    /// The frame's canonical bytes.
    pub bytes: Bytes,
}

/// What waited for a connection.
#[derive(Debug, Default)]
pub struct Batch {
    /// Frames, oldest first.
    pub frames: Vec<Arc<LiveFrame>>,
    /// Topics of which frames were dropped; they are to be read from storage.
    pub behind: BTreeSet<Topic>,
}

/// How many flushes and blocks are held for followers that are not as fast.
const TAIL_LENGTH: usize = 64;

/// Something that became durable, as a follower of whole logs and lanes gets it.
#[derive(Debug, Clone)]
pub enum Tail {
    /// Entries of a log.
    Flush(Arc<Flush>),
    /// A final block.
    Block(Arc<CertifiedBlock>),
}

/// How busy the hub is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HubCounts {
    /// Connections now.
    pub connections: u64,
    /// Topics followed now, counted per connection.
    pub topics: u64,
    /// Frames handed to connections since the start.
    pub frames: u64,
    /// Frames dropped for connections that did not keep up, since the start.
    pub dropped: u64,
}

/// Topic → connections that follow it.
#[derive(Debug)]
pub struct Hub {
    index: RwLock<Index>,
    limits: OutboxLimits,
    tails: broadcast::Sender<Tail>,
    frames: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct WatcherId(u32);

#[derive(Debug, Default)]
struct Index {
    /// One ordered set, so that a followed topic costs 40 bytes and no allocation of its own.
    followed: BTreeSet<(Topic, WatcherId)>,
    outboxes: BTreeMap<WatcherId, Arc<Outbox>>,
    last_id: u32,
}

impl Index {
    fn followers(&self, topic: Topic) -> Vec<Arc<Outbox>> {
        let all = (topic, WatcherId(0))..=(topic, WatcherId(u32::MAX));
        let ids = self.followed.range(all).map(|(_, id)| id);
        ids.filter_map(|id| self.outboxes.get(id)).cloned().collect()
    }

    fn free_id(&mut self) -> WatcherId {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if !self.outboxes.contains_key(&WatcherId(self.last_id)) {
                return WatcherId(self.last_id);
            }
        }
    }
}

impl Hub {
    /// A hub whose connections may have this much waiting each.
    #[must_use]
    pub fn new(limits: OutboxLimits) -> Arc<Self> {
        Arc::new(Self {
            index: RwLock::default(),
            limits,
            tails: broadcast::channel(TAIL_LENGTH).0,
            frames: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        })
    }

    /// A new connection, which follows nothing yet.
    #[must_use]
    pub fn watch<S>(self: &Arc<Self>) -> Watcher<S> {
        let outbox = Arc::new(Outbox::new(self.limits));
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let id = index.free_id();
        index.outboxes.insert(id, outbox.clone());
        Watcher { hub: self.clone(), id, outbox, topics: BTreeMap::new() }
    }

    /// Hands the entries of a durable flush to those who follow their topics.
    ///
    /// The flush must be visible to readers of storage before the call, and flushes of one log
    /// come in order.
    pub fn broadcast(&self, flush: &Flush) {
        self.tail(|| Tail::Flush(Arc::new(flush.clone())));
        let wanted: Vec<_> = {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            if index.followed.is_empty() {
                return;
            }
            let entries = flush.entries.iter();
            entries
                .map(|entry| (entry, index.followers(entry.header.topic)))
                .filter(|(_, followers)| !followers.is_empty())
                .collect()
        };
        for (record, followers) in wanted {
            let entry = TopicEntry { log: flush.log, entry: record.to_entry() };
            let place = Place::Log { log: flush.log, index: record.header.topic_index };
            self.deliver(record.header.topic, place, &NodeFrame::Broadcast(entry), &followers);
        }
    }

    /// Hands the applied envelopes of a durable block to those who follow their topics.
    ///
    /// The block must be visible to readers of storage before the call, and blocks of one shard
    /// come in order. Receipts of anything but an applied envelope are passed over.
    pub fn ordered(&self, receipts: &[OrderedReceipt]) {
        for receipt in receipts {
            let Operation::Envelope(envelope) = &receipt.decided.operation else { continue };
            let Some(position) = receipt.position() else { continue };
            let topic = envelope.envelope.body.topic;
            let followers =
                self.index.read().unwrap_or_else(PoisonError::into_inner).followers(topic);
            if !followers.is_empty() {
                let frame = NodeFrame::Ordered(receipt.clone());
                self.deliver(topic, Place::Ordered { position }, &frame, &followers);
            }
        }
    }

    /// Hands a durable block to those who follow whole lanes.
    ///
    /// The block must be visible to readers of storage before the call.
    pub fn block(&self, certified: &CertifiedBlock) {
        self.tail(|| Tail::Block(Arc::new(certified.clone())));
    }

    /// Everything that becomes durable from now on; one who is too slow is told so.
    #[must_use]
    pub fn tails(&self) -> broadcast::Receiver<Tail> {
        self.tails.subscribe()
    }

    fn tail(&self, tail: impl FnOnce() -> Tail) {
        if self.tails.receiver_count() > 0 {
            // The last follower may just have gone.
            let _ = self.tails.send(tail());
        }
    }

    /// How busy the hub is.
    #[must_use]
    pub fn counts(&self) -> HubCounts {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        HubCounts {
            connections: index.outboxes.len() as u64,
            topics: index.followed.len() as u64,
            frames: self.frames.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    fn deliver(&self, topic: Topic, place: Place, frame: &NodeFrame, to: &[Arc<Outbox>]) {
        let live = Arc::new(LiveFrame { topic, place, bytes: frame.to_wire().into() });
        for outbox in to {
            let counter = if outbox.push(&live) { &self.frames } else { &self.dropped };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What waits for one connection.
#[derive(Debug)]
struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
    limits: OutboxLimits,
}

#[derive(Debug, Default)]
struct Waiting {
    batch: Batch,
    bytes: usize,
}

impl Outbox {
    fn new(limits: OutboxLimits) -> Self {
        Self { waiting: Mutex::default(), filled: Notify::new(), limits }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the frame found room; otherwise its topic is noted as behind.
    fn push(&self, frame: &Arc<LiveFrame>) -> bool {
        let mut waiting = self.lock();
        let bytes = waiting.bytes.saturating_add(frame.bytes.len());
        let fits = waiting.batch.frames.len() < self.limits.frames_max
            && bytes <= self.limits.bytes_max
            && !waiting.batch.behind.contains(&frame.topic);
        if fits {
            waiting.batch.frames.push(frame.clone());
            waiting.bytes = bytes;
        } else {
            waiting.batch.behind.insert(frame.topic);
        }
        drop(waiting);
        self.filled.notify_one();
        fits
    }
}

/// One connection: the topics it follows, each with the caller's state `S`.
///
/// Dropping it ends all that it follows.
#[derive(Debug)]
pub struct Watcher<S> {
    hub: Arc<Hub>,
    id: WatcherId,
    outbox: Arc<Outbox>,
    topics: BTreeMap<Topic, S>,
}

impl<S> Watcher<S> {
    /// Follows `topic` from now on; returns the state it had if it was followed already.
    pub fn follow(&mut self, topic: Topic, state: S) -> Option<S> {
        let mut index = self.hub.index.write().unwrap_or_else(PoisonError::into_inner);
        index.followed.insert((topic, self.id));
        self.topics.insert(topic, state)
    }

    /// Ends following `topic`; frames that wait already may still come.
    pub fn unfollow(&mut self, topic: &Topic) -> Option<S> {
        let mut index = self.hub.index.write().unwrap_or_else(PoisonError::into_inner);
        index.followed.remove(&(*topic, self.id));
        self.topics.remove(topic)
    }

    /// The state of a topic that is followed.
    pub fn state(&mut self, topic: &Topic) -> Option<&mut S> {
        self.topics.get_mut(topic)
    }

    /// How many topics are followed.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Takes what waits.
    #[must_use]
    pub fn take(&self) -> Batch {
        std::mem::take(&mut *self.outbox.lock()).batch
    }

    /// Resolves when something waits; safe to drop and to call again.
    pub async fn filled(&self) {
        self.outbox.filled.notified().await;
    }
}

impl<S> Drop for Watcher<S> {
    fn drop(&mut self) {
        // In pieces, so that a connection with many topics does not hold up delivery.
        const PIECE: usize = 1_000;
        let topics: Vec<_> = self.topics.keys().copied().collect();
        for piece in topics.chunks(PIECE) {
            let mut index = self.hub.index.write().unwrap_or_else(PoisonError::into_inner);
            for topic in piece {
                index.followed.remove(&(*topic, self.id));
            }
        }
        let mut index = self.hub.index.write().unwrap_or_else(PoisonError::into_inner);
        index.outboxes.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(topic: Topic, index: u64, length: usize) -> Arc<LiveFrame> {
        let place = Place::Ordered { position: Position(index) };
        Arc::new(LiveFrame { topic, place, bytes: vec![0; length].into() })
    }

    /// How many of `lengths` fit, and whether the topic is behind afterwards.
    fn check(limits: OutboxLimits, lengths: &[usize], expected: (usize, bool)) {
        let (outbox, topic) = (Outbox::new(limits), Topic::mailbox(1));
        for (index, length) in lengths.iter().enumerate() {
            outbox.push(&frame(topic, index as u64, *length));
        }
        let batch = std::mem::take(&mut *outbox.lock()).batch;
        assert_eq!((batch.frames.len(), batch.behind.contains(&topic)), expected);
    }

    #[test]
    fn a_full_outbox_says_what_was_dropped() {
        // covers: API-012
        let limits = OutboxLimits { frames_max: 3, bytes_max: 100 };
        check(limits, &[10, 10, 10], (3, false));
        check(limits, &[10, 10, 10, 10], (3, true));
        check(limits, &[60, 60], (1, true));
        // What follows a dropped frame is dropped too, even if it would fit.
        check(limits, &[60, 60, 1], (1, true));
    }

    #[test]
    fn a_dropped_watcher_leaves_nothing_behind() {
        let hub = Hub::new(OutboxLimits::default());
        let mut one: Watcher<()> = hub.watch();
        let mut two: Watcher<()> = hub.watch();
        for bucket in 0..2_500 {
            one.follow(Topic::mailbox(bucket), ());
        }
        two.follow(Topic::mailbox(7), ());
        assert_eq!((hub.counts().connections, hub.counts().topics), (2, 2_501));
        drop(one);
        assert_eq!((hub.counts().connections, hub.counts().topics), (1, 1));
        two.unfollow(&Topic::mailbox(7));
        assert_eq!(hub.counts().topics, 0);
    }
}
