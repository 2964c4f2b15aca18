//! Processes: their start and their end, what goes into them and what comes out.

use std::sync::Arc;

use rand_core::RngCore;
use tidings_envelope::{Evidence, Registry, RegistryHistory};
use tidings_order::OrderMessage;
use tidings_payer::Missing;
use tidings_replica::store::Flush;
use tidings_replica::wire::ControlFrame;
use tidings_replica::{Alarm, Effect, Now, Replica, ReplicaConfig};
use tidings_types::{NodeId, Wire};

use super::host::{Process, Status, Subject};
use super::{Event, Found, World};
use crate::disk::Disk;
use crate::ledger::{Invariant, demand};
use crate::message::Message;
use crate::network::{End, LinkId};
use crate::setup::{Seat, node_key};

/// How long a publish request waits, as nodes are configured.
const PUBLISH_TIMEOUT_MS: u64 = 5_000;

/// How long storage takes to answer a question, in microseconds.
const LOOK_UP_US: u64 = 300;

impl World {
    /// Starts a machine's process from its disk; nothing happens if one runs already.
    pub(super) fn start(&mut self, seat: Seat) {
        let Some(host) = self.hosts.get_mut(&seat) else { return };
        if host.process().is_some() || matches!(host.status, Status::Refused) {
            return;
        }
        host.starts += 1;
        let generation = host.starts;
        // Two processes with one key that cheat together call themselves one.
        let code = u64::from(seat.node.0) << 32 | u64::from(generation);
        let mut rng = self.scenario.seed.stream("process", code);
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        let config = ReplicaConfig {
            node: seat.node,
            key: node_key(seat.node),
            nonce,
            publish_timeout_ms: PUBLISH_TIMEOUT_MS,
        };
        let replica = restore(config, self.setup.first(), &host.disk);
        let text = || format!("{seat}, start {generation}");
        match replica {
            Ok(replica) => {
                self.trace.note(self.now, "start", &nonce, text);
                self.coverage.count("process starts");
                let process = Process::new(replica, generation, self.now, rng);
                host.status = Status::Up(Box::new(process));
                self.check_restored(seat);
                self.hear_registry(seat);
                self.input(seat, generation, Replica::tick);
            }
            Err(error) => {
                self.trace.note(self.now, "refused", &[], || format!("{seat}: {error}"));
                self.coverage.count("damaged disks refused at a start");
                host.status = Status::Refused;
                let is_damaged = self.ledger.damaged.contains(&seat.node);
                self.check(demand(is_damaged, Invariant::Restart, || {
                    format!("node {} does not start from its own disk: {error}", seat.node)
                }));
            }
        }
    }

    /// A process that has just started knows what its disk holds, no more and no less.
    fn check_restored(&mut self, seat: Seat) {
        let Some(host) = self.hosts.get(&seat) else { return };
        let Some(process) = host.process() else { return };
        let logs = process.replica.durable_logs();
        let knows_logs = host.disk.logs().all(|log| logs.get(&log) == Some(&host.disk.size(log)));
        let knows_lanes =
            process.replica.shards().all(|status| status.height == host.disk.height(status.shard));
        self.check(demand(knows_logs && knows_lanes, Invariant::Restart, || {
            format!("node {} knows something else than its disk holds", seat.node)
        }));
    }

    /// A process takes over every registry that it does not know yet.
    pub(super) fn hear_registry(&mut self, seat: Seat) {
        let Some(process) = self.process(seat) else { return };
        let generation = process.generation;
        for registry in self.setup.since(process.replica.registry().epoch) {
            self.stir(seat);
            let mut taken = true;
            self.input(seat, generation, |replica, now| {
                taken = replica.registry_changed(registry, now).is_ok();
            });
            self.check(demand(taken, Invariant::NoWedge, || {
                format!("node {} refused a registry of the network", seat.node)
            }));
        }
    }

    /// Kills a process: its memory is gone, and a transaction under way lands or does not.
    pub(super) fn kill(&mut self, seat: Seat, lands: bool) {
        let Some(process) = self.clear_status(seat, Status::Down) else { return };
        self.trace.note(self.now, "kill", &[], || format!("{seat}"));
        self.coverage.count("process kills");
        self.ledger.excuse(seat);
        if lands && !process.writing.sets.is_empty() {
            self.coverage.count("transactions that landed without an answer");
            self.commit(seat, &process.writing.sets);
        }
        if let Some(host) = self.hosts.get_mut(&seat) {
            host.paused_until = self.now;
            if let Some(truth) = host.truth.take() {
                host.disk = *truth;
            }
        }
        for link in process.links.values() {
            self.lose_end(*link, seat);
        }
        for call in process.calls.values() {
            self.break_call(*call);
        }
    }

