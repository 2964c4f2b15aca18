//! What a payer has, read from the real vault.

use alloy::primitives::U256;
use alloy::sol_types::SolCall;
use serde_json::json;
use tidings_chain::contracts::{DevnetDollar, PayerVault};
use tidings_chain::{ContractError, Watcher, WatcherConfig, address, read_funds};
use tidings_envelope::registry::PayerRecord;
use tidings_payer::{Funds, ShardFunds};
use tidings_types::{Period, PicoDollars, PicoDollarsTotal, ShardId};

use crate::anvil::Stage;

/// Units of a dollar a period.
const CAP: u128 = 1_000;

const CAP_PICODOLLARS: PicoDollars = PicoDollars(1_000_000_000);

const DEPOSIT: u128 = 5_000_000;

async fn read(stage: &Stage, finality_depth: u64) -> Option<Funds> {
    let (endpoints, payer) = (stage.anvil.endpoints(), stage.submitter.address());
    read_funds(&endpoints, &stage.deployment, payer, finality_depth).await.unwrap()
}

/// A network of one shard, in which the payer has a deposit and a cap.
async fn stage() -> Stage {
    let mut stage = Stage::set().await;
    stage.add_node(0, 1).await;
    stage.open_epoch().await;
    let (vault, dollar) = (stage.deployment.vault, stage.deployment.dollar);
    let (payer, amount) = (address(stage.submitter.address()), U256::from(DEPOSIT));
    stage.call(dollar, &DevnetDollar::mintCall { to: payer, amount }).await;
    let approve = DevnetDollar::approveCall { spender: address(vault), value: amount };
    stage.call(dollar, &approve).await;
    stage.call(vault, &PayerVault::depositCall { payer, amount }).await;
    stage.call(vault, &PayerVault::setCapCall { shard: 0, amount: CAP }).await;
    stage
}

/// Has the vault asked for money by the settlement's address, as a mature report has it asked.
async fn collect(stage: &Stage, wanted: u128, through: Period) {
    let settlement = address(stage.deployment.settlement);
    let call = PayerVault::collectCall {
        payer: address(stage.submitter.address()),
        shard: 0,
        wanted: U256::from(wanted),
        through: through.0,
    };
    stage.anvil.tell("anvil_setBalance", json!([settlement, "0xffffffffffffffff"])).await;
    stage.anvil.tell("anvil_impersonateAccount", json!([settlement])).await;
    let data = format!("0x{}", alloy::primitives::hex::encode(call.abi_encode()));
    let to = address(stage.deployment.vault);
    let transaction = json!([{ "from": settlement, "to": to, "data": data }]);
    stage.anvil.tell("eth_sendTransaction", transaction).await;
}

async fn carried(stage: &Stage) -> u128 {
    let (vault, payer) = (address(stage.deployment.vault), address(stage.submitter.address()));
    let ask = move |provider| async move {
        let carried = PayerVault::new(vault, provider).carriedOf(payer, 0).call().await?;
        Ok::<_, ContractError>(carried)
    };
    stage.anvil.endpoints().agreed(ask).await.unwrap().to()
}

fn dollars(units: u128) -> PicoDollarsTotal {
    PicoDollarsTotal::from_units(units).unwrap()
}

/// What the newest epoch that a watcher can read says of the payer.
async fn record(stage: &Stage) -> PayerRecord {
    let config = WatcherConfig { finality_depth: 0, ..WatcherConfig::default() };
    let mut watcher = Watcher::new(stage.anvil.endpoints(), stage.deployment, config, None);
    let opened = watcher.look().await.unwrap();
    opened.last().unwrap().payer(stage.submitter.address()).unwrap().clone()
}

#[tokio::test]
async fn an_epoch_has_every_payers_cap_and_says_who_is_short() {
    // covers: SET-026
    let mut stage = stage().await;
    stage.open_epoch().await;
    let capped = record(&stage).await;
    let from = read(&stage, 0).await.unwrap().shards[&ShardId(0)].cap.from;
    assert_eq!(capped.cap(ShardId(0), from), Some(CAP_PICODOLLARS));
    assert_eq!(capped.cap(ShardId(0), from.minus(1)), Some(PicoDollars(0)));
    assert!(!capped.is_short);

    // Of the deposit all but an eighth of what 720 periods of the cap are is asked back and taken.
    let vault = stage.deployment.vault;
    let ask_back = PayerVault::requestWithdrawalCall { amount: U256::from(DEPOSIT - CAP * 720) };
    stage.call(vault, &ask_back).await;
    let through = from.plus(719);
    collect(&stage, CAP * 630, through).await;
    stage.open_epoch().await;
    assert!(!record(&stage).await.is_short, "an eighth is enough");
    collect(&stage, 1, through.plus(1)).await;
    stage.open_epoch().await;
    let short = record(&stage).await;
    assert_eq!((short.is_short, short.caps), (true, capped.caps));

    let cancel = PayerVault::cancelWithdrawalCall {};
    stage.call(vault, &cancel).await;
    stage.open_epoch().await;
    assert!(!record(&stage).await.is_short);
}

#[tokio::test]
async fn funds_are_what_the_vault_says_at_the_depth_of_finality() {
    let mut stage = stage().await;
    let funds = read(&stage, 0).await.unwrap();
    let ShardFunds { cap, charged_through } = funds.shards[&ShardId(0)];
    assert_eq!((funds.balance, funds.shards.len()), (dollars(DEPOSIT), 1));
    assert_eq!((cap.before, cap.amount), (PicoDollars(0), CAP_PICODOLLARS));
    assert_eq!(charged_through, Period(0));
    assert_eq!(funds.cap(ShardId(0), cap.from), CAP_PICODOLLARS);
    assert_eq!(funds.cap(ShardId(0), cap.from.minus(1)), PicoDollars(0));

    // A block before, the cap was not there, and another one before that, no money.
    let before = read(&stage, 1).await.unwrap();
    assert_eq!(before.balance, dollars(DEPOSIT));
    assert_eq!(before.cap(ShardId(0), Period(u64::MAX)), PicoDollars(0));
    assert_eq!(read(&stage, 2).await.unwrap().balance, dollars(0));
    assert_eq!(read(&stage, 1_000_000).await, None);

    // What is asked back is not to be spent.
    let ask_back = PayerVault::requestWithdrawalCall { amount: U256::from(1_000_000) };
    stage.call(stage.deployment.vault, &ask_back).await;
    assert_eq!(read(&stage, 0).await.unwrap().balance, dollars(DEPOSIT - 1_000_000));
}

#[tokio::test]
async fn what_is_charged_and_what_is_carried_are_off_the_balance() {
    let stage = stage().await;
    let from = read(&stage, 0).await.unwrap().shards[&ShardId(0)].cap.from;
    let through = from.plus(99);
    collect(&stage, 100 * CAP, through).await;
    let funds = read(&stage, 0).await.unwrap();
    assert_eq!(funds.balance, dollars(DEPOSIT - 100 * CAP));
    assert_eq!(funds.shards[&ShardId(0)].charged_through, through);

    // All that caps allow at once: more than may be taken this soon, so that some is carried.
    let through = from.plus(10_000);
    collect(&stage, DEPOSIT, through).await;
    let carried = carried(&stage).await;
    let funds = read(&stage, 0).await.unwrap();
    assert!(carried > 0);
    assert_eq!(funds.balance, dollars(DEPOSIT - 820 * CAP));
    assert_eq!(funds.shards[&ShardId(0)].charged_through, through);
}
