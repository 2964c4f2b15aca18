//! What every part of the client shares: the store, the network, and the groups in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::OsRng;
use tidings_envelope::{RegistryDocument, RegistryHistory, Topic};
use tidings_mls::{Group, Installation, SealContext};
use tidings_types::ed25519::{PublicKey, SigningKey};
use tidings_types::{EnvelopeId, NetworkId, NodeId, Period, TimestampSeconds};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::delivery::Payers;
use crate::error::{CallerError, ClientError, VerifyFailure};
use crate::event::EventHub;
use crate::heads::Heads;
use crate::store::{AccountKey, Scope, Store};
use crate::sync::Asked;
use crate::transport::{Gateway, Http, Nodes};
use crate::verify::Verifier;
use crate::{Config, ConversationId, StoreError, Unlock};

/// How long messages, welcomes and pointers are kept: a month offline loses nothing.
pub(crate) const MESSAGE_DAYS: u16 = 30;

/// How long commits, key packages and identity updates are kept: the longest there is.
pub(crate) const LASTING_DAYS: u16 = 365;

/// The client's shared state.
pub(crate) struct Core {
    pub(crate) network: NetworkId,
    pub(crate) key: SigningKey,
    pub(crate) nodes: Nodes,
    pub(crate) gateway: Gateway,
    pub(crate) events: EventHub,
    /// Told when a topic is followed that was not before.
    pub(crate) topics_changed: Notify,
    /// The groups; held while an envelope is processed or a commit is under way.
    pub(crate) engine: tokio::sync::Mutex<Engine>,
    /// Topics of which something came that could not be dealt with; they are read again.
    pub(crate) behind: Mutex<BTreeSet<Topic>>,
    /// Held by whoever empties the outbox.
    pub(crate) sending: tokio::sync::Mutex<()>,
    /// The newest certified blocks seen.
    pub(crate) heads: Mutex<Heads>,
    /// Whether a look-up of this run was put to two replicas.
    pub(crate) has_compared: AtomicBool,
    /// Who pays, and which envelopes nobody was given yet.
    pub(crate) payers: Payers,
    store: Mutex<Store>,
}

/// MLS state in memory; the store holds the same after every envelope.
#[derive(Default)]
pub(crate) struct Engine {
    /// Key packages; absent until there is an inbox.
    pub(crate) installation: Option<Installation>,
    /// Every conversation whose state is kept.
    pub(crate) groups: BTreeMap<ConversationId, Group>,
    /// Groups into which this installation is on its way back.
    pub(crate) rejoins: BTreeMap<ConversationId, Group>,
    /// Groups as they were before it got back in, until that is sure.
    pub(crate) ejected: BTreeMap<ConversationId, Group>,
    /// Whom it asked to be let back in, and when.
    pub(crate) asked: BTreeMap<ConversationId, Asked>,
    /// Whom it let back in, for which epoch, and when.
    pub(crate) answered: BTreeMap<(ConversationId, PublicKey), (u64, Period)>,
    /// The last commit of our own that was found to have taken effect.
    pub(crate) applied: Option<EnvelopeId>,
    /// How many welcomes were found to be bogus since the mailboxes were last begun to be read.
    pub(crate) bogus_welcomes: u32,
}

impl Core {
    /// Meets the network and makes a store in `home`.
    pub(crate) async fn create(
        home: &Path,
        unlock: &Unlock,
        config: &Config,
    ) -> Result<Self, ClientError> {
        let http = Http::new()?;
        let api_key = Zeroizing::new(config.api_key.clone());
        let gateway = Gateway::new(http.clone(), &config.gateway, api_key)?;
        // The network is met before anything is written, so that a wrong URL leaves no trace.
        let registry = gateway.registry().await?;
        let status = gateway.status().await?;
        registry.validate().map_err(|error| VerifyFailure::Registry(error.to_string()))?;
        let network = registry.network_id();
        if status.network != network || config.network.is_some_and(|wanted| wanted != network) {
            return Err(VerifyFailure::OtherNetwork.into());
        }
        let registries = RegistryHistory::new(Arc::new(registry));
        let key = SigningKey::generate(&mut OsRng);
        let mut store = Store::create(home, unlock)?;
        store.transact(|tx| -> Result<(), StoreError> {
            tx.put_account(AccountKey::Network, &network.0)?;
            tx.put_account(AccountKey::Registry, &to_json(&registries))?;
            tx.put_account(AccountKey::Gateway, config.gateway.as_bytes())?;
            tx.put_account(AccountKey::ApiKey, config.api_key.as_bytes())?;
            tx.put_account(AccountKey::Installation, key.to_secret().as_slice())
        })?;
        let nodes = Nodes::new(http, registries, None);
        nodes.heard_period(status.period);
        let core = Self::assemble(network, key, nodes, gateway, store);
        core.prefer_node(config.node)?;
        Ok(core)
    }

