//! One direction of a connection for a byte stream, as a queue in virtual time.
//!
//! A stream loses nothing and keeps its order, as TCP does: a lost segment shows as the time
//! that its repetition takes, and a cut as a silence after which everything comes.

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::conditions::Conditions;

/// How long until a lost segment is repeated, besides a round trip: what TCP waits at least.
const REPEATED_AFTER: Duration = Duration::from_millis(200);

/// What one segment carries: an Ethernet frame's worth.
const SEGMENT_BYTES: usize = 1_448;

/// How much a stream may hold; its reader waits meanwhile.
pub const STREAM_BYTES_MAX: usize = 256 * 1024;

/// A stretch of a stream, or its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stretch {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing comes any more.
    End,
}

/// One direction of a connection.
#[derive(Debug)]
pub struct ByteQueue {
    rng: ChaCha20Rng,
    waiting: VecDeque<(Duration, Stretch)>,
    held_bytes: usize,
    /// When the link has transmitted all that it took.
    free_at: Duration,
}

impl ByteQueue {
    /// A stream whose chances are drawn from `seed`, and from `stream` among those of that seed.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self { rng, waiting: VecDeque::new(), held_bytes: 0, free_at: Duration::ZERO }
    }

    /// Whether there is room for more.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.held_bytes < STREAM_BYTES_MAX
    }

    /// Takes a stretch that comes at `now` under `conditions`.
    pub fn offer(&mut self, now: Duration, conditions: &Conditions, stretch: Stretch) {
        let bytes = match &stretch {
            Stretch::Bytes(bytes) => bytes.len(),
            Stretch::End => 0,
        };
        self.free_at = self.free_at.max(now) + conditions.transmission(bytes);
        let spread = self.rng.next_u32();
        let jitter = conditions.jitter.mul_f64(f64::from(spread) / f64::from(u32::MAX));
        let mut due = self.free_at + conditions.latency + jitter;
        for _ in 0..bytes.div_ceil(SEGMENT_BYTES) {
            if self.rng.next_u32() % 1000 < conditions.loss_permille {
                due += REPEATED_AFTER + conditions.latency * 2;
            }
        }
        // What comes later is not there earlier.
        let before = self.waiting.back().map(|(due, _)| *due);
        self.held_bytes += bytes;
        self.waiting.push_back((due.max(before.unwrap_or_default()), stretch));
    }

    /// When the next stretch is due under `conditions`; never while the link is cut.
    #[must_use]
    pub fn next_due(&self, conditions: &Conditions) -> Option<Duration> {
        let first = self.waiting.front().map(|(due, _)| *due);
        first.filter(|_| !conditions.cut)
    }

    /// The next stretch that is due at `now` under `conditions`.
    pub fn poll(&mut self, now: Duration, conditions: &Conditions) -> Option<Stretch> {
        if self.next_due(conditions)? > now {
            return None;
        }
        let (_, stretch) = self.waiting.pop_front()?;
        if let Stretch::Bytes(bytes) = &stretch {
            self.held_bytes -= bytes.len();
        }
        Some(stretch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn bytes(number: u8) -> Stretch {
        Stretch::Bytes(vec![number; 100])
    }

    /// Offers 200 stretches and their end, one per millisecond; answers when each comes out.
    fn pass(conditions: Conditions) -> Vec<Duration> {
        let mut queue = ByteQueue::new(7, 0);
        for number in 0..200u8 {
            queue.offer(MS * u32::from(number), &conditions, bytes(number));
        }
        queue.offer(MS * 200, &conditions, Stretch::End);
        let mut out = Vec::new();
        for number in 0..200u8 {
            let due = queue.next_due(&conditions).unwrap();
            assert_eq!(queue.poll(due, &conditions), Some(bytes(number)));
            out.push(due);
        }
        let due = queue.next_due(&conditions).unwrap();
        assert_eq!(queue.poll(due, &conditions), Some(Stretch::End));
        assert_eq!(queue.next_due(&conditions), None);
        out
    }

    #[test]
    fn a_stream_keeps_its_order_whatever_the_conditions() {
        let at_once: Vec<_> = (0..200).map(|number| MS * number).collect();
        assert_eq!(pass(Conditions::default()), at_once);
        let slow: Vec<_> = (50..250).map(|number| MS * number).collect();
        assert_eq!(pass(Conditions::slow(MS * 50)), slow);
        let rough = Conditions { jitter: MS * 20, ..Conditions::slow(MS * 50) };
        assert!(pass(rough).is_sorted());
    }

    #[test]
    fn loss_shows_as_time() {
        let lossy = pass(Conditions::lossy(50));
        assert!(lossy.is_sorted());
        let late = (0..).zip(&lossy).filter(|(number, due)| **due > MS * *number).count();
        assert!(late > 50, "a repetition holds up what comes behind it");
        assert!(*lossy.last().unwrap() < MS * 200 + REPEATED_AFTER * 3);
    }

    #[test]
    fn a_cut_holds_everything_until_it_heals() {
        let mut queue = ByteQueue::new(7, 0);
        queue.offer(MS, &Conditions::CUT, bytes(1));
        assert_eq!(queue.poll(MS * 1_000_000, &Conditions::CUT), None);
        let healed = Conditions::default();
        assert_eq!(queue.poll(MS * 2, &healed), Some(bytes(1)));
    }

    #[test]
    fn a_stream_holds_no_more_than_its_bound() {
        let mut queue = ByteQueue::new(7, 0);
        while queue.has_room() {
            queue.offer(MS, &Conditions::CUT, Stretch::Bytes(vec![0; 16 * 1024]));
        }
        assert!(queue.held_bytes <= STREAM_BYTES_MAX + 16 * 1024);
        while queue.poll(MS * 2, &Conditions::default()).is_some() {}
        assert!(queue.has_room());
    }
}
