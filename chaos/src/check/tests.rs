//! Histories that are good, and for each violation one that is not.

use std::time::Duration;

use super::*;
use crate::history::{At, Change, Line, Send, Snapshot, Standing, Told, View};

const GROUP: GroupNumber = GroupNumber(0);
const ALICE: Member = Member(0);
const BOB: Member = Member(1);
const CAROL: Member = Member(2);

fn at(second: u64) -> At {
    Duration::from_secs(second)
}

fn key(author: Member, serial: u32) -> MessageKey {
    MessageKey { author, serial }
}

fn view(epoch: u64, members: &[Member]) -> View {
    View {
        epoch,
        authenticator: format!("secret {epoch}"),
        name: "name".into(),
        members: members.iter().copied().collect(),
    }
}

/// Builds histories: one thing after another, a second each.
struct Story {
    history: History,
    now: u64,
}

impl Story {
    /// Alice and Bob are in a group.
    fn new() -> Self {
        let mut story = Self { history: History::default(), now: 0 };
        for who in [ALICE, BOB] {
            story.history.transcripts.insert((GROUP, who), Vec::new());
        }
        story.looks(&[ALICE, BOB], 1, &[ALICE, BOB]);
        story
    }

    fn tick(&mut self) -> At {
        self.now += 1;
        at(self.now)
    }

    fn look(&mut self, of: Member, view: Option<View>) {
        let (asked, answered) = (self.tick(), self.tick());
        self.history.snapshots.push(Snapshot { of, group: GROUP, asked, answered, view });
    }

    fn looks(&mut self, of: &[Member], epoch: u64, members: &[Member]) {
        of.iter().for_each(|who| self.look(*who, Some(view(epoch, members))));
    }

    /// Somebody sends something that is acknowledged, and holds it.
    fn send(&mut self, key: MessageKey) {
        let (began, acknowledged) = (self.tick(), Some(self.tick()));
        let send =
            Send { key, group: GROUP, began, returned: acknowledged, acknowledged, failed: None };
        self.history.sends.push(send);
        self.hold(key, key.author, Standing::Sent);
    }

    fn hold(&mut self, key: MessageKey, at: Member, standing: Standing) {
        let line = Line { text: key.to_string(), sender: Some(key.author), standing };
        self.history.transcripts.entry((GROUP, at)).or_default().push(line);
    }

    fn hear(&mut self, key: MessageKey, to: Member) {
        self.hold(key, to, Standing::Received);
        let at = self.tick();
        self.history.told.push(Told { to, group: GROUP, key, at });
    }

    /// Somebody changes something, with success or without.
    fn change(&mut self, by: Member, wish: Wish, done: bool) {
        let (began, returned) = (self.tick(), Some(self.tick()));
        self.history.changes.push(Change { by, group: GROUP, wish, began, returned, done });
    }

    fn expect(&self, expected: &[Violation]) {
        assert_eq!(check(&self.history), expected);
    }
}

#[test]
fn a_good_history_is_good() {
    let mut story = Story::new();
    for serial in 1..=3 {
        for (author, other) in [(ALICE, BOB), (BOB, ALICE)] {
            story.send(key(author, serial));
            story.hear(key(author, serial), other);
        }
    }
    story.change(ALICE, Wish::Rename("name".into()), true);
    story.looks(&[ALICE, BOB], 2, &[ALICE, BOB]);
    story.expect(&[]);
}

#[test]
fn a_lost_message_is_found() {
    let mut story = Story::new();
    story.send(key(ALICE, 1));
    story.looks(&[ALICE, BOB], 1, &[ALICE, BOB]);
    let lost = Violation::Lost { key: key(ALICE, 1), group: GROUP, at: BOB };
    story.expect(std::slice::from_ref(&lost));
    assert!(lost.may_pass());
    // The author's own copy counts as well.
    story.history.transcripts.get_mut(&(GROUP, ALICE)).unwrap()[0].standing = Standing::Failed;
    story.hear(key(ALICE, 1), BOB);
    story.expect(&[Violation::Lost { key: key(ALICE, 1), group: GROUP, at: ALICE }]);
}

#[test]
fn who_came_back_unseen_need_not_hold_what_was_said_meanwhile() {
    let mut story = Story::new();
    story.looks(&[ALICE, BOB, CAROL], 2, &[ALICE, BOB, CAROL]);
    story.history.transcripts.insert((GROUP, CAROL), Vec::new());
    // Carol is removed, which only Alice and Bob see, and is back when she looks again.
    story.looks(&[ALICE, BOB], 3, &[ALICE, BOB]);
    story.send(key(ALICE, 1));
    story.hear(key(ALICE, 1), BOB);
    story.looks(&[ALICE], 3, &[ALICE, BOB]);
    story.looks(&[ALICE, BOB, CAROL], 4, &[ALICE, BOB, CAROL]);
    story.expect(&[]);
    // What was said while she was in, she must hold.
    story.send(key(ALICE, 2));
    story.hear(key(ALICE, 2), BOB);
    story.looks(&[ALICE, BOB, CAROL], 4, &[ALICE, BOB, CAROL]);
    story.expect(&[Violation::Lost { key: key(ALICE, 2), group: GROUP, at: CAROL }]);
}

