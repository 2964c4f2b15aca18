//! Amounts of tokens as people write them.

use std::str::FromStr;

use alloy_primitives::U256;

/// An amount in units of 10⁻ᴰ of a token, written in whole tokens with up to `D` decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount<const D: usize>(pub U256);

/// Of the token that bonds are made of.
pub type Tokens = Amount<18>;
/// Of the stable token that payers deposit.
pub type Dollars = Amount<6>;

/// The text is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an amount is digits with at most {decimals} of them after a point")]
pub struct AmountInvalid {
    decimals: usize,
}

impl<const D: usize> FromStr for Amount<D> {
    type Err = AmountInvalid;

    fn from_str(text: &str) -> Result<Self, AmountInvalid> {
        let invalid = || AmountInvalid { decimals: D };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
        if whole.is_empty() || fraction.len() > D || !is_number(whole) || !is_number(fraction) {
            return Err(invalid());
        }
        let digits = format!("{whole}{fraction:0<D$}");
        U256::from_str(&digits).map(Self).map_err(|_| invalid())
    }
}

impl<const D: usize> std::fmt::Display for Amount<D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = U256::from(10u8).pow(U256::from(D));
        let (whole, rest) = (self.0 / unit, self.0 % unit);
        if rest.is_zero() {
            return write!(formatter, "{whole}");
        }
        let fraction = format!("{:0>D$}", rest.to_string());
        write!(formatter, "{whole}.{}", fraction.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<u64>) {
        assert_eq!(
            text.parse().ok(),
            expected.map(|units| Amount::<6>(U256::from(units))),
            "{text}"
        );
    }

    #[test]
    fn amounts_are_exact() {
        check("0", Some(0));
        check("12", Some(12_000_000));
        check("12.5", Some(12_500_000));
        check("0.000001", Some(1));
        check("1.", Some(1_000_000));
        for text in ["", ".5", "0.0000001", "-1", "1e3", "1_000", "1,5", " 1", "٣"] {
            check(text, None);
        }
        check(&"9".repeat(90), None);
    }

    #[test]
    fn amounts_are_printed_as_they_are_written() {
        for text in ["0", "12", "12.5", "0.000001", "100000"] {
            assert_eq!(text.parse::<Dollars>().unwrap().to_string(), text);
        }
    }
}
