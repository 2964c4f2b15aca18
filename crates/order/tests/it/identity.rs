//! Identity updates on the lane: applied in sequence, or refused without a trace.

use tidings_envelope::{ClientEnvelope, EnvelopeBody, Operation, Outcome, Topic, WriteProof};
use tidings_identity::{
    AssociationState, EthereumSigner, IdentityUpdate, LocalWallet, Member, UpdateBuilder,
    WalletForm,
};
use tidings_types::{ErrorCode, EthereumAddress, InboxId, NetworkId, Wire};

use crate::lane::{Lane, applied, conflict};
use crate::network::{ordered, signing_key};

fn wallet(number: u8) -> LocalWallet {
    LocalWallet::from_secret(&[number; 32]).unwrap()
}

fn account(number: u8) -> Member {
    Member::EthereumAccount(wallet(number).address())
}

pub fn address(number: u8) -> EthereumAddress {
    wallet(number).address()
}

/// The update, signed by the wallets and devices with these numbers.
fn sign(
    builder: UpdateBuilder<'_>,
    network: NetworkId,
    wallets: &[u8],
    devices: &[u8],
) -> IdentityUpdate {
    let mut draft = builder.build(network).unwrap();
    for number in wallets {
        draft.sign_with_wallet(&wallet(*number), WalletForm::TypedData).unwrap();
    }
    for number in devices {
        draft.sign_with_installation(&signing_key(*number)).unwrap();
    }
    draft.finish().unwrap()
}

impl Lane {
    fn inbox_envelope(&self, inbox: InboxId, payload: &[u8]) -> ClientEnvelope {
        let body: EnvelopeBody =
            ordered(Topic::identity(inbox), self.state.period().plus(1), payload);
        ClientEnvelope { body, proof: WriteProof::SelfAuthenticating }
    }

    fn update(&mut self, update: &IdentityUpdate) -> Outcome {
        let operation = self.carry(update);
        self.apply_one(operation)
    }

    fn carry(&self, update: &IdentityUpdate) -> Operation {
        self.pay(self.inbox_envelope(update.body.inbox, &update.to_wire()))
    }

    /// The inbox that [`Lane::open_inbox`] opens.
    pub fn open_inbox_id(&self, number: u8) -> InboxId {
        self.state.inbox_of(address(number)).unwrap()
    }

    /// Opens the inbox of a wallet, which keeps its own recovery.
    pub fn open_inbox(&mut self, number: u8) -> InboxId {
        let builder = UpdateBuilder::create(account(number), 0, account(number));
        let update = sign(builder, self.network, &[number], &[]);
        assert_eq!(self.update(&update), applied(1));
        update.body.inbox
    }

    fn inbox(&self, inbox: InboxId) -> AssociationState {
        self.state.inbox(inbox).unwrap().clone()
    }
}

#[test]
fn an_inbox_lives_on_the_lane() {
    // covers: ORD-009
    let mut lane = Lane::new();
    let inbox = lane.open_inbox(1);
    let device = Member::Installation(signing_key(60).public_key());
    let current = lane.inbox(inbox);
    let builder = UpdateBuilder::following(&current).add_member(device, account(1));
    let update = sign(builder, lane.network, &[1], &[60]);
    assert_eq!(lane.update(&update), applied(2));
    assert!(lane.inbox(inbox).contains(&device));
    let current = lane.inbox(inbox);
    let builder = UpdateBuilder::following(&current).revoke_member(device);
    assert_eq!(lane.update(&sign(builder, lane.network, &[1], &[])), applied(3));
    assert!(!lane.inbox(inbox).contains(&device));
    assert_eq!(lane.state.topic(Topic::identity(inbox)).position.0, 3);
    assert_eq!(lane.inbox(inbox).sequence().0, 2);
}

#[test]
fn an_update_is_applied_once_whatever_carries_it() {
    // covers: ORD-008
    // covers: ORD-009
    let mut lane = Lane::new();
    let inbox = lane.open_inbox(1);
    let current = lane.inbox(inbox);
    let builder = UpdateBuilder::following(&current).add_member(account(2), account(1));
    let update = sign(builder, lane.network, &[1, 2], &[]);
    let operation = lane.carry(&update);
    assert_eq!(lane.apply_one(operation.clone()), applied(2));
    let before = lane.inbox(inbox);
    let repeated = Outcome::Refused { code: ErrorCode::Repeated };
    assert_eq!(lane.apply_one(operation), repeated);
    // In another envelope it is another operation, and comes late.
    lane.begin_period();
    assert_eq!(lane.update(&update), conflict(2));
    assert_eq!(lane.inbox(inbox), before);
    assert_eq!(lane.state.topic(Topic::identity(inbox)).position.0, 2);
}

#[test]
fn of_two_updates_for_one_place_the_first_counts() {
    // covers: ORD-009
    let mut lane = Lane::new();
    let inbox = lane.open_inbox(1);
    let current = lane.inbox(inbox);
    let add = |number| {
        let builder = UpdateBuilder::following(&current).add_member(account(number), account(1));
        sign(builder, lane.network, &[1, number], &[])
    };
    let (one, two) = (lane.carry(&add(2)), lane.carry(&add(3)));
    assert_eq!(lane.apply(vec![one, two]), [applied(2), conflict(2)]);
    assert!(lane.inbox(inbox).contains(&account(2)));
    assert!(!lane.inbox(inbox).contains(&account(3)));
}

