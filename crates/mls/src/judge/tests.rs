//! Members that break the rules: every other member finds the same, and the group goes on.

use openmls::extensions::{Extension, Extensions, RequiredCapabilitiesExtension, UnknownExtension};
use openmls::group::GroupContext;
use openmls::key_packages::{KeyPackage, Lifetime};
use openmls::prelude::{ExtensionType, LeafNodeIndex, LeafNodeParameters, ProposalType};
use openmls_traits::OpenMlsProvider;
use tidings_envelope::{ClientEnvelope, EnvelopeBody};
use tidings_types::{InboxId, Position, TimestampSeconds, Wire};

use crate::facts::{InboxFacts, InboxSequence};
use crate::group::{Group, NewGroup};
use crate::installation::Installation;
use crate::judge::open_entry;
use crate::policy::CommitData;
use crate::provider::Provider;
use crate::settings::{CIPHERSUITE, GroupPolicy, GroupSettings, SETTINGS_EXTENSION, capabilities};
use crate::statement::OrderedFrame;
use crate::verdict::{ProcessError, Verdict, VoidReason};
use crate::welcome::BlobKeys;
use crate::world::{CONTEXT, NOW, World, inbox, text};
use crate::{Changes, OrderedEntry};

/// A commit as a member makes it that does not ask whether it may.
struct Forgery {
    adds: Vec<KeyPackage>,
    removes: Vec<u32>,
    settings: Option<GroupSettings>,
    extensions: Option<Extensions<GroupContext>>,
    authenticated_data: Vec<u8>,
    ignores_proposals: bool,
    has_path: bool,
}

impl Default for Forgery {
    fn default() -> Self {
        Self {
            adds: Vec::new(),
            removes: Vec::new(),
            settings: None,
            extensions: None,
            authenticated_data: commit_data(false, &mut World::new(0, &[])),
            ignores_proposals: false,
            has_path: true,
        }
    }
}

fn commit_data(with_welcome: bool, world: &mut World) -> Vec<u8> {
    let welcome = with_welcome.then(|| BlobKeys::generate(&mut world.rng).reference());
    CommitData::of_member(welcome).to_wire()
}

/// The forged commit as an MLS message.
fn forge_message(group: &mut Group, installation: &Installation, forgery: Forgery) -> Vec<u8> {
    group.mls.set_aad(forgery.authenticated_data);
    let mut builder = group
        .mls
        .commit_builder()
        .consume_proposal_store(!forgery.ignores_proposals)
        .force_self_update(forgery.has_path)
        .propose_adds(forgery.adds)
        .propose_removals(forgery.removes.into_iter().map(LeafNodeIndex::new));
    let extensions =
        forgery.extensions.or_else(|| Some(forgery.settings?.to_extensions().unwrap()));
    if let Some(extensions) = extensions {
        builder = builder.propose_group_context_extensions(extensions).unwrap();
    }
    let bundle = builder
        .load_psks(group.provider.storage())
        .unwrap()
        .build(group.provider.rand(), group.provider.crypto(), &installation.signer(), |_| true)
        .unwrap()
        .stage_commit(&group.provider)
        .unwrap();
    group.clear_pending();
    bundle.commit().to_bytes().unwrap()
}

pub(super) fn sealed(group: &Group, message: &[u8], expected: Option<Position>) -> ClientEnvelope {
    let body = group.ordered_body(&CONTEXT, expected);
    let frame = OrderedFrame::new(Vec::new(), message.to_vec()).unwrap();
    group.seal(&group.record.generation(), body, &frame.to_wire()).unwrap()
}

/// The MLS message in an envelope of `group`.
fn message_in(group: &Group, envelope: &ClientEnvelope) -> Vec<u8> {
    open_entry(&group.record.generation(), &envelope.body).unwrap().frame.message.to_vec()
}

/// Three people, the first with two devices; person 1 is the admin.
pub(super) fn everybody() -> World {
    World::new(80, &[2, 1, 1]).with_everybody()
}

/// Orders `envelope` and checks that all find it void for `reason` and go on together.
fn check_envelope(world: &mut World, envelope: &ClientEnvelope, reason: VoidReason) {
    let epoch = world.devices[0].group().epoch();
    world.submit(envelope).unwrap();
    let verdicts = world.catch_up();
    for device in 0..4 {
        assert_eq!(verdicts[&device][..], [Verdict::Void(reason)], "device {device}");
        assert_eq!(world.devices[device].group().epoch(), epoch);
    }
    let honest = world.devices[0].group().leaving().is_empty();
    world.change(0, Changes::default());
    if honest {
        world.check_agreement(&[0, 1, 2, 3]);
        let (envelope, message) = world.send(2, "on we go");
        world.check_read(&[0, 1, 3], &envelope, &message);
    }
}

