//! Making updates: what changes, who has to sign, and their signatures.

use std::collections::{BTreeMap, BTreeSet};

use tidings_types::ed25519::SigningKey;
use tidings_types::{BoundedVec, Hash, InboxId, LengthError, NetworkId};

use crate::signature::INSTALLATION_LABEL;
use crate::transition::transition;
use crate::verify::check_shape;
use crate::{
    Action, ApplyError, AssociationState, EthereumSigner, IdentityUpdate, Member, Proof, Sequence,
    Statement, UpdateBody, UpdateSignature, VerifyError, WalletForm, WalletRequest, inbox_id,
};

/// Why actions make no update.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// There are too many actions.
    #[error(transparent)]
    Length(#[from] LengthError),
    /// The actions fit in no log.
    #[error(transparent)]
    Shape(#[from] VerifyError),
    /// The actions do not apply to the inbox's state.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// Why a signature was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// The update does not need this signer (IDN-007).
    #[error("the update does not need the signature of {signer}")]
    NotNeeded {
        /// Who signed, or would have.
        signer: Member,
    },
    /// The signature does not verify.
    #[error(transparent)]
    Invalid(#[from] VerifyError),
}

/// Why an account's wallet did not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalletError<E: std::error::Error + 'static> {
    /// The account has no part in the update, or what the wallet returned is no signature of it.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The wallet refused or failed.
    #[error(transparent)]
    Wallet(E),
}

/// An update still lacks signatures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("signatures are missing: {}", list(missing))]
pub struct UpdateIncomplete {
    /// Who has to sign yet, in ascending order.
    pub missing: Vec<Member>,
}

fn list(members: &[Member]) -> String {
    members.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Collects the actions of one update.
#[derive(Debug, Clone)]
pub struct UpdateBuilder<'a> {
    current: Option<&'a AssociationState>,
    inbox: InboxId,
    actions: Vec<Action>,
}

impl UpdateBuilder<'static> {
    /// An update that opens the inbox of `initial` and `nonce` (IDN-001, IDN-006).
    #[must_use]
    pub fn create(initial: Member, nonce: u64, recovery: Member) -> Self {
        let actions = vec![Action::Create { initial, nonce, recovery }];
        Self { current: None, inbox: inbox_id(&initial, nonce), actions }
    }
}

impl<'a> UpdateBuilder<'a> {
    /// An update that follows `current`.
    #[must_use]
    pub fn following(current: &'a AssociationState) -> Self {
        Self { current: Some(current), inbox: current.inbox(), actions: Vec::new() }
    }

    /// Adds `member`, let in by `added_by`; both will have to sign.
    #[must_use]
    pub fn add_member(self, member: Member, added_by: Member) -> Self {
        self.action(Action::AddMember { member, added_by })
    }

    /// Revokes `member` and all it added; the recovery identifier will have to sign.
    #[must_use]
    pub fn revoke_member(self, member: Member) -> Self {
        self.action(Action::RevokeMember { member })
    }

    /// Hands recovery over; the recovery identifier until then will have to sign.
    #[must_use]
    pub fn change_recovery(self, recovery: Member) -> Self {
        self.action(Action::ChangeRecovery { recovery })
    }

    /// Adds any action.
    #[must_use]
    pub fn action(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }

    /// The update on `network`, ready to be signed.
    ///
    /// # Errors
    /// [`BuildError`] when the finished update would be refused.
    pub fn build(self, network: NetworkId) -> Result<UnsignedUpdate, BuildError> {
        let actions = BoundedVec::new(self.actions)?;
        let (sequence, previous) = match self.current {
            // The last sequence has no successor, and the state will refuse it.
            Some(state) => (state.sequence().next().unwrap_or(state.sequence()), state.head()),
            None => (Sequence(0), Hash::default()),
        };
        let body = UpdateBody::new(self.inbox, sequence, previous, actions);
        UnsignedUpdate::from_body(self.current, network, body)
    }
}

/// An update that collects its signatures.
#[derive(Debug, Clone)]
pub struct UnsignedUpdate {
    body: UpdateBody,
    statement: Statement,
    needed: BTreeSet<Member>,
    proofs: BTreeMap<Member, Proof>,
}

