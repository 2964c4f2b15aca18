//! Follows the registry and the payers on the chain, at a depth at which nothing is taken back.

use std::time::Duration;

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::B256;
use alloy::providers::Provider;
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolEvent;
use tidings_envelope::Registry;
use tidings_types::{EthereumAddress, Period, RegistryEpoch, ShardId};

use crate::contracts::{NodeRegistry, PayerVault};
use crate::payers::{PayerEvent, Payers};
use crate::snapshot::read_epoch;
use crate::{ChainError, Deployment, Endpoints, address, ethereum_address};

/// How many blocks are searched for events at once; providers refuse many more.
pub(crate) const BLOCKS_PER_SEARCH: u64 = 1_000;

/// How a [`Watcher`] follows the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatcherConfig {
    /// How many blocks must follow before a block counts. What the chain may take back must be
    /// less: 64 on Ethereum, 0 where a block is final at once.
    pub finality_depth: u64,
    /// How often the chain is asked.
    pub poll: Duration,
}

impl Default for WatcherConfig {
    fn default() -> Self {
        Self { finality_depth: 64, poll: Duration::from_secs(4) }
    }
}

/// Why the registry is not followed any further.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The chain could not be asked, or took back what was final.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

impl WatchError {
    /// Whether it may pass by itself.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Chain(ChainError::Disagreement { .. } | ChainError::Contract(_)))
    }
}

/// Reads the epochs of a registry one after another. It holds no task and no clock: whoever owns
/// it calls [`look`](Watcher::look).
#[derive(Debug)]
pub struct Watcher {
    endpoints: Endpoints,
    deployment: Deployment,
    config: WatcherConfig,
    /// Epochs up to this one are known already.
    known: RegistryEpoch,
    /// The last block that was searched, and its hash.
    searched: Option<(u64, B256)>,
    payers: Payers,
}

/// An event that matters, where it was found.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    block: u64,
    block_hash: B256,
    event: Event,
}

#[derive(Debug, Clone, PartialEq)]
enum Event {
    Epoch(u64),
    Payer(EthereumAddress, PayerEvent),
}

impl Watcher {
    /// Follows the registry of `deployment` from its first block. Epochs up to `known` are not
    /// read again, because whoever calls has them.
    #[must_use]
    pub fn new(
        endpoints: Endpoints,
        deployment: Deployment,
        config: WatcherConfig,
        known: Option<RegistryEpoch>,
    ) -> Self {
        let known = known.unwrap_or(RegistryEpoch(0));
        Self { endpoints, deployment, config, known, searched: None, payers: Payers::default() }
    }

