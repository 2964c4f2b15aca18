//! Reading from nodes: any replica of a topic's shard will do, and the next one if one fails.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use reqwest::Url;
use serde::Deserialize;
use tidings_envelope::{Registry, RegistryHistory, RegistryRefused};
use tidings_types::{NetworkId, NodeId, Period, ShardId, Wire};

use crate::error::{ClientError, VerifyFailure};
use crate::transport::call::base_url;
use crate::transport::{CallError, Http, ROUNDS_MAX, backoff};

/// What a node says about itself, as far as clients care.
#[derive(Debug, Deserialize)]
struct NodeStatus {
    network: NetworkId,
    period: Period,
}

/// A node and where to reach it.
#[derive(Debug, Clone)]
pub(crate) struct NodeAddress {
    /// Its number.
    pub(crate) id: NodeId,
    /// Its base URL.
    pub(crate) url: Url,
}

/// All nodes of the registry, and what has been learnt from them.
pub(crate) struct Nodes {
    http: Http,
    network: NetworkId,
    registries: RwLock<Arc<RegistryHistory>>,
    preferred: RwLock<Option<NodeId>>,
    period: AtomicU64,
    period_at: RwLock<Option<Instant>>,
    /// When a node last failed to answer.
    troubled: RwLock<BTreeMap<NodeId, Instant>>,
}

/// A node that did not answer is asked last for this long.
const TROUBLE: Duration = Duration::from_secs(10);

impl Nodes {
    /// The nodes of the newest registry.
    pub(crate) fn new(http: Http, registries: RegistryHistory, preferred: Option<NodeId>) -> Self {
        Self {
            http: http.impatient(),
            network: registries.network(),
            registries: RwLock::new(Arc::new(registries)),
            preferred: RwLock::new(preferred),
            period: AtomicU64::new(0),
            period_at: RwLock::new(None),
            troubled: RwLock::default(),
        }
    }

