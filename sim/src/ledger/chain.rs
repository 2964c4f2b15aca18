//! The ordered lanes as the model sees them: one block per height, one commit per position.

use std::collections::{BTreeMap, BTreeSet};

use tidings_envelope::{BlockHeader, Operation, Outcome, PayerEnvelope, Topic};
use tidings_replica::store::Decided;
use tidings_types::{
    BlockHash, EnvelopeId, Height, Incarnation, NodeId, Period, Position, ShardId,
};

use super::{Check, Invariant, Sent, demand};
use crate::setup::Setup;
use crate::time::VirtualTime;

/// What an operation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// In which block.
    pub height: Height,
    /// Which operation of it.
    pub index: u32,
    /// What.
    pub outcome: Outcome,
}

/// How early a period may begin, in hundredths of its length: half of it must have passed on the
/// clocks of honest members, and those are off by a little.
const PERIOD_PERCENT_MIN: u64 = 45;

/// The blocks of every shard, as the first honest node had them.
#[derive(Debug, Default)]
pub struct Chain {
    blocks: BTreeMap<(ShardId, Height), BlockHash>,
    positions: BTreeMap<Topic, Position>,
    periods: BTreeMap<ShardId, Period>,
    incarnations: BTreeMap<(ShardId, NodeId), Incarnation>,
    /// The first verdict on each envelope.
    verdicts: BTreeMap<EnvelopeId, Verdict>,
    /// What was applied to each topic.
    applied: BTreeMap<Topic, Vec<EnvelopeId>>,
    /// What clients have proof of.
    claims: BTreeMap<EnvelopeId, (ShardId, BlockHash, Verdict)>,
    /// When an honest node first knew of each shard's period.
    begun: BTreeMap<(ShardId, Period), VirtualTime>,
    /// Whether more nodes cheat than are tolerated, so that there may be two histories.
    pub beyond: bool,
    /// The shards with two histories.
    pub forked: BTreeSet<ShardId>,
}

impl Chain {
    /// What was applied to a topic, in order.
    pub fn applied_in(&self, topic: Topic) -> impl Iterator<Item = EnvelopeId> {
        self.applied.get(&topic).into_iter().flatten().copied()
    }

    /// A client has proof of a verdict.
    ///
    /// # Errors
    /// When it contradicts what it or an honest node has had proof of before.
    pub fn claim(
        &mut self,
        id: EnvelopeId,
        shard: ShardId,
        block: BlockHash,
        verdict: Verdict,
    ) -> Check {
        if self.beyond {
            return Ok(());
        }
        let claim = (shard, block, verdict);
        let first = *self.claims.entry(id).or_insert(claim);
        demand(first == claim, Invariant::SafetyFirst, || {
            format!("a client has proofs of two verdicts on one envelope, in shard {shard}")
        })?;
        let known = self.blocks.get(&(shard, verdict.height));
        demand(known.is_none_or(|known| *known == block), Invariant::SafetyFirst, || {
            format!("a client has proof of another block {} of shard {shard}", verdict.height)
        })
    }

    /// Every verdict that a client has proof of is in the ordered lane in the end.
    ///
    /// # Errors
    /// When one is not.
    pub fn check_claims(&self) -> Check {
        for (id, (shard, block, verdict)) in &self.claims {
            let is_known = self.blocks.get(&(*shard, verdict.height)) == Some(block);
            demand(is_known, Invariant::NoAcknowledgedLoss, || {
                format!("block {} of shard {shard}, with envelope {id}, is lost", verdict.height)
            })?;
        }
        Ok(())
    }

    /// An honest node knows that a period has begun.
    ///
    /// # Errors
    /// When it has begun before its time.
    pub fn begins(
        &mut self,
        shard: ShardId,
        period: Period,
        now: VirtualTime,
        period_ms: u64,
    ) -> Check {
        let first = *self.begun.entry((shard, period)).or_insert(now);
        let before = self.begun.get(&(shard, period.minus(1))).copied();
        let lasted_ms = before.map(|before| first.since_us(before) / 1_000);
        let is_due = lasted_ms.is_none_or(|lasted| lasted * 100 >= period_ms * PERIOD_PERCENT_MIN);
        demand(is_due || period.0 <= 1 || self.beyond, Invariant::Skew, || {
            let lasted_ms = lasted_ms.unwrap_or_default();
            format!("period {period} of shard {shard} begins after {lasted_ms} ms of {period_ms}")
        })
    }

