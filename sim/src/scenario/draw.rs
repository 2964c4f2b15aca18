//! Drawing a scenario from its seed.

use std::collections::BTreeSet;

use rand_chacha::ChaCha20Rng;
use tidings_envelope::Lane;
use tidings_types::NodeId;

use super::{
    Act, Change, Cheat, Clock, Fault, Happening, Rot, Scenario, Shape, Strain, Trick, Weather, Work,
};
use crate::randomness::{Draw, Seed};
use crate::setup::Setup;
use crate::time::VirtualTime;

const DAY_S: i64 = 86_400;

const TRICKS: [Trick; 10] = [
    Trick::Garbage,
    Trick::WrongKey,
    Trick::Tampered,
    Trick::TooFar,
    Trick::Expired,
    Trick::Twice,
    Trick::Replayed,
    Trick::Elsewhere,
    Trick::WrongPayer,
    Trick::Everywhere,
];

impl Scenario {
    /// The scenario of a seed.
    #[must_use]
    pub fn draw(seed: Seed) -> Self {
        let rng = &mut seed.stream("scenario", 0);
        let shape = shape(rng);
        let weather = weather(rng);
        let clocks = (0..shape.nodes).map(|_| clock(rng)).collect();
        let mut drawing = Drawing::new(shape, rng);
        let beyond = shape.nodes == 4 && drawing.rng.chance(60);
        let mut happenings = if beyond { drawing.conspiracy() } else { drawing.damage() };
        drawing.faults(&mut happenings);
        drawing.work(&mut happenings);
        Self { seed, shape, weather, clocks, beyond, acts: acts(happenings) }
    }

    /// The scenario of a seed under a strain: its culprits take the place of those drawn.
    #[must_use]
    pub fn strained(seed: Seed, strain: Strain) -> Self {
        let rng = &mut seed.stream("scenario", 0);
        let shape = strain.shape(shape(rng));
        let weather = weather(rng);
        let clocks = (0..shape.nodes).map(|_| clock(rng)).collect();
        let mut drawing = Drawing::new(shape, rng);
        let nodes = drawing.nodes.clone();
        let mut happenings = strain.faults(&nodes, &shape, drawing.rng);
        drawing.faults(&mut happenings);
        drawing.work(&mut happenings);
        Self { seed, shape, weather, clocks, beyond: false, acts: acts(happenings) }
    }

    /// A calm network with a steady load, for measuring how fast the simulator is: one message
    /// and one ordered operation every ten seconds.
    #[must_use]
    pub fn calm(seed: Seed, length_ms: u64) -> Self {
        let shape = Shape {
            nodes: 4,
            shards: 1,
            replication: 4,
            period_ms: 10_000,
            length_ms,
            authors: 2,
            topics: 1,
        };
        let weather = Weather {
            delay_us: (1_000, 20_000),
            jitter_us: 1_000,
            loss_permille: 0,
            lost_calls_permille: 0,
            sync_us: (500, 2_000),
        };
        let clocks = vec![Clock { wall_offset_s: 0, pace_ppm: 1_000_000 }; 4];
        let mut acts = Vec::new();
        for at_ms in (5_000..length_ms).step_by(10_000) {
            for (author, lane) in [(0, Lane::Broadcast), (1, Lane::Ordered)] {
                let builds_on = lane == Lane::Ordered;
                let work = Work::Publish { author, lane, builds_on, length: 256 };
                let what = Happening::Work(work);
                let at = VirtualTime::from_ms(at_ms);
                acts.push(Act { number: acts.len(), at, what });
            }
        }
        Self { seed, shape, weather, clocks, beyond: false, acts }
    }
}

fn shape(rng: &mut ChaCha20Rng) -> Shape {
    let (nodes, shards, replication) = match rng.below(20) {
        0 | 1 => (7, 1, 7),
        2 => (8, 4, 4),
        3 => (6, 2, 4),
        4 => (5, 1, 5),
        _ => (4, 1, 4),
    };
    let topics = 1 + u32::try_from(rng.below(4)).unwrap_or_default();
    Shape {
        nodes,
        shards,
        replication,
        period_ms: *rng.pick(&[1_000, 2_000, 5_000]).unwrap_or(&5_000),
        length_ms: rng.between(20_000..=90_000),
        authors: topics + u32::try_from(rng.below(5)).unwrap_or_default(),
        topics,
    }
}

