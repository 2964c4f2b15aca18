//! Listening: one WebSocket per shard, resumed by cursor at the next node when one is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tidings_envelope::api::{NodeFrame, Subscription, TopicEntry};
use tidings_envelope::{Operation, OrderedReceipt, Topic};
use tidings_types::{NodeId, ShardId};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::ConversationId;
use crate::core::{Core, Engine};
use crate::error::ClientError;
use crate::event::Event;
use crate::sync::branches::is_parted;
use crate::transport::{NodeAddress, Socket};
use crate::verify::is_behind;

/// How often what waits is tried again while listening.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(3);

/// The pause after all nodes of a shard failed.
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause between two rounds of attempts.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(8);

/// The tasks that follow shards, one each.
type Followers = Arc<Mutex<JoinSet<()>>>;

/// Events as they happen; dropping it stops listening.
pub struct Listener {
    events: mpsc::UnboundedReceiver<Event>,
    supervisor: JoinSet<()>,
    followers: Followers,
}

impl Listener {
    /// Starts to listen; what was missed comes first.
    pub(crate) fn start(core: Arc<Core>) -> Self {
        let events = core.events.listen();
        let followers = Followers::default();
        let mut supervisor = JoinSet::new();
        supervisor.spawn(supervise(core, Arc::clone(&followers)));
        Self { events, supervisor, followers }
    }

    /// Stops listening and waits until nothing of it uses the client's store any more.
    pub async fn stop(mut self) {
        self.supervisor.shutdown().await;
        self.followers.lock().await.shutdown().await;
    }

    /// The next event; none once the client is gone.
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// An event that has happened already, if there is one.
    pub fn try_next(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Listener")
    }
}

/// Keeps one follower per shard that has topics, and sends what waits.
async fn supervise(core: Arc<Core>, followers: Followers) {
    let mut shards = BTreeSet::new();
    let mut upkeep = tokio::time::interval(UPKEEP_INTERVAL);
    let mut turn = 0;
    upkeep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let changed = core.topics_changed.notified();
        match topics_by_shard(&core) {
            Ok(topics) => {
                for shard in topics.into_keys() {
                    if shards.insert(shard) {
                        followers.lock().await.spawn(follow(Arc::clone(&core), shard));
                    }
                }
            }
            Err(error) => tracing::error!(%error, "the topics to follow cannot be read"),
        }
        tokio::select! {
            () = changed => {}
            _ = upkeep.tick() => {
                core.keep_up(turn).await;
                turn = turn.wrapping_add(1);
            }
        }
    }
}

