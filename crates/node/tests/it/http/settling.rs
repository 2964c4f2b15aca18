//! Usage reports, and what is proved of payers and nodes, by plain requests.

use serde_json::{Value, json};
use tidings_envelope::SignedAttestation;
use tidings_envelope::registry::FeeShares;
use tidings_node::settlement::{AttestedReport, SettlementBook};
use tidings_payer::{
    Closing, Ledger, PROTOCOL, Usage, UsageTally, Work, earnings_leaf, root_from_proof, usage_leaf,
};
use tidings_types::node_key::NodeKey;
use tidings_types::{
    ErrorCode, EthereumAddress, Hash, NodeId, Period, PicoDollars, PicoDollarsTotal, RegistryEpoch,
    ShardId,
};

use super::node::{Running, check_refused, start, start_with};
use super::store::NETWORK;

const SHARD: ShardId = ShardId(0);

/// More periods than one answer holds, and than sums are kept.
const PERIODS: u64 = 120;

const PAYERS: [EthereumAddress; 3] =
    [EthereumAddress([1; 20]), EthereumAddress([2; 20]), EthereumAddress([3; 20])];

/// The next period, in which node 1 took in an envelope of each payer.
fn closed(before: &Ledger) -> Ledger {
    let last = before.last().map_or(Period(1), |report| report.last.plus(1));
    let (mut tally, mut originated) = (UsageTally::new(), 0);
    for (payer, fee) in PAYERS.into_iter().zip([7_000_001, 9, 1_234_567]) {
        let usage = Usage { envelopes: 1, bytes: 100, fee: PicoDollars(fee) };
        tally.add(last, payer, usage).unwrap();
        originated += u128::from(fee);
    }
    let originated = [(NodeId(1), PicoDollarsTotal(originated))].into();
    let votes = [(NodeId(1), 1), (NodeId(2), 2)].into();
    let closing = Closing {
        last,
        epoch: RegistryEpoch(2),
        ranges: [8; 32],
        work: Work { originated, votes, ..Work::default() },
        shares: FeeShares::new(250, 500, 200).unwrap(),
        measurements: Vec::new(),
    };
    before.close(&tally, &closing, NETWORK).unwrap()
}

/// The ledgers after each period, and a book that knows them; two nodes attested the last one.
fn books() -> (Vec<Ledger>, SettlementBook) {
    let (book, mut ledgers) = (SettlementBook::default(), vec![Ledger::new(SHARD)]);
    for period in 0..PERIODS as usize {
        let ledger = closed(&ledgers[period]);
        let report = *ledger.last().unwrap();
        book.add_report(AttestedReport::unattested(report), ledger.clone());
        ledgers.push(ledger);
    }
    let attestations = (1..=2u32).map(|node| {
        let key = NodeKey::from_secret(&[node as u8; 32]).unwrap();
        let digest = ledgers[PERIODS as usize].last().unwrap().digest(NETWORK);
        SignedAttestation::sign(NodeId(node), digest, &key)
    });
    book.set_attestations(AttestedReport {
        report: *ledgers[PERIODS as usize].last().unwrap(),
        attestations: attestations.collect(),
        differing: vec![(NodeId(3), "usage")],
        is_attested: true,
    });
    (ledgers, book)
}

async fn listed(running: &Running, query: &str) -> Vec<u64> {
    let answer = running.json(&format!("/v1/settlement/{query}")).await;
    let reports = answer["reports"].as_array().unwrap().iter();
    reports.map(|report| report["last"].as_u64().unwrap()).collect()
}

fn hash(digits: &Value) -> Hash {
    hex::decode(digits.as_str().unwrap()).unwrap().try_into().unwrap()
}

/// The sum that an answer states, and the root to which its proof leads.
fn proved(answer: &Value, leaf: impl Fn(PicoDollarsTotal) -> Hash) -> (PicoDollarsTotal, Hash) {
    let sum = PicoDollarsTotal(answer["cumulative"].as_str().unwrap().parse().unwrap());
    let path: Vec<Hash> = answer["proof"].as_array().unwrap().iter().map(hash).collect();
    (sum, root_from_proof(leaf(sum), &path))
}

#[tokio::test]
async fn reports_are_listed_from_a_period_on_or_the_newest() {
    // covers: API-036
    let running = start_with(Some(books().1), |_| ()).await;
    let periods = |range: std::ops::RangeInclusive<u64>| range.collect::<Vec<_>>();
    assert_eq!(listed(&running, "0").await, periods(21..=120));
    assert_eq!(listed(&running, "0?from=0").await, periods(1..=100));
    assert_eq!(listed(&running, "0?from=119").await, [119, 120]);
    assert!(listed(&running, &format!("0?from={}", u64::MAX)).await.is_empty());
    // A shard may be there and have no report yet.
    assert!(listed(&running, "1").await.is_empty());
}

