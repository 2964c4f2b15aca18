//! Gathering: many users' envelopes into few batches, without making a lone one wait.
//!
//! A pure state machine; time is an argument.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidings_types::EnvelopeId;
use tidings_types::constants::BATCH_ENVELOPES_MAX;

use super::Outgoing;

/// The most envelope bytes in one batch; a node takes requests of 8 MiB, ids and proofs included.
pub const BATCH_BYTES_MAX: usize = 7 << 20;

/// How long envelopes gather while another batch is under way (GTW-005).
const GATHER_TIME: Duration = Duration::from_millis(2);

/// Batches under way at once of one lane.
const BATCHES_MAX: usize = 32;

/// Envelopes that may wait; beyond, senders are told to come back.
const QUEUE_ENVELOPES_MAX: usize = 16 * BATCH_ENVELOPES_MAX;

/// Envelopes that belong together, and whom to tell.
#[derive(Debug)]
pub struct Submission<T> {
    /// At most one full batch.
    pub envelopes: Vec<Arc<Outgoing>>,
    /// Whom to tell.
    pub sender: T,
}

/// Envelopes for one payer signature.
#[derive(Debug)]
pub struct Batch<T> {
    /// In the order of the batch, each id once.
    pub envelopes: Vec<Arc<Outgoing>>,
    /// Each sender and the places of its envelopes in the batch.
    pub shares: Vec<(T, Vec<usize>)>,
}

/// What to do next.
#[derive(Debug)]
pub enum Next<T> {
    /// Send this batch, and say [`Gather::finished`] when it is answered.
    Send(Batch<T>),
    /// Ask again at this time, or when something happens.
    Wait(Instant),
    /// Nothing, until something happens.
    Rest,
}

/// The envelopes for one node, target, level and payer.
#[derive(Debug)]
pub struct Gather<T> {
    queue: VecDeque<(Instant, Submission<T>)>,
    queued_envelopes: usize,
    under_way: usize,
}

impl<T> Default for Gather<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), queued_envelopes: 0, under_way: 0 }
    }
}

impl<T> Gather<T> {
    /// Takes a submission, or gives it back when too many wait.
    ///
    /// # Errors
    /// The submission, untouched.
    pub fn push(&mut self, submission: Submission<T>, now: Instant) -> Result<(), Submission<T>> {
        if self.queued_envelopes + submission.envelopes.len() > QUEUE_ENVELOPES_MAX {
            return Err(submission);
        }
        self.queued_envelopes += submission.envelopes.len();
        self.queue.push_back((now, submission));
        Ok(())
    }

    /// Says that a batch was answered.
    pub fn finished(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Whether nothing waits and nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.under_way == 0
    }

    /// What to do at `now`: a batch leaves at once when none is under way, when it is full, or
    /// when its oldest envelope has waited long enough (GTW-005).
    pub fn next(&mut self, now: Instant) -> Next<T> {
        let Some((oldest, _)) = self.queue.front() else { return Next::Rest };
        if self.under_way >= BATCHES_MAX {
            return Next::Rest;
        }
        let due = *oldest + GATHER_TIME;
        if self.under_way == 0 || now >= due || self.queued_envelopes >= BATCH_ENVELOPES_MAX {
            self.under_way += 1;
            return Next::Send(self.take());
        }
        Next::Wait(due)
    }

    /// Takes as many of the submissions in front as fit into one batch, at least one.
    fn take(&mut self) -> Batch<T> {
        let mut filling = Filling::default();
        while let Some((since, submission)) = self.queue.pop_front() {
            if !filling.fits(&submission.envelopes) {
                self.queue.push_front((since, submission));
                break;
            }
            self.queued_envelopes -= submission.envelopes.len();
            filling.add(submission);
        }
        Batch { envelopes: filling.envelopes, shares: filling.shares }
    }
}

/// A batch that is being put together.
#[derive(Debug)]
struct Filling<T> {
    envelopes: Vec<Arc<Outgoing>>,
    shares: Vec<(T, Vec<usize>)>,
    places: BTreeMap<EnvelopeId, usize>,
    bytes: usize,
}

