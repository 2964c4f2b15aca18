//! Links and feeds: connections that come and go, and what goes over them.

use std::sync::Arc;

use tidings_order::OrderMessage;
use tidings_replica::examine_flush;
use tidings_replica::wire::{ControlFrame, FeedFlush, FeedFrame, FeedRequest};
use tidings_types::constants::{FEED_ENTRIES_MAX, FLUSH_BYTES_MAX};
use tidings_types::{BoundedVec, Height, LogIndex, NodeId, Wire};

use super::host::{Followed, Served, Subject};
use super::{Event, World};
use crate::cheat::fabricated;
use crate::message::{CONTROL, Message};
use crate::network::{End, Ends, Held, IDLE_TIMEOUT_MS, LinkId, ends_of};
use crate::randomness::Draw;
use crate::setup::Seat;

/// How long a handshake may take before the caller gives up.
const HANDSHAKE_TIMEOUT_MS: u64 = 2_000;

/// How long a stretch of entries is examined, in microseconds for each entry.
const EXAMINE_US: u64 = 60;

impl World {
    /// Calls, if two processes can be connected and are not; calls again later if they cannot.
    pub(super) fn dial(&mut self, ends: Ends) {
        let link = self.network.link_of(ends);
        let is_linked = link.is_some_and(|link| self.network.state(link, ends[0]) != End::Down);
        if is_linked || !self.network.pairs().any(|pair| pair == ends) {
            return;
        }
        let generations = ends.map(|seat| {
            let host = self.hosts.get(&seat).filter(|host| host.paused_until <= self.now);
            host.and_then(|host| host.process()).map(|process| process.generation)
        });
        let reachable = !self.network.is_blocked(ends);
        if let ([Some(one), Some(other)], true) = (generations, reachable) {
            let (link, opens_at) = self.network.open(ends, [one, other], self.now);
            self.coverage.count("links");
            for (seat, at) in ends.into_iter().zip(opens_at) {
                self.queue.push(at, Event::Up(link, seat));
            }
            return;
        }
        let patience_ms = if generations[0].is_some() { HANDSHAKE_TIMEOUT_MS } else { 0 };
        let delay_ms = self.network.redial_delay_ms(ends);
        self.queue.push(self.now.plus_ms(patience_ms + delay_ms), Event::Dial(ends));
    }

    /// An end learns that its link is up, unless its process is not the one that was called.
    pub(super) fn link_up(&mut self, link: LinkId, seat: Seat) {
        if self.network.state(link, seat) != End::Opening {
            return;
        }
        let generation = self.network.generation(link, seat);
        let peer = self.network.ends(link).and_then(|ends| ends.into_iter().find(|it| *it != seat));
        let running = self.process(seat).map(|process| process.generation);
        let (Some(peer), Some(generation)) = (peer, running.filter(|it| Some(*it) == generation))
        else {
            return self.lose_end(link, seat);
        };
        // A new link replaces the old one, and the old one's end is told first.
        if let Some(old) = self.process(seat).and_then(|it| it.links.get(&peer.node).copied()) {
            self.link_down(old, seat);
        }
        self.network.set_state(link, seat, End::Up);
        self.trace.note(self.now, "up", &peer.node.to_wire(), || format!("{seat} to {peer}"));
        if let Some(process) = self.hosts.get_mut(&seat).and_then(|host| host.process_mut()) {
            process.links.insert(peer.node, link);
        }
        self.stir(seat);
        self.input(seat, generation, |replica, now| replica.peer_up(peer.node, now));
    }

    /// An end learns that its link is gone.
    pub(super) fn link_down(&mut self, link: LinkId, seat: Seat) {
        let state = self.network.state(link, seat);
        let ends = self.network.ends(link);
        let Some(ends) = ends.filter(|_| state != End::Down) else { return };
        let peer = if ends[0] == seat { ends[1] } else { ends[0] };
        self.lose_end(link, seat);
        let Some(process) = self.hosts.get_mut(&seat).and_then(|host| host.process_mut()) else {
            return;
        };
        process.followed.retain(|_, followed| followed.link != link);
        process.served.retain(|_, served| served.link != link);
        if state != End::Up || process.links.get(&peer.node) != Some(&link) {
            return;
        }
        process.links.remove(&peer.node);
        let generation = process.generation;
        self.trace.note(self.now, "down", &peer.node.to_wire(), || format!("{seat} to {peer}"));
        self.coverage.count("links lost");
        self.stir(seat);
        self.input(seat, generation, |replica, now| replica.peer_down(peer.node, now));
    }

