//! The end of a run: everything heals, and then all must be well within a time.

use std::collections::BTreeMap;

use tidings_envelope::{AckLevel, Evidence, LogId};
use tidings_replica::ReplicaConfig;
use tidings_types::{Height, NodeId, ShardId};

use super::host::Status;
use super::process::restore;
use super::{Event, Over, World};
use crate::crowd::Heard;
use crate::disk::Disk;
use crate::ledger::{Check, Invariant, Stored, demand};
use crate::network::Ends;
use crate::setup::{Seat, node_key};

/// How long after the last fault all must be well, in milliseconds.
const PATIENCE_MS: u64 = 90_000;

/// How often it is looked whether all is well, in milliseconds.
const INTERVAL_MS: u64 = 500;

/// How long after the last fault two histories may go unsaid, in milliseconds.
const SILENCE_MS: u64 = 20_000;

/// What every correct node must reach in the end.
#[derive(Debug, Default)]
pub(super) struct Targets {
    heights: BTreeMap<ShardId, Height>,
    sizes: BTreeMap<LogId, u64>,
}

impl World {
    /// A client has a proof; it must agree with what honest nodes hold.
    ///
    /// # Errors
    /// The invariant that it breaks.
    pub(super) fn learn(&mut self, heard: &Heard) -> Check {
        match heard {
            Heard::Blamed { by, code } => {
                demand(!self.ledger.is_correct(*by), Invariant::Accountability, || {
                    format!("node {by} calls an honest author faulty: {code}")
                })
            }
            Heard::Stored { id, log, index, entry, holders, level } => {
                self.coverage.count(match level {
                    AckLevel::Replicated => "envelopes acknowledged",
                    AckLevel::Local => "envelopes acknowledged by one node",
                });
                for holder in holders.iter().filter(|it| self.ledger.is_correct(**it)) {
                    let disk = self.hosts.get(&Seat::of(*holder)).map(|host| &host.disk);
                    let held = disk.and_then(|disk| disk.entry(*log, *index));
                    demand(
                        held.is_some_and(|it| it.hash == *entry),
                        Invariant::NoAcknowledgedLoss,
                        || {
                            format!(
                                "node {holder} has signed for entry {index} of log {log} without it"
                            )
                        },
                    )?;
                }
                // What one node holds may be lost with its disk.
                if *level == AckLevel::Replicated {
                    let stored = Stored { log: *log, index: *index };
                    self.ledger.acknowledged.insert(*id, stored);
                }
                Ok(())
            }
            Heard::Decided { id, shard, block, verdict } => {
                self.coverage.count(match verdict.outcome {
                    tidings_envelope::Outcome::Applied { .. } => "operations applied",
                    tidings_envelope::Outcome::Conflict { .. } => "operations in conflict",
                    tidings_envelope::Outcome::Refused { .. } => "operations refused",
                });
                self.ledger.chain.claim(*id, *shard, *block, *verdict)
            }
        }
    }

    /// Everything that can be put right is: only cheats and broken disks remain.
    pub(super) fn heal(&mut self) {
        self.healed_at = Some(self.now);
        self.trace.note(self.now, "heal", &[], || "everything that can be put right is".to_owned());
        let pairs: Vec<Ends> = self.network.pairs().collect();
        for [one, other] in pairs {
            for (from, to) in [(one, other), (other, one)] {
                while self.network.is_way_blocked(from, to) {
                    self.over(Over::Partition(vec![(from, to)]));
                }
            }
        }
        self.network.extra_delay_us.clear();
        self.network.extra_loss_permille = 0;
        let seats: Vec<Seat> = self.hosts.keys().copied().collect();
        for seat in seats {
            if let Some(host) = self.hosts.get_mut(&seat) {
                (host.failing, host.slow_ms, host.paused_until) = (0, 0, self.now);
                // A backup that was not needed is thrown away.
                host.backup = None;
                if host.truth.is_some() {
                    self.kill(seat, false);
                }
            }
            self.start(seat);
        }
        for author in &mut self.crowd.authors {
            author.cut_short();
        }
        let shards: Vec<ShardId> = self.setup.shards().collect();
        for shard in shards {
            for node in self.setup.registry.committee(shard) {
                if self.ledger.is_correct(node) {
                    let probe = self.crowd.add_probe(shard, node, &self.setup);
                    self.queue.push(self.now.plus_ms(2_000), Event::Author(probe));
                }
            }
        }
        self.queue.push(self.now.plus_ms(INTERVAL_MS), Event::Settle);
    }

    /// Ends the run when all is well, or when it is not and should be.
    pub(super) fn settle(&mut self) {
        if self.scenario.beyond {
            return self.settle_beyond();
        }
        let Some(open) = self.open_issue() else {
            let check = self.check_end();
            self.check(check);
            match self.check_reports() {
                Ok(0) => {}
                Ok(_) => self.coverage.count("runs whose members came to the same usage reports"),
                Err(violation) => self.check(Err(violation)),
            }
            self.is_over = true;
            return;
        };
        let waited_ms = self.healed_at.map_or(0, |at| self.now.since_us(at) / 1_000);
        if waited_ms >= PATIENCE_MS {
            return self.check(Err(open));
        }
        self.queue.push(self.now.plus_ms(INTERVAL_MS), Event::Settle);
    }

