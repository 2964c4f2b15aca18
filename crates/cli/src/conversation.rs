//! Conversations on the command line: naming one, listing all.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow, bail};
use serde::Serialize;
use tidings_client::{
    Client, Consent, Conversation, ConversationId, ConversationKind, ConversationState, Recipient,
};

use crate::output::{Output, aligned, printable};
use crate::people::{People, shortened};

/// The fewest digits that name a conversation.
const PREFIX_MIN: usize = 4;

/// The conversation that a word means: its id or the beginning of it, a group's name, or the
/// address or inbox of the person at the other end.
///
/// # Errors
/// When none or several are meant.
pub async fn find(client: &Client, word: &str) -> Result<ConversationId> {
    let conversations = client.conversations()?;
    if let Some(id) = among(&conversations, word)? {
        return Ok(id);
    }
    let unknown = || {
        anyhow!(
            "there is no conversation {word}; `tidings conversations` lists them, `tidings dm` begins one"
        )
    };
    let recipient: Recipient = word.parse().map_err(|_| unknown())?;
    let peer = match &recipient {
        Recipient::Inbox(inbox) => *inbox,
        other => client.resolve(other).await?.inbox(),
    };
    let dm =
        conversations.iter().find(|it| it.kind == ConversationKind::Dm && it.peer == Some(peer));
    dm.map(|it| it.id).ok_or_else(unknown)
}

/// The conversation with this id, beginning of an id, or name.
fn among(conversations: &[Conversation], word: &str) -> Result<Option<ConversationId>> {
    if let Some(exact) = conversations.iter().find(|it| it.id.to_string() == word) {
        return Ok(Some(exact.id));
    }
    let named = |it: &&Conversation| !it.name.is_empty() && it.name == word;
    let begins =
        |it: &&Conversation| word.len() >= PREFIX_MIN && it.id.to_string().starts_with(word);
    let mut found: Vec<_> = conversations.iter().filter(named).collect();
    if found.is_empty() {
        found = conversations.iter().filter(begins).collect();
    }
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.id)),
        several => {
            let ids: Vec<_> = several.iter().map(|it| it.id.to_string()).collect();
            bail!("{word} may mean any of {}; use more digits of the id", ids.join(", "))
        }
    }
}

/// Takes writing to a conversation for a welcome to whoever began it.
///
/// # Errors
/// When the store fails.
pub fn accept(client: &Client, id: ConversationId) -> Result<()> {
    let conversations = client.conversations()?;
    let requests = conversations.iter().filter(|it| it.id == id && it.consent == Consent::Unknown);
    for peer in requests.filter_map(|it| it.peer) {
        client.set_consent(peer, Consent::Allowed)?;
    }
    Ok(())
}

/// What to call a conversation.
#[must_use]
pub fn title(conversation: &Conversation, people: &People) -> String {
    match (conversation.kind, conversation.peer) {
        (ConversationKind::Dm, Some(peer)) => people.name(peer),
        _ if conversation.name.is_empty() => shortened(&conversation.id.to_string()),
        _ => printable(&conversation.name).replace('\n', " "),
    }
}

/// What there is to know about our part in it, if it is not the ordinary one.
#[must_use]
pub fn remark(conversation: &Conversation) -> Option<&'static str> {
    match (conversation.state, conversation.consent) {
        (ConversationState::Leaving, _) => Some("leaving"),
        (ConversationState::Left, _) => Some("left"),
        (ConversationState::Removed, _) => Some("removed"),
        (ConversationState::Ejected, _) => Some("getting back in"),
        (ConversationState::Active, Consent::Denied) => Some("denied"),
        (ConversationState::Active, Consent::Unknown) => Some("request"),
        (ConversationState::Active, Consent::Allowed) => None,
    }
}

/// Prints a list of conversations.
///
/// # Errors
/// When standard output is closed.
pub async fn list(client: &Client, conversations: Vec<Conversation>, output: Output) -> Result<()> {
    let mut people = People::new(client.inbox_id()?);
    if !output.json {
        let peers: BTreeSet<_> = conversations.iter().filter_map(|it| it.peer).collect();
        people.look_up(client, peers).await;
    }
    output.answer(&conversations, |conversations| words(conversations, &people))
}

fn words(conversations: &[Conversation], people: &People) -> String {
    if conversations.is_empty() {
        return "There is no conversation yet; `tidings dm ADDRESS` begins one.".to_owned();
    }
    let header = ["id", "kind", "with", "remark", "latest"].map(str::to_owned).to_vec();
    let rows = conversations.iter().map(|it| {
        let kind = match it.kind {
            ConversationKind::Dm => "dm",
            ConversationKind::Group => "group",
        };
        let latest = it.latest.as_ref().map_or_else(String::new, |message| {
            let text = crate::message::summary(message);
            format!("{}: {text}", people.name(message.sender))
        });
        vec![
            it.id.to_string().chars().take(12).collect(),
            kind.to_owned(),
            title(it, people),
            remark(it).unwrap_or_default().to_owned(),
            latest,
        ]
    });
    aligned(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}

/// A conversation's id, as an answer.
#[derive(Debug, Serialize)]
pub struct Named {
    /// Which conversation.
    pub conversation: ConversationId,
}
