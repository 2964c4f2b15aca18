//! The task that owns the replica: inputs from every side, effects to every side.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidings_envelope::api::{AcknowledgedCheckpoint, PublishResponse};
use tidings_envelope::{
    CertifiedBlock, EntryHeader, InclusionProof, LogId, MerklePath, OrderedReceipt,
    RegistryHistory, UsageReport,
};
use tidings_replica::store::{OrderedPlace, TopicHeads, WriteSet};
use tidings_replica::wire::{FeedFrame, FeedRequest};
use tidings_replica::{
    Alarm, CongestionByShard, Effect, Now, PreparedPublish, Replica, RequestId, WriteTicket,
};
use tidings_types::{NodeId, Period, TimestampSeconds};
use tokio::sync::{mpsc, oneshot, watch};

use super::examiner::{Examined, Job};
use super::lookup::{prove, recall};
use super::persister::Written;
use crate::feed::{FeedSubject, Feeds};
use crate::hub::Hub;
use crate::link::{LinkEvent, LinkEvents, Links};
use crate::metrics::Counter;
use crate::settlement::SettlementBook;
use crate::storage::{Retention, Storage};

/// How often time is let pass when nothing else happens, in milliseconds.
const TICK_MS: u64 = 100;

/// How many inputs are taken before effects are carried out and others get a turn.
const INPUTS_PER_TURN: usize = 256;

/// Write sets and stretches under way beyond which no more feed frames are taken.
const BACKLOG_MAX: usize = 64;

/// A question about the replica, answered on its own task.
pub(super) type Question = Box<dyn FnOnce(&Replica) + Send>;

/// What other tasks ask of the replica.
pub(super) enum Command {
    /// Take these envelopes; the answer comes when every one has its fate.
    Publish(PreparedPublish, oneshot::Sender<PublishResponse>),
    /// Answer a question.
    Ask(Question),
    /// What [`Effect::Prove`] asked for.
    Proved {
        request: RequestId,
        item: usize,
        against: Box<AcknowledgedCheckpoint>,
        found: Option<Box<(EntryHeader, MerklePath)>>,
    },
    /// What [`Effect::Include`] asked for.
    Included { to: Option<NodeId>, log: LogId, found: Option<Box<InclusionProof>> },
    /// What [`Effect::TopicHeads`] asked for.
    TopicHeads { log: LogId, found: Option<TopicHeads> },
    /// What [`Effect::Recall`] asked for.
    Recalled { request: RequestId, item: usize, found: Option<Box<OrderedReceipt>> },
    /// Attest this usage report, which this node came to.
    Attest(UsageReport),
    /// Take nothing more, and say when everything taken is answered.
    Drain(oneshot::Sender<()>),
}

/// What requests are prepared by, without asking the replica.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) registries: Arc<RegistryHistory>,
    pub(super) congestion: CongestionByShard,
    pub(super) period: Period,
    pub(super) is_ready: bool,
    pub(super) storage_is_failing: bool,
    pub(super) peers: usize,
}

impl View {
    /// How long payloads are kept.
    pub(super) fn retention(&self) -> Retention {
        Retention::new(self.registries.clone(), self.congestion.clone(), self.period)
    }

    /// What is known before the replica's task has run: nothing can be published yet.
    pub(super) fn before_the_first_turn(replica: &Replica) -> Self {
        Self {
            registries: replica.registries().clone(),
            congestion: replica.congestion(),
            period: replica.period(),
            is_ready: false,
            storage_is_failing: false,
            peers: 0,
        }
    }
}

/// Everything around the replica.
pub(super) struct Surroundings {
    pub(super) storage: Arc<Storage>,
    pub(super) links: Links,
    pub(super) feeds: Arc<Feeds>,
    pub(super) hub: Arc<Hub>,
    pub(super) sets: mpsc::UnboundedSender<(WriteTicket, WriteSet)>,
    pub(super) examine: mpsc::UnboundedSender<Job>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) view: Arc<RwLock<View>>,
    pub(super) alarms: Arc<Counter>,
    /// Told of every final block.
    pub(super) blocks: watch::Sender<()>,
    pub(super) book: Arc<SettlementBook>,
}

