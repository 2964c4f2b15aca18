//! What to call people: oneself, a wallet's address, or an inbox's id, shortened.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidings_client::{Client, Member, Recipient};
use tidings_types::InboxId;

/// How long names are looked for before ids have to do.
const PATIENCE: Duration = Duration::from_secs(2);

/// The names known so far.
#[derive(Debug, Clone, Default)]
pub struct People {
    own: Option<InboxId>,
    names: BTreeMap<InboxId, String>,
}

impl People {
    /// Nobody but oneself.
    #[must_use]
    pub fn new(own: Option<InboxId>) -> Self {
        Self { own, names: BTreeMap::new() }
    }

    /// The name of an inbox.
    #[must_use]
    pub fn name(&self, inbox: InboxId) -> String {
        if Some(inbox) == self.own {
            return "you".to_owned();
        }
        self.names.get(&inbox).cloned().unwrap_or_else(|| shortened(&inbox.to_string()))
    }

    /// Whether the inbox is called by its id for want of a name.
    #[must_use]
    pub fn is_unknown(&self, inbox: InboxId) -> bool {
        Some(inbox) != self.own && !self.names.contains_key(&inbox)
    }

    /// Enters a name.
    pub fn learn(&mut self, inbox: InboxId, name: String) {
        self.names.insert(inbox, name);
    }

    /// Looks up the wallets of those among `inboxes` who have no name yet.
    pub async fn look_up(&mut self, client: &Client, inboxes: BTreeSet<InboxId>) {
        let unknown: Vec<_> = inboxes.into_iter().filter(|inbox| self.is_unknown(*inbox)).collect();
        let all = async {
            for inbox in unknown {
                if let Some(name) = wallet_of(client, inbox).await {
                    self.learn(inbox, name);
                }
            }
        };
        // Without the network, ids have to do.
        let _ = tokio::time::timeout(PATIENCE, all).await;
    }
}

/// The shortened address of an inbox's first wallet, if the network tells.
pub async fn wallet_of(client: &Client, inbox: InboxId) -> Option<String> {
    let state = client.resolve(&Recipient::Inbox(inbox)).await.ok()?;
    let accounts = state.members().filter_map(|(member, info)| match member {
        Member::EthereumAccount(address) => Some((info.added_at, *address)),
        _ => None,
    });
    let (_, address) = accounts.min()?;
    Some(shortened(&address.to_string()))
}

/// The first and last digits of a long hex text.
#[must_use]
pub fn shortened(text: &str) -> String {
    let head = if text.starts_with("0x") { 6 } else { 4 };
    match (text.get(..head), text.len().checked_sub(4).and_then(|at| text.get(at..))) {
        (Some(first), Some(last)) if text.len() > 12 => format!("{first}…{last}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shortened_and_names_win() {
        assert_eq!(shortened("0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"), "0x5aae…eaed");
        assert_eq!(shortened("abcdef"), "abcdef");
        let (own, other) = (InboxId([1; 32]), InboxId([2; 32]));
        let mut people = People::new(Some(own));
        assert_eq!(people.name(own), "you");
        assert_eq!(people.name(other), "0202…0202");
        people.learn(other, "bob".into());
        assert_eq!(people.name(other), "bob");
    }
}
