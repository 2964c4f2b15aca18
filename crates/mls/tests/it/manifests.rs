//! What installations publish.

use proptest::prelude::*;
use tidings_mls::{KeyPackageManifest, ManifestError};
use tidings_types::constants::WELCOME_POINTER_BYTES_MAX;
use tidings_types::{InboxId, NetworkId, Wire};

use crate::world::{CONTEXT, NETWORK, NOW, World, inbox};

fn manifest() -> (World, KeyPackageManifest) {
    let mut world = World::new(40, &[1, 1]);
    let manifest =
        world.devices[0].installation.publish(NOW, NOW.plus(10), &mut world.rng).unwrap();
    (world, manifest)
}

fn check(edit: impl FnOnce(&mut KeyPackageManifest), expected: ManifestError) {
    let (world, mut manifest) = manifest();
    edit(&mut manifest);
    let key = world.devices[0].installation.public_key();
    assert_eq!(manifest.verify(&key, NETWORK, NOW), Err(expected));
}

#[test]
fn a_manifest_is_signed_for_one_installation_and_network() {
    // covers: MLS-005
    let (world, manifest) = manifest();
    let key = world.devices[0].installation.public_key();
    let parsed = KeyPackageManifest::from_wire(&manifest.to_wire()).unwrap();
    let invitee = parsed.verify(&key, NETWORK, NOW).unwrap();
    assert_eq!((invitee.inbox(), invitee.installation()), (inbox(1), key));
    let other = world.devices[1].installation.public_key();
    let refused = manifest.verify(&other, NETWORK, NOW);
    assert_eq!(refused, Err(ManifestError::OtherInstallation));
    let refused = manifest.verify(&key, NetworkId([9; 32]), NOW);
    assert_eq!(refused, Err(ManifestError::SignatureInvalid));
}

#[test]
fn every_field_is_signed() {
    // covers: MLS-005
    check(|it| it.body.number += 1, ManifestError::SignatureInvalid);
    check(|it| it.body.inbox = InboxId([9; 32]), ManifestError::SignatureInvalid);
    check(|it| it.body.not_after = NOW.plus(99), ManifestError::SignatureInvalid);
    check(|it| it.body.version = 2, ManifestError::Malformed);
}

#[test]
fn a_manifest_expires_by_period() {
    // covers: MLS-005
    let (world, manifest) = manifest();
    let key = world.devices[0].installation.public_key();
    assert!(manifest.verify(&key, NETWORK, NOW.plus(10)).is_ok());
    assert_eq!(manifest.verify(&key, NETWORK, NOW.plus(11)), Err(ManifestError::Expired));
}

#[test]
fn readers_take_the_highest_number() {
    // covers: MLS-005
    let (mut world, first) = manifest();
    let installation = &mut world.devices[0].installation;
    let second = installation.publish(NOW, NOW.plus(10), &mut world.rng).unwrap();
    assert_eq!(second.body.number, first.body.number + 1);
    let newest = KeyPackageManifest::newest([second.clone(), first]);
    assert_eq!(newest, Some(second));
}

#[test]
fn key_packages_never_expire_by_the_clock() {
    // covers: MLS-004
    let (_, manifest) = manifest();
    // A lifetime is two big-endian numbers of seconds: from zero to the end of time.
    let unlimited = [[0; 8], [0xff; 8]].concat();
    let bytes = &manifest.body.key_package;
    assert!(bytes.windows(16).any(|window| window == unlimited));
}

#[test]
fn a_manifest_is_published_on_its_own_topic() {
    // covers: MLS-005
    let (world, manifest) = manifest();
    let installation = &world.devices[0].installation;
    let envelope = manifest.to_envelope(&CONTEXT, installation.key(), NETWORK);
    assert!(envelope.body.topic.keyed_by(&installation.public_key()));
    assert_eq!(KeyPackageManifest::from_wire(&envelope.body.payload), Ok(manifest));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes_are_a_manifest_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        if let Ok(manifest) = KeyPackageManifest::from_wire(&bytes) {
            prop_assert_eq!(manifest.to_wire(), bytes);
        }
    }

    #[test]
    fn any_mailbox_entry_is_a_pointer_or_not(
        bytes in prop::collection::vec(any::<u8>(), WELCOME_POINTER_BYTES_MAX),
    ) {
        let (world, _) = manifest();
        prop_assert_eq!(world.devices[0].installation.open_pointer(&bytes), None);
    }
}
