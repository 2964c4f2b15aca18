//! What this node says of each period, and the reports that it attests.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tidings_envelope::{
    LogId, Operation, Outcome, PeriodStatement, ReportAttestation, SignedCheckpoint, UsageReport,
};
use tidings_order::period_length_ms;
use tidings_types::constants::STATEMENT_LOGS_MAX;
use tidings_types::{BoundedVec, ErrorCode, LogSize, NodeId, Period, ShardId};
use tls_codec::Size;

use crate::effect::Now;
use crate::followed::FollowedLog;
use crate::replica::Replica;
use crate::service::ServiceRecord;
use crate::store::WriteSet;

/// How long the ordered lane is given before the same thing is said again.
const REPEAT_MS: u64 = 2_000;

/// Attestations that wait at most: so far may a node be behind with its reports. Contracts take
/// them in order, so that one which is never attested by enough would be the last.
const WAITING_MAX: usize = 4_096;

/// What this node has said and still has to say of one shard.
#[derive(Debug, Default)]
pub(crate) struct Speaker {
    period: Period,
    /// When the period began here, in monotonic milliseconds.
    since_ms: u64,
    said_at_ms: Option<u64>,
    /// The statement of this period, until it is on record.
    statement: Option<PeriodStatement>,
    /// The sizes that statements on record have.
    stated: BTreeMap<LogId, LogSize>,
    /// Reports to be attested, oldest first.
    attesting: VecDeque<UsageReport>,
    attested_at_ms: Option<u64>,
    /// Bytes of payloads that became durable here since the last statement was made.
    taken: u64,
    pub(crate) service: ServiceRecord,
}

impl Speaker {
    /// Whether it is time to speak: at half of the period, since nobody can end it much before five
    /// eighths of it have passed (ORD-014).
    fn is_due(&mut self, period: Period, stated: Period, period_ms: u64, now_ms: u64) -> bool {
        if self.period != period {
            let is_first = self.period == Period::default();
            // What was never on record is to be said again.
            let unsaid = self.statement.as_ref().map_or(0, |statement| statement.taken);
            *self = Self {
                taken: self.taken.saturating_add(unsaid),
                period,
                // Nobody knows how long a period has lasted that was met under way.
                since_ms: if is_first { now_ms.saturating_sub(period_ms / 4) } else { now_ms },
                said_at_ms: None,
                statement: None,
                ..std::mem::take(self)
            };
        }
        let lasted_ms = now_ms.saturating_sub(self.since_ms);
        let is_late = lasted_ms >= period_ms / 2;
        let was_said = self.said_at_ms.is_some_and(|at| now_ms.saturating_sub(at) < REPEAT_MS);
        period > Period::default() && stated < period && is_late && !was_said
    }
}

impl Replica {
    /// A report that this node came to is to be attested (SET-024); reports of a shard come in
    /// order.
    pub fn attest(&mut self, report: UsageReport, now: Now) {
        let speaker = self.speakers.entry(report.shard).or_default();
        if speaker.attesting.len() < WAITING_MAX {
            speaker.attesting.push_back(report);
        }
        self.speak(now);
        self.advance(now);
    }

    /// Says what is due in every shard.
    pub(crate) fn speak(&mut self, now: Now) {
        if self.draining {
            return;
        }
        let shards: Vec<ShardId> = self.lanes.keys().copied().collect();
        for shard in shards {
            let committee = self.registry().committee(shard);
            if committee.contains(&self.config.node) {
                self.state_period(shard, &committee, now);
                self.submit_attestation(shard, now);
            }
        }
    }

