//! Topic generations.

use tidings_mls::{Changes, OpenError, Verdict};
use tidings_types::Period;
use tidings_types::constants::GENERATION_COMMITS_MAX;

use crate::world::{NOW, World};

fn rotate() -> Changes {
    Changes { rotate: true, ..Changes::default() }
}

#[test]
fn a_generation_ends_after_its_last_commit() {
    // covers: MLS-009
    let mut world = World::new(30, &[1, 1]).with_everybody();
    let first = world.devices[0].group().topic();
    let mut rotated_at = None;
    for commit in 2..=GENERATION_COMMITS_MAX {
        match world.change(usize::try_from(commit % 2).unwrap(), Changes::default()) {
            Verdict::Applied(applied) if applied.rotated => {
                rotated_at = Some(commit);
                break;
            }
            _ => assert_eq!(world.devices[0].group().topic(), first),
        }
    }
    assert_eq!(rotated_at, Some(GENERATION_COMMITS_MAX));
    world.check_agreement(&[0, 1]);
    assert_ne!(world.devices[0].group().topic(), first);
    assert_eq!(world.devices[0].group().position().0, 0);
}

#[test]
fn an_old_topic_is_read_for_two_periods_and_then_not() {
    // covers: MLS-020
    let mut world = World::new(31, &[1, 1]).with_everybody();
    let (one, message) = world.send(0, "in time");
    let (two, _) = world.send(0, "too late");
    world.change(1, rotate());
    let (group, _) = world.devices[1].group_mut();
    assert_eq!(group.past_topics(), vec![(one.body.topic, NOW)]);
    assert_eq!(group.open(&two, NOW.plus(3)), Err(OpenError::GenerationEnded));
    let opened = group.open(&one, NOW.plus(2)).unwrap();
    assert_eq!(opened, tidings_mls::OpenedMessage::Message(message));
    // What is still to be said about the rotation keeps its topic.
    group.forget_generations_before(Period(NOW.0 + 1));
    assert_eq!(group.past_topics().len(), 1);
    world.now = NOW.plus(1);
    world.talk();
    let (group, _) = world.devices[1].group_mut();
    group.forget_generations_before(Period(NOW.0 + 1));
    assert_eq!(group.open(&two, NOW), Err(OpenError::OtherTopic));
}

#[test]
fn an_entry_after_the_last_is_stale() {
    // covers: MLS-009
    let mut world = World::new(32, &[1, 1]).with_everybody();
    let late = world.commit(0, Changes::default());
    let rotating = world.commit(1, rotate());
    world.submit(&rotating.envelope).unwrap();
    world.catch_up();
    let facts = world.facts();
    let (group, _) = world.devices[1].group_mut();
    let (topic, position) = (group.topic(), group.position());
    let entry = tidings_mls::OrderedEntry {
        position: rotating.expected_position.plus(2),
        period: NOW,
        envelope: &late.envelope,
    };
    assert_eq!(group.process_ordered(&entry, &facts), Ok(Verdict::Stale));
    assert_eq!((group.topic(), group.position()), (topic, position));
}

#[test]
fn one_who_joins_with_a_rotation_finds_the_topic() {
    // covers: MLS-019
    let mut world = World::new(33, &[1, 1, 1]);
    world.create(0, crate::world::open_group());
    let mut changes = world.adding(&[crate::world::inbox(2)]);
    changes.rotate = true;
    world.change(0, changes);
    world.check_agreement(&[0, 1]);
    let changes = world.adding(&[crate::world::inbox(3)]);
    world.change(1, changes);
    world.check_agreement(&[0, 1, 2]);
}