impl<T> Default for Filling<T> {
    fn default() -> Self {
        Self { envelopes: Vec::new(), shares: Vec::new(), places: BTreeMap::new(), bytes: 0 }
    }
}

impl<T> Filling<T> {
    /// Whether `more` can be added: within the limits, and without two proofs for one id, of
    /// which the wrong one would take the right one's place (GTW-005).
    fn fits(&self, more: &[Arc<Outgoing>]) -> bool {
        let bytes: usize = more.iter().map(|envelope| envelope.bytes.len()).sum();
        let agrees = |envelope: &Arc<Outgoing>| {
            let place = self.places.get(&envelope.id);
            place.and_then(|place| self.envelopes.get(*place)).is_none_or(|known| known == envelope)
        };
        self.envelopes.is_empty()
            || (self.envelopes.len() + more.len() <= BATCH_ENVELOPES_MAX
                && self.bytes + bytes <= BATCH_BYTES_MAX
                && more.iter().all(agrees))
    }

    fn add(&mut self, submission: Submission<T>) {
        let mut share = Vec::with_capacity(submission.envelopes.len());
        for envelope in submission.envelopes {
            let place = *self.places.entry(envelope.id).or_insert_with(|| {
                self.bytes += envelope.bytes.len();
                self.envelopes.push(envelope);
                self.envelopes.len() - 1
            });
            share.push(place);
        }
        self.shares.push((submission.sender, share));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidings_envelope::{Lane, Topic};

    use super::super::outgoing::EnvelopeBytes;
    use super::*;

    fn envelope(id: u8, content: u8, bytes: usize) -> Arc<Outgoing> {
        Arc::new(Outgoing {
            id: EnvelopeId([id; 32]),
            topic: Topic::mailbox(0),
            lane: Lane::Broadcast,
            retention_days: 1,
            bytes: EnvelopeBytes::new(vec![content; bytes]).unwrap(),
            fee_max: tidings_types::PicoDollars(0),
        })
    }

    fn small(id: u8) -> Vec<Arc<Outgoing>> {
        vec![envelope(id, id, 1)]
    }

    struct Subject {
        gather: Gather<u32>,
        start: Instant,
        senders: u32,
    }

    impl Subject {
        fn new() -> Self {
            Self { gather: Gather::default(), start: Instant::now(), senders: 0 }
        }

        fn push(&mut self, envelopes: Vec<Arc<Outgoing>>, at_ms: u64) {
            self.senders += 1;
            let submission = Submission { envelopes, sender: self.senders };
            self.gather.push(submission, self.start + Duration::from_millis(at_ms)).unwrap();
        }

        fn batch(&mut self, at_ms: u64) -> Option<Batch<u32>> {
            match self.gather.next(self.start + Duration::from_millis(at_ms)) {
                Next::Send(batch) => Some(batch),
                Next::Wait(_) | Next::Rest => None,
            }
        }

        /// Which senders share the batch that leaves now.
        fn check(&mut self, at_ms: u64, expected: &[u32]) {
            let shares = self.batch(at_ms).map(|batch| batch.shares).unwrap_or_default();
            let senders: Vec<_> = shares.into_iter().map(|(sender, _)| sender).collect();
            assert_eq!(senders, expected);
        }
    }

    #[test]
    fn a_lone_envelope_does_not_wait() {
        // covers: GTW-005
        let mut subject = Subject::new();
        subject.check(0, &[]);
        subject.push(small(1), 0);
        subject.check(0, &[1]);
        // While it is under way, others gather for two milliseconds and leave together.
        subject.push(small(2), 10);
        subject.push(small(3), 11);
        subject.check(11, &[]);
        subject.check(12, &[2, 3]);
        // When all are answered, the next leaves at once.
        subject.gather.finished();
        subject.push(small(4), 12);
        subject.check(12, &[]);
        subject.gather.finished();
        subject.check(12, &[4]);
        subject.gather.finished();
        assert!(subject.gather.is_idle());
    }

    #[test]
    fn a_full_batch_does_not_wait() {
        // covers: GTW-005
        let mut subject = Subject::new();
        subject.push(small(0), 0);
        subject.check(0, &[1]);
        subject.push((0..255).map(|id| envelope(id, 0, 1)).collect(), 1);
        (0..3).for_each(|_| subject.push((0..255).map(|id| envelope(id, 0, 1)).collect(), 1));
        subject.check(1, &[]);
        subject.push((0..=5).map(|id| envelope(id, 0, 1)).collect(), 1);
        // 1,026 are queued; the last submission does not fit as a whole and comes next.
        subject.check(1, &[2, 3, 4, 5, 6]);
    }

    #[test]
    fn repeats_share_a_place_and_forgeries_do_not() {
        // covers: GTW-005
        let mut subject = Subject::new();
        subject.push(small(1), 0);
        subject.push(small(1), 0);
        subject.push(vec![envelope(2, 2, 1), envelope(1, 1, 1)], 0);
        subject.push(vec![envelope(1, 9, 1)], 0);
        subject.push(small(3), 0);
        let batch = subject.batch(0).unwrap();
        assert_eq!(batch.envelopes, [envelope(1, 1, 1), envelope(2, 2, 1)]);
        assert_eq!(batch.shares, [(1, vec![0]), (2, vec![0]), (3, vec![1, 0])]);
        subject.check(2, &[4, 5]);
    }

    #[test]
    fn bytes_are_bounded() {
        let mut subject = Subject::new();
        (0..9).for_each(|id| subject.push(vec![envelope(id, 0, 1 << 20)], 0));
        subject.check(0, &[1, 2, 3, 4, 5, 6, 7]);
        subject.check(2, &[8, 9]);
    }

    #[test]
    fn the_queue_and_the_batches_under_way_are_bounded() {
        let mut subject = Subject::new();
        for _ in 0..BATCHES_MAX {
            subject.push(small(1), 0);
            assert!(subject.batch(2).is_some());
        }
        for _ in 0..QUEUE_ENVELOPES_MAX {
            subject.push(small(1), 2);
        }
        subject.check(9, &[]);
        let late = Submission { envelopes: small(1), sender: 0 };
        assert!(subject.gather.push(late, subject.start).is_err());
        subject.gather.finished();
        assert!(subject.batch(9).is_some());
    }

    proptest! {
        #[test]
        fn every_envelope_leaves_once_and_to_its_sender(
            steps in prop::collection::vec((0u8..4, prop::collection::vec((0u8..20, 0u8..2), 1..6)), 1..60)
        ) {
            // covers: GTW-005
            let mut subject = Subject::new();
            let (mut sent, mut answered, mut now) = (Vec::new(), BTreeMap::new(), 0);
            for (pause, ids) in steps {
                let ids: BTreeMap<u8, u8> = ids.into_iter().collect();
                let envelopes: Vec<_> =
                    ids.iter().map(|(id, content)| envelope(*id, *content, 1)).collect();
                sent.push(envelopes.clone());
                subject.push(envelopes, now);
                now += u64::from(pause);
                while let Some(batch) = subject.batch(now) {
                    prop_assert!(batch.envelopes.len() <= BATCH_ENVELOPES_MAX);
                    for (sender, places) in batch.shares {
                        let share: Vec<_> =
                            places.iter().map(|place| batch.envelopes[*place].clone()).collect();
                        prop_assert!(answered.insert(sender, share).is_none());
                    }
                    if pause == 0 {
                        subject.gather.finished();
                    }
                }
            }
            for _ in 0..=BATCHES_MAX {
                subject.gather.finished();
            }
            while let Some(batch) = subject.batch(now + 10) {
                for (sender, places) in batch.shares {
                    let share = places.iter().map(|place| batch.envelopes[*place].clone()).collect();
                    prop_assert!(answered.insert(sender, share).is_none());
                }
                subject.gather.finished();
            }
            prop_assert_eq!(answered.into_values().collect::<Vec<_>>(), sent);
        }
    }
}
