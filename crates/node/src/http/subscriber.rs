//! What a subscriber has been sent and what it is to be sent next, without any I/O.
//!
//! A topic is followed in memory first and read from storage afterwards, so everything durable
//! reaches the subscriber by at least one of the ways, and its cursor lets nothing through twice
//! (API-009). Frames that arrive in memory while the topic is being read are dropped: they are
//! durable, so one more read finds them, and nothing piles up behind a long catch-up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tidings_envelope::api::{LogCursor, NodeFrame, Subscription, TopicCursor, TopicPage};
use tidings_envelope::{LogId, Topic};
use tidings_types::constants::SUBSCRIPTION_TOPICS_MAX;
use tidings_types::{BoundedVec, EntryHash, ErrorCode, Position, TopicIndex, Wire};

use crate::hub::{Batch, Hub, LiveFrame, Place, Watcher};

/// Log cursors that a connection's topics may bring along: four per topic on average, which is
/// 10 MB.
const CURSOR_LOGS_MAX: usize = 4 * SUBSCRIPTION_TOPICS_MAX;

/// A topic that waits for its turn comes before, or after, all that wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Next,
    Last,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// To be read from storage.
    Queued,
    /// Being read from storage.
    Reading,
    /// Being read from storage, and something came that the read may miss.
    Touched,
    /// All that is stored has been sent; the rest comes from memory.
    Live,
}

/// How far the subscriber has come in one topic.
#[derive(Debug)]
struct TopicState {
    /// For each log the topic index that comes next, by rising log id.
    logs: Vec<(LogId, TopicIndex)>,
    position: Position,
    /// Its place in the queue; also tells a read from an earlier one of the same topic.
    order: i64,
    phase: Phase,
    announced: bool,
}

impl TopicState {
    fn next(&mut self, log: LogId) -> &mut TopicIndex {
        let place = match self.logs.binary_search_by_key(&log, |(known, _)| *known) {
            Ok(place) => place,
            Err(place) => {
                self.logs.insert(place, (log, TopicIndex(0)));
                place
            }
        };
        &mut self.logs[place].1
    }

    fn cursor(&self) -> TopicCursor {
        let logs = self.logs.iter().map(|(log, next)| LogCursor {
            log: *log,
            next: *next,
            previous: EntryHash::default(),
        });
        TopicCursor {
            // A topic with more logs than a cursor holds goes on reading those from their start.
            logs: BoundedVec::new(logs.take(tidings_types::constants::CURSOR_LOGS_MAX).collect())
                .unwrap_or_default(),
            position: self.position,
        }
    }
}

/// A read from storage that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Which topic.
    pub topic: Topic,
    /// Where to go on.
    pub cursor: TopicCursor,
    order: i64,
}

/// One subscriber's topics.
#[derive(Debug)]
pub struct Subscriber {
    topics: Watcher<TopicState>,
    queue: BTreeMap<i64, Topic>,
    last_order: i64,
    first_order: i64,
    cursor_logs: usize,
    fallen_behind: u64,
}

/// Refuses a cursor that names a log twice (API-005).
///
/// # Errors
/// [`ErrorCode::Malformed`] when it does.
pub fn check_cursor(cursor: &TopicCursor) -> Result<(), ErrorCode> {
    let logs: BTreeSet<_> = cursor.logs.iter().map(|log| log.log).collect();
    match logs.len() == cursor.logs.len() {
        true => Ok(()),
        false => Err(ErrorCode::Malformed),
    }
}

impl Subscriber {
    /// A subscriber without topics.
    #[must_use]
    pub fn new(hub: &Arc<Hub>) -> Self {
        Self {
            topics: hub.watch(),
            queue: BTreeMap::new(),
            last_order: 0,
            first_order: 0,
            cursor_logs: 0,
            fallen_behind: 0,
        }
    }

    /// Adds a topic, or starts it anew at the given cursor.
    ///
    /// # Errors
    /// [`ErrorCode::Malformed`] for a cursor that names a log twice, [`ErrorCode::TooLarge`] when
    /// the connection would hold too many topics or cursors (API-013). The topic is then as it was.
    pub fn add(&mut self, subscription: &Subscription) -> Result<(), ErrorCode> {
        let Subscription { topic, cursor } = subscription;
        check_cursor(cursor)?;
        let known = self.topics.state(topic).map(|state| (state.order, state.logs.len()));
        let held = self.cursor_logs - known.map_or(0, |(_, logs)| logs);
        let is_new = known.is_none();
        if is_new && self.topics.topic_count() >= SUBSCRIPTION_TOPICS_MAX
            || held + cursor.logs.len() > CURSOR_LOGS_MAX
        {
            return Err(ErrorCode::TooLarge);
        }
        if let Some((order, _)) = known {
            self.queue.remove(&order);
        }
        let mut logs: Vec<_> = cursor.logs.iter().map(|log| (log.log, log.next)).collect();
        logs.sort_unstable_by_key(|(log, _)| *log);
        self.cursor_logs = held + logs.len();
        let state = TopicState {
            logs,
            position: cursor.position,
            order: 0,
            phase: Phase::Queued,
            announced: false,
        };
        self.topics.follow(*topic, state);
        self.queue_up(*topic, Turn::Last);
        Ok(())
    }

    /// Drops a topic; nothing of it is sent from now on.
    pub fn remove(&mut self, topic: &Topic) {
        if let Some(state) = self.topics.unfollow(topic) {
            self.queue.remove(&state.order);
            self.cursor_logs -= state.logs.len();
        }
    }

