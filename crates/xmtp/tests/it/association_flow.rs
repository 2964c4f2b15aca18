//! Lives of inboxes that follow the rules.

use tidings_xmtp::association::{AssociationState, Member, MemberKind};

use crate::association_cast::{Deed, Story, device, passkey, wallet};

#[test]
fn an_inbox_opens_with_an_installation() {
    let (alice, phone) = (wallet(1), device(2));
    let mut story = Story::before(&alice);
    let create = Deed::Create { who: &alice, nonce: 0 };
    let next = story.act(&[create, Deed::Add { who: &phone, by: &alice }]).unwrap();
    story.check_members(&[&alice, &phone]);
    assert_eq!(next.state.inbox(), story.inbox);
    assert_eq!(next.state.recovery(), &alice.identifier());
    assert_eq!(next.diff.added, [alice.member(), phone.member()]);
    assert_eq!(next.diff.added_identifiers().collect::<Vec<_>>(), [&alice.identifier()]);
    assert_eq!((next.diff.removed, next.diff.recovery), (vec![], Some(alice.identifier())));
    let info = next.state.member(&phone.member()).unwrap();
    assert_eq!(info.added_by, Some(alice.member()));
    assert_eq!(info.added_at.map(|time| time.get()), Some(1_700_000_001_000_000_005));
    assert_eq!(next.state.member(&alice.member()).unwrap().added_by, None);
    assert!(next.state.contains(&phone.member()) && !next.state.contains(&device(3).member()));
}

#[test]
fn an_identifier_opens_as_many_inboxes_as_it_likes() {
    let (alice, phone) = (wallet(1), device(2));
    let story = Story::of(&alice, &phone);
    let mut other = Story::before(&alice);
    other.inbox = tidings_xmtp::association::InboxId::derive(&alice.identifier(), 5);
    other.act(&[Deed::Create { who: &alice, nonce: 5 }]).unwrap();
    assert_ne!(other.state().inbox(), story.state().inbox());
}

#[test]
fn members_of_each_kind_link_others() {
    let (alice, bob, key) = (wallet(1), wallet(3), passkey(4));
    let (phone, laptop, tablet) = (device(2), device(5), device(6));
    let mut story = Story::of(&alice, &phone);
    story.act(&[Deed::Add { who: &bob, by: &phone }]).unwrap();
    story.act(&[Deed::Add { who: &key, by: &bob }]).unwrap();
    story.act(&[Deed::Add { who: &laptop, by: &key }]).unwrap();
    story.act(&[Deed::Add { who: &tablet, by: &bob }]).unwrap();
    story.check_members(&[&alice, &bob, &key, &phone, &laptop, &tablet]);
    assert_eq!(story.state().installations().count(), 3);
    assert_eq!(story.state().identifiers().count(), 3);
    assert_eq!(AssociationState::replay(&story.log).as_ref(), Ok(story.state()));
}

#[test]
fn an_inbox_can_be_a_passkeys() {
    let (key, phone, bob) = (passkey(1), device(2), wallet(3));
    let mut story = Story::of(&key, &phone);
    story.act(&[Deed::Add { who: &bob, by: &key }]).unwrap();
    story.act(&[Deed::Revoke { who: &phone, by: &key }]).unwrap();
    story.act(&[Deed::Recover { to: &bob, by: &key }]).unwrap();
    story.act(&[Deed::Revoke { who: &key, by: &bob }]).unwrap();
    story.check_members(&[&bob]);
}

#[test]
fn a_member_leaves_with_the_installations_it_let_in() {
    let (alice, bob, carol) = (wallet(1), wallet(3), wallet(4));
    let (phone, laptop, tablet) = (device(2), device(5), device(6));
    let mut story = Story::of(&alice, &phone);
    story.act(&[Deed::Add { who: &bob, by: &alice }]).unwrap();
    story
        .act(&[Deed::Add { who: &laptop, by: &bob }, Deed::Add { who: &carol, by: &bob }])
        .unwrap();
    story.act(&[Deed::Add { who: &tablet, by: &carol }]).unwrap();
    let next = story.act(&[Deed::Revoke { who: &bob, by: &alice }]).unwrap();
    // Carol is a person of her own, and so stay her installations.
    story.check_members(&[&alice, &phone, &carol, &tablet]);
    let removed = [bob.member(), laptop.member()];
    assert!(removed.iter().all(|member| next.diff.removed.contains(member)));
    assert_eq!(next.diff.removed.len(), 2);
    assert_eq!(next.diff.removed_identifiers().collect::<Vec<_>>(), [&bob.identifier()]);
}

#[test]
fn recovery_is_handed_on() {
    let (alice, phone, laptop, safe) = (wallet(1), device(2), device(5), wallet(9));
    let mut story = Story::of(&alice, &phone);
    let next = story.act(&[Deed::Recover { to: &safe, by: &alice }]).unwrap();
    assert_eq!(next.diff.recovery, Some(safe.identifier()));
    assert!(next.diff.added.is_empty() && next.diff.removed.is_empty());
    // The recovery identifier is no member and yet adds and revokes.
    story.act(&[Deed::Add { who: &laptop, by: &safe }]).unwrap();
    story.act(&[Deed::Revoke { who: &phone, by: &safe }]).unwrap();
    story.check_members(&[&alice, &laptop]);
    // To revoke one that is no member still revokes whom it let in.
    story.act(&[Deed::Revoke { who: &safe, by: &safe }]).unwrap();
    story.check_members(&[&alice]);
    story.act(&[Deed::Revoke { who: &alice, by: &safe }]).unwrap();
    story.check_members(&[]);
    story.act(&[Deed::Add { who: &laptop, by: &safe }]).unwrap();
    story.check_members(&[&laptop]);
}

#[test]
fn who_left_may_join_again() {
    let (alice, phone, bob) = (wallet(1), device(2), wallet(3));
    let mut story = Story::of(&alice, &phone);
    story.act(&[Deed::Add { who: &bob, by: &alice }]).unwrap();
    story.act(&[Deed::Revoke { who: &bob, by: &alice }]).unwrap();
    story.act(&[Deed::Add { who: &bob, by: &alice }]).unwrap();
    story.check_members(&[&alice, &phone, &bob]);
    let again = [Deed::Revoke { who: &bob, by: &alice }, Deed::Add { who: &bob, by: &alice }];
    let next = story.act(&again).unwrap();
    assert_eq!((next.diff.added, next.diff.removed), (vec![bob.member()], vec![bob.member()]));
    assert_eq!(next.state.member(&bob.member()).unwrap().added_in, 4);
    assert_eq!(next.state.update_count(), 5);
}

#[test]
fn members_are_of_the_kind_they_sign_as() {
    let kinds = [wallet(1), passkey(1), device(1)].map(|actor| actor.member().kind());
    assert_eq!(kinds, [MemberKind::Ethereum, MemberKind::Passkey, MemberKind::Installation]);
    let installation = device(1).member();
    assert!(installation.identifier().is_none() && installation.installation().is_some());
    assert_eq!(Member::from(wallet(1).identifier()).installation(), None);
}
