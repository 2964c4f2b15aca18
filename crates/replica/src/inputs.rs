//! What happens to a replica: links, feeds, the registry and time.

use std::ops::Bound;
use std::sync::Arc;

use tidings_envelope::{CertifiedBlock, LogId, Registry, RegistryRefused, SignedAcknowledgement};
use tidings_types::constants::{
    FEE_PERIODS_BEFORE_EXPIRY_MAX, HAVE_LOGS_MAX, IDEMPOTENCY_PERIODS_AFTER_EXPIRY,
};
use tidings_types::{BoundedVec, LogSize, NodeId, ShardId, mutant};

use crate::effect::{Alarm, Effect, Now};
use crate::lane::{Lane, LaneEffect, Opening};
use crate::own_log::OwnLog;
use crate::replica::{AfterWrite, Replica};
use crate::store::{RestoredLane, WriteSet};
use crate::wire::{ControlFrame, FeedRequest, Have};

/// How often peers are told what is durable here, at most.
const HAVE_INTERVAL_MS: u64 = 100;

/// How often they are told all of it: a peer may not have known a log when it was told first.
const HAVE_REPEAT_MS: u64 = 1_000;

impl Replica {
    /// A link to a peer is up.
    pub fn peer_up(&mut self, peer: NodeId, now: Now) {
        self.peers.insert(peer);
        self.tell(peer, self.durable_logs().into_iter().collect());
        let shards: Vec<ShardId> = self.lanes.keys().copied().collect();
        for shard in shards {
            if self.lanes.get(&shard).is_some_and(|lane| lane.feed().is_none()) {
                self.follow_blocks_of(peer, shard, now);
            }
            self.with_lane(shard, now, |lane, context| {
                lane.hurry();
                lane.agreement().peer_up(context);
            });
        }
        self.acknowledge_all_of(peer);
        self.show_all(peer);
        self.advance(now);
    }

    /// A link to a peer is gone.
    pub fn peer_down(&mut self, peer: NodeId, now: Now) {
        self.peers.remove(&peer);
        for followed in self.followed.values_mut() {
            followed.subscription.withdraw(peer);
        }
        self.inquiries.retain(|(_, asked), _| *asked != peer);
        let shards: Vec<ShardId> = self.lanes.keys().copied().collect();
        for shard in shards {
            self.change_block_feed(peer, shard, now);
        }
        self.advance(now);
    }

    /// A feed of a peer ended without the link going down.
    pub fn feed_ended(&mut self, peer: NodeId, log: LogId, now: Now) {
        if let Some(followed) = self.followed.get_mut(&log) {
            followed.subscription.withdraw(peer);
        }
        self.advance(now);
    }

    /// A peer ended its feed of blocks; somebody is asked again from where this node stands.
    pub fn block_feed_ended(&mut self, peer: NodeId, shard: ShardId, now: Now) {
        self.change_block_feed(peer, shard, now);
        self.advance(now);
    }

    /// Takes another peer's feed of blocks in the place of `peer`'s, if that one was open.
    fn change_block_feed(&mut self, peer: NodeId, shard: ShardId, now: Now) {
        let was_open = self.lanes.get_mut(&shard).is_some_and(|lane| lane.feed_ended(peer));
        // The next one by number, so that a peer that ends every feed is not asked for ever.
        let later = self.peers.range((Bound::Excluded(peer), Bound::Unbounded)).next();
        let next = later.or_else(|| self.peers.first()).copied();
        if let Some(next) = next.filter(|_| was_open) {
            self.follow_blocks_of(next, shard, now);
        }
    }

    /// Opens a peer's feed of final blocks; one is enough, since members decide for themselves.
    fn follow_blocks_of(&mut self, peer: NodeId, shard: ShardId, now: Now) {
        let Some(lane) = self.lanes.get_mut(&shard) else {
            return;
        };
        let before = lane.feed();
        if !self.peers.contains(&peer) || !lane.switch_feed(peer, now.monotonic_ms) {
            return;
        }
        let from = lane.state().height().plus(1);
        if let Some(before) = before {
            self.effects.push_back(Effect::UnsubscribeBlocks(before, shard));
        }
        self.effects.push_back(Effect::Subscribe(peer, FeedRequest::Blocks { shard, from }));
    }

    /// A control frame came from a peer.
    pub fn control(&mut self, from: NodeId, frame: ControlFrame, now: Now) {
        for speaker in self.speakers.values_mut() {
            speaker.service.spoke(from);
        }
        match frame {
            ControlFrame::Hello { .. } => {}
            ControlFrame::Have(logs) => self.offered(from, &logs, now),
            ControlFrame::Checkpoints(checkpoints) => self.shown(from, &checkpoints, now),
            ControlFrame::AskEntry { log, index, size } => {
                self.asked_entry(from, log, index, size);
            }
            ControlFrame::Entry(proof) => self.entry_proved(from, proof, now),
            ControlFrame::Acknowledge { log, size, acknowledgement, .. } => {
                if acknowledgement.replica == from {
                    self.acknowledged(log, size, acknowledgement, now);
                }
            }
            ControlFrame::Lane { shard, message } => {
                self.with_lane(shard, now, |lane, context| {
                    lane.agreement().receive(from, message, context);
                });
            }
        }
        self.advance(now);
    }