    /// Lets time pass at a process, when its tick is due.
    pub(super) fn tick(&mut self, seat: Seat, generation: u32) {
        let Some(host) = self.hosts.get_mut(&seat) else { return };
        let now = host.now(self.now).monotonic_ms;
        let Some(process) = host.process_mut() else { return };
        let is_due = process.tick_due_ms.is_some_and(|due| due <= now);
        if process.generation != generation || !is_due {
            return;
        }
        process.tick_due_ms = None;
        process.ticked_at_ms = now;
        self.trace.note(self.now, "tick", &seat.node.to_wire(), || format!("{seat}"));
        self.input(seat, generation, Replica::tick);
    }

    /// Gives a process an input, does what it wants done, and plans its next tick.
    pub(super) fn input(
        &mut self,
        seat: Seat,
        generation: u32,
        input: impl FnOnce(&mut Replica, Now),
    ) {
        let Some(host) = self.hosts.get_mut(&seat) else { return };
        let now = host.now(self.now);
        let Some(process) = host.process_mut() else { return };
        if process.generation != generation {
            return;
        }
        input(&mut process.replica, now);
        self.carry_out(seat);
        self.plan_tick(seat);
    }

    /// Notes that something other than the passing of time has happened at a process.
    pub(super) fn stir(&mut self, seat: Seat) {
        let Some(host) = self.hosts.get_mut(&seat) else { return };
        let now = host.now(self.now).monotonic_ms;
        if let Some(process) = host.process_mut() {
            process.stir(now);
        }
    }

    fn plan_tick(&mut self, seat: Seat) {
        let Some(host) = self.hosts.get_mut(&seat) else { return };
        let (clock, local_ms) = (host.clock, host.now(self.now).monotonic_ms);
        let Some(process) = host.process_mut() else { return };
        let due = process.wake_at_ms(local_ms);
        if process.tick_due_ms.is_some_and(|planned| planned <= due) {
            return;
        }
        process.tick_due_ms = Some(due);
        let (at, generation) = (process.moment_of(clock, due), process.generation);
        self.queue.push(at.max(self.now), Event::Tick { seat, generation });
    }

    fn carry_out(&mut self, seat: Seat) {
        loop {
            let host = self.hosts.get_mut(&seat);
            let process = host.and_then(|host| host.process_mut());
            let Some(effect) = process.and_then(|process| process.replica.poll_effect()) else {
                return;
            };
            self.perform(seat, effect);
        }
    }

    fn perform(&mut self, seat: Seat, effect: Effect) {
        let Some(generation) = self.process(seat).map(|process| process.generation) else { return };
        match effect {
            Effect::Persist(ticket, set) => self.persist(seat, ticket, set),
            Effect::Control(to, frame) => {
                self.check_vote(seat, &frame);
                self.tell(seat, to, Message::Control(frame));
            }
            Effect::Subscribe(at, request) => self.subscribe(seat, at, request),
            Effect::Unsubscribe(at, log) => self.unsubscribe(seat, at, Subject::Log(log)),
            Effect::UnsubscribeBlocks(at, shard) => {
                self.unsubscribe(seat, at, Subject::Blocks(shard));
            }
            Effect::Serve(flush) => self.serve_flush(seat, &flush),
            Effect::ServeBlock(certified, _) => {
                let header = certified.block.header;
                let line = || format!("{seat}: height {} of {}", header.height, header.shard);
                self.trace.note(self.now, "final", header.hash().as_bytes(), line);
                self.pump(seat, Subject::Blocks(header.shard));
            }
            Effect::Reply(request, response) => self.reply(seat, request, response),
            Effect::Prove { request, item, log, index, against } => {
                let size = against.checkpoint.checkpoint.size;
                self.look_up(seat, generation, |disk| {
                    let found = disk.prove(log, index, size);
                    Found::Proof { request, item, against, found }
                });
            }
            Effect::Include { to, log, index, size } => {
                self.look_up(seat, generation, |disk| {
                    let found = disk.inclusion(log, index, size);
                    Found::Inclusion { to, log, found }
                });
            }
            Effect::TopicHeads(log) => self.look_up(seat, generation, |disk| {
                let found = disk.topic_heads(log);
                Found::Heads { log, found }
            }),
            Effect::Recall { request, item, shard, height, index } => {
                self.look_up(seat, generation, |disk| {
                    let found = disk.recall(shard, height, index);
                    Found::Decision { request, item, found }
                });
            }
            Effect::Alarm(alarm) => self.alarm(seat, &alarm),
        }
    }

