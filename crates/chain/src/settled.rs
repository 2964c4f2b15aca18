//! What the settlement contract has of a shard's reports, and how far they are paid for.

use alloy::contract::Error as ContractError;
use alloy::eips::BlockId;
use alloy::primitives::{Address, U256};
use alloy::providers::DynProvider;
use tidings_types::{Period, PicoDollarsTotal, ReportDigest, ShardId};

use crate::contracts::usage_settlement::UsageSettlement;

/// A report that the contract has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettledReport {
    /// Its place among the shard's reports.
    pub index: u64,
    /// Its digest.
    pub digest: ReportDigest,
    /// The last period that it adds.
    pub last: Period,
    /// What all payers were billed up to it.
    pub billed: PicoDollarsTotal,
}

/// A report and the one before it, if there is one.
pub type WithBefore = (SettledReport, Option<SettledReport>);

/// Where a shard's settlement stands, all of it at one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// How many reports are accepted and not voided.
    pub accepted: u64,
    /// The newest of them.
    pub newest: Option<SettledReport>,
    /// The newest that can be charged.
    pub matured: Option<SettledReport>,
    /// The newest matured report that is filled, or being filled, with what was collected: claims
    /// under it are for all that can be paid (SET-014).
    pub claimable: Option<WithBefore>,
    /// What was collected, in units of the token.
    pub collected: u128,
}

impl Settlement {
    /// The last period that is settled; 0 before the first report.
    #[must_use]
    pub fn last(&self) -> Period {
        self.newest.map_or(Period(0), |newest| newest.last)
    }
}

/// A shard's reports as the contract has them at one block.
pub(crate) struct Records {
    pub(crate) contract: Address,
    pub(crate) provider: DynProvider,
    pub(crate) shard: ShardId,
    pub(crate) block: BlockId,
}

impl Records {
    pub(crate) async fn settlement(self) -> Result<Settlement, ContractError> {
        let (shard, block) = (self.shard.0, self.block);
        let contract = UsageSettlement::new(self.contract, self.provider.clone());
        let accepted = contract.reportCount(shard).block(block).call().await?.saturating_to();
        let matured: u64 = contract.maturedCount(shard).block(block).call().await?.saturating_to();
        let collected = contract.collectedOf(shard).block(block).call().await?.saturating_to();
        Ok(Settlement {
            accepted,
            newest: self.newest_of(accepted).await?,
            matured: self.newest_of(matured).await?,
            claimable: self.claimable(matured, collected).await?,
            collected,
        })
    }

    async fn newest_of(&self, count: u64) -> Result<Option<SettledReport>, ContractError> {
        match count.checked_sub(1) {
            None => Ok(None),
            Some(index) => self.at(index).await.map(Some),
        }
    }

    /// The last of `matured` reports before which everything is filled by `collected` units.
    async fn claimable(
        &self,
        matured: u64,
        collected: u128,
    ) -> Result<Option<WithBefore>, ContractError> {
        if matured == 0 {
            return Ok(None);
        }
        let collected =
            PicoDollarsTotal::from_units(collected).unwrap_or(PicoDollarsTotal(u128::MAX));
        // All that comes before `low` is filled, and of what is before `high` not all is.
        let (mut low, mut high) = (0, matured);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.at(middle - 1).await?.billed <= collected {
                true => low = middle,
                false => high = middle,
            }
        }
        self.with_before(low).await.map(Some)
    }

    pub(crate) async fn with_before(&self, index: u64) -> Result<WithBefore, ContractError> {
        Ok((self.at(index).await?, self.newest_of(index).await?))
    }

    async fn at(&self, index: u64) -> Result<SettledReport, ContractError> {
        let contract = UsageSettlement::new(self.contract, self.provider.clone());
        let call = contract.reportAt(self.shard.0, U256::from(index));
        let record = call.block(self.block).call().await?;
        Ok(SettledReport {
            index,
            digest: ReportDigest(record.digest.0),
            last: Period(record.last),
            billed: PicoDollarsTotal(record.billed),
        })
    }
}
