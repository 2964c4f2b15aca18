//! What this node says of each period, and the reports that it attests.

use std::collections::{BTreeMap, VecDeque};

use tidings_envelope::{
    LogId, Operation, Outcome, PeriodStatement, ReportAttestation, SignedCheckpoint, UsageReport,
};
use tidings_types::constants::STATEMENT_LOGS_MAX;
use tidings_types::{BoundedVec, LogSize, NodeId, Period, ShardId};

use crate::effect::Now;
use crate::followed::FollowedLog;
use crate::replica::Replica;
use crate::service::ServiceRecord;

/// How long the ordered lane is given before the same thing is said again.
const REPEAT_MS: u64 = 2_000;

/// Attestations that wait at most: so far may a node be behind with its reports.
const WAITING_MAX: usize = 64;

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
    pub(crate) service: ServiceRecord,
}

impl Speaker {
    /// Whether it is time to speak: late in the period, so that much of it is covered, and early
    /// enough to be on record before it ends.
    fn is_due(&mut self, period: Period, stated: Period, period_ms: u64, now_ms: u64) -> bool {
        if self.period != period {
            let is_first = self.period == Period::default();
            *self = Self {
                period,
                // Nobody knows how long a period has lasted that was met under way.
                since_ms: if is_first { now_ms.saturating_sub(period_ms / 4) } else { now_ms },
                said_at_ms: None,
                statement: None,
                ..std::mem::take(self)
            };
        }
        let lasted_ms = now_ms.saturating_sub(self.since_ms);
        let is_late = lasted_ms >= period_ms / 4 * 3;
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
            if self.registry().committee(shard).contains(&self.config.node) {
                self.state_period(shard, now);
                self.submit_attestation(shard, now);
            }
        }
    }

    fn state_period(&mut self, shard: ShardId, now: Now) {
        let Some(state) = self.lane_state(shard) else { return };
        let (period, stated) = (state.period(), state.stated(self.config.node));
        let (period_ms, node) = (self.registry().period_ms, self.config.node);
        let mut members = self.registry().committee(shard);
        members.retain(|member| *member != node);
        let peers = &self.peers;
        let speaker = self.speakers.entry(shard).or_default();
        speaker.service.tick(&members, |peer| peers.contains(&peer), now.monotonic_ms);
        if !speaker.is_due(period, stated, period_ms, now.monotonic_ms) {
            return;
        }
        speaker.said_at_ms = Some(now.monotonic_ms);
        let statement = match self.speakers.get(&shard).and_then(|it| it.statement.clone()) {
            Some(statement) => statement,
            None => self.make_statement(shard, period),
        };
        if let Some(speaker) = self.speakers.get_mut(&shard) {
            speaker.statement = Some(statement.clone());
        }
        self.submit_own(shard, Operation::Statement(Box::new(statement)), now);
    }

    /// What this node holds and measured (SET-023).
    fn make_statement(&mut self, shard: ShardId, period: Period) -> PeriodStatement {
        let held = self.newly_held(shard);
        let speaker = self.speakers.entry(shard).or_default();
        let measured = BoundedVec::new(speaker.service.take()).unwrap_or_default();
        let about = (self.config.node, shard, period);
        PeriodStatement::sign(about, held, measured, &self.config.key, self.network)
    }

    /// The newest durable checkpoints of logs that grew since the last statement on record.
    fn newly_held(&self, shard: ShardId) -> BoundedVec<SignedCheckpoint, STATEMENT_LOGS_MAX> {
        let stated = self.speakers.get(&shard).map(|speaker| &speaker.stated);
        let has_grown = |held: &SignedCheckpoint| {
            let before = stated.and_then(|stated| stated.get(&held.checkpoint.log));
            held.checkpoint.size > before.copied().unwrap_or_default()
        };
        let is_known = |node: NodeId| self.registry().node(node).is_some();
        let followed = self.followed.iter().filter(|(log, _)| log.shard == shard);
        let followed = followed.filter(|(_, followed)| followed.acknowledgeable().is_some());
        let followed = followed.filter_map(|(_, followed)| FollowedLog::held(followed).copied());
        let own = self.own.get(&shard).and_then(|own| own.durable_checkpoint());
        let mut held: Vec<SignedCheckpoint> = followed
            .chain(own)
            .filter(|held| is_known(held.checkpoint.log.node) && has_grown(held))
            .collect();
        held.sort_unstable_by_key(|held| held.checkpoint.log);
        held.truncate(STATEMENT_LOGS_MAX);
        BoundedVec::new(held).unwrap_or_default()
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

    /// Notes what of this node's own words is on record now.
    pub(crate) fn read_statements(&mut self, certified: &tidings_envelope::CertifiedBlock) {
        let shard = certified.block.header.shard;
        for decided in certified.block.operations.iter() {
            let Operation::Statement(statement) = &decided.operation else { continue };
            let is_applied = matches!(decided.outcome, Outcome::Applied { .. });
            if is_applied && statement.node == self.config.node {
                let sizes = statement.held.iter().map(|it| (it.checkpoint.log, it.checkpoint.size));
                self.speakers.entry(shard).or_default().stated.extend(sizes);
            }
        }
    }
}
