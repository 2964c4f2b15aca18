//! Commits that nobody but their committer has proved yet, and what is said about them (MLS-028,
//! MLS-030).
//!
//! A contest is judged by the epoch in which its commit was made, so that all who were in that
//! epoch come to the same result, whether they could follow the commit or not.

use std::collections::BTreeSet;

use tidings_envelope::Topic;
use tidings_types::constants::{GROUP_INSTALLATIONS_MAX, RESTART_PERIODS, RESTART_WITNESSES};
use tidings_types::ed25519::PublicKey;
use tidings_types::{BoundedVec, InboxId, Period, Position, Wire, labelled_hash};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::provider::Provider;
use crate::roster::Roster;
use crate::seal::TranscriptTag;

const CONTEST_KEY: &[u8] = b"tidings contest";
const BASE_KEY: &[u8] = b"tidings base";

/// How many witnesses answer at once when somebody states an ejection; the others wait for them.
const FIRST_WITNESSES: usize = 8;

/// A periods' worth of doubling reaches every witness of the largest group.
const DOUBLINGS_MAX: u64 = 16;

/// Somebody who can prove the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
struct Witness {
    installation: PublicKey,
    inbox: InboxId,
}

/// What a commit is before it takes effect.
#[derive(Debug, Clone)]
pub(crate) struct Contestant<'a> {
    pub(crate) topic: Topic,
    /// Where the commit stands.
    pub(crate) position: Position,
    /// The period of its block.
    pub(crate) ordered_at: Period,
    /// The epoch in which it was made.
    pub(crate) epoch: u64,
    pub(crate) tag: TranscriptTag,
    pub(crate) committer: InboxId,
    /// Whether it is a rejoin.
    pub(crate) rejoins: bool,
    /// Who committed in that epoch before, and was not followed.
    pub(crate) banned: BTreeSet<InboxId>,
    /// The leaves of that epoch.
    pub(crate) roster: &'a Roster,
    /// Those that the commit blanks.
    pub(crate) removed: &'a BTreeSet<u32>,
}

/// A commit that is not proved.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub(crate) struct Contest {
    pub(crate) topic: Topic,
    pub(crate) position: Position,
    ordered_at: Period,
    pub(crate) epoch: u64,
    pub(crate) tag: TranscriptTag,
    pub(crate) committer: InboxId,
    /// 1 for a rejoin, 0 for any other commit.
    rejoins: u8,
    banned: BoundedVec<InboxId, GROUP_INSTALLATIONS_MAX>,
    witnesses: BoundedVec<Witness, GROUP_INSTALLATIONS_MAX>,
    /// The inboxes that stated their ejection, in order.
    ejected: BoundedVec<InboxId, GROUP_INSTALLATIONS_MAX>,
    /// The period of the first such statement.
    first_ejected_at: Option<Period>,
    /// The period of the one that made it enough.
    contested_at: Option<Period>,
    /// When this installation last stated something about it; nobody else's business.
    pub(crate) stated_at: Option<Period>,
}

/// What a statement did to a contest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    None,
    /// It is part of what is said about the commit.
    Noted,
    /// The commit is proved.
    Proved,
}

impl Contest {
    /// The contest over a commit; none if there is nobody who could prove it.
    pub(crate) fn new(contestant: &Contestant<'_>) -> Option<Self> {
        let stays = |index: &u32| !contestant.removed.contains(index);
        let witnesses: Vec<Witness> = contestant
            .roster
            .0
            .iter()
            .filter(|(index, leaf)| stays(index) && leaf.inbox != contestant.committer)
            .map(|(_, leaf)| Witness { installation: leaf.installation, inbox: leaf.inbox })
            .collect();
        if witnesses.is_empty() {
            return None;
        }
        Some(Self {
            topic: contestant.topic,
            position: contestant.position,
            ordered_at: contestant.ordered_at,
            epoch: contestant.epoch,
            tag: contestant.tag,
            committer: contestant.committer,
            rejoins: u8::from(contestant.rejoins),
            banned: BoundedVec::new(contestant.banned.iter().copied().collect()).ok()?,
            witnesses: BoundedVec::new(witnesses).ok()?,
            ejected: BoundedVec::default(),
            first_ejected_at: None,
            contested_at: None,
            stated_at: None,
        })
    }

    /// The inbox of a witness.
    pub(crate) fn witness(&self, installation: &PublicKey) -> Option<InboxId> {
        let mut witnesses = self.witnesses.iter();
        witnesses.find(|it| it.installation == *installation).map(|it| it.inbox)
    }

    /// Whether an inbox could prove the commit and stated that it cannot follow.
    pub(crate) fn has_ejected(&self, inbox: InboxId) -> bool {
        self.ejected.contains(&inbox)
    }

    /// Whether enough did for a restart to be possible (MLS-030).
    pub(crate) fn is_contested(&self) -> bool {
        self.contested_at.is_some()
    }

