//! An installation: one device's key, its key packages, and the keys that open its welcomes.

use ed25519_dalek::Signer as _;
use hpke_rs::libcrux::HpkeLibcrux;
use hpke_rs::{Hpke, HpkePrivateKey, Mode, hpke_types};
use openmls::credentials::{BasicCredential, CredentialWithKey};
use openmls::key_packages::{KeyPackage, KeyPackageBundle};
use openmls_traits::OpenMlsProvider;
use openmls_traits::signatures::{Signer, SignerError};
use openmls_traits::storage::StorageProvider;
use openmls_traits::types::SignatureScheme;
use rand_core::CryptoRngCore;
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::{PublicKey, SigningKey};
use tidings_types::{BoundedBytes, BoundedVec, InboxId, NetworkId, Period, Wire};
use tls_codec::{Serialize, TlsDeserializeBytes, TlsSerialize, TlsSize};
use zeroize::Zeroizing;

use crate::manifest::{
    KEY_PACKAGE_BYTES_MAX, KeyPackageManifest, ManifestBody, parse_key_package, unlimited_lifetime,
};
use crate::provider::{Delta, Provider};
use crate::secret::Secret;
use crate::settings::{CIPHERSUITE, capabilities};

/// Where the installation's own record is stored.
const RECORD_KEY: &[u8] = b"tidings installation";

/// Packages kept for late welcomes; one a day for the retention of 14 days, and room.
const SLOTS_MAX: usize = 64;

/// Making, loading or publishing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InstallationError {
    /// The stored state is not one that this version wrote (environment).
    #[error("the stored installation is damaged")]
    Damaged,
    /// The stored state belongs to another key, inbox or network (caller).
    #[error("the stored installation is another one")]
    Other,
    /// A library refused an input that is ours (bug).
    #[error("the cryptographic library failed")]
    Library,
}

/// A published key package and what opens the welcomes that use it.
#[derive(Debug, Clone, TlsSize, TlsSerialize, TlsDeserializeBytes)]
struct Slot {
    number: u64,
    key_package: BoundedBytes<KEY_PACKAGE_BYTES_MAX>,
    welcome_secret: Secret,
    replaced_at: Option<Period>,
}

#[derive(Debug, Clone, TlsSize, TlsSerialize, TlsDeserializeBytes)]
struct Record {
    version: u16,
    network: NetworkId,
    inbox: InboxId,
    installation: PublicKey,
    slots: BoundedVec<Slot, SLOTS_MAX>,
}

/// One device of an inbox.
///
/// Its Ed25519 key is the MLS leaf key (MLS-002).
#[derive(Debug)]
pub struct Installation {
    network: NetworkId,
    inbox: InboxId,
    key: SigningKey,
    provider: Provider,
    slots: Vec<Slot>,
}

impl Installation {
    /// An installation that has published nothing yet.
    #[must_use]
    pub fn new(
        network: NetworkId,
        inbox: InboxId,
        key: SigningKey,
        rng: &mut impl CryptoRngCore,
    ) -> Self {
        Self { network, inbox, key, provider: Provider::new(rng), slots: Vec::new() }
    }

