//! Reports brought to the real contract, charged, and claimed as they are filled.

use alloy::primitives::U256;
use serde_json::json;
use tidings_chain::contracts::{DevnetDollar, NodeRegistry, PayerVault};
use tidings_chain::{Call, Settler, address, prove_measurement, proved_earnings, proved_usage};
use tidings_envelope::registry::FeeShares;
use tidings_envelope::{Service, SignedAttestation};
use tidings_payer::{Closing, Ledger, Measurement, PROTOCOL, Usage, UsageTally, Work};
use tidings_types::node_key::NodeKey;
use tidings_types::{
    EthereumAddress, NodeId, Period, PicoDollars, PicoDollarsTotal, RegistryEpoch, ShardId,
};

use crate::anvil::Stage;

const SHARD: ShardId = ShardId(0);

/// What nobody has deposited anything for.
const BROKE: EthereumAddress = EthereumAddress([8; 20]);

/// Four nodes, and a payer with money and a cap.
async fn stage() -> (Stage, Settler) {
    let mut stage = Stage::set().await;
    for (id, seed) in (0..4).zip(1..) {
        stage.add_node(id, seed).await;
    }
    stage.open_epoch().await;
    let (vault, dollar) = (stage.deployment.vault, stage.deployment.dollar);
    let (payer, amount) = (address(stage.submitter.address()), U256::from(5_000_000u64));
    stage.call(dollar, &DevnetDollar::mintCall { to: payer, amount }).await;
    let approve = DevnetDollar::approveCall { spender: address(vault), value: amount };
    stage.call(dollar, &approve).await;
    stage.call(vault, &PayerVault::depositCall { payer, amount }).await;
    stage.call(vault, &PayerVault::setCapCall { shard: 0, amount: 1_000 }).await;
    let settler = Settler::new(stage.anvil.endpoints(), stage.deployment);
    (stage, settler)
}

/// What a report of periods up to `last` adds, in which nobody did anything.
fn closing(last: u64) -> Closing {
    Closing {
        last: Period(last),
        epoch: RegistryEpoch(1),
        ranges: [8; 32],
        work: Work::default(),
        shares: FeeShares::new(500, 300, 200).unwrap(),
        measurements: Vec::new(),
    }
}

/// The ledger after the periods up to `last`, in which node 0 took in what payers are billed for.
fn close(stage: &Stage, before: &Ledger, last: u64, bills: &[(EthereumAddress, u64)]) -> Ledger {
    let (mut tally, mut sum) = (UsageTally::new(), 0);
    for (payer, fee) in bills {
        let usage = Usage { envelopes: 1, bytes: 1, fee: PicoDollars(*fee) };
        tally.add(Period(last), *payer, usage).unwrap();
        sum += u128::from(*fee);
    }
    let originated = [(NodeId(0), PicoDollarsTotal(sum))].into();
    let closing = Closing { work: Work { originated, ..Work::default() }, ..closing(last) };
    before.close(&tally, &closing, stage.deployment.genesis().network_id()).unwrap()
}

async fn carry_out(stage: &mut Stage, key: &str, (to, data): (EthereumAddress, Vec<u8>)) {
    stage.submitter.submit(&Call::new(key, to, data)).await.unwrap();
}

/// Has a report accepted that three of four attested, the first two by number not last.
async fn submit(stage: &mut Stage, settler: &Settler, ledger: &Ledger) {
    let report = ledger.last().unwrap();
    let committee = settler.committee(SHARD, report.epoch).await.unwrap();
    assert_eq!(committee.len(), 4);
    let digest = report.digest(stage.deployment.genesis().network_id());
    let attestations = [3u8, 0, 1].map(|node| {
        let key = NodeKey::from_secret(&[node + 1; 32]).unwrap();
        SignedAttestation::sign(NodeId(node.into()), digest, &key)
    });
    let call = settler.submit(report, &committee, &attestations);
    carry_out(stage, &format!("submit {}", report.last), call).await;
}

async fn mature(stage: &Stage) {
    stage.anvil.tell("evm_increaseTime", json!([86_401])).await;
    stage.anvil.mine(1).await;
}

