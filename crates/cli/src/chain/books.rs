//! What a node says of reports, of what payers were billed and nodes earned: believed only as far
//! as it leads to a digest that the contract has accepted.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tidings_chain::{Proved, SettledReport};
use tidings_envelope::UsageReport;
use tidings_payer::{earnings_leaf, root_from_proof, usage_leaf};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{
    EthereumAddress, Hash, NetworkId, NodeId, Period, PicoDollarsTotal, RegistryEpoch,
    ReportDigest, ShardId,
};

use crate::bounded_get;

/// The longest answer that is read: a report with 255 signatures, and room for what is around it.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Hashes of a proof: no tree has more than 2⁶⁴ leaves.
const PROOF_HASHES_MAX: usize = 64;

/// How long the node may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node as it is asked for what it makes out of the ordered lane.
pub(super) struct Books {
    url: String,
    http: reqwest::Client,
    network: NetworkId,
}

#[derive(Deserialize)]
struct ToldReport {
    shard: ShardId,
    first: Period,
    last: Period,
    epoch: RegistryEpoch,
    previous: String,
    ranges: String,
    usage: String,
    earnings: String,
    measurements: String,
    billed: String,
}

#[derive(Deserialize)]
struct ToldSum {
    cumulative: String,
    proof: Vec<String>,
}

impl Books {
    /// The node of `network` at a base URL.
    pub(super) fn at(url: &str, network: NetworkId) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(PATIENCE).build()?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), http, network })
    }

    /// The accepted report in full; none when the node does not know it.
    pub(super) async fn report(
        &self,
        shard: ShardId,
        accepted: &SettledReport,
    ) -> Result<Option<UsageReport>> {
        let path = format!("v1/settlement/{shard}/{}", accepted.last);
        let Some(told) = self.ask::<ToldReport>(&path).await? else { return Ok(None) };
        let report = told.report().with_context(|| format!("{}/{path}", self.url))?;
        ensure!(
            report.shard == shard && report.digest(self.network) == accepted.digest,
            "{} has another report for period {} of shard {shard} than the contract has accepted",
            self.url,
            accepted.last
        );
        Ok(Some(report))
    }

    /// What a payer was billed under a report, and its proof; none when the node says nothing.
    pub(super) async fn usage(
        &self,
        report: &UsageReport,
        payer: EthereumAddress,
    ) -> Result<Option<Proved>> {
        let path = format!("v1/settlement/{}/{}/usage/{payer}", report.shard, report.last);
        self.proved(&path, report.usage, |sum| usage_leaf(payer, sum)).await
    }

    /// What a node earned under a report, and its proof; none when the node says nothing.
    pub(super) async fn earnings(
        &self,
        report: &UsageReport,
        node: NodeId,
    ) -> Result<Option<Proved>> {
        let path = format!("v1/settlement/{}/{}/earnings/{}", report.shard, report.last, node.0);
        self.proved(&path, report.earnings, |sum| earnings_leaf(node, sum)).await
    }

    async fn proved(
        &self,
        path: &str,
        root: Hash,
        leaf: impl Fn(PicoDollarsTotal) -> Hash,
    ) -> Result<Option<Proved>> {
        let Some(told) = self.ask::<ToldSum>(path).await? else { return Ok(None) };
        let proved = told.proved(root, leaf).with_context(|| format!("{}/{path}", self.url))?;
        Ok(Some(proved))
    }

    /// What the node answers; none when it knows of nothing.
    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let url = format!("{}/{path}", self.url);
        let (status, bytes) = bounded_get::get(&self.http, &url, ANSWER_BYTES_MAX).await?;
        match status {
            StatusCode::NOT_FOUND => return Ok(None),
            status => ensure!(status.is_success(), "{url} answers {status}"),
        }
        let told = serde_json::from_slice(&bytes);
        told.map(Some).with_context(|| format!("{url} answers something else than was asked for"))
    }
}

impl ToldReport {
    fn report(&self) -> Result<UsageReport> {
        Ok(UsageReport {
            version: PROTOCOL_VERSION,
            shard: self.shard,
            first: self.first,
            last: self.last,
            epoch: self.epoch,
            previous: ReportDigest(hash(&self.previous)?),
            ranges: hash(&self.ranges)?,
            usage: hash(&self.usage)?,
            earnings: hash(&self.earnings)?,
            measurements: hash(&self.measurements)?,
            billed: amount(&self.billed)?,
        })
    }
}

impl ToldSum {
    /// The sum, if it is under `root`.
    fn proved(&self, root: Hash, leaf: impl Fn(PicoDollarsTotal) -> Hash) -> Result<Proved> {
        ensure!(self.proof.len() <= PROOF_HASHES_MAX, "the proof has too many hashes");
        let cumulative = amount(&self.cumulative)?;
        let proof = self.proof.iter().map(|digits| hash(digits)).collect::<Result<Vec<_>>>()?;
        ensure!(
            root_from_proof(leaf(cumulative), &proof) == root,
            "the sum does not follow from the report that the contract has accepted"
        );
        Ok(Proved { cumulative, proof })
    }
}

fn hash(digits: &str) -> Result<Hash> {
    let mut hash = [0; 32];
    hex::decode_to_slice(digits, &mut hash).context("a hash is 64 hex digits")?;
    Ok(hash)
}

fn amount(digits: &str) -> Result<PicoDollarsTotal> {
    Ok(PicoDollarsTotal(digits.parse().context("an amount is a number below 2¹²⁸")?))
}

#[cfg(test)]
mod tests {
    use tidings_payer::SettlementTree;

    use super::*;

    const SUMS: [u128; 3] = [7, 1_000_000, u128::MAX];

    fn leaf(node: u32) -> impl Fn(PicoDollarsTotal) -> Hash {
        move |sum| earnings_leaf(NodeId(node), sum)
    }

    fn told(place: usize) -> (ToldSum, Hash) {
        let leaves = (0u32..).zip(SUMS).map(|(node, sum)| leaf(node)(PicoDollarsTotal(sum)));
        let leaves: Vec<Hash> = leaves.collect();
        let tree = SettlementTree::new(leaves.clone());
        let proof = tree.proof(&leaves[place]).unwrap();
        let proof = proof.iter().map(hex::encode).collect();
        (ToldSum { cumulative: SUMS[place].to_string(), proof }, tree.root())
    }

    #[test]
    fn a_sum_that_follows_from_the_report_is_believed_and_no_other() {
        // covers: SET-005
        for (place, node) in [(0, 0), (1, 1), (2, 2)] {
            let (sum, root) = told(place);
            let proved = sum.proved(root, leaf(node)).unwrap();
            assert_eq!(proved.cumulative.0, SUMS[place]);
            assert!(sum.proved(root, leaf(node + 1)).is_err(), "another node's");
            assert!(sum.proved([9; 32], leaf(node)).is_err(), "another report's");
        }
        let (sum, root) = told(0);
        for lie in ["8", "-7", "", "7.0", "340282366920938463463374607431768211456"] {
            let lie = ToldSum { cumulative: lie.into(), proof: sum.proof.clone() };
            assert!(lie.proved(root, leaf(0)).is_err());
        }
        let proofs = [
            Vec::new(),
            vec!["00".repeat(32)],
            vec!["xy".into()],
            vec!["00".into()],
            vec!["00".repeat(32); PROOF_HASHES_MAX + 1],
        ];
        for proof in proofs {
            assert!(ToldSum { cumulative: "7".into(), proof }.proved(root, leaf(0)).is_err());
        }
    }
}
