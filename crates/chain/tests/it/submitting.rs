//! Calls that are carried out exactly once, whatever happens on the way.

use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::U256;
use alloy::sol_types::SolCall;
use tidings_chain::contracts::DevnetDollar;
use tidings_chain::{
    Call, Entries, FileJournal, Journal, JournalError, SubmitError, Submitter, SubmitterConfig,
    Wallet, address,
};

use crate::anvil::{Anvil, CHAIN_ID, KEY, OTHER_KEY, quick};

/// A token of which calls make more, so that a call done twice shows.
struct Bench {
    anvil: Anvil,
    dollar: tidings_types::EthereumAddress,
    journal: PathBuf,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn set() -> Self {
        let anvil = Anvil::start();
        let mut submitter = anvil.submitter(&OTHER_KEY);
        let call = Call { key: "token".into(), to: None, data: DevnetDollar::BYTECODE.clone() };
        submitter.submit(&call).await.unwrap();
        let dollar = address(submitter.address()).create(0);
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal.json");
        Self { anvil, dollar: tidings_chain::ethereum_address(dollar), journal, _folder: folder }
    }

    fn submitter(&self, config: SubmitterConfig) -> Submitter {
        self.submitter_with(Box::new(FileJournal::new(self.journal.clone())), config)
    }

    fn submitter_with(&self, journal: Box<dyn Journal>, config: SubmitterConfig) -> Submitter {
        let wallet = Wallet::from_secret(&KEY).unwrap();
        Submitter::new(self.anvil.endpoints(), CHAIN_ID, wallet, journal, config).unwrap()
    }

    fn mint(&self, key: &str, amount: u64) -> Call {
        let holder = address(Wallet::from_secret(&KEY).unwrap().address());
        let call = DevnetDollar::mintCall { to: holder, amount: U256::from(amount) };
        Call::new(key, self.dollar, call.abi_encode())
    }

    async fn minted(&self) -> u64 {
        let holder = address(Wallet::from_secret(&KEY).unwrap().address());
        let token = address(self.dollar);
        let endpoints = self.anvil.endpoints();
        let ask = move |provider| async move {
            let token = DevnetDollar::new(token, provider);
            token.balanceOf(holder).call().await
        };
        endpoints.agreed(ask).await.unwrap().to()
    }
}

/// A journal that keeps what it is told once, and then fails as a process does that is killed
/// between signing and sending.
struct KilledAfterSave(FileJournal);

impl Journal for KilledAfterSave {
    fn load(&mut self) -> Result<Entries, JournalError> {
        self.0.load()
    }

    fn save(&mut self, entries: &Entries) -> Result<(), JournalError> {
        self.0.save(entries)?;
        Err(JournalError::Invalid { path: PathBuf::new(), reason: "killed".into() })
    }
}

#[tokio::test]
async fn the_same_key_is_the_same_call() {
    let bench = Bench::set().await;
    let mut submitter = bench.submitter(quick());
    let first = submitter.submit(&bench.mint("one", 5)).await.unwrap();
    assert_eq!(submitter.submit(&bench.mint("one", 5)).await.unwrap(), first);
    let mut restarted = bench.submitter(quick());
    assert_eq!(restarted.submit(&bench.mint("one", 5)).await.unwrap(), first);
    assert_eq!(bench.minted().await, 5);
    restarted.submit(&bench.mint("two", 7)).await.unwrap();
    assert_eq!(bench.minted().await, 12);
}

#[tokio::test]
async fn a_key_stands_for_one_call() {
    let bench = Bench::set().await;
    bench.submitter(quick()).submit(&bench.mint("one", 5)).await.unwrap();
    let refused = bench.submitter(quick()).submit(&bench.mint("one", 6)).await;
    assert!(matches!(refused, Err(SubmitError::OtherCall(_))), "{refused:?}");
    assert_eq!(bench.minted().await, 5);
}

/// A journal on a full disk.
struct Full;

impl Journal for Full {
    fn load(&mut self) -> Result<Entries, JournalError> {
        Ok(Entries::default())
    }

    fn save(&mut self, _: &Entries) -> Result<(), JournalError> {
        Err(JournalError::Io {
            path: PathBuf::new(),
            source: std::io::ErrorKind::StorageFull.into(),
        })
    }
}

