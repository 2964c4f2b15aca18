//! The feeds that this node serves: logs and blocks, from storage up to the present, then as
//! they come.
//!
//! The runtime publishes what has become durable, once; every subscriber gets the same encoded
//! bytes.
//! A subscriber that is behind what is held in memory reads from the [`FeedSource`].

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tidings_envelope::{CertifiedBlock, LogId};
use tidings_replica::store::Flush;
use tidings_replica::wire::{FeedFlush, FeedFrame, FeedRequest};
use tidings_types::constants::{FEED_ENTRIES_MAX, FEED_FRAME_BYTES_MAX, FLUSH_BYTES_MAX};
use tidings_types::{BoundedVec, Height, LogIndex, ShardId};
use tokio::sync::watch;

use crate::link::frame;

/// How many bytes of recent frames are kept for all feeds together.
const RECENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How many blocks one read takes from storage.
const BLOCKS_PER_READ_MAX: usize = 16;

/// The source cannot be read, or lacks what it said to have; the feed ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the feed's source cannot be read")]
pub struct SourceUnavailable;

/// Where durable entries and blocks are read from.
pub trait FeedSource: Send + Sync + 'static {
    /// Entries of `log` from index `from` on, up to the greatest checkpoint within the limits,
    /// or to the first one after `from`; `None` when there is nothing.
    ///
    /// `from` may lie inside a flush. The frontier is not needed.
    ///
    /// # Errors
    /// [`SourceUnavailable`] when storage fails.
    fn flushes(
        &self,
        log: LogId,
        from: LogIndex,
        entries_max: usize,
        bytes_max: usize,
    ) -> impl Future<Output = Result<Option<Flush>, SourceUnavailable>> + Send;

    /// At most `blocks_max` final blocks of `shard` by rising height, from height `from` on.
    ///
    /// # Errors
    /// [`SourceUnavailable`] when storage fails.
    fn blocks(
        &self,
        shard: ShardId,
        from: Height,
        blocks_max: usize,
    ) -> impl Future<Output = Result<Vec<CertifiedBlock>, SourceUnavailable>> + Send;
}

/// What is fed: one sequence of entries, or of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FeedSubject {
    /// The entries of a log.
    Log(LogId),
    /// The final blocks of a shard.
    Blocks(ShardId),
}

impl From<FeedRequest> for FeedSubject {
    fn from(request: FeedRequest) -> Self {
        match request {
            FeedRequest::Log { log, .. } => Self::Log(log),
            FeedRequest::Blocks { shard, .. } => Self::Blocks(shard),
        }
    }
}

/// An encoded frame and what it covers: indexes of a log, or one height.
#[derive(Debug, Clone)]
struct Framed {
    start: u64,
    end: u64,
    bytes: Bytes,
}

/// Every feed of a node.
pub struct Feeds {
    source: Box<dyn Source>,
    recent: Mutex<Recent>,
}

impl std::fmt::Debug for Feeds {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Feeds").field("recent", &self.recent).finish_non_exhaustive()
    }
}

impl Feeds {
    /// Feeds that catch up from `source`.
    #[must_use]
    pub fn new(source: impl FeedSource) -> Arc<Self> {
        Self::with_recent_bytes_max(source, RECENT_BYTES_MAX)
    }

    /// Feeds that keep at most so many bytes of recent frames in memory.
    #[must_use]
    pub fn with_recent_bytes_max(source: impl FeedSource, bytes_max: usize) -> Arc<Self> {
        let recent = Mutex::new(Recent { bytes_max, ..Recent::default() });
        Arc::new(Self { source: Box::new(source), recent })
    }

    /// Feeds entries that are durable: after the source has them, in the order of the log.
    pub fn publish_flush(&self, flush: &Flush) {
        self.publish(FeedSubject::Log(flush.log), || frame_of_flush(flush));
    }

