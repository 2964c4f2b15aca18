//! Getting back into a group after an ejection.

use std::collections::BTreeMap;

use tidings_envelope::ClientEnvelope;
use tidings_mls::{
    Changes, GrantError, Group, GroupStatus, JoinError, OpenError, ProcessError, StagedRejoin,
    Verdict,
};

use crate::world::{NOW, World};

/// Device 1 commits, and comes back from a backup that does not know its commit.
fn ejected(seed: u64) -> World {
    let mut world = World::new(seed, &[1, 2, 1]).with_everybody();
    let mut backup = BTreeMap::new();
    world.devices[1].group_mut().0.take_delta().apply_to(&mut backup);
    let pending = world.commit(1, Changes::default());
    world.submit(&pending.envelope).unwrap();
    world.devices[1].group = Some(Group::load(backup, &mut world.rng).unwrap());
    let verdicts = world.catch_up();
    assert_eq!(verdicts[&1][..], [Verdict::Ejected]);
    world.check_agreement(&[0, 2, 3]);
    world
}

/// Device 0 grants, device 1 makes its commit.
fn rejoin(world: &mut World) -> (Group, tidings_mls::PendingCommit) {
    let made = world.rejoin(1, 0);
    made.unwrap()
}

#[test]
fn an_ejected_device_gets_back_alone() {
    // covers: MLS-022
    let mut world = ejected(70);
    assert_eq!(world.devices[1].group().status(), GroupStatus::Ejected);
    let (group, pending) = rejoin(&mut world);
    assert_eq!(group.status(), GroupStatus::Rejoining);
    world.devices[1].group = Some(group);
    world.submit(&pending.envelope).unwrap();
    world.catch_up();
    world.check_agreement(&[0, 1, 2, 3]);
    let (envelope, message) = world.send(1, "back");
    world.check_read(&[0, 2, 3], &envelope, &message);
    let (envelope, message) = world.send(3, "good");
    world.check_read(&[0, 1, 2], &envelope, &message);
    world.change(1, Changes::default());
    world.check_agreement(&[0, 1, 2, 3]);
}

#[test]
fn a_rejoin_that_lost_its_position_is_made_anew() {
    // covers: MLS-022
    let mut world = ejected(71);
    let (mut group, pending) = rejoin(&mut world);
    let winner = world.commit(0, Changes::default());
    world.submit(&winner.envelope).unwrap();
    assert!(world.submit(&pending.envelope).is_err());
    let entry = tidings_mls::OrderedEntry {
        position: winner.expected_position.plus(1),
        period: NOW,
        envelope: &winner.envelope,
    };
    let lost = group.process_ordered(&entry, &world.facts());
    assert_eq!(lost, Err(ProcessError::RejoinLost));
    world.catch_up();
    let (group, pending) = rejoin(&mut world);
    world.devices[1].group = Some(group);
    world.submit(&pending.envelope).unwrap();
    world.catch_up();
    world.check_agreement(&[0, 1, 2, 3]);
}

#[test]
fn live_state_is_not_replaced_by_a_grant() {
    // covers: MLS-017
    let mut world = World::new(72, &[1, 1]).with_everybody();
    let (pointer, grant) = world.grant(1, 0).unwrap();
    let installation = &world.devices[1].installation;
    let live = world.devices[1].group();
    let refused = StagedRejoin::open(installation, live, &pointer, &grant.blob);
    assert_eq!(refused.err(), Some(JoinError::AlreadyMember));
}

#[test]
fn an_ejected_device_still_reads_what_came_before() {
    // covers: MLS-022
    let mut world = World::new(73, &[1, 1]).with_everybody();
    let (envelope, message) = world.send(0, "before");
    let mut backup = BTreeMap::new();
    world.devices[1].group_mut().0.take_delta().apply_to(&mut backup);
    let pending = world.commit(1, Changes::default());
    world.submit(&pending.envelope).unwrap();
    world.devices[1].group = Some(Group::load(backup, &mut world.rng).unwrap());
    world.catch_up();
    let (after, _) = world.send(0, "after");
    world.check_read(&[1], &envelope, &message);
    let (group, _) = world.devices[1].group_mut();
    assert_eq!(group.open(&after, NOW), Err(OpenError::Ahead));
}

#[test]
fn a_grant_that_the_lane_contradicts_is_refused() {
    // covers: MLS-035
    let mut world = ejected(74);
    let (pointer, grant) = world.grant(1, 0).unwrap();
    let open = |world: &World| {
        let device = &world.devices[1];
        StagedRejoin::open(&device.installation, device.group(), &pointer, &grant.blob).unwrap()
    };
    let staged = open(&world);
    let lane = world.lane[&staged.topic()].iter();
    let entries: Vec<ClientEnvelope> = lane.map(|it| it.envelope.clone()).collect();
    let check = |world: &World, entries: &[ClientEnvelope]| {
        open(world).check_lane(world.devices[1].group(), entries)
    };
    assert_eq!(check(&world, &entries), Ok(()));
    let too_few = &entries[..entries.len() - 1];
    assert_eq!(check(&world, too_few), Err(JoinError::OtherPosition));
    let too_many: Vec<_> = entries.iter().chain(entries.last()).cloned().collect();
    assert_eq!(check(&world, &too_many), Err(JoinError::OtherPosition));
    // As many entries, of which none made the epoch.
    let others = vec![entries[0].clone(); entries.len()];
    assert_eq!(check(&world, &others), Err(JoinError::NotInLane));
    // The group moves on before the grant is used.
    world.change(0, Changes::default());
    assert_eq!(check(&world, &entries), Err(JoinError::OtherPosition));
}

#[test]
fn what_one_member_says_is_believed_once_another_is_heard() {
    // covers: MLS-036
    let mut world = ejected(75);
    world.get_back(1, 0);
    let granter = world.devices[0].installation.inbox();
    assert_eq!(world.devices[1].group().voucher(), Some(granter));
    // Who knows the group by one word passes it on to nobody.
    assert_eq!(world.grant(2, 1).err(), Some(GrantError::Inactive));
    let (envelope, message) = world.send(0, "it is I again");
    world.check_read(&[1], &envelope, &message);
    assert_eq!(world.devices[1].group().voucher(), Some(granter));
    let (envelope, message) = world.send(3, "and I");
    world.check_read(&[1], &envelope, &message);
    assert_eq!(world.devices[1].group().voucher(), None);
    assert!(world.grant(2, 1).is_ok());
}
