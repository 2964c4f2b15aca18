//! Talking, racing, adding, removing, leaving, and storing.

use std::collections::{BTreeMap, BTreeSet};

use tidings_mls::{
    Changes, CommitError, Group, GroupStatus, OpenError, OpenedMessage, OrderedEntry, SealError,
    Verdict,
};
use tidings_types::Position;

use crate::world::{CONTEXT, NOW, World, inbox, text};

fn applied(verdict: &Verdict) -> &tidings_mls::Applied {
    match verdict {
        Verdict::Applied(applied) => applied,
        other => panic!("expected a commit, got {other:?}"),
    }
}

#[test]
fn three_people_with_two_devices_each_talk_both_ways() {
    // covers: MLS-002
    // covers: MLS-016
    let mut world = World::new(1, &[2, 2, 2]).with_everybody();
    let all: Vec<usize> = (0..6).collect();
    world.check_agreement(&all);
    for sender in 0..6 {
        let (envelope, message) = world.send(sender, &format!("from {sender}"));
        let readers: Vec<usize> = all.iter().copied().filter(|it| *it != sender).collect();
        world.check_read(&readers, &envelope, &message);
        let (group, _) = world.devices[sender].group_mut();
        assert_eq!(group.open(&envelope, NOW), Ok(OpenedMessage::Own));
        assert_eq!((message.sender, message.installation), world.owner(sender));
    }
}

#[test]
fn messages_of_an_epoch_arrive_in_any_order_and_once() {
    // covers: MLS-024
    let mut world = World::new(2, &[1, 1]).with_everybody();
    let sent: Vec<_> = (0..20).map(|number| world.send(0, &format!("{number}"))).collect();
    for pair in sent.windows(2) {
        assert_eq!(pair[1].1.after, Some(pair[0].1.id));
    }
    for (envelope, message) in sent.iter().rev() {
        world.check_read(&[1], envelope, message);
    }
    let (group, _) = world.devices[1].group_mut();
    let again = group.open(&sent[3].0, NOW);
    assert!(matches!(again, Err(OpenError::Undecryptable(_))), "{again:?}");
}

#[test]
fn who_comes_back_goes_on_after_what_was_said_before() {
    // covers: MLS-024
    let mut world = World::new(3, &[1, 1, 1]).with_everybody();
    let (_, before) = world.send(1, "before");
    world.change(0, Changes { remove: BTreeSet::from([inbox(2)]), ..Changes::default() });
    let back = world.adding(&[inbox(2)]);
    world.change(0, back);
    let (envelope, _) = world.send(1, "after");
    let (group, _) = world.devices[2].group_mut();
    let opened = group.open(&envelope, NOW).unwrap();
    let OpenedMessage::Message(message) = opened else { panic!("{opened:?}") };
    assert_eq!(message.after, Some(before.id));
}

#[test]
fn nothing_is_said_after_what_was_withdrawn() {
    // covers: MLS-024
    let mut world = World::new(2, &[1, 1]).with_everybody();
    let (_, first) = world.send(0, "first");
    let given_up: Vec<_> = (0..3).map(|number| world.send(0, &format!("{number}")).1).collect();
    for message in &given_up {
        world.devices[0].group_mut().0.withdraw(message.id);
    }
    let (_, next) = world.send(0, "next");
    assert_eq!(next.after, Some(first.id));
    // What was not withdrawn last stays.
    let (_, last) = world.send(0, "last");
    world.devices[0].group_mut().0.withdraw(next.id);
    assert_eq!(world.send(0, "the end").1.after, Some(last.id));
}

#[test]
fn a_message_of_an_earlier_epoch_is_still_read() {
    // covers: MLS-011
    let mut world = World::new(3, &[1, 1, 1]).with_everybody();
    let (late, message) = world.send(0, "written before the commit");
    world.change(1, Changes::default());
    world.check_read(&[1, 2], &late, &message);
}

#[test]
fn a_message_from_the_future_waits() {
    let mut world = World::new(4, &[1, 1]).with_everybody();
    let pending = world.commit(0, Changes::default());
    world.submit(&pending.envelope).unwrap();
    assert!(matches!(world.step(0), Some(Verdict::Applied(_))));
    let (early, message) = world.send(0, "already in the next epoch");
    let (group, _) = world.devices[1].group_mut();
    assert_eq!(group.open(&early, NOW), Err(OpenError::Ahead));
    world.catch_up();
    world.check_read(&[1], &early, &message);
}

