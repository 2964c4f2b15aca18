//! The scenario's acts: faults begin and end, clients do something.

use tidings_envelope::Lane;
use tidings_types::{NodeId, Period};

use super::host::Status;
use super::{Event, Over, World};
use crate::crowd::{Page, Wish};
use crate::disk::Disk;
use crate::network::{End, Ends, IDLE_TIMEOUT_MS, ends_of};
use crate::randomness::Draw;
use crate::scenario::{Cheat, Fault, Happening, Trick, Work};
use crate::setup::Seat;
use crate::time::VirtualTime;

/// The pace of a clock that runs too fast.
const HURRY_PPM: u64 = 5_000_000;

impl World {
    pub(super) fn act(&mut self, place: usize) {
        let Some(act) = self.scenario.acts.get(place).cloned() else { return };
        if self.healed_at.is_some() {
            return;
        }
        let number = (act.number as u64).to_be_bytes();
        self.trace.note(self.now, act.what.kind(), &number, || act.to_string());
        match act.what {
            Happening::Fault(fault) => self.begin_fault(fault),
            Happening::Work(work) => self.work(work),
        }
    }

    fn later(&mut self, ms: u64, over: Over) {
        self.queue.push(self.now.plus_ms(ms), Event::Over(over));
    }

    fn begin_fault(&mut self, fault: Fault) {
        self.coverage.count(name(&fault));
        match fault {
            Fault::Crash { node, down_ms, lands } => self.crash(node, down_ms, lands),
            Fault::PowerCut { down_ms, lands } => {
                let nodes: Vec<NodeId> = self.setup.nodes().collect();
                nodes.into_iter().for_each(|node| self.crash(node, down_ms, lands));
            }
            Fault::Restart { node, down_ms } => self.restart(node, down_ms),
            Fault::Pause { node, for_ms } => self.pause(node, for_ms),
            Fault::Reset { one, other } => {
                for ends in self.ways(one).into_iter().filter(|ends| touches(ends, other)) {
                    self.reset(ends);
                }
            }
            Fault::Partition { side, both_ways, for_ms } => {
                let inside = |seat: &Seat| side.contains(&seat.node);
                let pairs: Vec<Ends> = self.network.pairs().collect();
                let crossing = pairs.iter().filter(|[one, other]| inside(one) != inside(other));
                let out = crossing.map(|[one, other]| match inside(one) {
                    true => (*one, *other),
                    false => (*other, *one),
                });
                let mut ways: Vec<(Seat, Seat)> = out.collect();
                if both_ways {
                    let back: Vec<_> = ways.iter().map(|(from, to)| (*to, *from)).collect();
                    ways.extend(back);
                }
                self.block(&ways);
                self.later(for_ms, Over::Partition(ways));
            }
            Fault::Slow { node, extra_ms, for_ms } => {
                *self.network.extra_delay_us.entry(node).or_default() += extra_ms * 1_000;
                self.later(for_ms, Over::Slow(node, extra_ms));
            }
            Fault::Lossy { permille, for_ms } => {
                self.network.extra_loss_permille += permille;
                self.later(for_ms, Over::Lossy(permille));
            }
            Fault::ClockJump { node, by_s } => {
                for seat in self.seats_of(node) {
                    if let Some(host) = self.hosts.get_mut(&seat) {
                        host.clock.wall_offset_s += by_s;
                    }
                }
            }
            Fault::Epoch { change } => {
                self.setup.change(change);
                self.ledger.registry_changed(&self.setup);
                let seats: Vec<Seat> = self.hosts.keys().copied().collect();
                for seat in seats {
                    let after_ms = self.rng.below(4_000);
                    self.queue.push(self.now.plus_ms(after_ms), Event::Registry(seat));
                }
            }
            Fault::Cheat { node, cheat } => self.take_up(node, cheat),
            _ => self.begin_disk_fault(fault),
        }
    }