    /// The read to be made next; the caller makes one at a time and reports it by
    /// [`Subscriber::page`] or [`Subscriber::failed`].
    pub fn next_read(&mut self) -> Option<Read> {
        let (order, topic) = self.queue.pop_first()?;
        let state = self.topics.state(&topic)?;
        state.phase = Phase::Reading;
        Some(Read { topic, cursor: state.cursor(), order })
    }

    /// Takes a page that was read; returns the frames to send (API-009, API-010).
    pub fn page(&mut self, read: &Read, page: TopicPage) -> Vec<Bytes> {
        let Some(state) = self.current(read) else { return Vec::new() };
        let logs_before = state.logs.len();
        let mut frames = Vec::with_capacity(page.ordered.len() + page.broadcast.len() + 1);
        let is_empty = page.ordered.is_empty() && page.broadcast.is_empty();
        for receipt in page.ordered.into_vec() {
            if let Some(position) = receipt.position().filter(|found| *found > state.position) {
                state.position = position;
                frames.push(NodeFrame::Ordered(receipt).to_wire().into());
            }
        }
        for entry in page.broadcast.into_vec() {
            let next = state.next(entry.log);
            let index = entry.entry.header.topic_index;
            if index >= *next {
                *next = index.plus(1);
                frames.push(NodeFrame::Broadcast(entry).to_wire().into());
            }
        }
        // An empty page is the end, whatever it says, or a faulty backend would be asked forever.
        let at_end = page.more == 0 || is_empty;
        if at_end && !state.announced {
            state.announced = true;
            frames.push(NodeFrame::CaughtUp(read.topic).to_wire().into());
        }
        let turn = match (at_end, state.phase) {
            (true, Phase::Touched) => Some(Turn::Next),
            (true, _) => None,
            (false, _) => Some(Turn::Last),
        };
        state.phase = Phase::Live;
        self.cursor_logs += state.logs.len() - logs_before;
        if let Some(turn) = turn {
            self.queue_up(read.topic, turn);
        }
        frames
    }

    /// Drops the topic of a read that failed; returns the frame that says so, unless the topic
    /// is gone already.
    pub fn failed(&mut self, read: &Read, code: ErrorCode) -> Option<Bytes> {
        self.current(read)?;
        self.remove(&read.topic);
        Some(NodeFrame::Refused { topic: Some(read.topic), code }.to_wire().into())
    }

    /// Takes what came from memory; returns the frames to send.
    pub fn live(&mut self, batch: Batch) -> Vec<Bytes> {
        let frames = batch.frames.iter().filter_map(|frame| self.live_frame(frame)).collect();
        for topic in batch.behind {
            self.fall_behind(topic);
        }
        frames
    }

    /// Takes what waits in memory, as [`Subscriber::live`] wants it.
    #[must_use]
    pub fn waiting(&self) -> Batch {
        self.topics.take()
    }

    /// Resolves when something waits in memory; safe to drop and to call again.
    pub async fn filled(&self) {
        self.topics.filled().await;
    }

    /// How often a topic fell behind since the last call.
    pub fn take_fallen_behind(&mut self) -> u64 {
        std::mem::take(&mut self.fallen_behind)
    }

    fn live_frame(&mut self, frame: &LiveFrame) -> Option<Bytes> {
        let state = self.topics.state(&frame.topic)?;
        match state.phase {
            Phase::Queued => return None,
            Phase::Reading | Phase::Touched => {
                state.phase = Phase::Touched;
                return None;
            }
            Phase::Live => {}
        }
        let logs_before = state.logs.len();
        let (found, next) = match frame.place {
            Place::Log { log, index } => (index.0, &mut state.next(log).0),
            Place::Ordered { position } => (position.0.saturating_sub(1), &mut state.position.0),
        };
        let is_next = found == *next;
        let is_missing_some = found > *next;
        if is_next {
            *next += 1;
        }
        self.cursor_logs += state.logs.len() - logs_before;
        if is_missing_some {
            self.fall_behind(frame.topic);
        }
        is_next.then(|| frame.bytes.clone())
    }

    /// Something was dropped on the way from memory; storage has it (API-012).
    fn fall_behind(&mut self, topic: Topic) {
        let Some(state) = self.topics.state(&topic) else { return };
        match state.phase {
            Phase::Queued => {}
            Phase::Reading | Phase::Touched => state.phase = Phase::Touched,
            Phase::Live => {
                self.fallen_behind += 1;
                self.queue_up(topic, Turn::Next);
            }
        }
    }

    fn queue_up(&mut self, topic: Topic, turn: Turn) {
        let order = match turn {
            Turn::Next => {
                self.first_order -= 1;
                self.first_order
            }
            Turn::Last => {
                self.last_order += 1;
                self.last_order
            }
        };
        if let Some(state) = self.topics.state(&topic) {
            state.order = order;
            state.phase = Phase::Queued;
            self.queue.insert(order, topic);
        }
    }

    /// The state of the topic that was read, unless it was dropped or started anew meanwhile.
    fn current(&mut self, read: &Read) -> Option<&mut TopicState> {
        let state = self.topics.state(&read.topic)?;
        let is_reading = matches!(state.phase, Phase::Reading | Phase::Touched);
        (is_reading && state.order == read.order).then_some(state)
    }
}
