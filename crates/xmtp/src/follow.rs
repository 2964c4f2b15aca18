//! Following the network: one node's stream of everything on `xmtp` topics, or another's.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf, Bytes, BytesMut};
use reqwest::{Response, header};
use tidings_envelope::api::{FollowFrame, FollowRequest, FollowedLog, FollowedShard, MEDIA_TYPE};
use tidings_envelope::{
    BlockHeader, Certificate, Checkpoint, LogEntry, OrderedReceipt, Registry, SignedCheckpoint,
    TopicKind,
};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{BoundedVec, Height, LogIndex, RegistryEpoch, Wire};
use tokio::time::{Instant, timeout};

use crate::edge::Edge;
use crate::index::{IndexError, Reached, Reader, Writer};
use crate::publish::OWN_PATIENCE;
use crate::take::{self, SetAside, Taken};

/// The longest frame, in bytes: a full flush, and a block, with proofs.
const FRAME_BYTES_MAX: usize = 32 << 20;

/// A node that says nothing for so long is given up; it sends a heartbeat every five seconds.
const SILENCE: Duration = Duration::from_secs(12);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How often something is forgotten, and how much at most: a hundred envelopes a second.
const PRUNE_INTERVAL: Duration = Duration::from_secs(10);
const PRUNED_AT_ONCE: u32 = 1_000;

/// The pause after a failure, so that a network that is down is not hammered.
const PAUSE: Duration = Duration::from_millis(200);

/// Why following a node ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    /// The node cannot be reached, or stopped answering.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// The node sends what no honest one sends.
    #[error("not an answer: {0}")]
    Nonsense(&'static str),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// What was published did not come this way.
    #[error("it withholds what another node has")]
    Withheld,
}