#[test]
fn a_bad_update_is_refused_and_changes_nothing() {
    // covers: ORD-009
    let mut lane = Lane::new();
    let inbox = lane.open_inbox(1);
    let before = lane.inbox(inbox);
    let current = lane.inbox(inbox);
    let builder = UpdateBuilder::following(&current).add_member(account(2), account(1));
    let good = sign(builder, lane.network, &[1, 2], &[]);
    let mut unsigned = good.clone();
    unsigned.signatures = Default::default();
    let mut elsewhere = good.to_wire();
    elsewhere.push(0);
    let cases = [
        (unsigned.to_wire(), ErrorCode::IdentitySignatureInvalid),
        (elsewhere, ErrorCode::Malformed),
        (b"\x00\x02".to_vec(), ErrorCode::UnknownVersion),
        (Vec::new(), ErrorCode::Malformed),
        (vec![0; 16_385], ErrorCode::TooLarge),
    ];
    for (payload, code) in cases {
        let operation = lane.pay(lane.inbox_envelope(inbox, &payload));
        assert_eq!(lane.apply_one(operation), Outcome::Refused { code });
        assert_eq!(lane.inbox(inbox), before);
        assert_eq!(lane.state.topic(Topic::identity(inbox)).position.0, 1);
    }
    let foreign = lane.pay(lane.inbox_envelope(InboxId([9; 32]), &good.to_wire()));
    let refused = Outcome::Refused { code: ErrorCode::TopicInvalid };
    assert_eq!(lane.apply_one(foreign), refused);
    assert_eq!(lane.update(&good), applied(2));
}

#[test]
fn an_inbox_begins_with_its_creation() {
    // covers: ORD-009
    let mut lane = Lane::new();
    let builder = UpdateBuilder::create(account(1), 0, account(1));
    let create = sign(builder, lane.network, &[1], &[]);
    let state = AssociationState::advance(None, lane.network, &create.to_wire()).unwrap();
    let builder = UpdateBuilder::following(&state).add_member(account(2), account(1));
    let early = sign(builder, lane.network, &[1, 2], &[]);
    assert_eq!(lane.update(&early), conflict(0));
    assert_eq!(lane.state.inbox(create.body.inbox), None);
    assert_eq!(lane.update(&create), applied(1));
}

#[test]
fn an_account_leads_to_the_inbox_it_joined_last() {
    // covers: ORD-010
    let mut lane = Lane::new();
    let (one, two) = (lane.open_inbox(1), lane.open_inbox(2));
    assert_eq!(lane.state.inbox_of(address(1)), Some(one));
    assert_eq!(lane.state.inbox_of(address(2)), Some(two));
    // The first account joins the second inbox too.
    let current = lane.inbox(two);
    let builder = UpdateBuilder::following(&current).add_member(account(1), account(2));
    assert_eq!(lane.update(&sign(builder, lane.network, &[1, 2], &[])), applied(2));
    assert_eq!(lane.state.inbox_of(address(1)), Some(two));
    // Leaving the inbox that it no longer leads to changes nothing.
    let current = lane.inbox(one);
    let builder = UpdateBuilder::following(&current).revoke_member(account(1));
    assert_eq!(lane.update(&sign(builder, lane.network, &[1], &[])), applied(2));
    assert_eq!(lane.state.inbox_of(address(1)), Some(two));
    // Leaving the one that it leads to leaves it without any.
    let current = lane.inbox(two);
    let builder = UpdateBuilder::following(&current).revoke_member(account(1));
    assert_eq!(lane.update(&sign(builder, lane.network, &[2], &[])), applied(3));
    assert_eq!(lane.state.inbox_of(address(1)), None);
    assert_eq!(lane.state.inbox_of(address(2)), Some(two));
    assert_eq!(lane.state.inbox_of(address(3)), None);
}

#[test]
fn an_account_that_leaves_with_its_branch_is_found_no_more() {
    // covers: ORD-010
    let mut lane = Lane::new();
    let inbox = lane.open_inbox(1);
    let current = lane.inbox(inbox);
    let builder = UpdateBuilder::following(&current)
        .add_member(account(2), account(1))
        .add_member(account(3), account(2));
    assert_eq!(lane.update(&sign(builder, lane.network, &[1, 2, 3], &[])), applied(2));
    assert_eq!(lane.state.inbox_of(address(3)), Some(inbox));
    let current = lane.inbox(inbox);
    let builder = UpdateBuilder::following(&current).revoke_member(account(2));
    assert_eq!(lane.update(&sign(builder, lane.network, &[1], &[])), applied(3));
    assert_eq!(lane.state.inbox_of(address(1)), Some(inbox));
    assert_eq!(lane.state.inbox_of(address(2)), None);
    assert_eq!(lane.state.inbox_of(address(3)), None);
}
