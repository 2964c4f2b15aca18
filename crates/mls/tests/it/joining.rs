//! Welcomes.

use std::collections::BTreeSet;

use tidings_envelope::{Topic, WriteProof};
use tidings_mls::{
    Changes, InboxFacts, InboxHead, Installation, JoinError, PendingCommit, StagedJoin, VoidReason,
    WelcomePointer,
};
use tidings_types::constants::WELCOME_POINTER_BYTES_MAX;

use crate::world::{BUCKETS, CONTEXT, NETWORK, NOW, World, inbox};

/// Two people, of whom the second was just added and has not joined.
fn invited() -> (World, PendingCommit, WelcomePointer) {
    let mut world = World::new(50, &[1, 1, 1]);
    world.create(0, crate::world::open_group());
    let changes = world.adding(&[inbox(2)]);
    let pending = world.commit(0, changes);
    world.submit(&pending.envelope).unwrap();
    world.catch_up();
    let welcome = pending.welcome.as_ref().unwrap();
    let group = world.devices[0].group().id();
    let envelope =
        welcome.reference.point(group, &welcome.invitees[0], BUCKETS, &CONTEXT, NETWORK).unwrap();
    let pointer = world.devices[1].installation.open_pointer(&envelope.body.payload).unwrap();
    (world, pending, pointer)
}

#[test]
fn pointers_look_alike_and_open_for_one() {
    // covers: MLS-016
    let (world, pending, pointer) = invited();
    let welcome = pending.welcome.unwrap();
    let group = world.devices[0].group().id();
    let envelope =
        welcome.reference.point(group, &welcome.invitees[0], BUCKETS, &CONTEXT, NETWORK).unwrap();
    assert_eq!(envelope.body.payload.len(), WELCOME_POINTER_BYTES_MAX);
    assert_eq!(envelope.proof, WriteProof::FeeStamp);
    let (_, key) = world.owner(1);
    assert_eq!(envelope.body.topic, Topic::mailbox_of(&key, BUCKETS));
    assert_eq!(world.devices[1].installation.open_pointer(&envelope.body.payload), Some(pointer));
    assert_eq!(world.devices[2].installation.open_pointer(&envelope.body.payload), None);
    assert_eq!(world.devices[1].installation.open_pointer(&[0; 10]), None);
}

#[test]
fn a_known_group_is_not_replaced() {
    // covers: MLS-017
    let (mut world, pending, pointer) = invited();
    let known = BTreeSet::from([pointer.group]);
    let installation = &world.devices[1].installation;
    let blob = &pending.welcome.as_ref().unwrap().blob;
    let refused = StagedJoin::open(installation, &pointer, blob, &known, &mut world.rng);
    assert_eq!(refused.err(), Some(JoinError::AlreadyMember));
}

#[test]
fn a_joiner_checks_every_member() {
    // covers: MLS-006
    let (mut world, pending, pointer) = invited();
    let blob = pending.welcome.unwrap().blob;
    let open = |world: &mut World| {
        let installation = &world.devices[1].installation;
        StagedJoin::open(installation, &pointer, &blob, &BTreeSet::new(), &mut world.rng).unwrap()
    };
    let staged = open(&mut world);
    let needed = staged.needed();
    assert_eq!(needed.iter().map(|(it, _)| *it).collect::<Vec<_>>(), vec![inbox(1), inbox(2)]);
    assert_eq!(staged.added_by(), inbox(1));
    let refused = staged.join(&InboxFacts::none());
    assert_eq!(refused.err(), Some(JoinError::NeedsInboxes(needed.into_iter().collect())));

    let mut liar: InboxHead = world.head(inbox(1));
    liar.installations.clear();
    let refused = open(&mut world).join(&world.facts().with(liar));
    assert_eq!(refused.err(), Some(JoinError::Refused(VoidReason::MembershipMismatch)));
    let refused = open(&mut world).join(&world.facts().with_absent(inbox(1)));
    assert_eq!(refused.err(), Some(JoinError::Refused(VoidReason::InboxUnknown)));
    let facts = world.facts();
    world.devices[1].group = Some(open(&mut world).join(&facts).unwrap());
    world.check_agreement(&[0, 1]);
}

