//! A development network's chain: the contracts, and who has accounts there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_chain::contracts::node_registry::INodeRegistry;
use tidings_chain::contracts::{DevnetDollar, NodeRegistry, PayerVault, TidingsToken};
use tidings_chain::{
    Call, Deployment, Endpoints, FileJournal, Submitter, SubmitterConfig, Wallet, address,
    possession,
};
use tidings_envelope::registry::{NodeRecord, PayerRecord};
use tidings_types::node_key::NodeKey;
use tidings_types::{EthereumAddress, NetworkId};

use super::keys::KeySource;
use super::{DevnetInit, MAILBOX_NODES_MAX, replace};
use crate::chain::{Key, deploy_as_planned};
use crate::secret_file;

/// What every account has for gas, in wei: a thousand ether.
const GAS_MONEY: &str = "0x3635c9adc5dea00000";
/// What an operator has, in tokens: ten bonds by the first value of `BondMin`.
const OPERATOR_TOKENS: u64 = 1_000_000;
/// What a node's bond is, in tokens: the first value of `BondMin`.
const BOND_TOKENS: u64 = 100_000;
/// What the gateway's payer has in the vault, in dollars.
const DEPOSIT_DOLLARS: u64 = 1_000;
/// The most that the payer lets be taken for one period, on all shards together, in dollars.
const CAP_DOLLARS: u64 = 10;
/// When the gateway's session key expires, in seconds since 1970: the end of this century.
const SESSION_EXPIRES: u64 = 4_102_444_800;
/// The time between blocks once the network is there; until then each transaction makes one.
const BLOCK_SECONDS: u64 = 1;
/// How long one question to the chain may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A development chain with a network's contracts.
pub struct Chain {
    /// Where the chain is.
    pub rpc: String,
    /// The file that says where the contracts are.
    pub deployment_file: PathBuf,
    /// The contracts.
    pub deployment: Deployment,
    endpoints: Endpoints,
    http: reqwest::Client,
    deployer_key_file: PathBuf,
    shards: u16,
}

/// A node that is to join.
pub struct Joining<'a> {
    /// Its folder.
    pub folder: &'a Path,
    /// What is registered.
    pub record: &'a NodeRecord,
}

impl Chain {
    /// Puts the contracts on the chain at `rpc`, which must be an anvil; those that are there stay.
    /// All rights and all tokens are at first the deployer's.
    ///
    /// # Errors
    /// When the chain does not answer or is no development chain.
    pub async fn deploy(
        dir: &Path,
        options: &DevnetInit,
        source: &KeySource,
        rpc: &str,
    ) -> Result<Self> {
        let folder = dir.join("chain");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let endpoints = Endpoints::connect(&[rpc.to_owned()])?;
        let http = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        let deployer_key_file = folder.join("deployer.key");
        let deployer = account(&deployer_key_file, source, "devnet deployer", 0)?;
        let deployment_file = folder.join("deployment.json");
        endow(&http, rpc, deployer.address()).await?;
        if !deployment_file.exists() {
            let plan = folder.join("plan.toml");
            replace(&plan, &plan_text(options))?;
            // What a seed fixes; the deployment takes the salt that lies beside it.
            let salt = deployment_file.with_extension("salt");
            secret_file::read_or_create(&salt, || source.secret("devnet genesis salt", 0))?;
            let key = Key { key_file: deployer_key_file.clone(), confirmations: 0, dry_run: false };
            deploy_as_planned(endpoints.clone(), &key, Some(&plan), &deployment_file).await?;
        }
        let deployment = crate::chain::deployment(&deployment_file)?;
        Ok(Self {
            rpc: rpc.to_owned(),
            deployment_file,
            deployment,
            endpoints,
            http,
            deployer_key_file,
            shards: options.shards,
        })
    }