    fn begin_disk_fault(&mut self, fault: Fault) {
        let node = match &fault {
            Fault::DiskFails { node, .. }
            | Fault::DiskSlow { node, .. }
            | Fault::DiskLies { node, .. }
            | Fault::Restore { node, .. }
            | Fault::DiskLost { node, .. }
            | Fault::BitRot { node, .. } => *node,
            _ => return,
        };
        for seat in self.seats_of(node) {
            let Some(host) = self.hosts.get_mut(&seat) else { continue };
            match fault {
                Fault::DiskFails { for_ms, lands, .. } => {
                    host.failing += 1;
                    host.failures_land = lands;
                    self.later(for_ms, Over::DiskFails(seat));
                }
                Fault::DiskSlow { sync_ms, for_ms, .. } => {
                    host.slow_ms += sync_ms;
                    self.later(for_ms, Over::DiskSlow(seat, sync_ms));
                }
                Fault::DiskLies { for_ms, down_ms, .. } => {
                    host.truth = Some(Box::new(host.disk.clone()));
                    self.ledger.damaged.insert(node);
                    self.later(for_ms, Over::LieEnds(seat, down_ms));
                }
                Fault::Restore { age_ms, down_ms, .. } => {
                    host.backup = Some(Box::new(host.disk.clone()));
                    self.later(age_ms, Over::RestoreBegins(seat, down_ms));
                }
                Fault::DiskLost { down_ms, .. } => {
                    self.ledger.damaged.insert(node);
                    self.stop(seat, down_ms, false);
                    if let Some(host) = self.hosts.get_mut(&seat) {
                        host.disk = Disk::default();
                    }
                }
                Fault::BitRot { rot, down_ms, .. } => {
                    self.ledger.damaged.insert(node);
                    self.stop(seat, down_ms, true);
                    if let Some(host) = self.hosts.get_mut(&seat) {
                        host.disk.rot(rot, &mut self.rng);
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn over(&mut self, over: Over) {
        match over {
            Over::Start(seat) => self.start(seat),
            Over::Partition(ways) => self.unblock(&ways),
            Over::Slow(node, extra_ms) => {
                let extra_us = self.network.extra_delay_us.entry(node).or_default();
                *extra_us = extra_us.saturating_sub(extra_ms * 1_000);
            }
            Over::Lossy(permille) => {
                let loss = &mut self.network.extra_loss_permille;
                *loss = loss.saturating_sub(permille);
            }
            Over::DiskFails(seat) => {
                if let Some(host) = self.hosts.get_mut(&seat) {
                    host.failing = host.failing.saturating_sub(1);
                }
            }
            Over::DiskSlow(seat, sync_ms) => {
                if let Some(host) = self.hosts.get_mut(&seat) {
                    host.slow_ms = host.slow_ms.saturating_sub(sync_ms);
                }
            }
            Over::LieEnds(seat, down_ms) => self.stop(seat, down_ms, false),
            Over::RestoreBegins(seat, down_ms) => {
                let backup = self.hosts.get_mut(&seat).and_then(|host| host.backup.take());
                if let Some(backup) = backup {
                    self.ledger.damaged.insert(seat.node);
                    self.stop(seat, down_ms, false);
                    if let Some(host) = self.hosts.get_mut(&seat) {
                        host.disk = *backup;
                    }
                }
            }
            Over::Swap(node) => self.swap(node),
        }
    }

    fn crash(&mut self, node: NodeId, down_ms: u64, lands: bool) {
        for seat in self.seats_of(node) {
            self.stop(seat, down_ms, lands);
        }
    }

    /// Kills a process and plans its next start; one that is down already stays so for longer.
    fn stop(&mut self, seat: Seat, down_ms: u64, lands: bool) {
        self.kill(seat, lands);
        self.later(down_ms, Over::Start(seat));
    }

    /// Ends a process in order: its peers hear of it, and its transactions are finished.
    fn restart(&mut self, node: NodeId, down_ms: u64) {
        for seat in self.seats_of(node) {
            let Some(process) = self.process(seat) else { continue };
            let (generation, links) = (process.generation, process.links.clone());
            self.end_feeds(seat);
            self.input(seat, generation, |replica, _| replica.drain());
            for link in links.into_values() {
                self.link_down(link, seat);
            }
            if let Some(host) = self.hosts.get_mut(&seat)
                && host.failing == 0
                && let Some(process) = host.process_mut()
            {
                let mut sets = std::mem::take(&mut process.writing.sets);
                sets.extend(process.queued.drain(..).map(|(_, set)| set));
                self.commit(seat, &sets);
            }
            self.stop(seat, down_ms, false);
        }
    }

    /// A process stands still; its peers take it for dead when it does so for too long.
    fn pause(&mut self, node: NodeId, for_ms: u64) {
        let until = self.now.plus_ms(for_ms);
        for seat in self.seats_of(node) {
            let Some(host) = self.hosts.get_mut(&seat) else { continue };
            host.paused_until = host.paused_until.max(until);
            if for_ms < IDLE_TIMEOUT_MS {
                continue;
            }
            for ends in self.ways(node) {
                let other = if ends[0] == seat { ends[1] } else { ends[0] };
                let link = self.network.link_of(ends).filter(|_| touches(&ends, node));
                if let Some(link) = link.filter(|it| self.network.state(*it, other) == End::Up) {
                    let at = self.now.plus_ms(IDLE_TIMEOUT_MS);
                    self.queue.push(at, Event::Down(link, other));
                }
            }
        }
    }

    fn ways(&self, node: NodeId) -> Vec<Ends> {
        self.network.pairs().filter(|ends| touches(ends, node)).collect()
    }

    fn block(&mut self, ways: &[(Seat, Seat)]) {
        for (from, to) in ways {
            self.network.block(*from, *to, self.now);
            if let Some(link) = self.network.link_of(ends_of(*from, *to)) {
                let at = self.now.plus_ms(IDLE_TIMEOUT_MS);
                self.queue.push(at, Event::Silence(link, *from, *to));
            }
        }
    }

    fn unblock(&mut self, ways: &[(Seat, Seat)]) {
        for (from, to) in ways {
            let Some((link, held)) = self.network.unblock(*from, *to) else { continue };
            for held in held {
                self.dispatch(link, *from, held, 0);
            }
        }
    }

    fn take_up(&mut self, node: NodeId, cheat: Cheat) {
        if let Cheat::Twins { swap_ms, .. } = cheat
            && swap_ms > 0
        {
            self.queue.push(VirtualTime::from_ms(swap_ms), Event::Over(Over::Swap(node)));
        }
        for seat in self.seats_of(node) {
            if let Some(host) = self.hosts.get_mut(&seat) {
                if cheat == Cheat::Hurry {
                    host.clock.pace_ppm = HURRY_PPM;
                }
                host.habits.take_up(cheat.clone());
            }
        }
    }

    /// The peers of a node with two processes see the other one from now on.
    fn swap(&mut self, node: NodeId) {
        for ends in self.ways(node) {
            self.reset(ends);
            self.network.allow(self.scenario.seed, ends, false);
        }
        let nodes: Vec<NodeId> = self.setup.nodes().collect();
        if let Some(side) = self.sides.get_mut(&node) {
            *side = nodes.into_iter().filter(|it| !side.contains(it) && *it != node).collect();
        }
        let seats: Vec<Seat> = self.hosts.keys().copied().collect();
        for ends in super::pairs(&seats, &self.sides) {
            if touches(&ends, node) {
                self.network.allow(self.scenario.seed, ends, true);
                self.queue.push(self.now.plus_ms(1), Event::Dial(ends));
            }
        }
    }

    fn work(&mut self, work: Work) {
        match work {
            Work::Publish { author, lane, builds_on, length } => {
                let author = usize::try_from(author).unwrap_or(usize::MAX);
                self.wish(author, Wish { lane, length, builds_on, tries: 0 });
            }
            Work::Race { topic } => {
                let topic = usize::try_from(topic).unwrap_or(usize::MAX);
                let authors = self.crowd.authors.iter().enumerate();
                let racing = authors.filter(|(_, author)| author.conversation == topic);
                let racing: Vec<usize> = racing.map(|(place, _)| place).collect();
                for author in racing {
                    let lane = Lane::Ordered;
                    self.wish(author, Wish { lane, length: 64, builds_on: true, tries: 0 });
                }
            }
            Work::Trick(trick) => self.trick(trick),
        }
    }

    fn wish(&mut self, author: usize, wish: Wish) {
        if let Some(it) = self.crowd.authors.get_mut(author) {
            it.wishes.push_back(wish);
            self.queue.push(self.now, Event::Author(author));
        }
    }

    fn trick(&mut self, trick: Trick) {
        self.coverage.count("tricks");
        let periods = self.hosts.values().filter_map(|host| Some(host.process()?.replica.period()));
        let period = periods.max().unwrap_or(Period(0));
        for attempt in self.crowd.trick(trick, period, &mut self.ledger, &self.setup) {
            self.call(attempt.node, attempt.request, None, attempt.mixes);
        }
    }

    /// A reader asks a node for what comes next.
    pub(super) fn read(&mut self, reader: usize) {
        if let Some(page) = self.page(reader)
            && let Some(it) = self.crowd.readers.get_mut(reader)
            && let Some(conversation) = self.crowd.conversations.get(it.conversation)
        {
            let (delivered, is_in_order) = it.take(&page, conversation, &self.setup);
            for id in delivered {
                self.trace.note(self.now, "deliver", &id.0, || format!("{id}"));
                let check = self.ledger.delivered(id);
                self.check(check);
            }
            if !is_in_order {
                self.coverage.count("pages that were not in order");
            }
        }
        let wait_ms = self.rng.between(300..=2_000);
        self.queue.push(self.now.plus_ms(wait_ms), Event::Read(reader));
    }

    /// What the node that a reader asks next shows it.
    fn page(&mut self, reader: usize) -> Option<Page> {
        let it = self.crowd.readers.get_mut(reader)?;
        let conversation = self.crowd.conversations.get(it.conversation)?;
        let count = conversation.committee.len().max(1);
        let node = *conversation.committee.get(it.turn % count)?;
        if self.rng.chance(200) {
            it.turn += 1;
        }
        let limit = usize::try_from(self.rng.between(1..=40)).unwrap_or(1);
        let twin = u8::from(self.rng.chance(500));
        let seat = Seat { node, twin };
        let host = self.hosts.get(&seat).or_else(|| self.hosts.get(&Seat::of(node)))?;
        if !matches!(host.status, Status::Up(_)) || host.paused_until > self.now {
            it.turn += 1;
            return None;
        }
        let (topic, shard) = (conversation.topic, conversation.shard);
        let disk = match &host.habits.forgery {
            Some(forgery) if self.rng.chance(500) => &forgery.shown,
            _ => &host.disk,
        };
        let mut page = Page {
            broadcast: disk.broadcast_page(topic, &it.cursors, limit),
            ordered: disk.ordered_page(shard, topic, it.position, limit),
        };
        match host.habits.left_out() {
            Some(0) => page = Page::default(),
            Some(place) => {
                let place = usize::try_from(place).unwrap_or_default();
                if place < page.broadcast.len() {
                    page.broadcast.remove(place);
                }
                if place < page.ordered.len() {
                    page.ordered.remove(place);
                }
            }
            None => {}
        }
        Some(page)
    }
}

fn touches(ends: &Ends, node: NodeId) -> bool {
    ends.iter().any(|end| end.node == node)
}

/// The fault as it is counted.
fn name(fault: &Fault) -> &'static str {
    match fault {
        Fault::Crash { .. } => "faults: crash",
        Fault::PowerCut { .. } => "faults: power cut",
        Fault::Restart { .. } => "faults: restart in order",
        Fault::Pause { .. } => "faults: pause",
        Fault::Reset { .. } => "faults: connection reset",
        Fault::Partition { both_ways: true, .. } => "faults: partition",
        Fault::Partition { both_ways: false, .. } => "faults: one-way partition",
        Fault::Slow { .. } => "faults: slow links",
        Fault::Lossy { .. } => "faults: lossy links",
        Fault::DiskFails { .. } => "faults: failing disk",
        Fault::DiskSlow { .. } => "faults: slow disk",
        Fault::DiskLies { .. } => "faults: lying disk",
        Fault::Restore { .. } => "faults: old backup",
        Fault::DiskLost { .. } => "faults: lost disk",
        Fault::BitRot { .. } => "faults: bit rot",
        Fault::ClockJump { .. } => "faults: clock jump",
        Fault::Epoch { .. } => "faults: registry change",
        Fault::Cheat { cheat, .. } => match cheat {
            Cheat::Twins { .. } => "cheats: twins",
            Cheat::Omit { .. } => "cheats: omit",
            Cheat::Shuffle { .. } => "cheats: shuffle",
            Cheat::Replay { .. } => "cheats: replay",
            Cheat::Garble { .. } => "cheats: garble",
            Cheat::Misstate { .. } => "cheats: misstate",
            Cheat::Forge => "cheats: forge",
            Cheat::Withhold => "cheats: withhold",
            Cheat::Starve { .. } => "cheats: starve",
            Cheat::Lie => "cheats: lie",
            Cheat::Hurry => "cheats: hurry",
            Cheat::Fabricate => "cheats: fabricate",
            Cheat::Stale { .. } => "cheats: stale",
        },
    }
}