#[tokio::test]
async fn claims_are_made_under_the_report_that_is_being_filled() {
    // covers: SET-013
    // covers: SET-014
    let (mut stage, settler) = stage().await;
    let payer = stage.submitter.address();
    let none = settler.settlement(SHARD).await.unwrap();
    assert_eq!((none.newest, none.matured, none.claimable), (None, None, None));
    // Ten units and a half are billed, and then nothing.
    let busy = close(&stage, &Ledger::new(SHARD), 20, &[(payer, 10_500_000)]);
    let idle = close(&stage, &busy, 21, &[]);
    let later = close(&stage, &idle, 22, &[]);
    for ledger in [&busy, &idle, &later] {
        submit(&mut stage, &settler, ledger).await;
    }
    let young = settler.settlement(SHARD).await.unwrap();
    assert_eq!((young.accepted, young.last(), young.matured), (3, Period(22), None));
    mature(&stage).await;
    let settlement = settler.settlement(SHARD).await.unwrap();
    let newest = settlement.matured.unwrap();
    let network = stage.deployment.genesis().network_id();
    let report = *later.last().unwrap();
    assert_eq!((newest.index, newest.digest), (2, report.digest(network)));

    let usage = proved_usage(&later, payer).unwrap();
    let charge = settler.charge(&report, newest.index, vec![(payer, usage)]);
    assert_eq!(settler.foretell(&charge).await, Ok(Some(10)));
    carry_out(&mut stage, "charge", charge.clone()).await;
    assert_eq!(settler.foretell(&charge).await, Ok(Some(0)), "what is less than a unit stays");
    assert_eq!(settler.charged(SHARD, &[payer, BROKE]).await, Ok(vec![10, 0]));

    // The newest report never fills, for the half unit that is missing below it.
    let earned = |ledger, node| proved_earnings(ledger, node).unwrap();
    let under_newest = settler.claim(NodeId(0), (&report, 2, earned(&later, NodeId(0))), None);
    assert_eq!(settler.foretell(&under_newest).await, Ok(None));
    let settlement = settler.settlement(SHARD).await.unwrap();
    let (filling, before) = settlement.claimable.unwrap();
    assert_eq!((settlement.collected, filling.index, before), (10, 0, None));
    let report = busy.last().unwrap();
    for (node, expected) in [(NodeId(0), 5), (PROTOCOL, 5)] {
        let claim = settler.claim(node, (report, 0, earned(&busy, node)), None);
        assert_eq!(settler.foretell(&claim).await, Ok(Some(expected)));
        carry_out(&mut stage, &format!("claim of {}", node.0), claim.clone()).await;
        assert_eq!(settler.foretell(&claim).await, Ok(None));
        assert_eq!(settler.paid(SHARD, node).await, Ok(expected));
    }

    // More is billed: what is collected for it fills the first report too, and claims move on.
    let again = close(&stage, &later, 23, &[(payer, 4_000_000)]);
    submit(&mut stage, &settler, &again).await;
    mature(&stage).await;
    let report = *again.last().unwrap();
    let charge = settler.charge(&report, 3, vec![(payer, proved_usage(&again, payer).unwrap())]);
    carry_out(&mut stage, "charge again", charge).await;
    let settlement = settler.settlement(SHARD).await.unwrap();
    let (filling, before) = settlement.claimable.unwrap();
    assert_eq!((settlement.collected, filling.index, before.unwrap().index), (14, 3, 2));
    assert_eq!(settler.report_at(SHARD, 3).await, Ok((filling, before)));
    assert!(settler.report_at(SHARD, 4).await.is_err());
    // 5.25 units and, of two more, the seven eighths that are collected; five are paid.
    let part = (later.last().unwrap(), earned(&later, NodeId(0)));
    let whole = (&report, 3, earned(&again, NodeId(0)));
    let claim = settler.claim(NodeId(0), whole, Some(part));
    assert_eq!(settler.foretell(&claim).await, Ok(Some(2)));
}

