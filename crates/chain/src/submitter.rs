//! Calls to the chain that are carried out exactly once.
//!
//! A call is signed and written to a journal before it is sent, so a crash at any point leaves
//! either nothing or something that is sent again unchanged. Whatever is signed for one call shares
//! one nonce, of which the chain carries out one transaction at most: paying more, or sending again
//! after a lost answer, never does it twice.

use std::time::Duration;

use alloy::consensus::TxEip1559;
use alloy::eips::BlockNumberOrTag;
use alloy::primitives::{B256, Bytes, TxKind, U256, keccak256};
use alloy::providers::{DynProvider, Provider};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::transports::TransportError;
use tidings_types::EthereumAddress;
use tokio::time::Instant;

use crate::endpoints::brief;
use crate::journal::{Attempt, Entries, Entry};
use crate::{ChainError, Endpoints, Journal, JournalError, Wallet, WalletError, address};

/// The least that a replacement pays above what it replaces; nodes ask for a tenth or an eighth.
const BUMP_PERCENT: u128 = 25;
/// How many looks in a row must find that nothing of ours can happen any more before a call is
/// signed again: behind one address may be servers that are not equally far.
const IMPOSSIBLE_LOOKS: u32 = 5;
/// More gas than any call here takes; a provider that says more is wrong.
const GAS_MAX: u64 = 30_000_000;
/// Before the chain is asked again for the first time: some make a block for each transaction.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Gas beyond the estimate, because state may change until the call is carried out.
const GAS_MARGIN_PERCENT: u64 = 25;

/// What a [`Submitter`] does for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubmitterConfig {
    /// How many blocks must follow before a transaction is certain.
    pub confirmations: u64,
    /// How often the chain is asked, once it has not answered at once.
    pub poll: Duration,
    /// How long a transaction may wait before another that pays more takes its place.
    pub bump_after: Duration,
    /// How long all of it may take; the call stays pending afterwards.
    pub give_up_after: Duration,
    /// The most that is paid per gas, in wei.
    pub max_fee: u128,
}

impl Default for SubmitterConfig {
    fn default() -> Self {
        Self {
            confirmations: 2,
            poll: Duration::from_secs(1),
            bump_after: Duration::from_secs(45),
            give_up_after: Duration::from_secs(600),
            max_fee: 500_000_000_000,
        }
    }
}

/// A call to a contract, or the making of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Names the call among all of this account's: what has the same key is the same call.
    pub key: String,
    /// The contract; none makes one.
    pub to: Option<EthereumAddress>,
    /// The function and its arguments, or the code.
    pub data: Bytes,
}

impl Call {
    /// A call to the contract at `to`.
    #[must_use]
    pub fn new(key: impl Into<String>, to: EthereumAddress, data: Vec<u8>) -> Self {
        Self { key: key.into(), to: Some(to), data: data.into() }
    }
}

/// A call that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed {
    /// The transaction.
    pub hash: B256,
    /// The block that it is in.
    pub block: u64,
}

/// Why a call was not carried out, or is not known to be.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The chain could not be asked. The call may be pending.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The journal could not be read or written; nothing was sent.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The account's key cannot sign.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// The contract would refuse the call, so nothing was sent.
    #[error("the call would fail: {0}")]
    Refused(String),
    /// It was carried out, and failed.
    #[error("transaction {hash} failed in block {block}")]
    Reverted {
        /// The transaction.
        hash: B256,
        /// The block that it is in.
        block: u64,
    },
    /// The journal has another call under the same key: of another plan, account or chain.
    #[error("“{0}” was begun with other contents, or for another account or chain")]
    OtherCall(String),
    /// It was not carried out in time, and is still pending.
    #[error("no certainty about the call within {} s; it stays pending", .0.as_secs())]
    TimedOut(Duration),
}

impl SubmitError {
    /// Whether the same call may be carried out later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Chain(_) | Self::Journal(JournalError::Io { .. }) | Self::TimedOut(_))
    }
}

/// Acts on the chain for one account, one call at a time. Nobody else may use the account.
pub struct Submitter {
    endpoints: Endpoints,
    chain_id: u64,
    wallet: Wallet,
    journal: Box<dyn Journal>,
    entries: Entries,
    config: SubmitterConfig,
    /// How many looks in a row found the nonce used and nothing of ours.
    impossible_looks: u32,
}

