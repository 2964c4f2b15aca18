//! Between the chain's types and ours.

use alloy::primitives::Address;
use tidings_types::EthereumAddress;

/// The chain library's form of an address.
#[must_use]
pub fn address(address: EthereumAddress) -> Address {
    Address::from(address.0)
}

/// Our form of an address.
#[must_use]
pub fn ethereum_address(address: Address) -> EthereumAddress {
    EthereumAddress(address.into_array())
}
