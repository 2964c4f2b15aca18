//! Random lives of an inbox against a simple model of who should belong to it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tidings_identity::{Action, AssociationState, Member, inbox_id};
use tidings_types::{ErrorCode, Wire};

use crate::cast::{Actor, NETWORK, body, device, signed, wallet};

const WALLETS: usize = 4;
const ACTORS: usize = 16;

/// Actors by number; the first few are wallets, the others devices.
#[derive(Debug, Clone)]
enum Wish {
    Add { who: usize, by: usize },
    Revoke { who: usize },
    Recover { to: usize },
}

/// A wish before it is known who is there to choose from.
#[derive(Debug, Clone)]
struct Whim {
    kind: usize,
    who: Index,
    by: Index,
    /// Whether to choose only among those that the rules allow.
    sensible: bool,
}

impl Whim {
    fn wish(&self, model: &Model) -> Wish {
        let allowed = |rule: &dyn Fn(usize) -> bool| -> Vec<usize> {
            let chosen: Vec<usize> =
                (0..ACTORS).filter(|who| !self.sensible || rule(*who)).collect();
            if chosen.is_empty() { vec![0] } else { chosen }
        };
        let is_member = |who| model.parents.contains_key(&who);
        let is_barred = |who| model.barred.contains(&who);
        match self.kind {
            0..6 => Wish::Add {
                who: *self.who.get(&allowed(&|who| !is_member(who) && !is_barred(who))),
                by: *self.by.get(&allowed(&|by| is_member(by) || by == model.recovery)),
            },
            6..8 => Wish::Revoke { who: *self.who.get(&allowed(&is_member)) },
            _ => Wish::Recover { to: *self.who.get(&allowed(&|to| !is_barred(to))) },
        }
    }
}

#[derive(Debug, Clone)]
struct Attempt {
    whims: Vec<Whim>,
    as_text: bool,
    /// A signer to leave out or to put in.
    meddle: Option<usize>,
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let sensible = prop::bool::weighted(0.9);
    let whim = (0..9_usize, any::<Index>(), any::<Index>(), sensible)
        .prop_map(|(kind, who, by, sensible)| Whim { kind, who, by, sensible });
    let meddle = prop::option::weighted(0.1, 0..ACTORS);
    (vec(whim, 1..4), any::<bool>(), meddle).prop_map(|(whims, as_text, meddle)| Attempt {
        whims,
        as_text,
        meddle,
    })
}

/// Who belongs to the inbox and who let them in.
#[derive(Debug, Clone, PartialEq)]
struct Model {
    recovery: usize,
    parents: BTreeMap<usize, usize>,
    barred: BTreeSet<usize>,
}

impl Model {
    /// Whether `who` or anyone in the line that let it in is `ancestor`.
    fn descends(&self, who: usize, ancestor: usize) -> bool {
        let mut line = who;
        for _ in 0..=ACTORS {
            if line == ancestor {
                return true;
            }
            match self.parents.get(&line) {
                Some(parent) => line = *parent,
                None => return false,
            }
        }
        false
    }

    /// The model after the wish, and who has to sign; `None` where the rules forbid it.
    fn grant(mut self, wish: &Wish) -> Option<(Self, BTreeSet<usize>)> {
        match *wish {
            Wish::Add { who, by } => {
                let authorised = self.parents.contains_key(&by) || self.recovery == by;
                let free = !self.parents.contains_key(&who) && !self.barred.contains(&who);
                self.parents.insert(who, by);
                (authorised && free).then_some((self, BTreeSet::from([who, by])))
            }
            Wish::Revoke { who } => {
                self.parents.contains_key(&who).then_some(())?;
                let (gone, kept) =
                    self.parents.keys().partition(|member| self.descends(**member, who));
                let (gone, kept): (BTreeSet<usize>, BTreeSet<usize>) = (gone, kept);
                self.parents.retain(|member, _| kept.contains(member));
                self.barred.extend(gone.into_iter().filter(|member| *member >= WALLETS));
                let signers = BTreeSet::from([self.recovery]);
                Some((self, signers))
            }
            Wish::Recover { to } => {
                let signers = BTreeSet::from([self.recovery]);
                self.recovery = to;
                Some((self, signers))
            }
        }
    }

    /// Makes wishes of the whims, and grants them; the wishes after a forbidden one do not count.
    fn grant_all(&self, whims: &[Whim]) -> (Vec<Wish>, Option<(Self, BTreeSet<usize>)>) {
        let mut wishes = Vec::new();
        let mut model = self.clone();
        let mut signers = BTreeSet::new();
        for whim in whims {
            let wish = whim.wish(&model);
            wishes.push(wish.clone());
            let Some((next, more)) = model.grant(&wish) else {
                return (wishes, None);
            };
            model = next;
            signers.extend(more);
        }
        let keeps_recovery = !model.barred.contains(&model.recovery);
        (wishes, keeps_recovery.then_some((model, signers)))
    }
}