    /// Has all nodes join with operators and bonds, gives the payer money and a session key, and
    /// opens the first epoch. What was done before is not done again.
    ///
    /// # Errors
    /// When the chain or a contract refuses.
    pub async fn populate(
        &self,
        source: &KeySource,
        nodes: &[Joining<'_>],
        payer: &PayerRecord,
        payer_key_file: &Path,
    ) -> Result<()> {
        let on = &self.deployment;
        let journal = self.deployment_file.with_extension("journal");
        let mut deployer = self.actor(&self.deployer_key_file, journal)?;
        for (index, node) in (0u32..).zip(nodes) {
            self.join(&mut deployer, source, index, node).await?;
        }
        self.pay(payer, payer_key_file).await?;
        let open = NodeRegistry::advanceEpochCall {};
        act(&mut deployer, "first epoch", on.registry, &open).await?;
        // From now on the chain has blocks whether or not anything happens, as others do.
        tell(&self.http, &self.rpc, "evm_setIntervalMining", &json!([BLOCK_SECONDS])).await
    }

    /// Registers a node for an operator of its own, bonds it, and lets it in.
    async fn join(
        &self,
        deployer: &mut Submitter,
        source: &KeySource,
        id: u32,
        node: &Joining<'_>,
    ) -> Result<()> {
        let on = &self.deployment;
        let key_file = node.folder.join("operator.key");
        let wallet = account(&key_file, source, "devnet operator", id)?;
        endow(&self.http, &self.rpc, wallet.address()).await?;
        let give = TidingsToken::transferCall {
            to: address(wallet.address()),
            value: tokens(OPERATOR_TOKENS),
        };
        act(deployer, &format!("tokens of operator {id}"), on.token, &give).await?;

        let mut operator = self.actor(&key_file, node.folder.join("operator.journal"))?;
        let signing = NodeKey::from_secret(&*secret_file::read(&node.folder.join("signing.key"))?)?;
        let network = on.genesis().network_id();
        let call = registration(node.record, &signing, wallet.address(), network);
        act(&mut operator, "register", on.registry, &call).await?;
        let amount = tokens(BOND_TOKENS);
        let approve = TidingsToken::approveCall { spender: address(on.registry), value: amount };
        act(&mut operator, "approve the bond", on.token, &approve).await?;
        let bond = NodeRegistry::bondCall { id, amount };
        act(&mut operator, "bond", on.registry, &bond).await?;
        let admit = NodeRegistry::admitCall { id };
        act(deployer, &format!("admit node {id}"), on.registry, &admit).await?;
        let graduate = NodeRegistry::graduateCall { id };
        act(&mut operator, "graduate", on.registry, &graduate).await
    }

    async fn pay(&self, payer: &PayerRecord, key_file: &Path) -> Result<()> {
        let on = &self.deployment;
        endow(&self.http, &self.rpc, payer.address).await?;
        let mut submitter = self.actor(key_file, key_file.with_extension("journal"))?;
        ensure!(submitter.address() == payer.address, "{} is another payer's", key_file.display());
        let amount = U256::from(DEPOSIT_DOLLARS) * U256::from(1_000_000u64);
        let whose = address(payer.address);
        let mint = DevnetDollar::mintCall { to: whose, amount };
        act(&mut submitter, "mint", on.dollar, &mint).await?;
        let approve = DevnetDollar::approveCall { spender: address(on.vault), value: amount };
        act(&mut submitter, "approve the deposit", on.dollar, &approve).await?;
        let deposit = PayerVault::depositCall { payer: whose, amount };
        act(&mut submitter, "deposit", on.vault, &deposit).await?;
        for key in &payer.session_keys {
            let call =
                PayerVault::setSessionKeyCall { key: key.0.into(), expires: SESSION_EXPIRES };
            act(&mut submitter, &hex::encode(key.0), on.vault, &call).await?;
        }
        let cap = u128::from(CAP_DOLLARS * 1_000_000) / u128::from(self.shards.max(1));
        for shard in 0..self.shards {
            let call = PayerVault::setCapCall { shard, amount: cap };
            act(&mut submitter, &format!("cap {shard}"), on.vault, &call).await?;
        }
        Ok(())
    }

    /// How a program follows the chain, of which nothing is ever taken back; `deployment_file` is
    /// relative to its configuration.
    pub fn following(&self, deployment_file: &str) -> toml::Table {
        let mut table = toml::toml! {
            finality_depth = 0
            poll_ms = 500
        };
        table.insert("deployment_file".into(), deployment_file.into());
        table.insert("rpc".into(), vec![self.rpc.clone()].into());
        table
    }

    fn actor(&self, key_file: &Path, journal: PathBuf) -> Result<Submitter> {
        let wallet = Wallet::from_secret(&*secret_file::read(key_file)?)?;
        let config = SubmitterConfig { confirmations: 0, ..SubmitterConfig::default() };
        let journal = Box::new(FileJournal::new(journal));
        let chain_id = self.deployment.chain_id;
        Ok(Submitter::new(self.endpoints.clone(), chain_id, wallet, journal, config)?)
    }
}

/// Short times, so that people see things happen; what is voted waits longer than leaving takes.
fn plan_text(options: &DevnetInit) -> String {
    let parameters = [
        ("PeriodMs", options.period_ms),
        ("ShardCountLog2", u64::from(options.shards.trailing_zeros())),
        ("ReplicationFactor", options.replication.into()),
        ("MailboxBuckets", options.nodes.div_ceil(MAILBOX_NODES_MAX).into()),
        ("BondMin", BOND_TOKENS),
        ("EpochSeconds", 10),
        ("ChallengeSeconds", 10),
        ("ProbationSeconds", 0),
        ("JailSeconds", 30),
        ("WithdrawalSeconds", 60),
        ("UnbondingSeconds", 120),
        ("CapNoticePeriods", 1),
        // A laptop is busy now and then: only who is gone for a whole period is jailed.
        ("ReachabilityPermilleMin", 100),
        ("CadencePermilleMin", 100),
        ("AcknowledgementMsMax", 600_000),
        ("ServedPermilleMin", 0),
        ("CapWindowPeriods", 80),
        ("CongestionTargetBytes", options.busy_at),
    ];
    let mut text = "keeper_until = 4000000000\ntimelock_seconds = 150\n\
                    voting_delay_seconds = 10\nvoting_period_seconds = 60\n[parameters]\n"
        .to_owned();
    for (name, value) in parameters {
        text.push_str(&format!("{name} = {value}\n"));
    }
    text
}

fn registration(
    record: &NodeRecord,
    signing: &NodeKey,
    operator: EthereumAddress,
    network: NetworkId,
) -> NodeRegistry::registerCall {
    NodeRegistry::registerCall {
        description: INodeRegistry::Description {
            name: record.name.clone(),
            signing: address(record.signing),
            transport: record.transport.0.into(),
            quic: record.quic.clone(),
            http: record.http.clone(),
            weight: record.weight,
        },
        payout: address(operator),
        possession: possession(signing, operator, &record.transport, network).0.to_vec().into(),
    }
}

fn tokens(count: u64) -> U256 {
    U256::from(count) * U256::from(10u64.pow(18))
}

/// The account whose key is in the file at `path`, made if it is not there.
fn account(path: &Path, source: &KeySource, purpose: &str, index: u32) -> Result<Wallet> {
    let secret = secret_file::read_or_create(path, || source.secret(purpose, index))?;
    Ok(Wallet::from_secret(&secret)?)
}

async fn act<C: SolCall>(
    who: &mut Submitter,
    what: &str,
    to: EthereumAddress,
    call: &C,
) -> Result<()> {
    let call = Call::new(what, to, call.abi_encode());
    who.submit(&call).await.with_context(|| format!("{what}, by {}", who.address()))?;
    Ok(())
}

async fn endow(http: &reqwest::Client, rpc: &str, account: EthereumAddress) -> Result<()> {
    tell(http, rpc, "anvil_setBalance", &json!([account.to_string(), GAS_MONEY])).await
}

/// Tells the chain something that only development chains listen to.
async fn tell(http: &reqwest::Client, rpc: &str, method: &str, parameters: &Value) -> Result<()> {
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters });
    let answer = http.post(rpc).json(&call).send().await.context("the chain does not answer")?;
    let answer: Value = answer.json().await.context("the chain does not answer in JSON")?;
    ensure!(
        answer.get("error").is_none_or(Value::is_null),
        "a devnet needs an anvil; this chain says of {method}: {}",
        answer["error"]["message"]
    );
    Ok(())
}
