//! `tidings operator`: joining a network with a node and a bond, and leaving it.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;
use tidings_chain::contracts::node_registry::INodeRegistry;
use tidings_chain::contracts::{NodeRegistry, TidingsToken};
use tidings_chain::{Deployment, Endpoints, address, ethereum_address, possession};
use tidings_types::EthereumAddress;
use tidings_types::ed25519::SigningKey;
use tidings_types::node_key::NodeKey;

use super::account::{Account, Contracts};
use super::amount::{Amount, Tokens};
use super::deed::{Deed, Done, act, in_words, perform};
use super::operator_change::{self, RotateSigning, RotateTransport, Update};
use super::operator_claim::{self, Claim, EarningsOf};
use crate::output::Output;
use crate::secret_file;

/// What an operator does.
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Register a node, and get its number
    Register(Register),
    /// Add to a node's bond
    Bond {
        /// How to reach the chain, and who acts.
        #[command(flatten)]
        account: Account,
        /// The node's number
        node: u32,
        /// How many tokens
        amount: Tokens,
    },
    /// Let a candidate into probation, as the council, or in the last phase as anybody
    Admit(Numbered),
    /// Make a node active whose probation is over
    Graduate(Numbered),
    /// Open the next epoch of the registry; anybody may once the current one has lasted
    AdvanceEpoch {
        /// How to reach the chain, and who acts.
        #[command(flatten)]
        account: Account,
    },
    /// Change what a node says of itself
    Update(Update),
    /// Set who is paid for a node
    SetPayout {
        /// How to reach the chain, and who acts.
        #[command(flatten)]
        account: Account,
        /// The node's number
        node: u32,
        /// Who is paid from now on
        payout: EthereumAddress,
    },
    /// Give a node another signing key, from the next epoch on
    RotateSigning(RotateSigning),
    /// Give a node another transport key, at once
    RotateTransport(RotateTransport),
    /// End a node's time in jail, once it has lasted
    Release(Numbered),
    /// Begin to leave with a node
    Exit(Numbered),
    /// Get a node's bond back once it has left long enough ago
    WithdrawBond(Numbered),
    /// Claim what a node earned, as far as it is collected
    Claim(Claim),
    /// Say what a node earned, by shard, as reports have it that the contract has accepted
    Earnings(EarningsOf),
    /// Say how a node stands
    Status {
        /// The contracts.
        #[command(flatten)]
        contracts: Contracts,
        /// The node's number [default: all nodes]
        node: Option<u32>,
    },
}

/// A node to register.
#[derive(Debug, Args)]
pub struct Register {
    #[command(flatten)]
    account: Account,
    /// A short name for people
    #[arg(long)]
    name: String,
    /// The file with the node's secp256k1 key
    #[arg(long, value_name = "FILE")]
    signing_key_file: PathBuf,
    /// The file with the node's Ed25519 key
    #[arg(long, value_name = "FILE")]
    transport_key_file: PathBuf,
    /// Where peers connect, host:port
    #[arg(long)]
    quic: String,
    /// Where clients connect, a base URL
    #[arg(long)]
    http: String,
    /// The node's share in the choice of committees
    #[arg(long, default_value_t = 1)]
    weight: u32,
    /// Who is paid [default: the account]
    #[arg(long)]
    payout: Option<EthereumAddress>,
}

/// A node that is registered.
#[derive(Debug, Args)]
pub struct Numbered {
    #[command(flatten)]
    account: Account,
    /// The node's number
    node: u32,
}

/// Does it.
///
/// # Errors
/// When the chain or a contract refuses.
pub async fn run(command: OperatorCommand, output: Output) -> Result<()> {
    match command {
        OperatorCommand::Register(options) => register(options, output).await,
        OperatorCommand::Bond { account, node, amount } => {
            let deployment = account.deployment().await?;
            let deeds = bond(&deployment, node, amount);
            act(&account, &deployment, deeds, output).await
        }
        OperatorCommand::Admit(it) => {
            let words = format!("let node {} into probation", it.node);
            on_registry(&it.account, words, &NodeRegistry::admitCall { id: it.node }, output).await
        }
        OperatorCommand::Graduate(it) => {
            let words = format!("make node {} active", it.node);
            let call = NodeRegistry::graduateCall { id: it.node };
            on_registry(&it.account, words, &call, output).await
        }
        OperatorCommand::AdvanceEpoch { account } => {
            let words = "open the next epoch of the registry".to_owned();
            on_registry(&account, words, &NodeRegistry::advanceEpochCall {}, output).await
        }
        OperatorCommand::Update(options) => operator_change::update(options, output).await,
        OperatorCommand::SetPayout { account, node, payout } => {
            let words = format!("let {payout} be paid for node {node}");
            let call = NodeRegistry::setPayoutCall { id: node, payout: address(payout) };
            on_registry(&account, words, &call, output).await
        }
        OperatorCommand::RotateSigning(options) => {
            operator_change::rotate_signing(options, output).await
        }
        OperatorCommand::RotateTransport(options) => {
            operator_change::rotate_transport(options, output).await
        }
        OperatorCommand::Release(it) => {
            let words = format!("let node {} out of jail, back into probation", it.node);
            let call = NodeRegistry::releaseCall { id: it.node };
            on_registry(&it.account, words, &call, output).await
        }
        OperatorCommand::Exit(it) => {
            let words = format!("begin to leave with node {}", it.node);
            on_registry(&it.account, words, &NodeRegistry::exitCall { id: it.node }, output).await
        }
        OperatorCommand::WithdrawBond(it) => {
            let words = format!("get the bond of node {} back", it.node);
            let call = NodeRegistry::withdrawBondCall { id: it.node };
            on_registry(&it.account, words, &call, output).await
        }
        OperatorCommand::Claim(options) => operator_claim::claim(options, output).await,
        OperatorCommand::Earnings(options) => operator_claim::earnings(options, output).await,
        OperatorCommand::Status { contracts, node } => {
            let deployment = contracts.deployment()?;
            let found = standing(&deployment, &contracts.endpoints()?, node).await?;
            output.answer(&found, |found| found.iter().map(words).collect::<Vec<_>>().join("\n"))
        }
    }
}

