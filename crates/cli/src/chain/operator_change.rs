//! `tidings operator`: what a node says of itself, and its keys, changed while it runs.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use tidings_chain::contracts::NodeRegistry;
use tidings_chain::contracts::node_registry::INodeRegistry;
use tidings_chain::{Deployment, Endpoints, address, possession};
use tidings_types::ed25519::{PublicKey, SigningKey};
use tidings_types::node_key::NodeKey;

use super::account::Account;
use super::deed::{Deed, act};
use crate::output::Output;
use crate::secret_file;

/// What a node is to say of itself; what is left out stays.
#[derive(Debug, Args)]
#[group(id = "description", required = true, multiple = true, args = ["name", "http", "quic", "weight"])]
pub struct Update {
    #[command(flatten)]
    account: Account,
    /// The node's number
    node: u32,
    /// A short name for people
    #[arg(long)]
    name: Option<String>,
    /// Where clients connect, a base URL
    #[arg(long)]
    http: Option<String>,
    /// Where peers connect, host:port
    #[arg(long)]
    quic: Option<String>,
    /// The node's share in the choice of committees
    #[arg(long)]
    weight: Option<u32>,
}

/// A node's next signing key.
#[derive(Debug, Args)]
pub struct RotateSigning {
    #[command(flatten)]
    account: Account,
    /// The node's number
    node: u32,
    /// The file with the new secp256k1 key
    #[arg(long, value_name = "FILE")]
    signing_key_file: PathBuf,
}

/// A node's next transport key.
#[derive(Debug, Args)]
pub struct RotateTransport {
    #[command(flatten)]
    account: Account,
    /// The node's number
    node: u32,
    /// The file with the new Ed25519 key
    #[arg(long, value_name = "FILE")]
    transport_key_file: PathBuf,
}

/// Changes what a node says of itself.
///
/// # Errors
/// When the node is not the account's, or the contract refuses.
pub(super) async fn update(options: Update, output: Output) -> Result<()> {
    let Update { account, node, name, http, quic, weight } = options;
    let (deployment, now) = open(&account, node).await?;
    let description = now.description;
    let call = NodeRegistry::describeCall {
        id: node,
        name: name.unwrap_or(description.name),
        quic: quic.unwrap_or(description.quic),
        http: http.unwrap_or(description.http),
        weight: weight.unwrap_or(description.weight),
    };
    let words = format!(
        "let node {node} be “{}”, at {} and {}, with weight {}",
        call.name, call.http, call.quic, call.weight
    );
    act(&account, &deployment, vec![Deed::new(words, deployment.registry, &call)], output).await
}

/// Gives a node another signing key from the next epoch on.
///
/// # Errors
/// When the key cannot be read, the node is not the account's, or the contract refuses.
pub(super) async fn rotate_signing(options: RotateSigning, output: Output) -> Result<()> {
    let RotateSigning { account, node, signing_key_file } = options;
    let key = NodeKey::from_secret(&*secret_file::read(&signing_key_file)?)?;
    let (deployment, now) = open(&account, node).await?;
    let transport = PublicKey(now.description.transport.0);
    let network = deployment.genesis().network_id();
    let shown = possession(&key, account.key.address()?, &transport, network);
    let call = NodeRegistry::rotateSigningCall {
        id: node,
        signing: address(key.address()),
        possession: shown.0.to_vec().into(),
    };
    let words = format!(
        "let node {node} sign as {} from the next epoch on; it stays liable for the old key",
        key.address()
    );
    act(&account, &deployment, vec![Deed::new(words, deployment.registry, &call)], output).await
}

/// Gives a node another transport key, at once.
///
/// # Errors
/// When the key cannot be read, the node is not the account's, or the contract refuses.
pub(super) async fn rotate_transport(options: RotateTransport, output: Output) -> Result<()> {
    let RotateTransport { account, node, transport_key_file } = options;
    let key = SigningKey::from_secret(&*secret_file::read(&transport_key_file)?).public_key();
    let (deployment, _) = open(&account, node).await?;
    let call = NodeRegistry::rotateTransportCall { id: node, transport: key.0.into() };
    let words = format!("let node {node} have transport key {}", hex::encode(key.0));
    act(&account, &deployment, vec![Deed::new(words, deployment.registry, &call)], output).await
}

/// The contracts, and a node of the account as it stands.
async fn open(account: &Account, node: u32) -> Result<(Deployment, INodeRegistry::Node)> {
    let deployment = account.deployment().await?;
    let found = record(&deployment, &account.contracts.endpoints()?, node).await?;
    let me = account.key.address()?;
    ensure!(found.operator == address(me), "node {node} is not operated by {me}");
    Ok((deployment, found))
}

async fn record(
    deployment: &Deployment,
    endpoints: &Endpoints,
    node: u32,
) -> Result<INodeRegistry::Node> {
    let contract = address(deployment.registry);
    let ask = move |provider| async move {
        NodeRegistry::new(contract, provider).node(node).call().await
    };
    Ok(endpoints.agreed(ask).await?)
}