fn weather(rng: &mut ChaCha20Rng) -> Weather {
    let (least, most, jitter_us) = match rng.below(4) {
        0 => (100, 500, 200),
        1 => (500, 5_000, 2_000),
        2 => (5_000, 60_000, 10_000),
        _ => (1_000, 150_000, 40_000),
    };
    Weather {
        delay_us: (least, most),
        jitter_us,
        loss_permille: *rng.pick(&[0, 0, 5, 50]).unwrap_or(&0),
        lost_calls_permille: *rng.pick(&[0, 20, 100]).unwrap_or(&0),
        sync_us: *rng
            .pick(&[(100, 1_000), (1_000, 8_000), (5_000, 60_000)])
            .unwrap_or(&(100, 1_000)),
    }
}

fn clock(rng: &mut ChaCha20Rng) -> Clock {
    let wall_offset_s = match rng.below(3) {
        0 => 0,
        1 => DAY_S,
        _ => -DAY_S,
    };
    Clock { wall_offset_s, pace_ppm: rng.between(980_000..=1_020_000) }
}

pub(super) type Happenings = Vec<(VirtualTime, Happening)>;

/// By time, with their numbers.
fn acts(mut happenings: Happenings) -> Vec<Act> {
    happenings.sort_by_key(|(at, _)| *at);
    let numbered = happenings.into_iter().enumerate();
    numbered.map(|(number, (at, what))| Act { number, at, what }).collect()
}

struct Drawing<'a> {
    shape: Shape,
    rng: &'a mut ChaCha20Rng,
    nodes: Vec<NodeId>,
}

impl<'a> Drawing<'a> {
    fn new(shape: Shape, rng: &'a mut ChaCha20Rng) -> Self {
        Self { shape, rng, nodes: (1..=shape.nodes).map(NodeId).collect() }
    }

    /// Cheats and broken disks: at most f in each committee, for the whole run.
    fn damage(&mut self) -> Happenings {
        let mut happenings = Happenings::new();
        if self.rng.chance(150) {
            return happenings;
        }
        for node in self.culprits() {
            if self.rng.chance(450) {
                let fault = self.disk_damage(node);
                let at = self.moment();
                happenings.push((at, Happening::Fault(fault)));
                continue;
            }
            let count = self.rng.between(1..=3);
            for _ in 0..count {
                let cheat = self.cheat();
                let at = match cheat {
                    Cheat::Twins { .. } | Cheat::Forge => VirtualTime::default(),
                    _ => self.moment(),
                };
                happenings.push((at, Happening::Fault(Fault::Cheat { node, cheat })));
            }
        }
        happenings
    }

    /// Two of four nodes run two processes each, and show the one half to one of the two honest
    /// nodes and the other half to the other.
    fn conspiracy(&mut self) -> Happenings {
        let mut nodes = self.nodes.clone();
        let honest: Vec<NodeId> = (0..2)
            .map(|_| {
                let place = self.rng.below(nodes.len() as u64);
                nodes.remove(usize::try_from(place).unwrap_or_default())
            })
            .collect();
        let side: BTreeSet<NodeId> = honest.iter().take(1).copied().collect();
        let swap_ms = if self.rng.chance(500) { self.moment().as_ms() } else { 0 };
        let twins = nodes.into_iter().map(|node| {
            let cheat = Cheat::Twins { side: side.clone(), swap_ms };
            (VirtualTime::default(), Happening::Fault(Fault::Cheat { node, cheat }))
        });
        twins.collect()
    }