    /// An honest process casts no vote that it would not know of after a crash, and none against
    /// one that others know of.
    fn check_vote(&mut self, seat: Seat, frame: &ControlFrame) {
        let ControlFrame::Lane { message: OrderMessage::Vote(signed), .. } = frame else { return };
        let node = seat.node;
        if signed.node != node || self.ledger.byzantine.contains(&node) {
            return;
        }
        let faults_tolerated = self.setup.registry.faults_tolerated(signed.vote.shard);
        let contradicts = self.ledger.watch.votes(signed, faults_tolerated);
        self.check(demand(!contradicts, Invariant::Accountability, || {
            format!("node {node} is honest and contradicts a vote of its own")
        }));
        let Some(host) = self.hosts.get(&seat) else { return };
        // A broken disk may hold anything.
        let is_known = host.disk.remembers(&signed.vote) || !self.ledger.is_correct(node);
        self.check(demand(is_known, Invariant::Restart, || {
            format!("node {node} casts a vote that it would not know of after a crash")
        }));
    }

    /// Reads the disk for a process; what it finds is there a little later.
    fn look_up(&mut self, seat: Seat, generation: u32, look: impl FnOnce(&Disk) -> Found) {
        let Some(host) = self.hosts.get(&seat) else { return };
        let found = look(&host.disk);
        let at = self.now.plus_us(LOOK_UP_US);
        self.queue.push(at, Event::Found { seat, generation, found });
    }

    fn serve_flush(&mut self, seat: Seat, flush: &Flush) {
        let host = self.hosts.get_mut(&seat);
        if let Some(forgery) = host.and_then(|host| host.habits.forgery.as_mut())
            && flush.log.node == seat.node
        {
            forgery.extend(flush, &self.setup, &node_key(seat.node));
        }
        self.pump(seat, Subject::Log(flush.log));
    }

    fn alarm(&mut self, seat: Seat, alarm: &Alarm) {
        let line = format!("{seat}: {alarm:?}");
        self.trace.note(self.now, "alarm", line.as_bytes(), || line.clone());
        self.coverage.count(match alarm {
            Alarm::Evidence(evidence) => match **evidence {
                Evidence::Checkpoints(..) => "alarms: two roots",
                Evidence::Entries(..) => "alarms: two entries",
                Evidence::Votes(..) => "alarms: two votes",
                Evidence::Proposals(..) => "alarms: two proposals",
                Evidence::InvalidEntry(_) => "alarms: invalid entry proved",
            },
            Alarm::InvalidEntry { .. } => "alarms: invalid entry",
            Alarm::FeedRefused { .. } => "alarms: feed refused",
            Alarm::Superseded(_) => "alarms: superseded",
            Alarm::Unjudged { missing: Missing::Registry(_), .. } => "alarms: registry missing",
            Alarm::Unjudged { .. } => "alarms: factor missing",
            Alarm::Forked { .. } => "alarms: two certificates",
            Alarm::Diverged { .. } => "alarms: divergence",
        });
        // What a cheat or a node with a broken disk says of others counts for nothing, but
        // evidence proves itself.
        let proves_itself = matches!(alarm, Alarm::Evidence(_));
        let is_heard = self.ledger.is_correct(seat.node)
            || (proves_itself && !self.ledger.byzantine.contains(&seat.node));
        if is_heard {
            let check = self.ledger.alarmed(seat.node, alarm);
            self.check(check);
        }
    }

    pub(super) fn found(&mut self, seat: Seat, generation: u32, found: Found) {
        self.stir(seat);
        self.input(seat, generation, |replica, now| match found {
            Found::Proof { request, item, against, found } => {
                replica.proved(request, item, *against, found);
            }
            Found::Inclusion { to, log, found } => replica.included(to, log, found, now),
            Found::Heads { log, found } => replica.topic_heads(log, Some(found), now),
            Found::Decision { request, item, found } => replica.recalled(request, item, found),
        });
    }

    /// One end of a link is gone; the other finds out by silence at the latest, and the end that
    /// calls will call again.
    pub(super) fn lose_end(&mut self, link: LinkId, seat: Seat) {
        let Some(ends) = self.network.ends(link) else { return };
        if self.network.state(link, seat) == End::Down {
            return;
        }
        self.network.set_state(link, seat, End::Down);
        let [caller, called] = ends;
        if seat == caller {
            let delay_ms = self.network.redial_delay_ms(ends);
            self.queue.push(self.now.plus_ms(delay_ms), Event::Dial(ends));
        }
        self.plan_down(link, if seat == caller { called } else { caller });
    }

    /// Every seat of a node.
    pub(super) fn seats_of(&self, node: NodeId) -> Vec<Seat> {
        self.hosts.keys().copied().filter(|seat| seat.node == node).collect()
    }
}

/// The replica that a disk gives.
///
/// # Errors
/// Why the process must not go on.
pub(super) fn restore(
    config: ReplicaConfig,
    registry: Arc<Registry>,
    disk: &Disk,
) -> Result<Replica, String> {
    let restored = disk.restored().map_err(|error| error.to_string())?;
    let recent = disk.recent(config.node);
    let registries = Arc::new(RegistryHistory::new(registry));
    Replica::restore(config, registries, restored, recent).map_err(|error| error.to_string())
}