    /// An end will find out that the other one is gone: at once, or by silence.
    pub(super) fn plan_down(&mut self, link: LinkId, seat: Seat) {
        if self.network.state(link, seat) == End::Down {
            return;
        }
        let silence_us = self.rng.below(IDLE_TIMEOUT_MS * 1_000);
        let delay_us = if self.rng.chance(500) { 1_000 } else { silence_us };
        self.queue.push(self.now.plus_us(delay_us), Event::Down(link, seat));
    }

    /// A way may have been silent for as long as a peer waits.
    pub(super) fn silence(&mut self, link: LinkId, from: Seat, to: Seat) {
        if self.network.is_silent(from, to, self.now) {
            self.link_down(link, to);
        }
    }

    /// Breaks a connection at both ends.
    pub(super) fn reset(&mut self, ends: Ends) {
        if let Some(link) = self.network.link_of(ends) {
            for end in ends {
                self.queue.push(self.now, Event::Down(link, end));
            }
        }
    }

    /// Sends on the control stream, if there is a link.
    pub(super) fn tell(&mut self, seat: Seat, to: NodeId, message: Message) {
        self.send(seat, to, CONTROL, message);
    }

    /// Sends on a stream of the link to a node; without a link the message is gone.
    fn send(&mut self, seat: Seat, to: NodeId, stream: u64, message: Message) {
        let Some(host) = self.hosts.get_mut(&seat) else { return };
        let peers: Vec<NodeId> = match host.process() {
            Some(process) => process.links.keys().copied().collect(),
            None => return,
        };
        let message = match &host.habits.forgery {
            Some(forgery) => forgery.restated(seat.node, message),
            None => message,
        };
        let mut outgoing = host.habits.outgoing(to, message, &peers, &mut self.cheat_rng);
        for it in outgoing.drain(..) {
            let link = self.process(seat).and_then(|process| process.links.get(&it.to).copied());
            let Some(link) = link else { continue };
            let held = Held { stream, message: it.message };
            self.dispatch(link, seat, held, it.late_us);
        }
    }

    pub(super) fn dispatch(&mut self, link: LinkId, from: Seat, held: Held<Message>, late_us: u64) {
        if let Some((at, to, held)) = self.network.send(link, from, held, self.now, late_us) {
            self.queue.push(at, Event::Arrive { link, from, to, held });
        }
    }

    /// A message is there.
    pub(super) fn arrive(&mut self, link: LinkId, from: Seat, to: Seat, held: Held<Message>) {
        let stream = held.stream;
        let Some(message) = self.network.arrive(link, to, held) else { return };
        let known = self.process(to).and_then(|process| process.links.get(&from.node).copied());
        if known != Some(link) {
            return;
        }
        let line = || format!("{from} to {to}: {}", message.line());
        self.trace.note(self.now, message.kind(), &message.bytes(), line);
        if !matches!(message, Message::Control(ControlFrame::Have(_))) {
            self.stir(to);
        }
        self.watch(to, &message);
        self.watch_checkpoints(to, &message);
        if let Some(host) = self.hosts.get_mut(&to) {
            host.habits.incoming(&message);
        }
        match message {
            Message::Control(frame) => self.control(from, to, frame),
            Message::Open(request) => self.opened(link, from, to, stream, request),
            Message::Feed(frame) => self.fed(link, from, to, stream, &frame),
            Message::End => self.ended(from, to, stream),
            Message::Cancel => {
                if let Some(host) = self.hosts.get_mut(&to)
                    && let Some(process) = host.process_mut()
                {
                    process.served.remove(&stream);
                }
            }
            Message::Malformed => self.reset(ends_of(from, to)),
        }
    }

    /// Notes what a cheat says to an honest process about an ordered lane.
    fn watch(&mut self, to: Seat, message: &Message) {
        let Message::Control(ControlFrame::Lane { shard, message }) = message else { return };
        if self.ledger.byzantine.contains(&to.node) {
            return;
        }
        if let OrderMessage::Vote(signed) = message
            && signed.node != to.node
        {
            self.ledger.watch.knows(to.node, signed);
        }
        let Some(process) = self.process(to) else { return };
        let Some(state) = process.replica.lane_state(*shard) else { return };
        let (height, generation) = (state.height(), process.generation);
        let cheats = self.ledger.byzantine.clone();
        let is_cheat = |node| cheats.contains(&node);
        self.ledger.watch.hears(to, generation, message, height, is_cheat, &self.setup);
    }

