//! Conversations of two inboxes.

use std::collections::BTreeSet;

use tidings_mls::{Changes, CommitError, GroupKind, NewGroup, VoidReason};

use crate::world::{CONTEXT, World, inbox};

fn dm() -> World {
    let mut world = World::new(20, &[2, 2, 1]);
    world.create(0, NewGroup::Dm { peer: inbox(2) });
    let changes = world.adding(&[inbox(1), inbox(2)]);
    world.change(0, changes);
    world
}

fn check_refused(changes: impl FnOnce(&mut World) -> Changes, device: usize) {
    let mut world = dm();
    let changes = changes(&mut world);
    let (group, installation) = world.devices[device].group_mut();
    let refused = group.commit(installation, changes, &CONTEXT, &mut world.rng);
    assert_eq!(refused, Err(CommitError::WouldBeVoid(VoidReason::NotPermitted)));
    world.change(device, Changes::default());
    world.check_agreement(&[0, 1, 2, 3]);
}

#[test]
fn two_people_talk_on_all_their_devices() {
    // covers: MLS-012
    let mut world = dm();
    world.check_agreement(&[0, 1, 2, 3]);
    let settings = world.devices[3].group().settings();
    assert_eq!(settings.kind, GroupKind::Dm);
    assert_eq!(settings.fixed_inboxes[..], [inbox(1), inbox(2)]);
    assert_eq!(world.devices[3].group().peer(), Some(inbox(1)));
    assert_eq!(world.devices[0].group().peer(), Some(inbox(2)));
    let (envelope, message) = world.send(2, "hi");
    world.check_read(&[0, 1, 3], &envelope, &message);
}

#[test]
fn nothing_about_it_changes() {
    // covers: MLS-012
    check_refused(|world| world.adding(&[inbox(3)]), 0);
    check_refused(|_| Changes { remove: BTreeSet::from([inbox(2)]), ..Changes::default() }, 0);
    check_refused(|_| Changes { name: Some("ours".to_owned()), ..Changes::default() }, 2);
    check_refused(
        |_| Changes { admins: Some(BTreeSet::from([inbox(1)])), ..Changes::default() },
        0,
    );
}

#[test]
fn it_cannot_be_left() {
    // covers: MLS-012
    let mut world = dm();
    let (group, installation) = world.devices[2].group_mut();
    assert_eq!(group.leave(installation, &CONTEXT), Err(CommitError::NotLeavable));
}

#[test]
fn devices_come_and_go() {
    // covers: MLS-012
    let mut world = dm();
    let device = world.add_device(inbox(2));
    world.revoke(3);
    let changes = Changes {
        heads: vec![world.head(inbox(2))],
        invitees: vec![world.invite(device)],
        ..Changes::default()
    };
    world.change(0, changes);
    world.check_agreement(&[0, 1, 2, device]);
}