    /// An honest node takes a block for final.
    ///
    /// # Errors
    /// The invariant that the block breaks.
    pub fn extend(
        &mut self,
        node: NodeId,
        decided: &Decided,
        setup: &Setup,
        sent: &BTreeMap<EnvelopeId, Sent>,
    ) -> Check {
        let certified = &decided.certified;
        let header = certified.block.header;
        let is_certified = setup.is_certified(&header, &certified.certificate);
        demand(is_certified, Invariant::SafetyFirst, || {
            format!("{} is final at node {node} without a certificate", name(&header))
        })?;
        let place = (header.shard, header.height);
        if self.forked.contains(&header.shard) {
            return Ok(());
        }
        if let Some(known) = self.blocks.get(&place) {
            if self.beyond && *known != header.hash() {
                self.forked.insert(header.shard);
                return Ok(());
            }
            return demand(*known == header.hash(), Invariant::SafetyFirst, || {
                format!("{} is another at node {node} than elsewhere", name(&header))
            });
        }
        self.blocks.insert(place, header.hash());
        demand(certified.block.is_consistent(), Invariant::Determinism, || {
            format!("{} does not hold what its header says", name(&header))
        })?;
        let period = self.periods.get(&header.shard).copied().unwrap_or_default();
        for (index, operation) in (0u32..).zip(certified.block.operations.iter()) {
            self.check_expiry(&header, period, &operation.operation, sent)?;
            self.apply(&header, index, &operation.operation, operation.outcome, sent)?;
        }
        Ok(())
    }

    /// Blocks have nothing in them that had expired before.
    fn check_expiry(
        &self,
        header: &BlockHeader,
        period: Period,
        operation: &Operation,
        sent: &BTreeMap<EnvelopeId, Sent>,
    ) -> Check {
        let Operation::Envelope(envelope) = operation else { return Ok(()) };
        let sent = sent.get(&envelope.envelope.body.id());
        demand(sent.is_none_or(|it| it.not_after >= period), Invariant::NoReplay, || {
            format!("{} has an envelope that had expired", name(header))
        })
    }

    fn apply(
        &mut self,
        header: &BlockHeader,
        index: u32,
        operation: &Operation,
        outcome: Outcome,
        sent: &BTreeMap<EnvelopeId, Sent>,
    ) -> Check {
        let applied = match outcome {
            Outcome::Applied { position } => Some(position.0),
            Outcome::Conflict { .. } | Outcome::Refused { .. } => None,
        };
        match operation {
            Operation::Envelope(envelope) => {
                let verdict = Verdict { height: header.height, index, outcome };
                self.apply_envelope(header, envelope, verdict, sent)
            }
            Operation::OpenIncarnation(request) => {
                let last = self.incarnations.entry((header.shard, request.node)).or_default();
                let Some(number) = applied else { return Ok(()) };
                let is_next = number == u64::from(last.0) + 1;
                last.0 += 1;
                demand(is_next, Invariant::NoReplay, || {
                    format!("{} numbers an incarnation of node {}", name(header), request.node)
                })
            }
            Operation::PeriodMarker(_) => {
                let last = self.periods.entry(header.shard).or_default();
                let Some(number) = applied else { return Ok(()) };
                let is_next = number == last.0 + 1;
                last.0 = number;
                demand(is_next, Invariant::NoReplay, || {
                    format!("{} begins period {number}", name(header))
                })
            }
            Operation::Evidence(_) | Operation::Statement(_) | Operation::Attestation(_) => Ok(()),
        }
    }

    /// The model of compare-and-swap: commits at the position they expect, proposals anywhere.
    fn apply_envelope(
        &mut self,
        header: &BlockHeader,
        envelope: &PayerEnvelope,
        verdict: Verdict,
        sent: &BTreeMap<EnvelopeId, Sent>,
    ) -> Check {
        let body = &envelope.envelope.body;
        let (id, topic) = (body.id(), body.topic);
        demand(sent.contains_key(&id), Invariant::OnlyWriters, || {
            format!("{} has an envelope that no writer sent", name(header))
        })?;
        let first = *self.verdicts.entry(id).or_insert(verdict);
        let Outcome::Applied { position } = verdict.outcome else {
            return Ok(());
        };
        demand(first == verdict, Invariant::NoReplay, || {
            format!("{} applies an envelope that was decided before", name(header))
        })?;
        let last = self.positions.entry(topic).or_default();
        let builds_on_it = body.expected_position.is_none_or(|expected| expected == *last);
        demand(builds_on_it && position == last.plus(1), Invariant::Convergence, || {
            format!("{} applies a commit that builds on another position", name(header))
        })?;
        *last = position;
        self.applied.entry(topic).or_default().push(id);
        Ok(())
    }
}

fn name(header: &BlockHeader) -> String {
    format!("block {} of shard {}", header.height, header.shard)
}
