//! Making updates with wallets of every temper.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use tidings_identity::{
    ApplyError, AssociationState, AttachError, BuildError, EthereumSigner, LocalWallet, Member,
    UpdateBuilder, UpdateIncomplete, VerifyError, WalletError, WalletForm, WalletRequest,
    WalletSignature,
};
use tidings_types::constants::IDENTITY_ACTIONS_PER_UPDATE_MAX;
use tidings_types::ed25519::SigningKey;
use tidings_types::{EthereumAddress, Wire};

use crate::cast::NETWORK;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the owner said no")
    }
}

impl std::error::Error for Refused {}

/// A wallet that answers as it is told, whatever it is asked.
struct Stubborn {
    address: EthereumAddress,
    answer: Result<WalletSignature, Refused>,
}

impl EthereumSigner for Stubborn {
    type Error = Refused;

    fn address(&self) -> EthereumAddress {
        self.address
    }

    fn sign(&self, _request: &WalletRequest) -> Result<WalletSignature, Refused> {
        self.answer
    }
}

fn person(wallet: &LocalWallet) -> Member {
    Member::EthereumAccount(wallet.address())
}

fn wallet(seed: u8) -> LocalWallet {
    LocalWallet::from_secret(&[seed; 32]).unwrap()
}

#[test]
fn a_draft_asks_exactly_those_who_have_to_sign() {
    // covers: IDN-007
    let (owner, other) = (wallet(1), wallet(2));
    let device = SigningKey::from_secret(&[3; 32]);
    let installation = Member::Installation(device.public_key());
    let mut draft = UpdateBuilder::create(person(&owner), 0, person(&other))
        .add_member(installation, person(&owner))
        .build(NETWORK)
        .unwrap();
    assert_eq!(draft.signers().collect::<Vec<_>>(), [person(&owner), installation]);

    let stranger = SigningKey::from_secret(&[4; 32]);
    let signer = Member::Installation(stranger.public_key());
    let not_needed = AttachError::NotNeeded { signer };
    assert_eq!(draft.sign_with_installation(&stranger), Err(not_needed));
    let not_needed = AttachError::NotNeeded { signer: person(&other) };
    let asked = draft.sign_with_wallet(&other, WalletForm::Text);
    assert_eq!(asked, Err(WalletError::Attach(not_needed)));

    draft.sign_with_wallet(&owner, WalletForm::Text).unwrap();
    let missing = UpdateIncomplete { missing: vec![installation] };
    assert!(missing.to_string().contains(&installation.to_string()));
    assert_eq!(draft.clone().finish(), Err(missing));
    draft.sign_with_installation(&device).unwrap();
    let bytes = draft.finish().unwrap().to_wire();
    let state = AssociationState::advance(None, NETWORK, &bytes).unwrap();
    assert_eq!(state.installations().collect::<Vec<_>>(), [device.public_key()]);
    assert_eq!(state.info(&installation).unwrap().added_by, person(&owner));
}

#[test]
fn a_wallet_that_refuses_or_errs_leaves_the_draft_as_it_was() {
    // covers: IDN-010
    let owner = wallet(1);
    let mut draft =
        UpdateBuilder::create(person(&owner), 0, person(&owner)).build(NETWORK).unwrap();
    let address = owner.address();
    let refusing = Stubborn { address, answer: Err(Refused) };
    let asked = draft.sign_with_wallet(&refusing, WalletForm::TypedData);
    assert_eq!(asked, Err(WalletError::Wallet(Refused)));
    let erring = Stubborn { address, answer: Ok(WalletSignature([27; 65])) };
    let invalid = VerifyError::SignatureInvalid { signer: person(&owner) };
    let asked = draft.sign_with_wallet(&erring, WalletForm::TypedData);
    assert_eq!(asked, Err(WalletError::Attach(AttachError::Invalid(invalid))));
    assert_eq!(draft.missing_signers().collect::<Vec<_>>(), [person(&owner)]);
}

#[test]
fn what_the_log_would_refuse_is_not_built() {
    // covers: IDN-006 IDN-018
    let (owner, other) = (wallet(1), wallet(2));
    let mut draft =
        UpdateBuilder::create(person(&owner), 0, person(&owner)).build(NETWORK).unwrap();
    draft.sign_with_wallet(&owner, WalletForm::TypedData).unwrap();
    let bytes = draft.finish().unwrap().to_wire();
    let state = AssociationState::advance(None, NETWORK, &bytes).unwrap();

    let empty = UpdateBuilder::following(&state).build(NETWORK).unwrap_err();
    assert_eq!(empty, BuildError::Shape(VerifyError::NoActions));
    let member = person(&other);
    let half_wrong = UpdateBuilder::following(&state).change_recovery(member).revoke_member(member);
    let refused = half_wrong.build(NETWORK).unwrap_err();
    assert_eq!(refused, BuildError::Apply(ApplyError::NotMember { member }));
    assert_eq!(state.recovery(), person(&owner));
    let crowd = (0..=IDENTITY_ACTIONS_PER_UPDATE_MAX)
        .fold(UpdateBuilder::following(&state), |draft, _| draft.change_recovery(member));
    assert!(matches!(crowd.build(NETWORK), Err(BuildError::Length(_))));
}

#[test]
fn generated_wallets_keep_their_secret() {
    let generated = LocalWallet::generate(&mut ChaCha20Rng::seed_from_u64(5));
    let again = LocalWallet::from_secret(&generated.to_secret()).unwrap();
    assert_eq!(generated.address(), again.address());
    assert!(!format!("{generated:?}").contains(&hex::encode(*generated.to_secret())));
    assert!(LocalWallet::from_secret(&[0; 32]).is_err());
}