    /// Reads on to the newest final block, and gives the epochs that were opened, in order. What
    /// was read before an error is given, too; the next look goes on from there.
    ///
    /// # Errors
    /// [`WatchError`] when nothing could be read; where it is [`retryable`](WatchError::retryable),
    /// looking again may help.
    pub async fn look(&mut self) -> Result<Vec<Registry>, WatchError> {
        self.check_history().await?;
        let mut opened = Vec::new();
        loop {
            match self.step().await {
                Ok(Some(more)) => opened.extend(more),
                Ok(None) => return Ok(opened),
                Err(error) if opened.is_empty() => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "the rest is left for the next look");
                    return Ok(opened);
                }
            }
        }
    }

    /// Reads the next stretch of blocks; none when all that are final were read.
    async fn step(&mut self) -> Result<Option<Vec<Registry>>, WatchError> {
        let Some((first, last)) = self.next_search().await? else { return Ok(None) };
        let hash = self.block_hash(last).await?;
        let found = self.search(first, last).await?;
        let opened = self.apply(found).await?;
        self.searched = Some((last, hash));
        if let Some(registry) = opened.last() {
            self.known = registry.epoch;
        }
        Ok(Some(opened))
    }

    /// A final block must stay what it was.
    async fn check_history(&self) -> Result<(), ChainError> {
        let Some((number, expected)) = self.searched else { return Ok(()) };
        let found = self.block_hash(number).await?;
        if found == expected {
            return Ok(());
        }
        Err(ChainError::Reorganised { number, expected, found })
    }

    /// The next blocks to search; none when all that are final were.
    async fn next_search(&self) -> Result<Option<(u64, u64)>, ChainError> {
        let head = self.endpoints.height().await?;
        let Some(final_block) = head.checked_sub(self.config.finality_depth) else {
            return Ok(None);
        };
        let first = self.searched.map_or(self.deployment.first_block, |(block, _)| block + 1);
        let last = final_block.min(first.saturating_add(BLOCKS_PER_SEARCH - 1));
        Ok((first <= last).then_some((first, last)))
    }

    async fn block_hash(&self, number: u64) -> Result<B256, ChainError> {
        self.endpoints
            .agreed(move |provider| async move {
                let block = BlockNumberOrTag::Number(number);
                let found = provider.get_block_by_number(block).await;
                let found = found.map_err(|error| error.to_string())?;
                found.map(|block| block.header.hash).ok_or(format!("no block {number}"))
            })
            .await
    }

    async fn search(&self, first: u64, last: u64) -> Result<Vec<Found>, ChainError> {
        let contracts = vec![address(self.deployment.registry), address(self.deployment.vault)];
        let filter = Filter::new().address(contracts).from_block(first).to_block(last);
        let filter = filter.event_signature(vec![
            NodeRegistry::EpochAdvanced::SIGNATURE_HASH,
            PayerVault::SessionKeySet::SIGNATURE_HASH,
            PayerVault::SessionKeyRemoved::SIGNATURE_HASH,
            PayerVault::CapSet::SIGNATURE_HASH,
            PayerVault::CoverChanged::SIGNATURE_HASH,
        ]);
        let deployment = self.deployment;
        self.endpoints
            .agreed(move |provider| {
                let filter = filter.clone();
                async move {
                    let logs =
                        provider.get_logs(&filter).await.map_err(|error| error.to_string())?;
                    logs.iter().map(|log| found(&deployment, log)).collect::<Result<Vec<_>, _>>()
                }
            })
            .await
    }

    /// Takes events into account, and reads the epochs among them that are not known.
    async fn apply(&mut self, found: Vec<Found>) -> Result<Vec<Registry>, WatchError> {
        let mut payers = self.payers.clone();
        let mut opened = Vec::new();
        for Found { block, block_hash, event } in found {
            match event {
                Event::Payer(payer, event) => payers.apply(payer, event),
                Event::Epoch(epoch) if RegistryEpoch(epoch) > self.known => {
                    opened.extend(self.read(epoch, block, block_hash, &payers).await?);
                }
                Event::Epoch(_) => {}
            }
        }
        self.payers = payers;
        Ok(opened)
    }

    async fn read(
        &self,
        epoch: u64,
        block: u64,
        hash: B256,
        payers: &Payers,
    ) -> Result<Option<Registry>, WatchError> {
        let deployment = self.deployment;
        let (raw, opened_at) = self
            .endpoints
            .agreed(move |provider| async move {
                let at = BlockId::hash(hash);
                let raw = read_epoch(deployment, provider.clone(), epoch, at).await;
                let raw = raw.map_err(|error| error.to_string())?;
                let header = provider.get_block(at).await.map_err(|error| error.to_string())?;
                let header = header.ok_or_else(|| format!("no block {block}"))?;
                Ok::<_, String>((raw, header.header.timestamp))
            })
            .await?;
        match raw.registry(&deployment, payers, opened_at) {
            Ok(registry) => Ok(Some(registry)),
            // Everybody passes over it alike, and the one before stays in force.
            Err(reason) => {
                tracing::error!(epoch, %reason, "an epoch of the registry cannot be used");
                Ok(None)
            }
        }
    }
}

fn found(deployment: &Deployment, log: &Log) -> Result<Found, String> {
    let (block, block_hash) =
        log.block_number.zip(log.block_hash).ok_or_else(|| "a log without its block".to_owned())?;
    Ok(Found {
        block,
        block_hash,
        event: event(deployment, log).map_err(|error| error.to_string())?,
    })
}

fn event(deployment: &Deployment, log: &Log) -> Result<Event, alloy::sol_types::Error> {
    if ethereum_address(log.address()) == deployment.registry {
        let event = NodeRegistry::EpochAdvanced::decode_log(&log.inner)?.data;
        return Ok(Event::Epoch(event.epoch));
    }
    let (payer, event) = match log.topic0() {
        Some(&PayerVault::SessionKeySet::SIGNATURE_HASH) => {
            let event = PayerVault::SessionKeySet::decode_log(&log.inner)?.data;
            (event.payer, PayerEvent::KeySet { key: event.key.0, expires: event.expires })
        }
        Some(&PayerVault::CapSet::SIGNATURE_HASH) => {
            let event = PayerVault::CapSet::decode_log(&log.inner)?.data;
            let (shard, from) = (ShardId(event.shard), Period(event.from));
            (event.payer, PayerEvent::Cap { shard, from, units: event.amount })
        }
        Some(&PayerVault::CoverChanged::SIGNATURE_HASH) => {
            let event = PayerVault::CoverChanged::decode_log(&log.inner)?.data;
            (event.payer, PayerEvent::Cover { is_covered: event.isCovered })
        }
        _ => {
            let event = PayerVault::SessionKeyRemoved::decode_log(&log.inner)?.data;
            (event.payer, PayerEvent::KeyRemoved { key: event.key.0 })
        }
    };
    Ok(Event::Payer(ethereum_address(payer), event))
}