#[test]
fn of_two_commits_one_wins_and_the_loser_redoes_its_own() {
    // covers: MLS-014
    let mut world = World::new(5, &[1, 1, 1]).with_everybody();
    let rename = |name: &str| Changes { name: Some(name.to_owned()), ..Changes::default() };
    let (one, two) = (world.commit(0, rename("one")), world.commit(1, rename("two")));
    world.submit(&one.envelope).unwrap();
    assert_eq!(world.submit(&two.envelope), Err(one.expected_position.plus(1)));
    let verdicts = world.catch_up();
    assert!(applied(&verdicts[&0][0]).own);
    assert!(!applied(&verdicts[&1][0]).own);
    assert_eq!(world.devices[1].group().pending_commit(), None);
    world.change(1, rename("two"));
    world.check_agreement(&[0, 1, 2]);
    assert_eq!(world.devices[2].group().settings().name(), "two");
}

#[test]
fn a_second_commit_waits_for_the_first() {
    let mut world = World::new(6, &[1, 1]).with_everybody();
    world.commit(0, Changes::default());
    let (group, installation) = world.devices[0].group_mut();
    let mut rng = world.rng.clone();
    let second = group.commit(installation, Changes::default(), &CONTEXT, &mut rng);
    assert_eq!(second, Err(CommitError::CommitPending));
    group.commit_lost();
    assert!(group.commit(installation, Changes::default(), &CONTEXT, &mut rng).is_ok());
}

#[test]
fn a_removed_inbox_neither_reads_nor_writes_on() {
    // covers: MLS-009
    let mut world = World::new(7, &[1, 2, 1]).with_everybody();
    let (old_topic, earlier) = (world.devices[1].group().topic(), world.send(0, "before"));
    let remove = Changes { remove: BTreeSet::from([inbox(2)]), ..Changes::default() };
    let verdict = world.change(0, remove);
    assert_eq!(applied(&verdict).removed, vec![inbox(2)]);
    assert!(applied(&verdict).rotated);
    for device in [1, 2] {
        assert_eq!(world.devices[device].group().status(), GroupStatus::Removed);
    }
    world.check_agreement(&[0, 3]);

    let new_topic = world.devices[0].group().topic();
    assert_ne!(new_topic, old_topic);
    let (envelope, message) = world.send(0, "after");
    assert_eq!(envelope.body.topic, new_topic);
    world.check_read(&[3], &envelope, &message);
    let (group, installation) = world.devices[1].group_mut();
    assert_eq!(group.topic(), old_topic);
    assert_eq!(group.open(&envelope, NOW), Err(OpenError::OtherTopic));
    let refused =
        group.send(installation, text("hello?"), tidings_types::TimestampSeconds(1), &CONTEXT);
    assert_eq!(refused, Err(SealError::Inactive));
    // What was sent before the removal is still theirs to read.
    world.check_read(&[1, 2, 3], &earlier.0, &earlier.1);
}

#[test]
fn people_come_and_go() {
    // covers: MLS-006
    let mut world = World::new(8, &[1, 1, 2]);
    world.create(0, crate::world::open_group());
    let changes = world.adding(&[inbox(2)]);
    world.change(0, changes);
    world.check_agreement(&[0, 1]);
    let changes = world.adding(&[inbox(3)]);
    let verdict = world.change(1, changes);
    assert_eq!(applied(&verdict).added, vec![inbox(3)]);
    assert_eq!(applied(&verdict).joined.len(), 2);
    world.check_agreement(&[0, 1, 2, 3]);
    let (envelope, message) = world.send(3, "thank you");
    world.check_read(&[0, 1, 2], &envelope, &message);
}

#[test]
fn a_new_device_follows_its_inbox_and_a_revoked_one_goes() {
    // covers: MLS-006
    let mut world = World::new(9, &[1, 2]).with_everybody();
    let device = world.add_device(inbox(2));
    let invitee = world.invite(device);
    let heads = vec![world.head(inbox(2))];
    world.change(0, Changes { heads, invitees: vec![invitee], ..Changes::default() });
    world.check_agreement(&[0, 1, 2, device]);

    world.revoke(1);
    let heads = vec![world.head(inbox(2))];
    let verdict = world.change(0, Changes { heads, ..Changes::default() });
    assert!(applied(&verdict).rotated);
    assert!(applied(&verdict).removed.is_empty());
    assert_eq!(world.devices[1].group().status(), GroupStatus::Removed);
    world.check_agreement(&[0, 2, device]);
}

#[test]
fn an_unreachable_device_is_added_later_by_anybody() {
    // covers: MLS-006
    let mut world = World::new(10, &[1, 2, 1]);
    world.create(0, crate::world::open_group());
    let mut changes = world.adding(&[inbox(2), inbox(3)]);
    let (_, left_out) = world.owner(2);
    changes.invitees.retain(|invitee| invitee.installation() != left_out);
    world.change(0, changes);
    assert!(world.devices[2].group.is_none());
    let invitee = world.invite(2);
    world.change(3, Changes { invitees: vec![invitee], ..Changes::default() });
    world.check_agreement(&[0, 1, 2, 3]);
}

