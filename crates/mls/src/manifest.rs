//! Key package manifests: what an installation publishes so that others can add it.

use openmls::key_packages::{KeyPackage, KeyPackageIn, Lifetime};
use openmls::treesync::LeafNode;
use openmls::versions::ProtocolVersion;
use openmls_rust_crypto::RustCrypto;
use tidings_envelope::{ClientEnvelope, EnvelopeBody, Payload, Topic};
use tidings_types::constants::{LEAF_NODE_BYTES_MAX, PROTOCOL_VERSION};
use tidings_types::ed25519::{PublicKey, Signature, SigningKey};
use tidings_types::{BoundedBytes, InboxId, NetworkId, Period, Wire};
use tls_codec::{DeserializeBytes, Size, TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::roster::inbox_of;
use crate::seal::SealContext;
use crate::settings::{CIPHERSUITE, capabilities};

/// The label under which installations sign manifests (ENC-003).
const MANIFEST_LABEL: &str = "key package manifest";

/// A key package is about 400 bytes. Unit: bytes.
pub const KEY_PACKAGE_BYTES_MAX: usize = 4_096;

/// An X-Wing public key (draft-connolly-cfrg-xwing-kem-06). Unit: bytes.
pub const WELCOME_KEY_BYTES: usize = 1_216;

/// The lifetime of every key package: for ever, because members would otherwise judge an Add by
/// their own clocks and fork (MLS-004).
pub(crate) fn unlimited_lifetime() -> Lifetime {
    Lifetime::init(0, u64::MAX)
}

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct ManifestBody {
    /// The version of this structure.
    pub version: u16,
    /// Whose installation.
    pub inbox: InboxId,
    /// Which installation.
    pub installation: PublicKey,
    /// Grows by one with each manifest; readers take the highest (MLS-005).
    pub number: u64,
    /// The last period in which others may use it (MLS-005).
    pub not_after: Period,
    /// The X-Wing public key that welcome pointers are sealed to.
    pub welcome_key: BoundedBytes<WELCOME_KEY_BYTES>,
    /// The last-resort key package, an MLS `KeyPackage`.
    pub key_package: BoundedBytes<KEY_PACKAGE_BYTES_MAX>,
}

/// A manifest as published on the installation's `keys` topic.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct KeyPackageManifest {
    /// What it says.
    pub body: ManifestBody,
    /// By the installation, under the label `key package manifest`.
    pub signature: Signature,
}

/// A manifest cannot be used to add its installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The bytes are no manifest of a known version.
    #[error("the manifest is malformed or of an unknown version")]
    Malformed,
    /// It is about another installation.
    #[error("the manifest is about another installation")]
    OtherInstallation,
    /// The installation did not sign it.
    #[error("the manifest's signature does not verify")]
    SignatureInvalid,
    /// It has expired.
    #[error("the manifest has expired")]
    Expired,
    /// Its key package is not one that groups take (MLS-004).
    #[error("the manifest's key package is not acceptable")]
    KeyPackageInvalid,
}

/// A manifest that an adder may use: who it is and how to reach it.
#[derive(Debug, Clone, PartialEq)]
pub struct Invitee {
    body: ManifestBody,
    key_package: KeyPackage,
}

impl KeyPackageManifest {
    /// Signs a manifest.
    pub(crate) fn sign(body: ManifestBody, key: &SigningKey, network: NetworkId) -> Self {
        let signature = key.sign(MANIFEST_LABEL, network, &body.to_wire());
        Self { body, signature }
    }

    /// The envelope that publishes the manifest; `key` is the installation's.
    ///
    /// # Panics
    /// Never: a manifest is far smaller than an envelope.
    #[must_use]
    pub fn to_envelope(
        &self,
        context: &SealContext,
        key: &SigningKey,
        network: NetworkId,
    ) -> ClientEnvelope {
        let payload = Payload::new(self.to_wire()).expect("a manifest is at most 6 KiB");
        let topic = Topic::keys(&key.public_key());
        EnvelopeBody {
            retention_days: context.retention_days,
            ..EnvelopeBody::broadcast(topic, context.payer, context.not_after, payload)
        }
        .sign(key, network)
    }

