//! Our own inbox: making it, changing it, and publishing how to reach this installation.

use rand::rngs::OsRng;
use tidings_envelope::{ClientEnvelope, EnvelopeBody, Lane, Payload, Topic, WriteProof};
use tidings_identity::{AssociationState, EthereumSigner, LocalWallet, Member, UpdateBuilder};
use tidings_mls::{Installation, SealContext};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{ErrorCode, EthereumAddress, InboxId, Wire};

use crate::core::{Core, LASTING_DAYS};
use crate::error::{CallerError, ClientError, IdentityError, VerifyFailure};
use crate::identity::IdentityDraft;
use crate::store::{AccountKey, Scope};
use crate::verify::Proven;

impl Core {
    /// The inbox of this client.
    pub(crate) fn own_inbox(&self) -> Result<InboxId, ClientError> {
        Ok(self.store().view().own_inbox()?.ok_or(CallerError::NoInbox)?)
    }

    /// A draft that makes an inbox of an account, with this installation in it.
    pub(crate) fn draft_create(
        &self,
        account: EthereumAddress,
        nonce: u64,
    ) -> Result<IdentityDraft, ClientError> {
        if let Some(inbox) = self.store().view().own_inbox()? {
            return Err(CallerError::HasInbox(inbox).into());
        }
        let person = Member::EthereumAccount(account);
        let unsigned = UpdateBuilder::create(person, nonce, person)
            .add_member(Member::Installation(self.key.public_key()), person)
            .build(self.network)?;
        IdentityDraft::new(unsigned, &self.key)
    }

    /// A draft that adds a member to our inbox on this installation's authority.
    pub(crate) async fn draft_add(&self, member: Member) -> Result<IdentityDraft, ClientError> {
        let state = self.newest_inbox(self.own_inbox()?).await?;
        let own = Member::Installation(self.key.public_key());
        let unsigned = UpdateBuilder::following(&state).add_member(member, own);
        IdentityDraft::new(unsigned.build(self.network)?, &self.key)
    }

    /// A draft that revokes a member of our inbox.
    pub(crate) async fn draft_revoke(&self, member: Member) -> Result<IdentityDraft, ClientError> {
        let state = self.newest_inbox(self.own_inbox()?).await?;
        if !state.contains(&member) {
            return Err(IdentityError::NotMember(member).into());
        }
        let unsigned = UpdateBuilder::following(&state).revoke_member(member);
        IdentityDraft::new(unsigned.build(self.network)?, &self.key)
    }

    /// Signs with the wallet that is kept here, if the draft needs it.
    pub(crate) fn sign_locally(&self, draft: &mut IdentityDraft) -> Result<(), ClientError> {
        let wallet = self.store().view().wallet()?;
        match wallet.filter(|wallet| draft.missing_accounts().contains(&wallet.address())) {
            Some(wallet) => draft.sign_with(&wallet),
            None => Ok(()),
        }
    }

    /// Keeps a wallet's key in the encrypted store.
    pub(crate) fn keep_wallet(&self, wallet: &LocalWallet) -> Result<(), ClientError> {
        let secret = wallet.to_secret();
        let written =
            self.store().transact(|tx| tx.put_account(AccountKey::Wallet, secret.as_slice()));
        Ok(written?)
    }

    /// The kept wallet, or a fresh one that is kept from now on.
    pub(crate) fn own_wallet(&self) -> Result<LocalWallet, ClientError> {
        let kept = self.store().view().wallet()?;
        if let Some(wallet) = kept {
            return Ok(wallet);
        }
        let wallet = LocalWallet::generate(&mut OsRng);
        self.keep_wallet(&wallet)?;
        Ok(wallet)
    }

    /// Publishes a finished draft and waits until it is certified.
    pub(crate) async fn submit(
        &self,
        draft: IdentityDraft,
    ) -> Result<AssociationState, ClientError> {
        let (inbox, update) = (draft.inbox(), draft.body().hash());
        let sequence = draft.body().sequence;
        let published = self.publish_update(inbox, draft.finish()?.to_wire()).await;
        let state = match published {
            Ok(()) => {
                let certified = self.inbox_at(inbox, sequence).await?;
                certified.ok_or(VerifyFailure::Misplaced)?
            }
            // The same update may have been certified before a crash.
            Err(refusal @ ClientError::Refused { .. }) => match self.newest_inbox(inbox).await {
                Ok(state) if state.head() == update => state,
                _ => return Err(refusal),
            },
            Err(error) => return Err(error),
        };
        if !state.contains(&Member::Installation(self.key.public_key())) {
            return Err(VerifyFailure::Misplaced.into());
        }
        let written = self.store().transact(|tx| {
            tx.put_account(AccountKey::Inbox, &inbox.0)?;
            tx.remove_account(AccountKey::Draft)
        });
        written?;
        Ok(state)
    }

    /// Takes part with an inbox that is certified: key packages, mailbox.
    pub(crate) async fn enter_inbox(&self, inbox: InboxId) -> Result<(), ClientError> {
        let mut engine = self.engine.lock().await;
        if engine.installation.is_none() {
            let mut installation =
                Installation::new(self.network, inbox, self.key.clone(), &mut OsRng);
            let delta = installation.take_delta();
            self.store().transact(|tx| tx.apply_delta(Scope::Installation, delta))?;
            engine.installation = Some(installation);
        }
        self.follow_mailbox()?;
        self.ensure_published(&mut engine).await
    }

    async fn publish_update(&self, inbox: InboxId, update: Vec<u8>) -> Result<(), ClientError> {
        let length_bytes = update.len();
        let payload = Payload::new(update).map_err(|_| CallerError::TooLong { length_bytes })?;
        let body = |context: &SealContext| EnvelopeBody {
            version: PROTOCOL_VERSION,
            topic: Topic::identity(inbox),
            lane: Lane::Ordered,
            payer: context.payer,
            not_after: context.not_after,
            retention_days: context.retention_days,
            expected_position: None,
            depends_on: None,
            payload: payload.clone(),
        };
        let seal = |context: &SealContext| {
            let proof = WriteProof::SelfAuthenticating;
            ClientEnvelope { body: body(context), proof }
        };
        match self.deliver_sealed(LASTING_DAYS, seal).await? {
            Proven::Applied(_) => Ok(()),
            Proven::Conflict => {
                Err(ClientError::Refused { code: ErrorCode::IdentitySequenceWrong })
            }
            Proven::Stored => Err(VerifyFailure::Misplaced.into()),
        }
    }
}