#[test]
fn who_came_back_need_not_hold_what_an_author_behind_wrote_in_an_old_epoch() {
    let mut story = Story::new();
    story.looks(&[ALICE, BOB, CAROL], 2, &[ALICE, BOB, CAROL]);
    story.history.transcripts.insert((GROUP, CAROL), Vec::new());
    // Carol is removed and added again; Alice has heard of neither when she writes.
    story.looks(&[BOB], 3, &[ALICE, BOB]);
    story.looks(&[BOB, CAROL], 4, &[ALICE, BOB, CAROL]);
    story.send(key(ALICE, 1));
    story.hear(key(ALICE, 1), BOB);
    story.looks(&[ALICE], 2, &[ALICE, BOB, CAROL]);
    story.looks(&[ALICE], 4, &[ALICE, BOB, CAROL]);
    story.expect(&[]);
}

#[test]
fn a_message_without_acknowledgement_may_be_lost() {
    let mut story = Story::new();
    story.send(key(ALICE, 1));
    story.history.sends[0].acknowledged = None;
    story.looks(&[ALICE, BOB], 1, &[ALICE, BOB]);
    story.expect(&[]);
}

#[test]
fn a_repeated_message_is_found() {
    let mut story = Story::new();
    story.send(key(ALICE, 1));
    story.hear(key(ALICE, 1), BOB);
    story.hold(key(ALICE, 1), BOB, Standing::Received);
    story.expect(&[Violation::Duplicated { key: key(ALICE, 1), at: BOB }]);
    // Telling twice is no better than holding twice.
    story.history.transcripts.get_mut(&(GROUP, BOB)).unwrap().pop();
    story.history.told.push(story.history.told[0]);
    story.expect(&[Violation::ToldOtherwise { key: key(ALICE, 1), told: 2, at: BOB }]);
}

#[test]
fn a_message_that_nobody_was_told_of_is_found() {
    let mut story = Story::new();
    story.send(key(ALICE, 1));
    story.hold(key(ALICE, 1), BOB, Standing::Received);
    story.expect(&[Violation::ToldOtherwise { key: key(ALICE, 1), told: 0, at: BOB }]);
}

#[test]
fn a_wrong_order_is_found() {
    let mut story = Story::new();
    for serial in 1..=3 {
        story.send(key(ALICE, serial));
    }
    for serial in [1, 3, 2] {
        story.hear(key(ALICE, serial), BOB);
    }
    let (first, second) = (key(ALICE, 3), key(ALICE, 2));
    story.expect(&[Violation::OutOfOrder { first, second, at: BOB }]);
}

#[test]
fn phantoms_are_found() {
    let mut story = Story::new();
    story.hold(key(ALICE, 9), BOB, Standing::Received);
    let phantom = |text: &str| Violation::Phantom { text: text.into(), at: BOB };
    let told = Violation::ToldOtherwise { key: key(ALICE, 9), told: 0, at: BOB };
    story.expect(&[phantom("0/9"), told]);

    let mut story = Story::new();
    story.send(key(ALICE, 1));
    story.hear(key(ALICE, 1), BOB);
    story.history.transcripts.get_mut(&(GROUP, BOB)).unwrap()[0].sender = Some(CAROL);
    story.expect(&[phantom("0/1")]);

    let mut story = Story::new();
    let text = "hello".to_owned();
    let line = Line { text, sender: Some(ALICE), standing: Standing::Received };
    story.history.transcripts.get_mut(&(GROUP, BOB)).unwrap().push(line);
    story.expect(&[phantom("hello")]);
}

#[test]
fn a_failure_that_came_all_the_same_is_found() {
    let mut story = Story::new();
    story.send(key(ALICE, 1));
    story.history.sends[0].acknowledged = None;
    story.history.sends[0].failed = Some("quota".into());
    story.hear(key(ALICE, 1), BOB);
    story.expect(&[Violation::FailedYetReceived { key: key(ALICE, 1), at: BOB }]);
}

#[test]
fn who_was_elsewhere_needs_nothing_and_may_have_nothing() {
    let mut story = Story::new();
    story.send(key(ALICE, 1));
    story.hear(key(ALICE, 1), BOB);
    story.looks(&[ALICE, BOB], 1, &[ALICE, BOB]);
    story.change(ALICE, Wish::Add(CAROL), true);
    let all = [ALICE, BOB, CAROL];
    story.looks(&all, 2, &all);
    story.send(key(ALICE, 2));
    story.hear(key(ALICE, 2), BOB);
    story.hear(key(ALICE, 2), CAROL);
    story.looks(&all, 2, &all);
    story.expect(&[]);
    story.hear(key(ALICE, 1), CAROL);
    // It was encrypted before Carol came; that it comes after a later one is wrong as well.
    let outside = Violation::HeardOutside { key: key(ALICE, 1), at: CAROL };
    let (first, second) = (key(ALICE, 2), key(ALICE, 1));
    let order = Violation::OutOfOrder { first, second, at: CAROL };
    story.expect(&[outside, order]);
}

