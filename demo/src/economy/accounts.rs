//! What the contracts say of money, and who was convicted.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use alloy_primitives::U256;
use alloy_sol_types::SolEvent;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_chain::contracts::evidence_court::EvidenceCourt;
use tidings_chain::contracts::node_registry::NodeRegistry;
use tidings_chain::contracts::{DevnetDollar, PayerVault, UsageSettlement};
use tidings_chain::{Deployment, Endpoints, address, ethereum_address};
use tidings_types::{EthereumAddress, NodeId, PicoDollarsTotal};

use super::purse::{Share, Statement};
use crate::anvil::Anvil;
use crate::stage::Stage;

/// The number under which the protocol is paid.
const PROTOCOL: NodeId = NodeId(u32::MAX);

/// The only shard of the network.
const SHARD: u16 = 0;

/// The contracts, and commands on them.
pub(super) struct Accounts {
    program: PathBuf,
    pub(super) anvil: Anvil,
    pub(super) deployment_file: PathBuf,
    deployment: Deployment,
    endpoints: Endpoints,
    payer: EthereumAddress,
    /// Who deployed the contracts: the council of a network that begins.
    pub(super) founder: PathBuf,
}

/// A node lost its bond.
pub(super) struct Conviction {
    pub(super) transaction: String,
    pub(super) reporter: EthereumAddress,
    pub(super) taken: U256,
    pub(super) bounty: U256,
}

impl Accounts {
    /// Those of the network on the stage.
    ///
    /// # Errors
    /// When it is on no chain.
    pub(super) fn open(stage: &Stage) -> Result<Self> {
        let (url, deployment_file) = stage.chain()?;
        let deployment: Deployment =
            serde_json::from_str(&std::fs::read_to_string(&deployment_file)?)?;
        Ok(Self {
            program: stage.program(),
            endpoints: Endpoints::connect(std::slice::from_ref(&url))?,
            founder: deployment_file.with_file_name("deployer.key"),
            payer: stage.registry()?.payers.first().context("nobody pays")?.address,
            anvil: Anvil::at(&url)?,
            deployment_file,
            deployment,
        })
    }

    /// Where all money was one block ago: while the next one is made, what the EVM node says of
    /// the newest is partly of the next.
    ///
    /// # Errors
    /// When the chain does not answer.
    pub(super) async fn statement(&self) -> Result<Statement> {
        let (deployment, payer) = (self.deployment, self.payer);
        let block = self.endpoints.height().await?.saturating_sub(1).into();
        let found = self.endpoints.agreed(move |provider| async move {
            let vault = PayerVault::new(address(deployment.vault), &provider);
            let settlement = UsageSettlement::new(address(deployment.settlement), &provider);
            let registry = NodeRegistry::new(address(deployment.registry), &provider);
            let dollar = DevnetDollar::new(address(deployment.dollar), &provider);
            let reports = settlement.reportCount(SHARD).block(block).call().await?;
            let billed = match reports.checked_sub(U256::from(1)) {
                None => PicoDollarsTotal(0),
                Some(last) => {
                    let record = settlement.reportAt(SHARD, last).block(block).call().await?;
                    PicoDollarsTotal(record.billed)
                }
            };
            let nodes = registry.nodeCount().block(block).call().await?;
            let mut shares = Vec::new();
            for node in (0..nodes).map(NodeId).chain([PROTOCOL]) {
                let paid = settlement.paidOf(SHARD, node.0).block(block).call().await?;
                let name = match node {
                    PROTOCOL => "the protocol".to_owned(),
                    node => registry.node(node.0).block(block).call().await?.description.name,
                };
                shares.push(Share { name, paid: paid.saturating_to() });
            }
            let pool = vault.poolOf(address(deployment.settlement), SHARD);
            Ok::<_, tidings_chain::ContractError>(Statement {
                balance: vault.balanceOf(address(payer)).block(block).call().await?.saturating_to(),
                collected: settlement.collectedOf(SHARD).block(block).call().await?.saturating_to(),
                billed,
                pool: pool.block(block).call().await?.saturating_to(),
                held: dollar
                    .balanceOf(address(deployment.vault))
                    .block(block)
                    .call()
                    .await?
                    .saturating_to(),
                minted: dollar.totalSupply().block(block).call().await?.saturating_to(),
                reports: reports.saturating_to(),
                shares,
            })
        });
        Ok(found.await?)
    }

    /// The conviction of a node, if the court has convicted it.
    ///
    /// # Errors
    /// When the chain does not answer.
    pub(super) async fn conviction(&self, node: NodeId) -> Result<Option<Conviction>> {
        let convicted =
            self.events(self.deployment.court, EvidenceCourt::Convicted::SIGNATURE_HASH, node);
        let Some(event) = convicted.await? else { return Ok(None) };
        let slashed =
            self.events(self.deployment.registry, NodeRegistry::Slashed::SIGNATURE_HASH, node);
        let slashed = slashed.await?.context("a conviction takes a bond")?;
        let word = |event: &Value, place: usize| -> Result<U256> {
            let data = event["data"].as_str().unwrap_or_default().trim_start_matches("0x");
            let word = data.get(place * 64..place * 64 + 64).context("an event is too short")?;
            Ok(U256::from_str_radix(word, 16)?)
        };
        let reporter = word(&event, 0)?.to_be_bytes::<32>();
        let tokens = U256::from(10u64.pow(18));
        Ok(Some(Conviction {
            transaction: event["transactionHash"].as_str().unwrap_or_default().to_owned(),
            reporter: ethereum_address(alloy_primitives::Address::from_slice(&reporter[12..])),
            taken: word(&slashed, 0)? / tokens,
            bounty: word(&slashed, 1)? / tokens,
        }))
    }

    async fn events(
        &self,
        contract: EthereumAddress,
        kind: alloy_primitives::B256,
        node: NodeId,
    ) -> Result<Option<Value>> {
        let node = format!("0x{:064x}", node.0);
        let filter = json!([{
            "address": contract.to_string(), "fromBlock": "0x0", "topics": [kind.to_string(), node],
        }]);
        let found = self.anvil.tell("eth_getLogs", &filter).await?;
        Ok(found.as_array().and_then(|events| events.first().cloned()))
    }

    /// Has somebody with a key give a command, shows both it and the answer.
    ///
    /// # Errors
    /// What the program says when it fails.
    pub(super) fn act(&self, key_file: &std::path::Path, words: &[&str]) -> Result<()> {
        println!("    $ tidings {}", words.join(" "));
        let mut command = Command::new(&self.program);
        command.args(words).args(["--rpc", &self.anvil.url, "--confirmations", "0"]);
        command.arg("--deployment").arg(&self.deployment_file).arg("--key-file").arg(key_file);
        let output = command.stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            println!("      {line}");
        }
        Ok(())
    }

    /// The contracts.
    pub(super) fn deployment(&self) -> &Deployment {
        &self.deployment
    }
}