    fn acknowledged(
        &mut self,
        log: LogId,
        size: LogSize,
        acknowledgement: SignedAcknowledgement,
        now: Now,
    ) {
        let Some(own) = self.own.get_mut(&log.shard).filter(|own| own.id() == log) else {
            return;
        };
        if let Some(speaker) = self.speakers.get_mut(&log.shard) {
            speaker.service.acknowledged(acknowledgement.replica, size, now.monotonic_ms);
        }
        let served = own.acknowledge(size, acknowledgement);
        self.settle_served(served);
    }

    /// A final block came from a peer's feed.
    pub fn block(&mut self, certified: CertifiedBlock, now: Now) {
        let shard = certified.block.header.shard;
        self.with_lane(shard, now, |lane, context| lane.agreement().learn(certified, context));
        self.advance(now);
    }

    pub(crate) fn alarm(&mut self, alarm: Alarm) {
        self.effects.push_back(Effect::Alarm(alarm));
    }

    /// A snapshot of the registry is known, of whatever epoch; it is kept for ever (TOP-009).
    ///
    /// # Errors
    /// [`RegistryRefused`] when it is invalid, of another network, or contradicts a known one;
    /// nothing changes then.
    pub fn registry_changed(
        &mut self,
        registry: Arc<Registry>,
        now: Now,
    ) -> Result<(), RegistryRefused> {
        if Arc::make_mut(&mut self.registries).insert(Arc::clone(&registry))? {
            let latest = Arc::clone(self.registries.latest());
            let logs: Vec<ShardId> = self.own.keys().copied().collect();
            for shard in logs {
                let served = self.own.get_mut(&shard).map(|own| own.reconfigure(&latest));
                self.settle_served(served.unwrap_or_default());
            }
            let registries = vec![registry];
            let set = WriteSet { registries, ..WriteSet::default() };
            self.persist(set, AfterWrite::Nothing);
            self.take_seats(&latest, now);
            self.advance(now);
        }
        Ok(())
    }

    /// Begins to follow the shards that this node is in the committee of for the first time; what
    /// the others have it gets from them.
    fn take_seats(&mut self, latest: &Registry, now: Now) {
        for shard in latest.shards_of(self.config.node) {
            if self.lanes.contains_key(&shard) {
                continue;
            }
            // What is empty is never damaged.
            let lane = Lane::restore(shard, RestoredLane::default(), self.config.nonce);
            let Ok(lane) = lane else { continue };
            self.lanes.insert(shard, lane);
            if let Some(peer) = self.peers.first().copied() {
                self.follow_blocks_of(peer, shard, now);
            }
        }
    }

