//! The links that are up, by peer: at most one each (REP-011).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quinn::Connection;
use tidings_envelope::Registry;
use tidings_types::NodeId;
use tidings_types::ed25519::PublicKey;
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::task::AbortHandle;

use crate::feed::FeedSubject;
use crate::link::LinkFault;

/// How many control frames wait for one peer at most, whatever their size.
const CONTROL_QUEUE_FRAMES_MAX: usize = 8192;

/// A link that is up.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: NodeId,
    pub(crate) key: PublicKey,
    pub(crate) connection: Connection,
    control: mpsc::Sender<Bytes>,
    /// Bytes in the control queue, and in the writer's hands.
    queued_bytes: AtomicUsize,
    queued_bytes_max: usize,
    /// The subscriptions to the peer; `None` once the link is down.
    follows: Mutex<Option<BTreeMap<FeedSubject, Follow>>>,
}

/// A subscription that this node has.
#[derive(Debug)]
struct Follow {
    live: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Follow {
    fn end(&self) {
        self.live.store(false, Ordering::Release);
        self.task.abort();
    }
}

impl Link {
    /// A link over `connection`, and the queue of control frames to write to it.
    pub(crate) fn new(
        peer: NodeId,
        key: PublicKey,
        connection: Connection,
        queued_bytes_max: usize,
    ) -> (Arc<Self>, mpsc::Receiver<Bytes>) {
        let (control, queue) = mpsc::channel(CONTROL_QUEUE_FRAMES_MAX);
        let link = Self {
            peer,
            key,
            connection,
            control,
            queued_bytes: AtomicUsize::new(0),
            queued_bytes_max,
            follows: Mutex::new(Some(BTreeMap::new())),
        };
        (Arc::new(link), queue)
    }

    /// Queues a control frame, within the bound of REP-010.
    ///
    /// # Errors
    /// [`LinkFault::Overloaded`] when the queue has no room for it.
    pub(crate) fn queue(&self, frame: Bytes) -> Result<(), LinkFault> {
        let length = frame.len();
        let before = self.queued_bytes.fetch_add(length, Ordering::AcqRel);
        if before + length > self.queued_bytes_max || self.control.try_send(frame).is_err() {
            self.written(length);
            return Err(LinkFault::Overloaded);
        }
        Ok(())
    }

    /// Notes that the writer is done with a frame of `bytes`.
    pub(crate) fn written(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Starts a subscription with the task that `start` spawns, instead of the subject's last.
    ///
    /// Says whether the link is up still; if not, nothing was started.
    pub(crate) fn follow(
        &self,
        subject: FeedSubject,
        start: impl FnOnce(Arc<AtomicBool>) -> AbortHandle,
    ) -> bool {
        // The lock is held while the task starts, so that it cannot end before it is listed.
        let mut follows = lock(&self.follows);
        let Some(follows) = follows.as_mut() else {
            return false;
        };
        if let Some(last) = follows.remove(&subject) {
            last.end();
        }
        let live = Arc::new(AtomicBool::new(true));
        let task = start(live.clone());
        follows.insert(subject, Follow { live, task });
        true
    }

    /// Ends a subscription, if it is there.
    pub(crate) fn unfollow(&self, subject: &FeedSubject) {
        if let Some(follow) = lock(&self.follows).as_mut().and_then(|all| all.remove(subject)) {
            follow.end();
        }
    }

    /// Forgets a subscription that ended by itself, unless another took its place.
    pub(crate) fn follow_ended(&self, subject: &FeedSubject, live: &Arc<AtomicBool>) {
        if let Some(all) = lock(&self.follows).as_mut()
            && all.get(subject).is_some_and(|follow| Arc::ptr_eq(&follow.live, live))
        {
            all.remove(subject);
        }
    }

    /// Ends every subscription for good.
    fn end(&self) {
        for follow in lock(&self.follows).take().unwrap_or_default().values() {
            follow.end();
        }
    }
}

/// Every peer that was ever connected, with its link if it has one.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    slots: Mutex<BTreeMap<NodeId, Slot>>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Counts the peer's connections; only the last may become the link.
    newest: u64,
    link: Option<Arc<Link>>,
    /// Held from the moment a link is up until its end has been told.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// The right to be the peer's link, once the one before has ended.
#[derive(Debug)]
pub(crate) struct Turn {
    peer: NodeId,
    number: u64,
    _guard: OwnedMutexGuard<()>,
}

impl Peers {
    /// Claims the peer's link for a new connection: ends the present one and waits for its end.
    pub(crate) async fn turn(&self, peer: NodeId) -> Turn {
        let (turn, number) = {
            let mut slots = lock(&self.slots);
            let slot = slots.entry(peer).or_default();
            slot.newest += 1;
            if let Some(link) = &slot.link {
                LinkFault::Replaced.close(&link.connection);
            }
            (slot.turn.clone(), slot.newest)
        };
        Turn { peer, number, _guard: turn.lock_owned().await }
    }

    /// Makes `link` the peer's link, unless a newer connection claimed it meanwhile.
    pub(crate) fn install(&self, turn: &Turn, link: &Arc<Link>) -> bool {
        let mut slots = lock(&self.slots);
        match slots.get_mut(&turn.peer) {
            Some(slot) if slot.newest == turn.number => {
                slot.link = Some(link.clone());
                true
            }
            _ => false,
        }
    }

    /// Takes the peer's link away and ends its subscriptions.
    pub(crate) fn remove(&self, turn: &Turn) {
        let link = lock(&self.slots).get_mut(&turn.peer).and_then(|slot| slot.link.take());
        if let Some(link) = link {
            link.end();
        }
    }

    /// The peer's link.
    pub(crate) fn link(&self, peer: NodeId) -> Option<Arc<Link>> {
        lock(&self.slots).get(&peer)?.link.clone()
    }

    /// Who is connected, by rising id.
    pub(crate) fn up(&self) -> Vec<NodeId> {
        let slots = lock(&self.slots);
        slots.iter().filter(|(_, slot)| slot.link.is_some()).map(|(peer, _)| *peer).collect()
    }

    /// The links whose peer no longer has the key it connected with (REP-008).
    pub(crate) fn unregistered(&self, registry: &Registry) -> Vec<Arc<Link>> {
        let slots = lock(&self.slots);
        let links = slots.values().filter_map(|slot| slot.link.clone());
        links.filter(|link| !is_registered(registry, link.peer, &link.key)).collect()
    }
}

/// Whether `peer` is a node whose transport key is `key`.
pub(crate) fn is_registered(registry: &Registry, peer: NodeId, key: &PublicKey) -> bool {
    registry.node(peer).is_some_and(|node| node.transport == *key)
}

/// A poisoned lock is taken: no holder leaves the map half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
