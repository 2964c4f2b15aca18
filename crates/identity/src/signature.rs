//! The signatures of an update and how each kind is checked.

use tidings_types::ed25519::Signature;
use tidings_types::node_key::NodeSignature;
use tidings_types::{BoundedBytes, EthereumAddress, Hash};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::{Member, Statement, VerifyError};

/// The label under which installations sign updates (IDN-011).
pub(crate) const INSTALLATION_LABEL: &str = "identity update";

/// The most bytes that a proof of a reserved kind can hold.
///
/// Unit: bytes.
pub const RESERVED_PROOF_BYTES_MAX: usize = 1_024;

/// A secp256k1 signature as wallets return it: `r`, `s`, then `v`, 65 bytes.
#[derive(Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct WalletSignature(pub [u8; 65]);

impl WalletSignature {
    /// The account that signed `digest`; `None` unless `v` is 27 or 28 and `s` is in the lower
    /// half of the order (IDN-010).
    #[must_use]
    pub fn recover(&self, digest: &Hash) -> Option<EthereumAddress> {
        let (compact, v) = self.0.split_first_chunk::<64>()?;
        let mut compact = *compact;
        let parity_byte = compact.get_mut(32)?;
        // The compact form keeps the parity where a high s has a bit of its own.
        if *parity_byte & 0x80 != 0 {
            return None;
        }
        match v {
            [27] => {}
            [28] => *parity_byte |= 0x80,
            _ => return None,
        }
        NodeSignature(compact).recover(digest).ok()
    }
}

impl From<NodeSignature> for WalletSignature {
    fn from(signature: NodeSignature) -> Self {
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&signature.0);
        bytes[64] = 27 + (bytes[32] >> 7);
        bytes[32] &= 0x7f;
        Self(bytes)
    }
}

impl std::fmt::Debug for WalletSignature {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "WalletSignature({})", hex::encode(self.0))
    }
}

/// How a signer shows its consent.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum Proof {
    /// An account's signature over the typed data.
    #[tls_codec(discriminant = 1)]
    Eip712(WalletSignature),
    /// An account's signature over the text.
    #[tls_codec(discriminant = 2)]
    Eip191(WalletSignature),
    /// An installation's signature over the body.
    #[tls_codec(discriminant = 3)]
    Ed25519(Signature),
    /// Reserved for contract wallets (IDN-004).
    #[tls_codec(discriminant = 4)]
    Erc1271(BoundedBytes<RESERVED_PROOF_BYTES_MAX>),
    /// Reserved for passkeys (IDN-004).
    #[tls_codec(discriminant = 5)]
    WebAuthn(BoundedBytes<RESERVED_PROOF_BYTES_MAX>),
}

/// One signer's consent to an update.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct UpdateSignature {
    /// Who signed.
    pub signer: Member,
    /// The signature.
    pub proof: Proof,
}

impl UpdateSignature {
    /// Checks that the signer agreed to `statement` (IDN-008, IDN-009, IDN-010, IDN-011).
    ///
    /// # Errors
    /// [`VerifyError::KindReserved`] for a kind that cannot be checked yet, and
    /// [`VerifyError::SignatureInvalid`] for anything else but a signature of this signer.
    pub fn verify(&self, statement: &Statement) -> Result<(), VerifyError> {
        let valid = match (&self.signer, &self.proof) {
            (Member::ContractWallet { .. } | Member::Passkey(_), _)
            | (_, Proof::Erc1271(_) | Proof::WebAuthn(_)) => {
                return Err(VerifyError::KindReserved { member: self.signer });
            }
            (Member::EthereumAccount(address), Proof::Eip712(signature)) => {
                signature.recover(&statement.typed_data_digest()) == Some(*address)
            }
            (Member::EthereumAccount(address), Proof::Eip191(signature)) => {
                signature.recover(&statement.eip191_digest()) == Some(*address)
            }
            (Member::Installation(key), Proof::Ed25519(signature)) => key
                .verify(INSTALLATION_LABEL, statement.network(), statement.body_bytes(), signature)
                .is_ok(),
            (Member::EthereumAccount(_), Proof::Ed25519(_))
            | (Member::Installation(_), Proof::Eip712(_) | Proof::Eip191(_)) => false,
        };
        match valid {
            true => Ok(()),
            false => Err(VerifyError::SignatureInvalid { signer: self.signer }),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_types::node_key::NodeKey;

    use super::*;

    const DIGEST: Hash = [9; 32];

    fn signature() -> (WalletSignature, EthereumAddress) {
        let key = NodeKey::from_secret(&[1; 32]).unwrap();
        (key.sign(&DIGEST).into(), key.address())
    }

    #[test]
    fn only_the_wallet_form_is_a_signature() {
        // covers: IDN-010
        let (signature, address) = signature();
        assert_eq!(signature.recover(&DIGEST), Some(address));
        for v in (0..=255).filter(|v| *v != signature.0[64]) {
            let mut other = signature;
            other.0[64] = v;
            assert_ne!(other.recover(&DIGEST), Some(address), "v = {v}");
        }
    }

    #[test]
    fn the_other_root_is_refused() {
        // covers: IDN-010
        let (signature, address) = signature();
        let order = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
        let mut twin = signature;
        let mut borrow = 0u16;
        for (byte, minuend) in twin.0[32..64].iter_mut().zip(order.unwrap()).rev() {
            let difference = 256 + u16::from(minuend) - u16::from(*byte) - borrow;
            *byte = difference.to_be_bytes()[1];
            borrow = 1 - (difference >> 8);
        }
        twin.0[64] = 55 - twin.0[64];
        assert_eq!(twin.recover(&DIGEST), None);
        assert_eq!(signature.recover(&DIGEST), Some(address));
    }

    #[test]
    fn flipping_any_bit_loses_the_signer() {
        // covers: IDN-010
        let (signature, address) = signature();
        for bit in 0..520 {
            let mut other = signature;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(other.recover(&DIGEST), Some(address), "bit {bit}");
        }
    }
}
