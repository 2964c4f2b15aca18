//! Money in integers: 10⁻¹² US dollars.

use std::fmt;
use std::io::Write;

use serde::{Deserialize, Serialize};
use tls_codec::{DeserializeBytes, Size, TlsDeserializeBytes, TlsSerialize, TlsSize};

/// What one unit of a stable token with six decimals is.
const PICO_DOLLARS_PER_UNIT: u128 = 1_000_000;

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

/// A sum over a network's life in units of 10⁻¹² US dollars; 16 bytes on the wire, big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PicoDollarsTotal(pub u128);

impl PicoDollarsTotal {
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

    /// In units of a token with six decimals, what is less than one left off.
    #[must_use]
    pub const fn units_rounded_down(self) -> u128 {
        self.0 / PICO_DOLLARS_PER_UNIT
    }

    /// In units of a token with six decimals, what is less than one counted as one.
    #[must_use]
    pub const fn units_rounded_up(self) -> u128 {
        self.0.div_ceil(PICO_DOLLARS_PER_UNIT)
    }

    /// The amount `factor` times.
    ///
    /// # Errors
    /// [`MoneyOverflow`] when it does not fit.
    pub fn times(self, factor: u64) -> Result<Self, MoneyOverflow> {
        self.0.checked_mul(factor.into()).map(Self).ok_or(MoneyOverflow)
    }

    /// So many units of a token with six decimals.
    ///
    /// # Errors
    /// [`MoneyOverflow`] when it does not fit.
    pub fn from_units(units: u128) -> Result<Self, MoneyOverflow> {
        units.checked_mul(PICO_DOLLARS_PER_UNIT).map(Self).ok_or(MoneyOverflow)
    }
}

impl From<PicoDollars> for PicoDollarsTotal {
    fn from(amount: PicoDollars) -> Self {
        Self(amount.0.into())
    }
}

impl Size for PicoDollarsTotal {
    fn tls_serialized_len(&self) -> usize {
        size_of::<u128>()
    }
}

impl tls_codec::Serialize for PicoDollarsTotal {
    fn tls_serialize<W: Write>(&self, writer: &mut W) -> Result<usize, tls_codec::Error> {
        self.0.to_be_bytes().tls_serialize(writer)
    }
}

impl DeserializeBytes for PicoDollarsTotal {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), tls_codec::Error> {
        let (value, rest) = <[u8; size_of::<u128>()]>::tls_deserialize_bytes(bytes)?;
        Ok((Self(u128::from_be_bytes(value)), rest))
    }
}

impl fmt::Display for PicoDollarsTotal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PER_DOLLAR: u128 = 1_000_000_000_000;
        write!(formatter, "${}.{:012}", self.0 / PER_DOLLAR, self.0 % PER_DOLLAR)
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
    use crate::Wire;

    #[test]
    fn arithmetic_never_wraps() {
        assert_eq!(PicoDollars(u64::MAX).plus(PicoDollars(1)), Err(MoneyOverflow));
        assert_eq!(PicoDollars(1).minus(PicoDollars(2)), Err(MoneyOverflow));
        assert_eq!(PicoDollars(3).times(4), Ok(PicoDollars(12)));
        assert_eq!(PicoDollars(1_500_000_000_000).to_string(), "$1.500000000000");
    }

    #[test]
    fn units_are_whole_and_totals_have_sixteen_bytes() {
        let total = PicoDollarsTotal(1_999_999);
        assert_eq!(total.units_rounded_down(), 1);
        let rounded_up = [0, 1, 1_000_000, 1_000_001, u128::MAX];
        let rounded_up = rounded_up.map(|amount| PicoDollarsTotal(amount).units_rounded_up());
        assert_eq!(rounded_up, [0, 1, 1, 2, u128::MAX / 1_000_000 + 1]);
        assert_eq!(total.times(2), Ok(PicoDollarsTotal(3_999_998)));
        assert_eq!(PicoDollarsTotal(u128::MAX).times(2), Err(MoneyOverflow));
        assert_eq!(PicoDollarsTotal::from_units(1), Ok(PicoDollarsTotal(1_000_000)));
        assert_eq!(PicoDollarsTotal::from_units(u128::MAX), Err(MoneyOverflow));
        assert_eq!(PicoDollarsTotal(1).minus(total), Err(MoneyOverflow));
        assert_eq!(total.to_wire().len(), 16);
        assert_eq!(PicoDollarsTotal::from_wire(&total.to_wire()), Ok(total));
        assert_eq!(total.to_string(), "$0.000001999999");
    }
}
