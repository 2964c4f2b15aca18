//! A subscriber against a model: random appends, reads, deliveries and overflows, and what the
//! other side must have received in the end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;
use tidings_envelope::api::{LogCursor, NodeFrame, Subscription, TopicCursor, TopicPage};
use tidings_envelope::{LogId, OrderedReceipt, Topic};
use tidings_node::http::{Read, Subscriber};
use tidings_node::hub::{Hub, OutboxLimits};
use tidings_replica::store::Flush;
use tidings_types::{EntryHash, Position, TopicIndex, Wire};

use super::store::{Store, log};

const LOGS: u32 = 3;
const TOPICS: u32 = 3;

#[derive(Debug, Clone)]
enum Action {
    /// An entry becomes durable; the hub learns later.
    Append { log: u32, topic: u32 },
    /// An ordered entry becomes durable; the hub learns later.
    Order { topic: u32 },
    /// The hub learns of the oldest thing it does not know.
    Deliver,
    /// The subscriber takes what waits in memory.
    Take,
    /// The subscriber begins a read; what it will find is decided now.
    BeginRead { limit: usize },
    /// The read ends.
    EndRead,
    /// The subscriber adds a topic, anew if it is there, at a cursor that may be ahead.
    Subscribe { topic: u32, nexts: [u64; LOGS as usize], position: u64 },
    /// The subscriber drops a topic.
    Unsubscribe { topic: u32 },
}

fn action() -> impl Strategy<Value = Action> {
    let (a_log, a_topic) = (|| 1..=LOGS, || 0..TOPICS);
    prop_oneof![
        6 => (a_log(), a_topic()).prop_map(|(log, topic)| Action::Append { log, topic }),
        2 => a_topic().prop_map(|topic| Action::Order { topic }),
        6 => Just(Action::Deliver),
        3 => Just(Action::Take),
        4 => (1usize..4).prop_map(|limit| Action::BeginRead { limit }),
        4 => Just(Action::EndRead),
        2 => (a_topic(), any::<[u8; 3]>(), 0u64..4).prop_map(|(topic, nexts, position)| {
            Action::Subscribe { topic, nexts: nexts.map(|next| u64::from(next) % 6), position }
        }),
        1 => a_topic().prop_map(|topic| Action::Unsubscribe { topic }),
    ]
}

enum Known {
    Flush(Flush),
    Ordered(Box<OrderedReceipt>),
}

/// What the other side of the connection has, per topic that it follows.
struct Follower {
    nexts: BTreeMap<LogId, u64>,
    position: u64,
    is_caught_up: bool,
    /// What it must have before it is told that it is caught up.
    held_when_added: (BTreeMap<LogId, u64>, u64),
}

struct System {
    store: Store,
    hub: Arc<Hub>,
    subscriber: Subscriber,
    unknown_to_hub: VecDeque<Known>,
    reading: Option<(Read, TopicPage)>,
    followers: BTreeMap<Topic, Follower>,
}

