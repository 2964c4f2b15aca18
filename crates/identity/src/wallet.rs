//! Signing with an Ethereum account: the interface to any wallet, and a key held in memory.

use std::convert::Infallible;

use rand_core::CryptoRngCore;
use tidings_types::node_key::NodeKey;
use tidings_types::{EthereumAddress, Hash};
use zeroize::Zeroizing;

use crate::WalletSignature;

/// In which form a wallet is asked to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WalletForm {
    /// EIP-712 typed data, which wallets show field by field (IDN-008).
    #[default]
    TypedData,
    /// EIP-191 text, for wallets without typed data (IDN-009).
    Text,
}

/// What a wallet is asked to sign; the digest is the hash of the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalletRequest {
    /// For `eth_signTypedData_v4`.
    TypedData {
        /// The whole typed data.
        json: String,
        /// Its EIP-712 signing hash.
        digest: Hash,
    },
    /// For `personal_sign`.
    Text {
        /// The text, without the EIP-191 prefix.
        text: String,
        /// The hash of the prefixed text.
        digest: Hash,
    },
}

/// A wallet that controls one Ethereum account.
pub trait EthereumSigner {
    /// Why the wallet did not sign.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The account.
    fn address(&self) -> EthereumAddress;

    /// Signs `request`, perhaps after asking its owner.
    ///
    /// # Errors
    /// The wallet's own error, for example that its owner refused.
    fn sign(&self, request: &WalletRequest) -> Result<WalletSignature, Self::Error>;
}

/// A secret is zero or not below the order of secp256k1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret is no secp256k1 key")]
pub struct WalletSecretInvalid;

/// An account whose key is held in memory; the secret is wiped when it is dropped.
#[derive(Debug)]
pub struct LocalWallet(NodeKey);

impl LocalWallet {
    /// A fresh account.
    pub fn generate(rng: &mut impl CryptoRngCore) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        loop {
            rng.fill_bytes(secret.as_mut_slice());
            if let Ok(wallet) = Self::from_secret(&secret) {
                return wallet;
            }
        }
    }

    /// The account with this 32-byte big-endian secret.
    ///
    /// # Errors
    /// [`WalletSecretInvalid`] when the secret is zero or not below the group order.
    pub fn from_secret(secret: &[u8; 32]) -> Result<Self, WalletSecretInvalid> {
        NodeKey::from_secret(secret).map(Self).map_err(|_| WalletSecretInvalid)
    }

    /// The 32-byte secret, wiped when dropped.
    #[must_use]
    pub fn to_secret(&self) -> Zeroizing<[u8; 32]> {
        self.0.to_secret()
    }
}

impl EthereumSigner for LocalWallet {
    type Error = Infallible;

    fn address(&self) -> EthereumAddress {
        self.0.address()
    }

    fn sign(&self, request: &WalletRequest) -> Result<WalletSignature, Infallible> {
        let (WalletRequest::TypedData { digest, .. } | WalletRequest::Text { digest, .. }) =
            request;
        Ok(self.0.sign(digest).into())
    }
}
