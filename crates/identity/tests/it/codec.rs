//! Every byte string is one structure or none.

use proptest::collection::vec;
use proptest::prelude::*;
use tidings_identity::{
    Action, AssociationState, IdentityUpdate, Member, ParsedUpdate, Proof, Sequence,
    StateDecodeError, UpdateBody, UpdateSignature, WalletSignature,
};
use tidings_types::constants::{IDENTITY_UPDATE_BYTES_MAX, PROTOCOL_VERSION};
use tidings_types::ed25519::{PublicKey, Signature};
use tidings_types::{BoundedBytes, BoundedVec, EthereumAddress, InboxId, Wire};

use crate::cast::{NETWORK, advance, body, device, signed, wallet};

fn member() -> impl Strategy<Value = Member> {
    prop_oneof![
        any::<[u8; 20]>().prop_map(|bytes| Member::EthereumAccount(EthereumAddress(bytes))),
        any::<[u8; 32]>().prop_map(|bytes| Member::Installation(PublicKey(bytes))),
        (any::<u64>(), any::<[u8; 20]>()).prop_map(|(chain_id, bytes)| {
            Member::ContractWallet { chain_id, address: EthereumAddress(bytes) }
        }),
        vec(any::<u8>(), 33).prop_map(|bytes| Member::Passkey(bytes.try_into().unwrap())),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (member(), any::<u64>(), member()).prop_map(|(initial, nonce, recovery)| Action::Create {
            initial,
            nonce,
            recovery
        }),
        (member(), member()).prop_map(|(member, added_by)| Action::AddMember { member, added_by }),
        member().prop_map(|member| Action::RevokeMember { member }),
        member().prop_map(|recovery| Action::ChangeRecovery { recovery }),
    ]
}

fn proof() -> impl Strategy<Value = Proof> {
    let wallet =
        || vec(any::<u8>(), 65).prop_map(|bytes| WalletSignature(bytes.try_into().unwrap()));
    let opaque = || vec(any::<u8>(), 0..80).prop_map(|bytes| BoundedBytes::new(bytes).unwrap());
    prop_oneof![
        wallet().prop_map(Proof::Eip712),
        wallet().prop_map(Proof::Eip191),
        vec(any::<u8>(), 64).prop_map(|bytes| Proof::Ed25519(Signature(bytes.try_into().unwrap()))),
        opaque().prop_map(Proof::Erc1271),
        opaque().prop_map(Proof::WebAuthn),
    ]
}

fn update() -> impl Strategy<Value = IdentityUpdate> {
    let signature =
        (member(), proof()).prop_map(|(signer, proof)| UpdateSignature { signer, proof });
    let head = (any::<[u8; 32]>(), any::<u64>(), any::<[u8; 32]>());
    (head, vec(action(), 0..33), vec(signature, 0..65)).prop_map(|(head, actions, signatures)| {
        let (inbox, sequence, previous) = head;
        let actions = BoundedVec::new(actions).unwrap();
        IdentityUpdate {
            body: UpdateBody::new(InboxId(inbox), Sequence(sequence), previous, actions),
            signatures: BoundedVec::new(signatures).unwrap(),
        }
    })
}

/// What is read is written back as it was.
fn check_canonical(bytes: &[u8]) {
    if let Ok(parsed) = ParsedUpdate::parse(bytes) {
        assert_eq!(parsed.as_update().to_wire(), bytes);
        let _ = parsed.verify(NETWORK);
    }
    if let Ok(state) = AssociationState::from_wire(bytes) {
        assert_eq!(state.to_wire(), bytes);
    }
}

fn some_state() -> AssociationState {
    let (owner, phone, laptop) = (wallet(1), device(1), device(2));
    let person = owner.member();
    let inbox = tidings_identity::inbox_id(&person, 0);
    let create = Action::Create { initial: person, nonce: 0, recovery: person };
    let add =
        |actor: &crate::cast::Actor| Action::AddMember { member: actor.member(), added_by: person };
    let actions = vec![create, add(&phone), add(&laptop)];
    let state = advance(None, inbox, actions, &[&owner, &phone, &laptop]).unwrap();
    let revoke = Action::RevokeMember { member: phone.member() };
    advance(Some(&state), inbox, vec![revoke], &[&owner]).unwrap()
}