/// `device` forges in a group of three people; all find it void for `reason`.
fn check(device: usize, reason: VoidReason, make: impl FnOnce(&mut World, usize) -> Forgery) {
    check_in(everybody(), device, reason, make);
}

fn check_in(
    mut world: World,
    device: usize,
    reason: VoidReason,
    make: impl FnOnce(&mut World, usize) -> Forgery,
) {
    let forgery = make(&mut world, device);
    let (group, installation) = world.devices[device].group_mut();
    let message = forge_message(group, installation, forgery);
    let envelope = sealed(group, &message, Some(group.position()));
    check_envelope(&mut world, &envelope, reason);
}

/// A forgery that changes nothing but settings.
fn with_settings(
    edit: impl FnOnce(&mut GroupSettings),
) -> impl FnOnce(&mut World, usize) -> Forgery {
    |world, device| {
        let mut settings = world.devices[device].group().settings();
        edit(&mut settings);
        Forgery { settings: Some(settings), ..Forgery::default() }
    }
}

fn drop_member(settings: &mut GroupSettings, person: InboxId) {
    let kept = settings.members.iter().filter(|it| it.inbox != person).cloned().collect();
    settings.members = Vec::try_into(kept).unwrap();
}

pub(super) fn leaf_of(world: &World, device: usize) -> u32 {
    let (_, key) = world.owner(device);
    world.devices[0].group().roster().index_of(&key).unwrap()
}

#[test]
fn only_those_permitted_remove() {
    // covers: MLS-007
    check(2, VoidReason::NotPermitted, |world, device| {
        let mut settings = world.devices[device].group().settings();
        drop_member(&mut settings, inbox(3));
        settings.generation_epoch = world.devices[device].group().epoch() + 1;
        let removes = vec![leaf_of(world, 3)];
        Forgery { removes, settings: Some(settings), ..Forgery::default() }
    });
}

#[test]
fn only_those_permitted_change_settings() {
    // covers: MLS-007
    let denied = VoidReason::NotPermitted;
    let usurp = |it: &mut GroupSettings| it.admins = vec![inbox(2)].try_into().unwrap();
    check(2, denied, with_settings(usurp));
    check(2, denied, with_settings(|it| it.policy = GroupPolicy::ADMINS));
    let stranger = |it: &mut GroupSettings| it.admins = vec![inbox(9)].try_into().unwrap();
    check(0, denied, with_settings(stranger));

    let mut world = World::new(81, &[2, 1, 1]);
    let policy = GroupPolicy::ADMINS;
    let (name, description) = (String::new(), String::new());
    world.create(0, NewGroup::Group { name, description, policy });
    let changes = world.adding(&[inbox(1), inbox(2), inbox(3)]);
    world.change(0, changes);
    let rename = |it: &mut GroupSettings| it.name = b"mine".to_vec().try_into().unwrap();
    check_in(world, 2, denied, with_settings(rename));
}

#[test]
fn what_never_changes_does_not() {
    // covers: MLS-003
    let reason = VoidReason::Settings;
    check(0, reason, with_settings(|it| it.network = tidings_types::NetworkId([9; 32])));
    check(0, reason, with_settings(|it| it.kind = crate::GroupKind::Own));
    check(0, reason, with_settings(|it| it.fixed_inboxes = vec![inbox(1)].try_into().unwrap()));
    check(0, reason, |_, _| {
        let required = RequiredCapabilitiesExtension::new(
            &[ExtensionType::Unknown(SETTINGS_EXTENSION)],
            &[ProposalType::SelfRemove],
            &[],
        );
        let garbage = UnknownExtension(vec![0, 1, 0, 1, 0xff]);
        let extensions = Extensions::from_vec(vec![
            Extension::RequiredCapabilities(required),
            Extension::Unknown(SETTINGS_EXTENSION, garbage),
        ]);
        Forgery { extensions: Some(extensions.unwrap()), ..Forgery::default() }
    });
}

