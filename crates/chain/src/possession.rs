//! That an operator has the key which it registers.

use tidings_types::ed25519::PublicKey;
use tidings_types::node_key::{NodeKey, NodeSignature, digest};
use tidings_types::{EthereumAddress, NetworkId};

use crate::address;

mod statement {
    alloy::sol! {
        struct NodeRegistration {
            address operator;
            address signing;
            bytes32 transport;
        }
    }
}

/// Signs that the node with this key is the operator's and has that transport key (SET-016).
#[must_use]
pub fn possession(
    key: &NodeKey,
    operator: EthereumAddress,
    transport: &PublicKey,
    network: NetworkId,
) -> NodeSignature {
    let statement = statement::NodeRegistration {
        operator: address(operator),
        signing: address(key.address()),
        transport: transport.0.into(),
    };
    key.sign(&digest(&statement, network))
}