    /// No new envelopes are taken; those admitted are finished.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Now) {
        let shards: Vec<ShardId> = self.lanes.keys().copied().collect();
        for shard in shards {
            self.with_lane(shard, now, |lane, context| lane.agreement().tick(context));
            self.open_log(shard, now);
        }
        for (request, response) in self.requests.expire(now.monotonic_ms, None) {
            self.effects.push_back(Effect::Reply(request, response));
        }
        self.submit_evidence(now);
        self.speak(now);
        self.tick_following(now);
        self.forget_old();
        self.advance(now);
    }

    fn open_log(&mut self, shard: ShardId, now: Now) {
        if self.draining || self.superseded.contains(&shard) {
            return;
        }
        let opening = self.with_lane(shard, now, |lane, context| lane.open_incarnation(context));
        match opening {
            Some(Opening::Open(incarnation)) if !self.own.contains_key(&shard) => {
                let log = LogId { node: self.config.node, shard, incarnation };
                // Nobody else writes it, whatever a peer may have offered.
                self.followed.remove(&log);
                self.own.insert(shard, OwnLog::new(log, self.network, self.registries.latest()));
            }
            Some(Opening::Superseded) => {
                self.superseded.insert(shard);
                self.alarm(Alarm::Superseded(shard));
            }
            _ => {}
        }
    }

    /// Ids are kept until nobody can present the envelope again (ENV-010).
    fn forget_old(&mut self) {
        let kept = FEE_PERIODS_BEFORE_EXPIRY_MAX + IDEMPOTENCY_PERIODS_AFTER_EXPIRY;
        let period = self.period();
        // A shard may still be in an earlier period than another.
        self.allowance.forget(period.minus(FEE_PERIODS_BEFORE_EXPIRY_MAX));
        while self.recent_order.front().is_some_and(|(admitted, _)| admitted.plus(kept) < period) {
            if let Some((_, id)) = self.recent_order.pop_front() {
                self.recent.remove(&id);
            }
        }
        let requests = &self.requests;
        for lane in self.lanes.values_mut() {
            lane.retain_waiters(|waiter| requests.level(waiter.request).is_some());
        }
    }

    /// Does whatever the last input made possible.
    pub(crate) fn advance(&mut self, now: Now) {
        self.poll_lanes(now);
        self.flush_own(now);
        self.poll_subscriptions();
        self.tell_all(now);
    }

    fn poll_lanes(&mut self, now: Now) {
        let shards: Vec<ShardId> = self.lanes.keys().copied().collect();
        for shard in shards {
            while let Some(effect) = self.lanes.get_mut(&shard).and_then(|lane| lane.poll()) {
                self.perform_for_lane(shard, effect, now);
            }
        }
    }

    fn perform_for_lane(&mut self, shard: ShardId, effect: LaneEffect, now: Now) {
        match effect {
            LaneEffect::Send(to, frame) => self.effects.push_back(Effect::Control(to, frame)),
            LaneEffect::Log(log) => {
                let after = AfterWrite::Logged(shard, log.sequence);
                let set = WriteSet { lane_logs: vec![(shard, log)], ..WriteSet::default() };
                self.persist(set, after);
            }
            LaneEffect::Decided(decided) => {
                let places = decided.places.clone();
                let evidence = self.read_evidence(&decided.certified);
                self.read_statements(&decided.certified, now);
                let set = WriteSet { decided: vec![*decided], evidence, ..WriteSet::default() };
                self.persist(set, AfterWrite::Decided(shard, places));
            }
            LaneEffect::Evidence(evidence) => self.hold_evidence(*evidence),
            LaneEffect::Forked { known, other } => {
                let height = other.block.header.height;
                let set = WriteSet { forks: vec![*other], ..WriteSet::default() };
                self.persist(set, AfterWrite::Nothing);
                self.alarm(Alarm::Forked { shard, height, known });
            }
            LaneEffect::Diverged(height) => self.alarm(Alarm::Diverged { shard, height }),
            LaneEffect::Behind(peer) => self.follow_blocks_of(peer, shard, now),
        }
    }

    fn flush_own(&mut self, now: Now) {
        if self.storage_failing {
            return;
        }
        let shards: Vec<ShardId> = self.own.keys().copied().collect();
        for shard in shards {
            let mut own = self.own.remove(&shard);
            let flush = own.as_mut().and_then(|own| own.flush(now, self.signing()));
            self.own.extend(own.map(|own| (shard, own)));
            if let Some(flush) = flush {
                let size = flush.checkpoint.checkpoint.size;
                let set = WriteSet { flushes: vec![flush], ..WriteSet::default() };
                self.persist(set, AfterWrite::OwnFlush(shard, size));
                if mutant!(AnswerEarly) {
                    let served = self.own.get_mut(&shard).map(OwnLog::serve);
                    self.settle_served(served.unwrap_or_default());
                }
            }
        }
    }

    /// Tells every peer what grew since it was last told (REP-005).
    fn tell_all(&mut self, now: Now) {
        if now.monotonic_ms.saturating_sub(self.told_at_ms) < HAVE_INTERVAL_MS {
            return;
        }
        let mut grown = self.durable_logs();
        grown.retain(|_, size| size.0 > 0);
        let repeats = now.monotonic_ms.saturating_sub(self.told_all_at_ms) >= HAVE_REPEAT_MS;
        if repeats {
            self.told_all_at_ms = now.monotonic_ms;
            self.show_grown();
        } else {
            grown.retain(|log, size| self.told.get(log) != Some(size));
        }
        // Whoever holds nothing yet says so now and then, or it would pass for dead (SET-007).
        if grown.is_empty() && !repeats {
            return;
        }
        self.told_at_ms = now.monotonic_ms;
        self.told.extend(grown.iter().map(|(log, size)| (*log, *size)));
        let peers: Vec<NodeId> = self.peers.iter().copied().collect();
        for peer in peers {
            self.tell(peer, grown.clone().into_iter().collect());
        }
    }

    fn tell(&mut self, peer: NodeId, logs: Vec<(LogId, LogSize)>) {
        // Nothing is one frame, too.
        let nothing = logs.is_empty().then_some(&[][..]);
        for chunk in logs.chunks(HAVE_LOGS_MAX).chain(nothing) {
            let have = chunk.iter().map(|(log, size)| Have { log: *log, size: *size }).collect();
            if let Ok(have) = BoundedVec::new(have) {
                self.effects.push_back(Effect::Control(peer, ControlFrame::Have(have)));
            }
        }
    }
}