    /// Notes that an honest process is shown another history of a cheat's log than it holds.
    fn watch_checkpoints(&mut self, to: Seat, message: &Message) {
        let Message::Control(ControlFrame::Checkpoints(shown)) = message else { return };
        let Some(host) = self.hosts.get(&to) else { return };
        for signed in shown.iter() {
            let (log, checkpoint) = (signed.checkpoint.log, &signed.checkpoint);
            let held = host.disk.checkpoint(log).map(|held| held.checkpoint);
            let contradicts = held
                .is_some_and(|held| held.size == checkpoint.size && held.root != checkpoint.root);
            let signer = self.setup.registry.node(log.node).map(|record| record.signing);
            let is_genuine = contradicts
                && signer.is_some_and(|it| signed.verify(self.setup.network, it).is_ok());
            if is_genuine && self.ledger.byzantine.contains(&log.node) {
                self.ledger.watch.shown.entry(log).or_default().insert(to);
            }
        }
    }

    fn control(&mut self, from: Seat, to: Seat, frame: ControlFrame) {
        // A frame is what its bytes are.
        let decoded = ControlFrame::from_wire(&frame.to_wire());
        let generation = self.process(to).map(|process| process.generation);
        let (Ok(frame), Some(generation)) = (decoded, generation) else { return };
        self.input(to, generation, |replica, now| replica.control(from.node, frame, now));
    }

    /// Asks a peer for a feed; it replaces the one of the same subject there.
    pub(super) fn subscribe(&mut self, seat: Seat, at: NodeId, request: FeedRequest) {
        let subject = Subject::from(request);
        self.unsubscribe(seat, at, subject);
        let stream = self.next_stream;
        self.next_stream += 1;
        let Some(process) = self.hosts.get_mut(&seat).and_then(|host| host.process_mut()) else {
            return;
        };
        let Some(link) = process.links.get(&at).copied() else { return };
        process.followed.insert(stream, Followed { peer: at, link, request });
        self.send(seat, at, stream, Message::Open(request));
    }

    pub(super) fn unsubscribe(&mut self, seat: Seat, at: NodeId, subject: Subject) {
        let Some(process) = self.hosts.get_mut(&seat).and_then(|host| host.process_mut()) else {
            return;
        };
        if let Some(stream) = process.stream_of(at, subject) {
            process.followed.remove(&stream);
            self.send(seat, at, stream, Message::Cancel);
        }
    }

    /// A peer asks for a feed.
    fn opened(&mut self, link: LinkId, from: Seat, to: Seat, stream: u64, request: FeedRequest) {
        let next = match request {
            FeedRequest::Log { from, .. } => from.0,
            FeedRequest::Blocks { from, .. } => from.0,
        };
        let subject = Subject::from(request);
        if let Some(process) = self.hosts.get_mut(&to).and_then(|host| host.process_mut()) {
            process.served.insert(stream, Served { peer: from.node, link, subject, next });
            self.pump_one(to, stream);
        }
    }

    /// Sends what has become durable to everybody who follows a subject.
    pub(super) fn pump(&mut self, seat: Seat, subject: Subject) {
        let Some(process) = self.process(seat) else { return };
        let served = process.served.iter().filter(|(_, served)| served.subject == subject);
        let streams: Vec<u64> = served.map(|(stream, _)| *stream).collect();
        for stream in streams {
            self.pump_one(seat, stream);
        }
    }

    fn pump_one(&mut self, seat: Seat, stream: u64) {
        loop {
            let Some(host) = self.hosts.get_mut(&seat) else { return };
            let served = host.process().and_then(|process| process.served.get(&stream).copied());
            let Some(served) = served else { return };
            let forged = host.habits.forgery.as_ref().map(|forgery| &forgery.shown);
            let disk = match served.subject {
                Subject::Log(log) if log.node == seat.node => forged.unwrap_or(&host.disk),
                _ => &host.disk,
            };
            let Some((frame, next)) = next_frame(disk, served) else {
                return self.fabricate(seat, stream, served);
            };
            if let Some(process) = host.process_mut()
                && let Some(served) = process.served.get_mut(&stream)
            {
                served.next = next;
            }
            self.send(seat, served.peer, stream, Message::Feed(Arc::new(frame)));
        }
    }

