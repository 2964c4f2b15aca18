//! The checker: what a history proves to be wrong, in the manner of Jepsen.
//!
//! It is given what clients called, what they were answered, and what they hold once everything
//! that was on its way has come; it knows nothing of the network in between.
//! What it demands:
//!
//! - a message that was acknowledged is held by everybody who was in the group, by their own
//!   word, in every epoch in which it may have been encrypted;
//! - nobody holds a message twice, or one that nobody sent, that its author was told had failed,
//!   that somebody else is said to have written, or that was encrypted while they were outside;
//! - each author's messages stand in the author's order, at everybody;
//! - in each epoch of a group everybody who was in it has the same secret and the same members,
//!   and in the end all members are in the same epoch, with one name for the group;
//! - the members and the name of a group are what the last changes made them.

mod groups;
mod knowledge;
mod messages;

pub use knowledge::{Knowledge, Span, Stay};

use std::fmt;

use crate::history::{GroupNumber, History, Member, MessageKey, Wish};

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// A member lacks a message that was acknowledged.
    Lost {
        /// Which message.
        key: MessageKey,
        /// In which group.
        group: GroupNumber,
        /// Who lacks it.
        at: Member,
    },
    /// A member holds a message twice.
    Duplicated {
        /// Which message.
        key: MessageKey,
        /// Who holds it.
        at: Member,
    },
    /// An author's messages stand in another order than they were sent in.
    OutOfOrder {
        /// The one that stands first.
        first: MessageKey,
        /// The one that was sent first.
        second: MessageKey,
        /// With whom.
        at: Member,
    },
    /// A member holds a message that nobody sent there, or that names another sender.
    Phantom {
        /// What it says.
        text: String,
        /// Who holds it.
        at: Member,
    },
    /// A member received a message of which its author was told that it would never be sent.
    FailedYetReceived {
        /// Which message.
        key: MessageKey,
        /// Who holds it.
        at: Member,
    },
    /// Somebody holds a message that was encrypted while they were not in the group.
    HeardOutside {
        /// Which message.
        key: MessageKey,
        /// Who holds it.
        at: Member,
    },
    /// A client told about a message that it does not hold, or holds one that it never told of.
    ToldOtherwise {
        /// Which message.
        key: MessageKey,
        /// How often it told of it.
        told: usize,
        /// Whose client.
        at: Member,
    },
    /// Two members of one epoch have different groups.
    Forked {
        /// Which group.
        group: GroupNumber,
        /// In which epoch.
        epoch: u64,
        /// One of them.
        one: Member,
        /// The other.
        other: Member,
    },
    /// In the end two members of one epoch have different names for the group.
    TwoNames {
        /// Which group.
        group: GroupNumber,
        /// One of them.
        one: Member,
        /// The other.
        other: Member,
    },
    /// A member did not come to where the others are.
    Behind {
        /// Which group.
        group: GroupNumber,
        /// Who.
        who: Member,
        /// In which epoch, if they think that they are in the group.
        epoch: Option<u64>,
        /// In which epoch the group is.
        newest: u64,
    },
    /// Somebody who is not in the group thinks that they are.
    Outsider {
        /// Which group.
        group: GroupNumber,
        /// Who.
        who: Member,
    },
    /// What the group became is not what the last changes made it.
    Unexplained {
        /// Which group.
        group: GroupNumber,
        /// What became of it.
        found: Wish,
    },
}

impl Violation {
    /// Whether waiting may mend it: something may still be on its way.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Lost { .. }
                | Self::TwoNames { .. }
                | Self::Behind { .. }
                | Self::Outsider { .. }
                | Self::Unexplained { .. }
                | Self::ToldOtherwise { .. }
        )
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { key, group, at } => {
                write!(f, "message {key} was acknowledged in {group} and is lost at {at}")
            }
            Self::Duplicated { key, at } => write!(f, "message {key} is there twice at {at}"),
            Self::OutOfOrder { first, second, at } => {
                write!(f, "message {first} stands before {second} at {at}")
            }
            Self::Phantom { text, at } => {
                write!(f, "nobody sent what {at} holds: {:?}", text.get(..40).unwrap_or(text))
            }
            Self::FailedYetReceived { key, at } => {
                write!(f, "message {key} failed, its author was told, and {at} holds it")
            }
            Self::HeardOutside { key, at } => {
                write!(f, "{at} holds message {key}, which was not for them")
            }
            Self::ToldOtherwise { key, told, at } => {
                write!(f, "{at} told {told} times of message {key}, unlike what the store holds")
            }
            Self::Forked { group, epoch, one, other } => {
                write!(f, "{group} is forked in epoch {epoch}: {one} and {other} differ")
            }
            Self::TwoNames { group, one, other } => {
                write!(f, "{one} and {other} have different names for {group}")
            }
            Self::Behind { group, who, epoch: Some(epoch), newest } => {
                write!(f, "{who} stays in epoch {epoch} of {group}, which is in epoch {newest}")
            }
            Self::Behind { group, who, epoch: None, newest } => {
                write!(f, "{who} is a member of {group} in epoch {newest} and does not know it")
            }
            Self::Outsider { group, who } => {
                write!(f, "{who} is no member of {group} and does not know it")
            }
            Self::Unexplained { group, found: Wish::Rename(name) } => {
                write!(f, "{group} is called {name:?}, which was overwritten or never wished")
            }
            Self::Unexplained { group, found: Wish::Add(who) } => {
                write!(f, "{who} is in {group}, against the last change")
            }
            Self::Unexplained { group, found: Wish::Remove(who) } => {
                write!(f, "{who} is not in {group}, against the last change")
            }
        }
    }
}

/// Everything in a history that must not be; it must end with a look at every client, and with
/// every client's transcripts.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let knowledge = Knowledge::new(history);
    let mut violations = messages::check(history, &knowledge);
    violations.extend(groups::check(history, &knowledge));
    violations
}

#[cfg(test)]
mod tests;
