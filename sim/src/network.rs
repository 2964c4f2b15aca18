//! Links between processes: delays, losses, blocked directions, connections that come and go.
//!
//! A link stands for a QUIC connection. On each of its streams messages arrive in order; between
//! streams there is no order. What is lost on the way is repeated by the transport, so loss is
//! delay, until the silence lasts too long and the connection is given up.

use std::collections::BTreeMap;

use rand_chacha::ChaCha20Rng;
use tidings_types::NodeId;

use crate::randomness::{Draw, Seed};
use crate::scenario::Weather;
use crate::setup::Seat;
use crate::time::VirtualTime;

/// After so much silence a peer counts as dead, as in the node's own links.
pub const IDLE_TIMEOUT_MS: u64 = 2_000;

/// Names a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// The two ends of a connection; the first one calls.
pub type Ends = [Seat; 2];

/// How one end of a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It will be told that the link is up.
    Opening,
    /// It was told so.
    Up,
    /// It was told that the link is gone, or is gone itself.
    Down,
}

/// A message that is held up in a blocked direction.
#[derive(Debug)]
pub struct Held<M> {
    /// On which stream.
    pub stream: u64,
    /// What.
    pub message: M,
}

#[derive(Debug)]
struct Link<M> {
    ends: Ends,
    /// Which start of each end's process the link belongs to.
    generations: [u32; 2],
    states: [End; 2],
    opens_at: [VirtualTime; 2],
    /// When the last message on each stream arrives, by sending side.
    last: BTreeMap<(usize, u64), VirtualTime>,
    /// What was under way when the way was blocked, by sending side.
    caught: [Vec<Held<M>>; 2],
    /// What was sent since, by sending side.
    held: [Vec<Held<M>>; 2],
}

#[derive(Debug)]
struct Pair {
    rng: ChaCha20Rng,
    delay_us: u64,
    /// How many faults block the way from each side.
    blocked: [u32; 2],
    blocked_since: [VirtualTime; 2],
    link: Option<LinkId>,
    attempt: u32,
}

/// All links, and the ways they take.
#[derive(Debug)]
pub struct Network<M> {
    pairs: BTreeMap<Ends, Pair>,
    links: BTreeMap<LinkId, Link<M>>,
    next_link: u64,
    weather: Weather,
    /// Loss on top of the weather's, in a thousand.
    pub extra_loss_permille: u64,
    /// Delay on top of every message from or to a node, in microseconds.
    pub extra_delay_us: BTreeMap<NodeId, u64>,
}

impl<M> Network<M> {
    /// A network in which nothing is connected yet.
    #[must_use]
    pub fn new(seed: Seed, weather: Weather, pairs: impl IntoIterator<Item = Ends>) -> Self {
        let pair = |ends: Ends| {
            let code = |seat: Seat| u64::from(seat.node.0) << 8 | u64::from(seat.twin);
            let mut rng = seed.stream("link", code(ends[0]) << 32 | code(ends[1]));
            let delay_us = rng.between(weather.delay_us.0..=weather.delay_us.1);
            let blocked_since = [VirtualTime::default(); 2];
            Pair { rng, delay_us, blocked: [0; 2], blocked_since, link: None, attempt: 0 }
        };
        Self {
            pairs: pairs.into_iter().map(|ends| (ends, pair(ends))).collect(),
            links: BTreeMap::new(),
            next_link: 0,
            weather,
            extra_loss_permille: 0,
            extra_delay_us: BTreeMap::new(),
        }
    }

    /// Every pair of seats that may be connected.
    pub fn pairs(&self) -> impl Iterator<Item = Ends> {
        self.pairs.keys().copied()
    }

    /// Makes another pair of seats the one that may be connected, or no longer.
    pub fn allow(&mut self, seed: Seed, ends: Ends, allowed: bool) {
        if !allowed {
            self.pairs.remove(&ends);
        } else if !self.pairs.contains_key(&ends) {
            let other = Self::new(seed, self.weather, [ends]);
            self.pairs.extend(other.pairs);
        }
    }

    /// The delay of one message between two seats, in microseconds.
    pub fn delay_us(&mut self, ends: Ends) -> u64 {
        let extra = |seat: Seat| self.extra_delay_us.get(&seat.node).copied().unwrap_or_default();
        let extra_us = ends.into_iter().map(extra).sum::<u64>();
        let loss = self.weather.loss_permille + self.extra_loss_permille;
        let jitter_us = self.weather.jitter_us;
        let Some(pair) = self.pairs.get_mut(&ends) else { return extra_us };
        let mut delay_us = pair.delay_us + pair.rng.below(jitter_us + 1) + extra_us;
        // Each loss costs a timeout, and the repetition can be lost too.
        let mut timeout_us = 3 * pair.delay_us + 25_000;
        while pair.rng.chance(loss.min(600)) {
            delay_us += timeout_us;
            timeout_us = (timeout_us * 2).min(1_000_000);
        }
        delay_us
    }

