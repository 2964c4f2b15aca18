//! What clients did and saw, as plain data: the checker's input.
//!
//! Times are [`At`]s of one clock, that of the program that drives all clients.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A moment, counted from the start of the run.
pub type At = Duration;

/// Somebody with a client, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member(pub u16);

/// A group conversation, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupNumber(pub u16);

/// Names a message by its author and the author's count of messages, from 1; it is what the
/// message says, so that it survives whatever is done to the message's own id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageKey {
    /// Who wrote it.
    pub author: Member,
    /// Which of the author's, over all groups.
    pub serial: u32,
}

impl fmt::Display for Member {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "client {}", self.0)
    }
}

impl fmt::Display for GroupNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "group {}", self.0)
    }
}

impl fmt::Display for MessageKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.author.0, self.serial)
    }
}

/// A text that is no [`MessageKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text names no message")]
pub struct NoKey;

impl FromStr for MessageKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let (author, serial) = text.split_once('/').ok_or(NoKey)?;
        let author = Member(author.parse().map_err(|_| NoKey)?);
        Ok(Self { author, serial: serial.parse().map_err(|_| NoKey)? })
    }
}

/// A message that somebody sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// Which message.
    pub key: MessageKey,
    /// To which group.
    pub group: GroupNumber,
    /// When the call was made.
    pub began: At,
    /// When the call returned, with whatever.
    pub returned: Option<At>,
    /// When the client said that enough replicas have signed for it.
    pub acknowledged: Option<At>,
    /// Why the client said that it will never be sent.
    pub failed: Option<String>,
}

/// What somebody wants of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// That somebody is a member.
    Add(Member),
    /// That somebody is no member.
    Remove(Member),
    /// That the group has this name.
    Rename(String),
}

/// A change that somebody made, or tried to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Who.
    pub by: Member,
    /// Of which group.
    pub group: GroupNumber,
    /// What for.
    pub wish: Wish,
    /// When the call was made.
    pub began: At,
    /// When the call returned.
    pub returned: Option<At>,
    /// Whether it returned that the group is as wished; otherwise it may become so at any time.
    pub done: bool,
}

/// A message that a client told about as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Whose client.
    pub to: Member,
    /// In which group.
    pub group: GroupNumber,
    /// Which message.
    pub key: MessageKey,
    /// When.
    pub at: At,
}

/// A group as one client has it at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Whose client.
    pub of: Member,
    /// Which group.
    pub group: GroupNumber,
    /// When the client was asked.
    pub asked: At,
    /// When it answered.
    pub answered: At,
    /// What it answered; nothing when the client is not in the group.
    pub view: Option<View>,
}

/// What members of a group must agree on in each epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The MLS epoch.
    pub epoch: u64,
    /// The epoch's authenticator.
    pub authenticator: String,
    /// The group's name.
    pub name: String,
    /// Who is in it.
    pub members: BTreeSet<Member>,
}

/// How far a message in a client's store has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Another's.
    Received,
    /// The client's own, and acknowledged.
    Sent,
    /// The client's own, and on its way.
    Waiting,
    /// The client's own, and given up.
    Failed,
}

/// A message in a client's store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it says.
    pub text: String,
    /// Who wrote it, as the client says; nobody whom the run knows if there is none.
    pub sender: Option<Member>,
    /// How far it has come.
    pub standing: Standing,
}

impl Line {
    /// Which message it is, if any of the run.
    ///
    /// # Errors
    /// [`NoKey`] when it is none.
    pub fn key(&self) -> Result<MessageKey, NoKey> {
        self.text.split(' ').next().unwrap_or_default().parse()
    }
}

/// Everything in a client's store of one group, in the client's order.
pub type Transcript = Vec<Line>;

/// A run, or as much of it as has happened.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Every message sent, in the order of the calls.
    pub sends: Vec<Send>,
    /// Every change, in the order of the calls.
    pub changes: Vec<Change>,
    /// Every message told about, in the order in which it was.
    pub told: Vec<Told>,
    /// Every look at a group, in the order of the answers.
    pub snapshots: Vec<Snapshot>,
    /// What each client holds of each group it ever was in, now.
    pub transcripts: BTreeMap<(GroupNumber, Member), Transcript>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_its_message_says() {
        let key = MessageKey { author: Member(3), serial: 17 };
        let line = |text: &str| Line {
            text: text.into(),
            sender: Some(Member(3)),
            standing: Standing::Received,
        };
        assert_eq!(line("3/17 and more").key(), Ok(key));
        assert_eq!(line(&key.to_string()).key(), Ok(key));
        for text in ["", "3", "3/", "/17", "3/x", "x/17", "3/17/1"] {
            assert_eq!(line(text).key(), Err(NoKey), "{text}");
        }
    }
}
