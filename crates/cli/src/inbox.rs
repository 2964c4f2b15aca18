//! `tidings inbox`: make an inbox, look at it, let wallets in and put members out.

mod signing;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;
use tidings_client::{AssociationState, Client, Member, Recipient};
use tidings_types::EthereumAddress;

use crate::failure::UsageError;
use crate::home::{Home, Network};
use crate::output::{Output, aligned};
use signing::{Signing, Step};

/// What to do with an inbox.
#[derive(Debug, Subcommand)]
pub enum InboxCommand {
    /// Make an inbox, with a wallet made here or your own
    Create(Create),
    /// Show your inbox, or somebody's
    Show {
        /// An address or an inbox id [default: yours]
        who: Option<Recipient>,
    },
    /// Add a wallet to your inbox; it has to sign
    AddWallet {
        /// The wallet's address
        address: EthereumAddress,
        /// How the wallet signs.
        #[command(flatten)]
        signing: Signing,
    },
    /// Put a member, and all that it added, out of your inbox; the recovery wallet has to sign
    Revoke {
        /// An address, or installation:…
        member: Member,
        /// How the wallet signs.
        #[command(flatten)]
        signing: Signing,
    },
    /// Hand in the signature that a wallet made for the change that waits
    Sign {
        /// The signature, 65 bytes in hex
        signature: String,
        /// The wallet signed the text, not the typed data
        #[arg(long)]
        text: bool,
    },
}

/// How to make an inbox.
#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    network: Network,
    /// Talk to this node first: its number or its name
    #[arg(long)]
    node: Option<String>,
    /// Your wallet's address; prints what the wallet has to sign [default: a wallet made here]
    #[arg(long, value_name = "ADDRESS")]
    wallet_address: Option<EthereumAddress>,
    /// Tells apart the inboxes of one wallet
    #[arg(long, default_value_t = 0, requires = "wallet_address")]
    nonce: u64,
    #[command(flatten)]
    signing: Signing,
}

/// An inbox as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    inbox: String,
    sequence: u64,
    recovery: Member,
    members: Vec<ShownMember>,
    /// Of this installation, when the inbox is ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    own: Option<Own>,
}

#[derive(Debug, Serialize)]
struct ShownMember {
    member: Member,
    added_by: Member,
    added_at: u64,
}

#[derive(Debug, Serialize)]
struct Own {
    address: Option<String>,
    installation: String,
    network: String,
    home: std::path::PathBuf,
}

/// Does it.
///
/// # Errors
/// When the store cannot be opened, a signature does not fit, or the network refuses.
pub async fn run(command: InboxCommand, home: &Home, output: Output) -> Result<()> {
    match command {
        InboxCommand::Create(options) => create(options, home, output).await,
        InboxCommand::Show { who } => show(who, home, output).await,
        InboxCommand::AddWallet { address, signing } => {
            let client = home.open()?;
            let draft = match signing.waits_for_signature() {
                true => client.draft_add_account(address).await?,
                false => client.kept_draft().await?,
            };
            finish(signing.carry_on(&client, draft, output).await?, &client, home, output)
        }
        InboxCommand::Revoke { member, signing } => {
            let client = home.open()?;
            let draft = match signing.waits_for_signature() {
                true => client.draft_revoke(member).await?,
                false => client.kept_draft().await?,
            };
            finish(signing.carry_on(&client, draft, output).await?, &client, home, output)
        }
        InboxCommand::Sign { signature, text } => {
            let client = home.open()?;
            let draft = client.kept_draft().await?;
            let signing = Signing::with_signature(signature, text);
            finish(signing.carry_on(&client, draft, output).await?, &client, home, output)
        }
    }
}

async fn create(options: Create, home: &Home, output: Output) -> Result<()> {
    let client = home.open_or_create(&options.network).await?;
    if let Some(node) = &options.node {
        client.prefer_node(Some(find_node(&client, node)?))?;
    }
    let step = match options.wallet_address {
        None => {
            if let Some(wallet) = options.signing.local_wallet()? {
                client.keep_wallet(&wallet)?;
            }
            Step::Done(Box::new(client.create_inbox().await?))
        }
        Some(address) => {
            let draft = match options.signing.waits_for_signature() {
                true => client.draft_inbox(address, options.nonce)?,
                false => client.kept_draft().await?,
            };
            options.signing.carry_on(&client, draft, output).await?
        }
    };
    finish(step, &client, home, output)
}

fn find_node(client: &Client, wanted: &str) -> Result<tidings_types::NodeId> {
    let nodes = client.nodes();
    let found = nodes.iter().find(|(id, name, _)| id.to_string() == wanted || name == wanted);
    match found {
        Some((id, ..)) => Ok(*id),
        None => {
            let names: Vec<_> = nodes.into_iter().map(|(_, name, _)| name).collect();
            let text = format!("there is no node {wanted}; there are {}", names.join(", "));
            Err(UsageError(text).into())
        }
    }
}

fn finish(step: Step, client: &Client, home: &Home, output: Output) -> Result<()> {
    match step {
        Step::Waits => Ok(()),
        Step::Done(state) => print(&state, client, home, output),
    }
}

async fn show(who: Option<Recipient>, home: &Home, output: Output) -> Result<()> {
    let client = home.open()?;
    let own = client.inbox_id()?.map(Recipient::Inbox);
    let who = who.or(own).ok_or(tidings_client::CallerError::NoInbox)?;
    let state = client.resolve(&who).await?;
    print(&state, &client, home, output)
}

fn print(state: &AssociationState, client: &Client, home: &Home, output: Output) -> Result<()> {
    let is_ours = client.inbox_id()? == Some(state.inbox());
    let members = state.members().map(|(member, info)| ShownMember {
        member: *member,
        added_by: info.added_by,
        added_at: info.added_at.0,
    });
    let own = match is_ours {
        true => Some(Own {
            address: account(state).map(|address| address.to_string()),
            installation: client.installation().to_string(),
            network: client.network().to_string(),
            home: home.dir.clone(),
        }),
        false => None,
    };
    let shown = Shown {
        inbox: state.inbox().to_string(),
        sequence: state.sequence().0,
        recovery: state.recovery(),
        members: members.collect(),
        own,
    };
    output.answer(&shown, words)
}

/// The account under which others find the inbox: the first that has not left.
fn account(state: &AssociationState) -> Option<EthereumAddress> {
    let accounts = state.members().filter_map(|(member, info)| match member {
        Member::EthereumAccount(address) => Some((info.added_at, *address)),
        _ => None,
    });
    accounts.min().map(|(_, address)| address)
}

fn words(shown: &Shown) -> String {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![row("inbox", shown.inbox.clone())];
    if let Some(own) = &shown.own {
        rows.extend(own.address.clone().map(|address| row("address", address)));
        rows.push(row("installation", own.installation.clone()));
        rows.push(row("network", own.network.clone()));
        rows.push(row("home", own.home.display().to_string()));
    }
    rows.push(row("recovery", shown.recovery.to_string()));
    rows.push(row("updates", (shown.sequence + 1).to_string()));
    for member in &shown.members {
        rows.push(row("member", member.member.to_string()));
    }
    aligned(&rows)
}
