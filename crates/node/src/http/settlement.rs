//! Usage reports, who attested them, and proofs of what they say of a payer or a node.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use tidings_envelope::UsageReport;
use tidings_payer::{Ledger, SettlementTree, earnings_leaf, usage_leaf};
use tidings_types::{EthereumAddress, Hash, NodeId, Period, PicoDollarsTotal, ShardId};

use super::Api;
use super::refusal::Refusal;
use crate::settlement::{AttestedReport, SettlementBook};

/// Reports in one answer, at most.
const REPORTS_MAX: usize = 100;

type Asked<T> = Result<Path<T>, PathRejection>;

/// `?from=`: the first last period, so that the newest come if it is missing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    from: Option<u64>,
}

/// `GET /v1/settlement/{shard}?from=`: reports, oldest first (API-036).
pub(super) async fn reports(
    State(api): State<Arc<Api>>,
    shard: Asked<u16>,
    start: Result<Query<Start>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Path(shard) = shard.map_err(Refusal::malformed)?;
    let Query(Start { from }) = start.map_err(Refusal::malformed)?;
    let (book, shard) = (book(&api)?, ShardId(shard));
    let newest = book.last(shard).unwrap_or_default();
    let from = from.map_or(newest.minus(REPORTS_MAX as u64 - 1), Period);
    let reports = book.reports(shard, from, REPORTS_MAX);
    let network = api.backend.network();
    let described = reports.iter().map(|it| describe(it, network));
    Ok(Json(json!({ "reports": described.collect::<Vec<_>>() })))
}

/// `GET /v1/settlement/{shard}/{last}`: the report that ends with a period (API-036).
pub(super) async fn report(
    State(api): State<Arc<Api>>,
    asked: Asked<(u16, u64)>,
) -> Result<Json<Value>, Refusal> {
    let Path((shard, last)) = asked.map_err(Refusal::malformed)?;
    let report = book(&api)?.report(ShardId(shard), Period(last)).ok_or_else(unknown)?;
    Ok(Json(describe(&report, api.backend.network())))
}

/// `GET /v1/settlement/{shard}/{last}/usage/{payer}`: what a payer was billed, proved (API-037).
pub(super) async fn usage(
    State(api): State<Arc<Api>>,
    asked: Asked<(u16, u64, EthereumAddress)>,
) -> Result<Json<Value>, Refusal> {
    let Path((shard, last, payer)) = asked.map_err(Refusal::malformed)?;
    let ledger = book(&api)?.ledger(ShardId(shard), Period(last)).ok_or_else(unknown)?;
    let billed = ledger.billed_to(payer);
    prove(&ledger, Ledger::usage_tree, usage_leaf(payer, billed), billed)
}

/// `GET /v1/settlement/{shard}/{last}/earnings/{node}`: what a node earned, proved (API-037).
pub(super) async fn earnings(
    State(api): State<Arc<Api>>,
    asked: Asked<(u16, u64, u32)>,
) -> Result<Json<Value>, Refusal> {
    let Path((shard, last, node)) = asked.map_err(Refusal::malformed)?;
    let ledger = book(&api)?.ledger(ShardId(shard), Period(last)).ok_or_else(unknown)?;
    let earned = ledger.earned_by(NodeId(node));
    prove(&ledger, Ledger::earnings_tree, earnings_leaf(NodeId(node), earned), earned)
}

fn prove(
    ledger: &Ledger,
    tree: impl Fn(&Ledger) -> &SettlementTree,
    leaf: Hash,
    sum: PicoDollarsTotal,
) -> Result<Json<Value>, Refusal> {
    let proof = tree(ledger).proof(&leaf);
    let proof = proof.ok_or_else(|| Refusal::not_found("the report says nothing of that"))?;
    let proof: Vec<String> = proof.iter().map(hex::encode).collect();
    Ok(Json(json!({ "cumulative": sum.0.to_string(), "proof": proof })))
}

fn book(api: &Api) -> Result<&SettlementBook, Refusal> {
    api.backend.settlement().ok_or_else(|| Refusal::not_found("this node makes no reports"))
}

fn unknown() -> Refusal {
    Refusal::not_found("that report is not known here, or not any more")
}

fn describe(attested: &AttestedReport, network: tidings_types::NetworkId) -> Value {
    let UsageReport {
        version,
        shard,
        first,
        last,
        epoch,
        previous,
        ranges,
        usage,
        earnings,
        measurements,
        billed,
    } = attested.report;
    let attestations = attested
        .attestations
        .iter()
        .map(|it| json!({ "node": it.node, "signature": hex::encode(it.signature.0) }));
    let differing = attested.differing.iter();
    let differing = differing.map(|(node, field)| json!({ "node": node, "field": field }));
    json!({
        "version": version,
        "shard": shard,
        "first": first,
        "last": last,
        "epoch": epoch,
        "previous": hex::encode(previous.0),
        "ranges": hex::encode(ranges),
        "usage": hex::encode(usage),
        "earnings": hex::encode(earnings),
        "measurements": hex::encode(measurements),
        "billed": billed.0.to_string(),
        "digest": hex::encode(attested.report.digest(network).0),
        "attested": attested.is_attested,
        "attestations": attestations.collect::<Vec<_>>(),
        "differing": differing.collect::<Vec<_>>(),
    })
}