    fn state_period(&mut self, shard: ShardId, committee: &[NodeId], now: Now) {
        let Some(state) = self.lane_state(shard) else { return };
        let (period, stated) = (state.period(), state.stated(self.config.node));
        let is_behind = self.period() > period;
        let period_ms = period_length_ms(self.registry().period_ms, is_behind);
        let node = self.config.node;
        let members: Vec<NodeId> = committee.iter().copied().filter(|it| *it != node).collect();
        let (registry, peers) = (Arc::clone(self.registries.latest()), &self.peers);
        let is_linked = |peer: NodeId| peers.contains(&peer);
        let speaker = self.speakers.entry(shard).or_default();
        let on_trial = || registry.on_trial(shard);
        speaker.service.tick(&members, on_trial, is_linked, now.monotonic_ms);
        if !speaker.is_due(period, stated, period_ms, now.monotonic_ms) {
            return;
        }
        speaker.said_at_ms = Some(now.monotonic_ms);
        let known = speaker.statement.clone();
        let statement = known.unwrap_or_else(|| self.make_statement(shard, period));
        self.submit_own(shard, Operation::Statement(Box::new(statement)), now);
    }

    /// What this node holds and measured (SET-023), to be said again until it is on record.
    fn make_statement(&mut self, shard: ShardId, period: Period) -> PeriodStatement {
        let held = self.newly_held(shard);
        let speaker = self.speakers.entry(shard).or_default();
        let measured = BoundedVec::new(speaker.service.take()).unwrap_or_default();
        let taken = std::mem::take(&mut speaker.taken);
        let about = (self.config.node, shard, period);
        let statement =
            PeriodStatement::sign(about, held, measured, taken, &self.config.key, self.network);
        speaker.statement.insert(statement).clone()
    }

    /// Counts what became durable of shards that this node speaks of (FEE-010).
    pub(crate) fn count_taken(&mut self, set: &WriteSet) {
        for flush in &set.flushes {
            let bytes = flush.entries.iter().map(|it| u64::from(it.header.payload_length)).sum();
            self.took(flush.log.shard, bytes);
        }
        for decided in &set.decided {
            let block = &decided.certified.block;
            // What was decided before costs nothing, and may come from anybody at any time.
            let repeated = Outcome::Refused { code: ErrorCode::Repeated };
            let paid = block.operations.iter().filter(|it| it.outcome != repeated);
            let envelopes = paid.filter_map(|it| match &it.operation {
                Operation::Envelope(envelope) => Some(envelope.tls_serialized_len() as u64),
                _ => None,
            });
            self.took(block.header.shard, envelopes.sum());
        }
    }

    fn took(&mut self, shard: ShardId, bytes: u64) {
        if self.lanes.contains_key(&shard) {
            let speaker = self.speakers.entry(shard).or_default();
            speaker.taken = speaker.taken.saturating_add(bytes);
        }
    }

    /// The newest durable checkpoints of logs that grew since the last statement on record.
    fn newly_held(&self, shard: ShardId) -> BoundedVec<SignedCheckpoint, STATEMENT_LOGS_MAX> {
        let stated = self.speakers.get(&shard).map(|speaker| &speaker.stated);
        let has_grown = |held: &SignedCheckpoint| {
            let before = stated.and_then(|stated| stated.get(&held.checkpoint.log));
            held.checkpoint.size > before.copied().unwrap_or_default()
        };
        // A statement with one signature that does not hold is worth nothing.
        let is_signed = |held: &SignedCheckpoint| {
            let signer = self.signer_of(held.checkpoint.log);
            signer.is_some_and(|signer| held.verify(self.network, signer).is_ok())
        };
        let followed = self.followed.iter().filter(|(log, _)| log.shard == shard);
        let followed = followed.filter(|(_, followed)| followed.acknowledgeable().is_some());
        let followed = followed.filter_map(|(_, followed)| FollowedLog::held(followed).copied());
        let own = self.own.get(&shard).and_then(|own| own.durable_checkpoint());
        let grown = followed.chain(own).filter(|held| has_grown(held) && is_signed(held));
        BoundedVec::new(in_turn(grown.collect())).unwrap_or_default()
    }

    fn submit_attestation(&mut self, shard: ShardId, now: Now) {
        let node = self.config.node;
        let Some(attested) = self.lane_state(shard).map(|state| state.attested(node)) else {
            return;
        };
        let Some(speaker) = self.speakers.get_mut(&shard) else { return };
        let before = speaker.attesting.len();
        speaker.attesting.retain(|report| report.last > attested);
        let is_next = before != speaker.attesting.len();
        let waited_ms = speaker.attested_at_ms.map(|at| now.monotonic_ms.saturating_sub(at));
        let Some(report) = speaker.attesting.front().copied() else { return };
        if !is_next && waited_ms.is_some_and(|waited_ms| waited_ms < REPEAT_MS) {
            return;
        }
        speaker.attested_at_ms = Some(now.monotonic_ms);
        let attested = ReportAttestation::sign(node, report, &self.config.key, self.network);
        self.submit_own(shard, Operation::Attestation(Box::new(attested)), now);
    }