impl UnsignedUpdate {
    /// Takes up a body made earlier, for example to attach a signature made elsewhere.
    ///
    /// # Errors
    /// [`BuildError`] when the finished update would be refused.
    pub fn from_body(
        current: Option<&AssociationState>,
        network: NetworkId,
        body: UpdateBody,
    ) -> Result<Self, BuildError> {
        check_shape(&body)?;
        let statement = Statement::new(&body, network);
        let (_, needed) = transition(current, &body, statement.update())?;
        Ok(Self { body, statement, needed, proofs: BTreeMap::new() })
    }

    /// What the signers agree to.
    #[must_use]
    pub const fn body(&self) -> &UpdateBody {
        &self.body
    }

    /// What the signers see: typed data and text.
    #[must_use]
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Everybody who has to sign, in ascending order (IDN-007).
    pub fn signers(&self) -> impl Iterator<Item = Member> {
        self.needed.iter().copied()
    }

    /// Who has to sign yet, in ascending order.
    pub fn missing_signers(&self) -> impl Iterator<Item = Member> {
        self.needed.iter().filter(|signer| !self.proofs.contains_key(*signer)).copied()
    }

    /// The request for an account's wallet.
    #[must_use]
    pub fn wallet_request(&self, form: WalletForm) -> WalletRequest {
        let statement = &self.statement;
        match form {
            WalletForm::TypedData => WalletRequest::TypedData {
                json: statement.typed_data_json(),
                digest: statement.typed_data_digest(),
            },
            WalletForm::Text => WalletRequest::Text {
                text: statement.eip191_text(),
                digest: statement.eip191_digest(),
            },
        }
    }

    /// Signs as the installation that holds `key`.
    ///
    /// # Errors
    /// [`AttachError::NotNeeded`] when that installation has no part in the update.
    pub fn sign_with_installation(&mut self, key: &SigningKey) -> Result<(), AttachError> {
        let statement = &self.statement;
        let proof = key.sign(INSTALLATION_LABEL, statement.network(), statement.body_bytes());
        let signer = Member::Installation(key.public_key());
        self.attach(UpdateSignature { signer, proof: Proof::Ed25519(proof) })
    }

    /// Has `wallet` sign in `form`.
    ///
    /// # Errors
    /// [`WalletError`] when the account has no part in the update, or the wallet refuses, or what
    /// it returns is not its signature.
    pub fn sign_with_wallet<W: EthereumSigner>(
        &mut self,
        wallet: &W,
        form: WalletForm,
    ) -> Result<(), WalletError<W::Error>> {
        let signer = Member::EthereumAccount(wallet.address());
        if !self.needed.contains(&signer) {
            return Err(AttachError::NotNeeded { signer }.into());
        }
        let signature = wallet.sign(&self.wallet_request(form)).map_err(WalletError::Wallet)?;
        let proof = match form {
            WalletForm::TypedData => Proof::Eip712(signature),
            WalletForm::Text => Proof::Eip191(signature),
        };
        Ok(self.attach(UpdateSignature { signer, proof })?)
    }

    /// Takes a signature made elsewhere, once it verifies; it replaces the signer's earlier one.
    ///
    /// # Errors
    /// [`AttachError`] when the signer has no part in the update or the signature is not theirs.
    pub fn attach(&mut self, signature: UpdateSignature) -> Result<(), AttachError> {
        let signer = signature.signer;
        if !self.needed.contains(&signer) {
            return Err(AttachError::NotNeeded { signer });
        }
        signature.verify(&self.statement)?;
        self.proofs.insert(signer, signature.proof);
        Ok(())
    }

    /// The finished update.
    ///
    /// # Errors
    /// [`UpdateIncomplete`] names who has to sign yet.
    pub fn finish(self) -> Result<IdentityUpdate, UpdateIncomplete> {
        let missing: Vec<Member> = self.missing_signers().collect();
        if !missing.is_empty() {
            return Err(UpdateIncomplete { missing });
        }
        let proofs = self.proofs.into_iter();
        let signatures = proofs.map(|(signer, proof)| UpdateSignature { signer, proof }).collect();
        let signatures = BoundedVec::new(signatures).expect("an action needs at most two signers");
        Ok(IdentityUpdate { body: self.body, signatures })
    }
}