    /// The link of a pair, while there is one.
    #[must_use]
    pub fn link_of(&self, ends: Ends) -> Option<LinkId> {
        self.pairs.get(&ends)?.link
    }

    /// Whether nothing gets from one end to the other, or nothing back.
    #[must_use]
    pub fn is_blocked(&self, ends: Ends) -> bool {
        self.pairs.get(&ends).is_none_or(|pair| pair.blocked != [0; 2])
    }

    /// How long to wait before the next call, in milliseconds; longer with each.
    pub fn redial_delay_ms(&mut self, ends: Ends) -> u64 {
        let Some(pair) = self.pairs.get_mut(&ends) else { return 1_000 };
        let delay_ms = (50 << pair.attempt.min(5)).min(1_000);
        pair.attempt += 1;
        delay_ms - pair.rng.below(delay_ms / 4 + 1)
    }

    /// Connects a pair; answers when each end is told.
    pub fn open(
        &mut self,
        ends: Ends,
        generations: [u32; 2],
        now: VirtualTime,
    ) -> (LinkId, [VirtualTime; 2]) {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let legs_us: Vec<u64> = (0..4).map(|_| self.delay_us(ends)).collect();
        let answered = now.plus_us(legs_us.iter().take(3).sum());
        let opens_at = [answered, now.plus_us(legs_us.iter().sum())];
        let link = Link {
            ends,
            generations,
            states: [End::Opening; 2],
            opens_at,
            last: BTreeMap::new(),
            caught: [Vec::new(), Vec::new()],
            held: [Vec::new(), Vec::new()],
        };
        self.links.insert(id, link);
        if let Some(pair) = self.pairs.get_mut(&ends) {
            pair.link = Some(id);
            pair.attempt = 0;
        }
        (id, opens_at)
    }

    /// The ends of a link, while it is there.
    #[must_use]
    pub fn ends(&self, link: LinkId) -> Option<Ends> {
        self.links.get(&link).map(|link| link.ends)
    }

    /// Which start of a seat's process the link belongs to.
    #[must_use]
    pub fn generation(&self, link: LinkId, seat: Seat) -> Option<u32> {
        let link = self.links.get(&link)?;
        link.generations.get(side(&link.ends, seat)?).copied()
    }

    /// How one end of a link stands.
    #[must_use]
    pub fn state(&self, link: LinkId, seat: Seat) -> End {
        let found = self.links.get(&link);
        let state = found.and_then(|link| link.states.get(side(&link.ends, seat)?).copied());
        state.unwrap_or(End::Down)
    }

    /// Changes how one end stands; a link with both ends down is forgotten.
    pub fn set_state(&mut self, id: LinkId, seat: Seat, state: End) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(side) = side(&link.ends, seat) else { return };
        link.states[side] = state;
        if link.states == [End::Down; 2] {
            let ends = link.ends;
            self.links.remove(&id);
            if let Some(pair) = self.pairs.get_mut(&ends)
                && pair.link == Some(id)
            {
                pair.link = None;
            }
        }
    }

    /// Sends a message; answers when it arrives, unless it is held up.
    ///
    /// `late_us` is a delay of the sender's own doing, and with it there is no order.
    pub fn send(
        &mut self,
        id: LinkId,
        from: Seat,
        held: Held<M>,
        now: VirtualTime,
        late_us: u64,
    ) -> Option<(VirtualTime, Seat, Held<M>)> {
        let ends = self.ends(id)?;
        let side = side(&ends, from)?;
        let is_blocked = self.pairs.get(&ends).is_some_and(|pair| pair.blocked[side] > 0);
        let delay_us = self.delay_us(ends);
        let link = self.links.get_mut(&id)?;
        if is_blocked {
            link.held[side].push(held);
            return None;
        }
        let other = 1 - side;
        let mut at = now.plus_us(delay_us + late_us).max(link.opens_at[other]);
        if late_us == 0 {
            let last = link.last.entry((side, held.stream)).or_default();
            at = at.max(*last);
            *last = at;
        }
        Some((at, ends[other], held))
    }

    /// A message is there; answers it if it gets through.
    pub fn arrive(&mut self, id: LinkId, to: Seat, held: Held<M>) -> Option<M> {
        let link = self.links.get_mut(&id)?;
        let side = side(&link.ends, to)?;
        let pair = self.pairs.get(&link.ends)?;
        if pair.blocked[1 - side] > 0 {
            link.caught[1 - side].push(held);
            return None;
        }
        (link.states[side] == End::Up).then_some(held.message)
    }

    /// Blocks the way from `from` to `to`.
    pub fn block(&mut self, from: Seat, to: Seat, now: VirtualTime) {
        if let Some((pair, side)) = self.way(from, to) {
            pair.blocked[side] += 1;
            if pair.blocked[side] == 1 {
                pair.blocked_since[side] = now;
            }
        }
    }

    /// Takes one block off the way; answers what was held up, if the way is free now.
    pub fn unblock(&mut self, from: Seat, to: Seat) -> Option<(LinkId, Vec<Held<M>>)> {
        let (pair, side) = self.way(from, to)?;
        pair.blocked[side] = pair.blocked[side].saturating_sub(1);
        if pair.blocked[side] > 0 {
            return None;
        }
        let id = pair.link?;
        let link = self.links.get_mut(&id)?;
        let mut all = std::mem::take(&mut link.caught[side]);
        all.append(&mut link.held[side]);
        Some((id, all))
    }

    /// Whether the way has been blocked for as long as a peer waits.
    #[must_use]
    pub fn is_silent(&self, from: Seat, to: Seat, now: VirtualTime) -> bool {
        let ends = ends_of(from, to);
        let Some((pair, side)) = self.pairs.get(&ends).zip(side(&ends, from)) else { return false };
        pair.blocked[side] > 0 && now.since_us(pair.blocked_since[side]) >= IDLE_TIMEOUT_MS * 1_000
    }

    /// Whether anything blocks the way from `from` to `to`.
    #[must_use]
    pub fn is_way_blocked(&self, from: Seat, to: Seat) -> bool {
        let ends = ends_of(from, to);
        let found = self.pairs.get(&ends).zip(side(&ends, from));
        found.is_some_and(|(pair, side)| pair.blocked[side] > 0)
    }

    fn way(&mut self, from: Seat, to: Seat) -> Option<(&mut Pair, usize)> {
        let ends = ends_of(from, to);
        let side = side(&ends, from)?;
        Some((self.pairs.get_mut(&ends)?, side))
    }
}