#[test]
fn map_and_leaves_agree() {
    // covers: MLS-006
    let reason = VoidReason::MembershipMismatch;
    check(0, reason, with_settings(|it| drop_member(it, inbox(3))));
    check(0, reason, |world, device| {
        let mut settings = world.devices[device].group().settings();
        settings.generation_epoch = world.devices[device].group().epoch() + 1;
        let removes = vec![leaf_of(world, 3)];
        Forgery { removes, settings: Some(settings), ..Forgery::default() }
    });
    check(0, reason, |world, device| {
        // An admin drops one device of an inbox whose log did not move.
        let mut settings = world.devices[device].group().settings();
        settings.generation_epoch = world.devices[device].group().epoch() + 1;
        let removes = vec![leaf_of(world, 1)];
        Forgery { removes, settings: Some(settings), ..Forgery::default() }
    });
    check(
        2,
        reason,
        with_settings(|it| {
            let mut members = it.members.to_vec();
            members[0].sequence = InboxSequence(0);
            it.members = members.try_into().unwrap();
        }),
    );
}

#[test]
fn an_installation_that_is_not_the_inboxs_is_refused() {
    // covers: MLS-006
    check(0, VoidReason::MembershipMismatch, |world, device| {
        let stranger = world.add_device(inbox(3));
        world.revoke(stranger);
        let invitee = world.invite(stranger);
        let mut settings = world.devices[device].group().settings();
        let mut members = settings.members.to_vec();
        members[2].sequence = world.head(inbox(3)).sequence;
        settings.members = members.try_into().unwrap();
        Forgery {
            adds: vec![invitee.key_package().clone()],
            settings: Some(settings),
            authenticated_data: commit_data(true, world),
            ..Forgery::default()
        }
    });
}

#[test]
fn inboxes_are_looked_up_before_and_not_guessed() {
    // covers: MLS-006
    let mut world = everybody();
    let device = world.add_device(inbox(3));
    let changes = Changes {
        heads: vec![world.head(inbox(3))],
        invitees: vec![world.invite(device)],
        ..Changes::default()
    };
    let pending = world.commit(0, changes);
    let sequence = world.head(inbox(3)).sequence;
    let (group, _) = world.devices[2].group_mut();
    let entry = OrderedEntry {
        position: group.position().plus(1),
        period: NOW,
        envelope: &pending.envelope,
    };
    let needed = [(inbox(3), sequence)].into();
    let asked = group.process_ordered(&entry, &InboxFacts::none());
    assert_eq!(asked, Err(ProcessError::NeedsInboxes(needed)));
    let absent = InboxFacts::none().with_absent(inbox(3));
    let verdict = group.process_ordered(&entry, &absent);
    assert_eq!(verdict, Ok(Verdict::Void(VoidReason::InboxUnknown)));
}

#[test]
fn removals_begin_a_generation() {
    // covers: MLS-009
    check(0, VoidReason::Rotation, |world, device| {
        let mut settings = world.devices[device].group().settings();
        drop_member(&mut settings, inbox(3));
        let removes = vec![leaf_of(world, 3)];
        Forgery { removes, settings: Some(settings), ..Forgery::default() }
    });
    check(2, VoidReason::Rotation, with_settings(|it| it.generation_epoch = 99));
}

#[test]
fn key_packages_with_a_lifetime_are_void_whatever_the_clock() {
    // covers: MLS-004
    let package = |world: &mut World, lifetime| {
        let provider = Provider::new(&mut world.rng);
        let installation = &world.devices[3].installation;
        KeyPackage::builder()
            .key_package_lifetime(lifetime)
            .leaf_node_capabilities(capabilities())
            .mark_as_last_resort()
            .build(CIPHERSUITE, &provider, &installation.signer(), installation.credential())
            .unwrap()
            .key_package()
            .clone()
    };
    // Valid by every clock of this century.
    check(0, VoidReason::KeyPackage, |world, device| {
        let limited = package(world, Lifetime::init(0, u64::MAX - 1));
        let removes = vec![leaf_of(world, 3)];
        let mut settings = world.devices[device].group().settings();
        settings.generation_epoch = world.devices[device].group().epoch() + 1;
        Forgery {
            adds: vec![limited],
            removes,
            settings: Some(settings),
            authenticated_data: commit_data(true, world),
            ..Forgery::default()
        }
    });
}

#[test]
fn who_asked_to_leave_is_let_go() {
    // covers: MLS-018
    let leaving = || {
        let mut world = everybody();
        let (group, installation) = world.devices[3].group_mut();
        let request = group.leave(installation, &CONTEXT).unwrap();
        world.submit(&request).unwrap();
        world.catch_up();
        world
    };
    check_in(leaving(), 2, VoidReason::LeaveNotHonoured, |_, _| Forgery {
        ignores_proposals: true,
        ..Forgery::default()
    });
    check_in(leaving(), 2, VoidReason::LeaveNotHonoured, |_, _| Forgery::default());
}