    /// As many nodes as every committee tolerates.
    fn culprits(&mut self) -> Vec<NodeId> {
        let setup = Setup::new(&self.shape);
        let mut culprits: Vec<NodeId> = Vec::new();
        for _ in 0..self.nodes.len() {
            let node = self.node();
            let mut more = culprits.clone();
            more.push(node);
            let is_within = setup.shards().all(|shard| {
                let committee = setup.registry.committee(shard);
                let bad = committee.iter().filter(|member| more.contains(member)).count();
                bad <= setup.registry.faults_tolerated(shard)
            });
            if is_within && !culprits.contains(&node) {
                culprits.push(node);
            }
        }
        culprits
    }

    fn disk_damage(&mut self, node: NodeId) -> Fault {
        let down_ms = self.rng.between(100..=8_000);
        match self.rng.below(5) {
            0 | 1 => Fault::Restore { node, age_ms: self.rng.between(500..=30_000), down_ms },
            2 => Fault::DiskLies { node, for_ms: self.rng.between(10..=10_000), down_ms },
            3 => Fault::DiskLost { node, down_ms },
            _ => {
                let rots = [Rot::Frontier, Rot::State, Rot::Entry, Rot::Payload];
                let rot = *self.rng.pick(&rots).unwrap_or(&Rot::Entry);
                Fault::BitRot { node, rot, down_ms }
            }
        }
    }

    fn cheat(&mut self) -> Cheat {
        match self.rng.below(14) {
            0..=2 => Cheat::Twins {
                side: self.side(),
                swap_ms: if self.rng.chance(600) { self.moment().as_ms() } else { 0 },
            },
            3 if self.rng.chance(500) => self.starve(),
            3 => Cheat::Omit { permille: self.rng.between(100..=1_000), victims: self.side() },
            4 => Cheat::Shuffle { ms_max: self.rng.between(5..=3_000) },
            5 => Cheat::Replay { permille: self.rng.between(10..=300) },
            6 => Cheat::Garble { permille: self.rng.between(10..=300) },
            7 => Cheat::Misstate { more: self.rng.chance(500) },
            8 => Cheat::Forge,
            9 if self.rng.chance(400) => Cheat::Withhold,
            9 => self.starve(),
            10 => Cheat::Lie,
            11 => Cheat::Hurry,
            12 => Cheat::Fabricate,
            _ => Cheat::Stale { left_out: self.rng.below(3) },
        }
    }

    /// Everybody is starved, or some.
    fn starve(&mut self) -> Cheat {
        let victims = match self.rng.chance(500) {
            true => self.nodes.iter().copied().collect(),
            false => self.side(),
        };
        Cheat::Starve { victims }
    }

    /// What passes: crashes, links, partitions, slow and failing disks, clocks.
    fn faults(&mut self, happenings: &mut Happenings) {
        let every_ms = *self.rng.pick(&[1_500, 4_000, 10_000, 60_000]).unwrap_or(&10_000);
        let mut at_ms = self.rng.below(every_ms);
        while at_ms < self.shape.length_ms {
            let fault = self.fault();
            happenings.push((VirtualTime::from_ms(at_ms), Happening::Fault(fault)));
            at_ms += 1 + self.rng.below(2 * every_ms);
        }
    }

    fn fault(&mut self) -> Fault {
        let node = self.node();
        let down_ms = *self.rng.pick(&[1, 200, 1_500, 6_000]).unwrap_or(&200);
        let for_ms = *self.rng.pick(&[100, 1_000, 3_000, 12_000]).unwrap_or(&1_000);
        let lands = self.rng.chance(500);
        match self.rng.below(21) {
            0..=5 => Fault::Crash { node, down_ms, lands },
            6 => Fault::PowerCut { down_ms, lands },
            7 => Fault::Restart { node, down_ms },
            8 => Fault::Pause { node, for_ms },
            9 | 10 => Fault::Reset { one: node, other: self.node() },
            11..=13 => {
                let both_ways = self.rng.chance(600);
                Fault::Partition { side: self.side(), both_ways, for_ms }
            }
            14 => Fault::Slow { node, extra_ms: self.rng.between(20..=900), for_ms },
            15 => Fault::Lossy { permille: self.rng.between(50..=400), for_ms },
            16 | 17 => Fault::DiskFails { node, for_ms, lands },
            18 => Fault::DiskSlow { node, sync_ms: self.rng.between(50..=1_500), for_ms },
            19 => Fault::Epoch { change: self.change() },
            _ => {
                let by_s = if self.rng.chance(500) { DAY_S } else { -DAY_S };
                Fault::ClockJump { node, by_s }
            }
        }
    }

