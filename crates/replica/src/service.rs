//! How peers serve, as this node measures it between two of its statements (SET-007).

use std::collections::BTreeMap;

use tidings_envelope::{PeerService, Service};
use tidings_types::constants::COMMITTEE_MEMBERS_MAX;
use tidings_types::{LogSize, NodeId};

const PERMILLE: u64 = 1_000;

/// How often every peer is looked at; a live one says within this time what is durable at it
/// (REP-005).
const SAMPLE_MS: u64 = 1_500;

/// Looks without which nothing is said of a peer: one unlucky moment is no measurement.
const SAMPLES_MIN: u64 = 4;

/// What an acknowledgement that never came counts as, in milliseconds.
const ACKNOWLEDGEMENT_MS_MAX: u64 = 600_000;

/// Checkpoints of this node's own whose acknowledgements are waited for, at most.
const WATCHED_MAX: usize = 64;

/// What was seen of one peer.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Whether it is to hold logs, and not on trial.
    is_member: bool,
    samples: u64,
    linked: u64,
    heard: u64,
    /// Whether it spoke since the last sample.
    spoke: bool,
    acknowledged: u64,
    acknowledgement_ms: u64,
    served: u64,
    failed: u64,
    held: LogSize,
}

/// What was seen of all peers.
#[derive(Debug, Default)]
pub(crate) struct ServiceRecord {
    seen: BTreeMap<NodeId, Seen>,
    sampled_at_ms: u64,
    /// When checkpoints of this node's own became durable, oldest first.
    published: Vec<(LogSize, u64)>,
}

impl ServiceRecord {
    /// Time has passed: looks at `members`, and at who is on trial as far as a statement has room,
    /// now and then, of whom `is_linked` are reached.
    pub(crate) fn tick(
        &mut self,
        members: &[NodeId],
        on_trial: &[NodeId],
        is_linked: impl Fn(NodeId) -> bool,
        now_ms: u64,
    ) {
        if now_ms.saturating_sub(self.sampled_at_ms) < SAMPLE_MS {
            return;
        }
        self.sampled_at_ms = now_ms;
        let room = COMMITTEE_MEMBERS_MAX.saturating_sub(members.len());
        let on_trial = on_trial.iter().take(room).map(|node| (*node, false));
        let peers: BTreeMap<NodeId, bool> =
            members.iter().map(|node| (*node, true)).chain(on_trial).collect();
        self.seen.retain(|node, _| peers.contains_key(node));
        for (peer, is_member) in peers {
            // What was not listened for could not be heard: looks count from the second one on.
            let Some(seen) = self.seen.get_mut(&peer) else {
                self.seen.insert(peer, Seen { is_member, ..Seen::default() });
                continue;
            };
            seen.is_member = is_member;
            let is_linked = is_linked(peer);
            seen.samples += 1;
            seen.linked += u64::from(is_linked);
            seen.heard += u64::from(is_linked && seen.spoke);
            seen.spoke = false;
        }
    }

    /// A peer said something.
    pub(crate) fn spoke(&mut self, peer: NodeId) {
        if let Some(seen) = self.seen.get_mut(&peer) {
            seen.spoke = true;
        }
    }

    /// A peer served a stretch of a log, or not what was asked for.
    pub(crate) fn served(&mut self, peer: NodeId, is_good: bool) {
        if let Some(seen) = self.seen.get_mut(&peer) {
            match is_good {
                true => seen.served += 1,
                false => seen.failed += 1,
            }
        }
    }

    /// A checkpoint of this node's own log is durable.
    pub(crate) fn published(&mut self, size: LogSize, now_ms: u64) {
        if self.published.len() < WATCHED_MAX {
            self.published.push((size, now_ms));
        }
    }

    /// A peer holds this node's own log up to `size`.
    pub(crate) fn acknowledged(&mut self, peer: NodeId, size: LogSize, now_ms: u64) {
        let Some(seen) = self.seen.get_mut(&peer) else { return };
        let before = seen.held;
        seen.held = size.max(before);
        for (_, at_ms) in self.published.iter().filter(|(it, _)| *it > before && *it <= size) {
            seen.acknowledged += 1;
            seen.acknowledgement_ms += now_ms.saturating_sub(*at_ms);
        }
    }

    /// What was measured since the last time, by rising number.
    pub(crate) fn take(&mut self) -> Vec<PeerService> {
        let published = std::mem::take(&mut self.published);
        let mut measured = Vec::new();
        for (node, seen) in &mut self.seen {
            if seen.samples >= SAMPLES_MIN {
                // Who is on trial holds nothing, and so acknowledges nothing.
                let awaited = if seen.is_member { published.len() as u64 } else { 0 };
                let service = seen.service(awaited);
                measured.push(PeerService { node: *node, service });
            }
            *seen = Seen { is_member: seen.is_member, held: seen.held, ..Seen::default() };
        }
        measured
    }
}