    /// The installation that deltas stored (MLS-015); the key is kept elsewhere.
    ///
    /// # Errors
    /// [`InstallationError`] when the state is damaged or is another installation's.
    pub fn load(
        network: NetworkId,
        inbox: InboxId,
        key: SigningKey,
        stored: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Self, InstallationError> {
        let provider = Provider::load(stored, rng);
        let bytes = provider.store().read(RECORD_KEY).ok_or(InstallationError::Damaged)?;
        let record = Record::from_wire(&bytes).map_err(|_| InstallationError::Damaged)?;
        if record.version != PROTOCOL_VERSION {
            return Err(InstallationError::Damaged);
        }
        let owner = (record.network, record.inbox, record.installation);
        if owner != (network, inbox, key.public_key()) {
            return Err(InstallationError::Other);
        }
        Ok(Self { network, inbox, key, provider, slots: record.slots.into_vec() })
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        self.network
    }

    /// Whose installation this is.
    #[must_use]
    pub fn inbox(&self) -> InboxId {
        self.inbox
    }

    /// The installation's public key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    /// The installation's key.
    #[must_use]
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Makes a fresh last-resort key package and the manifest that announces it (MLS-004).
    ///
    /// To be called at first, after each welcome that used the last one, and weekly.
    /// `now` is the current period, `not_after` the last one in which others may use it.
    /// The delta is to be stored before the manifest is sent.
    ///
    /// # Errors
    /// [`InstallationError::Library`], which is a bug.
    pub fn publish(
        &mut self,
        now: Period,
        not_after: Period,
        rng: &mut impl CryptoRngCore,
    ) -> Result<KeyPackageManifest, InstallationError> {
        let mut welcome_secret = Secret([0; 32]);
        rng.fill_bytes(&mut welcome_secret.0);
        let (_, welcome_key) = welcome_keys(&welcome_secret).ok_or(InstallationError::Library)?;
        let bundle = self.new_key_package()?;
        let key_package = bundle
            .key_package()
            .tls_serialize_detached()
            .ok()
            .and_then(|bytes| BoundedBytes::new(bytes).ok())
            .ok_or(InstallationError::Library)?;
        let number = self.slots.iter().map(|slot| slot.number).max().unwrap_or(0).saturating_add(1);
        for slot in self.slots.iter_mut().filter(|slot| slot.replaced_at.is_none()) {
            slot.replaced_at = Some(now);
        }
        while self.slots.len() >= SLOTS_MAX {
            let oldest = self.slots.remove(0);
            self.delete_private_keys(&oldest);
        }
        self.slots.push(Slot {
            number,
            key_package: key_package.clone(),
            welcome_secret,
            replaced_at: None,
        });
        let body = ManifestBody {
            version: PROTOCOL_VERSION,
            inbox: self.inbox,
            installation: self.public_key(),
            number,
            not_after,
            welcome_key: BoundedBytes::new(welcome_key).map_err(|_| InstallationError::Library)?,
            key_package,
        };
        Ok(KeyPackageManifest::sign(body, &self.key, self.network))
    }

    /// Deletes the private keys of packages replaced before `period`; the caller subtracts the
    /// retention of [`tidings_types::constants::KEY_PACKAGE_RETENTION_DAYS`].
    pub fn forget_replaced_before(&mut self, period: Period) {
        let (old, kept) = std::mem::take(&mut self.slots)
            .into_iter()
            .partition(|slot: &Slot| slot.replaced_at.is_some_and(|replaced| replaced < period));
        self.slots = kept;
        old.iter().for_each(|slot: &Slot| self.delete_private_keys(slot));
    }

    /// What changed since the last call (MLS-015).
    pub fn take_delta(&mut self) -> Delta {
        let record = Record {
            version: PROTOCOL_VERSION,
            network: self.network,
            inbox: self.inbox,
            installation: self.public_key(),
            slots: BoundedVec::new(self.slots.clone()).unwrap_or_default(),
        };
        self.provider.store().write(RECORD_KEY, record.to_wire());
        self.provider.take_delta()
    }

    /// The stored key packages, for a group that is being joined.
    pub(crate) fn provider(&self) -> &Provider {
        &self.provider
    }

    /// The private keys that may open a pointer, newest first.
    pub(crate) fn welcome_secrets(&self) -> impl Iterator<Item = HpkePrivateKey> + '_ {
        self.slots.iter().rev().filter_map(|slot| Some(welcome_keys(&slot.welcome_secret)?.0))
    }

    /// Signs for MLS with the installation's key.
    pub(crate) fn signer(&self) -> LeafSigner {
        LeafSigner::of(&self.key)
    }

    /// The credential of this installation's leaves (MLS-002).
    pub(crate) fn credential(&self) -> CredentialWithKey {
        CredentialWithKey {
            credential: BasicCredential::new(self.inbox.0.to_vec()).into(),
            signature_key: self.public_key().0.to_vec().into(),
        }
    }

    fn new_key_package(&self) -> Result<KeyPackageBundle, InstallationError> {
        KeyPackage::builder()
            .key_package_lifetime(unlimited_lifetime())
            .leaf_node_capabilities(capabilities())
            .mark_as_last_resort()
            .build(CIPHERSUITE, &self.provider, &self.signer(), self.credential())
            .map_err(|_| InstallationError::Library)
    }

    fn delete_private_keys(&self, slot: &Slot) {
        let reference = parse_key_package(&slot.key_package)
            .and_then(|package| package.hash_ref(self.provider.crypto()).ok());
        if let Some(reference) = reference {
            // The store is in memory and cannot fail.
            let _ = self.provider.storage().delete_key_package(&reference);
        }
    }
}

/// X-Wing HPKE, base mode (MLS-016).
pub(crate) fn welcome_hpke() -> Hpke<HpkeLibcrux> {
    Hpke::new(
        Mode::Base,
        hpke_types::KemAlgorithm::XWingDraft06,
        hpke_types::KdfAlgorithm::HkdfSha256,
        hpke_types::AeadAlgorithm::ChaCha20Poly1305,
    )
}

fn welcome_keys(secret: &Secret) -> Option<(HpkePrivateKey, Vec<u8>)> {
    let seed = Zeroizing::new(secret.0);
    let (private, public) = welcome_hpke().derive_key_pair(seed.as_slice()).ok()?.into_keys();
    Some((private, public.as_slice().to_vec()))
}

/// The installation's key as openmls wants it.
pub(crate) struct LeafSigner(ed25519_dalek::SigningKey);

impl LeafSigner {
    /// Signs with `key`.
    pub(crate) fn of(key: &SigningKey) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&key.to_secret()))
    }
}

impl Signer for LeafSigner {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.0.sign(payload).to_bytes().to_vec())
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}