impl System {
    fn new() -> Self {
        let hub = Hub::new(OutboxLimits { frames_max: 3, bytes_max: 1 << 20 });
        let subscriber = Subscriber::new(&hub);
        Self {
            store: Store::default(),
            hub,
            subscriber,
            unknown_to_hub: VecDeque::new(),
            reading: None,
            followers: BTreeMap::new(),
        }
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::Append { log: node, topic } => {
                let flush = self.store.append(log(node), &[(Topic::mailbox(topic), vec![0; 8])]);
                self.unknown_to_hub.push_back(Known::Flush(flush));
            }
            Action::Order { topic } => {
                let receipt = self.store.order(Topic::mailbox(topic));
                self.unknown_to_hub.push_back(Known::Ordered(Box::new(receipt)));
            }
            Action::Deliver => match self.unknown_to_hub.pop_front() {
                Some(Known::Flush(flush)) => self.hub.broadcast(&flush),
                Some(Known::Ordered(receipt)) => self.hub.ordered(&[*receipt]),
                None => {}
            },
            Action::Take => {
                let frames = self.subscriber.live(self.subscriber.waiting());
                self.receive(frames);
            }
            Action::BeginRead { limit } => self.begin_read(limit),
            Action::EndRead => {
                if let Some((read, page)) = self.reading.take() {
                    let frames = self.subscriber.page(&read, page);
                    self.receive(frames);
                }
            }
            Action::Subscribe { topic, nexts, position } => self.subscribe(topic, nexts, position),
            Action::Unsubscribe { topic } => {
                self.subscriber.remove(&Topic::mailbox(topic));
                self.followers.remove(&Topic::mailbox(topic));
            }
        }
    }

    fn begin_read(&mut self, limit: usize) {
        if self.reading.is_none()
            && let Some(read) = self.subscriber.next_read()
        {
            let page = self.store.page(read.topic, &read.cursor, limit, usize::MAX);
            self.reading = Some((read, page));
        }
    }

    fn subscribe(&mut self, topic: u32, nexts: [u64; LOGS as usize], position: u64) {
        let topic = Topic::mailbox(topic);
        // A cursor leaves out what has not been read from.
        let nexts: BTreeMap<_, _> =
            (1..).map(log).zip(nexts).filter(|(_, next)| *next > 0).collect();
        let logs: Vec<_> = nexts
            .iter()
            .map(|(log, next)| LogCursor {
                log: *log,
                next: TopicIndex(*next),
                previous: EntryHash::default(),
            })
            .collect();
        let cursor = TopicCursor { logs: logs.try_into().unwrap(), position: Position(position) };
        self.subscriber.add(&Subscription { topic, cursor }).unwrap();
        let held = (1..=LOGS).map(|node| (log(node), self.store.held(log(node), topic))).collect();
        let held_when_added = (held, self.store.position(topic));
        let follower = Follower { nexts, position, is_caught_up: false, held_when_added };
        self.followers.insert(topic, follower);
    }

    /// Every frame must be the very next of its log or lane.
    fn receive(&mut self, frames: Vec<bytes::Bytes>) {
        for frame in frames {
            match NodeFrame::from_wire(&frame).unwrap() {
                NodeFrame::Broadcast(entry) => {
                    let header = entry.entry.header;
                    let follower = self.followers.get_mut(&header.topic).expect("is followed");
                    let next = follower.nexts.entry(entry.log).or_default();
                    assert_eq!(header.topic_index.0, *next, "{}", entry.log);
                    *next += 1;
                }
                NodeFrame::Ordered(receipt) => {
                    let tidings_envelope::Operation::Envelope(envelope) =
                        &receipt.decided.operation
                    else {
                        panic!("only envelopes are sent")
                    };
                    let topic = envelope.envelope.body.topic;
                    let follower = self.followers.get_mut(&topic).expect("is followed");
                    assert_eq!(receipt.position().unwrap().0, follower.position + 1);
                    follower.position += 1;
                }
                NodeFrame::CaughtUp(topic) => {
                    let follower = self.followers.get_mut(&topic).expect("is followed");
                    assert!(!follower.is_caught_up, "told twice");
                    follower.is_caught_up = true;
                    let (held, position) = &follower.held_when_added;
                    assert!(follower.position >= *position);
                    for (log, held) in held {
                        assert!(follower.nexts.get(log).copied().unwrap_or_default() >= *held);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Lets everything happen that is under way.
    fn settle(&mut self) {
        while !self.unknown_to_hub.is_empty() {
            self.apply(Action::Deliver);
        }
        loop {
            self.apply(Action::Take);
            self.apply(Action::BeginRead { limit: 2 });
            if self.reading.is_none() {
                return;
            }
            self.apply(Action::EndRead);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    // covers: API-009
    // covers: API-010
    // covers: API-012
    #[test]
    fn every_entry_arrives_once_and_in_order(actions in prop::collection::vec(action(), 1..120)) {
        let mut system = System::new();
        let cursors: Vec<_> = actions.clone();
        for action in cursors {
            system.apply(action);
        }
        let asked: BTreeMap<Topic, (BTreeMap<LogId, u64>, u64)> = system
            .followers
            .iter()
            .map(|(topic, follower)| (*topic, (follower.nexts.clone(), follower.position)))
            .collect();
        system.settle();
        for (topic, follower) in &system.followers {
            prop_assert!(follower.is_caught_up);
            let (nexts, position) = &asked[topic];
            prop_assert_eq!(follower.position, system.store.position(*topic).max(*position));
            for node in 1..=LOGS {
                let next = |nexts: &BTreeMap<_, u64>| nexts.get(&log(node)).copied().unwrap_or(0);
                let held = system.store.held(log(node), *topic);
                prop_assert_eq!(next(&follower.nexts), held.max(next(nexts)));
            }
        }
    }
}
