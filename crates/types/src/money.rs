//! Money in integers: 10⁻¹² US dollars.

use std::fmt;

use serde::{Deserialize, Serialize};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

/// An amount in units of 10⁻¹² US dollars, up to about 18 million dollars.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    TlsSize,
    TlsSerialize,
    TlsDeserializeBytes,
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct PicoDollars(pub u64);

/// A sum or product does not fit into [`PicoDollars`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("amount exceeds what PicoDollars can hold")]
pub struct MoneyOverflow;

impl PicoDollars {
    /// The sum.
    ///
    /// # Errors
    /// [`MoneyOverflow`] when it does not fit.
    pub fn plus(self, other: Self) -> Result<Self, MoneyOverflow> {
        self.0.checked_add(other.0).map(Self).ok_or(MoneyOverflow)
    }

    /// The difference.
    ///
    /// # Errors
    /// [`MoneyOverflow`] when `other` is larger.
    pub fn minus(self, other: Self) -> Result<Self, MoneyOverflow> {
        self.0.checked_sub(other.0).map(Self).ok_or(MoneyOverflow)
    }

    /// The amount `factor` times.
    ///
    /// # Errors
    /// [`MoneyOverflow`] when it does not fit.
    pub fn times(self, factor: u64) -> Result<Self, MoneyOverflow> {
        self.0.checked_mul(factor).map(Self).ok_or(MoneyOverflow)
    }
}

impl fmt::Display for PicoDollars {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PER_DOLLAR: u64 = 1_000_000_000_000;
        write!(formatter, "${}.{:012}", self.0 / PER_DOLLAR, self.0 % PER_DOLLAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_never_wraps() {
        assert_eq!(PicoDollars(u64::MAX).plus(PicoDollars(1)), Err(MoneyOverflow));
        assert_eq!(PicoDollars(1).minus(PicoDollars(2)), Err(MoneyOverflow));
        assert_eq!(PicoDollars(3).times(4), Ok(PicoDollars(12)));
        assert_eq!(PicoDollars(1_500_000_000_000).to_string(), "$1.500000000000");
    }
}