async fn on_registry<C: alloy_sol_types::SolCall>(
    account: &Account,
    words: String,
    call: &C,
    output: Output,
) -> Result<()> {
    let deployment = account.deployment().await?;
    let deed = Deed::new(words, deployment.registry, call);
    act(account, &deployment, vec![deed], output).await
}

async fn register(options: Register, output: Output) -> Result<()> {
    let Register { account, name, quic, http, weight, payout, .. } = &options;
    let deployment = account.deployment().await?;
    let operator = account.key.address()?;
    let signing = NodeKey::from_secret(&*secret_file::read(&options.signing_key_file)?)?;
    let transport = secret_file::read(&options.transport_key_file)?;
    let transport = SigningKey::from_secret(&transport).public_key();
    let network = deployment.genesis().network_id();
    let call = NodeRegistry::registerCall {
        description: INodeRegistry::Description {
            name: name.clone(),
            signing: address(signing.address()),
            transport: transport.0.into(),
            quic: quic.clone(),
            http: http.clone(),
            weight: *weight,
        },
        payout: address(payout.unwrap_or(operator)),
        possession: possession(&signing, operator, &transport, network).0.to_vec().into(),
    };
    let words = format!(
        "register node “{name}” of operator {operator}, which signs as {}",
        signing.address()
    );
    let deed = Deed::new(words, deployment.registry, &call);
    let done = perform(account, &deployment, vec![deed]).await?;
    let nodes = standing(&deployment, &account.contracts.endpoints()?, None).await?;
    let node = nodes.iter().find(|node| node.signing == signing.address()).map(|node| node.node);
    output.answer(&Registered { node, done }, |registered| {
        let done = in_words(&registered.done);
        match registered.node {
            Some(node) => format!("{done}\nThe node has number {node}."),
            None => done,
        }
    })
}

/// What became of a registration.
#[derive(Debug, Serialize)]
struct Registered {
    /// The node's number; none after a dry run.
    node: Option<u32>,
    done: Vec<Done>,
}

fn bond(deployment: &Deployment, node: u32, amount: Tokens) -> Vec<Deed> {
    let registry = address(deployment.registry);
    let approve = TidingsToken::approveCall { spender: registry, value: amount.0 };
    let bond = NodeRegistry::bondCall { id: node, amount: amount.0 };
    vec![
        Deed::new(format!("let the registry take {amount} tokens"), deployment.token, &approve),
        Deed::new(
            format!("add {amount} tokens to the bond of node {node}"),
            deployment.registry,
            &bond,
        ),
    ]
}

/// A node as it stands on the chain.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Standing {
    node: u32,
    name: String,
    operator: EthereumAddress,
    payout: EthereumAddress,
    status: &'static str,
    bond_tokens: String,
    signing: EthereumAddress,
    quic: String,
    http: String,
    weight: u32,
}

// As the contract numbers them.
const STATUSES: [&str; 7] =
    ["none", "candidate", "probation", "active", "jailed", "exiting", "gone"];

async fn standing(
    deployment: &Deployment,
    endpoints: &Endpoints,
    node: Option<u32>,
) -> Result<Vec<Standing>> {
    let contract = address(deployment.registry);
    let found = endpoints
        .agreed(move |provider| async move {
            let registry = NodeRegistry::new(contract, provider);
            let ids = match node {
                Some(id) => id..id.saturating_add(1),
                None => 0..registry.nodeCount().call().await?,
            };
            let mut found = Vec::new();
            for id in ids {
                found.push((id, registry.node(id).call().await?));
            }
            Ok::<_, tidings_chain::ContractError>(found)
        })
        .await?;
    Ok(found.into_iter().map(|(id, node)| describe(id, node)).collect())
}

fn describe(node: u32, found: INodeRegistry::Node) -> Standing {
    let INodeRegistry::Node { operator, payout, status, bond, description, .. } = found;
    Standing {
        node,
        name: description.name,
        operator: ethereum_address(operator),
        payout: ethereum_address(payout),
        status: STATUSES.get(usize::from(status)).copied().unwrap_or("unknown"),
        bond_tokens: Amount::<18>(alloy_primitives::U256::from(bond)).to_string(),
        signing: ethereum_address(description.signing),
        quic: description.quic,
        http: description.http,
        weight: description.weight,
    }
}

fn words(it: &Standing) -> String {
    format!(
        "node {} “{}” is {}, with a bond of {} tokens; {} {}; operator {}",
        it.node, it.name, it.status, it.bond_tokens, it.http, it.quic, it.operator
    )
}