#[test]
fn a_joiner_looks_up_no_more_than_it_takes_to_find_a_lie() {
    // covers: MLS-025
    let mut world = World::new(51, &[1; 12]);
    world.create(11, crate::world::open_group());
    let people: Vec<_> = (1..=11).map(inbox).collect();
    let changes = world.adding(&people);
    let pending = world.commit(11, changes);
    let welcome = pending.welcome.as_ref().unwrap();
    let (_, key) = world.owner(0);
    let invitee = welcome.invitees.iter().find(|it| it.installation() == key).unwrap();
    let group = world.devices[11].group().id();
    let envelope = welcome.reference.point(group, invitee, BUCKETS, &CONTEXT, NETWORK).unwrap();
    let installation = &world.devices[0].installation;
    let pointer = installation.open_pointer(&envelope.body.payload).unwrap();
    let known = BTreeSet::new();
    let staged =
        StagedJoin::open(installation, &pointer, &welcome.blob, &known, &mut world.rng).unwrap();
    let needed = staged.needed();
    assert_eq!(needed.len(), 12);
    // Who vouches for the rest is looked up first.
    assert_eq!(needed[0].0, inbox(12));
    let invented = InboxFacts::none().with_absent(inbox(12));
    let found = staged.check(inbox(12), &invented);
    assert_eq!(found, Err(JoinError::Refused(VoidReason::InboxUnknown)));
    let facts = world.facts();
    for (person, _) in needed {
        assert_eq!(staged.check(person, &facts), Ok(()));
    }
    let unknown = staged.check(inbox(3), &InboxFacts::none());
    assert!(matches!(unknown, Err(JoinError::NeedsInboxes(needed)) if needed.len() == 1));
    let stranger = staged.check(inbox(99), &facts);
    assert_eq!(stranger, Err(JoinError::Refused(VoidReason::MembershipMismatch)));
}

#[test]
fn a_blob_that_was_changed_is_refused() {
    // covers: MLS-016
    let (mut world, pending, pointer) = invited();
    let mut blob = pending.welcome.unwrap().blob;
    let mut bytes = blob.body.payload.to_vec();
    bytes[40] ^= 1;
    blob.body.payload = bytes.try_into().unwrap();
    let installation = &world.devices[1].installation;
    let refused = StagedJoin::open(installation, &pointer, &blob, &BTreeSet::new(), &mut world.rng);
    assert_eq!(refused.err(), Some(JoinError::BlobInvalid));
}

#[test]
fn any_member_sends_the_pointer_again() {
    // covers: MLS-016
    let (mut world, pending, pointer) = invited();
    world.join(1, &pointer, &pending.welcome.unwrap().blob);
    let changes = world.adding(&[inbox(3)]);
    let invitee = changes.invitees[0].clone();
    let pending = world.commit(0, changes);
    world.submit(&pending.envelope).unwrap();
    let verdicts = world.catch_up();
    let tidings_mls::Verdict::Applied(applied) = &verdicts[&1][0] else {
        panic!("not applied");
    };
    // Device 1 did not make the commit, and knows the welcome from it.
    let reference = applied.welcome.clone().unwrap();
    let group = world.devices[1].group().id();
    let envelope = reference.point(group, &invitee, BUCKETS, &CONTEXT, NETWORK).unwrap();
    let pointer = world.devices[2].installation.open_pointer(&envelope.body.payload).unwrap();
    world.join(2, &pointer, &pending.welcome.unwrap().blob);
    world.check_agreement(&[0, 1, 2]);
}

#[test]
fn a_late_welcome_to_a_replaced_key_package_opens_after_a_restart() {
    // covers: MLS-015
    let (mut world, pending, pointer) = invited();
    let mut stored = std::collections::BTreeMap::new();
    let installation = &mut world.devices[1].installation;
    installation.publish(NOW.plus(1), NOW.plus(20), &mut world.rng).unwrap();
    installation.take_delta().apply_to(&mut stored);
    let key = installation.key().clone();
    let loaded = Installation::load(NETWORK, inbox(2), key, stored, &mut world.rng).unwrap();
    world.devices[1].installation = loaded;
    let blob = pending.welcome.unwrap().blob;
    world.join(1, &pointer, &blob);
    world.check_agreement(&[0, 1]);

    let installation = &mut world.devices[1].installation;
    installation.forget_replaced_before(NOW.plus(2));
    let refused = StagedJoin::open(installation, &pointer, &blob, &BTreeSet::new(), &mut world.rng);
    assert!(matches!(refused, Err(JoinError::Mls(_))));
    let changes = world.adding(&[inbox(3)]);
    world.change(1, Changes { rotate: true, ..changes });
    world.check_agreement(&[0, 1, 2]);
}
