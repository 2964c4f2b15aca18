//! What a payer has in the vault, at a depth at which nothing is taken back.

use std::collections::BTreeMap;

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::U256;
use alloy::providers::{DynProvider, Provider};
use tidings_envelope::registry::CapRecord;
use tidings_payer::{Funds, ShardFunds};
use tidings_types::{EthereumAddress, Period, PicoDollarsTotal, ShardId};

use crate::contracts::{NodeRegistry, PayerVault};
use crate::convert::picodollars;
use crate::{ChainError, Deployment, Endpoints, address};

/// Reads a payer's funds as of the newest final block, all from one and the same block; none when
/// no block that has the contracts is final yet.
///
/// # Errors
/// [`ChainError`] when the providers do not agree, or say what makes no sense.
pub async fn read_funds(
    endpoints: &Endpoints,
    deployment: &Deployment,
    payer: EthereumAddress,
    finality_depth: u64,
) -> Result<Option<Funds>, ChainError> {
    let head = endpoints.height().await?;
    let Some(block) = head.checked_sub(finality_depth) else { return Ok(None) };
    if block < deployment.first_block {
        return Ok(None);
    }
    let deployment = *deployment;
    endpoints
        .agreed(move |provider| async move {
            let found = provider.get_block_by_number(BlockNumberOrTag::Number(block)).await;
            let found = found.map_err(|error| error.to_string())?;
            let found = found.ok_or_else(|| format!("no block {block}"))?;
            read_at(&provider, &deployment, payer, BlockId::hash(found.header.hash)).await
        })
        .await
        .map(Some)
}

async fn read_at(
    provider: &DynProvider,
    deployment: &Deployment,
    payer: EthereumAddress,
    block: BlockId,
) -> Result<Funds, String> {
    let failed = |error: alloy::contract::Error| error.to_string();
    let vault = PayerVault::new(address(deployment.vault), provider);
    let whose = address(payer);
    let balance = vault.balanceOf(whose).block(block).call().await.map_err(failed)?;
    let mut balance = amount(balance)?;
    let mut shards = BTreeMap::new();
    for shard in 0..shard_count(provider, deployment, block).await? {
        let latest = vault.latestCapOf(whose, shard).block(block).call().await.map_err(failed)?;
        let before = match latest.from.checked_sub(1) {
            None => 0,
            Some(period) => {
                vault.capAt(whose, shard, period).block(block).call().await.map_err(failed)?
            }
        };
        let charged = vault.chargedThrough(whose, shard).block(block).call().await;
        let carried = vault.carriedOf(whose, shard).block(block).call().await.map_err(failed)?;
        // What is carried is owed for periods that were charged.
        balance.0 = balance.0.saturating_sub(amount(carried)?.0);
        let cap = CapRecord {
            shard: ShardId(shard),
            before: picodollars(before),
            from: Period(latest.from),
            amount: picodollars(latest.amount),
        };
        let charged_through = Period(charged.map_err(failed)?);
        shards.insert(ShardId(shard), ShardFunds { cap, charged_through });
    }
    Ok(Funds { balance, shards })
}

/// How many shards the epoch in force at `block` has; none before the first epoch.
async fn shard_count(
    provider: &DynProvider,
    deployment: &Deployment,
    block: BlockId,
) -> Result<u16, String> {
    let failed = |error: alloy::contract::Error| error.to_string();
    let registry = NodeRegistry::new(address(deployment.registry), provider);
    let epoch = registry.epoch().block(block).call().await.map_err(failed)?;
    if epoch == 0 {
        return Ok(0);
    }
    let settings = registry.epochSettings(epoch).block(block).call().await.map_err(failed)?;
    let count = 1u16.checked_shl(settings.shardCountLog2.into());
    count.ok_or_else(|| "the shards are too many".to_owned())
}

/// Units of the token in picodollars; a sum that fits no 128 bits is a lie.
fn amount(units: U256) -> Result<PicoDollarsTotal, String> {
    let units = u128::try_from(units).map_err(|_| "an amount is too large".to_owned())?;
    PicoDollarsTotal::from_units(units).map_err(|error| error.to_string())
}
