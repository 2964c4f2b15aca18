//! What the links tell the runtime, in two bounded lanes: control before feeds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidings_replica::wire::{ControlFrame, FeedFrame, FeedRequest};
use tidings_types::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// How many events one lane holds at most, whatever their size.
const LANE_EVENTS_MAX: usize = 1024;

/// Something that happened on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// The peer is connected and has said hello; it can be sent to and subscribed to.
    Up(NodeId),
    /// The peer is no longer connected; every subscription to it has ended.
    Down(NodeId),
    /// The peer sent a control frame, in the order of its sending; never a hello.
    Control(NodeId, ControlFrame),
    /// A frame of a subscription, in the order of the feed.
    Feed {
        /// Who sent it.
        from: NodeId,
        /// What was asked for.
        request: FeedRequest,
        /// The frame; of the kind and the log or shard asked for.
        frame: FeedFrame,
    },
    /// The peer ended a subscription; the link itself is up.
    FeedEnded {
        /// Who ended it.
        from: NodeId,
        /// What was asked for.
        request: FeedRequest,
    },
}

/// The receiving end of a node's links.
///
/// Control frames overtake feed frames, so that votes and acknowledgements never wait behind a
/// catch-up.
/// Nothing of a peer follows its [`LinkEvent::Down`] but its next [`LinkEvent::Up`], and nothing
/// of a subscription follows its end.
/// Whoever does not receive is not sent more: full lanes leave the streams unread (REP-009).
#[derive(Debug)]
pub struct LinkEvents {
    control: mpsc::Receiver<Queued>,
    feeds: mpsc::Receiver<Queued>,
}

impl LinkEvents {
    /// The next event; `None` once the links have stopped. Cancelling it loses nothing.
    pub async fn recv(&mut self) -> Option<LinkEvent> {
        loop {
            let queued = tokio::select! {
                biased;
                queued = self.control.recv() => queued?,
                Some(queued) = self.feeds.recv() => queued,
            };
            if let Some(event) = queued.current() {
                return Some(event);
            }
        }
    }

    /// The next event but for feeds, whose frames wait; `None` once the links have stopped.
    pub async fn recv_control(&mut self) -> Option<LinkEvent> {
        self.control.recv().await.map(|queued| queued.event)
    }

    /// The next event that is there already.
    pub fn try_recv(&mut self) -> Option<LinkEvent> {
        loop {
            let queued = self.control.try_recv().or_else(|_| self.feeds.try_recv()).ok()?;
            if let Some(event) = queued.current() {
                return Some(event);
            }
        }
    }
}

/// The consumer of events is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// Where the tasks of links put what happens.
#[derive(Debug, Clone)]
pub(crate) struct EventSink {
    control: Lane,
    feeds: Lane,
}

impl EventSink {
    /// A sink and its receiving end; each lane holds at most so many bytes of frames.
    pub(crate) fn new(control_bytes_max: u32, feed_bytes_max: u32) -> (Self, LinkEvents) {
        let (control, control_events) = Lane::new(control_bytes_max);
        let (feeds, feed_events) = Lane::new(feed_bytes_max);
        let events = LinkEvents { control: control_events, feeds: feed_events };
        (Self { control, feeds }, events)
    }

    /// Puts an event that came as `bytes` bytes, waiting for room.
    pub(crate) async fn control(&self, event: LinkEvent, bytes: usize) -> Result<(), Gone> {
        self.control.put(event, bytes, None).await
    }

    /// Puts an event of a subscription, which is dropped once `live` is false.
    pub(crate) async fn feed(
        &self,
        event: LinkEvent,
        bytes: usize,
        live: &Arc<AtomicBool>,
    ) -> Result<(), Gone> {
        self.feeds.put(event, bytes, Some(live.clone())).await
    }
}

#[derive(Debug)]
struct Queued {
    event: LinkEvent,
    live: Option<Arc<AtomicBool>>,
    _room: OwnedSemaphorePermit,
}

impl Queued {
    fn current(self) -> Option<LinkEvent> {
        let is_live = self.live.is_none_or(|live| live.load(Ordering::Acquire));
        is_live.then_some(self.event)
    }
}

/// A queue that is bounded in events and in bytes.
#[derive(Debug, Clone)]
struct Lane {
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    bytes_max: u32,
}

impl Lane {
    fn new(bytes_max: u32) -> (Self, mpsc::Receiver<Queued>) {
        let (queue, events) = mpsc::channel(LANE_EVENTS_MAX);
        let permits = usize::try_from(bytes_max).unwrap_or(Semaphore::MAX_PERMITS);
        (Self { queue, room: Arc::new(Semaphore::new(permits)), bytes_max }, events)
    }

    /// A frame larger than the lane waits until the lane is empty.
    async fn put(
        &self,
        event: LinkEvent,
        bytes: usize,
        live: Option<Arc<AtomicBool>>,
    ) -> Result<(), Gone> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
        let room = self.room.clone().acquire_many_owned(bytes).await.map_err(|_| Gone)?;
        self.queue.send(Queued { event, live, _room: room }).await.map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_types::{Height, ShardId};

    const PEER: NodeId = NodeId(2);

    fn ended() -> LinkEvent {
        let request = FeedRequest::Blocks { shard: ShardId(0), from: Height(1) };
        LinkEvent::FeedEnded { from: PEER, request }
    }

    #[tokio::test]
    async fn control_overtakes_feeds_and_ended_feeds_are_dropped() {
        let (sink, mut events) = EventSink::new(100, 100);
        let (live, dead) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        sink.feed(ended(), 10, &dead).await.unwrap();
        sink.feed(ended(), 10, &live).await.unwrap();
        sink.control(LinkEvent::Up(PEER), 0).await.unwrap();
        assert_eq!(events.recv().await, Some(LinkEvent::Up(PEER)));
        assert_eq!(events.recv().await, Some(ended()));
        assert_eq!(events.try_recv(), None);
        drop(sink);
        assert_eq!(events.recv().await, None);
    }

    #[tokio::test]
    async fn lanes_are_bounded_in_bytes() {
        // covers: REP-009
        let (sink, mut events) = EventSink::new(100, 100);
        sink.control(LinkEvent::Up(PEER), 60).await.unwrap();
        let (second, oversized) = (sink.clone(), sink.clone());
        let mut waiting = Box::pin(second.control(LinkEvent::Down(PEER), 60));
        let noop = &mut std::task::Context::from_waker(std::task::Waker::noop());
        assert!(waiting.as_mut().poll(noop).is_pending());
        assert_eq!(events.recv().await, Some(LinkEvent::Up(PEER)));
        waiting.await.unwrap();
        assert_eq!(events.recv().await, Some(LinkEvent::Down(PEER)));
        oversized.control(LinkEvent::Up(PEER), 1_000).await.unwrap();
        assert_eq!(events.recv_control().await, Some(LinkEvent::Up(PEER)));
    }
}
