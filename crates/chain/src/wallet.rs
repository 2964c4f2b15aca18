//! The account that acts on the chain.

use std::fmt;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{B256, Bytes};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use tidings_types::EthereumAddress;

use crate::ethereum_address;

/// An Ethereum account with its key, which is wiped when dropped and never printed.
#[derive(Clone)]
pub struct Wallet(PrivateKeySigner);

/// The bytes are no secp256k1 key, or a signature could not be made with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key of an Ethereum account")]
pub struct WalletError;

impl Wallet {
    /// The account of a secp256k1 key.
    ///
    /// # Errors
    /// [`WalletError`] when it is zero or not below the group's order.
    pub fn from_secret(secret: &[u8; 32]) -> Result<Self, WalletError> {
        PrivateKeySigner::from_slice(secret).map(Self).map_err(|_| WalletError)
    }

    /// The account's address.
    #[must_use]
    pub fn address(&self) -> EthereumAddress {
        ethereum_address(self.0.address())
    }

    /// Signs a transaction: its bytes as they are sent, and its hash.
    pub(crate) fn sign(&self, transaction: TxEip1559) -> Result<(Bytes, B256), WalletError> {
        let hash = transaction.signature_hash();
        let signature = self.0.sign_hash_sync(&hash).map_err(|_| WalletError)?;
        let signed = TxEnvelope::from(transaction.into_signed(signature));
        Ok((signed.encoded_2718().into(), *signed.tx_hash()))
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Wallet({})", self.address())
    }
}