#[tokio::test]
async fn a_report_is_told_in_full_with_those_who_attested_it() {
    // covers: API-036
    let (ledgers, book) = books();
    let running = start_with(Some(book), |_| ()).await;
    for (period, attested) in [(1, 0), (PERIODS, 2)] {
        let told = running.json(&format!("/v1/settlement/0/{period}")).await;
        let report = ledgers[period as usize].last().unwrap();
        assert_eq!((told["first"].as_u64(), told["last"].as_u64()), (Some(period), Some(period)));
        assert_eq!((told["shard"].as_u64(), told["epoch"].as_u64()), (Some(0), Some(2)));
        assert_eq!(hash(&told["digest"]), report.digest(NETWORK).0);
        let before = ledgers[period as usize - 1].last();
        let before = before.map_or([0; 32], |before| before.digest(NETWORK).0);
        assert_eq!(hash(&told["previous"]), before);
        assert_eq!(hash(&told["ranges"]), report.ranges);
        assert_eq!(hash(&told["usage"]), report.usage);
        assert_eq!(hash(&told["earnings"]), report.earnings);
        assert_eq!(hash(&told["measurements"]), report.measurements);
        assert_eq!(told["billed"], report.billed.0.to_string());
        assert_eq!(told["attested"], attested > 0);
        let attestations = told["attestations"].as_array().unwrap();
        assert_eq!(attestations.len(), attested);
        let differing = json!([{ "node": 3, "field": "usage" }]);
        let expected = if attested > 0 { differing } else { json!([]) };
        assert_eq!(told["differing"], expected);
        for (place, it) in attestations.iter().enumerate() {
            assert_eq!(it["node"].as_u64(), Some(place as u64 + 1));
            let signature = hex::decode(it["signature"].as_str().unwrap()).unwrap();
            let signature = signature.try_into().map(tidings_types::node_key::NodeSignature);
            let node = NodeId(place as u32 + 1);
            let key = NodeKey::from_secret(&[node.0 as u8; 32]).unwrap();
            let attestation = SignedAttestation { node, signature: signature.unwrap() };
            attestation.verify(report.digest(NETWORK), key.address()).unwrap();
        }
    }
}

#[tokio::test]
async fn what_a_payer_was_billed_and_a_node_earned_is_proved() {
    // covers: API-037
    let (ledgers, book) = books();
    let running = start_with(Some(book), |_| ()).await;
    for period in [PERIODS - 1, PERIODS] {
        let ledger = &ledgers[period as usize];
        let report = ledger.last().unwrap();
        let under = format!("/v1/settlement/0/{period}");
        for payer in PAYERS {
            let answer = running.json(&format!("{under}/usage/{payer}")).await;
            let (sum, root) = proved(&answer, |sum| usage_leaf(payer, sum));
            assert_eq!((sum, root), (ledger.billed_to(payer), report.usage), "{payer}");
            assert!(sum.0 > 0);
        }
        for node in [NodeId(1), NodeId(2), PROTOCOL] {
            let answer = running.json(&format!("{under}/earnings/{}", node.0)).await;
            let (sum, root) = proved(&answer, |sum| earnings_leaf(node, sum));
            assert_eq!((sum, root), (ledger.earned_by(node), report.earnings), "{node}");
            assert!(sum.0 > 0);
        }
    }
}

#[tokio::test]
async fn what_is_not_known_here_is_not_found() {
    // covers: API-036
    // covers: API-037
    let running = start_with(Some(books().1), |_| ()).await;
    let payer = PAYERS[0];
    for path in [
        "1/1".to_owned(),
        "0/0".to_owned(),
        format!("0/{}", PERIODS + 1),
        format!("1/1/usage/{payer}"),
        format!("0/{}/usage/{payer}", PERIODS + 1),
        format!("0/{PERIODS}/usage/{}", EthereumAddress([9; 20])),
        format!("0/{PERIODS}/earnings/9"),
        // The report is still there, and its sums are not.
        format!("0/1/usage/{payer}"),
        "0/1/earnings/1".to_owned(),
    ] {
        let answer = running.get(&format!("/v1/settlement/{path}")).await;
        check_refused(answer, 404, ErrorCode::NotFound).await;
    }
    // A node that makes no reports knows none.
    let running = start(|_| ()).await;
    for path in ["0", "0/1", &format!("0/1/usage/{payer}"), "0/1/earnings/1"] {
        let answer = running.get(&format!("/v1/settlement/{path}")).await;
        check_refused(answer, 404, ErrorCode::NotFound).await;
    }
}

#[tokio::test]
async fn questions_that_make_no_sense_are_malformed() {
    // covers: API-036
    // covers: API-037
    let running = start_with(Some(books().1), |_| ()).await;
    for path in [
        "x",
        "65536",
        "-1",
        "0?from=x",
        "0?from=-1",
        "0?until=3",
        "0/x",
        "0/18446744073709551616",
        "0/1/usage/0x12",
        "0/1/usage/me",
        "0/1/earnings/x",
        "0/1/earnings/4294967296",
    ] {
        let answer = running.get(&format!("/v1/settlement/{path}")).await;
        check_refused(answer, 400, ErrorCode::Malformed).await;
    }
}
