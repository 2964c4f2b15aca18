//! `tidings send`, `read` and `listen`: messages for people and for scripts.

mod listen;

use std::collections::BTreeSet;
use std::io::Read;

use anyhow::{Context, Result, bail};
use clap::Args;
use tidings_client::{Client, Content, Delivery, Message, MessageId, ReactionAction};
use tidings_types::TimestampSeconds;
use tidings_types::constants::ENVELOPE_PAYLOAD_BYTES_MAX;

use crate::conversation;
use crate::failure::UsageError;
use crate::home::Home;
use crate::output::{Output, printable};
use crate::people::People;

pub use listen::{Listen, listen};

/// What to send.
#[derive(Debug, Args)]
pub struct Send {
    /// The conversation: its id or the beginning of it, its name, or the person's address
    pub conversation: String,
    /// The text; - reads it from standard input
    pub text: String,
    /// Answer this message
    #[arg(long, value_name = "MESSAGE", conflicts_with = "react")]
    pub reply: Option<String>,
    /// Put the text, an emoji, on this message
    #[arg(long, value_name = "MESSAGE")]
    pub react: Option<String>,
    /// Take the emoji back
    #[arg(long, requires = "react")]
    pub take_back: bool,
    /// The text is Markdown
    #[arg(long, conflicts_with_all = ["reply", "react"])]
    pub markdown: bool,
}

/// What to read.
#[derive(Debug, Args)]
pub struct ReadMessages {
    /// The conversation: its id or the beginning of it, its name, or the person's address
    pub conversation: String,
    /// At most so many messages, the newest
    #[arg(long, default_value_t = 50)]
    pub limit: u32,
    /// Only messages after the one with this number, the oldest first
    #[arg(long)]
    pub after: Option<u64>,
    /// Show what is stored here, without asking the network
    #[arg(long)]
    pub offline: bool,
}

/// Sends a message and says how far it came.
///
/// # Errors
/// When the conversation is unknown or the message will not be sent.
pub async fn send(options: &Send, home: &Home, output: Output) -> Result<()> {
    let client = home.open()?;
    catch_up(&client).await;
    let id = conversation::find(&client, &options.conversation).await?;
    let content = options.content(some_text(text_or_input(&options.text).await?)?)?;
    conversation::accept(&client, id)?;
    report_sent(&client.send(id, &content).await?, output)
}

/// Sends plain text to a conversation that is known.
///
/// # Errors
/// As for [`send`].
pub async fn send_text(
    client: &Client,
    id: tidings_client::ConversationId,
    text: &str,
    output: Output,
) -> Result<()> {
    let text = some_text(text_or_input(text).await?)?;
    conversation::accept(client, id)?;
    report_sent(&client.send_text(id, &text).await?, output)
}

/// A text that says something.
fn some_text(text: String) -> Result<String> {
    anyhow::ensure!(!text.trim().is_empty(), "there is no text to send");
    Ok(text)
}

impl Send {
    fn content(&self, text: String) -> Result<Content> {
        let long = || "the text is too long";
        let bytes = text.into_bytes();
        Ok(match (&self.reply, &self.react) {
            (Some(message), _) => Content::Reply {
                message: message_id(message)?,
                text: bytes.try_into().with_context(long)?,
            },
            (None, Some(message)) => Content::Reaction {
                message: message_id(message)?,
                emoji: bytes.try_into().with_context(long)?,
                action: if self.take_back { ReactionAction::Remove } else { ReactionAction::Add },
            },
            (None, None) if self.markdown => {
                Content::Markdown(bytes.try_into().with_context(long)?)
            }
            (None, None) => Content::Text(bytes.try_into().with_context(long)?),
        })
    }
}

fn message_id(text: &str) -> Result<MessageId> {
    let mut id = [0; 32];
    hex::decode_to_slice(text, &mut id).map_err(|_| {
        UsageError(format!("{text} is no message id; `tidings read --json` shows them"))
    })?;
    Ok(MessageId(id))
}

async fn text_or_input(text: &str) -> Result<String> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    let limit = u64::try_from(ENVELOPE_PAYLOAD_BYTES_MAX)?;
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        std::io::stdin().lock().take(limit).read_to_string(&mut text).map(|_| text)
    });
    let text = read.await?.context("standard input is not text")?;
    Ok(text.trim_end_matches('\n').to_owned())
}

