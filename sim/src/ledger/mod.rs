//! The reference model: what everybody sent, what was acknowledged, and what honest disks hold.

mod chain;
mod invariant;
mod watch;

pub use chain::{Chain, Verdict};
pub use invariant::{Check, Invariant, Violation, demand};
pub use watch::Watch;

use std::collections::{BTreeMap, BTreeSet};

use tidings_envelope::{Evidence, LogId, Topic};
use tidings_payer::Missing;
use tidings_replica::Alarm;
use tidings_replica::store::{Flush, WriteSet};
use tidings_types::{
    EntryHash, EnvelopeId, ErrorCode, LogIndex, NodeId, OffenceId, Period, ShardId,
};

use crate::setup::{Seat, Setup};

/// An envelope that somebody with the right to has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Where to.
    pub topic: Topic,
    /// Until which period it may be admitted.
    pub not_after: Period,
    /// Who wrote it and as which of theirs; absent for what nobody waits for.
    pub author: Option<(u32, u64)>,
}

/// Where an acknowledged envelope is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// In which log.
    pub log: LogId,
    /// Where in it.
    pub index: LogIndex,
}

/// Everything that is known about a run from outside.
#[derive(Debug)]
pub struct Ledger {
    setup: Setup,
    /// Nodes that cheat.
    pub byzantine: BTreeSet<NodeId>,
    /// Nodes whose disks have lost or changed something.
    pub damaged: BTreeSet<NodeId>,
    /// The entries of each log whose originator is honest.
    entries: BTreeMap<LogId, Vec<EntryHash>>,
    /// Where each honest originator put each envelope.
    places: BTreeMap<(NodeId, EnvelopeId), Stored>,
    /// The ordered lanes.
    pub chain: Chain,
    sent: BTreeMap<EnvelopeId, Sent>,
    /// What was acknowledged as held by enough replicas.
    pub acknowledged: BTreeMap<EnvelopeId, Stored>,
    /// What honest nodes have proofs of.
    pub offences: BTreeSet<(NodeId, OffenceId)>,
    /// Logs of which honest nodes have proofs of two histories.
    pub parted: BTreeSet<LogId>,
    /// What honest processes must have noticed.
    pub watch: Watch,
    /// The shards of which an honest node has said that there are two histories.
    pub told: BTreeSet<ShardId>,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        Self {
            setup: setup.clone(),
            byzantine: BTreeSet::new(),
            damaged: BTreeSet::new(),
            entries: BTreeMap::new(),
            places: BTreeMap::new(),
            chain: Chain::default(),
            sent: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            offences: BTreeSet::new(),
            parted: BTreeSet::new(),
            watch: Watch::default(),
            told: BTreeSet::new(),
        }
    }

    /// The registry has changed.
    pub fn registry_changed(&mut self, setup: &Setup) {
        self.setup = setup.clone();
    }

    /// What a process that ends now has noticed and not yet said is excused.
    pub fn excuse(&mut self, seat: Seat) {
        let watch = &mut self.watch;
        for seats in watch.seen.values_mut().chain(watch.shown.values_mut()) {
            seats.remove(&seat);
        }
    }

    /// Every contradiction that an honest process has seen whole has yielded evidence.
    ///
    /// # Errors
    /// When one has not.
    pub fn check_watch(&self) -> Check {
        for ((accused, offence), seats) in &self.watch.seen {
            let is_excused = seats.iter().all(|seat| !self.is_correct(seat.node));
            let is_proved = self.offences.contains(&(*accused, *offence));
            demand(is_excused || is_proved, Invariant::Accountability, || {
                let seats: Vec<String> = seats.iter().map(ToString::to_string).collect();
                let seats = seats.join(", ");
                format!("{seats} saw node {accused} contradict itself, and there is no evidence")
            })?;
        }
        for (log, seats) in &self.watch.shown {
            let is_excused = seats.iter().all(|seat| !self.is_correct(seat.node));
            let is_proved = self.parted.contains(log);
            demand(is_excused || is_proved, Invariant::Accountability, || {
                format!("a node was shown two histories of log {log}, and there is no evidence")
            })?;
        }
        Ok(())
    }

    /// Whether a node neither cheats nor has a broken disk.
    #[must_use]
    pub fn is_correct(&self, node: NodeId) -> bool {
        !self.byzantine.contains(&node) && !self.damaged.contains(&node)
    }

    /// Notes what is about to be sent by somebody who may.
    pub fn sends(&mut self, id: EnvelopeId, sent: Sent) {
        self.sent.entry(id).or_insert(sent);
    }

    /// What is known of an envelope.
    #[must_use]
    pub fn sent(&self, id: EnvelopeId) -> Option<&Sent> {
        self.sent.get(&id)
    }

    /// A reader was shown an envelope.
    ///
    /// # Errors
    /// When nobody with the right to sent it.
    pub fn delivered(&self, id: EnvelopeId) -> Check {
        demand(self.sent.contains_key(&id), Invariant::OnlyWriters, || {
            format!("a reader is shown envelope {id}, which no writer sent")
        })
    }

    /// What was acknowledged in a topic, but for logs of which there are two histories: whoever
    /// acknowledged one of them keeps it, and others cannot take it without accepting both
    /// (EVD-009).
    pub fn acknowledged_in(&self, topic: Topic) -> impl Iterator<Item = EnvelopeId> {
        let stored = self.acknowledged.iter();
        let whole = stored.filter(|(_, stored)| !self.parted.contains(&stored.log));
        let ids = whole.map(|(id, _)| *id);
        ids.filter(move |id| self.sent.get(id).is_some_and(|sent| sent.topic == topic))
    }

    /// An honest node has made a write set durable.
    ///
    /// # Errors
    /// The invariant that the set breaks.
    pub fn wrote(&mut self, node: NodeId, set: &WriteSet) -> Check {
        for flush in &set.flushes {
            self.wrote_flush(node, flush)?;
        }
        for decided in &set.decided {
            self.chain.extend(node, decided, &self.setup, &self.sent)?;
        }
        for evidence in &set.evidence {
            self.found(node, evidence)?;
        }
        Ok(())
    }

    fn wrote_flush(&mut self, node: NodeId, flush: &Flush) -> Check {
        let log = flush.log;
        if self.byzantine.contains(&log.node) {
            return Ok(());
        }
        let known = self.entries.entry(log).or_default();
        for entry in &flush.entries {
            let index = entry.header.index;
            let place = usize::try_from(index.0).unwrap_or(usize::MAX);
            match known.get(place) {
                Some(hash) if *hash == entry.hash => continue,
                Some(_) => {
                    let what = format!("node {node} holds another entry {index} of log {log}");
                    return Err((Invariant::Determinism, what));
                }
                None => {}
            }
            demand(place == known.len(), Invariant::NoDuplicatesNoGaps, || {
                format!("node {node} holds entry {index} of log {log} and not the one before")
            })?;
            known.push(entry.hash);
            let (id, period) = (entry.header.envelope_id, entry.header.fee_period);
            let Some(sent) = self.sent.get(&id).filter(|it| it.topic == entry.header.topic) else {
                let what = format!("log {log} has an entry {index} that no writer sent");
                return Err((Invariant::OnlyWriters, what));
            };
            demand(period <= sent.not_after, Invariant::NoReplay, || {
                format!("log {log} has an envelope that had expired when it was admitted")
            })?;
            let stored = Stored { log, index };
            let earlier = self.places.insert((log.node, id), stored);
            let is_repeated = earlier.is_some_and(|earlier| earlier != stored);
            let remembers = !self.damaged.contains(&log.node);
            demand(!(is_repeated && remembers), Invariant::NoDuplicatesNoGaps, || {
                format!("node {} has put one envelope into its logs twice", log.node)
            })?;
        }
        Ok(())
    }

    /// An honest node has found evidence.
    ///
    /// # Errors
    /// When it proves nothing, or accuses a node that does not cheat.
    pub fn found(&mut self, node: NodeId, evidence: &Evidence) -> Check {
        let accused = evidence.accused();
        let signer = self.setup.registry.node(accused).map(|record| record.signing);
        let proves = signer.is_some_and(|it| evidence.verify(self.setup.network, it).is_ok());
        demand(proves, Invariant::Accountability, || {
            format!("node {node} keeps evidence against node {accused} that proves nothing")
        })?;
        demand(self.byzantine.contains(&accused), Invariant::Accountability, || {
            format!("node {node} has evidence against node {accused}, which is honest")
        })?;
        self.offences.insert((accused, evidence.offence()));
        match evidence {
            Evidence::Checkpoints(one, _) => self.parted.insert(one.checkpoint.log),
            Evidence::Entries(one, _) => self.parted.insert(one.checkpoint.checkpoint.log),
            _ => false,
        };
        Ok(())
    }

    /// An honest node has raised an alarm.
    ///
    /// # Errors
    /// When it blames a node that is correct.
    pub fn alarmed(&mut self, node: NodeId, alarm: &Alarm) -> Check {
        match alarm {
            Alarm::Evidence(evidence) => self.found(node, evidence),
            Alarm::InvalidEntry { log, index, code } => {
                // Two histories of blocks settle two factors, and nobody knows which is right.
                let is_split = self.chain.beyond && *code == ErrorCode::FeeInvalid;
                let is_right = is_split || self.byzantine.contains(&log.node);
                demand(is_right, Invariant::Accountability, || {
                    format!("node {node} calls entry {index} of log {log} invalid: {code}")
                })
            }
            Alarm::FeedRefused { from, log, code } => {
                let is_blameless = self.is_correct(*from) && !self.byzantine.contains(&log.node);
                demand(!is_blameless, Invariant::Accountability, || {
                    format!("node {node} refused log {log} from node {from}: {code}")
                })
            }
            Alarm::Forked { shard, height, .. } => {
                self.told.insert(*shard);
                demand(self.chain.beyond, Invariant::SafetyFirst, || {
                    format!("node {node} has two certificates for height {height} of shard {shard}")
                })
            }
            Alarm::Diverged { shard, height } => {
                self.told.insert(*shard);
                demand(self.chain.beyond, Invariant::Determinism, || {
                    format!(
                        "node {node} executes block {height} of shard {shard} to something else"
                    )
                })
            }
            // News of a registry may come later than what was written by it.
            Alarm::Unjudged { log, missing: Missing::Registry(epoch) } => {
                let exists = *epoch <= self.setup.registry.epoch;
                demand(exists, Invariant::NoWedge, || {
                    format!("node {node} wants registry {epoch} for log {log}")
                })
            }
            // A block may come later than what was written after it.
            Alarm::Unjudged { .. } => Ok(()),
            Alarm::Superseded(shard) => demand(false, Invariant::Restart, || {
                format!("node {node} thinks that another process has its key, in shard {shard}")
            }),
        }
    }
}
