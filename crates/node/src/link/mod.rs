//! Links: QUIC between nodes, one connection per pair, mutual TLS by registered transport keys.
//!
//! [`Links`] is the runtime's handle for sending and subscribing; [`LinkEvents`] is where
//! everything that comes from peers arrives, decoded, ordered and bounded.
//! The feeds that peers ask for are served from [`crate::feed::Feeds`] without the runtime.

mod counters;
mod dial;
mod events;
mod fault;
pub(crate) mod frame;
mod peers;
mod session;
mod stream;
mod tls;

pub use counters::LinkCounters;
pub use events::{LinkEvent, LinkEvents};
pub use fault::LinkFault;
pub use tls::TlsError;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, Endpoint, IdleTimeout, TransportConfig, VarInt};
use tidings_envelope::Registry;
use tidings_replica::wire::{ControlFrame, FeedRequest};
use tidings_types::constants::FEED_FRAME_BYTES_MAX;
use tidings_types::ed25519::SigningKey;
use tidings_types::{NetworkId, NodeId};
use tokio::sync::watch;

use crate::feed::{FeedSubject, Feeds};
use crate::link::events::EventSink;
use crate::link::peers::{Link, Peers};
use crate::link::tls::Tls;

/// How many feeds a peer may have at a time: the logs of its shards, with room for restarts.
const FEEDS_PER_LINK_MAX: u32 = 4096;

/// How much of one stream may be under way or unread; 2 MiB keep 160 Mbit/s busy over 100 ms.
const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// How much of all streams from one peer may be unread: what a hostile peer can make this node
/// hold, and enough that over a hundred unread feeds do not hold up control frames.
const LINK_WINDOW_BYTES: u32 = 128 * STREAM_WINDOW_BYTES;

/// How much may be sent to one peer without its acknowledgement.
const SEND_WINDOW_BYTES: u64 = 16 * 1024 * 1024;

/// The round trip assumed before one was measured; decides how soon a lost first packet is
/// repeated.
const INITIAL_RTT_MS: u64 = 100;

/// How long a stopping node waits until its peers know.
const FAREWELL_MS_MAX: u64 = 500;

/// Times and sizes of links; the defaults are for production.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkLimits {
    /// After so much silence a sign of life is sent.
    pub keep_alive_ms: u64,
    /// After so much silence the peer counts as dead; several times `keep_alive_ms`.
    pub idle_timeout_ms: u64,
    /// How long the TLS handshake may take, and then the hello.
    pub handshake_timeout_ms: u64,
    /// How long to wait before the second attempt to connect; doubles with each.
    pub redial_delay_ms_min: u64,
    /// How long to wait between attempts at most.
    pub redial_delay_ms_max: u64,
    /// How many bytes of control frames may wait for one peer before its link is dropped.
    pub control_queue_bytes_max: usize,
    /// How many bytes of received control frames may wait for the runtime.
    pub control_events_bytes_max: u32,
    /// How many bytes of received feed frames may wait for the runtime (REP-009).
    pub feed_events_bytes_max: u32,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            keep_alive_ms: 400,
            idle_timeout_ms: 2_000,
            handshake_timeout_ms: 2_000,
            redial_delay_ms_min: 50,
            redial_delay_ms_max: 1_000,
            control_queue_bytes_max: 64 * 1024 * 1024,
            control_events_bytes_max: 32 * 1024 * 1024,
            feed_events_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// What a node's links need to know.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// Which node this is.
    pub id: NodeId,
    /// The secret of the transport key that the registry lists for it.
    pub key: SigningKey,
    /// Where to listen and call from, UDP; port 0 picks one.
    pub listen: SocketAddr,
    /// Where to call peers whose address in the registry is not the one to use.
    pub addresses: BTreeMap<NodeId, String>,
    /// Times and sizes.
    pub limits: LinkLimits,
}

/// Why links cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LinkStartError {
    /// The key or the TLS library.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
}

/// Why something was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkSendError {
    /// There is no link to the peer now.
    #[error("no link to node {0}")]
    Down(NodeId),
    /// The peer does not keep up; its link is being closed.
    #[error("node {0} does not keep up")]
    Overloaded(NodeId),
    /// The frame is over the limit of its stream; a bug of the caller.
    #[error("the frame is too large")]
    TooLarge,
}

/// What the tasks of all links share.
struct Shared {
    id: NodeId,
    network: NetworkId,
    limits: LinkLimits,
    endpoint: Endpoint,
    local: SocketAddr,
    addresses: BTreeMap<NodeId, String>,
    transport: Arc<TransportConfig>,
    tls: Tls,
    registry: watch::Receiver<Arc<Registry>>,
    feeds: Arc<Feeds>,
    events: EventSink,
    peers: Peers,
    counters: Arc<LinkCounters>,
}

impl Shared {
    /// Closes a connection that is open, and counts why.
    fn close(&self, connection: &Connection, fault: LinkFault) {
        if fault.close(connection) {
            self.counters.closed_for(fault);
            tracing::warn!(peer = %connection.remote_address(), reason = %fault, "link closed");
        }
    }
}

/// A node's links to its peers. When it is dropped, they close.
pub struct Links {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Handle,
    _stopping: watch::Sender<()>,
}

