//! What a network is made from: the genesis that its id hashes.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use serde::{Deserialize, Serialize};

use crate::{EthereumAddress, GenesisSalt, NetworkId, Wire, labelled_hash};

/// The genesis of a network.
///
/// A network whose registry is a file uses chain id 0, the zero address and a random salt.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    TlsSize,
    TlsSerialize,
    TlsDeserializeBytes,
)]
pub struct Genesis {
    /// EIP-155 id of the settlement chain; 0 without one.
    pub chain_id: u64,
    /// The registry contract; zero without one.
    pub registry: EthereumAddress,
    /// Tells apart networks that share the rest.
    pub salt: GenesisSalt,
}

impl Genesis {
    /// The genesis of a network whose registry is a file.
    #[must_use]
    pub fn without_chain(salt: GenesisSalt) -> Self {
        Self { chain_id: 0, registry: EthereumAddress::default(), salt }
    }

    /// The id that every signature binds (ENC-005).
    #[must_use]
    pub fn network_id(&self) -> NetworkId {
        NetworkId(labelled_hash("network", &[&self.to_wire()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salts_make_networks() {
        // covers: ENC-005
        let one = Genesis::without_chain(GenesisSalt([1; 32])).network_id();
        assert_ne!(one, Genesis::without_chain(GenesisSalt([2; 32])).network_id());
    }
}
