//! What the store holds one of: keys, the network, the gateway.

use rusqlite::OptionalExtension;
use tidings_envelope::{RegistryDocument, RegistryHistory};
use tidings_identity::LocalWallet;
use tidings_types::ed25519::SigningKey;
use tidings_types::{InboxId, NetworkId};
use zeroize::Zeroizing;

use crate::store::{StoreError, Tx, View, array};

/// The names of the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccountKey {
    /// The pinned network id, 32 bytes.
    Network,
    /// Every registry seen, JSON.
    Registry,
    /// The gateway's base URL, UTF-8.
    Gateway,
    /// The API key at the gateway, UTF-8.
    ApiKey,
    /// The number of the node that is asked first, four bytes, big-endian.
    PreferredNode,
    /// The secret of a wallet that was made here, 32 bytes.
    Wallet,
    /// The secret of this installation, 32 bytes.
    Installation,
    /// Our inbox, 32 bytes.
    Inbox,
    /// An identity update that lacks signatures, JSON.
    Draft,
    /// The newest certified block seen of each shard.
    Heads,
    /// 1 once the key packages of this installation are published.
    KeysPublished,
}

impl AccountKey {
    const fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Registry => "registry",
            Self::Gateway => "gateway",
            Self::ApiKey => "api_key",
            Self::PreferredNode => "preferred_node",
            Self::Wallet => "wallet",
            Self::Installation => "installation",
            Self::Inbox => "inbox",
            Self::Draft => "draft",
            Self::Heads => "heads",
            Self::KeysPublished => "keys_published",
        }
    }
}

/// What a client needs to start, read at once.
pub(crate) struct Account {
    /// The network that was met first.
    pub(crate) network: NetworkId,
    /// Every registry seen.
    pub(crate) registries: RegistryHistory,
    /// The gateway's base URL.
    pub(crate) gateway: String,
    /// The API key at the gateway.
    pub(crate) api_key: Zeroizing<String>,
    /// This installation's key.
    pub(crate) installation: SigningKey,
    /// Our inbox, once it is made.
    pub(crate) inbox: Option<InboxId>,
}

impl View<'_> {
    /// A value, if it is there.
    pub(crate) fn account(
        &self,
        key: AccountKey,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT value FROM account WHERE key = ?1")?;
        let value = statement.query_row([key.name()], |row| row.get::<_, Vec<u8>>(0)).optional()?;
        Ok(value.map(Zeroizing::new))
    }

    /// The values that every client has.
    pub(crate) fn load_account(&self) -> Result<Account, StoreError> {
        let registries = self.required(AccountKey::Registry)?;
        let registries = serde_json::from_slice::<RegistryDocument>(&registries).ok();
        let registries = registries.and_then(|document| document.history().ok());
        Ok(Account {
            network: NetworkId(array(self.required(AccountKey::Network)?.to_vec())?),
            registries: registries.ok_or(StoreError::Damaged("the registry is not readable"))?,
            gateway: self.text(AccountKey::Gateway)?.to_string(),
            api_key: self.text(AccountKey::ApiKey)?,
            installation: SigningKey::from_secret(&*self.secret(AccountKey::Installation)?),
            inbox: self.own_inbox()?,
        })
    }

    /// Our inbox, once it is made.
    pub(crate) fn own_inbox(&self) -> Result<Option<InboxId>, StoreError> {
        let value = self.account(AccountKey::Inbox)?;
        value.map(|bytes| array(bytes.to_vec()).map(InboxId)).transpose()
    }

    /// The wallet that was made here, if any.
    pub(crate) fn wallet(&self) -> Result<Option<LocalWallet>, StoreError> {
        if self.account(AccountKey::Wallet)?.is_none() {
            return Ok(None);
        }
        let wallet = LocalWallet::from_secret(&*self.secret(AccountKey::Wallet)?);
        wallet.map(Some).map_err(|_| StoreError::Damaged("the wallet is no key"))
    }

    fn required(&self, key: AccountKey) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.account(key)?.ok_or(StoreError::Damaged("a value is missing; was create interrupted?"))
    }

    fn text(&self, key: AccountKey) -> Result<Zeroizing<String>, StoreError> {
        let bytes = self.required(key)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| StoreError::Damaged("not a text"))?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    fn secret(&self, key: AccountKey) -> Result<Zeroizing<[u8; 32]>, StoreError> {
        let bytes = self.required(key)?;
        let mut secret = Zeroizing::new([0; 32]);
        if bytes.len() != secret.len() {
            return Err(StoreError::Damaged("a secret has the wrong length"));
        }
        secret.copy_from_slice(&bytes);
        Ok(secret)
    }
}

impl Tx<'_> {
    /// Sets a value.
    pub(crate) fn put_account(&self, key: AccountKey, value: &[u8]) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO account (key, value) VALUES (?1, ?2) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )?;
        statement.execute((key.name(), value))?;
        Ok(())
    }

    /// Remembers the newest certified blocks seen.
    pub(crate) fn put_heads(&self, heads: &[u8]) -> Result<(), StoreError> {
        self.put_account(AccountKey::Heads, heads)
    }

    /// Forgets a value.
    pub(crate) fn remove_account(&self, key: AccountKey) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM account WHERE key = ?1", [key.name()])?;
        Ok(())
    }
}
