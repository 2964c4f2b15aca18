//! What the rules refuse, and what it is called.

use prost::Message;
use tidings_types::ErrorCode;
use tidings_xmtp::association::{
    AssociationError as E, Fault, InboxId, ParsedUpdate, SignatureKind,
};
use tidings_xmtp::proto::xmtp::identity::associations as proto;

use crate::association_cast::{
    Actor, Deed, Story, device, member, passkey, update, verified, wallet,
};

/// Checks that `deeds` are refused after Alice opened her inbox with a phone, and change nothing.
fn check(deeds: &[Deed<'_>], expected: E) {
    let mut story = Story::of(&wallet(1), &device(2));
    let before = story.state().clone();
    assert_eq!(story.act(deeds), Err(expected));
    assert_eq!(story.state(), &before);
}

/// The same for one field of an update changed after it was signed.
fn check_tampered(deeds: &[Deed<'_>], tamper: impl Fn(&mut proto::IdentityUpdate), expected: E) {
    let mut story = Story::of(&wallet(1), &device(2));
    let mut update = story.next(deeds);
    tamper(&mut update);
    assert_eq!(story.publish(&update), Err(expected));
}

#[test]
fn only_the_first_action_opens_an_inbox() {
    let (alice, bob) = (wallet(1), wallet(3));
    let mut story = Story::before(&alice);
    let add = Deed::Add { who: &bob, by: &alice };
    assert_eq!(story.act(&[add]), Err(E::CreateMissing));
    let create = Deed::Create { who: &alice, nonce: 0 };
    assert_eq!(story.act(&[add, create]), Err(E::CreateMissing));
    assert_eq!(story.act(&[create, create]), Err(E::CreateRepeated));
    check(&[create], E::CreateRepeated);
}

#[test]
fn an_update_belongs_to_one_inbox() {
    let (alice, bob) = (wallet(1), wallet(3));
    let expected = InboxId::derive(&alice.identifier(), 0);
    let named = InboxId::derive(&alice.identifier(), 1);
    let mut story = Story::before(&alice);
    story.inbox = named;
    let refused = E::InboxMismatch { expected, named };
    assert_eq!(story.act(&[Deed::Create { who: &alice, nonce: 0 }]), Err(refused.clone()));
    let mut story = Story::of(&alice, &device(2));
    story.inbox = named;
    assert_eq!(story.act(&[Deed::Add { who: &bob, by: &alice }]), Err(refused));
}

#[test]
fn strangers_add_nobody() {
    let (alice, mallory, bob) = (wallet(1), wallet(66), wallet(3));
    let signer = mallory.member();
    check(&[Deed::Add { who: &bob, by: &mallory }], E::AuthorityMissing { signer });
    let member = bob.member();
    check(&[Deed::Add { who: &bob, by: &bob }], E::AddsItself { member });
    let member = device(2).member();
    check(&[Deed::Add { who: &device(2), by: &alice }], E::AlreadyMember { member });
    let installation = Deed::Add { who: &device(7), by: &device(2) };
    check(&[installation], E::InstallationAddsInstallation);
}

#[test]
fn an_update_applies_whole_or_not_at_all() {
    let (alice, mallory, bob) = (wallet(1), wallet(66), wallet(3));
    let signer = mallory.member();
    let deeds = [Deed::Add { who: &bob, by: &alice }, Deed::Add { who: &device(9), by: &mallory }];
    check(&deeds, E::AuthorityMissing { signer });
}

#[test]
fn only_the_recovery_identifier_revokes_and_hands_on() {
    let (alice, phone, bob) = (wallet(1), device(2), wallet(3));
    let recovery = alice.identifier();
    for signer in [&phone, &bob] {
        let expected = E::RecoveryMismatch { recovery: recovery.clone(), signer: signer.member() };
        check(&[Deed::Revoke { who: &phone, by: signer }], expected.clone());
        check(&[Deed::Recover { to: &bob, by: signer }], expected);
    }
    let mut story = Story::of(&alice, &phone);
    story.act(&[Deed::Recover { to: &bob, by: &alice }]).unwrap();
    let expected = E::RecoveryMismatch { recovery: bob.identifier(), signer: alice.member() };
    assert_eq!(story.act(&[Deed::Revoke { who: &phone, by: &alice }]), Err(expected));
}

#[test]
fn the_new_member_signs_too() {
    use proto::identity_action::Kind;
    let (alice, bob, mallory) = (wallet(1), wallet(3), wallet(66));
    let mut story = Story::of(&alice, &device(2));
    let mut update = story.next(&[Deed::Add { who: &bob, by: &alice }]);
    let text = ParsedUpdate::parse(&update.encode_to_vec()).unwrap().text().clone();
    let Some(Kind::Add(add)) = &mut update.actions[0].kind else { panic!("an add") };
    add.new_member_signature = Some(mallory.sign(text.as_str()));
    let expected = E::SignerMismatch { expected: bob.member(), signer: mallory.member() };
    assert_eq!(story.publish(&update), Err(expected));
}

#[test]
fn creation_is_signed_by_the_first_identifier() {
    use proto::identity_action::Kind;
    let (alice, bob) = (wallet(1), wallet(3));
    let mut story = Story::before(&alice);
    let mut update = story.next(&[Deed::Create { who: &alice, nonce: 0 }]);
    let text = ParsedUpdate::parse(&update.encode_to_vec()).unwrap().text().clone();
    let Some(Kind::CreateInbox(create)) = &mut update.actions[0].kind else { panic!("a create") };
    create.initial_identifier_signature = Some(bob.sign(text.as_str()));
    let expected = E::SignerMismatch { expected: alice.member(), signer: bob.member() };
    assert_eq!(story.publish(&update), Err(expected));
    let Some(Kind::CreateInbox(create)) = &mut update.actions[0].kind else { panic!("a create") };
    create.initial_identifier_signature = Some(device(2).sign(text.as_str()));
    let expected = E::SignerMismatch { expected: alice.member(), signer: device(2).member() };
    assert_eq!(story.publish(&update), Err(expected));
}

#[test]
fn a_signature_serves_one_update() {
    let (alice, phone, bob) = (wallet(1), device(2), wallet(3));
    let mut story = Story::of(&alice, &phone);
    let add = story.next(&[Deed::Add { who: &bob, by: &alice }]);
    story.publish(&add).unwrap();
    assert_eq!(story.publish(&add), Err(E::SignatureReplayed));
    story.act(&[Deed::Revoke { who: &bob, by: &alice }]).unwrap();
    assert_eq!(story.publish(&add), Err(E::SignatureReplayed));
}

#[test]
fn the_same_wish_within_a_second_is_the_same_signature() {
    let (alice, phone, bob) = (wallet(1), device(2), wallet(3));
    let mut story = Story::of(&alice, &phone);
    let add = [Deed::Add { who: &bob, by: &phone }];
    story.publish(&update(story.inbox, 9, &add)).unwrap();
    story.publish(&update(story.inbox, 9, &[Deed::Revoke { who: &bob, by: &alice }])).unwrap();
    assert_eq!(story.publish(&update(story.inbox, 9, &add)), Err(E::SignatureReplayed));
    story.publish(&update(story.inbox, 10, &add)).unwrap();
}

#[test]
fn another_encoding_is_the_same_signature() {
    use proto::identity_action::Kind;
    use proto::signature::Signature;
    let (alice, key) = (wallet(1), passkey(3));
    let mut story = Story::of(&alice, &device(2));
    let add = story.next(&[Deed::Add { who: &key, by: &alice }]);
    story.publish(&add).unwrap();
    story.act(&[Deed::Revoke { who: &key, by: &alice }]).unwrap();
    let aliased = |flip_s: bool, shift_v: bool| {
        let mut add = add.clone();
        let Some(Kind::Add(action)) = &mut add.actions[0].kind else { panic!("an add") };
        let wallet = action.existing_member_signature.as_mut().unwrap().signature.as_mut();
        let Some(Signature::Erc191(wallet)) = wallet else { panic!("a wallet") };
        if flip_s {
            wallet.bytes = other_root(&wallet.bytes);
        }
        if shift_v {
            wallet.bytes[64] -= 27;
        }
        let passkey = action.new_member_signature.as_mut().unwrap().signature.as_mut();
        let Some(Signature::Passkey(passkey)) = passkey else { panic!("a passkey") };
        let signature = p256::ecdsa::Signature::from_der(&passkey.signature).unwrap();
        if flip_s {
            let (r, s) = signature.split_scalars();
            let other = p256::ecdsa::Signature::from_scalars(*r, -*s).unwrap();
            passkey.signature = other.to_der().as_bytes().into();
        }
        add
    };
    for (flip_s, shift_v) in [(false, true), (true, false), (true, true)] {
        let alias = aliased(flip_s, shift_v);
        assert_ne!(alias, add);
        verified(&alias).unwrap();
        assert_eq!(story.publish(&alias), Err(E::SignatureReplayed));
    }
}

/// The same secp256k1 signature with the other `s`.
fn other_root(bytes: &[u8]) -> Vec<u8> {
    let bytes: [u8; 65] = bytes.try_into().unwrap();
    let signature = alloy_primitives::Signature::from_raw_array(&bytes).unwrap();
    let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let order = alloy_primitives::U256::from_str_radix(order, 16).unwrap();
    let other =
        alloy_primitives::Signature::new(signature.r(), order - signature.s(), !signature.v());
    other.as_bytes().into()
}

#[test]
fn what_is_signed_cannot_be_changed() {
    use proto::identity_action::Kind;
    let (alice, bob, carol, phone) = (wallet(1), wallet(3), wallet(4), device(5));
    let invalid = E::SignatureInvalid { kind: SignatureKind::Installation };
    let add = [Deed::Add { who: &phone, by: &alice }];
    let later = |update: &mut proto::IdentityUpdate| update.client_timestamp_ns += 1_000_000_000;
    check_tampered(&add, later, invalid.clone());
    let elsewhere = |update: &mut proto::IdentityUpdate| update.inbox_id = "00".repeat(32);
    check_tampered(&add, elsewhere, invalid.clone());
    let more = |update: &mut proto::IdentityUpdate| {
        let mut action = update.actions[0].clone();
        let Some(Kind::Add(add)) = &mut action.kind else { panic!("an add") };
        add.new_member_identifier = Some(member(&bob));
        update.actions.push(action);
    };
    check_tampered(&add, more, invalid);
    // An account's signature over another text is another account's.
    let mut story = Story::of(&alice, &device(2));
    let mut update = story.next(&[Deed::Revoke { who: &bob, by: &alice }]);
    let Some(Kind::Revoke(revoke)) = &mut update.actions[0].kind else { panic!("a revoke") };
    revoke.member_to_revoke = Some(member(&carol));
    assert!(matches!(story.publish(&update), Err(E::RecoveryMismatch { .. })));
}

/// Checks what a signature put in place of Alice's own on a revocation leads to.
fn check_signature(form: proto::signature::Signature, expected: E) {
    use proto::identity_action::Kind;
    let tamper = |update: &mut proto::IdentityUpdate| {
        let Some(Kind::Revoke(revoke)) = &mut update.actions[0].kind else { panic!("a revoke") };
        let signature = Some(form.clone());
        revoke.recovery_identifier_signature = Some(proto::Signature { signature });
    };
    check_tampered(&[Deed::Revoke { who: &device(2), by: &wallet(1) }], tamper, expected);
}

fn form(actor: &Actor, text: &str) -> proto::signature::Signature {
    actor.sign(text).signature.unwrap()
}

#[test]
fn signatures_that_are_none_are_named() {
    use proto::signature::Signature;
    let invalid = |kind| E::SignatureInvalid { kind };
    for v in [2, 26, 29, 35, 37, 255] {
        let mut bytes = vec![1; 65];
        bytes[64] = v;
        let wallet = proto::RecoverableEcdsaSignature { bytes };
        check_signature(Signature::Erc191(wallet), invalid(SignatureKind::Eip191));
    }
    let zero = proto::RecoverableEcdsaSignature { bytes: vec![0; 65] };
    check_signature(Signature::Erc191(zero), invalid(SignatureKind::Eip191));
    // A key of small order would sign every text.
    let mut public_key = vec![0; 32];
    public_key[0] = 1;
    let mut bytes = vec![0; 64];
    bytes[0] = 1;
    let weak = proto::RecoverableEd25519Signature { bytes, public_key };
    check_signature(Signature::InstallationKey(weak), invalid(SignatureKind::Installation));
    check_signature(form(&device(2), "else"), invalid(SignatureKind::Installation));
    check_signature(form(&passkey(3), "else"), E::ChallengeMismatch);
    let Signature::Passkey(mut passkey) = form(&passkey(3), "") else { panic!("a passkey") };
    passkey.client_data_json = b"[".repeat(1_000);
    check_signature(Signature::Passkey(passkey), E::ClientDataMalformed);
    let legacy = proto::LegacyDelegatedSignature::default();
    check_signature(Signature::DelegatedErc191(legacy), E::LegacyKeyRetired);
}

#[test]
fn faults_have_codes() {
    let faults = [
        (E::NoActions, Fault::Input, ErrorCode::Malformed),
        (E::TooManyActions { count: 65 }, Fault::Input, ErrorCode::TooLarge),
        (E::LegacyKeyRetired, Fault::Signature, ErrorCode::IdentitySignatureInvalid),
        (E::SignatureReplayed, Fault::State, ErrorCode::IdentitySequenceWrong),
        (E::InstallationAddsInstallation, Fault::State, ErrorCode::IdentityActionInvalid),
        (E::TooManyUpdates, Fault::Limit, ErrorCode::QuotaExceeded),
    ];
    for (error, fault, code) in faults {
        assert_eq!((error.fault(), error.code()), (fault, code), "{error}");
        assert!(!code.retryable());
    }
}
