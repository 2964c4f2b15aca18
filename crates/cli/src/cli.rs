//! The command line's words.

use std::path::PathBuf;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use tidings_client::{Consent, Recipient};

use crate::output::Output;
use crate::{audit, chain, devnet, gateway, group, inbox, inspect, message, node, xmtp_edge};

/// The folder of an inbox below the user's data folder.
const HOME_DEFAULT: &str = "tidings";

/// Talk end-to-end encrypted, over a network that nobody owns.
#[derive(Debug, Parser)]
#[command(name = "tidings", version, about, propagate_version = true)]
pub struct Cli {
    /// The folder of your inbox [default: tidings in your data folder]
    #[arg(long, global = true, env = "TIDINGS_HOME", value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// A file with the passphrase of your inbox, instead of the key file in its folder, or of a backup
    #[arg(long, global = true, env = "TIDINGS_PASSPHRASE_FILE", value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Talk.
    #[command(flatten)]
    Talk(Talk),
    /// Run and look after a node
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Run and look after a payer gateway
    #[command(subcommand)]
    Gateway(gateway::GatewayCommand),
    /// Run a server for XMTP clients
    #[command(subcommand)]
    XmtpEdge(xmtp_edge::EdgeCommand),
    /// Put a network on a chain
    #[command(subcommand)]
    Chain(chain::ChainCommand),
    /// Join a network with a node and a bond, and leave it
    #[command(subcommand)]
    Operator(chain::OperatorCommand),
    /// Put money in for messages, and get it back
    #[command(subcommand)]
    Payer(chain::PayerCommand),
    /// Decide together what the network does
    #[command(subcommand)]
    Gov(chain::GovCommand),
    /// Lay out a network on this machine: keys, registry, configuration
    DevnetInit(devnet::DevnetInit),
    /// Decode any wire structure from a file, a URL or standard input
    Inspect(inspect::Inspect),
    /// Follow a node's logs and verify everything that it signed
    Audit(audit::Audit),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// What needs an inbox.
#[derive(Debug, Subcommand)]
pub enum Talk {
    /// Make an inbox, look at it, and say who belongs to it
    #[command(subcommand)]
    Inbox(inbox::InboxCommand),
    /// Open the conversation with somebody, and say something if you like
    Dm {
        /// An address or an inbox id
        peer: Recipient,
        /// What to say; - reads it from standard input
        text: Option<String>,
    },
    /// Make groups and change them
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Send a message to a conversation
    Send(message::Send),
    /// Read the messages of a conversation
    Read(message::ReadMessages),
    /// Print what happens as JSON, one event per line
    Listen(message::Listen),
    /// List your conversations
    Conversations {
        /// Show what is stored here, without asking the network
        #[arg(long)]
        offline: bool,
        /// Show those of people who are not welcome, too
        #[arg(long)]
        all: bool,
    },
    /// Talk on a terminal screen
    Chat {
        /// The conversation to begin with: its id, its name, or the person's address
        conversation: Option<String>,
    },
    /// Decide whether somebody is welcome
    Consent {
        /// An address or an inbox id
        who: Recipient,
        /// What you decide [default: says what you decided]
        decision: Option<Decision>,
    },
}

/// What to decide about somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Decision {
    /// Their conversations are welcome
    Allowed,
    /// Their conversations are not shown
    Denied,
    /// Nothing: their conversations are requests
    Unknown,
}

impl From<Decision> for Consent {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Allowed => Self::Allowed,
            Decision::Denied => Self::Denied,
            Decision::Unknown => Self::Unknown,
        }
    }
}

impl Cli {
    /// How to answer.
    #[must_use]
    pub fn output(&self) -> Output {
        Output { json: self.json }
    }

    /// The folder of the inbox: as given, else in the user's data folder.
    ///
    /// # Errors
    /// When it is not given and the user has no home folder.
    pub fn home_dir(&self) -> Result<PathBuf> {
        use anyhow::Context;
        if let Some(home) = &self.home {
            return Ok(home.clone());
        }
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let data = set("XDG_DATA_HOME").map(PathBuf::from);
        let user = || set("HOME").map(|user| PathBuf::from(user).join(".local/share"));
        let folder = data.or_else(user).context("you have no home folder; use --home DIR")?;
        Ok(folder.join(HOME_DEFAULT))
    }
}

/// Prints a script that completes this program's words.
///
/// # Errors
/// When standard output is closed.
pub fn completions(shell: Shell, output: Output) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tidings", &mut script);
    output.line(String::from_utf8_lossy(&script).trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_consistent() {
        Cli::command().debug_assert();
    }
}