proptest! {
    #[test]
    fn updates_survive_the_wire(update in update()) {
        // covers: IDN-003
        let bytes = update.to_wire();
        check_canonical(&bytes);
        prop_assert_eq!(IdentityUpdate::from_wire(&bytes), Ok(update));
    }

    #[test]
    fn random_bytes_are_refused_or_canonical(bytes in vec(any::<u8>(), 0..300)) {
        // covers: IDN-003 IDN-019
        check_canonical(&bytes);
        check_canonical(&[&PROTOCOL_VERSION.to_be_bytes(), bytes.as_slice()].concat());
    }

    #[test]
    fn altered_updates_are_refused_or_canonical(
        update in update(), place in any::<prop::sample::Index>(), value in any::<u8>(),
    ) {
        // covers: IDN-003
        let mut bytes = update.to_wire();
        let index = place.index(bytes.len());
        bytes[index] = value;
        check_canonical(&bytes);
        bytes.truncate(place.index(bytes.len()));
        check_canonical(&bytes);
    }

    #[test]
    fn altered_states_are_refused_or_canonical(
        place in any::<prop::sample::Index>(), value in any::<u8>(),
    ) {
        // covers: IDN-019
        let mut bytes = some_state().to_wire();
        let index = place.index(bytes.len());
        bytes[index] = value;
        check_canonical(&bytes);
        bytes.truncate(place.index(bytes.len()));
        check_canonical(&bytes);
    }
}

#[test]
fn the_largest_supported_update_is_within_the_limit() {
    // covers: IDN-003
    let member = |number: usize| Member::Installation(PublicKey([number as u8; 32]));
    let actions =
        (0..32).map(|i| Action::AddMember { member: member(i), added_by: member(i + 32) });
    let signatures = (0..64).map(|i| UpdateSignature {
        signer: member(i),
        proof: Proof::Eip712(WalletSignature([0; 65])),
    });
    let actions = BoundedVec::new(actions.collect()).unwrap();
    let update = IdentityUpdate {
        body: UpdateBody::new(InboxId([1; 32]), Sequence(1), [2; 32], actions),
        signatures: BoundedVec::new(signatures.collect()).unwrap(),
    };
    assert!(update.to_wire().len() < 9 * 1024 && 9 * 1024 < IDENTITY_UPDATE_BYTES_MAX);
}

#[test]
fn the_state_does_not_depend_on_how_signers_sign() {
    // covers: IDN-002
    let owner = wallet(1);
    let state = some_state();
    let actions = vec![Action::ChangeRecovery { recovery: wallet(2).member() }];
    let body = body(Some(&state), state.inbox(), actions);
    let after = |as_text| {
        let update = signed(&body, &[&owner], as_text).to_wire();
        AssociationState::advance(Some(&state), NETWORK, &update).unwrap()
    };
    assert_eq!(after(false), after(true));
    assert_eq!(after(false).hash(), after(true).hash());
}

/// Rebuilds the state's bytes with other parts; the fixed parts are those of `some_state`.
fn state_bytes(recovery: Member, rows: &[(Member, Member, u64)], revoked: &[PublicKey]) -> Vec<u8> {
    let row = |(member, by, at): &(Member, Member, u64)| {
        [member.to_wire(), by.to_wire(), at.to_be_bytes().to_vec()].concat()
    };
    let rows = BoundedBytes::<4096>::new(rows.iter().flat_map(row).collect()).unwrap();
    let revoked = revoked.iter().flat_map(|key| key.0).collect();
    let revoked = BoundedBytes::<4096>::new(revoked).unwrap();
    let head = [[0, 1].as_slice(), &[1; 32], &5u64.to_be_bytes(), &[2; 32]].concat();
    [head, recovery.to_wire(), rows.to_wire(), revoked.to_wire()].concat()
}

#[test]
fn states_that_no_log_leads_to_are_refused() {
    // covers: IDN-004 IDN-013 IDN-017 IDN-019
    let person = wallet(1).member();
    let keys = [PublicKey([1; 32]), PublicKey([2; 32])];
    let [one, two] = keys.map(Member::Installation);
    let rows = [(person, person, 0), (one, person, 5)];
    assert!(AssociationState::from_wire(&state_bytes(person, &rows, &keys[1..])).is_ok());
    let check = |bytes: Vec<u8>| {
        let refused = AssociationState::from_wire(&bytes);
        assert!(matches!(refused, Err(StateDecodeError::Impossible(_))), "{refused:?}");
    };
    check(state_bytes(person, &[rows[1], rows[0]], &[]));
    check(state_bytes(person, &[rows[0], rows[0]], &[]));
    check(state_bytes(person, &rows, &keys));
    check(state_bytes(person, &rows, &[keys[1], keys[1]]));
    check(state_bytes(two, &rows, &keys[1..]));
    check(state_bytes(person, &[(one, person, 6)], &[]));
    check(state_bytes(Member::Passkey([2; 33]), &rows, &[]));
    check(state_bytes(person, &[(Member::Passkey([2; 33]), person, 0)], &[]));
    let mut future = state_bytes(person, &rows, &[]);
    future[1] = 2;
    let refused = AssociationState::from_wire(&future);
    assert_eq!(refused, Err(StateDecodeError::UnknownVersion { version: 2 }));
}