    /// A cheat may go on with a block of its own making.
    fn fabricate(&mut self, seat: Seat, stream: u64, served: Served) {
        let Some(host) = self.hosts.get(&seat).filter(|host| host.habits.fabricate()) else {
            return;
        };
        let Subject::Blocks(shard) = served.subject else { return };
        let last = host.disk.block(shard, Height(served.next).minus(1));
        let Some(last) = last.map(|block| block.block.header) else { return };
        let certified = fabricated(seat.node, &last, &self.setup);
        let frame = Arc::new(FeedFrame::Block(certified));
        self.send(seat, served.peer, stream, Message::Feed(frame));
    }

    /// A frame of a feed is there; entries are examined before the process has them.
    fn fed(&mut self, link: LinkId, from: Seat, to: Seat, stream: u64, frame: &FeedFrame) {
        let Some(host) = self.hosts.get_mut(&to) else { return };
        let Some(process) = host.process_mut() else { return };
        let followed = process.followed.get(&stream).filter(|it| it.link == link);
        let Some(Followed { request, .. }) = followed.copied() else { return };
        let generation = process.generation;
        match (request, frame) {
            (FeedRequest::Log { log, .. }, FeedFrame::Flush(flush))
                if flush.checkpoint.checkpoint.log == log =>
            {
                let registries = process.replica.registries().clone();
                let network = self.setup.network;
                let congestion = process.replica.congestion();
                let (flush_in, rng) = (flush.clone(), &mut process.rng);
                let examined = examine_flush(flush_in, network, &registries, &congestion, rng);
                let duration_us = EXAMINE_US * (1 + flush.entries.len() as u64);
                let at = process.examined_at.max(self.now).plus_us(duration_us);
                process.examined_at = at;
                let flush = examined;
                let from = from.node;
                self.queue.push(at, Event::Examined { seat: to, generation, from, flush });
            }
            (FeedRequest::Blocks { shard, .. }, FeedFrame::Block(certified))
                if certified.block.header.shard == shard =>
            {
                let certified = certified.clone();
                self.input(to, generation, |replica, now| replica.block(certified, now));
            }
            // A frame that was not asked for is a fault of the peer.
            _ => self.reset(ends_of(from, to)),
        }
    }

    /// A peer has ended a feed.
    fn ended(&mut self, from: Seat, to: Seat, stream: u64) {
        let Some(process) = self.hosts.get_mut(&to).and_then(|host| host.process_mut()) else {
            return;
        };
        let Some(followed) = process.followed.remove(&stream) else { return };
        let (peer, generation) = (from.node, process.generation);
        self.input(to, generation, |replica, now| match followed.request {
            FeedRequest::Log { log, .. } => replica.feed_ended(peer, log, now),
            FeedRequest::Blocks { shard, .. } => replica.block_feed_ended(peer, shard, now),
        });
    }

    /// Ends the feeds that a process serves, as when it cannot read its storage.
    pub(super) fn end_feeds(&mut self, seat: Seat) {
        let Some(process) = self.hosts.get_mut(&seat).and_then(|host| host.process_mut()) else {
            return;
        };
        for (stream, served) in std::mem::take(&mut process.served) {
            self.send(seat, served.peer, stream, Message::End);
        }
    }
}

/// What a feed sends next, and where it goes on after that.
fn next_frame(disk: &crate::disk::Disk, served: Served) -> Option<(FeedFrame, u64)> {
    match served.subject {
        Subject::Log(log) => {
            let from = LogIndex(served.next);
            let flush = disk.stretch(log, from, FEED_ENTRIES_MAX, FLUSH_BYTES_MAX)?;
            let entries = flush.entries.iter().map(|entry| entry.to_entry()).collect();
            let entries = BoundedVec::new(entries).ok()?;
            let next = flush.checkpoint.checkpoint.size.0;
            let frame = FeedFlush { entries, checkpoint: flush.checkpoint };
            Some((FeedFrame::Flush(frame), next))
        }
        Subject::Blocks(shard) => {
            let certified = disk.block(shard, Height(served.next))?;
            Some((FeedFrame::Block((**certified).clone()), served.next + 1))
        }
    }
}