    /// The current registry.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        Arc::clone(self.registries().latest())
    }

    /// Every registry known.
    pub(crate) fn registries(&self) -> Arc<RegistryHistory> {
        Arc::clone(&self.registries.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a newer registry of the same network; false when it changes nothing.
    pub(crate) fn accept_registry(&self, registry: Registry) -> Result<bool, VerifyFailure> {
        if registry.epoch < self.registry().epoch {
            return Err(VerifyFailure::Registry("it is older than one seen before".to_owned()));
        }
        self.insert_registry(Arc::new(registry))
    }

    /// Takes a registry of any epoch of the same network; false when it changes nothing.
    pub(crate) fn insert_registry(&self, registry: Arc<Registry>) -> Result<bool, VerifyFailure> {
        let mut registries = self.registries.write().unwrap_or_else(PoisonError::into_inner);
        match Arc::make_mut(&mut registries).insert(registry) {
            Ok(changed) => Ok(changed),
            Err(RegistryRefused::WrongNetwork) => Err(VerifyFailure::OtherNetwork),
            Err(refused) => Err(VerifyFailure::Registry(refused.to_string())),
        }
    }

    /// Asks this node first from now on.
    pub(crate) fn prefer(&self, node: Option<NodeId>) {
        *self.preferred.write().unwrap_or_else(PoisonError::into_inner) = node;
    }

    /// The replicas of a shard that have an address: the preferred one first, those that failed
    /// lately last.
    pub(crate) fn candidates(&self, shard: ShardId) -> Vec<NodeAddress> {
        let registry = self.registry();
        let preferred = *self.preferred.read().unwrap_or_else(PoisonError::into_inner);
        let mut members = registry.committee(shard);
        let troubled = self.troubled.read().unwrap_or_else(PoisonError::into_inner);
        let is_troubled =
            |node: &NodeId| troubled.get(node).is_some_and(|at| at.elapsed() < TROUBLE);
        members.sort_by_key(|node| (is_troubled(node), Some(*node) != preferred));
        let records = members.into_iter().filter_map(|id| registry.node(id));
        let address = |record: &tidings_envelope::registry::NodeRecord| {
            Some(NodeAddress { id: record.id, url: base_url(&record.http).ok()? })
        };
        records.filter_map(address).collect()
    }

    /// Posts `body` to one replica after another until one gives an answer that `accept` takes.
    ///
    /// The first `skip` of them come last.
    /// Refusals that no other replica would answer differently end the search.
    pub(crate) async fn ask<R: Wire, T>(
        &self,
        shard: ShardId,
        skip: usize,
        path: &str,
        body: &[u8],
        accept: impl Fn(R) -> Result<T, VerifyFailure>,
    ) -> Result<T, ClientError> {
        let mut failure = None;
        for round in 0..ROUNDS_MAX {
            tokio::time::sleep(backoff(round)).await;
            let mut candidates = self.candidates(shard);
            let skipped = skip.checked_rem(candidates.len()).unwrap_or_default();
            candidates.rotate_left(skipped);
            for node in candidates {
                match self.try_node(&node, path, body, &accept).await {
                    Ok(value) => return Ok(value),
                    Err(error) if ends_search(&error) => return Err(error),
                    Err(error) => failure = Some(worse(failure, error)),
                }
            }
            // What fails verification everywhere does so again.
            if matches!(failure, Some(ClientError::Unverified(_))) {
                break;
            }
        }
        Err(failure.unwrap_or_else(nobody))
    }

    /// Posts `body` to replicas until `wanted` of them gave an acceptable answer; fewer when
    /// fewer answer, but at least one.
    pub(crate) async fn ask_several<R: Wire, T>(
        &self,
        shard: ShardId,
        path: &str,
        body: &[u8],
        wanted: usize,
        accept: impl Fn(R) -> Result<T, VerifyFailure>,
    ) -> Result<Vec<T>, ClientError> {
        let (mut answers, mut failure) = (Vec::new(), None);
        for node in self.candidates(shard) {
            if answers.len() >= wanted.max(1) {
                break;
            }
            match self.try_node(&node, path, body, &accept).await {
                Ok(value) => answers.push(value),
                Err(error) => failure = Some(worse(failure, error)),
            }
        }
        match answers.is_empty() {
            true => Err(failure.unwrap_or_else(nobody)),
            false => Ok(answers),
        }
    }

    /// Posts `body` to one node.
    pub(crate) async fn post<R: Wire>(
        &self,
        node: &NodeAddress,
        path: &str,
        body: Vec<u8>,
    ) -> Result<R, ClientError> {
        let answer = self.http.post::<R>(&node.url, path, None, body).await;
        if answer.as_ref().is_err_and(CallError::retryable) {
            self.note_trouble(node.id);
        }
        Ok(answer?)
    }

    /// Reads JSON from one node.
    pub(crate) async fn json<T: serde::de::DeserializeOwned>(
        &self,
        node: &NodeAddress,
        path: &str,
    ) -> Result<T, ClientError> {
        Ok(self.http.json(&node.url, path, None).await?)
    }

    /// The current period: as last heard when that is fresh, else as a node says.
    pub(crate) async fn period(&self) -> Result<Period, ClientError> {
        let fresh_for = self.registry().period_ms / 2;
        let heard = *self.period_at.read().unwrap_or_else(PoisonError::into_inner);
        if heard.is_some_and(|at| at.elapsed().as_millis() < u128::from(fresh_for)) {
            return Ok(self.last_period());
        }
        let mut failure = None;
        for node in self.candidates(ShardId(0)) {
            match self.http.json::<NodeStatus>(&node.url, "v1/status", None).await {
                Ok(status) if status.network == self.network => {
                    self.heard_period(status.period);
                    return Ok(self.last_period());
                }
                Ok(_) => failure = Some(VerifyFailure::OtherNetwork.into()),
                Err(error) => failure = Some(worse(failure, error.into())),
            }
        }
        Err(failure.unwrap_or_else(nobody))
    }

    /// Notes a period that a node named; it never goes back.
    pub(crate) fn heard_period(&self, period: Period) {
        self.period.fetch_max(period.0, Ordering::Relaxed);
        let now = Some(Instant::now());
        *self.period_at.write().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Takes this period even if a higher one was heard of, because that one is not believed.
    pub(crate) fn reset_period(&self, period: Period) {
        self.period.store(period.0, Ordering::Relaxed);
        self.heard_period(period);
    }

    /// The highest period heard of.
    pub(crate) fn last_period(&self) -> Period {
        Period(self.period.load(Ordering::Relaxed))
    }

    /// Notes that a node did not answer as it should.
    pub(crate) fn note_trouble(&self, node: NodeId) {
        let mut troubled = self.troubled.write().unwrap_or_else(PoisonError::into_inner);
        troubled.insert(node, Instant::now());
    }

    async fn try_node<R: Wire, T>(
        &self,
        node: &NodeAddress,
        path: &str,
        body: &[u8],
        accept: &impl Fn(R) -> Result<T, VerifyFailure>,
    ) -> Result<T, ClientError> {
        Ok(accept(self.post(node, path, body.to_vec()).await?)?)
    }
}

/// Whether asking another replica is pointless.
fn ends_search(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { code } => code.peer_at_fault(),
        _ => false,
    }
}

/// Of two failures the one that says more: bad answers before refusals before silence.
pub(crate) fn worse(before: Option<ClientError>, now: ClientError) -> ClientError {
    let weight = |error: &ClientError| match error {
        ClientError::Unverified(_) => 2,
        ClientError::Refused { .. } => 1,
        _ => 0,
    };
    match before {
        Some(before) if weight(&before) > weight(&now) => before,
        _ => now,
    }
}

fn nobody() -> ClientError {
    ClientError::Unreachable { reason: "the registry names no node with an address".to_owned() }
}
