//! `tidings dm` and `tidings group`: beginning conversations and changing who takes part.

use std::collections::BTreeSet;

use anyhow::Result;
use clap::Subcommand;
use tidings_client::{
    Client, Consent, ConversationId, ConversationInfo, ConversationKind, GroupPolicy, Permission,
    Recipient,
};

use crate::conversation::{self, Named};
use crate::home::Home;
use crate::message;
use crate::output::{Output, aligned};
use crate::people::People;

/// What to do with a group.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Make a group; you are its first admin
    Create {
        /// Its name
        name: String,
        /// Addresses or inboxes of its members
        members: Vec<Recipient>,
        /// What it is about
        #[arg(long, default_value = "")]
        description: String,
        /// Only admins add members and change the name
        #[arg(long)]
        admins_only: bool,
    },
    /// Add people to a group, with all their installations
    Add {
        /// The group: its name, its id, or the beginning of its id
        group: String,
        /// Addresses or inboxes
        #[arg(required = true)]
        members: Vec<Recipient>,
    },
    /// Remove people from a group
    Remove {
        /// The group: its name, its id, or the beginning of its id
        group: String,
        /// Addresses or inboxes
        #[arg(required = true)]
        members: Vec<Recipient>,
    },
    /// Change a group's name or description
    Describe {
        /// The group: its name, its id, or the beginning of its id
        group: String,
        /// The new name
        #[arg(long, required_unless_present = "description")]
        name: Option<String>,
        /// The new description
        #[arg(long)]
        description: Option<String>,
    },
    /// Leave a group; another member's program lets you go
    Leave {
        /// The group: its name, its id, or the beginning of its id
        group: String,
    },
    /// List your groups
    List,
    /// Show a conversation in full: members, admins, rights
    Info {
        /// The conversation: its name, its id, or the beginning of its id
        group: String,
    },
}

/// Opens the conversation with one person, and says something if there is something to say.
///
/// # Errors
/// When nobody is found, or the network refuses.
pub async fn dm(peer: &Recipient, text: Option<&str>, home: &Home, output: Output) -> Result<()> {
    let client = home.open()?;
    message::catch_up(&client).await;
    let id = client.dm(peer).await?;
    match text {
        Some(text) => message::send_text(&client, id, text, output).await,
        None => named(id, "The conversation is", output),
    }
}

/// Does something with a group.
///
/// # Errors
/// When it is unknown, or the group or the network does not allow it.
pub async fn run(command: GroupCommand, home: &Home, output: Output) -> Result<()> {
    let client = home.open()?;
    message::catch_up(&client).await;
    match command {
        GroupCommand::Create { name, members, description, admins_only } => {
            let policy = if admins_only { GroupPolicy::ADMINS } else { GroupPolicy::OPEN };
            let id = client.group_create(&name, &description, policy, &members).await?;
            named(id, "The group is", output)
        }
        GroupCommand::Add { group, members } => {
            let id = conversation::find(&client, &group).await?;
            client.group_add(id, &members).await?;
            named(id, "They are members of", output)
        }
        GroupCommand::Remove { group, members } => {
            let id = conversation::find(&client, &group).await?;
            client.group_remove(id, &members).await?;
            named(id, "They are no members of", output)
        }
        GroupCommand::Describe { group, name, description } => {
            let id = conversation::find(&client, &group).await?;
            client.group_describe(id, name, description).await?;
            named(id, "All members see it in", output)
        }
        GroupCommand::Leave { group } => {
            let id = conversation::find(&client, &group).await?;
            client.group_leave(id).await?;
            named(id, "You asked to leave; the next member who is there lets you go from", output)
        }
        GroupCommand::List => {
            let mut groups = client.conversations()?;
            groups.retain(|it| it.kind == ConversationKind::Group);
            conversation::list(&client, groups, output).await
        }
        GroupCommand::Info { group } => {
            let id = conversation::find(&client, &group).await?;
            info(&client, id, output).await
        }
    }
}

/// Decides whether somebody is welcome, or says what was decided.
///
/// # Errors
/// When nobody is found.
pub async fn consent(
    who: &Recipient,
    decision: Option<Consent>,
    home: &Home,
    output: Output,
) -> Result<()> {
    let client = home.open()?;
    let inbox = match who {
        Recipient::Inbox(inbox) => *inbox,
        other => client.resolve(other).await?.inbox(),
    };
    if let Some(decision) = decision {
        client.set_consent(inbox, decision)?;
    }
    let consent = client.consent(inbox)?;
    let answer = serde_json::json!({ "inbox": inbox, "consent": consent });
    output.answer(&answer, |_| match consent {
        Consent::Unknown => format!("{inbox}: nothing is decided"),
        Consent::Allowed => format!("{inbox}: welcome"),
        Consent::Denied => format!("{inbox}: not welcome"),
    })
}

fn named(id: ConversationId, words: &str, output: Output) -> Result<()> {
    output.answer(&Named { conversation: id }, |_| format!("{words} {id}"))
}

async fn info(client: &Client, id: ConversationId, output: Output) -> Result<()> {
    let info = client.conversation(id).await?;
    let mut people = People::new(client.inbox_id()?);
    if !output.json {
        let members: BTreeSet<_> = info.members.keys().copied().collect();
        people.look_up(client, members).await;
    }
    output.answer(&info, |info| words(info, &people))
}

fn words(info: &ConversationInfo, people: &People) -> String {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        row("conversation", info.conversation.id.to_string()),
        row("name", conversation::title(&info.conversation, people)),
    ];
    if !info.description.is_empty() {
        rows.push(row("about", crate::output::printable(&info.description)));
    }
    for (inbox, installations) in &info.members {
        let mut remarks = Vec::new();
        if info.admins.contains(inbox) {
            remarks.push("admin".to_owned());
        }
        if info.leaving.contains(inbox) {
            remarks.push("leaving".to_owned());
        }
        remarks.push(format!("{} installations", installations.len()));
        let who = format!("{} ({inbox}; {})", people.name(*inbox), remarks.join(", "));
        rows.push(row("member", who));
    }
    rows.push(row("add", rights(info.may_add).to_owned()));
    rows.push(row("remove", rights(info.may_remove).to_owned()));
    rows.push(row("rename", rights(info.may_rename).to_owned()));
    rows.push(row("epoch", info.epoch.to_string()));
    rows.push(row("authenticator", info.authenticator.clone()));
    if let Some(reason) = &info.conversation.reason {
        rows.push(row("note", reason.clone()));
    }
    aligned(&rows)
}

fn rights(permission: Permission) -> &'static str {
    match permission {
        Permission::Members => "every member",
        Permission::Admins => "admins",
        Permission::Nobody => "nobody",
    }
}
