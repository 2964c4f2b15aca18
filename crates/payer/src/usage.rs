//! Adding up what payers used, period by period, from the headers of log entries.

use std::collections::{BTreeMap, HashMap};

use tidings_envelope::EntryHeader;
use tidings_types::{EthereumAddress, MoneyOverflow, Period, PicoDollars};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

/// What one payer used in one period.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, TlsSize, TlsSerialize, TlsDeserializeBytes,
)]
pub struct Usage {
    /// How many entries.
    pub envelopes: u64,
    /// The bytes of their payloads.
    pub bytes: u64,
    /// The sum of their fees.
    pub fee: PicoDollars,
}

impl Usage {
    /// The sum.
    ///
    /// # Errors
    /// [`MoneyOverflow`] when a component does not fit (FEE-003).
    pub fn plus(self, other: Self) -> Result<Self, MoneyOverflow> {
        Ok(Self {
            envelopes: self.envelopes.checked_add(other.envelopes).ok_or(MoneyOverflow)?,
            bytes: self.bytes.checked_add(other.bytes).ok_or(MoneyOverflow)?,
            fee: self.fee.plus(other.fee)?,
        })
    }

    pub(crate) fn of(header: &EntryHeader) -> Self {
        Self { envelopes: 1, bytes: u64::from(header.payload_length), fee: header.fee }
    }
}

/// Usage by period and payer, a pure function of the headers counted: their order does not matter
/// (FEE-007).
///
/// A tally counts entries; that an id which a failover put into two logs is billed once is up to
/// who merges tallies of several logs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageTally {
    /// A payer is looked up for each entry, and payers are listed once: by address, so that no
    /// result depends on how they are hashed.
    by_period: BTreeMap<Period, HashMap<EthereumAddress, Usage>>,
}

impl UsageTally {
    /// A tally of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one entry under its fee period and payer, at the fee that it carries (FEE-007).
    ///
    /// # Errors
    /// [`MoneyOverflow`] when a sum does not fit; nothing is counted then.
    pub fn count(&mut self, header: &EntryHeader) -> Result<(), MoneyOverflow> {
        self.add(header.fee_period, header.payer, Usage::of(header))
    }

    /// Adds what was counted elsewhere or stored.
    ///
    /// # Errors
    /// [`MoneyOverflow`] when a sum does not fit; nothing is added then.
    pub fn add(
        &mut self,
        period: Period,
        payer: EthereumAddress,
        usage: Usage,
    ) -> Result<(), MoneyOverflow> {
        // A payer that is new here stays: the first sum always fits.
        let known = self.by_period.entry(period).or_default().entry(payer).or_default();
        *known = known.plus(usage)?;
        Ok(())
    }

    /// What `payer` used in `period`.
    #[must_use]
    pub fn usage(&self, period: Period, payer: EthereumAddress) -> Usage {
        let of_period = self.by_period.get(&period);
        of_period.and_then(|payers| payers.get(&payer)).copied().unwrap_or_default()
    }

    /// Who used what in `period`, by address.
    pub fn payers(&self, period: Period) -> impl Iterator<Item = (EthereumAddress, Usage)> {
        self.by_period.get(&period).map(by_address).unwrap_or_default().into_iter()
    }

    /// Everything, by period and address.
    pub fn iter(&self) -> impl Iterator<Item = (Period, EthereumAddress, Usage)> {
        self.by_period.iter().flat_map(|(period, payers)| {
            let payers = by_address(payers).into_iter();
            payers.map(|(payer, usage)| (*period, payer, usage))
        })
    }

    /// Takes out the periods before `period`, which are closed.
    pub fn take_before(&mut self, period: Period) -> Self {
        let open = self.by_period.split_off(&period);
        Self { by_period: std::mem::replace(&mut self.by_period, open) }
    }
}

#[expect(clippy::disallowed_methods, reason = "what comes in any order is sorted")]
fn by_address(payers: &HashMap<EthereumAddress, Usage>) -> Vec<(EthereumAddress, Usage)> {
    let mut listed: Vec<_> = payers.iter().map(|(payer, usage)| (*payer, *usage)).collect();
    listed.sort_unstable_by_key(|(payer, _)| *payer);
    listed
}
