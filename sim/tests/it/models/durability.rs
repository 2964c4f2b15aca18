//! Receipts: an originator and three replicas store, acknowledge, crash and lose disks; what a
//! client has a receipt for must be on the disk of a correct node.

use stateright::{Model, Property};

use super::{check_all, check_breaks};

/// Node 0 is the originator.
const NODES: usize = 4;

/// How many nodes may fail for good: cheat, or lose their disk.
const FAULTS: usize = 1;

/// Entries that the originator takes; with two, one of them can take the other's place.
const ENTRIES: usize = 2;

/// The entry at the first place of a log, and the log's incarnation.
type Placed = (u8, usize);

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
struct Node {
    /// What it has in memory.
    memory: Vec<Placed>,
    /// What is on its disk.
    disk: Vec<Placed>,
    /// What it has signed to hold.
    acknowledged: Vec<Placed>,
    /// Whether it has lost its disk.
    is_damaged: bool,
    /// The incarnation that the originator writes; none until one is open.
    incarnation: Option<u8>,
}

/// Everything there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    /// The replicas are sorted: which of them is which makes no difference.
    nodes: [Node; NODES],
    /// The last incarnation that the ordered lane has numbered.
    numbered: u8,
    /// The entries that the originator has yet to take.
    waiting: Vec<usize>,
    /// What the originator has signed.
    signed: Vec<Placed>,
    /// What a client has a receipt for.
    receipts: Vec<Placed>,
    faults_left: usize,
    crashes_left: u8,
}

/// What can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// The originator opens an incarnation.
    Open,
    /// It takes an entry, signs a checkpoint over it, and sends it.
    Take,
    /// A replica hears of an entry.
    Hear { node: usize, placed: Placed },
    /// A node's transaction reaches its disk.
    Sync { node: usize },
    /// A replica signs that it holds an entry.
    Acknowledge { node: usize, placed: Placed },
    /// Enough have signed, and the client is answered.
    Answer { placed: Placed },
    /// A process is killed and started again.
    Crash { node: usize },
    /// A disk is lost, for good.
    LoseDisk { node: usize },
    /// A cheat signs for what it does not hold.
    Lie { node: usize, placed: Placed },
}

/// What may be wrong with the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// A replica acknowledges what is only in its memory.
    AcknowledgeBeforeSync,
    /// f signatures make a receipt, not f+1.
    TooFewSignatures,
    /// A process goes on in the incarnation that it finds on its disk.
    SameIncarnation,
}

#[derive(Debug, Clone, Copy)]
struct Durability {
    flaw: Flaw,
    crashes: u8,
}

impl Durability {
    fn quorum(&self) -> usize {
        if self.flaw == Flaw::TooFewSignatures { FAULTS } else { FAULTS + 1 }
    }

    fn may_acknowledge(&self, node: &Node, placed: Placed) -> bool {
        let held = match self.flaw {
            Flaw::AcknowledgeBeforeSync => &node.memory,
            _ => &node.disk,
        };
        held.contains(&placed)
    }

    /// Who has signed to hold an entry; the originator's checkpoint is its own signature.
    fn signers(&self, state: &State, placed: Placed) -> usize {
        let own = usize::from(self.may_acknowledge(&state.nodes[0], placed));
        own + state.nodes.iter().filter(|node| node.acknowledged.contains(&placed)).count()
    }

    fn replica_actions(&self, state: &State, node: usize, actions: &mut Vec<Action>) {
        let it = &state.nodes[node];
        for placed in state.signed.iter().copied() {
            let is_taken = it.memory.iter().any(|(incarnation, _)| *incarnation == placed.0);
            if !is_taken {
                actions.push(Action::Hear { node, placed });
            }
            let has_signed = it.acknowledged.contains(&placed);
            if !has_signed && self.may_acknowledge(it, placed) {
                actions.push(Action::Acknowledge { node, placed });
            }
            if !has_signed && state.faults_left > 0 {
                actions.push(Action::Lie { node, placed });
            }
        }
    }
}