#[test]
fn who_is_being_removed_may_be_cut_short() {
    let mut story = Story::new();
    let all = [ALICE, BOB, CAROL];
    story.change(ALICE, Wish::Add(CAROL), true);
    story.looks(&all, 2, &all);
    story.change(ALICE, Wish::Remove(CAROL), true);
    // Carol does not know yet, and replicas take what she writes.
    story.send(key(CAROL, 1));
    story.looks(&[CAROL], 2, &all);
    story.looks(&[ALICE, BOB], 3, &[ALICE, BOB]);
    story.look(CAROL, None);
    story.expect(&[]);
    // Once she has learned it and is back, nothing is excused.
    story.change(ALICE, Wish::Add(CAROL), true);
    story.looks(&all, 4, &all);
    story.send(key(CAROL, 2));
    story.hear(key(CAROL, 2), BOB);
    story.looks(&all, 4, &all);
    story.expect(&[Violation::Lost { key: key(CAROL, 2), group: GROUP, at: ALICE }]);
}

#[test]
fn what_was_sent_between_two_stays_is_not_owed() {
    let mut story = Story::new();
    let all = [ALICE, BOB, CAROL];
    story.change(ALICE, Wish::Add(CAROL), true);
    story.looks(&all, 2, &all);
    story.change(ALICE, Wish::Remove(CAROL), true);
    story.look(CAROL, None);
    story.looks(&[ALICE, BOB], 3, &[ALICE, BOB]);
    story.send(key(ALICE, 1));
    story.hear(key(ALICE, 1), BOB);
    story.looks(&[ALICE, BOB], 3, &[ALICE, BOB]);
    story.change(ALICE, Wish::Add(CAROL), true);
    story.looks(&all, 4, &all);
    story.expect(&[]);
}

#[test]
fn a_fork_is_found_even_if_it_heals() {
    for change in [
        |view: &mut View| view.authenticator = "another".into(),
        |view: &mut View| view.members.clear(),
    ] {
        let mut story = Story::new();
        let mut other = view(2, &[ALICE, BOB]);
        change(&mut other);
        story.looks(&[ALICE], 2, &[ALICE, BOB]);
        story.look(BOB, Some(other));
        story.looks(&[ALICE, BOB], 3, &[ALICE, BOB]);
        let forked = Violation::Forked { group: GROUP, epoch: 2, one: ALICE, other: BOB };
        assert!(!forked.may_pass());
        story.expect(&[forked]);
    }
}

#[test]
fn two_names_in_the_end_are_found() {
    let mut story = Story::new();
    let named = |name: &str| Some(View { name: name.into(), ..view(2, &[ALICE, BOB]) });
    story.look(ALICE, named("before"));
    story.look(ALICE, named("after"));
    story.look(BOB, named("before"));
    story.expect(&[Violation::TwoNames { group: GROUP, one: ALICE, other: BOB }]);
    story.look(BOB, named("after"));
    story.expect(&[]);
}

#[test]
fn who_does_not_come_along_is_found() {
    let mut story = Story::new();
    story.looks(&[ALICE], 2, &[ALICE, BOB]);
    let behind = |epoch| Violation::Behind { group: GROUP, who: BOB, epoch, newest: 2 };
    story.expect(&[behind(Some(1))]);
    story.look(BOB, None);
    story.expect(&[behind(None)]);
    story.looks(&[BOB], 2, &[ALICE, BOB]);
    story.expect(&[]);
}

#[test]
fn who_does_not_know_of_the_end_is_found() {
    let mut story = Story::new();
    story.change(ALICE, Wish::Remove(BOB), true);
    story.looks(&[ALICE], 2, &[ALICE]);
    story.expect(&[Violation::Outsider { group: GROUP, who: BOB }]);
    story.look(BOB, None);
    story.expect(&[]);
}

#[test]
fn a_change_that_was_confirmed_and_is_gone_is_found() {
    let mut story = Story::new();
    story.change(ALICE, Wish::Rename("lost".into()), true);
    story.expect(&[Violation::Unexplained { group: GROUP, found: Wish::Rename("name".into()) }]);
    story.change(BOB, Wish::Rename("name".into()), true);
    story.expect(&[]);

    let mut story = Story::new();
    story.change(ALICE, Wish::Add(CAROL), true);
    story.expect(&[Violation::Unexplained { group: GROUP, found: Wish::Remove(CAROL) }]);
    story.change(ALICE, Wish::Remove(CAROL), true);
    story.expect(&[]);
}

#[test]
fn an_open_change_may_have_happened_or_not() {
    let mut story = Story::new();
    story.change(ALICE, Wish::Rename("name".into()), true);
    story.change(BOB, Wish::Rename("other".into()), false);
    story.expect(&[]);
    // Of two changes at one time either may be the last.
    let first = story.history.changes[0].clone();
    story.history.changes[1] = Change { wish: Wish::Rename("other".into()), ..first };
    story.expect(&[]);
}
