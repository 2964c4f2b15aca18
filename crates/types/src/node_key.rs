//! A node's secp256k1 key, which signs what a contract may have to judge, over EIP-712.
//!
//! Signatures are 64 bytes in the compact form of EIP-2098: `r`, then `s` with the parity of
//! `R.y` in its top bit; `s` is in the lower half of the order (ENC-007).

use alloy_primitives::{B256, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, SecretKey};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use zeroize::Zeroizing;

use crate::{EthereumAddress, Hash, NetworkId};

/// An EIP-2098 compact signature, 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct NodeSignature(pub [u8; 64]);

/// Why a node signature names no signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secp256k1 signature is not valid or not the expected signer's")]
pub struct NodeSignatureInvalid;

/// The EIP-712 domain of a network: name, version, and the network id as salt (ENC-005).
#[must_use]
pub fn domain(network: NetworkId) -> Eip712Domain {
    Eip712Domain::new(
        Some("Tidings".into()),
        Some("1".into()),
        None,
        None,
        Some(B256::new(network.0)),
    )
}

/// The EIP-712 signing hash of a statement on `network`.
#[must_use]
pub fn digest<S: SolStruct>(statement: &S, network: NetworkId) -> Hash {
    statement.eip712_signing_hash(&domain(network)).0
}

/// A secp256k1 signing key; its secret is wiped when it is dropped.
pub struct NodeKey {
    secret: Zeroizing<[u8; 32]>,
    address: EthereumAddress,
}

impl NodeKey {
    /// The key with this 32-byte big-endian secret.
    ///
    /// # Errors
    /// [`NodeSignatureInvalid`] when the secret is zero or not below the group order.
    pub fn from_secret(secret: &[u8; 32]) -> Result<Self, NodeSignatureInvalid> {
        let key = SecretKey::from_secret_bytes(*secret).map_err(|_| NodeSignatureInvalid)?;
        let address = address_of(&key.public_key());
        Ok(Self { secret: Zeroizing::new(*secret), address })
    }

    /// The address that signatures recover to.
    #[must_use]
    pub fn address(&self) -> EthereumAddress {
        self.address
    }

    /// The 32-byte secret, wiped when dropped.
    #[must_use]
    pub fn to_secret(&self) -> Zeroizing<[u8; 32]> {
        self.secret.clone()
    }

    /// Signs a 32-byte digest, deterministically (RFC 6979).
    #[must_use]
    pub fn sign(&self, digest: &Hash) -> NodeSignature {
        let key = SecretKey::from_secret_bytes(*self.secret).expect("checked at construction");
        let signature =
            RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(*digest), &key);
        let (recovery, mut bytes) = signature.serialize_compact();
        if recovery.to_u8() & 1 == 1 {
            bytes[32] |= 0x80;
        }
        NodeSignature(bytes)
    }
}

impl std::fmt::Debug for NodeKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "NodeKey({})", self.address)
    }
}

impl NodeSignature {
    /// The address that signed `digest`.
    ///
    /// # Errors
    /// [`NodeSignatureInvalid`] when the bytes are no low-s signature (ENC-007).
    pub fn recover(&self, digest: &Hash) -> Result<EthereumAddress, NodeSignatureInvalid> {
        let mut bytes = self.0;
        let parity = bytes[32] >> 7;
        bytes[32] &= 0x7f;
        let signature =
            RecoverableSignature::from_compact(&bytes, RecoveryId::from_u8_masked(parity))
                .map_err(|_| NodeSignatureInvalid)?;
        let mut normalized = signature.to_standard();
        normalized.normalize_s();
        if normalized != signature.to_standard() {
            return Err(NodeSignatureInvalid);
        }
        let key =
            signature.recover(Message::from_digest(*digest)).map_err(|_| NodeSignatureInvalid)?;
        Ok(address_of(&key))
    }

    /// Checks that `signer` signed `digest`.
    ///
    /// # Errors
    /// [`NodeSignatureInvalid`] when another key signed, or none.
    pub fn verify(
        &self,
        digest: &Hash,
        signer: EthereumAddress,
    ) -> Result<(), NodeSignatureInvalid> {
        match self.recover(digest)? == signer {
            true => Ok(()),
            false => Err(NodeSignatureInvalid),
        }
    }
}

impl std::fmt::Debug for NodeSignature {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "NodeSignature({})", hex::encode(self.0))
    }
}

fn address_of(key: &secp256k1::PublicKey) -> EthereumAddress {
    let hash = keccak256(&key.serialize_uncompressed()[1..]);
    let mut address = [0; 20];
    address.copy_from_slice(&hash[12..]);
    EthereumAddress(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> NodeKey {
        NodeKey::from_secret(&[1; 32]).unwrap()
    }

    #[test]
    fn signatures_recover_to_the_signer() {
        // covers: ENC-007
        let signature = key().sign(&[9; 32]);
        assert_eq!(signature.recover(&[9; 32]), Ok(key().address()));
        assert!(signature.verify(&[8; 32], key().address()).is_err());
        assert_eq!(key().address().to_string(), "0x1a642f0e3c3af545e7acbd38b07251b3990914f1");
    }

    #[test]
    fn flipping_any_bit_changes_the_signer() {
        // covers: ENC-007
        let signature = key().sign(&[9; 32]);
        for bit in 0..512 {
            let mut bytes = signature.0;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(NodeSignature(bytes).verify(&[9; 32], key().address()).is_err());
        }
    }

    #[test]
    fn zero_is_no_secret() {
        assert!(NodeKey::from_secret(&[0; 32]).is_err());
    }
}