    /// A change of the registry that leaves every committee its members.
    fn change(&mut self) -> Change {
        let keeps_members = u32::from(self.shape.replication) >= self.shape.nodes;
        if keeps_members && self.rng.chance(700) {
            let weight = u32::try_from(self.rng.between(1..=9)).unwrap_or(1);
            return Change::Weight { node: self.node(), weight };
        }
        Change::Payer
    }

    /// What clients do all the while.
    fn work(&mut self, happenings: &mut Happenings) {
        let every_ms = *self.rng.pick(&[150, 500, 1_500]).unwrap_or(&500);
        let tricks_permille = *self.rng.pick(&[0, 50, 150]).unwrap_or(&50);
        let mut at_ms = self.rng.below(2_000);
        while at_ms < self.shape.length_ms {
            let work = if self.rng.chance(tricks_permille) {
                Work::Trick(*self.rng.pick(&TRICKS).unwrap_or(&Trick::Garbage))
            } else {
                self.honest_work()
            };
            happenings.push((VirtualTime::from_ms(at_ms), Happening::Work(work)));
            at_ms += 1 + self.rng.below(2 * every_ms);
        }
    }

    fn honest_work(&mut self) -> Work {
        if self.rng.chance(40) {
            let topic = u32::try_from(self.rng.below(u64::from(self.shape.topics)));
            return Work::Race { topic: topic.unwrap_or_default() };
        }
        let author = u32::try_from(self.rng.below(u64::from(self.shape.authors)));
        let lane = if self.rng.chance(250) { Lane::Ordered } else { Lane::Broadcast };
        let builds_on = lane == Lane::Ordered && self.rng.chance(600);
        let length = if self.rng.chance(30) { 20_000 } else { 100 };
        Work::Publish { author: author.unwrap_or_default(), lane, builds_on, length }
    }

    fn node(&mut self) -> NodeId {
        self.rng.pick(&self.nodes).copied().unwrap_or(NodeId(1))
    }

    /// Some nodes, at least one and not all.
    fn side(&mut self) -> BTreeSet<NodeId> {
        let count = self.rng.between(1..=(self.nodes.len() as u64 - 1).max(1));
        let mut side = BTreeSet::new();
        while (side.len() as u64) < count {
            side.insert(self.node());
        }
        side
    }

    fn moment(&mut self) -> VirtualTime {
        VirtualTime::from_ms(self.rng.below(self.shape.length_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_within_what_a_committee_tolerates() {
        let drawn = (0..300).map(|seed| (seed, Scenario::draw(Seed(seed))));
        let strained = Strain::ALL
            .iter()
            .flat_map(|it| (0..20).map(|seed| (seed, Scenario::strained(Seed(seed), *it))));
        for (seed, scenario) in drawn.chain(strained) {
            if scenario.beyond {
                continue;
            }
            let culprits: BTreeSet<NodeId> = scenario.faults().filter_map(Fault::culprit).collect();
            let setup = Setup::new(&scenario.shape);
            for shard in setup.shards() {
                let committee = setup.registry.committee(shard);
                let bad = committee.iter().filter(|member| culprits.contains(member)).count();
                assert!(bad <= setup.registry.faults_tolerated(shard), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_selection_leaves_everything_else_as_it_was() {
        let whole = Scenario::draw(Seed(3));
        let keep: BTreeSet<usize> = whole.acts.iter().map(|act| act.number).step_by(3).collect();
        let selection = super::super::Selection { keep: Some(keep.clone()), length_ms: None };
        let part = whole.clone().select(&selection);
        let expected: Vec<&Act> =
            whole.acts.iter().filter(|act| keep.contains(&act.number)).collect();
        assert_eq!(part.acts.iter().collect::<Vec<_>>(), expected);
        assert_eq!((part.shape, part.clocks), (whole.shape, whole.clocks));
    }
}