#[test]
fn one_device_asks_to_leave_once() {
    // covers: MLS-018
    let mut world = everybody();
    let (group, installation) = world.devices[3].group_mut();
    let requests: Vec<ClientEnvelope> =
        (0..2).map(|_| group.leave(installation, &CONTEXT).unwrap()).collect();
    for request in &requests {
        world.submit(request).unwrap();
    }
    for verdicts in world.catch_up().values() {
        let expected = [
            Verdict::LeaveRequested { inbox: inbox(3) },
            Verdict::Void(VoidReason::ProposalNotAllowed),
        ];
        assert_eq!(verdicts[..], expected);
    }
}

#[test]
fn commits_carry_a_path_and_their_data() {
    // covers: MLS-014
    // covers: MLS-016
    check(2, VoidReason::CommitterLeaf, |world, device| {
        let person = world.add_device(inbox(4));
        let invitee = world.invite(person);
        let _ = device;
        Forgery {
            adds: vec![invitee.key_package().clone()],
            authenticated_data: commit_data(true, world),
            has_path: false,
            ..Forgery::default()
        }
    });
    check(2, VoidReason::WelcomeMisplaced, |world, _| Forgery {
        authenticated_data: commit_data(true, world),
        ..Forgery::default()
    });
    check(2, VoidReason::Malformed, |_, _| Forgery {
        authenticated_data: vec![1, 2, 3],
        ..Forgery::default()
    });
}

#[test]
fn proposals_other_than_leaving_are_void() {
    // covers: MLS-018
    let mut world = everybody();
    let (group, installation) = world.devices[2].group_mut();
    let (proposal, _) = group
        .mls
        .propose_self_update(
            &group.provider,
            &installation.signer(),
            LeafNodeParameters::builder().build(),
        )
        .unwrap();
    group.mls.clear_pending_proposals(group.provider.storage()).unwrap();
    let envelope = sealed(group, &proposal.to_bytes().unwrap(), None);
    check_envelope(&mut world, &envelope, VoidReason::ProposalNotAllowed);
}

#[test]
fn what_is_not_a_sealed_handshake_of_this_epoch_is_void() {
    // covers: MLS-014
    let mut world = everybody();
    let honest = world.commit(2, Changes::default());
    let (group, installation) = world.devices[2].group_mut();
    group.commit_lost();
    let (expected, generation) = (Some(group.position()), group.record.generation());
    let honest_message = message_in(group, &honest.envelope);

    // A changed payload, signed again by a holder of the topic key.
    let mut payload = honest.envelope.body.payload.to_vec();
    *payload.last_mut().unwrap() ^= 1;
    let body =
        EnvelopeBody { payload: payload.try_into().unwrap(), ..honest.envelope.body.clone() };
    let network = group.record.network;
    let changed = body.sign(generation.key(), network);
    // The right message on another history.
    let body = group.ordered_body(&CONTEXT, expected);
    let frame = OrderedFrame::new(Vec::new(), honest_message.clone()).unwrap();
    let forked = group.seal_with_tag(&generation, body, &frame.to_wire(), [0; 8]).unwrap();
    // A membership tag that nobody in the epoch made: it is the message's last bytes.
    let mut message = honest_message.clone();
    *message.last_mut().unwrap() ^= 1;
    let outsider = sealed(group, &message, expected);
    let garbage = sealed(group, b"not MLS", expected);
    let misplaced = sealed(group, &honest_message, None);
    let body = group.ordered_body(&CONTEXT, expected);
    let unframed = group.seal(&generation, body, &honest_message).unwrap();
    let application = group
        .mls
        .create_message(&group.provider, &installation.signer(), b"hello")
        .unwrap()
        .to_bytes()
        .unwrap();
    let application = sealed(group, &application, expected);
    let cases = [
        (changed, VoidReason::Seal),
        (forked, VoidReason::TranscriptMismatch),
        (outsider, VoidReason::Mls),
        (garbage, VoidReason::Malformed),
        (unframed, VoidReason::Malformed),
        (misplaced, VoidReason::Misplaced),
        (application, VoidReason::Malformed),
    ];
    for (envelope, reason) in cases {
        let (group, _) = world.devices[3].group_mut();
        let (position, authenticator) = (group.position(), group.authenticator().to_vec());
        let entry = OrderedEntry { position: position.plus(1), period: NOW, envelope: &envelope };
        let verdict = group.process_ordered(&entry, &InboxFacts::none());
        assert_eq!(verdict, Ok(Verdict::Void(reason)));
        assert_eq!(group.position(), position.plus(1));
        assert_eq!(group.authenticator(), authenticator);
    }
}