/// Follows one shard's topics for ever, from one node after another.
async fn follow(core: Arc<Core>, shard: ShardId) {
    let mut pause = RECONNECT_PAUSE;
    loop {
        for node in core.nodes.candidates(shard) {
            let connected = Socket::connect(&node.url, core.network).await;
            let (socket, period) = match connected {
                Ok(connected) => connected,
                Err(error) => {
                    core.nodes.note_trouble(node.id);
                    core.tell_disconnected(node.id, &error);
                    continue;
                }
            };
            core.nodes.heard_period(period);
            let error = match run(&core, shard, &node, socket, &mut pause).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            core.tell_disconnected(node.id, &error);
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(RECONNECT_PAUSE_MAX);
    }
}

/// Reads from one connection until it fails.
async fn run(
    core: &Core,
    shard: ShardId,
    node: &NodeAddress,
    mut socket: Socket,
    pause: &mut Duration,
) -> Result<std::convert::Infallible, ClientError> {
    core.resume(shard).await?;
    let mut followed = BTreeSet::new();
    let mut catching_up = core.follow_new(shard, &mut socket, &mut followed).await?;
    core.events.tell(&Event::Connected { node: node.id });
    loop {
        let changed = core.topics_changed.notified();
        // Topics that were added before the line above.
        catching_up += core.follow_new(shard, &mut socket, &mut followed).await?;
        let frame = tokio::select! {
            () = changed => continue,
            frame = socket.next() => frame?,
        };
        *pause = RECONNECT_PAUSE;
        match frame {
            NodeFrame::Broadcast(entry) => {
                let topic = entry.entry.header.topic;
                core.live_broadcast(entry).await.or_else(|error| core.fell_behind(topic, error))?;
            }
            NodeFrame::Ordered(receipt) => {
                let Some(topic) = topic_of(&receipt) else { continue };
                core.live_ordered(topic, &receipt)
                    .await
                    .or_else(|error| core.fell_behind(topic, error))?;
            }
            NodeFrame::Heartbeat { period } | NodeFrame::Hello { period, .. } => {
                core.nodes.heard_period(period);
                core.release_overdue(period)?;
            }
            NodeFrame::CaughtUp(_) => catching_up = catching_up.saturating_sub(1),
            NodeFrame::Refused { topic: Some(topic), code } => {
                core.fell_behind(topic, ClientError::Refused { code })?;
            }
            NodeFrame::Refused { topic: None, code } => return Err(ClientError::Refused { code }),
        }
        tracing::trace!(catching_up, "a frame is dealt with");
    }
}

fn topic_of(receipt: &OrderedReceipt) -> Option<Topic> {
    match &receipt.decided.operation {
        Operation::Envelope(inner) => Some(inner.envelope.body.topic),
        _ => None,
    }
}

fn topics_by_shard(core: &Core) -> Result<BTreeMap<ShardId, Vec<Subscription>>, ClientError> {
    let shards = core.nodes.registry().shard_count;
    let mut topics: BTreeMap<ShardId, Vec<Subscription>> = BTreeMap::new();
    for row in core.store().view().topics()? {
        let subscription = Subscription { topic: row.topic, cursor: row.cursor };
        topics.entry(row.topic.shard(shards)).or_default().push(subscription);
    }
    Ok(topics)
}

impl Core {
    /// Reads what was missed, both lanes of a topic together, before entries come one by one: a
    /// node would send a topic's commits first, and with them old messages become unreadable.
    async fn resume(&self, shard: ShardId) -> Result<(), ClientError> {
        if let Err(error) = self.refresh_registry().await {
            tracing::debug!(%error, "the registry is not refreshed");
        }
        let topics = topics_by_shard(self)?.remove(&shard).unwrap_or_default();
        let mut engine = self.engine.lock().await;
        for subscription in topics {
            let topic = subscription.topic;
            let pulled = self.pull_topic(&mut engine, &topic).await;
            pulled.or_else(|error| self.fell_behind(topic, error))?;
        }
        Ok(())
    }

    /// Subscribes to the topics of a shard that this connection does not follow; their number.
    async fn follow_new(
        &self,
        shard: ShardId,
        socket: &mut Socket,
        followed: &mut BTreeSet<Topic>,
    ) -> Result<usize, ClientError> {
        let mut topics = topics_by_shard(self)?.remove(&shard).unwrap_or_default();
        topics.retain(|subscription| followed.insert(subscription.topic));
        if !topics.is_empty() {
            socket.subscribe(&topics).await?;
        }
        Ok(topics.len())
    }

    async fn live_broadcast(&self, entry: TopicEntry) -> Result<(), ClientError> {
        let topic = entry.entry.header.topic;
        let mut engine = self.engine.lock().await;
        let Some(row) = self.store().view().topic(&topic)? else { return Ok(()) };
        if is_parted(&row.cursor, entry.log) {
            return self.pull_topic(&mut engine, &topic).await;
        }
        if is_behind(&row.cursor, &entry) {
            return Ok(());
        }
        let registries = self.nodes.registries();
        let mut cursor = row.cursor;
        match self.verifier(&registries).broadcast(&topic, &mut cursor, entry) {
            Ok(entry) => {
                self.take_broadcast(&mut engine, &topic, &entry).await?;
                self.after_entry(&mut engine, row.conversation).await
            }
            // Another replica may have what is missing here.
            Err(failure) => {
                tracing::debug!(%failure, "an entry does not fit; reading the topic instead");
                self.pull_topic(&mut engine, &topic).await
            }
        }
    }

    async fn live_ordered(
        &self,
        topic: Topic,
        receipt: &OrderedReceipt,
    ) -> Result<(), ClientError> {
        let mut engine = self.engine.lock().await;
        let Some(row) = self.store().view().topic(&topic)? else { return Ok(()) };
        if receipt.position().is_some_and(|position| position <= row.cursor.position) {
            return Ok(());
        }
        let registries = self.nodes.registries();
        let mut cursor = row.cursor;
        match self.verifier(&registries).ordered(&topic, &mut cursor, receipt) {
            Ok(entry) => {
                self.take_ordered(&mut engine, &topic, &entry).await?;
                self.after_entry(&mut engine, row.conversation).await
            }
            Err(failure) => {
                tracing::debug!(%failure, "a block does not fit; reading the topic instead");
                self.pull_topic(&mut engine, &topic).await
            }
        }
    }

    /// What follows from an entry: a fresh key package after a welcome, a commit for leavers, a word
    /// on a commit that is not proved.
    async fn after_entry(
        &self,
        engine: &mut Engine,
        conversation: Option<ConversationId>,
    ) -> Result<(), ClientError> {
        let done = match conversation {
            None => self.ensure_published(engine).await,
            Some(id) => match self.let_go(engine, id).await {
                Ok(()) => self.attend(engine, id).await,
                Err(error) => Err(error),
            },
        };
        if let Err(error) = done {
            tracing::debug!(%error, "left for later");
        }
        Ok(())
    }

    /// Notes a topic that is to be read again; only a store that fails ends the connection.
    fn fell_behind(&self, topic: Topic, error: ClientError) -> Result<(), ClientError> {
        if matches!(error, ClientError::Store(_)) {
            return Err(error);
        }
        tracing::debug!(%error, "an entry could not be dealt with; its topic is read again");
        self.note_behind(topic);
        Ok(())
    }

    /// Notes a topic that is to be read again.
    pub(super) fn note_behind(&self, topic: Topic) {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner).insert(topic);
    }

    /// Reads again what could not be dealt with as it came, and one topic more each time, in
    /// turn: what a node keeps from us, the others tell.
    async fn read_again(&self, engine: &mut Engine, turn: usize) {
        engine.bogus_welcomes = 0;
        let mut behind =
            std::mem::take(&mut *self.behind.lock().unwrap_or_else(PoisonError::into_inner));
        let topics = self.store().view().topics().unwrap_or_default();
        let checked = turn.checked_rem(topics.len()).and_then(|place| topics.get(place));
        behind.extend(checked.map(|row| row.topic));
        for topic in behind {
            if let Err(error) = self.pull_topic(engine, &topic).await {
                tracing::debug!(%error, "a topic is still not read to its end");
                self.note_behind(topic);
            }
        }
    }

    /// Tries again what waits.
    async fn keep_up(&self, turn: usize) {
        let mut engine = self.engine.lock().await;
        self.read_again(&mut engine, turn).await;
        if let Err(error) = self.ensure_published(&mut engine).await {
            tracing::debug!(%error, "the key package is not published");
        }
        self.attend_all(&mut engine).await;
        drop(engine);
        if let Err(error) = self.flush_outbox().await {
            tracing::debug!(%error, "the outbox is not empty");
        }
        let undecided = self.store().view().undecided().unwrap_or_default();
        if undecided.is_empty() {
            return;
        }
        let mut engine = self.engine.lock().await;
        for id in undecided {
            if let Err(error) = self.settle(&mut engine, id).await {
                tracing::debug!(%id, %error, "a commit is still undecided");
            }
        }
    }

    /// What time alone makes due.
    async fn attend_all(&self, engine: &mut Engine) {
        let ids: Vec<ConversationId> = engine.groups.keys().copied().collect();
        for id in ids {
            let attended = match self.let_go(engine, id).await {
                Ok(()) => self.attend(engine, id).await,
                Err(error) => Err(error),
            };
            if let Err(error) = attended {
                tracing::debug!(%id, %error, "a conversation is left for later");
            }
        }
    }

    fn tell_disconnected(&self, node: NodeId, error: &ClientError) {
        self.events.tell(&Event::Disconnected { node, reason: error.to_string() });
    }
}
