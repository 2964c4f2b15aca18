//! Following the logs of others: offers, stretches, and comparing with what peers hold.

use tidings_envelope::{Evidence, InclusionProof, LogId, SignedCheckpoint};
use tidings_tlog::{FollowError, Step};
use tidings_types::constants::HAVE_LOGS_MAX;
use tidings_types::{BoundedVec, EthereumAddress, LogIndex, LogSize, NodeId, ShardId, mutant};

use crate::claims::Compared;
use crate::effect::{Alarm, Effect, Now};
use crate::followed::{Circumstances, ExaminedFlush, FollowedLog, Refusal, Taken};
use crate::inquiry::{Inquiry, Progress};
use crate::replica::{AfterWrite, Replica};
use crate::store::{EntryRecord, TopicHeads, WriteSet};
use crate::wire::{ControlFrame, FeedRequest, Have};

/// How many proofs are looked up for one peer at once; what it asks beyond that is not answered.
const PROOFS_PER_PEER_MAX: usize = 8;

impl Replica {
    /// Whether a log is one that another process writes or has written: a peer can name any
    /// number, and only what the ordered lane opened exists (REP-005).
    fn exists_elsewhere(&self, log: LogId) -> bool {
        let Some(lane) = self.lanes.get(&log.shard) else { return false };
        let (opened, _) = lane.state().incarnation(log.node);
        let is_mine = self.own.get(&log.shard).is_some_and(|own| own.id() == log);
        !is_mine && log.incarnation <= opened && self.registries.node(log.node).is_some()
    }

    /// The key under which a log is signed, as the lane that opened it has it (ORD-033).
    pub(crate) fn signer_of(&self, log: LogId) -> Option<EthereumAddress> {
        self.lane_state(log.shard)?.signers(&self.registries).of_log(log)
    }

    /// A peer says how much it holds of some logs (REP-005).
    pub(crate) fn offered(&mut self, from: NodeId, logs: &[Have], now: Now) {
        for Have { log, size } in logs {
            if self.exists_elsewhere(*log) && size.0 > 0 {
                let is_parted = self.offences.is_parted(*log);
                let followed = self.followed.entry(*log).or_insert_with(|| FollowedLog::new(*log));
                if is_parted {
                    followed.contradict();
                }
                followed.offer(from, *size, now.monotonic_ms);
                if followed.wants_topics() {
                    self.effects.push_back(Effect::TopicHeads(*log));
                }
            }
        }
    }

    /// The shell's answer to [`Effect::TopicHeads`]: none when storage failed.
    pub fn topic_heads(&mut self, log: LogId, found: Option<TopicHeads>, now: Now) {
        match (self.followed.get_mut(&log), found) {
            (Some(followed), Some(topics)) => followed.know_topics(topics),
            // The next offer asks again.
            (Some(followed), None) => followed.lacks_topics(),
            (None, _) => {}
        }
        self.advance(now);
    }

    /// A stretch of a log came from a peer's feed.
    pub fn flush(&mut self, from: NodeId, examined: ExaminedFlush, now: Now) {
        let log = examined.checkpoint.checkpoint.log;
        let offered = examined.checkpoint;
        let Some(signer) = self.signer_of(log) else { return };
        let circumstances = Circumstances {
            network: self.network,
            signer,
            period: self
                .lanes
                .get(&log.shard)
                .map(|lane| lane.state().period())
                .unwrap_or_default(),
            registry: self.registries.latest(),
            now_ms: now.monotonic_ms,
        };
        let Some(followed) = self.followed.get_mut(&log) else { return };
        let is_later = |record: &EntryRecord| record.header.timestamp > now.timestamp;
        let taken = match mutant!(WallClock) && examined.records.iter().any(is_later) {
            true => Err(Refusal::Withheld),
            false => followed.take(from, examined, circumstances),
        };
        match taken {
            Ok(None) => {}
            Ok(Some(taken)) => {
                self.refused.remove(&(log, from));
                self.awaited.remove(&log);
                self.rate(log.shard, from, true);
                self.taken(log, taken);
            }
            Err(refusal) => {
                followed.reject(from);
                self.refuse_flush(from, offered, refusal, now);
            }
        }
        self.advance(now);
    }

    fn taken(&mut self, log: LogId, taken: Taken) {
        let Taken { flush, invalid, evidence } = taken;
        let size = flush.checkpoint.checkpoint.size;
        if let Some((index, code)) = invalid {
            self.alarm(Alarm::InvalidEntry { log, index, code });
        }
        // With the entry, since it is judged only once.
        let evidence = evidence.and_then(|evidence| self.learn_offence(evidence));
        let evidence = evidence.into_iter().collect();
        let set = WriteSet { flushes: vec![flush], evidence, ..WriteSet::default() };
        self.persist(set, AfterWrite::Followed(log, size));
        if mutant!(AcknowledgeEarly) {
            self.followed.get_mut(&log).map(|followed| followed.is_durable(size));
            self.acknowledge(log);
        }
    }