impl Submitter {
    /// Takes up where the journal ends.
    ///
    /// # Errors
    /// [`SubmitError::Journal`] when it cannot be read.
    pub fn new(
        endpoints: Endpoints,
        chain_id: u64,
        wallet: Wallet,
        mut journal: Box<dyn Journal>,
        config: SubmitterConfig,
    ) -> Result<Self, SubmitError> {
        let entries = journal.load()?;
        Ok(Self { endpoints, chain_id, wallet, journal, entries, config, impossible_looks: 0 })
    }

    /// The account.
    #[must_use]
    pub fn address(&self) -> EthereumAddress {
        self.wallet.address()
    }

    /// Where the account's calls go.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Keys of the calls that were signed and are not certain.
    #[must_use]
    pub fn pending(&self) -> Vec<String> {
        self.entries.pending()
    }

    /// How many transactions of the account providers hold that are in no block yet.
    ///
    /// # Errors
    /// [`SubmitError::Chain`] when too few providers answer.
    pub async fn waiting(&self) -> Result<u64, SubmitError> {
        let account = address(self.address());
        let ask = move |provider: DynProvider| async move {
            let latest = provider.get_transaction_count(account).await?;
            let pending = provider.get_transaction_count(account).pending().await?;
            Ok::<_, TransportError>(pending.saturating_sub(latest))
        };
        Ok(self.endpoints.reached(ask).await?)
    }

    /// What a call would cost in gas; nothing is signed.
    ///
    /// # Errors
    /// [`SubmitError::Refused`] when it would fail, with the contract's reason.
    pub async fn estimate(&self, call: &Call) -> Result<u64, SubmitError> {
        let mut request = TransactionRequest::default()
            .from(address(self.address()))
            .input(call.data.clone().into());
        request.to = Some(call.to.map_or(TxKind::Create, |to| TxKind::Call(address(to))));
        let mut last = ChainError::NoEndpoint.to_string();
        for provider in self.endpoints.all() {
            match provider.estimate_gas(request.clone()).await {
                Ok(gas) if gas <= GAS_MAX => return Ok(gas + gas / 100 * GAS_MARGIN_PERCENT),
                Ok(gas) => last = format!("an endpoint says that a call takes {gas} gas"),
                // The contract said no; another endpoint would say the same.
                Err(error) if is_revert(&error) => {
                    return Err(SubmitError::Refused(reason(&error)));
                }
                Err(error) => last = brief(&error),
            }
        }
        Err(ChainError::Contract(last).into())
    }