    /// Opens the store in `home`; the network is not needed.
    pub(crate) fn open(home: &Path, unlock: &Unlock) -> Result<Self, ClientError> {
        let store = Store::open(home, unlock)?;
        let account = store.view().load_account()?;
        if account.registries.network() != account.network {
            return Err(StoreError::Damaged("the registry is of another network").into());
        }
        let preferred = store.view().account(AccountKey::PreferredNode)?;
        let preferred = preferred.and_then(|bytes| bytes.as_slice().try_into().ok());
        let preferred = preferred.map(|bytes| NodeId(u32::from_be_bytes(bytes)));
        let http = Http::new()?;
        let nodes = Nodes::new(http.clone(), account.registries, preferred);
        let gateway = Gateway::new(http, &account.gateway, account.api_key)?;
        let mut engine = Engine::default();
        if let Some(inbox) = account.inbox {
            let stored = store.view().ratchet(Scope::Installation)?;
            let key = account.installation.clone();
            engine.installation = Some(match stored.is_empty() {
                true => Installation::new(account.network, inbox, key, &mut OsRng),
                false => Installation::load(account.network, inbox, key, stored, &mut OsRng)?,
            });
        }
        for conversation in store.view().conversations()? {
            engine.load_group(&store, conversation.id)?;
            engine.load_way_back(&store, conversation.id)?;
        }
        let heads = store.view().account(AccountKey::Heads)?;
        let heads = heads.map(|bytes| Heads::restore(&bytes)).transpose()?.unwrap_or_default();
        let mut core = Self::assemble(account.network, account.installation, nodes, gateway, store);
        core.heads = Mutex::new(heads);
        core.engine = tokio::sync::Mutex::new(engine);
        Ok(core)
    }

    fn assemble(
        network: NetworkId,
        key: SigningKey,
        nodes: Nodes,
        gateway: Gateway,
        store: Store,
    ) -> Self {
        Self {
            network,
            key,
            nodes,
            gateway,
            events: EventHub::default(),
            topics_changed: Notify::new(),
            engine: tokio::sync::Mutex::default(),
            behind: Mutex::default(),
            sending: tokio::sync::Mutex::default(),
            heads: Mutex::default(),
            has_compared: AtomicBool::new(false),
            payers: Payers::default(),
            store: Mutex::new(store),
        }
    }

    /// The store; never held while waiting for anything else.
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        // Transactions roll back when a thread dies in one, so the store stays consistent.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What checks answers against `registries`.
    pub(crate) fn verifier<'a>(&'a self, registries: &'a RegistryHistory) -> Verifier<'a> {
        Verifier { network: self.network, registries, heads: &self.heads }
    }

    /// Asks this node first from now on, and after a restart.
    pub(crate) fn prefer_node(&self, node: Option<NodeId>) -> Result<(), ClientError> {
        if let Some(unknown) = node.filter(|node| self.nodes.registry().node(*node).is_none()) {
            return Err(CallerError::UnknownNode(unknown).into());
        }
        self.nodes.prefer(node);
        let written = self.store().transact(|tx| match node {
            Some(node) => tx.put_account(AccountKey::PreferredNode, &node.0.to_be_bytes()),
            None => tx.remove_account(AccountKey::PreferredNode),
        });
        Ok(written?)
    }

    /// Takes the gateway's registry if it is newer than ours.
    pub(crate) async fn refresh_registry(&self) -> Result<(), ClientError> {
        let registry = self.gateway.registry().await?;
        match self.nodes.accept_registry(registry)? {
            true => self.save_registries(),
            false => Ok(()),
        }
    }

    /// Keeps every registry known.
    pub(crate) fn save_registries(&self) -> Result<(), ClientError> {
        let bytes = to_json(&self.nodes.registries());
        Ok(self.store().transact(|tx| tx.put_account(AccountKey::Registry, &bytes))?)
    }

    /// What an envelope made now is signed with: payer, expiry, retention.
    pub(crate) async fn seal_context(
        &self,
        retention_days: u16,
    ) -> Result<SealContext, ClientError> {
        // One period of grace covers the way through the gateway (ENV-006 allows two).
        let not_after = self.nodes.period().await?.plus(1);
        Ok(SealContext { payer: self.payer().await?, not_after, retention_days })
    }
}

impl Engine {
    /// The installation, once there is an inbox.
    pub(crate) fn installation(&mut self) -> Result<&mut Installation, ClientError> {
        Ok(self.installation.as_mut().ok_or(CallerError::NoInbox)?)
    }

    /// A conversation and the installation that takes part in it.
    pub(crate) fn group(
        &mut self,
        id: ConversationId,
    ) -> Result<(&Installation, &mut Group), ClientError> {
        let installation = self.installation.as_ref().ok_or(CallerError::NoInbox)?;
        let group = self.groups.get_mut(&id).ok_or(CallerError::UnknownConversation(id))?;
        Ok((installation, group))
    }

    /// Takes a group's state from the store, dropping what is in memory.
    pub(crate) fn load_group(
        &mut self,
        store: &Store,
        id: ConversationId,
    ) -> Result<(), ClientError> {
        let stored = store.view().ratchet(Scope::Group(id))?;
        self.groups.remove(&id);
        if !stored.is_empty() {
            self.groups.insert(id, Group::load(stored, &mut OsRng)?);
        }
        Ok(())
    }

    /// Takes from the store what there is of a way back into a group.
    pub(crate) fn load_way_back(
        &mut self,
        store: &Store,
        id: ConversationId,
    ) -> Result<(), ClientError> {
        for (scope, groups) in
            [(Scope::Rejoin(id), &mut self.rejoins), (Scope::Ejected(id), &mut self.ejected)]
        {
            let stored = store.view().ratchet(scope)?;
            groups.remove(&id);
            if !stored.is_empty() {
                groups.insert(id, Group::load(stored, &mut OsRng)?);
            }
        }
        Ok(())
    }
}

/// The wall clock, for display.
#[must_use]
pub(crate) fn now() -> TimestampSeconds {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    TimestampSeconds(since.map_or(0, |since| since.as_secs()))
}

fn to_json(registries: &RegistryHistory) -> Vec<u8> {
    serde_json::to_vec(&RegistryDocument::from(registries))
        .expect("a registry that was read from JSON is JSON")
}
