//! Between the chain's types and ours.

use alloy::primitives::Address;
use tidings_types::{EthereumAddress, PicoDollars, PicoDollarsTotal};

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

/// So many units of the token; more than fits, some eighteen million dollars, is as good as that.
pub(crate) fn picodollars(units: u128) -> PicoDollars {
    let exact = PicoDollarsTotal::from_units(units).ok();
    PicoDollars(exact.and_then(|amount| u64::try_from(amount.0).ok()).unwrap_or(u64::MAX))
}