/// Where inputs come from.
pub(super) struct Inputs {
    pub(super) events: LinkEvents,
    pub(super) written: mpsc::UnboundedReceiver<Written>,
    pub(super) examined: mpsc::UnboundedReceiver<Examined>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) registries: watch::Receiver<Arc<RegistryHistory>>,
    /// Completes when the node is to stop.
    pub(super) stopped: oneshot::Receiver<()>,
}

/// The replica and what its effects need.
pub(super) struct Actor {
    replica: Replica,
    around: Surroundings,
    replies: BTreeMap<RequestId, oneshot::Sender<PublishResponse>>,
    next_request: u64,
    started: Instant,
    examining: usize,
    drained: Option<oneshot::Sender<()>>,
    ticked_at_ms: u64,
}

impl Actor {
    pub(super) fn new(replica: Replica, around: Surroundings) -> Self {
        Self {
            replica,
            around,
            replies: BTreeMap::new(),
            next_request: 0,
            started: Instant::now(),
            examining: 0,
            drained: None,
            ticked_at_ms: 0,
        }
    }

    /// Runs until it is told to stop; answers the links, to be closed.
    pub(super) async fn run(mut self, mut inputs: Inputs) -> Links {
        self.tick();
        loop {
            self.carry_out();
            if self.replies.is_empty()
                && let Some(drained) = self.drained.take()
            {
                // Nobody waits for the end of a drain that was given up.
                let _ = drained.send(());
            }
            if !self.next_input(&mut inputs).await {
                return self.around.links;
            }
            for _ in 0..INPUTS_PER_TURN {
                if !self.ready_input(&mut inputs) {
                    break;
                }
            }
            if self.now().monotonic_ms.saturating_sub(self.ticked_at_ms) >= TICK_MS {
                self.tick();
            }
        }
    }

    /// Waits for one input; answers whether there can be more.
    async fn next_input(&mut self, inputs: &mut Inputs) -> bool {
        let backlog = self.replica.writes_outstanding() + self.examining;
        let takes_feeds = backlog < BACKLOG_MAX;
        let wake_at = self.wake_at();
        let Inputs { events, written, examined, commands, registries, stopped } = inputs;
        let event = async {
            match takes_feeds {
                true => events.recv().await,
                false => events.recv_control().await,
            }
        };
        tokio::select! {
            biased;
            _ = stopped => return false,
            Some(written) = written.recv() => self.written(written),
            Some(command) = commands.recv() => self.command(command),
            Some(examined) = examined.recv() => self.examined(examined),
            event = event => match event {
                Some(event) => self.event(event),
                None => return false,
            },
            Ok(()) = registries.changed() => {
                let registries = registries.borrow_and_update().clone();
                self.registries(&registries);
            }
            () = tokio::time::sleep_until(wake_at) => self.tick(),
        }
        true
    }

    /// Takes an input that is there already, but no feed frames.
    fn ready_input(&mut self, inputs: &mut Inputs) -> bool {
        if let Ok(written) = inputs.written.try_recv() {
            self.written(written);
        } else if let Ok(command) = inputs.commands.try_recv() {
            self.command(command);
        } else if let Ok(examined) = inputs.examined.try_recv() {
            self.examined(examined);
        } else {
            return false;
        }
        true
    }