    /// Checks everything an adder relies on (MLS-004, MLS-005); `now` is the current period.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn verify(
        &self,
        installation: &PublicKey,
        network: NetworkId,
        now: Period,
    ) -> Result<Invitee, ManifestError> {
        let body = &self.body;
        if body.version != PROTOCOL_VERSION || body.welcome_key.len() != WELCOME_KEY_BYTES {
            return Err(ManifestError::Malformed);
        }
        if body.installation != *installation {
            return Err(ManifestError::OtherInstallation);
        }
        installation
            .verify(MANIFEST_LABEL, network, &body.to_wire(), &self.signature)
            .map_err(|_| ManifestError::SignatureInvalid)?;
        if body.not_after < now {
            return Err(ManifestError::Expired);
        }
        let key_package =
            parse_key_package(&body.key_package).ok_or(ManifestError::KeyPackageInvalid)?;
        let leaf = key_package.leaf_node();
        let acceptable = key_package_is_acceptable(&key_package)
            && key_package.last_resort()
            && leaf.signature_key().as_slice() == installation.0
            && inbox_of(leaf.credential()) == Some(body.inbox);
        match acceptable {
            true => Ok(Invitee { body: body.clone(), key_package }),
            false => Err(ManifestError::KeyPackageInvalid),
        }
    }

    /// The manifest with the highest number (MLS-005).
    #[must_use]
    pub fn newest(manifests: impl IntoIterator<Item = Self>) -> Option<Self> {
        manifests.into_iter().max_by_key(|manifest| manifest.body.number)
    }
}

impl Invitee {
    /// Whose installation.
    #[must_use]
    pub fn inbox(&self) -> InboxId {
        self.body.inbox
    }

    /// Which installation.
    #[must_use]
    pub fn installation(&self) -> PublicKey {
        self.body.installation
    }

    /// The number of the manifest.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.body.number
    }

    /// The key that welcome pointers are sealed to.
    pub(crate) fn welcome_key(&self) -> &[u8] {
        &self.body.welcome_key
    }

    /// The key package to add.
    pub(crate) fn key_package(&self) -> &KeyPackage {
        &self.key_package
    }
}

/// The valid key package in `bytes`.
pub(crate) fn parse_key_package(bytes: &[u8]) -> Option<KeyPackage> {
    let parsed = KeyPackageIn::tls_deserialize_exact_bytes(bytes).ok()?;
    parsed.validate(&RustCrypto::default(), ProtocolVersion::Mls10).ok()
}

/// Whether a key package may be added to a group: the suite, an unlimited lifetime and the
/// capabilities of this version (MLS-001, MLS-004).
pub(crate) fn key_package_is_acceptable(key_package: &KeyPackage) -> bool {
    key_package.ciphersuite() == CIPHERSUITE
        && *key_package.life_time() == unlimited_lifetime()
        && leaf_is_acceptable(key_package.leaf_node())
}

/// Whether a leaf may be in a tree: the capabilities of this version, and no larger than it has
/// to be, because every welcome carries it (MLS-001).
pub(crate) fn leaf_is_acceptable(leaf: &LeafNode) -> bool {
    let ours = capabilities();
    let theirs = leaf.capabilities();
    ours.extensions().iter().all(|kind| theirs.extensions().contains(kind))
        && ours.proposals().iter().all(|kind| theirs.proposals().contains(kind))
        && leaf.tls_serialized_len() <= LEAF_NODE_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::world::World;

    #[test]
    fn key_packages_are_valid_by_every_clock() {
        // covers: MLS-001
        // covers: MLS-004
        let mut world = World::new(90, &[1]);
        let invitee = world.invite(0);
        let package = invitee.key_package();
        assert_eq!(package.ciphersuite(), CIPHERSUITE);
        assert!(key_package_is_acceptable(package));
        let day = Duration::from_secs(86_400);
        let made = SystemTime::UNIX_EPOCH + day * 20_000;
        for now in [SystemTime::UNIX_EPOCH, made - day, made, made + day, made + day * 400] {
            assert_eq!(package.life_time().validate_with_time(now), Ok(()));
        }
    }
}
