//! The people and devices of the tests, and updates signed as the test says.

use tidings_identity::{
    Action, AssociationState, EthereumSigner, IdentityUpdate, LocalWallet, LogError, Member, Proof,
    Sequence, Statement, UpdateBody, UpdateSignature, WalletRequest,
};
use tidings_types::ed25519::SigningKey;
use tidings_types::{BoundedVec, Hash, InboxId, NetworkId, Wire};

pub const NETWORK: NetworkId = NetworkId([7; 32]);

/// A member with its key.
#[derive(Debug)]
pub enum Actor {
    Wallet(LocalWallet),
    Device(SigningKey),
}

pub fn wallet(seed: u8) -> Actor {
    Actor::Wallet(LocalWallet::from_secret(&[seed; 32]).unwrap())
}

pub fn device(number: u32) -> Actor {
    let mut secret = [0xdd; 32];
    secret[..4].copy_from_slice(&number.to_be_bytes());
    Actor::Device(SigningKey::from_secret(&secret))
}

impl Actor {
    pub fn member(&self) -> Member {
        match self {
            Self::Wallet(wallet) => Member::EthereumAccount(wallet.address()),
            Self::Device(key) => Member::Installation(key.public_key()),
        }
    }

    pub fn sign(&self, statement: &Statement, as_text: bool) -> UpdateSignature {
        let proof = match self {
            Self::Device(key) => Proof::Ed25519(key.sign(
                "identity update",
                statement.network(),
                statement.body_bytes(),
            )),
            Self::Wallet(wallet) if as_text => {
                let (text, digest) = (statement.eip191_text(), statement.eip191_digest());
                let Ok(signature) = wallet.sign(&WalletRequest::Text { text, digest });
                Proof::Eip191(signature)
            }
            Self::Wallet(wallet) => {
                let (json, digest) = (statement.typed_data_json(), statement.typed_data_digest());
                let Ok(signature) = wallet.sign(&WalletRequest::TypedData { json, digest });
                Proof::Eip712(signature)
            }
        };
        UpdateSignature { signer: self.member(), proof }
    }
}

/// The body that follows `current` with `actions`, whether they are valid or not.
pub fn body(
    current: Option<&AssociationState>,
    inbox: InboxId,
    actions: Vec<Action>,
) -> UpdateBody {
    let (sequence, previous) = match current {
        Some(state) => (state.sequence().next().unwrap(), state.head()),
        None => (Sequence(0), Hash::default()),
    };
    UpdateBody::new(inbox, sequence, previous, BoundedVec::new(actions).unwrap())
}

/// The update with signatures of all `signers`, in order.
pub fn signed(body: &UpdateBody, signers: &[&Actor], as_text: bool) -> IdentityUpdate {
    let statement = Statement::new(body, NETWORK);
    let mut signatures: Vec<_> =
        signers.iter().map(|signer| signer.sign(&statement, as_text)).collect();
    signatures.sort_by_key(|signature| signature.signer);
    IdentityUpdate { body: body.clone(), signatures: BoundedVec::new(signatures).unwrap() }
}

/// The state after `actions`, signed by `signers`.
pub fn advance(
    current: Option<&AssociationState>,
    inbox: InboxId,
    actions: Vec<Action>,
    signers: &[&Actor],
) -> Result<AssociationState, LogError> {
    let update = signed(&body(current, inbox, actions), signers, false);
    AssociationState::advance(current, NETWORK, &update.to_wire())
}
