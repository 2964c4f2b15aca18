//! The one text that every signer of an update signs.

use std::fmt::{self, Display, Write};

use super::{Action, InboxId, Member, MemberKind, TimestampNs};

const HEADER: &str = "XMTP : Authenticate to inbox";
const FOOTER: &str = "For more info: https://xmtp.org/signatures";

/// What wallets show and all signatures of an update are over.
///
/// Made from the update and never taken from it: header, inbox, time in seconds, two lines per
/// action in order, footer; UTF-8 with line feeds, and none at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureText(String);

impl SignatureText {
    pub(super) fn new<S>(inbox: InboxId, time: TimestampNs, actions: &[Action<S>]) -> Self {
        let mut text = format!("{HEADER}\n\nInbox ID: {inbox}\nCurrent time: {time}\n\n");
        for action in actions {
            writeln!(text, "{}", Lines::of(action)).expect("a string takes all that is written");
        }
        text.push('\n');
        text.push_str(FOOTER);
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The two lines of one action.
struct Lines<'a> {
    title: &'static str,
    label: &'static str,
    value: &'a dyn Display,
}

impl<'a> Lines<'a> {
    fn of<S>(action: &'a Action<S>) -> Self {
        match action {
            Action::CreateInbox { first, .. } => {
                Self { title: "Create inbox", label: "Owner", value: first }
            }
            Action::AddMember { member, .. } => {
                let title = match member.kind() {
                    MemberKind::Ethereum => "Link address to inbox",
                    MemberKind::Passkey => "Link passkey to inbox",
                    MemberKind::Installation => "Grant messaging access to app",
                };
                Self { title, label: label(member), value: member }
            }
            Action::RevokeMember { member, .. } => {
                let title = match member.kind() {
                    MemberKind::Ethereum => "Unlink address from inbox",
                    MemberKind::Passkey => "Unlink passkey from inbox",
                    MemberKind::Installation => "Revoke messaging access from app",
                };
                Self { title, label: label(member), value: member }
            }
            Action::ChangeRecovery { recovery, .. } => {
                Self { title: "Change inbox recovery address", label: "Address", value: recovery }
            }
        }
    }
}

impl Display for Lines<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "- {}\n  ({}: {})", self.title, self.label, self.value)
    }
}

const fn label(member: &Member) -> &'static str {
    match member.kind() {
        MemberKind::Ethereum => "Address",
        MemberKind::Passkey => "Passkey",
        MemberKind::Installation => "ID",
    }
}
