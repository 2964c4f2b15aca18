//! What the settlement contracts say of a shard, and the calls that settle it.

use alloy::primitives::{Bytes, U256};
use alloy::providers::{DynProvider, Provider};
use alloy::rpc::types::Filter;
use alloy::sol_types::{SolCall, SolEvent};
use tidings_envelope::{Evidence, SignedAttestation, UsageReport};
use tidings_payer::{Ledger, earnings_leaf, usage_leaf};
use tidings_types::{
    EthereumAddress, Hash, NodeId, OffenceId, Period, PicoDollarsTotal, RegistryEpoch, ShardId,
    Wire,
};

use crate::contracts::evidence_court::EvidenceCourt;
use crate::contracts::node_registry::NodeRegistry;
use crate::contracts::payer_vault::PayerVault;
use crate::contracts::usage_settlement::{IUsageSettlement, UsageSettlement};
use crate::{ChainError, ContractError, Deployment, Endpoints, address};

/// How many blocks are searched for events at once; providers refuse many more.
const BLOCKS_PER_SEARCH: u64 = 1_000;

/// Reports that are looked at, at most, to find the one that is being filled.
const REPORTS_MAX: u64 = 64;

const PICODOLLARS_PER_UNIT: u128 = 1_000_000;

/// A report that the contract has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettledReport {
    /// Its place among the shard's reports.
    pub index: u64,
    /// Its digest.
    pub digest: Hash,
    /// The last period that it adds.
    pub last: Period,
    /// What all payers were billed up to it.
    pub billed: PicoDollarsTotal,
}

/// Where a shard's settlement stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The last period of the newest accepted report; 0 before the first.
    pub last: Period,
    /// How many reports are accepted.
    pub accepted: u64,
    /// The newest reports that can be charged and claimed, newest first.
    pub matured: Vec<SettledReport>,
    /// What was collected, in units of the token.
    pub collected: u128,
}

impl Settlement {
    /// The report that what was collected fills, and the one before it: by these a node is due
    /// most (SET-014).
    #[must_use]
    pub fn filling(&self) -> Option<(SettledReport, Option<SettledReport>)> {
        let level = self.collected.saturating_mul(PICODOLLARS_PER_UNIT);
        let mut reports = self.matured.iter().copied().peekable();
        while let Some(report) = reports.next() {
            if report.billed.0 <= level || report.index == 0 {
                return Some((report, None));
            }
            let before = reports.peek().copied();
            if before.is_some_and(|before| before.billed.0 <= level) {
                return Some((report, before));
            }
        }
        None
    }
}

/// What a payer or a node has under a report, and its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// The sum since the shard began.
    pub cumulative: PicoDollarsTotal,
    /// The path to the report's root.
    pub proof: Vec<Hash>,
}

/// Reads the settlement contracts and makes calls to them. It holds no key.
#[derive(Debug, Clone)]
pub struct Settler {
    endpoints: Endpoints,
    deployment: Deployment,
}

impl Settler {
    /// For the contracts of `deployment`.
    #[must_use]
    pub fn new(endpoints: Endpoints, deployment: Deployment) -> Self {
        Self { endpoints, deployment }
    }

    /// The contracts.
    #[must_use]
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// Where a shard's settlement stands.
    ///
    /// # Errors
    /// [`ChainError`] when the providers do not agree.
    pub async fn settlement(&self, shard: ShardId) -> Result<Settlement, ChainError> {
        let contract = address(self.deployment.settlement);
        self.endpoints
            .agreed(move |provider| async move {
                let contract = UsageSettlement::new(contract, provider);
                let last = contract.lastPeriod(shard.0).call().await?;
                let accepted = contract.reportCount(shard.0).call().await?;
                let matured = contract.maturedCount(shard.0).call().await?;
                let collected = contract.collectedOf(shard.0).call().await?;
                let mut newest = Vec::new();
                let count: u64 = matured.saturating_to();
                let level = collected.saturating_to::<u128>().saturating_mul(PICODOLLARS_PER_UNIT);
                for index in (count.saturating_sub(REPORTS_MAX)..count).rev() {
                    let record = contract.reportAt(shard.0, U256::from(index)).call().await?;
                    newest.push(SettledReport {
                        index,
                        digest: record.digest.0,
                        last: Period(record.last),
                        billed: PicoDollarsTotal(record.billed),
                    });
                    // What comes before is paid for in full.
                    if record.billed <= level {
                        break;
                    }
                }
                Ok::<_, ContractError>(Settlement {
                    last: Period(last),
                    accepted: accepted.saturating_to(),
                    matured: newest,
                    collected: collected.saturating_to(),
                })
            })
            .await
    }