    /// With more cheats than are tolerated, two histories must at least not go unsaid.
    fn settle_beyond(&mut self) {
        let waited_ms = self.healed_at.map_or(0, |at| self.now.since_us(at) / 1_000);
        if waited_ms < SILENCE_MS {
            return self.queue.push(self.now.plus_ms(INTERVAL_MS), Event::Settle);
        }
        let forked: Vec<ShardId> = self.ledger.chain.forked.iter().copied().collect();
        for shard in forked {
            self.coverage.count("histories that cheats beyond f have split");
            let is_told = self.ledger.told.contains(&shard) || !self.ledger.offences.is_empty();
            self.check(demand(is_told, Invariant::SafetyFirst, || {
                format!("shard {shard} has two histories, and no honest node says so")
            }));
        }
        self.is_over = true;
    }

    /// What is not yet as it must be in the end.
    fn open_issue(&mut self) -> Option<(Invariant, String)> {
        let correct = |seat: &&Seat| self.ledger.is_correct(seat.node);
        let seats: Vec<Seat> = self.hosts.keys().filter(correct).copied().collect();
        for seat in &seats {
            let ready = self.process(*seat).is_some_and(|process| process.replica.is_ready());
            if !ready {
                return Some((Invariant::NoWedge, format!("node {} is not ready", seat.node)));
            }
        }
        if let Some(author) = self.crowd.authors.iter().find(|author| !author.is_done()) {
            let what = format!(
                "author {} gets no proof from nodes {:?}",
                author.number,
                author.candidates().iter().map(|node| node.0).collect::<Vec<_>>()
            );
            return Some((Invariant::NoWedge, what));
        }
        if self.targets.is_none() {
            self.targets = Some(self.aim(&seats));
        }
        let targets = self.targets.as_ref()?;
        for seat in &seats {
            let disk = &self.hosts.get(seat)?.disk;
            let keeps = |shard: ShardId| self.setup.registry.committee(shard).contains(&seat.node);
            for (shard, height) in targets.heights.iter().filter(|(shard, _)| keeps(**shard)) {
                if disk.height(*shard) < *height {
                    let what = format!("node {} is behind in shard {shard}", seat.node);
                    return Some((Invariant::NoWedge, what));
                }
            }
            for (log, size) in targets.sizes.iter().filter(|(log, _)| keeps(log.shard)) {
                if disk.size(*log).0 < *size {
                    let what = format!("node {} is behind in log {log}", seat.node);
                    return Some((Invariant::NoAcknowledgedLoss, what));
                }
            }
        }
        let evidence = self.unaccused(&seats).or_else(|| self.unrecorded(&seats));
        evidence.or_else(|| self.unheld(&seats)).or_else(|| self.unread())
    }

    /// Two histories of a log that correct nodes hold and have no proof of yet.
    fn unaccused(&self, seats: &[Seat]) -> Option<(Invariant, String)> {
        let disks: Vec<(NodeId, &Disk)> =
            seats.iter().filter_map(|it| Some((it.node, &self.hosts.get(it)?.disk))).collect();
        for (place, (one, disk)) in disks.iter().enumerate() {
            for log in disk.logs().filter(|log| self.ledger.byzantine.contains(&log.node)) {
                for (other, others) in disks.iter().skip(place + 1) {
                    let mut pairs = disk.entries(log).zip(others.entries(log));
                    let is_parted = pairs.any(|(entry, theirs)| entry.hash != theirs.hash);
                    if is_parted && !(knows_parted(disk, log) && knows_parted(others, log)) {
                        let what = format!(
                            "nodes {one} and {other} hold two histories of log {log} unaccused"
                        );
                        return Some((Invariant::Accountability, what));
                    }
                }
            }
        }
        None
    }

    /// Offences that a correct node can prove and the ordered lane does not tell every other.
    fn unrecorded(&self, seats: &[Seat]) -> Option<(Invariant, String)> {
        for seat in seats {
            for evidence in self.hosts.get(seat)?.disk.evidence() {
                let (shard, accused) = (evidence.shard(), evidence.accused());
                let members = self.setup.registry.committee(shard);
                for member in seats.iter().filter(|it| members.contains(&it.node)) {
                    let state = self.process(*member)?.replica.lane_state(shard)?;
                    if state.offence(accused, evidence.offence()).is_none() {
                        let (by, to) = (seat.node, member.node);
                        let what = format!(
                            "node {to} is not told by the lane what node {by} has proof of"
                        );
                        return Some((Invariant::Accountability, what));
                    }
                }
            }
        }
        None
    }

