//! Key packages: publishing ours, and fetching those of whom we add.

use rand::rngs::OsRng;
use tidings_envelope::Topic;
use tidings_envelope::api::{NewestQuery, TopicPage};
use tidings_identity::AssociationState;
use tidings_mls::{Invitee, KeyPackageManifest, SealContext};
use tidings_types::constants::{KEY_PACKAGE_RETENTION_DAYS, PROTOCOL_VERSION};
use tidings_types::ed25519::PublicKey;
use tidings_types::{Period, Wire};

use crate::core::{Core, Engine, LASTING_DAYS};
use crate::error::{CallerError, ClientError, VerifyFailure};
use crate::store::{AccountKey, Scope};

/// A key package is replaced after this many days even if nobody used it.
const RENEWAL_DAYS: u16 = 7;

/// Others may use a key package for this long: an installation that is away for longer is
/// treated as one that cannot be reached.
const USABLE_DAYS: u16 = 90;

const MS_PER_DAY: u64 = 24 * 60 * 60 * 1_000;

impl Core {
    /// Publishes a fresh key package if the last one is used, old, or not there (MLS-004).
    pub(crate) async fn ensure_published(&self, engine: &mut Engine) -> Result<(), ClientError> {
        if engine.installation.is_none() {
            return Ok(());
        }
        let now = self.nodes.period().await?;
        let published = self.store().view().account(AccountKey::KeysPublished)?;
        let published = published.and_then(|bytes| bytes.as_slice().try_into().ok());
        let published = published.map(u64::from_be_bytes);
        let renewal = self.periods(RENEWAL_DAYS);
        if published.is_some_and(|published| now.0 < published.saturating_add(renewal)) {
            return Ok(());
        }
        let not_after = now.plus(self.periods(USABLE_DAYS));
        let installation = engine.installation()?;
        let manifest = installation.publish(now, not_after, &mut OsRng)?;
        installation.forget_replaced_before(now.minus(self.periods(KEY_PACKAGE_RETENTION_DAYS)));
        let delta = installation.take_delta();
        // The private keys are on disk before anybody can encrypt to them.
        self.store().transact(|tx| tx.apply_delta(Scope::Installation, delta))?;
        let seal = |context: &SealContext| manifest.to_envelope(context, &self.key, self.network);
        self.deliver_sealed(LASTING_DAYS, seal).await?;
        let bytes = now.0.to_be_bytes();
        Ok(self.store().transact(|tx| tx.put_account(AccountKey::KeysPublished, &bytes))?)
    }

    /// The installations of an inbox that can be added now.
    ///
    /// # Errors
    /// [`CallerError::NotReachable`] when there is none.
    pub(crate) async fn invitees(
        &self,
        state: &AssociationState,
    ) -> Result<Vec<Invitee>, ClientError> {
        let now = self.nodes.period().await?;
        let mut invitees = Vec::new();
        for installation in state.installations() {
            let manifest = self.newest_manifest(&installation).await?;
            let usable = manifest
                .and_then(|manifest| manifest.verify(&installation, self.network, now).ok());
            invitees.extend(usable.filter(|invitee| invitee.inbox() == state.inbox()));
        }
        match invitees.is_empty() {
            true => Err(CallerError::NotReachable(state.inbox()).into()),
            false => Ok(invitees),
        }
    }

    /// The manifest with the highest number that f+1 replicas know of (MLS-005).
    pub(crate) async fn newest_manifest(
        &self,
        installation: &PublicKey,
    ) -> Result<Option<KeyPackageManifest>, ClientError> {
        let registries = self.nodes.registries();
        let registry = registries.latest();
        let topic = Topic::keys(installation);
        let shard = topic.shard(registry.shard_count);
        let query = NewestQuery { version: PROTOCOL_VERSION, topic }.to_wire();
        let verifier = self.verifier(&registries);
        let accept = |page: TopicPage| -> Result<Vec<KeyPackageManifest>, VerifyFailure> {
            let mut manifests = Vec::new();
            for entry in page.broadcast.iter() {
                let envelope = verifier.newest(&topic, entry)?;
                let payload = envelope.map(|envelope| envelope.body.payload);
                // The installation itself wrote it; what does not decode is its own doing.
                let parsed = payload.and_then(|bytes| KeyPackageManifest::from_wire(&bytes).ok());
                manifests.extend(parsed);
            }
            Ok(manifests)
        };
        let wanted = registry.durability_quorum(shard);
        let answers = self.nodes.ask_several(shard, "v1/newest", &query, wanted, accept).await?;
        Ok(KeyPackageManifest::newest(answers.into_iter().flatten()))
    }

    /// How many periods a number of days has.
    pub(crate) fn periods(&self, days: u16) -> u64 {
        u64::from(days).saturating_mul(MS_PER_DAY) / self.nodes.registry().period_ms.max(1)
    }

    /// How many mailbox buckets the network has.
    pub(crate) fn mailbox_buckets(&self) -> u32 {
        self.nodes.registry().mailbox_buckets
    }

    /// The period as last heard; for what a rule of a few periods decides.
    pub(crate) fn last_period(&self) -> Period {
        self.nodes.last_period()
    }
}