    /// Has a call carried out and waits until that is certain. A key that was used before gives
    /// what its call came to.
    ///
    /// # Errors
    /// [`SubmitError`]; where it is [`retryable`](SubmitError::retryable), the same call goes on.
    pub async fn submit(&mut self, call: &Call) -> Result<Confirmed, SubmitError> {
        let deadline = Instant::now() + self.config.give_up_after;
        match self.entries.get(&call.key) {
            None => self.sign_first(call).await?,
            Some(entry) if entry.call() != self.digest(call) => {
                return Err(SubmitError::OtherCall(call.key.clone()));
            }
            Some(_) => {}
        }
        let mut bump_at = Instant::now() + self.config.bump_after;
        self.send(&call.key).await;
        let mut pause = FIRST_PAUSE.min(self.config.poll);
        loop {
            if let Some(confirmed) = self.look(call).await? {
                return confirmed;
            }
            if Instant::now() >= deadline {
                return Err(SubmitError::TimedOut(self.config.give_up_after));
            }
            if Instant::now() >= bump_at {
                bump_at = Instant::now() + self.config.bump_after;
                self.bump(call)?;
                self.send(&call.key).await;
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(self.config.poll);
        }
    }

    async fn sign_first(&mut self, call: &Call) -> Result<(), SubmitError> {
        let gas = self.estimate(call).await?;
        let nonce = self.next_nonce().await?;
        let (max_fee, priority_fee) = self.fees().await?;
        let attempt = self.sign(call, nonce, gas, max_fee, priority_fee)?;
        let digest = self.digest(call);
        let entry = Entry::Pending { call: digest, nonce, gas, attempts: vec![attempt] };
        self.keep(|entries| entries.put(&call.key, entry))
    }

    /// Changes what is known, once the changed form is saved: nothing is sent that is not.
    fn keep(&mut self, change: impl FnOnce(&mut Entries)) -> Result<(), SubmitError> {
        let mut next = self.entries.clone();
        change(&mut next);
        self.journal.save(&next)?;
        self.entries = next;
        Ok(())
    }

    /// What tells a call from another under the same key: chain, account, contract and data.
    fn digest(&self, call: &Call) -> B256 {
        let chain_id = self.chain_id.to_be_bytes();
        let to = call.to.map_or_else(Vec::new, |to| to.0.to_vec());
        keccak256([&chain_id[..], &self.address().0, &to, &call.data].concat())
    }

    fn sign(
        &self,
        call: &Call,
        nonce: u64,
        gas: u64,
        max_fee: u128,
        priority_fee: u128,
    ) -> Result<Attempt, SubmitError> {
        let (bytes, hash) = self.wallet.sign(TxEip1559 {
            chain_id: self.chain_id,
            nonce,
            gas_limit: gas,
            max_fee_per_gas: max_fee,
            max_priority_fee_per_gas: priority_fee,
            to: call.to.map_or(TxKind::Create, |to| TxKind::Call(address(to))),
            value: U256::ZERO,
            access_list: alloy::eips::eip2930::AccessList::default(),
            input: call.data.clone(),
        })?;
        Ok(Attempt { hash, bytes, max_fee, priority_fee })
    }

    /// What the chain says that the account has used, but never what is pending here.
    async fn next_nonce(&self) -> Result<u64, SubmitError> {
        let account = address(self.address());
        let ask = move |provider: DynProvider| async move {
            provider.get_transaction_count(account).await
        };
        Ok(self.endpoints.reached(ask).await?.max(self.entries.next_nonce()))
    }

    /// Twice the base fee of now, so that it holds for some blocks, and a tip as is usual.
    async fn fees(&self) -> Result<(u128, u128), SubmitError> {
        let mut last = String::new();
        for provider in self.endpoints.all() {
            match provider.estimate_eip1559_fees().await {
                Ok(fees) => {
                    let max_fee = fees.max_fee_per_gas.min(self.config.max_fee);
                    return Ok((max_fee, fees.max_priority_fee_per_gas.min(max_fee)));
                }
                Err(error) => last = brief(&error),
            }
        }
        Err(ChainError::Contract(last).into())
    }

    /// Signs the call again for the same nonce, with a fee that makes nodes replace the last one.
    fn bump(&mut self, call: &Call) -> Result<(), SubmitError> {
        let entry = self.entries.get(&call.key).cloned();
        let Some(Entry::Pending { call: digest, nonce, gas, attempts }) = entry else {
            return Ok(());
        };
        let Some(last) = attempts.last() else { return Ok(()) };
        let raised = |fee: u128| (fee + fee * BUMP_PERCENT / 100 + 1).min(self.config.max_fee);
        let (max_fee, priority_fee) = (raised(last.max_fee), raised(last.priority_fee));
        if max_fee == last.max_fee {
            return Ok(());
        }
        let attempt = self.sign(call, nonce, gas, max_fee, priority_fee.min(max_fee))?;
        tracing::info!(key = call.key, nonce, %max_fee, "a transaction waits too long; paying more");
        let attempts = attempts.into_iter().chain([attempt]).collect();
        let entry = Entry::Pending { call: digest, nonce, gas, attempts };
        self.keep(|entries| entries.put(&call.key, entry))
    }

    /// Sends the newest form of a call to all endpoints. What they answer proves nothing: whether
    /// it is on the chain is looked up.
    async fn send(&self, key: &str) {
        let Some(Entry::Pending { attempts, .. }) = self.entries.get(key) else { return };
        let Some(attempt) = attempts.last() else { return };
        for provider in self.endpoints.all() {
            if let Err(error) = provider.send_raw_transaction(&attempt.bytes).await {
                let error = brief(&error);
                tracing::debug!(key, error, "an endpoint did not take a transaction");
            }
        }
    }

    /// Looks whether a call is on the chain with enough blocks after it.
    async fn look(
        &mut self,
        call: &Call,
    ) -> Result<Option<Result<Confirmed, SubmitError>>, SubmitError> {
        let (nonce, attempts) = match self.entries.get(&call.key) {
            Some(Entry::Pending { nonce, attempts, .. }) => (*nonce, attempts.clone()),
            Some(Entry::Finished { hash, block, succeeded, .. }) => {
                return Ok(Some(outcome(*hash, *block, *succeeded)));
            }
            None => return Ok(None),
        };
        match self.fate(nonce, &attempts).await {
            Ok(Fate::Settled { hash, block, succeeded }) => {
                let digest = self.digest(call);
                self.keep(|entries| entries.finish(&call.key, digest, hash, block, succeeded))?;
                Ok(Some(outcome(hash, block, succeeded)))
            }
            Ok(Fate::Impossible) => {
                self.impossible_looks += 1;
                if self.impossible_looks >= IMPOSSIBLE_LOOKS {
                    tracing::warn!(key = call.key, nonce, "another transaction took the nonce");
                    self.impossible_looks = 0;
                    self.sign_first(call).await?;
                    self.send(&call.key).await;
                }
                Ok(None)
            }
            Ok(Fate::Open) => {
                self.impossible_looks = 0;
                Ok(None)
            }
            // It passes; the call is sent and looked up again until there is no time left.
            Err(error) => {
                tracing::warn!(%error, key = call.key, "cannot look up a transaction");
                self.send(&call.key).await;
                Ok(None)
            }
        }
    }

    /// What became of what was signed for one nonce.
    async fn fate(&self, nonce: u64, attempts: &[Attempt]) -> Result<Fate, ChainError> {
        let Some(settled) = self.settled_block().await? else { return Ok(Fate::Open) };
        let account = address(self.address());
        let hashes: Vec<B256> = attempts.iter().map(|attempt| attempt.hash).collect();
        let ask = move |provider: DynProvider| {
            let hashes = hashes.clone();
            async move {
                // The nonce comes first: if one of ours has used it by then, the receipt is there.
                let block = BlockNumberOrTag::Number(settled);
                let used = provider.get_transaction_count(account).block_id(block.into()).await?;
                for hash in hashes {
                    let found: Option<TransactionReceipt> =
                        provider.get_transaction_receipt(hash).await?;
                    let carried_out =
                        found.and_then(|it| Some((hash, it.block_number?, it.status())));
                    if carried_out.is_some() {
                        return Ok::<_, TransportError>((used > nonce, carried_out));
                    }
                }
                Ok((used > nonce, None))
            }
        };
        Ok(match self.endpoints.agreed(ask).await? {
            (_, Some((hash, block, succeeded))) if block <= settled => {
                Fate::Settled { hash, block, succeeded }
            }
            (true, None) => Fate::Impossible,
            _ => Fate::Open,
        })
    }

    /// The newest block with enough blocks after it.
    async fn settled_block(&self) -> Result<Option<u64>, ChainError> {
        let head = self.endpoints.height().await?;
        Ok(head.checked_sub(self.config.confirmations))
    }
}

/// What became of a call.
enum Fate {
    /// It is not certain yet.
    Open,
    /// It was carried out, for good.
    Settled { hash: B256, block: u64, succeeded: bool },
    /// Something else used the nonce, so nothing signed with it can happen any more.
    Impossible,
}

fn outcome(hash: B256, block: u64, succeeded: bool) -> Result<Confirmed, SubmitError> {
    if succeeded {
        Ok(Confirmed { hash, block })
    } else {
        Err(SubmitError::Reverted { hash, block })
    }
}

/// Whether a contract refused, and not the provider.
pub(crate) fn is_revert(error: &TransportError) -> bool {
    error.as_error_resp().is_some_and(|response| {
        response.as_revert_data().is_some() || response.message.contains("revert")
    })
}

/// What a contract said, by the name of its error where it is one of ours.
fn reason(error: &TransportError) -> String {
    let Some(response) = error.as_error_resp() else { return brief(error) };
    let data = response.as_revert_data();
    let named = data.as_ref().and_then(|data| crate::contracts::named_error(data));
    named.unwrap_or_else(|| brief(&response.message))
}