#[test]
fn an_old_commit_sealed_again_is_void() {
    // covers: MLS-014
    let mut world = everybody();
    let honest = world.commit(2, Changes::default());
    let old = message_in(world.devices[2].group(), &honest.envelope);
    world.submit(&honest.envelope).unwrap();
    world.catch_up();
    let group = world.devices[3].group();
    let envelope = sealed(group, &old, Some(group.position()));
    check_envelope(&mut world, &envelope, VoidReason::WrongEpoch);
}

#[test]
fn a_commit_that_another_member_sealed_again_still_counts() {
    // covers: MLS-014
    let mut world = everybody();
    let honest = world.commit(2, Changes::default());
    let message = message_in(world.devices[2].group(), &honest.envelope);
    let group = world.devices[3].group();
    let again = sealed(group, &message, Some(group.position()));
    world.submit(&again).unwrap();
    let verdicts = world.catch_up();
    assert!(matches!(&verdicts[&2][..], [Verdict::Applied(applied)] if applied.own));
    world.check_agreement(&[0, 1, 2, 3]);
}

#[test]
fn a_newer_group_pauses_and_keeps_its_place() {
    // covers: MLS-013
    let mut world = everybody();
    let (group, installation) = world.devices[0].group_mut();
    let mut settings = group.settings();
    settings.version_min = 2;
    let forgery = Forgery { settings: Some(settings.clone()), ..Forgery::default() };
    let message = forge_message(group, installation, forgery);
    let envelope = sealed(group, &message, Some(group.position()));
    let (group, _) = world.devices[2].group_mut();
    let position = group.position();
    let entry = OrderedEntry { position: position.plus(1), period: NOW, envelope: &envelope };
    for _ in 0..2 {
        let verdict = group.process_ordered(&entry, &InboxFacts::none());
        assert_eq!(verdict, Ok(Verdict::Paused { version: 2 }));
        assert_eq!(group.position(), position);
    }
    check(2, VoidReason::NotPermitted, move |_, _| Forgery {
        settings: Some(settings),
        ..Forgery::default()
    });
}

#[test]
fn a_message_names_the_device_that_had_the_leaf_then() {
    // covers: MLS-021
    let mut world = World::new(82, &[1, 1, 1, 1]);
    world.create(0, crate::world::open_group());
    let changes = world.adding(&[inbox(2), inbox(3)]);
    world.change(0, changes);
    let (envelope, message) = world.send(2, "my last words");
    let leaf = leaf_of(&world, 2);
    world.change(0, Changes { remove: [inbox(3)].into(), ..Changes::default() });
    let changes = world.adding(&[inbox(4)]);
    world.change(0, changes);
    assert_eq!(leaf_of(&world, 3), leaf, "the blank leaf is used again");
    world.check_read(&[0, 1], &envelope, &message);
    let (group, installation) = world.devices[0].group_mut();
    let sent = group.send(installation, text("x"), TimestampSeconds(1), &CONTEXT).unwrap();
    world.check_read(&[1, 3], &sent.envelope, &sent.message);
}

#[test]
fn changed_bytes_never_split_the_members() {
    // covers: MLS-014
    let mut world = everybody();
    let device = world.add_device(inbox(3));
    let changes = Changes {
        heads: vec![world.head(inbox(3))],
        invitees: vec![world.invite(device)],
        name: Some("longer".to_owned()),
        ..Changes::default()
    };
    let honest = world.commit(0, changes);
    let (group, _) = world.devices[0].group_mut();
    group.commit_lost();
    let message = message_in(group, &honest.envelope);
    let facts = world.facts();
    for at in (0..message.len()).step_by(7) {
        let mut changed = message.clone();
        changed[at] = changed[at].wrapping_add(1);
        let cut = at % 3 == 0;
        let bytes = if cut { &changed[..at] } else { &changed[..] };
        let group = world.devices[2].group();
        let envelope = sealed(group, bytes, Some(group.position()));
        let position = group.position().plus(1);
        let entry = OrderedEntry { position, period: NOW, envelope: &envelope };
        let verdicts: Vec<Verdict> = (0..4)
            .map(|device| {
                let (group, _) = world.devices[device].group_mut();
                group.process_ordered(&entry, &facts).unwrap()
            })
            .collect();
        assert!(matches!(verdicts[0], Verdict::Void(_)), "byte {at}: {:?}", verdicts[0]);
        assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "byte {at}: {verdicts:?}");
    }
    world.check_agreement(&[0, 1, 2, 3]);
}
