//! Compare-and-swap through agreement: two commits race for one position of a topic, four
//! members agree on the block that decides it, one of them cheats, and members crash.
//!
//! What is sent stays on the way for ever and arrives whenever it likes, so loss, delay and
//! reordering are all in it.

use stateright::{Model, Property};

use super::{check_all, check_breaks};

/// Members 0 to 2 are honest; member 3 says anything to anybody at any time.
const HONEST: usize = 3;

/// Rounds that are looked at; a third round repeats what the second shows.
const ROUNDS: usize = 2;

/// How many honest votes make a quorum of three together with the cheat's.
const HONEST_QUORUM: usize = 2;

/// What a member votes for: one of two blocks, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Choice {
    /// A block with both commits, the first one before the second.
    Both,
    /// A block with the second commit only.
    Second,
    Neither,
}

const BLOCKS: [Choice; 2] = [Choice::Both, Choice::Second];

impl Choice {
    /// The commits in the block, by number.
    fn commits(self) -> &'static [usize] {
        match self {
            Self::Both => &[0, 1],
            Self::Second => &[1],
            Self::Neither => &[],
        }
    }

    /// The commit that takes position 1: each builds on position 0, and applies only there.
    fn winner(self) -> Option<usize> {
        let mut position = 0;
        let mut winner = None;
        for commit in self.commits() {
            let expected = 0;
            if position == expected {
                position += 1;
                winner = Some(*commit);
            }
        }
        winner
    }
}

/// A vote in each of a round's two steps; absent until it is cast.
type Votes = [[Option<Choice>; 2]; ROUNDS];

const PREVOTE: usize = 0;
const PRECOMMIT: usize = 1;

/// An honest member.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Member {
    round: usize,
    /// What it remembers having voted.
    votes: Votes,
    /// What it would remember after a crash.
    log: Votes,
    /// The block that it must go on voting for, and since which round.
    locked: Option<(usize, Choice)>,
}

/// Everything there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    members: [Member; HONEST],
    /// Every vote that an honest member has sent, by member, round, step and choice; two
    /// different ones in one step are a contradiction.
    sent: [[[[bool; 3]; 2]; ROUNDS]; HONEST],
    /// The commits that a member has said to be applied, with a certificate.
    applied: [bool; 2],
    crashes_left: u8,
}

/// What can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// A member casts a vote: logs it, and then sends it.
    Vote { member: usize, step: usize, choice: Choice },
    /// A member logs late what it has sent already; only a faulty one does.
    Log { member: usize },
    /// A member goes on to the next round.
    NextRound { member: usize },
    /// Some member has seen a quorum of precommits for a block, and executes it.
    Decide(Choice),
    /// A member loses its memory and goes on from its log.
    Crash { member: usize },
}

/// What may be wrong with the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// Votes leave before they are logged.
    VoteWithoutLog,
    /// A member votes for a block though it is locked on another.
    ForgetLock,
    /// Two votes, the cheat's included, make a certificate.
    SmallQuorum,
}

#[derive(Debug, Clone, Copy)]
struct Agreement {
    flaw: Flaw,
    crashes: u8,
    /// Who proposes in each round; the cheat proposes both blocks.
    proposer: [usize; ROUNDS],
}

impl Agreement {
    fn quorum(&self) -> usize {
        if self.flaw == Flaw::SmallQuorum { HONEST_QUORUM - 1 } else { HONEST_QUORUM }
    }

    /// Whether enough votes for the choice were sent in a step.
    fn has_quorum(&self, state: &State, round: usize, step: usize, choice: Choice) -> bool {
        let votes = state.sent.iter().filter(|sent| sent[round][step][choice as usize]);
        votes.count() >= self.quorum()
    }

    fn is_certified(&self, state: &State, choice: Choice) -> bool {
        (0..ROUNDS).any(|round| self.has_quorum(state, round, PRECOMMIT, choice))
    }

    /// The blocks that may be proposed in a round: by the cheat both, by an honest member what it
    /// is locked on, or what the commits that reached it make.
    fn proposals(&self, state: &State, round: usize) -> Vec<Choice> {
        let proposer = self.proposer[round];
        match state.members.get(proposer) {
            None => BLOCKS.to_vec(),
            Some(member) => match member.locked {
                Some((_, locked)) => vec![locked],
                None => vec![BLOCKS[proposer % 2]],
            },
        }
    }

    fn may_prevote(&self, state: &State, member: usize, choice: Choice) -> bool {
        let it = &state.members[member];
        if choice == Choice::Neither {
            return true;
        }
        if !self.proposals(state, it.round).contains(&choice) {
            return false;
        }
        match it.locked {
            // A later quorum of prevotes for the other block unlocks.
            Some((since, locked)) if locked != choice && self.flaw != Flaw::ForgetLock => {
                (since + 1..it.round).any(|round| self.has_quorum(state, round, PREVOTE, choice))
            }
            _ => true,
        }
    }

