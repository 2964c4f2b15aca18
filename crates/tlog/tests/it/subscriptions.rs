//! Getting a log from peers that come, go, fall behind and leave things out.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use tidings_tlog::{Gap, Intake, Step, Subscription};
use tidings_types::{LogIndex, LogSize, NodeId};

use crate::originator::LOG;

const ORIGINATOR: NodeId = LOG.node;
const REPLICA: NodeId = NodeId(2);
const OTHER: NodeId = NodeId(3);

fn steps(subscription: &mut Subscription) -> Vec<Step> {
    std::iter::from_fn(|| subscription.poll()).collect()
}

fn subscribe(peer: NodeId, from: u64) -> Step {
    Step::Subscribe { peer, from: LogIndex(from) }
}

fn unsubscribe(peer: NodeId) -> Step {
    Step::Unsubscribe { peer }
}

#[test]
fn the_originator_is_preferred_and_resumed_from_what_is_durable() {
    // covers: LOG-017
    let mut subscription = Subscription::new(LOG, LogSize(50));
    assert_eq!(steps(&mut subscription), vec![]);
    subscription.offer(REPLICA, LogSize(80));
    subscription.offer(ORIGINATOR, LogSize(70));
    assert_eq!(steps(&mut subscription), vec![subscribe(ORIGINATOR, 50)]);
    assert_eq!(subscription.missing(), LogIndex(50)..LogIndex(80));
    let intake = subscription.receive(ORIGINATOR, LogIndex(48), 10);
    assert_eq!(intake, Ok(Intake::Take { skip: 2 }));
    assert_eq!(subscription.receive(ORIGINATOR, LogIndex(50), 8), Ok(Intake::Ignore));
    assert_eq!(subscription.receive(REPLICA, LogIndex(58), 8), Ok(Intake::Ignore));
    assert_eq!(subscription.next(), LogIndex(58));
}

#[test]
fn a_dead_originators_log_comes_from_whoever_has_most() {
    // covers: LOG-017
    let mut subscription = Subscription::new(LOG, LogSize(0));
    subscription.offer(ORIGINATOR, LogSize(10));
    subscription.offer(REPLICA, LogSize(10));
    assert_eq!(steps(&mut subscription), vec![subscribe(ORIGINATOR, 0)]);
    subscription.receive(ORIGINATOR, LogIndex(0), 4).unwrap();
    subscription.withdraw(ORIGINATOR);
    subscription.offer(OTHER, LogSize(12));
    assert_eq!(steps(&mut subscription), vec![subscribe(OTHER, 4)]);
    subscription.offer(ORIGINATOR, LogSize(20));
    let back = vec![unsubscribe(OTHER), subscribe(ORIGINATOR, 4)];
    assert_eq!(steps(&mut subscription), back);
}

#[test]
fn a_gap_costs_the_peer_its_place() {
    // covers: LOG-016
    let mut subscription = Subscription::new(LOG, LogSize(0));
    subscription.offer(ORIGINATOR, LogSize(10));
    subscription.offer(REPLICA, LogSize(10));
    steps(&mut subscription);
    let gap = subscription.receive(ORIGINATOR, LogIndex(1), 4);
    assert_eq!(gap, Err(Gap { expected: LogIndex(0), found: LogIndex(1) }));
    let moved = vec![unsubscribe(ORIGINATOR), subscribe(REPLICA, 0)];
    assert_eq!(steps(&mut subscription), moved);
}

#[test]
fn entries_that_do_not_verify_are_asked_for_again_elsewhere() {
    // covers: LOG-016
    let mut subscription = Subscription::new(LOG, LogSize(0));
    subscription.offer(ORIGINATOR, LogSize(10));
    subscription.offer(REPLICA, LogSize(10));
    steps(&mut subscription);
    subscription.receive(ORIGINATOR, LogIndex(0), 10).unwrap();
    subscription.reject(ORIGINATOR, LogSize(6));
    let moved = vec![unsubscribe(ORIGINATOR), subscribe(REPLICA, 6)];
    assert_eq!(steps(&mut subscription), moved);
}