    /// Takes the statement of `installation` that the commit ejected it, ordered in `period`.
    pub(crate) fn note_ejected(&mut self, installation: &PublicKey, period: Period) -> Effect {
        let Some(inbox) = self.witness(installation) else { return Effect::None };
        if self.has_ejected(inbox) {
            return Effect::None;
        }
        let mut ejected = self.ejected.to_vec();
        ejected.push(inbox);
        let is_enough = ejected.len() >= self.needed();
        let Ok(ejected) = BoundedVec::new(ejected) else { return Effect::None };
        self.ejected = ejected;
        self.first_ejected_at.get_or_insert(period);
        if is_enough {
            self.contested_at.get_or_insert(period);
        }
        Effect::Noted
    }

    /// Takes the statement of `installation` that it has followed all commits up to `position`.
    pub(crate) fn note_entered(&self, installation: &PublicKey, position: Position) -> Effect {
        match self.position <= position && self.witness(installation).is_some() {
            true => Effect::Proved,
            false => Effect::None,
        }
    }

    /// How many inboxes have to state their ejection: one word against one decides nothing while
    /// there is a third who could speak.
    fn needed(&self) -> usize {
        let inboxes: BTreeSet<InboxId> = self.witnesses.iter().map(|it| it.inbox).collect();
        inboxes.len().min(RESTART_WITNESSES)
    }

    /// Whether a restart that is ordered in `period` is in time (MLS-030).
    pub(crate) fn is_due(&self, period: Period) -> bool {
        self.contested_at.is_some_and(|at| period >= at.plus(RESTART_PERIODS))
    }

    /// Whether it is the turn of `inbox` to restart the group in `period`: those who spoke first
    /// come first, one period apart.
    pub(crate) fn restarts_now(&self, inbox: InboxId, period: Period) -> bool {
        let turn = self.ejected.iter().position(|it| *it == inbox);
        let turn = turn.unwrap_or(RESTART_WITNESSES).min(RESTART_WITNESSES);
        let turn = u64::try_from(turn).unwrap_or_default();
        self.contested_at.is_some_and(|at| period >= at.plus(RESTART_PERIODS + turn))
    }

    /// Who has to be removed by a restart: the committer, and those before it.
    pub(crate) fn outcasts(&self) -> BTreeSet<InboxId> {
        self.banned.iter().copied().chain([self.committer]).collect()
    }

    /// Whether it is the turn of a witness that followed the commit to say so in `now`.
    ///
    /// One proof is enough, so they take turns, in an order that is drawn anew for each commit:
    /// in a quiet group one entry per commit, whoever is away.
    pub(crate) fn proves_now(&self, installation: &PublicKey, now: Period) -> bool {
        if self.witness(installation).is_none() {
            return false;
        }
        let (since, first) = match self.first_ejected_at {
            Some(at) => (at, FIRST_WITNESSES),
            None if self.rejoins == 1 => (self.ordered_at, 2),
            None if now <= self.ordered_at => return false,
            None => (self.ordered_at.plus(1), 1),
        };
        let doublings = now.0.saturating_sub(since.0).min(DOUBLINGS_MAX);
        let turn = first << doublings;
        turn >= self.witnesses.len() || self.rank(installation) < turn
    }

    fn rank(&self, installation: &PublicKey) -> usize {
        let position = self.position.0.to_be_bytes();
        let lot = |key: &PublicKey| {
            labelled_hash("witness turn", &[&self.topic.to_wire(), &position, &key.0])
        };
        let own = lot(installation);
        self.witnesses.iter().filter(|it| lot(&it.installation) < own).count()
    }

    fn place(&self) -> Vec<u8> {
        [&self.topic.to_wire()[..], &self.position.0.to_be_bytes()].concat()
    }

    /// Where the state of the epoch in which the commit was made is kept.
    pub(crate) fn base(&self) -> Vec<u8> {
        [BASE_KEY, &self.place()].concat()
    }

    /// Stores what has been said.
    pub(crate) fn write(&self, provider: &Provider) {
        provider.store().write(&[CONTEST_KEY, &self.place()].concat(), self.to_wire());
    }

    /// Forgets the contest and the state that was kept for it.
    pub(crate) fn forget(&self, provider: &Provider) {
        provider.store().remove(&[CONTEST_KEY, &self.place()].concat());
        provider.store().remove_all(&self.base());
    }

    /// The contests in a store, oldest first.
    pub(crate) fn read_all(provider: &Provider) -> Vec<Self> {
        let stored = provider.store().entries_under(CONTEST_KEY);
        let mut contests: Vec<Self> =
            stored.values().filter_map(|bytes| Self::from_wire(bytes).ok()).collect();
        contests.sort_by_key(|contest| (contest.epoch, contest.position));
        contests
    }
}