impl Seen {
    fn service(&self, published: u64) -> Service {
        let missing = published.saturating_sub(self.acknowledged);
        let waited_ms =
            missing.saturating_mul(ACKNOWLEDGEMENT_MS_MAX).saturating_add(self.acknowledgement_ms);
        // The last one may be under way.
        let acknowledgement_ms = match self.acknowledged > 0 && missing <= 1 {
            true => self.acknowledgement_ms / self.acknowledged,
            false => waited_ms.checked_div(published).unwrap_or_default(),
        };
        Service {
            reachability_permille: part(self.linked, self.samples),
            acknowledgement_ms: u32::try_from(acknowledgement_ms).unwrap_or(u32::MAX),
            cadence_permille: part(self.heard, self.linked),
            served_permille: part(self.served, self.served + self.failed),
        }
    }
}

/// A part in thousandths; the whole of nothing.
fn part(some: u64, all: u64) -> u32 {
    let permille = some.saturating_mul(PERMILLE).checked_div(all).unwrap_or(PERMILLE);
    u32::try_from(permille.min(PERMILLE)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEERS: [NodeId; 2] = [NodeId(1), NodeId(2)];

    fn measured(record: &mut ServiceRecord) -> Vec<[u32; 4]> {
        let figures = |service: Service| {
            [
                service.reachability_permille,
                service.acknowledgement_ms,
                service.cadence_permille,
                service.served_permille,
            ]
        };
        record.take().into_iter().map(|peer| figures(peer.service)).collect()
    }

    #[test]
    fn what_peers_do_is_measured_from_statement_to_statement() {
        // covers: SET-007
        let mut record = ServiceRecord::default();
        // The first look is the one from which on they are listened to.
        for sample in 1..=5 {
            record.tick(&PEERS, &[], |peer| peer == NodeId(1) || sample > 3, sample * SAMPLE_MS);
            record.spoke(NodeId(1));
        }
        record.published(LogSize(3), 100);
        record.published(LogSize(5), 200);
        record.acknowledged(NodeId(1), LogSize(5), 220);
        record.acknowledged(NodeId(1), LogSize(5), 900);
        for is_good in [true, true, false] {
            record.served(NodeId(2), is_good);
        }
        assert_eq!(measured(&mut record), [[1_000, 70, 1_000, 1_000], [500, 600_000, 0, 666]]);
        // Nothing was asked of anybody since, and fewer looks than four say nothing.
        for (looks, said) in [(3, 0), (4, 2)] {
            (0..looks).for_each(|look| {
                record.tick(&PEERS, &[], |_| false, (9 * looks + look) * SAMPLE_MS)
            });
            assert_eq!(measured(&mut record), vec![[0, 0, 1_000, 1_000]; said]);
        }
    }

    #[test]
    fn strangers_are_not_measured() {
        // covers: SET-007
        let mut record = ServiceRecord::default();
        record.spoke(NodeId(9));
        record.served(NodeId(9), true);
        record.acknowledged(NodeId(9), LogSize(1), 1);
        assert_eq!(measured(&mut record), [[0; 4]; 0]);
        record.tick(&PEERS, &[], |_| true, SAMPLE_MS);
        (2..6).for_each(|sample| record.tick(&PEERS[..1], &[], |_| true, sample * SAMPLE_MS));
        assert_eq!(record.take().len(), 1, "who left the committee is forgotten");
    }

    #[test]
    fn who_is_on_trial_is_to_be_there_and_need_acknowledge_nothing() {
        // covers: SET-007
        let mut record = ServiceRecord::default();
        let trial = [NodeId(7), NodeId(8)];
        for sample in 1..=5 {
            record.tick(&PEERS, &trial, |peer| peer != NodeId(8), sample * SAMPLE_MS);
            [1, 2, 7].into_iter().for_each(|peer| record.spoke(NodeId(peer)));
        }
        record.published(LogSize(3), 100);
        let good = [1_000, 0, 1_000, 1_000];
        let silent = [1_000, 600_000, 1_000, 1_000];
        assert_eq!(measured(&mut record), [silent, silent, good, [0, 0, 1_000, 1_000]]);
        // A statement has room for so many.
        let crowd: Vec<NodeId> = (1..40).map(NodeId).collect();
        let (members, trial) = crowd.split_at(COMMITTEE_MEMBERS_MAX - 1);
        (6..12).for_each(|sample| record.tick(members, trial, |_| true, sample * SAMPLE_MS));
        let measured = record.take();
        assert_eq!(measured.len(), COMMITTEE_MEMBERS_MAX);
        assert_eq!(measured.last().map(|peer| peer.node), trial.first().copied());
    }
}