/// Says how far a message of ours has come; a failed one is an error.
fn report_sent(message: &Message, output: Output) -> Result<()> {
    output.answer(message, |message| match &message.delivery {
        Delivery::Sent | Delivery::Received => "sent".to_owned(),
        Delivery::Queued | Delivery::Sending => {
            "The network does not take it now; it waits here, and `tidings chat`, `listen` or the \
             next `send` tries again."
                .to_owned()
        }
        Delivery::Failed { .. } => "not sent".to_owned(),
    })?;
    match &message.delivery {
        Delivery::Failed { reason } => bail!("the message will not be sent: {reason}"),
        _ => Ok(()),
    }
}

/// Reads what is new; without the network, what is stored has to do.
pub async fn catch_up(client: &Client) {
    match client.sync().await {
        Ok(report) => {
            for (conversation, reason) in report.behind {
                eprintln!("tidings: conversation {conversation} is not up to date: {reason}");
            }
        }
        Err(error) => eprintln!("tidings: not up to date: {error}"),
    }
}

/// Prints the messages of a conversation.
///
/// # Errors
/// When the conversation is unknown.
pub async fn read(options: &ReadMessages, home: &Home, output: Output) -> Result<()> {
    let client = home.open()?;
    if !options.offline {
        catch_up(&client).await;
    }
    let id = conversation::find(&client, &options.conversation).await?;
    let messages = match options.after {
        Some(after) => client.messages(id, after, options.limit)?,
        None => client.latest_messages(id, options.limit)?,
    };
    let mut people = People::new(client.inbox_id()?);
    if !output.json && !options.offline {
        let senders: BTreeSet<_> = messages.iter().map(|message| message.sender).collect();
        people.look_up(&client, senders).await;
    }
    output.answer(&messages, |messages| {
        if messages.is_empty() {
            return "nothing yet".to_owned();
        }
        let lines: Vec<_> = messages.iter().map(|message| line(message, &people)).collect();
        lines.join("\n")
    })
}

/// A message as one line: when, who, what, and how far it came if it is ours.
fn line(message: &Message, people: &People) -> String {
    let mark = match &message.delivery {
        Delivery::Received | Delivery::Sent => String::new(),
        Delivery::Queued => "  (waits)".to_owned(),
        Delivery::Sending => "  (being sent)".to_owned(),
        Delivery::Failed { reason } => format!("  (not sent: {reason})"),
    };
    let who = people.name(message.sender);
    format!("{} {who}: {}{mark}", clock(message.sent_at), summary(message))
}

/// What a message says, for people, on one line.
#[must_use]
pub fn summary(message: &Message) -> String {
    let short = |id: &MessageId| id.to_string().chars().take(8).collect::<String>();
    let text = match &message.content {
        Content::Reaction { message, emoji, action } => {
            let emoji = String::from_utf8_lossy(emoji);
            match action {
                ReactionAction::Add => format!("reacts {emoji} to {}", short(message)),
                ReactionAction::Remove => format!("takes {emoji} back from {}", short(message)),
            }
        }
        Content::Reply { message: to, .. } => {
            format!("(to {}) {}", short(to), message.text().unwrap_or_default())
        }
        Content::Edit { message: of, .. } => {
            format!("(instead of {}) {}", short(of), message.text().unwrap_or_default())
        }
        Content::ReadReceipt { message } => format!("has read up to {}", short(message)),
        Content::Delete { message } => format!("takes back {}", short(message)),
        _ => message.text().unwrap_or("something that this program cannot show").to_owned(),
    };
    printable(&text).replace('\n', " ")
}

/// The time of day in UTC, hours and minutes.
#[must_use]
pub fn clock(at: TimestampSeconds) -> String {
    let minutes = at.0 / 60 % (24 * 60);
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_shows_hours_and_minutes() {
        assert_eq!(clock(TimestampSeconds(0)), "00:00");
        assert_eq!(clock(TimestampSeconds(86_400 * 3 + 3_600 * 23 + 59 * 60 + 59)), "23:59");
    }

    #[test]
    fn message_ids_are_64_digits() {
        assert!(message_id("12").is_err());
        assert_eq!(message_id(&"01".repeat(32)).unwrap(), MessageId([1; 32]));
    }
}