/// Follows the network for ever, from one node after the other.
///
/// `inboxes` is for the writer alone, so that clients' queries never hold it up.
pub async fn follow(edge: Arc<Edge>, mut writer: Writer, inboxes: Reader) {
    // What had arrived before is in order; what comes until the edge serves is not.
    let since = writer.last_arrival();
    let mut attempt = 0usize;
    loop {
        let nodes = edge.nodes_to_follow();
        let Some(node) = nodes.get(attempt % nodes.len().max(1)).cloned() else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (edge_, reader) = (&edge, &inboxes);
        let lost = match Session::open(edge_, &mut writer, reader, &node, since).await {
            Ok(session) => session.run().await,
            Err(lost) => Err(lost),
        };
        let Err(lost) = lost;
        tracing::warn!(%node, error = %lost, "the node is no longer followed");
        edge.metrics.nodes_lost.increment();
        if matches!(lost, Lost::Index(_)) {
            // Nothing that is read here can be trusted to be new.
            edge.cease();
        }
        attempt += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

struct Session<'a> {
    edge: &'a Arc<Edge>,
    writer: &'a mut Writer,
    inboxes: &'a Reader,
    node: &'a str,
    frames: Frames,
    since: u64,
    opened: Instant,
    pruned: Instant,
}

impl<'a> Session<'a> {
    async fn open(
        edge: &'a Arc<Edge>,
        writer: &'a mut Writer,
        inboxes: &'a Reader,
        node: &'a str,
        since: u64,
    ) -> Result<Self, Lost> {
        let progress = writer.progress();
        let logs = progress.logs.iter().map(|(log, next)| FollowedLog { log: *log, next: *next });
        let lanes = progress.lanes.iter();
        let shards = lanes.map(|(shard, next)| FollowedShard { shard: *shard, next: *next });
        let request = FollowRequest {
            version: PROTOCOL_VERSION,
            kind: TopicKind::Xmtp,
            logs: BoundedVec::new(logs.collect()).map_err(|_| Lost::Nonsense("too many logs"))?,
            shards: BoundedVec::new(shards.collect())
                .map_err(|_| Lost::Nonsense("too many shards"))?,
        };
        let url = format!("{}/v1/follow", node.trim_end_matches('/'));
        let call = edge.http.post(url).header(header::CONTENT_TYPE, MEDIA_TYPE);
        let sending = timeout(CONNECT_TIMEOUT, call.body(request.to_wire()).send());
        let unreachable =
            |error: reqwest::Error| Lost::Unreachable(error.without_url().to_string());
        let response = sending.await.map_err(|_| Lost::Unreachable("timeout".into()))?;
        let response = response.and_then(Response::error_for_status).map_err(unreachable)?;
        let (frames, opened) = (Frames::new(response), Instant::now());
        Ok(Self { edge, writer, inboxes, node, frames, since, opened, pruned: opened })
    }

    async fn run(mut self) -> Result<Infallible, Lost> {
        match self.next_frame().await? {
            FollowFrame::Hello { version: PROTOCOL_VERSION, network, .. }
                if network == self.edge.network => {}
            _ => return Err(Lost::Nonsense("another network or version")),
        }
        loop {
            match self.next_frame().await? {
                FollowFrame::Hello { .. } => return Err(Lost::Nonsense("a second greeting")),
                FollowFrame::Entries { entries, checkpoint } => {
                    self.entries(&entries, &checkpoint).await?;
                }
                FollowFrame::Block { header, certificate, receipts } => {
                    self.block(&header, &certificate, &receipts).await?;
                }
                FollowFrame::CaughtUp => self.caught_up().await?,
                FollowFrame::Heartbeat { .. } => {}
            }
            if self.pruned.elapsed() >= PRUNE_INTERVAL {
                self.prune().await?;
            }
        }
    }

    /// The next frame, unless the node is silent, said to be down, or withholds something.
    async fn next_frame(&mut self) -> Result<FollowFrame, Lost> {
        let mut missed = self.edge.missed.subscribe();
        let mut looks = self.edge.publisher.looks();
        let silent = tokio::time::sleep(SILENCE);
        tokio::pin!(silent);
        loop {
            tokio::select! {
                frame = self.frames.next() => return frame,
                () = &mut silent => return Err(Lost::Unreachable("silence".into())),
                _ = missed.changed() => {
                    let places = missed.borrow_and_update().clone();
                    let progress = self.writer.progress();
                    let lacks = places.iter().any(|place| !progress.covers(place));
                    // A session that has just begun has not had its chance.
                    if lacks && self.opened.elapsed() >= OWN_PATIENCE {
                        return Err(Lost::Withheld);
                    }
                }
                _ = looks.changed() => {
                    if self.opened.elapsed() >= OWN_PATIENCE && !self.edge.is_healthy(self.node) {
                        return Err(Lost::Unreachable("it does not serve".into()));
                    }
                }
            }
        }
    }

    /// Takes a stretch of a log, up to the checkpoint that its originator signed.
    async fn entries(
        &mut self,
        entries: &[LogEntry],
        signed: &SignedCheckpoint,
    ) -> Result<(), Lost> {
        let Checkpoint { log, size, .. } = signed.checkpoint;
        let next = LogIndex(size.0);
        let latest = self.edge.registries.latest();
        let latest = latest.ok_or_else(|| Lost::Unreachable("no registry".into()))?;
        if !self.is_signed(signed, &latest).await {
            return Err(Lost::Nonsense("a checkpoint that does not verify"));
        }
        let known = self.writer.progress().logs.get(&log).copied().unwrap_or_default();
        let rises = entries.windows(2).all(|pair| pair[0].header.index < pair[1].header.index);
        let is_within = entries.iter().all(|entry| (known..next).contains(&entry.header.index));
        if !rises || !is_within || next <= known || log.shard.0 >= latest.shard_count {
            return Err(Lost::Nonsense("entries out of order"));
        }
        let mut taken = Vec::with_capacity(entries.len());
        for entry in entries {
            let epoch = take::epoch_of_entry(entry).unwrap_or(latest.epoch);
            let registry = self.registry(epoch).await?;
            taken.push(Taken::entry(entry, log, self.edge.network, &registry));
        }
        self.enter(taken, Reached::Log(log, next)).await
    }

    /// Whether the originator signed, by the key that it has or by one that it had: registries of
    /// earlier epochs are asked for once, and only when a key was changed.
    async fn is_signed(&self, signed: &SignedCheckpoint, latest: &Registry) -> bool {
        let is_by_key_of = |registry: &Registry| {
            let originator = registry.node(signed.checkpoint.log.node);
            originator.is_some_and(|it| signed.verify(self.edge.network, it.signing).is_ok())
        };
        if is_by_key_of(latest) {
            return true;
        }
        for epoch in (RegistryEpoch::FIRST.0..latest.epoch.0).rev().map(RegistryEpoch) {
            let earlier = self.edge.registries.at(epoch).await;
            if earlier.is_some_and(|registry| is_by_key_of(&registry)) {
                return true;
            }
        }
        false
    }

    /// Takes the next block of a lane, under its certificate.
    async fn block(
        &mut self,
        header: &BlockHeader,
        certificate: &Certificate,
        receipts: &[OrderedReceipt],
    ) -> Result<(), Lost> {
        let (shard, height) = (header.shard, header.height);
        let known = self.writer.progress().lanes.get(&shard).copied();
        if height != known.unwrap_or(Height(1)).max(Height(1)) {
            return Err(Lost::Nonsense("a block out of order"));
        }
        let registry = self.registry(header.registry_epoch).await?;
        let verdict = certificate.verify(header, self.edge.network, &registry);
        verdict.map_err(|_| Lost::Nonsense("a certificate that does not verify"))?;
        let rises = receipts.windows(2).all(|pair| pair[0].index < pair[1].index);
        if !rises || !receipts.iter().all(|receipt| receipt.is_of(header)) {
            return Err(Lost::Nonsense("an operation of another block"));
        }
        let taken = receipts.iter();
        let taken = taken.map(|receipt| Taken::receipt(receipt, self.edge.network, &registry));
        self.enter(taken.collect(), Reached::Lane(shard, height.plus(1))).await
    }

    async fn registry(&self, epoch: RegistryEpoch) -> Result<Arc<Registry>, Lost> {
        let registry = self.edge.registries.at(epoch).await;
        registry.ok_or_else(|| Lost::Unreachable(format!("too few nodes know epoch {epoch}")))
    }

    async fn enter(
        &mut self,
        found: Vec<Result<Taken, SetAside>>,
        reached: Reached,
    ) -> Result<(), Lost> {
        let mut taken = Vec::with_capacity(found.len());
        for found in found {
            match found {
                Ok(found) => taken.push(found),
                Err(reason) => self.set_aside(&reason),
            }
        }
        let (entries, refused) = take::entries(self.inboxes, taken).await?;
        refused.iter().for_each(|reason| self.set_aside(reason));
        let stored = self.writer.enter(entries, reached).await?;
        self.edge.entered(stored, self.writer.progress());
        Ok(())
    }

    fn set_aside(&self, reason: &SetAside) {
        self.edge.metrics.set_aside.increment();
        match reason {
            // Old age, and nobody's fault; there may be millions.
            SetAside::Pruned => {}
            _ => tracing::warn!(%reason, "something on an xmtp topic is passed over"),
        }
    }

    /// Forgets a little of what is too old.
    async fn prune(&mut self) -> Result<(), Lost> {
        self.pruned = Instant::now();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.writer.prune(now.as_secs(), PRUNED_AT_ONCE).await?;
        Ok(())
    }

    async fn caught_up(&mut self) -> Result<(), Lost> {
        if !self.edge.is_serving() {
            self.writer.settle(self.since).await?;
            self.edge.serve();
        }
        Ok(())
    }
}

/// Frames from an answer that does not end.
struct Frames {
    response: Response,
    received: BytesMut,
}

impl Frames {
    fn new(response: Response) -> Self {
        Self { response, received: BytesMut::new() }
    }

    /// The next frame; safe to drop and to call again.
    async fn next(&mut self) -> Result<FollowFrame, Lost> {
        loop {
            if let Some(frame) = self.take()? {
                return FollowFrame::from_wire(&frame).map_err(|_| Lost::Nonsense("no frame"));
            }
            let piece = self.response.chunk().await;
            let piece =
                piece.map_err(|error| Lost::Unreachable(error.without_url().to_string()))?;
            let piece = piece.ok_or_else(|| Lost::Unreachable("the stream ended".into()))?;
            self.received.extend_from_slice(&piece);
        }
    }

    fn take(&mut self) -> Result<Option<Bytes>, Lost> {
        let Some(prefix) = self.received.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(Lost::Nonsense("a frame too long"));
        }
        if self.received.len() < 4 + length {
            return Ok(None);
        }
        self.received.advance(4);
        Ok(Some(self.received.split_to(length).freeze()))
    }
}
