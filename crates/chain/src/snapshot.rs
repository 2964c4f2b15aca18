//! The registry of one epoch, as the contracts have it.

use std::collections::{BTreeMap, BTreeSet};

use alloy::contract::Error as ContractError;
use alloy::eips::BlockId;
use alloy::primitives::Address;
use alloy::providers::DynProvider;
use tidings_envelope::registry::{FeeSchedule, FeeShares, NodeRecord, RegistryInvalid};
use tidings_envelope::{CongestionRule, Registry};
use tidings_types::ed25519::PublicKey;
use tidings_types::{NodeId, PicoDollars, RegistryEpoch};

use crate::contracts::NetworkParameters;
use crate::contracts::node_registry::{INodeRegistry, NodeRegistry};
use crate::payers::Payers;
use crate::{DEFINITIONS, Deployment, Parameter, address, ethereum_address};

/// The values of all governed numbers at one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameters([u64; DEFINITIONS.len()]);

impl Parameters {
    /// One value, in the unit of its definition.
    pub(crate) fn value(&self, parameter: Parameter) -> u64 {
        self.0[parameter as usize]
    }

    pub(crate) async fn read(
        contract: Address,
        provider: &DynProvider,
        block: BlockId,
    ) -> Result<Self, ContractError> {
        let contract = NetworkParameters::new(contract, provider);
        let mut values = [0; DEFINITIONS.len()];
        for (value, definition) in values.iter_mut().zip(DEFINITIONS) {
            let read = contract.value(definition.parameter as u8).block(block).call().await?;
            // Bounds fit, so a value that does not is a lie; the largest one breaks rules later on.
            *value = u64::try_from(read).unwrap_or(u64::MAX);
        }
        Ok(Self(values))
    }
}

/// The contracts' registry of one epoch cannot be computed with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnusableRegistry {
    /// A number is larger than the network can have.
    #[error("{0} is too large")]
    TooLarge(&'static str),
    /// A rule of registries is broken.
    #[error(transparent)]
    Invalid(#[from] RegistryInvalid),
}

/// What the contracts say of an epoch, in the order of its number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RawEpoch {
    epoch: u64,
    shard_count_log2: u8,
    replication_factor: u8,
    parameters: Parameters,
    members: Vec<(u32, u32, Address)>,
    nodes: Vec<(u32, RawNode)>,
}

#[derive(Debug, Clone, PartialEq)]
struct RawNode {
    status: u8,
    name: String,
    signing: Address,
    transport: [u8; 32],
    quic: String,
    http: String,
    weight: u32,
}

/// Reads an epoch as of the block that opened it.
pub(crate) async fn read_epoch(
    deployment: Deployment,
    provider: DynProvider,
    epoch: u64,
    block: BlockId,
) -> Result<RawEpoch, ContractError> {
    let registry = NodeRegistry::new(address(deployment.registry), &provider);
    let settings = registry.epochSettings(epoch).block(block).call().await?;
    let members = registry.members(epoch).block(block).call().await?;
    let count = registry.nodeCount().block(block).call().await?;
    let mut nodes = Vec::new();
    for id in 0..count {
        let node = registry.node(id).block(block).call().await?;
        nodes.push((id, raw_node(node)));
    }
    let parameters = Parameters::read(address(deployment.parameters), &provider, block).await?;
    Ok(RawEpoch {
        epoch,
        shard_count_log2: settings.shardCountLog2,
        replication_factor: settings.replicationFactor,
        parameters,
        members: members
            .into_iter()
            .map(|member| (member.id, member.weight, member.signing))
            .collect(),
        nodes,
    })
}

fn raw_node(node: INodeRegistry::Node) -> RawNode {
    let INodeRegistry::Node { status, description, .. } = node;
    RawNode {
        status,
        name: description.name,
        signing: description.signing,
        transport: description.transport.0,
        quic: description.quic,
        http: description.http,
        weight: description.weight,
    }
}

