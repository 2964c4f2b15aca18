//! The Tidings client: an inbox on one device, its encrypted store, and its conversations.
//!
//! [`Client::create`] meets a network through a gateway and pins it; [`Client::open`] needs no
//! network.
//! What comes in is verified before it is believed: hash chains and write proofs on the broadcast
//! lane, certificates on the ordered lane, receipts before a message counts as sent, and proofs
//! about inboxes and accounts, or that there are none.
//! Each envelope is processed once, and what follows from it is stored in one transaction.
//!
//! ```no_run
//! use tidings_client::{Client, Config, Event, Unlock};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::new("http://127.0.0.1:7100", "an API key");
//! let unlock = Unlock::passphrase("correct horse battery staple");
//! let client = Client::create("alice".as_ref(), &unlock, &config).await?;
//! client.create_inbox().await?;
//! let bob = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".parse()?;
//! let conversation = client.dm(&bob).await?;
//! client.send_text(conversation, "good tidings").await?;
//! let mut listener = client.listen();
//! while let Some(event) = listener.next().await {
//!     if let Event::Message(message) = event {
//!         println!("{}: {}", message.sender, message.text().unwrap_or("…"));
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod client;
mod config;
mod conversation;
mod core;
mod delivery;
mod error;
mod event;
mod heads;
mod identity;
mod keys;
mod look_up;
mod store;
mod sync;
mod transport;
mod verify;

pub use client::Client;
pub use config::Config;
pub use conversation::{Conversation, ConversationId, ConversationInfo, Message, Permission};
pub use error::{CallerError, ClientError, GroupError, IdentityError, VerifyFailure};
pub use event::Event;
pub use identity::IdentityDraft;
pub use look_up::Proved;
pub use store::{Consent, ConversationKind, ConversationState, Delivery, StoreError, Unlock};
pub use sync::{Listener, SyncReport};

pub use tidings_identity::{
    AssociationState, LocalWallet, Member, Recipient, WalletForm, WalletRequest, WalletSignature,
};
pub use tidings_mls::{Content, GroupPolicy, MessageId, ReactionAction, Who};