    /// Feeds a final block that is durable: after the source has it, by rising height.
    pub fn publish_block(&self, certified: &CertifiedBlock) {
        let shard = certified.block.header.shard;
        self.publish(FeedSubject::Blocks(shard), || frame_of_block(certified));
    }

    /// Starts to read a feed (REP-007).
    #[must_use]
    pub fn open(self: &Arc<Self>, request: FeedRequest) -> FeedReader {
        let next = match request {
            FeedRequest::Log { from, .. } => from.0,
            FeedRequest::Blocks { from, .. } => from.0,
        };
        let subject = FeedSubject::from(request);
        let ends = self.recent().subscribe(subject);
        let feeds = self.clone();
        FeedReader { feeds, subject, next, ends, caught_up: false, ahead: VecDeque::new() }
    }

    /// What nobody reads is not even encoded.
    fn publish(&self, subject: FeedSubject, encode: impl FnOnce() -> Option<Framed>) {
        if !self.recent().is_read(subject) {
            return;
        }
        match encode() {
            Some(framed) => self.recent().push(subject, framed),
            None => tracing::error!(?subject, "what was published does not fit a frame"),
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        // Taken though poisoned: a holder that panicked lost at most frames that storage has.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The recent frames of every feed that somebody reads, within one budget.
#[derive(Debug, Default)]
struct Recent {
    rings: BTreeMap<FeedSubject, Ring>,
    /// One item per frame, oldest first.
    order: VecDeque<FeedSubject>,
    bytes: usize,
    bytes_max: usize,
}

/// The recent frames of one feed, without a gap.
#[derive(Debug)]
struct Ring {
    frames: VecDeque<Framed>,
    readers: usize,
    /// Where what was published ends.
    end: watch::Sender<u64>,
}

impl Recent {
    fn subscribe(&mut self, subject: FeedSubject) -> watch::Receiver<u64> {
        let ring = self.rings.entry(subject).or_insert_with(|| Ring {
            frames: VecDeque::new(),
            readers: 0,
            end: watch::Sender::new(0),
        });
        ring.readers += 1;
        ring.end.subscribe()
    }

    fn unsubscribe(&mut self, subject: FeedSubject) {
        let Some(ring) = self.rings.get_mut(&subject) else {
            return;
        };
        ring.readers -= 1;
        if ring.readers == 0 {
            self.clear(subject);
            self.rings.remove(&subject);
        }
    }

    fn is_read(&self, subject: FeedSubject) -> bool {
        self.rings.contains_key(&subject)
    }

    fn push(&mut self, subject: FeedSubject, framed: Framed) {
        let Some(ring) = self.rings.get(&subject) else {
            return;
        };
        if ring.frames.back().is_some_and(|last| last.end != framed.start) {
            self.clear(subject);
        }
        let Some(ring) = self.rings.get_mut(&subject) else {
            return;
        };
        self.bytes += framed.bytes.len();
        self.order.push_back(subject);
        let end = framed.end;
        ring.frames.push_back(framed);
        ring.end.send_replace(end);
        self.evict();
    }

    /// Lets the oldest frames go until the rest is within the budget.
    fn evict(&mut self) {
        while self.bytes > self.bytes_max {
            let Some(subject) = self.order.pop_front() else {
                return;
            };
            let oldest = self.rings.get_mut(&subject).and_then(|ring| ring.frames.pop_front());
            self.bytes -= oldest.map_or(0, |framed| framed.bytes.len());
        }
    }

    fn clear(&mut self, subject: FeedSubject) {
        if let Some(ring) = self.rings.get_mut(&subject) {
            self.bytes -= ring.frames.iter().map(|framed| framed.bytes.len()).sum::<usize>();
            ring.frames.clear();
            self.order.retain(|other| *other != subject);
        }
    }

    /// The frame that starts at `next`.
    fn find(&self, subject: FeedSubject, next: u64) -> Option<Framed> {
        let frames = &self.rings.get(&subject)?.frames;
        let place = frames.partition_point(|framed| framed.start < next);
        frames.get(place).filter(|framed| framed.start == next).cloned()
    }
}

/// One subscriber's way through a feed: every entry or block once, in order (REP-007).
#[derive(Debug)]
pub struct FeedReader {
    feeds: Arc<Feeds>,
    subject: FeedSubject,
    /// The index or height to come.
    next: u64,
    ends: watch::Receiver<u64>,
    /// Whether the source had nothing at `next`, so that the rest will be published.
    caught_up: bool,
    /// What was read from the source and not yet handed out.
    ahead: VecDeque<Framed>,
}

impl FeedReader {
    /// The next frame with its length, ready to be sent; waits for one. Cancelling it loses
    /// nothing.
    ///
    /// # Errors
    /// [`SourceUnavailable`] when the source fails; the feed is over.
    pub async fn frame(&mut self) -> Result<Bytes, SourceUnavailable> {
        loop {
            // Seen before the source is read, so that nothing is missed in between.
            let end = *self.ends.borrow_and_update();
            if let Some(framed) = self.in_memory() {
                self.next = framed.end;
                return Ok(framed.bytes);
            }
            if !self.caught_up || end > self.next {
                self.ahead = self.feeds.source.read(self.subject, self.next).await?;
                match self.ahead.front() {
                    // The source must make way, or this would turn for ever.
                    Some(first) if first.end > self.next => continue,
                    None if end <= self.next => self.caught_up = true,
                    _ => return Err(SourceUnavailable),
                }
            }
            self.ends.changed().await.map_err(|_| SourceUnavailable)?;
        }
    }

    fn in_memory(&mut self) -> Option<Framed> {
        self.ahead.pop_front().or_else(|| self.feeds.recent().find(self.subject, self.next))
    }
}

impl Drop for FeedReader {
    fn drop(&mut self) {
        self.feeds.recent().unsubscribe(self.subject);
    }
}

/// A [`FeedSource`] behind a pointer, answering in encoded frames.
trait Source: Send + Sync {
    fn read(&self, subject: FeedSubject, from: u64) -> Reading<'_>;
}

type Reading<'a> =
    Pin<Box<dyn Future<Output = Result<VecDeque<Framed>, SourceUnavailable>> + Send + 'a>>;

impl<S: FeedSource> Source for S {
    fn read(&self, subject: FeedSubject, from: u64) -> Reading<'_> {
        Box::pin(async move {
            match subject {
                FeedSubject::Log(log) => {
                    let limits = (FEED_ENTRIES_MAX, FLUSH_BYTES_MAX);
                    let flush = self.flushes(log, LogIndex(from), limits.0, limits.1).await?;
                    let frame = |flush| frame_of_flush(&flush).ok_or(SourceUnavailable);
                    flush.into_iter().map(frame).collect()
                }
                FeedSubject::Blocks(shard) => {
                    let blocks = self.blocks(shard, Height(from), BLOCKS_PER_READ_MAX).await?;
                    let frame = |block| frame_of_block(block).ok_or(SourceUnavailable);
                    blocks.iter().map(frame).collect()
                }
            }
        })
    }
}

/// The flush as a frame, unless it is over the limits that every flush is built within.
fn frame_of_flush(flush: &Flush) -> Option<Framed> {
    let last = flush.entries.last()?.header.index;
    let entries = flush.entries.iter().map(|entry| entry.to_entry()).collect();
    let entries = BoundedVec::new(entries).ok()?;
    let frame = FeedFrame::Flush(FeedFlush { entries, checkpoint: flush.checkpoint });
    let bytes = frame::encode(&frame, FEED_FRAME_BYTES_MAX)?;
    Some(Framed { start: flush.first().0, end: last.as_size_through().0, bytes })
}

fn frame_of_block(certified: &CertifiedBlock) -> Option<Framed> {
    let height = certified.block.header.height;
    let bytes = frame::encode(&FeedFrame::Block(certified.clone()), FEED_FRAME_BYTES_MAX)?;
    Some(Framed { start: height.0, end: height.plus(1).0, bytes })
}