    /// The committee of a shard in an epoch, in the order of a report's signers.
    ///
    /// # Errors
    /// [`ChainError`] when the providers do not agree.
    pub async fn committee(
        &self,
        shard: ShardId,
        epoch: RegistryEpoch,
    ) -> Result<Vec<NodeId>, ChainError> {
        let contract = address(self.deployment.registry);
        self.endpoints
            .agreed(move |provider| async move {
                let contract = NodeRegistry::new(contract, provider);
                let committee = contract.committee(shard.0, epoch.0).call().await?;
                Ok::<_, ContractError>(committee.members_.into_iter().map(NodeId).collect())
            })
            .await
    }

    /// What was charged to a payer for a shard so far, in units of the token.
    ///
    /// # Errors
    /// [`ChainError`] when the providers do not agree.
    pub async fn charged(
        &self,
        shard: ShardId,
        payer: EthereumAddress,
    ) -> Result<u128, ChainError> {
        let contract = address(self.deployment.settlement);
        self.endpoints
            .agreed(move |provider| async move {
                let contract = UsageSettlement::new(contract, provider);
                let charged = contract.chargedOf(shard.0, address(payer)).call().await?;
                Ok::<_, ContractError>(charged.saturating_to())
            })
            .await
    }

    /// Whether an offence was judged.
    ///
    /// # Errors
    /// [`ChainError`] when the providers do not agree.
    pub async fn is_judged(&self, offence: OffenceId) -> Result<bool, ChainError> {
        let contract = address(self.deployment.court);
        self.endpoints
            .agreed(move |provider| async move {
                let contract = EvidenceCourt::new(contract, provider);
                contract.isJudged(offence.0.into()).call().await
            })
            .await
    }

    /// Whether a node is in probation.
    ///
    /// # Errors
    /// [`ChainError`] when the providers do not agree.
    pub async fn is_in_probation(&self, node: NodeId) -> Result<bool, ChainError> {
        let contract = address(self.deployment.registry);
        self.endpoints
            .agreed(move |provider| async move {
                let contract = NodeRegistry::new(contract, provider);
                let found = contract.node(node.0).call().await?;
                Ok::<_, ContractError>(found.status == crate::snapshot::STATUS_PROBATION)
            })
            .await
    }

    /// Follows what the next epoch would bring, from block `from` on: whether anything changed
    /// since the epoch that opened last, `before` being what is known so far, and where to go on.
    ///
    /// # Errors
    /// [`ChainError`] when the providers do not agree.
    pub async fn changes(&self, from: u64, before: bool) -> Result<(bool, u64), ChainError> {
        let ask = |provider: DynProvider| async move { provider.get_block_number().await };
        let head = self.endpoints.reached(ask).await?;
        if head < from {
            return Ok((before, from));
        }
        let to = head.min(from + BLOCKS_PER_SEARCH - 1);
        let deployment = self.deployment;
        let sources = [deployment.registry, deployment.vault, deployment.parameters];
        let filter = Filter::new().address(sources.map(address).to_vec());
        let filter = filter.from_block(from).to_block(to);
        let changed = self
            .endpoints
            .agreed(move |provider| {
                let filter = filter.clone();
                async move {
                    let logs = provider.get_logs(&filter).await?;
                    let mut changed = before;
                    for log in logs {
                        let Some(topic) = log.topic0() else { continue };
                        let is_money = log.address() == address(deployment.vault)
                            && *topic != PayerVault::SessionKeySet::SIGNATURE_HASH
                            && *topic != PayerVault::SessionKeyRemoved::SIGNATURE_HASH;
                        if !is_money {
                            changed = *topic != NodeRegistry::EpochAdvanced::SIGNATURE_HASH;
                        }
                    }
                    Ok::<_, alloy::transports::TransportError>(changed)
                }
            })
            .await?;
        Ok((changed, to + 1))
    }

    /// The call that brings a report, if enough of `committee` attested it (SET-002).
    #[must_use]
    pub fn submit(
        &self,
        report: &UsageReport,
        committee: &[NodeId],
        attestations: &[SignedAttestation],
    ) -> (EthereumAddress, Vec<u8>) {
        let (mut signers, mut signatures) = (U256::ZERO, Vec::new());
        for (place, member) in committee.iter().enumerate() {
            if let Some(attested) = attestations.iter().find(|it| it.node == *member) {
                signers.set_bit(place, true);
                signatures.extend(attested.signature.0);
            }
        }
        let call = UsageSettlement::submitCall {
            report: as_told(report),
            signers,
            signatures: Bytes::from(signatures),
        };
        (self.deployment.settlement, call.abi_encode())
    }

    /// The call that charges payers what they owe under the report at `index` (SET-013).
    #[must_use]
    pub fn charge(
        &self,
        report: &UsageReport,
        index: u64,
        usages: Vec<(EthereumAddress, Proved)>,
    ) -> (EthereumAddress, Vec<u8>) {
        let usages = usages.into_iter().map(|(payer, proved)| IUsageSettlement::Usage {
            payer: address(payer),
            cumulative: proved.cumulative.0,
            proof: proved.proof.into_iter().map(Into::into).collect(),
        });
        let call = UsageSettlement::chargeManyCall {
            report: as_told(report),
            index: U256::from(index),
            usages: usages.collect(),
        };
        (self.deployment.settlement, call.abi_encode())
    }

