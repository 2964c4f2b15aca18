//! Where a network's contracts are.

use alloy::eips::BlockId;
use alloy::primitives::Address;
use alloy::providers::Provider;
use serde::{Deserialize, Serialize};
use tidings_types::{EthereumAddress, Genesis, GenesisSalt};

use crate::contracts::{EvidenceCourt, NodeRegistry, PayerVault, UsageSettlement};
use crate::{ChainError, Endpoints, address};

/// The contracts of a network on its settlement chain, as a file names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// EIP-155 id of the chain.
    pub chain_id: u64,
    /// Tells apart networks that share chain and registry.
    pub salt: GenesisSalt,
    /// The block from which on there is something to read.
    pub first_block: u64,
    /// `NodeRegistry`, which the network's id binds.
    pub registry: EthereumAddress,
    /// `NetworkParameters`.
    pub parameters: EthereumAddress,
    /// `PayerVault`.
    pub vault: EthereumAddress,
    /// `UsageSettlement`.
    pub settlement: EthereumAddress,
    /// `EvidenceCourt`.
    pub court: EthereumAddress,
    /// `TidingsToken`, of which bonds and votes are made.
    pub token: EthereumAddress,
    /// What payers deposit: a token with six decimals.
    pub dollar: EthereumAddress,
    /// `TidingsGovernor`.
    pub governor: EthereumAddress,
    /// `TidingsTimelock`.
    pub timelock: EthereumAddress,
    /// `AccessManager`.
    pub access: EthereumAddress,
    /// `Guardian`.
    pub guardian: EthereumAddress,
}

/// The contracts on the chain are not those of the file.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentMismatch {
    /// The chain could not be asked.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Something differs.
    #[error("{what} is {found} on the chain, and {expected} in the deployment's file")]
    Differs {
        /// What differs.
        what: &'static str,
        /// As the file has it.
        expected: String,
        /// As the chain has it.
        found: String,
    },
}

impl Deployment {
    /// What the network's id hashes.
    #[must_use]
    pub fn genesis(&self) -> Genesis {
        Genesis { chain_id: self.chain_id, registry: self.registry, salt: self.salt }
    }

    /// Checks that the chain has these contracts, and that they know each other (ENC-005).
    ///
    /// # Errors
    /// [`DeploymentMismatch`] names the first difference.
    pub async fn check(&self, endpoints: &Endpoints) -> Result<(), DeploymentMismatch> {
        let this = *self;
        let found = endpoints
            .agreed(move |provider| async move {
                let block = BlockId::latest();
                let registry = NodeRegistry::new(address(this.registry), &provider);
                let vault = PayerVault::new(address(this.vault), &provider);
                let settlement = UsageSettlement::new(address(this.settlement), &provider);
                let court = EvidenceCourt::new(address(this.court), &provider);
                let chain_id = provider.get_chain_id().await.map_err(|error| error.to_string())?;
                let failed = |error: alloy::contract::Error| error.to_string();
                Ok::<_, String>(Found {
                    chain_id,
                    network: registry.networkId().block(block).call().await.map_err(failed)?.0,
                    parameters: registry.parameters().block(block).call().await.map_err(failed)?,
                    token: registry.token().block(block).call().await.map_err(failed)?,
                    dollar: vault.token().block(block).call().await.map_err(failed)?,
                    settlement: vault.settlement().block(block).call().await.map_err(failed)?,
                    settled: settlement.registry().block(block).call().await.map_err(failed)?,
                    judged: court.registry().block(block).call().await.map_err(failed)?,
                })
            })
            .await?;
        self.compare(&found)
    }

    fn compare(&self, found: &Found) -> Result<(), DeploymentMismatch> {
        let network = hex::encode(self.genesis().network_id().0);
        same("the chain's id", &self.chain_id.to_string(), &found.chain_id.to_string())?;
        same("the network's id", &network, &hex::encode(found.network))?;
        for (what, expected, found) in [
            ("the registry's parameters", self.parameters, found.parameters),
            ("the registry's token", self.token, found.token),
            ("the vault's token", self.dollar, found.dollar),
            ("the vault's settlement", self.settlement, found.settlement),
            ("the settlement's registry", self.registry, found.settled),
            ("the court's registry", self.registry, found.judged),
        ] {
            same(what, &address(expected).to_string(), &found.to_string())?;
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    chain_id: u64,
    network: [u8; 32],
    parameters: Address,
    token: Address,
    dollar: Address,
    settlement: Address,
    settled: Address,
    judged: Address,
}

fn same(what: &'static str, expected: &str, found: &str) -> Result<(), DeploymentMismatch> {
    if expected == found {
        return Ok(());
    }
    Err(DeploymentMismatch::Differs { what, expected: expected.into(), found: found.into() })
}
