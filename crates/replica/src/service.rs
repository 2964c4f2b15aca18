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

/// What is expected of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// To be reached, and to hold what this node's log gained since a time in milliseconds.
    Member { since_ms: u64 },
    /// On trial for less than a whole time between two statements, of which one `was_made`: it has
    /// to hear of that first, and nothing is said of it before it was reached.
    Newcomer { was_made: bool },
    /// On trial: to be reached.
    OnTrial,
}

impl Standing {
    fn is_member(self) -> bool {
        matches!(self, Self::Member { .. })
    }

    /// Whether it was to hold what became durable at `at_ms`.
    fn holds(self, at_ms: u64) -> bool {
        matches!(self, Self::Member { since_ms } if since_ms <= at_ms)
    }
}

/// What was seen of one peer.
#[derive(Debug, Clone, Copy)]
struct Seen {
    standing: Standing,
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
        on_trial: impl FnOnce() -> Vec<NodeId>,
        is_linked: impl Fn(NodeId) -> bool,
        now_ms: u64,
    ) {
        if now_ms.saturating_sub(self.sampled_at_ms) < SAMPLE_MS {
            return;
        }
        self.sampled_at_ms = now_ms;
        let room = COMMITTEE_MEMBERS_MAX.saturating_sub(members.len());
        let newcomer = Standing::Newcomer { was_made: false };
        let on_trial = on_trial().into_iter().take(room).map(|node| (node, newcomer));
        let member = Standing::Member { since_ms: now_ms };
        let members = members.iter().map(|node| (*node, member));
        let peers: BTreeMap<NodeId, Standing> = members.chain(on_trial).collect();
        self.seen.retain(|node, _| peers.contains_key(node));
        for (peer, standing) in peers {
            // What was not listened for could not be heard: looks count from the second one on,
            // and anew when a peer gets a seat or loses it.
            let known = self.seen.get_mut(&peer);
            let known = known.filter(|it| it.standing.is_member() == standing.is_member());
            let Some(seen) = known else {
                self.seen.insert(peer, Seen::new(standing));
                continue;
            };
            let is_linked = is_linked(peer);
            let is_newcomer = matches!(seen.standing, Standing::Newcomer { .. });
            if is_newcomer && seen.linked == 0 && !is_linked {
                continue;
            }
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
        let newly = self.published.iter().filter(|(it, _)| *it > before && *it <= size);
        for (_, at_ms) in newly.filter(|(_, at_ms)| seen.standing.holds(*at_ms)) {
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
                let awaited = published.iter().filter(|(_, at_ms)| seen.standing.holds(*at_ms));
                let service = seen.service(awaited.count() as u64);
                measured.push(PeerService { node: *node, service });
            }
            let standing = match seen.standing {
                Standing::Newcomer { was_made: false } => Standing::Newcomer { was_made: true },
                Standing::Newcomer { was_made: true } | Standing::OnTrial => Standing::OnTrial,
                member @ Standing::Member { .. } => member,
            };
            *seen = Seen { held: seen.held, ..Seen::new(standing) };
        }
        measured
    }
}

impl Seen {
    fn new(standing: Standing) -> Self {
        Self {
            standing,
            samples: 0,
            linked: 0,
            heard: 0,
            spoke: false,
            acknowledged: 0,
            acknowledgement_ms: 0,
            served: 0,
            failed: 0,
            held: LogSize::default(),
        }
    }

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
            record.tick(
                &PEERS,
                Vec::new,
                |peer| peer == NodeId(1) || sample > 3,
                sample * SAMPLE_MS,
            );
            record.spoke(NodeId(1));
        }
        let later_ms = 6 * SAMPLE_MS;
        record.published(LogSize(3), later_ms + 100);
        record.published(LogSize(5), later_ms + 200);
        record.acknowledged(NodeId(1), LogSize(5), later_ms + 220);
        record.acknowledged(NodeId(1), LogSize(5), later_ms + 900);
        for is_good in [true, true, false] {
            record.served(NodeId(2), is_good);
        }
        assert_eq!(measured(&mut record), [[1_000, 70, 1_000, 1_000], [500, 600_000, 0, 666]]);
        // Nothing was asked of anybody since, and fewer looks than four say nothing.
        for (looks, said) in [(3, 0), (4, 2)] {
            (0..looks).for_each(|look| {
                record.tick(&PEERS, Vec::new, |_| false, (9 * looks + look) * SAMPLE_MS)
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
        record.tick(&PEERS, Vec::new, |_| true, SAMPLE_MS);
        (2..6).for_each(|sample| record.tick(&PEERS[..1], Vec::new, |_| true, sample * SAMPLE_MS));
        assert_eq!(record.take().len(), 1, "who left the committee is forgotten");
    }

    #[test]
    fn who_is_on_trial_is_to_be_there_and_need_acknowledge_nothing() {
        // covers: SET-007
        let mut record = ServiceRecord::default();
        let trial = || [7, 8].map(NodeId).to_vec();
        let look = |record: &mut ServiceRecord, samples: std::ops::Range<u64>| {
            for sample in samples {
                // The first comes when it has heard that it is on trial, the second never.
                let is_linked = |peer: NodeId| peer != NodeId(8) && (peer.0 < 7 || sample > 4);
                [1, 2, 7].into_iter().for_each(|peer| record.spoke(NodeId(peer)));
                record.tick(&PEERS, trial, is_linked, sample * SAMPLE_MS);
            }
        };
        look(&mut record, 1..12);
        record.published(LogSize(3), 12 * SAMPLE_MS);
        let (good, silent) = ([1_000, 0, 1_000, 1_000], [1_000, 600_000, 1_000, 1_000]);
        assert_eq!(measured(&mut record), [silent, silent, good], "nothing of who never came");
        look(&mut record, 12..18);
        let members = [1_000, 0, 1_000, 1_000];
        assert_eq!(measured(&mut record), [members, members, good], "for a whole time");
        look(&mut record, 18..24);
        let gone = [0, 0, 1_000, 1_000];
        assert_eq!(measured(&mut record), [members, members, good, gone], "and no longer");
        // A statement has room for so many.
        let crowd: Vec<NodeId> = (1..40).map(NodeId).collect();
        let (members, trial) = crowd.split_at(COMMITTEE_MEMBERS_MAX - 1);
        let trial = || trial.to_vec();
        (30..36).for_each(|sample| record.tick(members, trial, |_| true, sample * SAMPLE_MS));
        let measured = record.take();
        assert_eq!(measured.len(), COMMITTEE_MEMBERS_MAX);
        assert_eq!(measured.last().map(|peer| peer.node), trial().first().copied());
    }

    #[test]
    fn a_new_member_is_to_hold_what_came_after_it() {
        // covers: SET-007
        let mut record = ServiceRecord::default();
        let newcomer = NodeId(7);
        let trial = || vec![newcomer];
        (1..20).for_each(|sample| record.tick(&[], trial, |_| true, sample * SAMPLE_MS));
        record.published(LogSize(3), 19 * SAMPLE_MS);
        record.tick(&[newcomer], Vec::new, |_| true, 20 * SAMPLE_MS);
        (21..26)
            .for_each(|sample| record.tick(&[newcomer], Vec::new, |_| true, sample * SAMPLE_MS));
        record.published(LogSize(5), 26 * SAMPLE_MS);
        record.acknowledged(newcomer, LogSize(5), 26 * SAMPLE_MS + 30);
        let said = record.take();
        assert_eq!(said[0].service.acknowledgement_ms, 30);
    }
}