    fn refuse_flush(
        &mut self,
        from: NodeId,
        offered: SignedCheckpoint,
        refusal: Refusal,
        now: Now,
    ) {
        let log = offered.checkpoint.log;
        let code = refusal.code();
        let is_about_histories = matches!(
            refusal,
            Refusal::Follow(FollowError::Conflict(_) | FollowError::Diverges { .. })
        );
        match refusal {
            // The next offer asks again; until what is missing is there, nobody is at fault
            // (REP-013).
            Refusal::Unjudged(missing) => {
                if self.awaited.insert(log, missing) != Some(missing) {
                    self.alarm(Alarm::Unjudged { log, missing });
                }
                return;
            }
            // What was under way when the log began to wait comes without what is before it.
            Refusal::Gap if self.awaited.contains_key(&log) => return,
            Refusal::Follow(FollowError::Conflict(evidence)) => {
                self.hold_evidence(*evidence);
                self.part(log, from);
            }
            // The peer may have sent other entries than its checkpoint covers, or the originator
            // has signed two histories: proofs tell.
            Refusal::Follow(FollowError::RootMismatch(_) | FollowError::Diverges { .. }) => {
                self.inquire(from, offered, now);
            }
            _ => {}
        }
        // Who passes on what the originator signed twice has served.
        if !is_about_histories {
            self.rate(log.shard, from, false);
        }
        if self.refused.insert((log, from), code) != Some(code) {
            self.alarm(Alarm::FeedRefused { from, log, code });
        }
    }

    /// Notes that a peer served what was asked of it, or did not (SET-007).
    fn rate(&mut self, shard: ShardId, peer: NodeId, is_good: bool) {
        if let Some(speaker) = self.speakers.get_mut(&shard) {
            speaker.service.served(peer, is_good);
        }
    }

    /// Takes nothing more of a log from a peer that holds another history of it.
    fn part(&mut self, log: LogId, peer: NodeId) {
        if let Some(followed) = self.followed.get_mut(&log) {
            followed.estrange(peer);
        }
    }

    /// A peer shows the newest checkpoints that it holds (EVD-008).
    pub(crate) fn shown(&mut self, from: NodeId, checkpoints: &[SignedCheckpoint], now: Now) {
        for checkpoint in checkpoints {
            self.compare(from, *checkpoint, now);
        }
    }

    /// Compares a checkpoint that a peer holds with what is held here.
    pub(crate) fn compare(&mut self, peer: NodeId, claim: SignedCheckpoint, now: Now) {
        let log = claim.checkpoint.log;
        let Some(signer) = self.signer_of(log) else { return };
        let Some(followed) = self.followed.get_mut(&log) else { return };
        let compared = followed.claims.compare(&claim);
        // What changes nothing costs no verification.
        let is_open = match &compared {
            Compared::Agrees => false,
            Compared::Ahead => !followed.claims.is_waiting(peer),
            Compared::Unknown => !self.inquiries.contains_key(&(log, peer)),
            Compared::Contradicts(_) => true,
        };
        if !is_open || followed.is_contradicted() || claim.verify(self.network, signer).is_err() {
            return;
        }
        match compared {
            Compared::Agrees => {}
            Compared::Ahead => followed.claims.wait(peer, claim),
            Compared::Unknown => self.inquire(peer, claim, now),
            Compared::Contradicts(held) => {
                self.hold_evidence(Evidence::Checkpoints(*held, claim));
                self.part(log, peer);
            }
        }
    }

    /// Begins to look for the entry at which a peer's history parts from the one held here.
    fn inquire(&mut self, peer: NodeId, offered: SignedCheckpoint, now: Now) {
        let log = offered.checkpoint.log;
        let Some(followed) = self.followed.get(&log) else { return };
        if followed.is_contradicted() {
            self.part(log, peer);
            return;
        }
        let about = (log, peer);
        let is_settled = self.settled.get(&about) == Some(&offered.checkpoint);
        if is_settled || self.inquiries.contains_key(&about) {
            return;
        }
        let held = followed.held().map(|held| held.checkpoint.size).unwrap_or_default();
        if let Some(inquiry) = Inquiry::new(held, offered, now.monotonic_ms) {
            let index = inquiry.index;
            self.inquiries.insert(about, inquiry);
            self.ask(about, index);
        }
    }

    /// Asks for both proofs of an index.
    fn ask(&mut self, (log, peer): (LogId, NodeId), index: LogIndex) {
        let Some(inquiry) = self.inquiries.get(&(log, peer)) else { return };
        let (held, offered) = (inquiry.held, inquiry.offered.checkpoint.size);
        self.effects.push_back(Effect::Include { to: None, log, index, size: held });
        let frame = ControlFrame::AskEntry { log, index, size: offered };
        self.effects.push_back(Effect::Control(peer, frame));
    }

    /// A peer asks for an entry under a checkpoint (REP-014).
    pub(crate) fn asked_entry(&mut self, from: NodeId, log: LogId, index: LogIndex, size: LogSize) {
        let serving = self.proofs_for.entry(from).or_default();
        if *serving < PROOFS_PER_PEER_MAX {
            *serving += 1;
            self.effects.push_back(Effect::Include { to: Some(from), log, index, size });
        }
    }

