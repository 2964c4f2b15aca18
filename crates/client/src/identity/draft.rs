//! An identity update that collects its signatures, here or from a wallet elsewhere.

use serde::{Deserialize, Serialize};
use tidings_identity::{
    AssociationState, EthereumSigner, IdentityUpdate, Member, Proof, UnsignedUpdate, UpdateBody,
    UpdateSignature, WalletForm, WalletRequest, WalletSignature,
};
use tidings_types::ed25519::SigningKey;
use tidings_types::{EthereumAddress, InboxId, NetworkId, Wire};

use crate::error::{ClientError, IdentityError};
use crate::store::StoreError;

/// A change to an inbox that is not published yet.
///
/// This installation's own signature is on it where one is needed; the wallets' are asked for.
#[derive(Debug, Clone)]
pub struct IdentityDraft {
    unsigned: UnsignedUpdate,
    wallet_signatures: Vec<UpdateSignature>,
}

/// The form in which a draft waits for a signature.
#[derive(Serialize, Deserialize)]
struct DraftRecord {
    body: String,
    signatures: Vec<String>,
}

impl IdentityDraft {
    /// A draft with this installation's signature, if that is needed.
    pub(crate) fn new(mut unsigned: UnsignedUpdate, key: &SigningKey) -> Result<Self, ClientError> {
        let own = Member::Installation(key.public_key());
        let needs_own = unsigned.signers().any(|signer| signer == own);
        if needs_own {
            unsigned.sign_with_installation(key)?;
        }
        Ok(Self { unsigned, wallet_signatures: Vec::new() })
    }

    /// Which inbox it changes, or makes.
    #[must_use]
    pub fn inbox(&self) -> InboxId {
        self.unsigned.body().inbox
    }

    /// What it changes.
    #[must_use]
    pub fn body(&self) -> &UpdateBody {
        self.unsigned.body()
    }

    /// Who has to sign yet.
    #[must_use]
    pub fn missing(&self) -> Vec<Member> {
        self.unsigned.missing_signers().collect()
    }

    /// The accounts whose wallets have to sign yet.
    #[must_use]
    pub fn missing_accounts(&self) -> Vec<EthereumAddress> {
        let accounts = self.unsigned.missing_signers().filter_map(|member| match member {
            Member::EthereumAccount(address) => Some(address),
            _ => None,
        });
        accounts.collect()
    }

    /// What a wallet is asked to sign: EIP-712 typed data or EIP-191 text.
    #[must_use]
    pub fn wallet_request(&self, form: WalletForm) -> WalletRequest {
        self.unsigned.wallet_request(form)
    }

    /// Takes the signature that a wallet elsewhere made over [`Self::wallet_request`].
    ///
    /// # Errors
    /// [`IdentityError::Attach`] when the account has no part in it or did not sign this.
    pub fn attach(
        &mut self,
        account: EthereumAddress,
        form: WalletForm,
        signature: WalletSignature,
    ) -> Result<(), ClientError> {
        let proof = match form {
            WalletForm::TypedData => Proof::Eip712(signature),
            WalletForm::Text => Proof::Eip191(signature),
        };
        self.take(UpdateSignature { signer: Member::EthereumAccount(account), proof })
    }

    /// Has a wallet sign that answers at once.
    ///
    /// # Errors
    /// [`IdentityError::Attach`] when the account has no part in it or its wallet refuses.
    pub fn sign_with<W: EthereumSigner>(&mut self, wallet: &W) -> Result<(), ClientError> {
        let form = WalletForm::default();
        let account = wallet.address();
        let request = self.wallet_request(form);
        let signature = wallet.sign(&request);
        let signature = signature
            .map_err(|error| IdentityError::WalletRefused { reason: error.to_string() })?;
        self.attach(account, form, signature)
    }

    /// The finished update.
    pub(crate) fn finish(self) -> Result<IdentityUpdate, ClientError> {
        Ok(self.unsigned.finish()?)
    }

    /// The draft as it is kept until its signatures come.
    pub(crate) fn to_record(&self) -> Vec<u8> {
        let signatures = self.wallet_signatures.iter();
        let record = DraftRecord {
            body: hex::encode(self.unsigned.body().to_wire()),
            signatures: signatures.map(|signature| hex::encode(signature.to_wire())).collect(),
        };
        serde_json::to_vec(&record).expect("strings are always JSON")
    }

    /// The draft that was kept; `current` is the state of its inbox now.
    pub(crate) fn from_record(
        record: &[u8],
        current: Option<&AssociationState>,
        network: NetworkId,
        key: &SigningKey,
    ) -> Result<Self, ClientError> {
        let damaged = || StoreError::Damaged("the waiting identity update is not readable");
        let record: DraftRecord = serde_json::from_slice(record).map_err(|_| damaged())?;
        let bytes = hex::decode(record.body).map_err(|_| damaged())?;
        let body = UpdateBody::from_wire(&bytes).map_err(|_| damaged())?;
        let unsigned = UnsignedUpdate::from_body(current, network, body)?;
        let mut draft = Self::new(unsigned, key)?;
        for signature in record.signatures {
            let bytes = hex::decode(signature).map_err(|_| damaged())?;
            draft.take(UpdateSignature::from_wire(&bytes).map_err(|_| damaged())?)?;
        }
        Ok(draft)
    }

    fn take(&mut self, signature: UpdateSignature) -> Result<(), ClientError> {
        self.unsigned.attach(signature.clone())?;
        self.wallet_signatures.retain(|known| known.signer != signature.signer);
        self.wallet_signatures.push(signature);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tidings_identity::{LocalWallet, UpdateBuilder};

    use super::*;

    const NETWORK: NetworkId = NetworkId([7; 32]);

    fn draft(wallet: &LocalWallet, key: &SigningKey) -> IdentityDraft {
        let person = Member::EthereumAccount(wallet.address());
        let unsigned = UpdateBuilder::create(person, 0, person)
            .add_member(Member::Installation(key.public_key()), person)
            .build(NETWORK)
            .unwrap();
        IdentityDraft::new(unsigned, key).unwrap()
    }

    #[test]
    fn a_draft_waits_for_a_wallet_elsewhere() {
        let wallet = LocalWallet::from_secret(&[1; 32]).unwrap();
        let key = SigningKey::from_secret(&[2; 32]);
        let before = draft(&wallet, &key);
        assert_eq!(before.missing_accounts(), [wallet.address()]);
        let kept = before.to_record();
        let mut after = IdentityDraft::from_record(&kept, None, NETWORK, &key).unwrap();
        assert!(after.clone().finish().is_err());
        after.sign_with(&wallet).unwrap();
        let kept = after.to_record();
        let complete = IdentityDraft::from_record(&kept, None, NETWORK, &key).unwrap();
        assert!(complete.missing().is_empty());
        assert!(complete.finish().is_ok());
    }

    #[test]
    fn a_signature_by_somebody_else_is_not_taken() {
        let wallet = LocalWallet::from_secret(&[1; 32]).unwrap();
        let other = LocalWallet::from_secret(&[3; 32]).unwrap();
        let mut draft = draft(&wallet, &SigningKey::from_secret(&[2; 32]));
        let form = WalletForm::TypedData;
        let signature = other.sign(&draft.wallet_request(form)).unwrap();
        assert!(draft.attach(wallet.address(), form, signature).is_err());
        assert!(draft.sign_with(&other).is_err());
        assert_eq!(draft.missing_accounts(), [wallet.address()]);
    }
}