impl Model for Durability {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            nodes: Default::default(),
            numbered: 0,
            waiting: (0..ENTRIES).collect(),
            signed: Vec::new(),
            receipts: Vec::new(),
            faults_left: FAULTS,
            crashes_left: self.crashes,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        match state.nodes[0].incarnation {
            None => actions.push(Action::Open),
            Some(incarnation) => {
                let has_written =
                    state.nodes[0].memory.iter().any(|(written, _)| *written == incarnation);
                if !has_written && !state.waiting.is_empty() {
                    actions.push(Action::Take);
                }
            }
        }
        for (node, it) in state.nodes.iter().enumerate() {
            if node > 0 {
                self.replica_actions(state, node, actions);
            }
            if it.memory != it.disk {
                actions.push(Action::Sync { node });
            }
            if state.crashes_left > 0 {
                actions.push(Action::Crash { node });
            }
            if state.faults_left > 0 {
                actions.push(Action::LoseDisk { node });
            }
        }
        for placed in state.signed.iter().copied() {
            let is_answered = state.receipts.contains(&placed);
            if !is_answered && self.signers(state, placed) >= self.quorum() {
                actions.push(Action::Answer { placed });
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Open => {
                let on_disk = state.nodes[0].disk.iter().map(|(incarnation, _)| *incarnation);
                let number = match self.flaw {
                    Flaw::SameIncarnation => on_disk.max().unwrap_or(1),
                    _ => state.numbered + 1,
                };
                state.numbered = state.numbered.max(number);
                state.nodes[0].incarnation = Some(number);
            }
            Action::Take => {
                let placed = (state.nodes[0].incarnation?, state.waiting.remove(0));
                state.nodes[0].memory.push(placed);
                insert(&mut state.signed, placed);
            }
            Action::Hear { node, placed } => state.nodes[node].memory.push(placed),
            Action::Sync { node } => state.nodes[node].disk = state.nodes[node].memory.clone(),
            Action::Acknowledge { node, placed } => {
                insert(&mut state.nodes[node].acknowledged, placed);
            }
            Action::Answer { placed } => insert(&mut state.receipts, placed),
            Action::Crash { node } => {
                state.crashes_left -= 1;
                restart(&mut state.nodes[node]);
            }
            Action::LoseDisk { node } => {
                state.faults_left -= 1;
                let it = &mut state.nodes[node];
                it.is_damaged = true;
                it.disk.clear();
                restart(it);
            }
            Action::Lie { node, placed } => {
                state.faults_left -= 1;
                state.nodes[node].is_damaged = true;
                insert(&mut state.nodes[node].acknowledged, placed);
            }
        }
        state.nodes[1..].sort_unstable();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no acknowledged loss", |_, state: &State| {
                state.receipts.iter().all(|placed| {
                    let correct = state.nodes.iter().filter(|node| !node.is_damaged);
                    correct.into_iter().any(|node| node.disk.contains(placed))
                })
            }),
            Property::always("accountability", |_, state: &State| {
                // The originator, which is honest, never signs two entries for one place.
                let mut places: Vec<u8> =
                    state.signed.iter().map(|(incarnation, _)| *incarnation).collect();
                places.sort_unstable();
                let count = places.len();
                places.dedup();
                places.len() == count
            }),
            Property::sometimes("both entries are acknowledged", |_, state: &State| {
                state.receipts.len() == ENTRIES
            }),
        ]
    }
}

fn restart(node: &mut Node) {
    node.memory.clone_from(&node.disk);
    node.incarnation = None;
}

fn insert<T: Ord>(into: &mut Vec<T>, value: T) {
    if !into.contains(&value) {
        into.push(value);
        into.sort_unstable();
    }
}

#[test]
fn receipts_survive_crashes_and_one_lost_disk_or_cheat() {
    let states = check_all(Durability { flaw: Flaw::None, crashes: 2 });
    assert!(states > 1_000, "{states} states");
}

#[test]
fn acknowledging_before_the_disk_has_it_loses_what_was_acknowledged() {
    let model = Durability { flaw: Flaw::AcknowledgeBeforeSync, crashes: 2 };
    check_breaks(model, "no acknowledged loss");
}

#[test]
fn too_few_signatures_lose_what_was_acknowledged() {
    let model = Durability { flaw: Flaw::TooFewSignatures, crashes: 0 };
    check_breaks(model, "no acknowledged loss");
}

#[test]
fn going_on_in_an_old_incarnation_contradicts_oneself() {
    let model = Durability { flaw: Flaw::SameIncarnation, crashes: 1 };
    check_breaks(model, "accountability");
}