impl RawEpoch {
    /// What nodes compute with (TOP-005, TOP-007): members may be in committees, nodes that wait,
    /// prove themselves or leave are listed so that others serve them, and no other is.
    pub(crate) fn registry(
        self,
        deployment: &Deployment,
        payers: &Payers,
        opened_at: u64,
    ) -> Result<Registry, UnusableRegistry> {
        let shard_count = 1u16.checked_shl(self.shard_count_log2.into());
        let shard_count = shard_count.ok_or(UnusableRegistry::TooLarge("the number of shards"))?;
        let registry = Registry {
            genesis: deployment.genesis(),
            epoch: RegistryEpoch(self.epoch),
            shard_count,
            replication_factor: self.replication_factor.into(),
            period_ms: self.parameters.value(Parameter::PeriodMs),
            mailbox_buckets: narrow(&self.parameters, Parameter::MailboxBuckets)?,
            fees: fees(&self.parameters)?,
            nodes: self.node_records()?,
            payers: payers.records(opened_at, shard_count),
            edges: Vec::new(),
        };
        registry.validate()?;
        Ok(registry)
    }

    fn node_records(self) -> Result<Vec<NodeRecord>, UnusableRegistry> {
        let members: BTreeMap<u32, (u32, Address)> =
            self.members.into_iter().map(|(id, weight, signing)| (id, (weight, signing))).collect();
        let mut signers: BTreeSet<Address> =
            members.values().map(|(_, signing)| *signing).collect();
        let mut records = Vec::new();
        for (id, node) in self.nodes {
            let member = members.get(&id).copied();
            let is_served =
                [STATUS_PROBATION, STATUS_ACTIVE, STATUS_EXITING].contains(&node.status);
            // Two nodes with one key would be a fault of the contract; members go first.
            let is_listed = member.is_some() || (is_served && signers.insert(node.signing));
            if !is_listed {
                continue;
            }
            // Who leaves is not to be tried for a seat, and has no weight.
            let weight = if node.status == STATUS_EXITING { 0 } else { node.weight };
            let (weight, signing) = member.unwrap_or((weight, node.signing));
            records.push(NodeRecord {
                id: NodeId(id),
                name: node.name,
                signing: ethereum_address(signing),
                transport: PublicKey(node.transport),
                quic: node.quic,
                http: node.http,
                weight,
                active: member.is_some(),
            });
        }
        Ok(records)
    }
}

// The contract's enumeration `Status`.
pub(crate) const STATUS_PROBATION: u8 = 2;
const STATUS_ACTIVE: u8 = 3;
pub(crate) const STATUS_EXITING: u8 = 5;

fn fees(parameters: &Parameters) -> Result<FeeSchedule, UnusableRegistry> {
    Ok(FeeSchedule {
        base: PicoDollars(parameters.value(Parameter::FeeBase)),
        byte_day: PicoDollars(parameters.value(Parameter::FeeByteDay)),
        ordered_permille: narrow(parameters, Parameter::OrderedPermille)?,
        stamp_permille: narrow(parameters, Parameter::StampPermille)?,
        shares: FeeShares {
            originate_permille: narrow(parameters, Parameter::OriginateSharePermille)?,
            store_permille: narrow(parameters, Parameter::StoreSharePermille)?,
            order_permille: narrow(parameters, Parameter::OrderSharePermille)?,
        },
        congestion: CongestionRule {
            target_bytes: parameters.value(Parameter::CongestionTargetBytes),
            step_permille: narrow(parameters, Parameter::CongestionStepPermille)?,
            max_permille: narrow(parameters, Parameter::CongestionPermilleMax)?,
        },
    })
}

fn narrow(parameters: &Parameters, parameter: Parameter) -> Result<u32, UnusableRegistry> {
    let name = DEFINITIONS[parameter as usize].name;
    u32::try_from(parameters.value(parameter)).map_err(|_| UnusableRegistry::TooLarge(name))
}