struct Run {
    actors: Vec<Actor>,
    model: Model,
    state: AssociationState,
    /// Every update that was ever accepted.
    past: Vec<Vec<u8>>,
}

impl Run {
    fn start() -> Self {
        let actors: Vec<Actor> = (0..ACTORS)
            .map(|number| match number < WALLETS {
                true => wallet(number as u8 + 1),
                false => device(number as u32),
            })
            .collect();
        let initial = actors[0].member();
        let create = Action::Create { initial, nonce: 3, recovery: actors[1].member() };
        let body = body(None, inbox_id(&initial, 3), vec![create]);
        let bytes = signed(&body, &[&actors[0]], false).to_wire();
        let state = AssociationState::advance(None, NETWORK, &bytes).unwrap();
        let model =
            Model { recovery: 1, parents: BTreeMap::from([(0, 0)]), barred: BTreeSet::new() };
        Self { actors, model, state, past: vec![bytes] }
    }

    fn member(&self, number: usize) -> Member {
        self.actors[number].member()
    }

    fn action(&self, wish: &Wish) -> Action {
        match *wish {
            Wish::Add { who, by } => {
                Action::AddMember { member: self.member(who), added_by: self.member(by) }
            }
            Wish::Revoke { who } => Action::RevokeMember { member: self.member(who) },
            Wish::Recover { to } => Action::ChangeRecovery { recovery: self.member(to) },
        }
    }

    fn attempt(&mut self, attempt: &Attempt) {
        let (wishes, granted) = self.model.grant_all(&attempt.whims);
        let mut signers = match &granted {
            Some((_, signers)) => signers.clone(),
            None => (0..ACTORS).collect(),
        };
        if let Some(number) = attempt.meddle
            && !signers.remove(&number)
        {
            signers.insert(number);
        }
        let signers: Vec<&Actor> = signers.into_iter().map(|number| &self.actors[number]).collect();
        let actions = wishes.iter().map(|wish| self.action(wish)).collect();
        let body = body(Some(&self.state), self.state.inbox(), actions);
        let bytes = signed(&body, &signers, attempt.as_text).to_wire();
        let outcome = AssociationState::advance(Some(&self.state), NETWORK, &bytes);
        match (granted, attempt.meddle, outcome) {
            (Some((model, _)), None, Ok(state)) => {
                let twin = signed(&body, &signers, !attempt.as_text).to_wire();
                let twin = AssociationState::advance(Some(&self.state), NETWORK, &twin);
                assert_eq!(twin.as_ref(), Ok(&state));
                self.model = model;
                self.state = state;
                self.past.push(bytes);
            }
            (Some(_), Some(_), Err(error)) => {
                assert_eq!(error.code(), ErrorCode::IdentitySignatureInvalid);
            }
            (None, _, Err(error)) => assert_eq!(error.code(), ErrorCode::IdentityActionInvalid),
            (granted, meddle, outcome) => {
                panic!("model {granted:?}, meddled {meddle:?}, crate {outcome:?}")
            }
        }
    }

    fn check(&self) {
        let parents: BTreeMap<Member, Member> = self
            .model
            .parents
            .iter()
            .map(|(who, by)| (self.member(*who), self.member(*by)))
            .collect();
        let members: BTreeMap<Member, Member> =
            self.state.members().map(|(member, info)| (*member, info.added_by)).collect();
        assert_eq!(members, parents);
        assert_eq!(self.state.recovery(), self.member(self.model.recovery));
        let barred: BTreeSet<Member> =
            self.model.barred.iter().map(|number| self.member(*number)).collect();
        let revoked: BTreeSet<Member> =
            self.state.revoked().iter().copied().map(Member::Installation).collect();
        assert_eq!(revoked, barred);
        assert_eq!(AssociationState::from_wire(&self.state.to_wire()).as_ref(), Ok(&self.state));
        for update in &self.past {
            let replayed = AssociationState::advance(Some(&self.state), NETWORK, update);
            assert_eq!(replayed.unwrap_err().code(), ErrorCode::IdentitySequenceWrong);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_inbox_does_what_the_model_does(attempts in vec(attempt(), 1..24)) {
        // covers: IDN-002 IDN-005 IDN-007 IDN-012 IDN-013 IDN-015 IDN-016 IDN-017 IDN-018 IDN-019
        let mut run = Run::start();
        for attempt in &attempts {
            run.attempt(attempt);
            run.check();
        }
        let log = run.past.iter().try_fold(None, |current: Option<AssociationState>, update| {
            AssociationState::advance(current.as_ref(), NETWORK, update).map(Some)
        });
        prop_assert_eq!(log, Ok(Some(run.state)));
    }
}