#[test]
fn a_silent_source_is_left_only_for_one_that_has_more() {
    // covers: LOG-017
    let mut subscription = Subscription::new(LOG, LogSize(0));
    subscription.offer(ORIGINATOR, LogSize(10));
    steps(&mut subscription);
    subscription.receive(ORIGINATOR, LogIndex(0), 10).unwrap();
    subscription.offer(REPLICA, LogSize(10));
    subscription.stalled();
    assert_eq!(steps(&mut subscription), vec![]);
    subscription.offer(REPLICA, LogSize(15));
    assert_eq!(steps(&mut subscription), vec![]);
    subscription.stalled();
    let moved = vec![unsubscribe(ORIGINATOR), subscribe(REPLICA, 10)];
    assert_eq!(steps(&mut subscription), moved);
    subscription.offer(ORIGINATOR, LogSize(16));
    let back = vec![unsubscribe(REPLICA), subscribe(ORIGINATOR, 10)];
    assert_eq!(steps(&mut subscription), back);
}

/// What happens to a peer, by its number.
#[derive(Debug, Clone)]
enum Event {
    Connect(u32, u64),
    Disconnect(u32),
    Send(u32, u64),
    Skip(u32),
    Stall,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (1u32..5, 0u64..60).prop_map(|(peer, size)| Event::Connect(peer, size)),
        1 => (1u32..5).prop_map(Event::Disconnect),
        6 => (1u32..5, 1u64..9).prop_map(|(peer, count)| Event::Send(peer, count)),
        1 => (1u32..5).prop_map(Event::Skip),
        1 => Just(Event::Stall),
    ]
}

/// Peers with what they hold and where their open streams are, and what was taken from them.
struct World {
    subscription: Subscription,
    peers: BTreeMap<NodeId, u64>,
    streams: BTreeMap<NodeId, u64>,
    taken: u64,
}

impl World {
    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Connect(peer, size) => {
                let held = self.peers.entry(NodeId(peer)).or_default();
                *held = size.max(*held);
                self.subscription.offer(NodeId(peer), LogSize(*held));
            }
            Event::Disconnect(peer) => {
                self.peers.remove(&NodeId(peer));
                self.streams.remove(&NodeId(peer));
                self.subscription.withdraw(NodeId(peer));
            }
            Event::Send(peer, count) => self.send(NodeId(peer), count),
            Event::Skip(peer) => {
                let position = self.streams.get(&NodeId(peer)).copied();
                let Some(position) = position else { return };
                let skipped = self.subscription.receive(NodeId(peer), LogIndex(position + 5), 1);
                assert!(skipped.is_err());
            }
            Event::Stall => {
                self.subscription.stalled();
            }
        }
        self.obey();
    }

    fn send(&mut self, peer: NodeId, count: u64) {
        let Some(position) = self.streams.get_mut(&peer) else {
            return;
        };
        let count = count.min(self.peers[&peer].saturating_sub(*position));
        let first = *position;
        *position += count;
        if let Intake::Take { skip } =
            self.subscription.receive(peer, LogIndex(first), count).unwrap()
        {
            assert_eq!(first + skip, self.taken, "no gap and no repeat");
            self.taken = first + count;
        }
    }

    fn obey(&mut self) {
        for step in steps(&mut self.subscription) {
            match step {
                Step::Subscribe { peer, from } => {
                    assert!(self.streams.is_empty(), "one stream at a time");
                    self.streams.insert(peer, from.0);
                }
                Step::Unsubscribe { peer } => assert!(self.streams.remove(&peer).is_some()),
            }
        }
    }
}

proptest! {
    #[test]
    fn everything_comes_once_and_in_order(events in vec(event(), 0..120), last in 1u32..5) {
        // covers: LOG-016
        // covers: LOG-017
        let mut world = World {
            subscription: Subscription::new(LOG, LogSize(0)),
            peers: BTreeMap::new(),
            streams: BTreeMap::new(),
            taken: 0,
        };
        for event in &events {
            world.apply(event);
        }
        // One peer that has everything and behaves is enough to get everything.
        world.apply(&Event::Connect(last, 100));
        for _ in 0..100 {
            if world.streams.contains_key(&NodeId(last)) {
                world.apply(&Event::Send(last, 7));
            } else {
                world.apply(&Event::Stall);
            }
        }
        prop_assert_eq!(world.taken, 100);
        prop_assert!(world.subscription.missing().is_empty());
    }
}
