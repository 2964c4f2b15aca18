//! What the settlement contracts say of a shard, and the calls that settle it.

use alloy::primitives::{B256, Bytes, U256};
use alloy::providers::Provider;
use alloy::rpc::types::{Filter, TransactionRequest};
use alloy::sol_types::{SolCall, SolEvent};
use tidings_envelope::{Evidence, SignedAttestation, UsageReport};
use tidings_payer::{
    Ledger, Measurement, earnings_leaf, measurement_leaf, measurement_tree, usage_leaf,
};
use tidings_types::{
    EthereumAddress, Hash, NodeId, OffenceId, PicoDollarsTotal, RegistryEpoch, ShardId, Wire,
};

use crate::contracts::evidence_court::EvidenceCourt;
use crate::contracts::network_parameters::NetworkParameters;
use crate::contracts::node_registry::NodeRegistry;
use crate::contracts::payer_vault::PayerVault;
use crate::contracts::usage_settlement::{IUsageSettlement, UsageSettlement};
use crate::settled::{Records, Settlement, WithBefore};
use crate::snapshot::{STATUS_EXITING, STATUS_PROBATION};
use crate::submitter::is_revert;
use crate::watcher::BLOCKS_PER_SEARCH;
use crate::{ChainError, ContractError, Deployment, Endpoints, Parameter, address};

