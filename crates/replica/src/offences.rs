//! Proofs of offences: each kept once, and handed to the ordered lane until it is recorded there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidings_envelope::{CertifiedBlock, Evidence, LogId, Operation};
use tidings_types::{NodeId, OffenceId, ShardId, mutant};

use crate::effect::{Alarm, Now};
use crate::lane::Lane;
use crate::replica::{AfterWrite, Replica};
use crate::store::WriteSet;

/// How many offences of one node are with a shard's ordered lane at once; a node can commit any
/// number, and the others wait until those are recorded.
const SUBMITTED_PER_NODE_MAX: usize = 16;

/// How long the ordered lane is given before evidence is handed to it again.
const SUBMIT_INTERVAL_MS: u64 = 5_000;

/// An offence that the ordered lane has not recorded yet, as far as is known.
#[derive(Debug)]
struct Open {
    evidence: Arc<Evidence>,
    submitted_at_ms: Option<u64>,
}

/// Every offence that is proved here (EVD-002).
#[derive(Debug, Default)]
pub(crate) struct Offences {
    /// Those of which a proof is kept.
    known: BTreeSet<OffenceId>,
    /// Those of them that are to be recorded, by the lane that does it and the accused.
    open: BTreeMap<(ShardId, NodeId), BTreeMap<OffenceId, Open>>,
    /// Those that the operator was told of since the start.
    alarmed_of: BTreeSet<OffenceId>,
    /// Logs of which two histories were signed.
    parted: BTreeSet<LogId>,
}

impl Offences {
    /// Adds what `evidence` proves; false when that is known.
    pub(crate) fn add(&mut self, evidence: &Evidence) -> bool {
        let offence = evidence.offence();
        if !self.known.insert(offence) {
            return false;
        }
        self.parted.extend(evidence.forked_log());
        let open = self.open.entry((evidence.shard(), evidence.accused())).or_default();
        open.insert(offence, Open { evidence: Arc::new(evidence.clone()), submitted_at_ms: None });
        true
    }

    /// Whether two histories of a log were signed.
    pub(crate) fn is_parted(&self, log: LogId) -> bool {
        self.parted.contains(&log)
    }

    /// Whether the operator is to be told of an offence, which is so once.
    fn tells(&mut self, offence: OffenceId) -> bool {
        self.alarmed_of.insert(offence)
    }

    /// The lane has recorded what `evidence` proves.
    fn close(&mut self, evidence: &Evidence) {
        if let Some(open) = self.open.get_mut(&(evidence.shard(), evidence.accused())) {
            open.remove(&evidence.offence());
        }
    }

    /// The evidence to be handed to its shard's lane now; `is_recorded` ends that for good.
    fn due(
        &mut self,
        now_ms: u64,
        is_recorded: impl Fn(ShardId, NodeId, OffenceId) -> bool,
    ) -> Vec<Arc<Evidence>> {
        let (mut due, mut recorded) = (Vec::new(), Vec::new());
        for ((shard, accused), open) in &mut self.open {
            for (offence, it) in open.iter_mut().take(SUBMITTED_PER_NODE_MAX) {
                let waited_ms = it.submitted_at_ms.map(|at| now_ms.saturating_sub(at));
                if waited_ms.is_some_and(|waited_ms| waited_ms < SUBMIT_INTERVAL_MS) {
                    continue;
                }
                if is_recorded(*shard, *accused, *offence) {
                    recorded.push(Arc::clone(&it.evidence));
                } else {
                    it.submitted_at_ms = Some(now_ms);
                    due.push(Arc::clone(&it.evidence));
                }
            }
        }
        recorded.iter().for_each(|evidence| self.close(evidence));
        self.open.retain(|_, open| !open.is_empty());
        due
    }
}

impl Replica {
    /// Keeps the proof of an offence and has it recorded (EVD-007); what proves nothing, or
    /// nothing new, changes nothing.
    pub(crate) fn hold_evidence(&mut self, evidence: Evidence) {
        if mutant!(HushHistories) && evidence.forked_log().is_some() {
            return;
        }
        if let Some(evidence) = self.learn_offence(evidence) {
            let set = WriteSet { evidence: vec![evidence], ..WriteSet::default() };
            self.persist(set, AfterWrite::Nothing);
        }
    }

    /// Takes over what `evidence` proves, and tells the operator; answers it when it is the first
    /// proof of the offence, which is to be stored (EVD-007).
    pub(crate) fn learn_offence(&mut self, evidence: Evidence) -> Option<Evidence> {
        // The lane may not know every key, but the court does.
        let keys = match evidence.log() {
            Some(log) => self.signer_of(log).into_iter().collect(),
            None => self.registries.signing_keys(evidence.accused()),
        };
        if !keys.into_iter().any(|key| evidence.verify(self.network, key).is_ok()) {
            return None;
        }
        let is_new = self.offences.add(&evidence);
        if is_new {
            self.convict(&evidence);
        }
        if self.offences.tells(evidence.offence()) {
            self.alarm(Alarm::Evidence(Box::new(evidence.clone())));
        }
        is_new.then_some(evidence)
    }