    /// What was acknowledged and a correct node does not hold, whoever the originator is.
    fn unheld(&self, seats: &[Seat]) -> Option<(Invariant, String)> {
        for (id, stored) in &self.ledger.acknowledged {
            let log = stored.log;
            let members = self.setup.registry.committee(log.shard);
            let is_parted = self.ledger.parted.contains(&log);
            for seat in seats.iter().filter(|it| !is_parted && members.contains(&it.node)) {
                let held = self.hosts.get(seat)?.disk.entry(log, stored.index);
                if held.is_none_or(|entry| entry.header.envelope_id != *id) {
                    let what = format!("node {} lacks an acknowledged entry of {log}", seat.node);
                    return Some((Invariant::NoAcknowledgedLoss, what));
                }
            }
        }
        None
    }

    /// What some correct node has by now, every correct node must have.
    fn aim(&self, seats: &[Seat]) -> Targets {
        let mut targets = Targets::default();
        for seat in seats {
            let Some(host) = self.hosts.get(seat) else { continue };
            for shard in self.setup.shards() {
                let height = targets.heights.entry(shard).or_default();
                *height = (*height).max(host.disk.height(shard));
            }
            for log in host.disk.logs() {
                if !self.ledger.byzantine.contains(&log.node) {
                    let size = targets.sizes.entry(log).or_default();
                    *size = (*size).max(host.disk.size(log).0);
                }
            }
        }
        targets
    }

    /// What a reader has not been shown yet.
    fn unread(&self) -> Option<(Invariant, String)> {
        for reader in &self.crowd.readers {
            let topic = self.crowd.conversations.get(reader.conversation)?.topic;
            let broadcast = self.ledger.acknowledged_in(topic);
            let ordered = self.ledger.chain.applied_in(topic);
            let mut missing = broadcast.chain(ordered).filter(|id| !reader.delivered.contains(id));
            if let Some(id) = missing.next() {
                let what = format!("a reader is never shown envelope {id}");
                return Some((Invariant::NoDuplicatesNoGaps, what));
            }
        }
        None
    }

    /// What can only be looked at when nothing is under way any more.
    fn check_end(&self) -> Check {
        self.ledger.chain.check_claims()?;
        self.ledger.check_watch()?;
        let correct = self.setup.nodes().filter(|node| self.ledger.is_correct(*node));
        for node in correct {
            self.check_acknowledged(node)?;
            self.check_bytes(node)?;
            self.check_restart(node)?;
        }
        Ok(())
    }

    fn check_acknowledged(&self, node: NodeId) -> Check {
        let Some(host) = self.hosts.get(&Seat::of(node)) else { return Ok(()) };
        for (id, stored) in &self.ledger.acknowledged {
            let committee = self.setup.registry.committee(stored.log.shard);
            let from_cheat = self.ledger.byzantine.contains(&stored.log.node);
            if from_cheat || !committee.contains(&node) {
                continue;
            }
            let held = host.disk.entry(stored.log, stored.index);
            let holds = held
                .is_some_and(|entry| entry.header.envelope_id == *id && entry.payload.is_some());
            demand(holds, Invariant::NoAcknowledgedLoss, || {
                format!("node {node} lacks an acknowledged envelope of log {}", stored.log)
            })?;
        }
        Ok(())
    }

    /// Payloads are those of their headers, which all nodes have alike.
    fn check_bytes(&self, node: NodeId) -> Check {
        let Some(host) = self.hosts.get(&Seat::of(node)) else { return Ok(()) };
        for log in host.disk.logs().filter(|log| !self.ledger.byzantine.contains(&log.node)) {
            for entry in host.disk.entries(log) {
                let payload = entry.payload.as_deref().unwrap_or_default();
                demand(entry.header.matches(payload), Invariant::Determinism, || {
                    format!(
                        "node {node} holds other bytes in entry {} of log {log}",
                        entry.header.index
                    )
                })?;
            }
        }
        Ok(())
    }

    /// A process that would be started now would stand where the running one does.
    fn check_restart(&self, node: NodeId) -> Check {
        let Some(host) = self.hosts.get(&Seat::of(node)) else { return Ok(()) };
        let Status::Up(process) = &host.status else { return Ok(()) };
        let config =
            ReplicaConfig { node, key: node_key(node), nonce: [9; 32], publish_timeout_ms: 1 };
        let registry = process.replica.registry().clone();
        let Ok(restored) = restore(config, registry, &host.disk) else {
            let what = format!("node {node} could not be started from its disk");
            return Err((Invariant::Restart, what));
        };
        for shard in self.setup.shards() {
            let (now, then) = (process.replica.lane_state(shard), restored.lane_state(shard));
            let is_same_height = now.map(|it| it.height()) == then.map(|it| it.height());
            demand(!is_same_height || now == then, Invariant::Restart, || {
                format!("node {node} would come back with another state of shard {shard}")
            })?;
        }
        Ok(())
    }
}

/// Whether a disk holds a proof that two histories of a log were signed.
fn knows_parted(disk: &Disk, log: LogId) -> bool {
    disk.evidence().any(|evidence| match evidence {
        Evidence::Checkpoints(one, _) => one.checkpoint.log == log,
        Evidence::Entries(one, _) => one.checkpoint.checkpoint.log == log,
        _ => false,
    })
}