    fn submit_own(&mut self, shard: ShardId, operation: Operation, now: Now) {
        self.with_lane(shard, now, |lane, context| {
            // A refusal is not final: it is said again.
            let _ = lane.agreement().submit(operation, context);
        });
    }

    /// Notes what of this node's own words is on record now, and compares what others hold with
    /// what is held here: two histories of a log must be evidence before they are pinned.
    pub(crate) fn read_statements(
        &mut self,
        certified: &tidings_envelope::CertifiedBlock,
        now: Now,
    ) {
        let shard = certified.block.header.shard;
        for decided in certified.block.operations.iter() {
            let Operation::Statement(statement) = &decided.operation else { continue };
            if !decided.outcome.is_applied() {
                continue;
            }
            if statement.node == self.config.node {
                let sizes = statement.held.iter().map(|it| (it.checkpoint.log, it.checkpoint.size));
                let speaker = self.speakers.entry(shard).or_default();
                speaker.stated.extend(sizes);
                speaker.statement = None;
            } else {
                self.shown(statement.node, &statement.held, now);
            }
        }
    }
}

/// As many logs as a statement has room for, by rising log: the newest of each node before the
/// second newest of any, so that who starts over and over keeps nobody else's log out.
fn in_turn(mut held: Vec<SignedCheckpoint>) -> Vec<SignedCheckpoint> {
    held.sort_unstable_by_key(|it| (it.checkpoint.log.node, Reverse(it.checkpoint.log)));
    let mut turns: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut in_turn: Vec<(usize, SignedCheckpoint)> = Vec::new();
    for it in held {
        let turn = turns.entry(it.checkpoint.log.node).or_default();
        in_turn.push((*turn, it));
        *turn += 1;
    }
    in_turn.sort_by_key(|(turn, _)| *turn);
    in_turn.truncate(STATEMENT_LOGS_MAX);
    let mut held: Vec<SignedCheckpoint> = in_turn.into_iter().map(|(_, it)| it).collect();
    held.sort_unstable_by_key(|it| it.checkpoint.log);
    held
}

#[cfg(test)]
mod tests {
    use tidings_envelope::Checkpoint;
    use tidings_types::node_key::NodeKey;
    use tidings_types::{Incarnation, NetworkId};

    use super::*;

    #[test]
    fn who_starts_over_and_over_keeps_no_other_log_out() {
        // covers: SET-023
        let key = NodeKey::from_secret(&[1; 32]).unwrap();
        let held = |node: u32, incarnation: u32| -> SignedCheckpoint {
            let incarnation = Incarnation(incarnation);
            let log = LogId { node: NodeId(node), shard: ShardId(0), incarnation };
            Checkpoint::new(log, LogSize(1), [1; 32], Period(1)).sign(&key, NetworkId([9; 32]))
        };
        let flood = u32::try_from(STATEMENT_LOGS_MAX).unwrap() + 50;
        let mut all: Vec<_> = (1..=flood).map(|incarnation| held(1, incarnation)).collect();
        all.extend([held(2, 1), held(3, 7), held(3, 8)]);
        let stated = in_turn(all);
        let logs: Vec<LogId> = stated.iter().map(|it| it.checkpoint.log).collect();
        assert_eq!(logs.len(), STATEMENT_LOGS_MAX);
        assert!(logs.is_sorted_by(|one, next| one < next));
        let expected = [held(1, flood), held(2, 1), held(3, 7), held(3, 8)];
        assert!(expected.iter().all(|it| logs.contains(&it.checkpoint.log)));
        assert!(!logs.contains(&held(1, 1).checkpoint.log), "the oldest waits");
    }
}