#[tokio::test]
async fn whose_service_was_bad_is_jailed_once() {
    // covers: SET-025
    let (mut stage, settler) = stage().await;
    let service = |permille| Service {
        reachability_permille: permille,
        acknowledgement_ms: 20,
        cadence_permille: permille,
        served_permille: 1_000,
    };
    let [good, bad] = [(1, 950), (2, 300)]
        .map(|(node, it)| Measurement { node: NodeId(node), service: service(it) });
    let closing = Closing { measurements: vec![good, bad], ..closing(20) };
    let network = stage.deployment.genesis().network_id();
    let ledger = Ledger::new(SHARD).close(&UsageTally::new(), &closing, network).unwrap();
    submit(&mut stage, &settler, &ledger).await;
    let report = *ledger.last().unwrap();
    let show = |of: &Measurement| {
        let proof = prove_measurement(&ledger, of).unwrap();
        settler.report_measurement(&report, 0, of, proof)
    };
    assert_eq!(settler.foretell(&show(&bad)).await, Ok(None), "the report can be challenged yet");
    mature(&stage).await;
    assert_eq!(settler.foretell(&show(&good)).await, Ok(None));
    let worse = Measurement { service: service(0), ..good };
    assert_eq!(prove_measurement(&ledger, &worse), None);
    let forged = prove_measurement(&ledger, &good).unwrap();
    let forged = settler.report_measurement(&report, 0, &worse, forged);
    assert_eq!(settler.foretell(&forged).await, Ok(None));

    assert!(settler.foretell(&show(&bad)).await.unwrap().is_some());
    carry_out(&mut stage, "jail", show(&bad)).await;
    assert_eq!(settler.foretell(&show(&bad)).await, Ok(None), "once");
    stage.open_epoch().await;
    let committee = settler.committee(SHARD, RegistryEpoch(2)).await.unwrap();
    let mut members = committee.clone();
    members.sort_unstable();
    assert_eq!(members, [0, 1, 3].map(NodeId));
}

#[tokio::test]
async fn nothing_is_to_be_taken_of_who_has_nothing() {
    // covers: SET-010
    let (mut stage, settler) = stage().await;
    let payer = stage.submitter.address();
    let ledger = close(&stage, &Ledger::new(SHARD), 20, &[(payer, 3_000_000), (BROKE, 7_000_000)]);
    submit(&mut stage, &settler, &ledger).await;
    mature(&stage).await;
    let report = ledger.last().unwrap();
    let charge = |payers: &[EthereumAddress]| {
        let proved = payers.iter().map(|payer| (*payer, proved_usage(&ledger, *payer).unwrap()));
        settler.charge(report, 0, proved.collect())
    };
    assert_eq!(settler.foretell(&charge(&[BROKE])).await, Ok(Some(0)));
    assert_eq!(settler.foretell(&charge(&[BROKE, payer])).await, Ok(Some(3)));
    carry_out(&mut stage, "charge", charge(&[BROKE, payer])).await;
    assert_eq!(settler.charged(SHARD, &[BROKE, payer]).await, Ok(vec![0, 3]));
    assert_eq!(settler.shard_count().await, Ok(1));
}

#[tokio::test]
async fn who_finds_no_room_in_an_epoch_is_waited_for() {
    // covers: SET-017
    let (mut stage, settler) = stage().await;
    let (before, searched) = settler.changes(stage.deployment.first_block, false).await.unwrap();
    assert!(before, "the payer's cap was set since");
    stage.open_epoch().await;
    let (before, searched) = settler.changes(searched, before).await.unwrap();
    assert!(!before, "everybody who waited joined the first epoch, and the cap is known");
    for id in 4..10u32 {
        stage.add_node(id, u8::try_from(id).unwrap() + 50).await;
    }
    let (mut changed, mut searched) = settler.changes(searched, before).await.unwrap();
    let mut epochs = 0;
    while changed {
        stage.open_epoch().await;
        epochs += 1;
        (changed, searched) = settler.changes(searched, changed).await.unwrap();
    }
    // Six join, four at a time.
    assert_eq!(epochs, 2);
    let exit = NodeRegistry::exitCall { id: 5 };
    stage.call(stage.deployment.registry, &exit).await;
    let (changed, _) = settler.changes(searched, changed).await.unwrap();
    assert!(changed, "somebody leaves");
}