    fn now(&self) -> Now {
        let elapsed = self.started.elapsed().as_millis();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            monotonic_ms: u64::try_from(elapsed).unwrap_or(u64::MAX),
            timestamp: TimestampSeconds(wall.as_secs()),
        }
    }

    fn wake_at(&self) -> tokio::time::Instant {
        let regular = self.ticked_at_ms.saturating_add(TICK_MS);
        let due = self.replica.poll_timeout_ms().unwrap_or(regular).min(regular);
        let due = Duration::from_millis(due);
        tokio::time::Instant::from_std(self.started + due)
    }

    fn tick(&mut self) {
        let now = self.now();
        self.ticked_at_ms = now.monotonic_ms;
        self.replica.tick(now);
    }

    fn written(&mut self, written: Written) {
        let now = self.now();
        match written {
            Written::Durable(ticket) => self.replica.persisted(ticket, now),
            Written::Failed => self.replica.storage_failed(now),
        }
    }

    fn examined(&mut self, examined: Examined) {
        self.examining = self.examining.saturating_sub(1);
        let now = self.now();
        match examined.flush {
            Some(flush) => self.replica.flush(examined.from, flush, now),
            None => self.replica.feed_ended(examined.from, examined.log, now),
        }
    }

    fn registries(&mut self, registries: &RegistryHistory) {
        let now = self.now();
        for registry in registries.iter() {
            if let Err(error) = self.replica.registry_changed(registry.clone(), now) {
                tracing::error!(epoch = %registry.epoch, %error, "a registry is ignored");
            }
        }
        let record = registries.latest().node(self.replica.node());
        if record.is_some_and(|record| record.signing != self.replica.signing_address()) {
            tracing::warn!(epoch = %registries.latest().epoch,
                "the registry has another signing key of this node: start it with that once its \
                 shards are in this epoch");
        }
    }

    fn command(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Publish(prepared, reply) => {
                let request = RequestId(self.next_request);
                self.next_request += 1;
                self.replies.insert(request, reply);
                self.replica.publish(request, prepared, now);
            }
            Command::Ask(question) => question(&self.replica),
            Command::Proved { request, item, against, found } => {
                self.replica.proved(request, item, *against, found.map(|proof| *proof));
            }
            Command::Included { to, log, found } => {
                self.replica.included(to, log, found.map(|proof| *proof), now);
            }
            Command::TopicHeads { log, found } => self.replica.topic_heads(log, found, now),
            Command::Recalled { request, item, found } => {
                self.replica.recalled(request, item, found.map(|receipt| *receipt));
            }
            Command::Attest(report) => self.replica.attest(report, now),
            Command::Drain(drained) => {
                self.replica.drain();
                self.drained = Some(drained);
            }
        }
    }

    fn event(&mut self, event: LinkEvent) {
        let now = self.now();
        match event {
            LinkEvent::Up(peer) => {
                tracing::info!(%peer, "link up");
                self.replica.peer_up(peer, now);
            }
            LinkEvent::Down(peer) => {
                tracing::info!(%peer, "link down");
                self.replica.peer_down(peer, now);
            }
            LinkEvent::Control(from, frame) => self.replica.control(from, frame, now),
            LinkEvent::Feed { from, frame: FeedFrame::Flush(flush), .. } => {
                let registries = self.replica.registries().clone();
                let congestion = self.replica.congestion();
                self.examining += 1;
                // The examiner outlives this task but for a panic, which ends the process.
                let _ = self.around.examine.send(Job { from, flush, registries, congestion });
            }
            LinkEvent::Feed { frame: FeedFrame::Block(block), .. } => {
                self.replica.block(block, now);
            }
            LinkEvent::FeedEnded { from, request: FeedRequest::Log { log, .. } } => {
                self.replica.feed_ended(from, log, now);
            }
            LinkEvent::FeedEnded { from, request: FeedRequest::Blocks { shard, .. } } => {
                self.replica.block_feed_ended(from, shard, now);
            }
        }
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.replica.poll_effect() {
            self.perform(effect);
        }
        self.refresh_view();
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Persist(ticket, set) => {
                // The persister ends after this task.
                let _ = self.around.sets.send((ticket, set));
            }
            Effect::Control(to, frame) => {
                if let Err(error) = self.around.links.send(to, &frame) {
                    tracing::debug!(%error, "a control frame was not sent");
                }
            }
            Effect::Subscribe(to, request) => {
                if let Err(error) = self.around.links.subscribe(to, request) {
                    tracing::debug!(%error, "not subscribed");
                }
            }
            Effect::Unsubscribe(from, log) => {
                self.around.links.unsubscribe(from, FeedSubject::Log(log));
            }
            Effect::UnsubscribeBlocks(from, shard) => {
                self.around.links.unsubscribe(from, FeedSubject::Blocks(shard));
            }
            Effect::Serve(flush) => {
                self.around.feeds.publish_flush(&flush);
                self.around.hub.broadcast(&flush);
            }
            Effect::ServeBlock(certified, places) => self.serve_block(&certified, &places),
            Effect::Reply(request, response) => {
                if let Some(reply) = self.replies.remove(&request) {
                    // The asker may have hung up.
                    let _ = reply.send(response);
                }
            }
            Effect::Prove { request, item, log, index, against } => {
                self.look_up(|storage| async move {
                    let size = against.checkpoint.checkpoint.size;
                    let found = prove(&storage, log, index, size).await.map(Box::new);
                    Command::Proved { request, item, against, found }
                });
            }
            Effect::Include { to, log, index, size } => {
                self.look_up(|storage| async move {
                    let found = storage.inclusion(log, index, size).await;
                    let found = found.inspect_err(|error| tracing::warn!(%error, "no proof"));
                    Command::Included { to, log, found: found.ok().flatten().map(Box::new) }
                });
            }
            Effect::TopicHeads(log) => {
                self.look_up(|storage| async move {
                    let found = storage.topic_heads_of(log).await;
                    let found = found.inspect_err(|error| tracing::warn!(%error, "no heads"));
                    Command::TopicHeads { log, found: found.ok() }
                });
            }
            Effect::Recall { request, item, shard, height, index } => {
                self.look_up(|storage| async move {
                    let found = recall(&storage, shard, height, index).await.map(Box::new);
                    Command::Recalled { request, item, found }
                });
            }
            Effect::Alarm(alarm) => self.alarm(alarm),
        }
    }

    /// Reads storage on a task of its own; what it finds comes back as a command.
    fn look_up<F>(&self, look: impl FnOnce(Arc<Storage>) -> F)
    where
        F: Future<Output = Command> + Send + 'static,
    {
        let found = look(self.around.storage.clone());
        let commands = self.around.commands.clone();
        tokio::spawn(async move {
            // Nobody asks any more once the replica's task has ended.
            let _ = commands.send(found.await).await;
        });
    }

    fn serve_block(&self, certified: &CertifiedBlock, places: &[OrderedPlace]) {
        self.around.feeds.publish_block(certified);
        self.around.hub.block(certified);
        let proofs = certified.receipts();
        let receipts: Vec<OrderedReceipt> =
            places.iter().filter_map(|place| proofs.get(place.index)).collect();
        self.around.hub.ordered(&receipts);
        self.around.blocks.send_replace(());
    }

    fn alarm(&self, alarm: Alarm) {
        self.around.alarms.increment();
        match alarm {
            Alarm::Evidence(evidence) => {
                let (node, offence) = (evidence.accused(), evidence.offence());
                tracing::error!(%node, %offence, "there is evidence against a node");
                self.around.book.add_evidence(&evidence);
            }
            Alarm::InvalidEntry { log, index, code } => {
                tracing::error!(%log, %index, %code, "a log holds an invalid entry");
            }
            Alarm::Unjudged { log, missing } => {
                tracing::warn!(%log, %missing, "a log waits for what its entries are judged by");
            }
            Alarm::FeedRefused { from, log, code } => {
                tracing::warn!(%from, %log, %code, "a peer's feed was refused");
            }
            Alarm::Forked { shard, height, known } => tracing::error!(
                %shard, %height, %known,
                "two blocks of one height are certified; the ordered lane has stopped"
            ),
            Alarm::Diverged { shard, height } => tracing::error!(
                %shard, %height,
                "a certified block executes to something else here; not following any further"
            ),
            Alarm::Superseded(shard) => {
                tracing::error!(%shard, "another process runs with this node's key; not writing");
            }
        }
    }

    fn refresh_view(&self) {
        let view = View {
            registries: self.replica.registries().clone(),
            congestion: self.replica.congestion(),
            period: self.replica.period(),
            is_ready: self.replica.is_ready(),
            storage_is_failing: self.replica.storage_is_failing(),
            peers: self.around.links.peers().len(),
        };
        *self.around.view.write().unwrap_or_else(PoisonError::into_inner) = view;
    }
}
