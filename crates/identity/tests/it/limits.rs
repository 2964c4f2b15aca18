//! How large an inbox grows, and that it never runs out of life.

use tidings_identity::{Action, ApplyError, AssociationState, LogError, ParsedUpdate, inbox_id};
use tidings_types::constants::{IDENTITY_MEMBERS_MAX, IDENTITY_REVOKED_MAX};
use tidings_types::{ErrorCode, NetworkId, Wire};

use crate::cast::{Actor, NETWORK, advance, body, device, signed, wallet};

fn open(owner: &Actor, recovery: &Actor) -> AssociationState {
    let (initial, recovery) = (owner.member(), recovery.member());
    let create = Action::Create { initial, nonce: 0, recovery };
    advance(None, inbox_id(&initial, 0), vec![create], &[owner]).unwrap()
}

/// Fills the inbox with devices, each let in by the one before, the first by recovery.
fn fill(mut state: AssociationState, recovery: &Actor, devices: &[Actor]) -> AssociationState {
    let mut last = recovery;
    for chunk in devices.chunks(32) {
        let mut signers = vec![last];
        let mut actions = Vec::new();
        for device in chunk {
            actions.push(Action::AddMember { member: device.member(), added_by: last.member() });
            signers.push(device);
            last = device;
        }
        state = advance(Some(&state), state.inbox(), actions, &signers).unwrap();
    }
    state
}

#[test]
fn an_inbox_fills_up_empties_and_goes_on() {
    // covers: IDN-012 IDN-013 IDN-014 IDN-015
    let (owner, recovery) = (wallet(1), wallet(2));
    let mut state = open(&owner, &recovery);
    let add = |member: &Actor, by: &Actor| {
        vec![Action::AddMember { member: member.member(), added_by: by.member() }]
    };
    let mut numbers = 0..;
    let mut revoked_count = 0;
    while revoked_count <= IDENTITY_REVOKED_MAX {
        let room = IDENTITY_MEMBERS_MAX - state.members().len();
        let devices: Vec<Actor> = numbers.by_ref().take(room).map(device).collect();
        state = fill(state, &recovery, &devices);
        let late = device(u32::MAX);
        let refused = advance(Some(&state), state.inbox(), add(&late, &owner), &[&owner, &late]);
        let error = refused.unwrap_err();
        assert_eq!(error, LogError::Apply(ApplyError::TooManyMembers));
        assert_eq!(error.code(), ErrorCode::TooLarge);

        let revoke = vec![Action::RevokeMember { member: devices[0].member() }];
        state = advance(Some(&state), state.inbox(), revoke, &[&recovery]).unwrap();
        assert_eq!(state.members().len(), 1, "the whole chain is gone");
        revoked_count += devices.len();
    }
    assert_eq!(state.revoked().len(), IDENTITY_REVOKED_MAX);
    assert_eq!(AssociationState::from_wire(&state.to_wire()).as_ref(), Ok(&state));

    let forgotten_count = revoked_count - IDENTITY_REVOKED_MAX;
    let returning = (0..IDENTITY_MEMBERS_MAX as u32).map(device).filter(|device| {
        let signers = [&recovery, device];
        advance(Some(&state), state.inbox(), add(device, &recovery), &signers).is_ok()
    });
    assert_eq!(returning.count(), forgotten_count);
    let barred = &device(numbers.start - 1);
    let refused =
        advance(Some(&state), state.inbox(), add(barred, &recovery), &[&recovery, barred]);
    assert_eq!(refused.unwrap_err().code(), ErrorCode::IdentityActionInvalid);
}

#[test]
fn an_update_verified_for_one_network_changes_nothing_on_another() {
    // covers: IDN-008
    let (owner, recovery) = (wallet(1), wallet(2));
    let state = open(&owner, &recovery);
    let actions = vec![Action::ChangeRecovery { recovery: owner.member() }];
    let update = signed(&body(Some(&state), state.inbox(), actions), &[&recovery], false);
    let verified = ParsedUpdate::parse(&update.to_wire()).unwrap().verify(NETWORK).unwrap();
    let refused = state.apply(NetworkId([8; 32]), &verified).unwrap_err();
    assert_eq!(refused, ApplyError::OtherNetwork);
    assert_eq!(refused.code(), ErrorCode::WrongNetwork);
    assert!(state.apply(NETWORK, &verified).is_ok());
}