/// Whether a stored key belongs to a contest, not to the state of the group.
pub(crate) fn is_of_contest(key: &[u8]) -> bool {
    key.starts_with(CONTEST_KEY) || key.starts_with(BASE_KEY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::Leaf;

    fn key(inbox: u8, device: u8) -> PublicKey {
        let mut bytes = [inbox; 32];
        bytes[0] = device;
        PublicKey(bytes)
    }

    /// A commit by inbox 1 in a group of as many inboxes, of two devices each.
    fn contest(inboxes: u8) -> Contest {
        let leaves = (1..=inboxes).flat_map(|inbox| [(inbox, 0), (inbox, 1)]);
        let leaf = |(inbox, device)| Leaf {
            inbox: InboxId([inbox; 32]),
            installation: key(inbox, device),
        };
        let roster = Roster((0..).zip(leaves.map(leaf)).collect());
        let contestant = Contestant {
            topic: Topic::mailbox(1),
            position: Position(7),
            ordered_at: Period(10),
            epoch: 4,
            tag: [3; 8],
            committer: InboxId([1; 32]),
            rejoins: false,
            banned: BTreeSet::new(),
            roster: &roster,
            removed: &BTreeSet::from([5]),
        };
        Contest::new(&contestant).unwrap()
    }

    #[test]
    fn one_accuser_is_not_enough_while_a_third_could_speak() {
        // covers: MLS-030
        let mut contest = contest(4);
        assert_eq!(contest.note_ejected(&key(2, 0), Period(11)), Effect::Noted);
        // Another device of the same inbox, the committer's own, and a removed leaf add nothing.
        for silent in [key(2, 1), key(1, 1), key(3, 1), key(9, 0)] {
            assert_eq!(contest.note_ejected(&silent, Period(11)), Effect::None);
        }
        assert!(!contest.is_contested());
        assert_eq!(contest.note_ejected(&key(4, 1), Period(12)), Effect::Noted);
        assert!(!contest.is_due(Period(13)) && contest.is_due(Period(14)));
        assert!(contest.restarts_now(InboxId([2; 32]), Period(14)));
        assert!(!contest.restarts_now(InboxId([4; 32]), Period(14)));
        assert!(contest.restarts_now(InboxId([4; 32]), Period(15)));
        assert!(!contest.restarts_now(InboxId([3; 32]), Period(15)));
    }

    #[test]
    fn in_a_group_of_two_the_other_decides() {
        // covers: MLS-030
        let mut contest = contest(2);
        assert_eq!(contest.note_ejected(&key(2, 0), Period(11)), Effect::Noted);
        assert!(contest.is_due(Period(13)) && !contest.is_due(Period(12)));
    }

    #[test]
    fn any_other_inbox_proves_a_commit_that_it_followed() {
        // covers: MLS-028
        let contest = contest(4);
        let prove = |witness, position| contest.note_entered(&witness, Position(position));
        assert_eq!(prove(key(3, 0), 7), Effect::Proved);
        assert_eq!(prove(key(3, 0), 9), Effect::Proved);
        assert_eq!(prove(key(3, 0), 6), Effect::None);
        assert_eq!(prove(key(3, 1), 7), Effect::None, "removed");
        assert_eq!(prove(key(1, 1), 7), Effect::None, "the committer's own");
    }

    #[test]
    fn witnesses_take_turns_and_none_is_left_out() {
        // covers: MLS-029
        let mut contest = contest(20);
        let witnesses: Vec<PublicKey> =
            contest.witnesses.iter().map(|it| it.installation).collect();
        let speakers = |contest: &Contest, now| {
            witnesses.iter().filter(|it| contest.proves_now(it, Period(now))).count()
        };
        assert_eq!(speakers(&contest, 10), 0);
        let turns: Vec<usize> = (11..=17).map(|now| speakers(&contest, now)).collect();
        assert_eq!(turns, [1, 2, 4, 8, 16, 32, 37]);
        contest.note_ejected(&witnesses[0], Period(10));
        assert_eq!(speakers(&contest, 10), 8);
        assert_eq!(speakers(&contest, 13), witnesses.len());
        assert!(!contest.proves_now(&key(1, 0), Period(99)));
    }

    #[test]
    fn a_group_of_one_contests_nothing() {
        // covers: MLS-028
        let roster =
            Roster([(0, Leaf { inbox: InboxId([1; 32]), installation: key(1, 0) })].into());
        let contestant = Contestant {
            topic: Topic::mailbox(1),
            position: Position(1),
            ordered_at: Period(1),
            epoch: 0,
            tag: [0; 8],
            committer: InboxId([1; 32]),
            rejoins: false,
            banned: BTreeSet::new(),
            roster: &roster,
            removed: &BTreeSet::new(),
        };
        assert_eq!(Contest::new(&contestant), None);
    }
}
