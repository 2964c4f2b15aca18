//! One direction of a link for packets, as a queue in virtual time.
//!
//! Time is a [`Duration`] since the relay began, given by the caller; randomness comes from a
//! seed. So the same packets at the same times leave in the same way.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::conditions::{BACKLOG_MAX, Conditions, HELD_BACK};

/// How many packets one direction of a link holds at most; more are dropped.
const PACKETS_MAX: usize = 65_536;

/// What has passed a direction of a link, in packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Came in.
    pub taken: u64,
    /// Went out, repeats included.
    pub passed: u64,
    /// Were dropped: by chance, by a cut, or for want of room.
    pub dropped: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.taken += other.taken;
        self.passed += other.passed;
        self.dropped += other.dropped;
    }
}

/// A packet under way, ordered by when it is due and then by when it came.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    due: Duration,
    serial: u64,
    packet: Vec<u8>,
}

/// One direction of a link.
#[derive(Debug)]
pub struct PacketQueue {
    conditions: Conditions,
    rng: ChaCha20Rng,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    serial: u64,
    /// When the link has transmitted all that it took.
    free_at: Duration,
    counts: Counts,
}

impl PacketQueue {
    /// A link whose chances are drawn from `seed`, and from `stream` among those of that seed.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self {
            conditions: Conditions::default(),
            rng,
            in_flight: BinaryHeap::new(),
            serial: 0,
            free_at: Duration::ZERO,
            counts: Counts::default(),
        }
    }

    /// Changes the conditions; a cut drops what is under way.
    pub fn set(&mut self, conditions: Conditions) {
        if conditions.cut {
            self.counts.dropped += self.in_flight.len() as u64;
            self.in_flight.clear();
        }
        self.conditions = conditions;
    }

    /// What has passed so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes a packet that comes at `now`.
    pub fn offer(&mut self, now: Duration, packet: Vec<u8>) {
        self.counts.taken += 1;
        // As many draws for each packet, whatever the conditions: a change of conditions then
        // changes the fate of no later packet.
        let [loss, duplicate, reorder] = [(); 3].map(|()| self.rng.next_u32() % 1000);
        let spreads = [(); 2].map(|()| self.rng.next_u32());
        let Conditions { cut, latency, loss_permille, .. } = self.conditions;
        let begins = self.free_at.max(now);
        let is_full = begins - now > BACKLOG_MAX || self.in_flight.len() >= PACKETS_MAX;
        if cut || loss < loss_permille || is_full {
            self.counts.dropped += 1;
            return;
        }
        self.free_at = begins + self.conditions.transmission(packet.len());
        let held_back = match reorder < self.conditions.reorder_permille {
            true => HELD_BACK,
            false => Duration::ZERO,
        };
        let [due, again] = spreads.map(|spread| {
            let jitter = self.conditions.jitter.mul_f64(f64::from(spread) / f64::from(u32::MAX));
            self.free_at + latency + jitter + held_back
        });
        if duplicate < self.conditions.duplicate_permille {
            self.enter(again, packet.clone());
        }
        self.enter(due, packet);
    }

    fn enter(&mut self, due: Duration, packet: Vec<u8>) {
        self.in_flight.push(Reverse(InFlight { due, serial: self.serial, packet }));
        self.serial += 1;
    }

    /// When the next packet is due, if one is under way.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.in_flight.peek().map(|Reverse(first)| first.due)
    }

    /// The next packet that is due at `now`.
    pub fn poll(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse(first) = self.in_flight.pop()?;
        self.counts.passed += 1;
        Some(first.packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Offers `count` numbered packets of `bytes` bytes, one per millisecond, and answers what
    /// comes out: when, and which.
    fn pass(queue: &mut PacketQueue, count: u32, bytes: usize) -> Vec<(Duration, u32)> {
        let mut out = Vec::new();
        for number in 0..count {
            let mut packet = number.to_be_bytes().to_vec();
            packet.resize(bytes.max(4), 0);
            queue.offer(MS * number, packet);
        }
        while let Some(due) = queue.next_due() {
            if let Some(before) = due.checked_sub(Duration::from_nanos(1)) {
                assert_eq!(queue.poll(before), None);
            }
            let packet = queue.poll(due).unwrap();
            out.push((due, u32::from_be_bytes(packet[..4].try_into().unwrap())));
        }
        out
    }

    fn under(conditions: Conditions) -> PacketQueue {
        let mut queue = PacketQueue::new(7, 0);
        queue.set(conditions);
        queue
    }

    fn numbers(out: &[(Duration, u32)]) -> Vec<u32> {
        out.iter().map(|(_, number)| *number).collect()
    }

    #[test]
    fn without_conditions_everything_passes_at_once() {
        let mut queue = under(Conditions::default());
        let expected: Vec<_> = (0..100).map(|number| (MS * number, number)).collect();
        assert_eq!(pass(&mut queue, 100, 10), expected);
        assert_eq!(queue.counts(), Counts { taken: 100, passed: 100, dropped: 0 });
    }

    #[test]
    fn latency_moves_everything() {
        let mut queue = under(Conditions::slow(MS * 200));
        let expected: Vec<_> = (0..10).map(|number| (MS * (200 + number), number)).collect();
        assert_eq!(pass(&mut queue, 10, 10), expected);
    }

    #[test]
    fn loss_is_as_frequent_as_it_should_be() {
        let mut queue = under(Conditions::lossy(50));
        let passed = pass(&mut queue, 10_000, 10).len();
        assert!((9_400..9_600).contains(&passed), "{passed}");
        assert_eq!(queue.counts().dropped, 10_000 - passed as u64);
        assert!(pass(&mut under(Conditions::lossy(1000)), 100, 10).is_empty());
    }

    #[test]
    fn duplicates_come_twice_and_nothing_else_does() {
        let mut queue = under(Conditions { duplicate_permille: 100, ..Conditions::default() });
        let mut seen = numbers(&pass(&mut queue, 1_000, 10));
        let all = seen.len();
        assert!((1_050..1_150).contains(&all), "{all}");
        seen.dedup();
        assert_eq!(seen, Vec::from_iter(0..1_000));
    }

    #[test]
    fn held_back_packets_come_after_later_ones() {
        let mut queue = under(Conditions { reorder_permille: 20, ..Conditions::default() });
        let seen = numbers(&pass(&mut queue, 1_000, 10));
        let overtaken = seen.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!((5..40).contains(&overtaken), "{overtaken}");
        let mut sorted = seen;
        sorted.sort_unstable();
        assert_eq!(sorted, Vec::from_iter(0..1_000));
    }

    #[test]
    fn jitter_is_within_its_bound() {
        let mut queue = under(Conditions { jitter: MS * 5, ..Conditions::slow(MS * 50) });
        let out = pass(&mut queue, 1_000, 10);
        let late = out.iter().map(|(due, number)| *due - MS * *number);
        let (least, most) = (late.clone().min().unwrap(), late.max().unwrap());
        assert!(least >= MS * 50 && most <= MS * 55, "{least:?} {most:?}");
        assert!(most - least > MS * 4);
    }

    #[test]
    fn bandwidth_spaces_packets_and_drops_what_cannot_wait() {
        let rate = Some(100_000);
        let mut queue =
            under(Conditions { bandwidth_bytes_per_second: rate, ..Conditions::default() });
        // 1,000 bytes take 10 ms each and come every millisecond.
        let out = pass(&mut queue, 1_000, 1_000);
        assert!(out.windows(2).all(|pair| pair[1].0 - pair[0].0 == MS * 10));
        let most = out.iter().map(|(due, number)| *due - MS * *number).max().unwrap();
        assert!(most <= BACKLOG_MAX + MS * 10, "{most:?}");
        assert!(queue.counts().dropped > 800);
    }

    #[test]
    fn a_cut_drops_what_is_under_way_and_what_comes() {
        let mut queue = under(Conditions::slow(MS * 10));
        queue.offer(MS, vec![1]);
        queue.set(Conditions::CUT);
        queue.offer(MS * 2, vec![2]);
        assert_eq!(queue.next_due(), None);
        queue.set(Conditions::default());
        queue.offer(MS * 3, vec![3]);
        assert_eq!(queue.poll(MS * 3), Some(vec![3]));
        assert_eq!(queue.counts(), Counts { taken: 3, passed: 1, dropped: 2 });
    }

    #[test]
    fn a_seed_decides_everything() {
        let rough = Conditions {
            jitter: MS * 7,
            loss_permille: 50,
            duplicate_permille: 30,
            reorder_permille: 30,
            ..Conditions::slow(MS * 3)
        };
        let run = |seed, stream| {
            let mut queue = PacketQueue::new(seed, stream);
            queue.set(rough);
            pass(&mut queue, 500, 100)
        };
        assert_eq!(run(1, 0), run(1, 0));
        assert_ne!(run(1, 0), run(2, 0));
        assert_ne!(run(1, 0), run(1, 1));
    }

    #[test]
    fn conditions_in_between_change_no_later_fate() {
        let mut calm = under(Conditions::lossy(50));
        let mut rough = under(Conditions::CUT);
        pass(&mut rough, 100, 10);
        rough.set(Conditions::lossy(50));
        pass(&mut calm, 100, 10);
        assert_eq!(numbers(&pass(&mut calm, 500, 10)), numbers(&pass(&mut rough, 500, 10)));
    }
}