    /// The shell's answer to [`Effect::Include`]: none when storage failed or does not have it.
    pub fn included(
        &mut self,
        to: Option<NodeId>,
        log: LogId,
        found: Option<InclusionProof>,
        now: Now,
    ) {
        match (to, found) {
            (Some(peer), found) => self.answer_entry(peer, found),
            (None, Some(proof)) => self.entry_found(log, &proof, now),
            // Storage is failing; time gives the inquiry up.
            (None, None) => {}
        }
        self.advance(now);
    }

    /// Answers a peer that asked for an entry, if it is here (REP-014).
    fn answer_entry(&mut self, peer: NodeId, found: Option<InclusionProof>) {
        if let Some(serving) = self.proofs_for.get_mut(&peer) {
            *serving = serving.saturating_sub(1);
        }
        if let Some(proof) = found {
            self.effects.push_back(Effect::Control(peer, ControlFrame::Entry(proof)));
        }
    }

    /// This node's own proof of an entry is there, for whichever inquiries need it.
    fn entry_found(&mut self, log: LogId, proof: &InclusionProof, now: Now) {
        for about in self.inquiries_about(log) {
            let inquiry = self.inquiries.get_mut(&about);
            let progress = inquiry.and_then(|it| it.mine(proof.clone(), now.monotonic_ms));
            self.progress(about, progress);
        }
    }

    /// A peer proves an entry.
    pub(crate) fn entry_proved(&mut self, from: NodeId, proof: InclusionProof, now: Now) {
        let about = (proof.checkpoint.checkpoint.log, from);
        let inquiry = self.inquiries.get_mut(&about);
        let progress = inquiry.and_then(|inquiry| inquiry.theirs(proof, now.monotonic_ms));
        self.progress(about, progress);
    }

    fn inquiries_about(&self, log: LogId) -> Vec<(LogId, NodeId)> {
        let all = (log, NodeId(0))..=(log, NodeId(u32::MAX));
        self.inquiries.range(all).map(|(about, _)| *about).collect()
    }

    fn progress(&mut self, about: (LogId, NodeId), progress: Option<Progress>) {
        match progress {
            None => {}
            Some(Progress::Ask(index)) => self.ask(about, index),
            Some(Progress::Over) => {
                if let Some(inquiry) = self.inquiries.remove(&about) {
                    self.settled.insert(about, inquiry.offered.checkpoint);
                }
            }
            Some(Progress::Found(evidence)) => {
                self.inquiries.remove(&about);
                self.hold_evidence(*evidence);
                let (log, peer) = about;
                self.part(log, peer);
            }
        }
    }

    /// Lets time pass for inquiries and sources.
    pub(crate) fn tick_following(&mut self, now: Now) {
        let inquiries: Vec<(LogId, NodeId)> = self.inquiries.keys().copied().collect();
        for about in inquiries {
            let inquiry = self.inquiries.get_mut(&about);
            let progress = inquiry.and_then(|inquiry| inquiry.tick(now.monotonic_ms));
            self.progress(about, progress);
        }
        // While this node's own disk is behind, nobody else is to blame for the pace.
        if self.writes.is_empty() {
            let followed = self.followed.iter_mut();
            let stalled: Vec<_> = followed
                .filter_map(|(log, it)| Some((log.shard, it.check_source(now.monotonic_ms)?)))
                .collect();
            for (shard, peer) in stalled {
                self.rate(shard, peer, false);
            }
        }
    }

    pub(crate) fn poll_subscriptions(&mut self) {
        for (log, followed) in &mut self.followed {
            while let Some(step) = followed.poll() {
                self.effects.push_back(match step {
                    Step::Subscribe { peer, from } => {
                        Effect::Subscribe(peer, FeedRequest::Log { log: *log, from })
                    }
                    Step::Unsubscribe { peer } => Effect::Unsubscribe(peer, *log),
                });
            }
        }
    }

    /// Shows peers the newest checkpoints that are durable here, those that grew (EVD-008).
    pub(crate) fn show_grown(&mut self) {
        let mut grown = Vec::new();
        for (log, followed) in &self.followed {
            let Some(held) = followed.held() else { continue };
            let size = held.checkpoint.size;
            if self.shown_sizes.insert(*log, size) != Some(size) {
                grown.push(*held);
            }
        }
        let peers: Vec<NodeId> = self.peers.iter().copied().collect();
        for peer in peers {
            self.show(peer, &grown);
        }
    }

    /// Shows a peer the newest checkpoint of every log.
    pub(crate) fn show_all(&mut self, peer: NodeId) {
        let held: Vec<_> =
            self.followed.values().filter_map(|followed| followed.held().copied()).collect();
        self.show(peer, &held);
    }

    fn show(&mut self, peer: NodeId, checkpoints: &[SignedCheckpoint]) {
        for chunk in checkpoints.chunks(HAVE_LOGS_MAX) {
            if let Ok(checkpoints) = BoundedVec::new(chunk.to_vec()) {
                let frame = ControlFrame::Checkpoints(checkpoints);
                self.effects.push_back(Effect::Control(peer, frame));
            }
        }
    }
}
