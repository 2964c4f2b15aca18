//! `POST /v1/follow`: an answer that does not end, with everything on topics of one kind.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tidings_envelope::api::{FollowFrame, FollowRequest, MEDIA_TYPE};
use tidings_types::constants::{PAGE_BYTES_MAX, PAGE_ENTRIES_MAX, PROTOCOL_VERSION};
use tidings_types::{ErrorCode, ShardId, Wire};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use super::body::receive;
use super::config::SUBSCRIBER_FRAME_BYTES_MAX;
use super::follower::{Follower, Reading};
use super::guard::Caller;
use super::refusal::Refusal;
use super::{Api, drained};
use crate::hub::Tail;

/// Blocks that one read takes from storage.
const BLOCKS_AT_ONCE: usize = 8;

/// `POST /v1/follow` (API-035).
pub(super) async fn follow(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Refusal> {
    let request = receive::<FollowRequest>(&api, request, SUBSCRIBER_FRAME_BYTES_MAX).await?.value;
    if *api.draining.borrow() {
        return Err(ErrorCode::ShuttingDown.into());
    }
    let follower = Follower::new(&request)?;
    // From here on nothing is missed: what is durable already is found in storage.
    let tails = api.hub.tails();
    let mut session = Session {
        draining: api.draining.clone(),
        api,
        follower,
        tails,
        ready: VecDeque::new(),
        _caller: caller,
    };
    session.greet();
    session.look_around().await?;
    let frames = stream::unfold(session, |mut session| async move {
        let frame = session.next().await?;
        Some((Ok::<_, Infallible>(frame), session))
    });
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], Body::from_stream(frames)).into_response())
}

/// One follower's connection.
struct Session {
    api: Arc<Api>,
    follower: Follower,
    tails: Receiver<Tail>,
    draining: watch::Receiver<bool>,
    ready: VecDeque<Bytes>,
    /// Counts the connection as long as it is open.
    _caller: Caller,
}

impl Session {
    fn greet(&mut self) {
        let backend = self.api.backend.clone();
        let (network, period) = (backend.network(), backend.period());
        self.push(&FollowFrame::Hello { version: PROTOCOL_VERSION, network, period });
    }

    /// Learns what there is to read.
    async fn look_around(&mut self) -> Result<(), ErrorCode> {
        let logs = self.api.backend.logs().await?;
        let shard_count = self.api.backend.registry().shard_count;
        self.follower.held(&logs, (0..shard_count).map(ShardId));
        Ok(())
    }

    /// The next frame, or none when storage fails or the node shuts down.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            match self.follower.next_reading() {
                Some(reading) => self.read(reading).await.ok()?,
                None => match self.follower.catch_up() {
                    Some(frame) => self.push(&frame),
                    None => self.wait().await?,
                },
            }
        }
    }

    async fn read(&mut self, reading: Reading) -> Result<(), ErrorCode> {
        if *self.draining.borrow() {
            return Err(ErrorCode::ShuttingDown);
        }
        let turns = self.api.catch_up_reads.clone();
        let _turn = turns.acquire_owned().await.map_err(|_| ErrorCode::ShuttingDown)?;
        let backend = self.api.backend.clone();
        let frames = match reading {
            Reading::Log(log, from) => {
                let found = backend.flushes(log, from, PAGE_ENTRIES_MAX, PAGE_BYTES_MAX).await?;
                self.follower.read_log(log, found.as_ref()).into_iter().collect()
            }
            Reading::Lane(shard, from) => {
                let found = backend.blocks(shard, from, BLOCKS_AT_ONCE).await?;
                self.follower.read_lane(shard, &found)
            }
        };
        frames.iter().for_each(|frame| self.push(frame));
        Ok(())
    }

    /// Takes the next thing that becomes durable, or sends a heartbeat (API-011).
    async fn wait(&mut self) -> Option<()> {
        let heartbeat = self.api.limits().heartbeat();
        let received = tokio::select! {
            () = drained(&mut self.draining) => return None,
            () = tokio::time::sleep(heartbeat) => None,
            received = self.tails.recv() => Some(received),
        };
        match received {
            None => {
                let period = self.api.backend.period();
                self.push(&FollowFrame::Heartbeat { period });
            }
            Some(Ok(tail)) => {
                if let Some(frame) = self.follower.live(&tail) {
                    self.push(&frame);
                }
            }
            Some(Err(RecvError::Lagged(_))) => self.look_around().await.ok()?,
            Some(Err(RecvError::Closed)) => return None,
        }
        Some(())
    }

    fn push(&mut self, frame: &FollowFrame) {
        let frame = frame.to_wire();
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(4 + frame.len());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&frame);
        self.ready.push_back(bytes.into());
    }
}
