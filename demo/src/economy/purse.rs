//! Where all money is: a statement that balances to the last unit.

use std::fmt;

use anyhow::{Result, ensure};
use tidings_types::PicoDollarsTotal;

const UNITS_PER_DOLLAR: u128 = 1_000_000;

/// What rounding may leave in the pool for each who is paid: less than a unit of what was
/// collected, and less than a unit of the payment.
const DUST_PER_SHARE: u128 = 2;

/// What one was paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) name: String,
    /// In units of the token.
    pub(super) paid: u128,
}

/// Where all money is at one block, in units of the token unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    /// The payer's, in the vault.
    pub(super) balance: u128,
    /// Taken from payers so far.
    pub(super) collected: u128,
    /// Billed to payers so far.
    pub(super) billed: PicoDollarsTotal,
    /// Taken and not paid out yet.
    pub(super) pool: u128,
    /// What the vault holds of the token.
    pub(super) held: u128,
    /// All units of the token that there are; all were deposited by the payer.
    pub(super) minted: u128,
    /// How many reports were accepted.
    pub(super) reports: u64,
    /// Who was paid.
    pub(super) shares: Vec<Share>,
}

impl Statement {
    fn paid(&self) -> u128 {
        self.shares.iter().map(|share| share.paid).sum()
    }

    /// Whether all that is billed is collected, and all that is collected is paid out but for
    /// what rounding leaves.
    pub(super) fn is_settled(&self) -> bool {
        let is_collected = self.collected == self.billed.units_rounded_down();
        is_collected && self.pool <= DUST_PER_SHARE * (self.shares.len() as u128)
    }

    /// Whether somebody was paid; nobody has no name.
    pub(super) fn pays(&self, name: &str) -> bool {
        name.is_empty() || self.shares.iter().any(|share| share.name == name && share.paid > 0)
    }

    /// Checks that no unit is missing or there twice.
    ///
    /// # Errors
    /// The sum that does not hold.
    pub(super) fn check_conservation(&self) -> Result<()> {
        let Self { balance, collected, pool, held, minted, .. } = self;
        ensure!(*minted == balance + collected, "deposits ≠ balance + collected: {self:?}");
        ensure!(*collected == self.paid() + pool, "collected ≠ paid + pool: {self:?}");
        ensure!(*held == balance + pool, "the vault holds something else: {self:?}");
        Ok(())
    }

    /// An amount of units, for people.
    pub(super) fn dollars(&self, units: u128) -> String {
        format!("${}.{:06}", units / UNITS_PER_DOLLAR, units % UNITS_PER_DOLLAR)
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |formatter: &mut fmt::Formatter<'_>, what: &str, units| {
            writeln!(formatter, "    {what:<28} {:>16}", self.dollars(units))
        };
        writeln!(formatter, "  Statement after {} reports", self.reports)?;
        line(formatter, "deposited", self.minted)?;
        line(formatter, "left to the payer", self.balance)?;
        line(formatter, "taken from the payer", self.collected)?;
        for share in &self.shares {
            line(formatter, &format!("  paid to {}", share.name), share.paid)?;
        }
        line(formatter, "  in the pool, by rounding", self.pool)?;
        write!(
            formatter,
            "    {} + {} + {} = {}",
            self.dollars(self.balance),
            self.dollars(self.paid()),
            self.dollars(self.pool),
            self.dollars(self.minted)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> Statement {
        let share = |name: &str, paid| Share { name: name.into(), paid };
        Statement {
            balance: 999_000_000,
            collected: 1_000_000,
            billed: PicoDollarsTotal(1_000_000_999_999),
            pool: 3,
            held: 999_000_003,
            minted: 1_000_000_000,
            reports: 4,
            shares: vec![share("node-0", 900_000), share("the protocol", 99_997)],
        }
    }

    #[test]
    fn a_statement_balances_to_the_last_unit() {
        assert!(statement().check_conservation().is_ok() && statement().is_settled());
        let mut lost = statement();
        lost.held -= 1;
        assert!(lost.check_conservation().is_err());
        let mut invented = statement();
        invented.shares[0].paid += 1;
        assert!(invented.check_conservation().is_err());
        let mut early = statement();
        early.billed.0 += 1_000_000;
        assert!(!early.is_settled());
        assert!(statement().to_string().contains("$999.000000 + $0.999997 + $0.000003 = $1000"));
    }
}