impl Links {
    /// Listens, and connects to every node in the registry, now and as it changes.
    ///
    /// The network is that of the registry at the start. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`LinkStartError`] when the key is unusable or the address taken.
    pub fn start(
        config: LinkConfig,
        registry: watch::Receiver<Arc<Registry>>,
        feeds: Arc<Feeds>,
    ) -> Result<(Self, LinkEvents), LinkStartError> {
        let address = config.listen;
        let tls = Tls::new(&config.key, registry.clone())?;
        let transport = Arc::new(transport(&config.limits));
        let mut server = tls.server()?;
        server.transport_config(transport.clone());
        let listen = |error| LinkStartError::Listen { address, error };
        let endpoint = Endpoint::server(server, address).map_err(listen)?;
        let local = endpoint.local_addr().map_err(listen)?;
        let limits = config.limits;
        let (events, receiver) =
            EventSink::new(limits.control_events_bytes_max, limits.feed_events_bytes_max);
        let network = registry.borrow().network_id();
        let shared = Arc::new(Shared {
            id: config.id,
            network,
            limits,
            endpoint,
            local,
            addresses: config.addresses,
            transport,
            tls,
            registry,
            feeds,
            events,
            peers: Peers::default(),
            counters: Arc::default(),
        });
        let (stopping, stopped) = watch::channel(());
        tokio::spawn(dial::supervise(shared.clone(), stopped));
        let runtime = tokio::runtime::Handle::current();
        Ok((Self { shared, runtime, _stopping: stopping }, receiver))
    }

    /// Where this node listens.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.shared.local
    }

    /// Who is connected now, by rising id.
    #[must_use]
    pub fn peers(&self) -> Vec<NodeId> {
        self.shared.peers.up()
    }

    /// What has been counted.
    #[must_use]
    pub fn counters(&self) -> Arc<LinkCounters> {
        self.shared.counters.clone()
    }

    /// Queues a control frame; never waits.
    ///
    /// # Errors
    /// [`LinkSendError`]; a peer whose queue is full loses its link.
    pub fn send(&self, to: NodeId, frame: &ControlFrame) -> Result<(), LinkSendError> {
        self.queue(to, encode_control(frame)?)
    }

    /// Queues a control frame for several peers, encoded once; those without a link are left out.
    ///
    /// # Errors
    /// [`LinkSendError::TooLarge`]; a peer whose queue is full loses its link.
    pub fn send_all(
        &self,
        to: impl IntoIterator<Item = NodeId>,
        frame: &ControlFrame,
    ) -> Result<(), LinkSendError> {
        let bytes = encode_control(frame)?;
        for peer in to {
            if let Err(error) = self.queue(peer, bytes.clone()) {
                tracing::debug!(%error, "not sent");
            }
        }
        Ok(())
    }

    /// Asks a peer for a feed, which comes as [`LinkEvent::Feed`].
    ///
    /// It replaces the subscription to that subject at that peer, if there is one.
    ///
    /// # Errors
    /// [`LinkSendError::Down`] when there is no link.
    pub fn subscribe(&self, to: NodeId, request: FeedRequest) -> Result<(), LinkSendError> {
        let link = self.link(to)?;
        let follow = |live| {
            let task = stream::follow(self.shared.clone(), link.clone(), request, live);
            self.runtime.spawn(task).abort_handle()
        };
        match link.follow(request.into(), follow) {
            true => Ok(()),
            false => Err(LinkSendError::Down(to)),
        }
    }

    /// Ends a subscription; nothing of it comes any more. No harm if there is none.
    pub fn unsubscribe(&self, from: NodeId, subject: FeedSubject) {
        if let Some(link) = self.shared.peers.link(from) {
            link.unfollow(&subject);
        }
    }

    /// Closes every link and waits a moment until the peers know.
    pub async fn shutdown(self) {
        let endpoint = self.shared.endpoint.clone();
        drop(self);
        let patience = Duration::from_millis(FAREWELL_MS_MAX);
        // A peer that does not answer finds out by its own timeout.
        let _ = tokio::time::timeout(patience, endpoint.wait_idle()).await;
    }

    fn link(&self, peer: NodeId) -> Result<Arc<Link>, LinkSendError> {
        self.shared.peers.link(peer).ok_or(LinkSendError::Down(peer))
    }

    fn queue(&self, to: NodeId, frame: Bytes) -> Result<(), LinkSendError> {
        let link = self.link(to)?;
        link.queue(frame).map_err(|fault| {
            self.shared.close(&link.connection, fault);
            LinkSendError::Overloaded(to)
        })
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let fault = LinkFault::ShuttingDown;
        let code = VarInt::from_u32(u32::from(fault.code() as u16));
        self.shared.endpoint.close(code, fault.to_string().as_bytes());
    }
}

fn encode_control(frame: &ControlFrame) -> Result<Bytes, LinkSendError> {
    frame::encode(frame, frame::CONTROL_FRAME_BYTES_MAX).ok_or(LinkSendError::TooLarge)
}

fn transport(limits: &LinkLimits) -> TransportConfig {
    let idle = u32::try_from(limits.idle_timeout_ms).unwrap_or(u32::MAX);
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(Duration::from_millis(limits.keep_alive_ms)))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle))))
        .initial_rtt(Duration::from_millis(INITIAL_RTT_MS))
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .max_concurrent_bidi_streams(VarInt::from_u32(FEEDS_PER_LINK_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(LINK_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(None);
    transport
}

const _: () = assert!(FEED_FRAME_BYTES_MAX >= frame::CONTROL_FRAME_BYTES_MAX);