    /// What a final block proves that was not known here, to be stored with the block (EVD-007).
    pub(crate) fn read_evidence(&mut self, certified: &CertifiedBlock) -> Vec<Evidence> {
        let operations = certified.block.operations.iter();
        let read = operations.filter_map(|decided| match &decided.operation {
            Operation::Evidence(evidence) => Some(&**evidence),
            _ => None,
        });
        let mut new = Vec::new();
        for evidence in read {
            new.extend(self.learn_offence(evidence.clone()));
            self.offences.close(evidence);
        }
        new
    }

    /// Takes over the proofs that storage holds.
    pub(crate) fn restore_evidence(&mut self, stored: &[Evidence]) {
        for evidence in stored {
            self.offences.add(evidence);
            self.convict(evidence);
        }
    }

    /// A log of which two histories were signed is acknowledged no more (EVD-009).
    fn convict(&mut self, evidence: &Evidence) {
        let Some(log) = evidence.forked_log() else { return };
        if let Some(followed) = self.followed.get_mut(&log) {
            followed.contradict();
        }
        self.inquiries.retain(|(about, _), _| *about != log);
    }

    /// Hands to the ordered lanes what they have not recorded yet (EVD-007).
    pub(crate) fn submit_evidence(&mut self, now: Now) {
        if mutant!(KeepEvidence) {
            return;
        }
        let lanes = &self.lanes;
        let is_recorded = |shard: ShardId, accused, offence| {
            let state = lanes.get(&shard).map(Lane::state);
            state.is_some_and(|state| state.offence(accused, offence).is_some())
        };
        for evidence in self.offences.due(now.monotonic_ms, is_recorded) {
            let operation = Operation::Evidence(Box::new((*evidence).clone()));
            // A refusal is not final: it is handed over again later.
            self.with_lane(evidence.shard(), now, |lane, context| {
                let _ = lane.agreement().submit(operation, context);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_envelope::{Checkpoint, SignedCheckpoint};
    use tidings_types::node_key::NodeKey;
    use tidings_types::{Incarnation, LogSize, NetworkId, Period};

    use super::*;

    fn evidence(node: u32, size: u64, roots: (u8, u8)) -> Evidence {
        let log = LogId { node: NodeId(node), shard: ShardId(0), incarnation: Incarnation(1) };
        let key = NodeKey::from_secret(&[1; 32]).unwrap();
        let signed = |root| -> SignedCheckpoint {
            let checkpoint = Checkpoint::new(log, LogSize(size), [root; 32], Period(1));
            checkpoint.sign(&key, NetworkId([9; 32]))
        };
        Evidence::Checkpoints(signed(roots.0), signed(roots.1))
    }

    #[test]
    fn an_offence_is_kept_once_and_handed_over_until_it_is_recorded() {
        // covers: EVD-007
        let mut offences = Offences::default();
        assert!(offences.add(&evidence(1, 5, (1, 2))));
        assert!(!offences.add(&evidence(1, 5, (3, 4))), "other words about the same deed");
        for (now_ms, expected) in [(0, 1), (1, 0), (SUBMIT_INTERVAL_MS - 1, 0)] {
            assert_eq!(offences.due(now_ms, |_, _, _| false).len(), expected, "at {now_ms}");
        }
        let later_ms = SUBMIT_INTERVAL_MS;
        assert_eq!(offences.due(later_ms, |_, _, _| false).len(), 1, "nobody has recorded it");
        assert!(offences.due(3 * later_ms, |_, _, _| true).is_empty());
        assert!(offences.due(9 * later_ms, |_, _, _| false).is_empty(), "recorded is recorded");
    }

    #[test]
    fn a_node_with_many_offences_takes_the_lane_from_nobody() {
        // covers: EVD-007
        let mut offences = Offences::default();
        let many = 3 * SUBMITTED_PER_NODE_MAX as u64;
        for size in 1..=many {
            offences.add(&evidence(1, size, (1, 2)));
        }
        offences.add(&evidence(2, 1, (1, 2)));
        let first = offences.due(0, |_, _, _| false);
        assert_eq!(first.len(), SUBMITTED_PER_NODE_MAX + 1);
        // Every one of them gets its turn.
        let mut turns = first.len();
        let mut under_way = first;
        for now_ms in 1..=4 {
            under_way.iter().for_each(|evidence| offences.close(evidence));
            under_way = offences.due(now_ms, |_, _, _| false);
            turns += under_way.len();
        }
        assert_eq!(turns as u64, many + 1);
    }
}