    fn may_precommit(&self, state: &State, member: usize, choice: Choice) -> bool {
        let round = state.members[member].round;
        choice == Choice::Neither || self.has_quorum(state, round, PREVOTE, choice)
    }

    fn votes_of(&self, state: &State, member: usize, actions: &mut Vec<Action>) {
        let it = &state.members[member];
        let step = match it.votes[it.round] {
            [None, _] => PREVOTE,
            [Some(_), None] => PRECOMMIT,
            _ => return,
        };
        for choice in [Choice::Both, Choice::Second, Choice::Neither] {
            let may = match step {
                PREVOTE => self.may_prevote(state, member, choice),
                _ => self.may_precommit(state, member, choice),
            };
            if may {
                actions.push(Action::Vote { member, step, choice });
            }
        }
    }
}

impl Model for Agreement {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            members: Default::default(),
            sent: Default::default(),
            applied: [false; 2],
            crashes_left: self.crashes,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (member, it) in state.members.iter().enumerate() {
            self.votes_of(state, member, actions);
            if it.votes != it.log {
                actions.push(Action::Log { member });
            }
            let has_voted = it.votes[it.round].iter().all(Option::is_some);
            if has_voted && it.round + 1 < ROUNDS {
                actions.push(Action::NextRound { member });
            }
            if state.crashes_left > 0 {
                actions.push(Action::Crash { member });
            }
        }
        for choice in BLOCKS {
            let is_new = choice.winner().is_some_and(|commit| !state.applied[commit]);
            if is_new && self.is_certified(state, choice) {
                actions.push(Action::Decide(choice));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Vote { member, step, choice } => {
                let it = &mut state.members[member];
                it.votes[it.round][step] = Some(choice);
                if step == PRECOMMIT && choice != Choice::Neither {
                    it.locked = Some((it.round, choice));
                }
                if self.flaw != Flaw::VoteWithoutLog {
                    it.log = it.votes;
                }
                state.sent[member][it.round][step][choice as usize] = true;
            }
            Action::Log { member } => {
                let it = &mut state.members[member];
                it.log = it.votes;
            }
            Action::NextRound { member } => state.members[member].round += 1,
            Action::Decide(choice) => state.applied[choice.winner()?] = true,
            Action::Crash { member } => {
                state.crashes_left -= 1;
                state.members[member] = recovered(state.members[member].log);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("beyond f, safety first", |model: &Self, state: &State| {
                // No height has two certificates, whoever puts them together.
                BLOCKS.iter().filter(|choice| model.is_certified(state, **choice)).count() < 2
            }),
            Property::always("convergence", |_, state: &State| {
                // One commit takes the position.
                state.applied != [true; 2]
            }),
            Property::always("accountability", |_, state: &State| {
                // No honest member has signed two votes in one step.
                let mut steps = state.sent.iter().flatten().flatten();
                steps.all(|choices| choices.iter().filter(|sent| **sent).count() < 2)
            }),
            Property::sometimes("the first commit wins", |_, state: &State| state.applied[0]),
            Property::sometimes("the second commit wins", |_, state: &State| state.applied[1]),
        ]
    }
}

/// What a member knows after a crash: its log, and what follows from it.
fn recovered(log: Votes) -> Member {
    let mut member = Member { votes: log, log, ..Member::default() };
    for (round, [prevote, precommit]) in log.into_iter().enumerate() {
        if prevote.is_some() {
            member.round = round;
        }
        if let Some(choice) = precommit.filter(|choice| *choice != Choice::Neither) {
            member.locked = Some((round, choice));
        }
    }
    member
}

#[test]
fn racing_commits_have_one_winner_in_every_order_of_events() {
    // The cheat proposes in the first round, and an honest member in the second.
    let states = check_all(Agreement { flaw: Flaw::None, crashes: 1, proposer: [3, 1] });
    assert!(states > 10_000, "{states} states");
}

#[test]
fn a_cheat_that_proposes_last_changes_nothing() {
    let states = check_all(Agreement { flaw: Flaw::None, crashes: 1, proposer: [0, 3] });
    assert!(states > 10_000, "{states} states");
}

#[test]
fn votes_that_are_not_logged_contradict_each_other() {
    let model = Agreement { flaw: Flaw::VoteWithoutLog, crashes: 1, proposer: [3, 1] };
    check_breaks(model, "accountability");
}

#[test]
fn a_forgotten_lock_makes_two_histories() {
    let model = Agreement { flaw: Flaw::ForgetLock, crashes: 0, proposer: [3, 3] };
    check_breaks(model, "beyond f, safety first");
    check_breaks(model, "convergence");
}

#[test]
fn a_quorum_that_is_too_small_makes_two_histories() {
    let model = Agreement { flaw: Flaw::SmallQuorum, crashes: 0, proposer: [3, 1] };
    check_breaks(model, "beyond f, safety first");
}
