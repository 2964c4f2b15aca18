//! What every part of the client shares: the store, the network, and the groups in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::rngs::OsRng;
use tidings_envelope::api::SendResult;
use tidings_envelope::{AckLevel, ClientEnvelope, Registry, Topic};
use tidings_mls::{Group, Installation, SealContext};
use tidings_types::ed25519::SigningKey;
use tidings_types::{ErrorCode, EthereumAddress, NetworkId, NodeId, TimestampSeconds};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::error::{CallerError, ClientError, VerifyFailure};
use crate::event::EventHub;
use crate::store::{AccountKey, Scope, Store};
use crate::transport::{Gateway, Http, Nodes, ROUNDS_MAX, backoff};
use crate::verify::{Proven, Verifier};
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
    store: Mutex<Store>,
}

/// MLS state in memory; the store holds the same after every envelope.
#[derive(Default)]
pub(crate) struct Engine {
    /// Key packages; absent until there is an inbox.
    pub(crate) installation: Option<Installation>,
    /// Every conversation whose state is kept.
    pub(crate) groups: BTreeMap<ConversationId, Group>,
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
        let key = SigningKey::generate(&mut OsRng);
        let mut store = Store::create(home, unlock)?;
        store.transact(|tx| -> Result<(), StoreError> {
            tx.put_account(AccountKey::Network, &network.0)?;
            tx.put_account(AccountKey::Registry, &to_json(&registry))?;
            tx.put_account(AccountKey::Gateway, config.gateway.as_bytes())?;
            tx.put_account(AccountKey::ApiKey, config.api_key.as_bytes())?;
            tx.put_account(AccountKey::Payer, &status.payer.0)?;
            tx.put_account(AccountKey::Installation, key.to_secret().as_slice())
        })?;
        let nodes = Nodes::new(http, registry, None);
        nodes.heard_period(status.period);
        let core = Self::assemble(network, key, nodes, gateway, store);
        core.prefer_node(config.node)?;
        Ok(core)
    }

    /// Opens the store in `home`; the network is not needed.
    pub(crate) fn open(home: &Path, unlock: &Unlock) -> Result<Self, ClientError> {
        let store = Store::open(home, unlock)?;
        let account = store.view().load_account()?;
        if account.registry.network_id() != account.network {
            return Err(StoreError::Damaged("the registry is of another network").into());
        }
        let preferred = store.view().account(AccountKey::PreferredNode)?;
        let preferred = preferred.and_then(|bytes| bytes.as_slice().try_into().ok());
        let preferred = preferred.map(|bytes| NodeId(u32::from_be_bytes(bytes)));
        let http = Http::new()?;
        let nodes = Nodes::new(http.clone(), account.registry, preferred);
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
        }
        let mut core = Self::assemble(account.network, account.installation, nodes, gateway, store);
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
            store: Mutex::new(store),
        }
    }

    /// The store; never held while waiting for anything else.
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        // Transactions roll back when a thread dies in one, so the store stays consistent.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What checks answers against `registry`.
    pub(crate) fn verifier<'a>(&self, registry: &'a Registry) -> Verifier<'a> {
        Verifier { network: self.network, registry }
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
        let bytes = to_json(&registry);
        if self.nodes.accept_registry(registry)? {
            self.store().transact(|tx| tx.put_account(AccountKey::Registry, &bytes))?;
        }
        Ok(())
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

    async fn payer(&self) -> Result<EthereumAddress, ClientError> {
        let known = self.store().view().account(AccountKey::Payer)?;
        if let Some(bytes) = known.and_then(|bytes| bytes.as_slice().try_into().ok()) {
            return Ok(EthereumAddress(bytes));
        }
        let payer = self.gateway.status().await?.payer;
        self.store().transact(|tx| tx.put_account(AccountKey::Payer, &payer.0))?;
        Ok(payer)
    }

    /// Sends an envelope until it is proved to be stored on f+1 disks, or decided on.
    ///
    /// It keeps its id, so sending it again never stores it twice.
    pub(crate) async fn deliver(&self, envelope: &ClientEnvelope) -> Result<Proven, ClientError> {
        let mut refusal = ErrorCode::Unreachable;
        for round in 0..ROUNDS_MAX {
            tokio::time::sleep(backoff(round)).await;
            let results = self.deliver_all(std::slice::from_ref(envelope)).await?;
            match results.into_iter().next() {
                Some(Ok(proven)) => return Ok(proven),
                Some(Err(code)) if code.retryable() => refusal = code,
                Some(Err(code)) => return Err(ClientError::Refused { code }),
                None => return Err(VerifyFailure::Misplaced.into()),
            }
        }
        Err(ClientError::Refused { code: refusal })
    }

    /// Sends envelopes once; one verified outcome each, in order.
    pub(crate) async fn deliver_all(
        &self,
        envelopes: &[ClientEnvelope],
    ) -> Result<Vec<Result<Proven, ErrorCode>>, ClientError> {
        let level = AckLevel::Replicated;
        let results = self.gateway.send(level, envelopes.to_vec()).await?;
        match self.verify_sent(envelopes, level, results.clone()) {
            Ok(outcomes) => Ok(outcomes),
            Err(_) => {
                // A node may have joined since the registry was read.
                self.refresh_registry().await?;
                Ok(self.verify_sent(envelopes, level, results)?)
            }
        }
    }

    fn verify_sent(
        &self,
        envelopes: &[ClientEnvelope],
        level: AckLevel,
        results: Vec<SendResult>,
    ) -> Result<Vec<Result<Proven, ErrorCode>>, VerifyFailure> {
        let registry = self.nodes.registry();
        let verifier = self.verifier(&registry);
        let pairs = envelopes.iter().zip(results);
        pairs.map(|(envelope, result)| verifier.sent(envelope, level, result)).collect()
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
}

/// The wall clock, for display.
#[must_use]
pub(crate) fn now() -> TimestampSeconds {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    TimestampSeconds(since.map_or(0, |since| since.as_secs()))
}

fn to_json(registry: &Registry) -> Vec<u8> {
    serde_json::to_vec(registry).expect("a registry that was read from JSON is JSON")
}