#[test]
fn leaving_needs_no_admin_and_takes_all_devices() {
    // covers: MLS-018
    let mut world = World::new(11, &[1, 2, 1]).with_everybody();
    let (group, installation) = world.devices[1].group_mut();
    let request = group.leave(installation, &CONTEXT).unwrap();
    assert!(group.leaving().is_empty());
    world.submit(&request).unwrap();
    for verdicts in world.catch_up().values() {
        assert_eq!(verdicts[..], [Verdict::LeaveRequested { inbox: inbox(2) }]);
    }
    let (group, installation) = world.devices[3].group_mut();
    let refused =
        group.send(installation, text("wait"), tidings_types::TimestampSeconds(1), &CONTEXT);
    assert_eq!(refused, Err(SealError::LeavePending));
    let (group, installation) = world.devices[2].group_mut();
    let refused = group.commit(installation, Changes::default(), &CONTEXT, &mut world.rng);
    assert_eq!(refused, Err(CommitError::Leaving));

    let verdict = world.change(3, Changes::default());
    assert_eq!(applied(&verdict).left, vec![inbox(2)]);
    for device in [1, 2] {
        assert_eq!(world.devices[device].group().status(), GroupStatus::Removed);
    }
    world.check_agreement(&[0, 3]);
}

#[test]
fn a_request_to_leave_beats_a_commit_that_did_not_know_it() {
    // covers: MLS-018
    let mut world = World::new(12, &[1, 1, 1]).with_everybody();
    let pending = world.commit(0, Changes::default());
    let (group, installation) = world.devices[1].group_mut();
    let request = group.leave(installation, &CONTEXT).unwrap();
    world.submit(&request).unwrap();
    assert!(world.submit(&pending.envelope).is_err());
    world.catch_up();
    assert_eq!(world.devices[0].group().pending_commit(), None);
    let verdict = world.change(0, Changes::default());
    assert_eq!(applied(&verdict).left, vec![inbox(2)]);
    world.check_agreement(&[0, 2]);
}

#[test]
fn entries_are_processed_in_order_without_gaps() {
    // covers: MLS-023
    let mut world = World::new(13, &[1, 1]).with_everybody();
    let pending = world.commit(0, Changes::default());
    let facts = world.facts();
    let (group, _) = world.devices[1].group_mut();
    let position = group.position();
    for wrong in [position, position.plus(2), Position(0)] {
        let entry = OrderedEntry { position: wrong, period: NOW, envelope: &pending.envelope };
        let refused = group.process_ordered(&entry, &facts);
        let expected = position.plus(1);
        assert_eq!(refused, Err(tidings_mls::ProcessError::OutOfOrder { expected }));
    }
}

#[test]
fn stored_deltas_continue_the_conversation() {
    // covers: MLS-015
    let mut world = World::new(14, &[1, 1]).with_everybody();
    let mut stored: Vec<BTreeMap<Vec<u8>, Vec<u8>>> = vec![BTreeMap::new(), BTreeMap::new()];
    for round in 0..6 {
        for (device, stored) in stored.iter_mut().enumerate() {
            let (group, _) = world.devices[device].group_mut();
            group.take_delta().apply_to(stored);
            let group = Group::load(stored.clone(), &mut world.rng).unwrap();
            world.devices[device].group = Some(group);
        }
        world.check_agreement(&[0, 1]);
        let (envelope, message) = world.send(round % 2, &format!("round {round}"));
        world.check_read(&[(round + 1) % 2], &envelope, &message);
        world.change((round + 1) % 2, Changes { rotate: round == 3, ..Changes::default() });
    }
}

#[test]
fn a_crash_before_storing_leaves_the_old_state() {
    // covers: MLS-015
    let mut world = World::new(15, &[1, 1]).with_everybody();
    let mut stored = BTreeMap::new();
    world.devices[1].group_mut().0.take_delta().apply_to(&mut stored);
    let (envelope, message) = world.send(0, "read twice, delivered once");
    world.check_read(&[1], &envelope, &message);
    world.change(0, Changes::default());
    // Nothing of that was stored: the same inputs give the same results again.
    let group = Group::load(stored, &mut world.rng).unwrap();
    world.devices[1].group = Some(group);
    world.check_read(&[1], &envelope, &message);
    world.catch_up();
    world.check_agreement(&[0, 1]);
}

#[test]
fn a_stored_pending_commit_survives_a_restart() {
    // covers: MLS-015
    let mut world = World::new(16, &[1, 1]).with_everybody();
    let pending = world.commit(0, Changes::default());
    let mut stored = BTreeMap::new();
    world.devices[0].group_mut().0.take_delta().apply_to(&mut stored);
    world.devices[0].group = Some(Group::load(stored, &mut world.rng).unwrap());
    world.submit(&pending.envelope).unwrap();
    let verdicts = world.catch_up();
    assert!(applied(&verdicts[&0][0]).own);
    world.check_agreement(&[0, 1]);
}