    /// The call that pays a node what it earned up to the report at `index`, as far as that is
    /// collected (SET-014); `before` is the report before it, under which the node earned too.
    #[must_use]
    pub fn claim(
        &self,
        node: NodeId,
        (report, index, later): (&UsageReport, u64, Proved),
        before: Option<(&UsageReport, Proved)>,
    ) -> (EthereumAddress, Vec<u8>) {
        let earnings = |proved: Proved| IUsageSettlement::Earnings {
            node: node.0,
            cumulative: proved.cumulative.0,
            proof: proved.proof.into_iter().map(Into::into).collect(),
        };
        let index = U256::from(index);
        let data = match before {
            Some((before, earlier)) => UsageSettlement::claimPartCall {
                before: as_told(before),
                report: as_told(report),
                index,
                earlier: earnings(earlier),
                later: earnings(later),
            }
            .abi_encode(),
            None => UsageSettlement::claimCall {
                report: as_told(report),
                index,
                earnings: earnings(later),
            }
            .abi_encode(),
        };
        (self.deployment.settlement, data)
    }

    /// The call that brings evidence to the court (SET-019).
    #[must_use]
    pub fn judge(&self, evidence: &Evidence) -> (EthereumAddress, Vec<u8>) {
        let call = EvidenceCourt::judgeCall { evidence: evidence.to_wire().into() };
        (self.deployment.court, call.abi_encode())
    }

    /// The call that opens the registry's next epoch.
    #[must_use]
    pub fn advance_epoch(&self) -> (EthereumAddress, Vec<u8>) {
        (self.deployment.registry, NodeRegistry::advanceEpochCall {}.abi_encode())
    }

    /// The call that makes a node active whose probation is over.
    #[must_use]
    pub fn graduate(&self, node: NodeId) -> (EthereumAddress, Vec<u8>) {
        (self.deployment.registry, NodeRegistry::graduateCall { id: node.0 }.abi_encode())
    }
}

/// What a payer was billed under a ledger's last report; none if nothing.
#[must_use]
pub fn proved_usage(ledger: &Ledger, payer: EthereumAddress) -> Option<Proved> {
    let cumulative = ledger.billed_to(payer);
    let proof = ledger.usage_tree().proof(&usage_leaf(payer, cumulative))?;
    Some(Proved { cumulative, proof })
}

/// What a node earned under a ledger's last report; none if nothing.
#[must_use]
pub fn proved_earnings(ledger: &Ledger, node: NodeId) -> Option<Proved> {
    let cumulative = ledger.earned_by(node);
    let proof = ledger.earnings_tree().proof(&earnings_leaf(node, cumulative))?;
    Some(Proved { cumulative, proof })
}

fn as_told(report: &UsageReport) -> IUsageSettlement::UsageReport {
    IUsageSettlement::UsageReport {
        shard: report.shard.0,
        first: report.first.0,
        last: report.last.0,
        epoch: report.epoch.0,
        previous: report.previous.0.into(),
        ranges: report.ranges.into(),
        usage: report.usage.into(),
        earnings: report.earnings.into(),
        measurements: report.measurements.into(),
        billed: report.billed.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A settlement whose matured reports are billed so much, in units, newest last.
    fn settlement(billed: &[u128], collected: u128) -> Settlement {
        let reports = (0..).zip(billed).map(|(index, billed)| SettledReport {
            index,
            digest: [0; 32],
            last: Period(index + 1),
            billed: PicoDollarsTotal(billed * PICODOLLARS_PER_UNIT),
        });
        let mut matured: Vec<_> = reports.collect();
        matured.reverse();
        let accepted = matured.len() as u64;
        Settlement { last: Period(accepted), accepted, matured, collected }
    }

    fn check(billed: &[u128], collected: u128, expected: Option<(u64, Option<u64>)>) {
        let found = settlement(billed, collected).filling();
        let found = found.map(|(report, before)| (report.index, before.map(|it| it.index)));
        assert_eq!(found, expected, "{billed:?} of which {collected}");
    }

    #[test]
    fn nodes_claim_by_the_report_that_is_being_filled() {
        // covers: SET-014
        check(&[], 0, None);
        check(&[5], 0, Some((0, None)));
        check(&[5, 9], 7, Some((1, Some(0))));
        check(&[5, 9], 9, Some((1, None)));
        check(&[5, 9], 3, Some((0, None)));
        // Nothing was used since: what rounding left open is in an earlier report.
        check(&[5, 9, 9, 9], 8, Some((1, Some(0))));
    }
}
