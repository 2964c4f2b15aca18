//! Settlement trees against their vectors, which the contracts read too.

use serde::Deserialize;
use tidings_envelope::{Service, UsageReport};
use tidings_payer::{
    Measurement, SettlementTree, earnings_leaf, measurement_tree, root_from_proof, usage_leaf,
};
use tidings_types::{
    EthereumAddress, Hash, NetworkId, NodeId, Period, PicoDollarsTotal, RegistryEpoch,
    ReportDigest, ShardId,
};

#[derive(Deserialize)]
struct File<Case> {
    cases: Vec<Case>,
}

fn cases<Case: serde::de::DeserializeOwned>(name: &str) -> Vec<Case> {
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors/settlement");
    let text = std::fs::read_to_string(format!("{vectors}/{name}")).unwrap();
    serde_json::from_str::<File<Case>>(&text).unwrap().cases
}

fn hash(text: &str) -> Hash {
    text.parse::<ReportDigest>().unwrap().0
}

fn total(text: &str) -> PicoDollarsTotal {
    PicoDollarsTotal(text.parse().unwrap())
}

#[derive(Deserialize)]
struct Tree {
    kind: String,
    keys: Vec<String>,
    totals: Vec<String>,
    leaves: Vec<String>,
    root: String,
    /// Whose path it is, by place in `keys`.
    proven: Option<usize>,
    path: Vec<String>,
}

#[test]
fn trees() {
    // covers: SET-005
    for case in cases::<Tree>("trees.json") {
        let leaf = |(key, sum): (&String, &String)| match case.kind.as_str() {
            "usage" => usage_leaf(key.parse::<EthereumAddress>().unwrap(), total(sum)),
            "earnings" => earnings_leaf(NodeId(key.parse().unwrap()), total(sum)),
            other => panic!("no tree of {other}"),
        };
        let leaves: Vec<Hash> = case.keys.iter().zip(&case.totals).map(leaf).collect();
        assert_eq!(leaves, case.leaves.iter().map(|leaf| hash(leaf)).collect::<Vec<_>>());
        let tree = SettlementTree::new(leaves.clone());
        assert_eq!(tree.root(), hash(&case.root));
        let Some(place) = case.proven else { continue };
        let path: Vec<Hash> = case.path.iter().map(|node| hash(node)).collect();
        assert_eq!(tree.proof(&leaves[place]), Some(path.clone()));
        assert_eq!(root_from_proof(leaves[place], &path), tree.root());
    }
}

#[derive(Deserialize)]
struct Report {
    network_id: NetworkId,
    shard: u16,
    first: u64,
    last: u64,
    epoch: u64,
    previous: ReportDigest,
    ranges: String,
    usage: String,
    earnings: String,
    measurements: String,
    billed: String,
    digest: ReportDigest,
}

#[test]
fn reports() {
    // covers: SET-002
    for case in cases::<Report>("reports.json") {
        let report = UsageReport {
            version: 1,
            shard: ShardId(case.shard),
            first: Period(case.first),
            last: Period(case.last),
            epoch: RegistryEpoch(case.epoch),
            previous: case.previous,
            ranges: hash(&case.ranges),
            usage: hash(&case.usage),
            earnings: hash(&case.earnings),
            measurements: hash(&case.measurements),
            billed: total(&case.billed),
        };
        assert_eq!(report.digest(case.network_id), case.digest);
    }
}

#[derive(Deserialize)]
struct Measured {
    node: u32,
    reachability_permille: u32,
    acknowledgement_ms: u32,
    cadence_permille: u32,
    served_permille: u32,
    leaf: String,
}

#[test]
fn measurements() {
    // covers: SET-005
    for case in cases::<Measured>("measurements.json") {
        let measurement = Measurement {
            node: NodeId(case.node),
            service: Service {
                reachability_permille: case.reachability_permille,
                acknowledgement_ms: case.acknowledgement_ms,
                cadence_permille: case.cadence_permille,
                served_permille: case.served_permille,
            },
        };
        assert_eq!(measurement_tree(&[measurement]).root(), hash(&case.leaf));
    }
}