/// What the vault tells that a snapshot of the registry shows.
const SNAPSHOT_EVENTS: [B256; 4] = [
    PayerVault::SessionKeySet::SIGNATURE_HASH,
    PayerVault::SessionKeyRemoved::SIGNATURE_HASH,
    PayerVault::CapSet::SIGNATURE_HASH,
    PayerVault::CoverChanged::SIGNATURE_HASH,
];

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
            .agreed_at_newest(move |provider, block| {
                Records { contract, provider, shard, block }.settlement()
            })
            .await
    }

    /// An accepted report and the one before it.
    ///
    /// # Errors
    /// [`ChainError`] when the providers do not agree, or there is no report of this index.
    pub async fn report_at(&self, shard: ShardId, index: u64) -> Result<WithBefore, ChainError> {
        let contract = address(self.deployment.settlement);
        self.endpoints
            .agreed_at_newest(move |provider, block| async move {
                Records { contract, provider, shard, block }.with_before(index).await
            })
            .await
    }

    /// How many shards the epoch in force has; none before the first epoch.
    ///
    /// # Errors
    /// [`ChainError`] when the providers do not agree, or say what makes no sense.
    pub async fn shard_count(&self) -> Result<u16, ChainError> {
        let contract = address(self.deployment.registry);
        let log2 = self
            .endpoints
            .agreed(move |provider| async move {
                let contract = NodeRegistry::new(contract, provider);
                match contract.epoch().call().await? {
                    0 => Ok::<_, ContractError>(None),
                    epoch => Ok(Some(contract.epochSettings(epoch).call().await?.shardCountLog2)),
                }
            })
            .await?;
        let Some(log2) = log2 else { return Ok(0) };
        let count = 1u16.checked_shl(log2.into());
        count.ok_or_else(|| ChainError::Contract("the shards are too many".into()))
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

    /// What was charged to payers for a shard so far, in units of the token and in their order.
    ///
    /// # Errors
    /// [`ChainError`] when the providers do not agree.
    pub async fn charged(
        &self,
        shard: ShardId,
        payers: &[EthereumAddress],
    ) -> Result<Vec<u128>, ChainError> {
        let contract = address(self.deployment.settlement);
        let payers = payers.to_vec();
        self.endpoints
            .agreed_at_newest(move |provider, block| {
                let payers = payers.clone();
                async move {
                    let contract = UsageSettlement::new(contract, provider);
                    let mut charged = Vec::new();
                    for payer in payers {
                        let call = contract.chargedOf(shard.0, address(payer));
                        charged.push(call.block(block).call().await?.saturating_to());
                    }
                    Ok::<_, ContractError>(charged)
                }
            })
            .await
    }

    /// What was paid to a node for a shard so far, in units of the token.
    ///
    /// # Errors
    /// [`ChainError`] when the providers do not agree.
    pub async fn paid(&self, shard: ShardId, node: NodeId) -> Result<u128, ChainError> {
        let contract = address(self.deployment.settlement);
        self.endpoints
            .agreed(move |provider| async move {
                let contract = UsageSettlement::new(contract, provider);
                let paid = contract.paidOf(shard.0, node.0).call().await?;
                Ok::<_, ContractError>(paid.saturating_to())
            })
            .await
    }

    /// The number that a call of this program's would answer now, such as what a charge would take
    /// or a claim would pay; none when the contract refuses it.
    ///
    /// # Errors
    /// [`ChainError`] when the providers do not agree.
    pub async fn foretell(
        &self,
        (to, data): &(EthereumAddress, Vec<u8>),
    ) -> Result<Option<u128>, ChainError> {
        let request = TransactionRequest::default().to(address(*to)).input(data.clone().into());
        self.endpoints
            .agreed(move |provider| {
                let request = request.clone();
                async move {
                    match provider.call(request).await {
                        Ok(answer) => {
                            let word = answer.get(..32).unwrap_or_default();
                            Ok(Some(U256::from_be_slice(word).saturating_to()))
                        }
                        Err(error) if is_revert(&error) => Ok(None),
                        Err(error) => Err(error),
                    }
                }
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
                Ok::<_, ContractError>(found.status == STATUS_PROBATION)
            })
            .await
    }

    /// Follows what the next epoch would bring, from block `from` on: whether anything changed
    /// since the epoch that opened last, `before` being what is known so far, and where to go on.
    ///
    /// # Errors
    /// [`ChainError`] when the providers do not agree.
    pub async fn changes(&self, from: u64, before: bool) -> Result<(bool, u64), ChainError> {
        let head = self.endpoints.height().await?;
        if head < from {
            return Ok((before, from));
        }
        let to = head.min(from + BLOCKS_PER_SEARCH - 1);
        let deployment = self.deployment;
        let sources = [deployment.registry, deployment.vault, deployment.parameters];
        let filter = Filter::new().address(sources.map(address).to_vec());
        let filter = filter.from_block(from).to_block(to);
        let (changed, has_opened) = self
            .endpoints
            .agreed(move |provider| {
                let filter = filter.clone();
                async move {
                    let logs = provider.get_logs(&filter).await?;
                    let (mut changed, mut has_opened) = (before, false);
                    for log in logs {
                        let Some(topic) = log.topic0() else { continue };
                        let is_money = log.address() == address(deployment.vault)
                            && !SNAPSHOT_EVENTS.contains(topic);
                        if !is_money {
                            changed = *topic != NodeRegistry::EpochAdvanced::SIGNATURE_HASH;
                            has_opened |= !changed;
                        }
                    }
                    Ok::<_, alloy::transports::TransportError>((changed, has_opened))
                }
            })
            .await?;
        // An epoch makes a bounded number of changes; the rest waits for the next one (SET-017).
        let is_waiting = !changed && has_opened && self.waits_for_epoch().await?;
        Ok((changed || is_waiting, to + 1))
    }

    /// Whether somebody waits to join or to leave, or asks for another weight.
    async fn waits_for_epoch(&self) -> Result<bool, ChainError> {
        let deployment = self.deployment;
        self.endpoints
            .agreed_at_newest(move |provider, block| async move {
                let registry = NodeRegistry::new(address(deployment.registry), &provider);
                let epoch = registry.epoch().block(block).call().await?;
                if epoch == 0 || !registry.queue().block(block).call().await?.is_empty() {
                    return Ok::<_, ContractError>(epoch != 0);
                }
                let parameters = NetworkParameters::new(address(deployment.parameters), &provider);
                let weight_max = Parameter::WeightMax as u8;
                let weight_max = parameters.value(weight_max).block(block).call().await?;
                let members = registry.members(epoch).block(block).call().await?;
                for member in &members {
                    let node = registry.node(member.id).block(block).call().await?;
                    let is_leaving = node.status == STATUS_EXITING && members.len() > 1;
                    let wanted = U256::from(node.description.weight).min(weight_max);
                    if is_leaving || wanted != U256::from(member.weight) {
                        return Ok(true);
                    }
                }
                Ok(false)
            })
            .await
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

    /// The call that has a node jailed whose service was bad by the report at `index` (SET-025).
    #[must_use]
    pub fn report_measurement(
        &self,
        report: &UsageReport,
        index: u64,
        of: &Measurement,
        proof: Vec<Hash>,
    ) -> (EthereumAddress, Vec<u8>) {
        let call = UsageSettlement::reportMeasurementCall {
            report: as_told(report),
            index: U256::from(index),
            measurement: IUsageSettlement::Measurement {
                node: of.node.0,
                reachabilityPermille: of.service.reachability_permille,
                acknowledgementMs: of.service.acknowledgement_ms,
                cadencePermille: of.service.cadence_permille,
                servedPermille: of.service.served_permille,
            },
            proof: proof.into_iter().map(Into::into).collect(),
        };
        (self.deployment.settlement, call.abi_encode())
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

/// The path from a measurement to the root of a ledger's last report; none if it is not there.
#[must_use]
pub fn prove_measurement(ledger: &Ledger, of: &Measurement) -> Option<Vec<Hash>> {
    measurement_tree(ledger.measurements()).proof(&measurement_leaf(of))
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