/// Two seats in the order of their calling: the lower one calls.
#[must_use]
pub fn ends_of(one: Seat, other: Seat) -> Ends {
    if one < other { [one, other] } else { [other, one] }
}

fn side(ends: &Ends, seat: Seat) -> Option<usize> {
    ends.iter().position(|end| *end == seat)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Seat = Seat::of(NodeId(1));
    const TWO: Seat = Seat::of(NodeId(2));

    fn network(loss_permille: u64) -> (Network<u32>, LinkId) {
        let weather = Weather {
            delay_us: (100, 10_000),
            jitter_us: 5_000,
            loss_permille,
            lost_calls_permille: 0,
            sync_us: (1, 1),
        };
        let mut network = Network::new(Seed(1), weather, [[ONE, TWO]]);
        let (link, _) = network.open([ONE, TWO], [0, 0], VirtualTime::default());
        network.set_state(link, ONE, End::Up);
        network.set_state(link, TWO, End::Up);
        (network, link)
    }

    fn message(stream: u64, message: u32) -> Held<u32> {
        Held { stream, message }
    }

    #[test]
    fn a_stream_keeps_its_order_and_streams_overtake_each_other() {
        let (mut network, link) = network(200);
        let now = VirtualTime::from_ms(1_000);
        let mut last = [VirtualTime::default(); 2];
        let mut overtaken = false;
        for number in 0..200 {
            let stream = u64::from(number % 2);
            let sent = network.send(link, ONE, message(stream, number), now, 0);
            let (at, to, _) = sent.unwrap();
            assert_eq!(to, TWO);
            let place = usize::try_from(stream).unwrap();
            assert!(at >= last[place]);
            overtaken |= at < last[1 - place];
            last[place] = at;
        }
        assert!(overtaken);
    }

    #[test]
    fn a_blocked_way_holds_messages_until_it_is_free() {
        let (mut network, link) = network(0);
        let now = VirtualTime::from_ms(1_000);
        network.block(ONE, TWO, now);
        network.block(ONE, TWO, now);
        assert!(network.send(link, ONE, message(0, 1), now, 0).is_none());
        assert!(network.send(link, TWO, message(0, 2), now, 0).is_some());
        // What was under way already is lost and repeated, before what was sent after it.
        assert!(network.arrive(link, TWO, message(0, 3)).is_none());
        assert!(!network.is_silent(ONE, TWO, now.plus_ms(1_999)));
        assert!(network.is_silent(ONE, TWO, now.plus_ms(2_000)));
        assert!(network.unblock(ONE, TWO).is_none());
        let (freed, held) = network.unblock(ONE, TWO).unwrap();
        assert_eq!(freed, link);
        assert_eq!(held.iter().map(|held| held.message).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(network.arrive(link, TWO, message(0, 1)), Some(1));
    }

    #[test]
    fn a_link_is_gone_when_both_ends_know() {
        let (mut network, link) = network(0);
        network.set_state(link, ONE, End::Down);
        assert_eq!(network.state(link, TWO), End::Up);
        assert_eq!(network.link_of([ONE, TWO]), Some(link));
        network.set_state(link, TWO, End::Down);
        assert_eq!(network.link_of([ONE, TWO]), None);
        assert_eq!(network.state(link, TWO), End::Down);
        assert!(network.arrive(link, TWO, message(0, 1)).is_none());
    }
}