#[tokio::test]
async fn what_was_not_saved_is_never_sent() {
    let bench = Bench::set().await;
    let mut submitter = bench.submitter_with(Box::new(Full), quick());
    for _ in 0..2 {
        let refused = submitter.submit(&bench.mint("one", 5)).await;
        assert!(matches!(refused, Err(SubmitError::Journal(_))), "{refused:?}");
        assert!(submitter.pending().is_empty());
    }
    assert_eq!(bench.minted().await, 0);
}

#[tokio::test]
async fn a_crash_between_signing_and_sending_loses_and_doubles_nothing() {
    let bench = Bench::set().await;
    let journal = Box::new(KilledAfterSave(FileJournal::new(bench.journal.clone())));
    let mut killed = bench.submitter_with(journal, quick());
    let refused = killed.submit(&bench.mint("one", 5)).await;
    assert!(matches!(refused, Err(SubmitError::Journal(_))), "{refused:?}");
    assert_eq!(bench.minted().await, 0);
    let mut restarted = bench.submitter(quick());
    assert_eq!(restarted.pending(), ["one"]);
    restarted.submit(&bench.mint("one", 5)).await.unwrap();
    assert_eq!(bench.minted().await, 5);
    assert!(restarted.pending().is_empty());
}

#[tokio::test]
async fn a_crash_while_waiting_loses_and_doubles_nothing() {
    let bench = Bench::set().await;
    bench.anvil.mine_at_once(false).await;
    let impatient = SubmitterConfig { give_up_after: Duration::from_millis(50), ..quick() };
    let waited = bench.submitter(impatient).submit(&bench.mint("one", 5)).await;
    assert!(matches!(waited, Err(SubmitError::TimedOut(_))), "{waited:?}");
    // It is carried out while nobody looks.
    bench.anvil.mine_at_once(true).await;
    bench.anvil.mine(1).await;
    bench.submitter(quick()).submit(&bench.mint("one", 5)).await.unwrap();
    assert_eq!(bench.minted().await, 5);
}

#[tokio::test]
async fn a_transaction_that_pays_too_little_is_replaced() {
    let bench = Bench::set().await;
    bench.anvil.mine_at_once(false).await;
    let impatient = SubmitterConfig { give_up_after: Duration::from_millis(50), ..quick() };
    let waited = bench.submitter(impatient).submit(&bench.mint("one", 5)).await;
    assert!(matches!(waited, Err(SubmitError::TimedOut(_))), "{waited:?}");
    // Blocks have become dearer than it pays at most.
    let fee = serde_json::json!([format!("0x{:x}", 30_000_000_000u64)]);
    bench.anvil.tell("anvil_setNextBlockBaseFeePerGas", fee).await;
    bench.anvil.mine_at_once(true).await;
    let eager = SubmitterConfig { bump_after: Duration::from_millis(10), ..quick() };
    bench.submitter(eager).submit(&bench.mint("one", 5)).await.unwrap();
    assert_eq!(bench.minted().await, 5);
}

#[tokio::test]
async fn a_nonce_that_somebody_else_took_is_replaced() {
    let bench = Bench::set().await;
    let journal = Box::new(KilledAfterSave(FileJournal::new(bench.journal.clone())));
    let mut killed = bench.submitter_with(journal, quick());
    assert!(killed.submit(&bench.mint("one", 5)).await.is_err());
    // The same account acts elsewhere, against the rule.
    bench.anvil.submitter(&KEY).submit(&bench.mint("stray", 100)).await.unwrap();
    bench.submitter(quick()).submit(&bench.mint("one", 5)).await.unwrap();
    assert_eq!(bench.minted().await, 105);
}

#[tokio::test]
async fn what_a_contract_would_refuse_is_never_sent() {
    let bench = Bench::set().await;
    let transfer =
        DevnetDollar::transferCall { to: address(bench.dollar), value: U256::from(1u64) };
    let call = Call::new("transfer", bench.dollar, transfer.abi_encode());
    let mut submitter = bench.submitter(quick());
    let refused = submitter.submit(&call).await;
    let Err(SubmitError::Refused(reason)) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("ERC20InsufficientBalance"), "{reason}");
    assert!(submitter.pending().is_empty());
    // The next call is not held up.
    submitter.submit(&bench.mint("one", 5)).await.unwrap();
}
