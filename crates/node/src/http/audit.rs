//! Logs, blocks and proofs, for those who check on the node.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tidings_envelope::api::BlockPage;
use tidings_envelope::{CertifiedBlock, LogId, SignedCheckpoint};
use tidings_tlog::ProofPlan;
use tidings_types::constants::{PAGE_BYTES_MAX, PAGE_ENTRIES_MAX, PROTOCOL_VERSION};
use tidings_types::{
    BoundedVec, ErrorCode, Hash, Height, Incarnation, LogIndex, LogSize, NodeId, ShardId, Wire,
};

use super::Api;
use super::body::send;
use super::refusal::Refusal;
use crate::storage::page_of;

/// Blocks read from storage at once: most are small, and the largest have 8 MB.
const BLOCKS_AT_ONCE: usize = 8;

type LogPath = Result<Path<(u32, u16, u32)>, PathRejection>;
type Asked<T> = Result<Query<T>, QueryRejection>;

/// `?from=`: where to begin, from the start if it is missing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    from: Option<u64>,
}

/// `?index=&size=`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Inclusion {
    index: u64,
    size: u64,
}

/// `?old=&new=`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Consistency {
    old: u64,
    new: u64,
}

/// `GET /v1/logs`.
pub(super) async fn logs(State(api): State<Arc<Api>>) -> Result<Json<Value>, Refusal> {
    let logs = api.backend.logs().await?;
    Ok(Json(logs.iter().map(describe).collect()))
}

/// `GET /v1/logs/{node}/{shard}/{incarnation}?from=`: a stretch of a log (API-006).
pub(super) async fn log_page(
    State(api): State<Arc<Api>>,
    log: LogPath,
    asked: Asked<Start>,
) -> Result<Response, Refusal> {
    let (log, first) = (log_id(log)?, LogIndex(query(asked)?.from.unwrap_or_default()));
    newest_checkpoint(&api, log).await?;
    let _memory = api.reserve_memory(PAGE_BYTES_MAX)?;
    let flush = api.backend.flushes(log, first, PAGE_ENTRIES_MAX, PAGE_BYTES_MAX).await?;
    Ok(send(&page_of(first, flush)))
}

/// `GET /v1/logs/{node}/{shard}/{incarnation}/checkpoint`.
pub(super) async fn checkpoint(
    State(api): State<Arc<Api>>,
    log: LogPath,
) -> Result<Response, Refusal> {
    Ok(send(&newest_checkpoint(&api, log_id(log)?).await?))
}

/// `GET /v1/logs/{node}/{shard}/{incarnation}/inclusion?index=&size=` (API-007).
pub(super) async fn inclusion(
    State(api): State<Arc<Api>>,
    log: LogPath,
    asked: Asked<Inclusion>,
) -> Result<Json<Value>, Refusal> {
    let (log, asked) = (log_id(log)?, query(asked)?);
    let size = LogSize(asked.size);
    let plan = ProofPlan::inclusion(LogIndex(asked.index), size).map_err(Refusal::malformed)?;
    answer_proof(&api, log, size, plan).await
}

/// `GET /v1/logs/{node}/{shard}/{incarnation}/consistency?old=&new=` (API-007).
pub(super) async fn consistency(
    State(api): State<Arc<Api>>,
    log: LogPath,
    asked: Asked<Consistency>,
) -> Result<Json<Value>, Refusal> {
    let (log, asked) = (log_id(log)?, query(asked)?);
    let (old, new) = (LogSize(asked.old), LogSize(asked.new));
    let plan = ProofPlan::consistency(old, new).map_err(Refusal::malformed)?;
    answer_proof(&api, log, new, plan).await
}

/// `GET /v1/blocks/{shard}?from=`.
pub(super) async fn blocks(
    State(api): State<Arc<Api>>,
    shard: Result<Path<u16>, PathRejection>,
    asked: Asked<Start>,
) -> Result<Response, Refusal> {
    let Path(shard) = shard.map_err(Refusal::malformed)?;
    let shard = ShardId(shard);
    if shard.0 >= api.backend.registry().shard_count {
        return Err(Refusal::not_found("there is no such shard"));
    }
    let from = Height(query(asked)?.from.unwrap_or(1));
    let _memory = api.reserve_memory(PAGE_BYTES_MAX)?;
    let blocks = blocks_within(&api, shard, from).await?;
    Ok(send(&BlockPage {
        version: PROTOCOL_VERSION,
        blocks: BoundedVec::new(blocks).map_err(|_| ErrorCode::Internal)?,
    }))
}

/// Blocks from a height on, until the next would make the page too long.
async fn blocks_within(
    api: &Api,
    shard: ShardId,
    from: Height,
) -> Result<Vec<CertifiedBlock>, ErrorCode> {
    let (mut blocks, mut bytes) = (Vec::new(), 0);
    loop {
        let next = from.plus(blocks.len() as u64);
        let max = BLOCKS_AT_ONCE.min(PAGE_ENTRIES_MAX - blocks.len());
        let found = api.backend.blocks(shard, next, max).await?;
        let is_last = found.len() < BLOCKS_AT_ONCE;
        for block in found {
            bytes += block.to_wire().len();
            if bytes > PAGE_BYTES_MAX && !blocks.is_empty() {
                return Ok(blocks);
            }
            blocks.push(block);
        }
        if is_last {
            return Ok(blocks);
        }
    }
}

async fn answer_proof(
    api: &Api,
    log: LogId,
    size: LogSize,
    plan: ProofPlan,
) -> Result<Json<Value>, Refusal> {
    if newest_checkpoint(api, log).await?.checkpoint.size < size {
        return Err(Refusal::not_found("the log has not come to that size here"));
    }
    let _permit = api.proofs.try_acquire().map_err(|_| ErrorCode::Overloaded)?;
    let hashes = api.backend.prove(log, plan).await?;
    Ok(Json(json!({ "hashes": hashes.iter().map(hex::encode).collect::<Vec<_>>() })))
}

async fn newest_checkpoint(api: &Api, log: LogId) -> Result<SignedCheckpoint, Refusal> {
    let checkpoint = api.backend.checkpoint(log).await?;
    checkpoint.ok_or_else(|| Refusal::not_found("there is no such log here"))
}

fn describe(signed: &SignedCheckpoint) -> Value {
    let checkpoint = &signed.checkpoint;
    json!({
        "node": checkpoint.log.node,
        "shard": checkpoint.log.shard,
        "incarnation": checkpoint.log.incarnation,
        "size": checkpoint.size,
        "root": hex::encode(checkpoint.root as Hash),
        "period": checkpoint.period,
    })
}

fn log_id(path: LogPath) -> Result<LogId, Refusal> {
    let Path((node, shard, incarnation)) = path.map_err(Refusal::malformed)?;
    Ok(LogId { node: NodeId(node), shard: ShardId(shard), incarnation: Incarnation(incarnation) })
}

fn query<T>(asked: Asked<T>) -> Result<T, Refusal> {
    asked.map(|Query(asked)| asked).map_err(Refusal::malformed)
}
