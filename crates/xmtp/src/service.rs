//! The running edge: what is started, and how it stops.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tidings_gateway::{Publisher, PublisherConfig, SessionKeyError, TlsFiles, read_session_key};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity as TlsIdentity, Server, ServerTlsConfig};

use crate::config::EdgeConfig;
use crate::edge::{Edge, Identity, Parts};
use crate::follow::follow;
use crate::grpc::{EdgesService, HealthService, PayerService, ReplicationService};
use crate::index::{self, Index, IndexError};
use crate::limit::Gate;
use crate::proto::edges::edges_server::EdgesServer;
use crate::proto::health::health_server::HealthServer;
use crate::proto::message_api::replication_api_server::ReplicationApiServer;
use crate::proto::payer_api::payer_api_server::PayerApiServer;
use crate::{peers, stale};

/// The longest request, in bytes: what one batch holds, so that one that is taken can be stored.
const REQUEST_BYTES_MAX: usize = 7 << 20;

/// Streams on one HTTP/2 connection: requests and subscriptions of one client.
const CONNECTION_STREAMS_MAX: u32 = 1_024;

/// How long a connection may be silent before it is pinged, and then given up.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_PATIENCE: Duration = Duration::from_secs(20);

/// How long calls have to finish when the edge stops.
const DRAIN: Duration = Duration::from_secs(2);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Why an edge does not start or stops by itself.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] SessionKeyError),
    /// The index does not serve.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The certificate or its key cannot be read.
    #[error("the TLS files: {0}")]
    Tls(io::Error),
    /// The client for nodes cannot be set up.
    #[error("the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The server gave up.
    #[error("the server stopped: {0}")]
    Server(String),
}

/// Runs an edge until `shutdown` completes.
///
/// # Errors
/// [`EdgeError`] when it cannot start, or stops by itself.
pub async fn run(config: EdgeConfig, shutdown: impl Future<Output = ()>) -> Result<(), EdgeError> {
    let mut running = RunningEdge::start(config).await?;
    tokio::select! {
        () = shutdown => running.stop().await,
        ended = &mut running.server => Err(EdgeError::Server(reason(ended))),
        // None of them ends by itself.
        _ = running.tasks.join_next() => Err(EdgeError::Server("a part of the edge ended".into())),
    }
}

/// An edge that listens.
#[derive(Debug)]
pub struct RunningEdge {
    edge: Arc<Edge>,
    address: SocketAddr,
    operations: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    /// Following nodes and other edges, and the operators' server; ends with the edge.
    tasks: JoinSet<()>,
}

impl RunningEdge {
    /// Starts an edge: it listens on return, and serves once it has caught up with the network.
    ///
    /// # Errors
    /// [`EdgeError`] when something that it needs is missing.
    pub async fn start(config: EdgeConfig) -> Result<Self, EdgeError> {
        let tls = match &config.tls {
            Some(files) => Some(tls_config(files).await?),
            None => None,
        };
        let listener = listen(config.listen).await?;
        let operations = listen(config.operations).await?;
        let address = listener.local_addr().unwrap_or(config.listen);
        let operations_address = operations.local_addr().unwrap_or(config.operations);
        let Index { writer, reader, inboxes } = index::open(&config.index).await?;
        let edge = Arc::new(build(&config, reader, writer.progress().clone())?);
        let (stop, stopped) = oneshot::channel::<()>();
        let server = serve(&edge, tls, listener, async move {
            // Either way the edge is to stop.
            let _ = stopped.await;
        })?;
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(Arc::clone(&edge), writer, inboxes));
        tasks.spawn(peers::watch(Arc::clone(&edge)));
        tasks.spawn(stale::watch(Arc::clone(&edge)));
        let router = operations_router(Arc::clone(&edge));
        tasks.spawn(async move {
            if let Err(error) = axum::serve(operations, router).await {
                tracing::error!(%error, "the operators' server stopped");
            }
        });
        tracing::info!(%address, edge = %config.edge, payer = %config.payer, "the edge listens");
        Ok(Self { edge, address, operations: operations_address, stop, server, tasks })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where operators look.
    #[must_use]
    pub fn operations(&self) -> SocketAddr {
        self.operations
    }

    /// Stops: new calls are refused, those under way have a moment to finish.
    ///
    /// # Errors
    /// [`EdgeError::Server`] when the server had failed.
    pub async fn stop(mut self) -> Result<(), EdgeError> {
        self.edge.cease();
        // The receiver is gone only if the server ended by itself.
        let _ = self.stop.send(());
        let ended = tokio::time::timeout(DRAIN, &mut self.server).await;
        self.tasks.shutdown().await;
        tracing::info!("the edge has stopped");
        match ended {
            // Streams do not end by themselves.
            Err(_) => {
                self.server.abort();
                Ok(())
            }
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(ended) => Err(EdgeError::Server(reason(ended))),
        }
    }
}

fn build(
    config: &EdgeConfig,
    reader: index::Reader,
    progress: crate::progress::Progress,
) -> Result<Edge, EdgeError> {
    let publisher = Publisher::start(PublisherConfig {
        nodes: config.nodes.clone(),
        network: config.network,
        payer: config.payer,
        session_key: read_session_key(&config.session_key_file)?,
        envelope_fee_max: config.envelope_fee_max,
        send_deadline: config.send_deadline(),
        attempt_timeout: config.attempt_timeout(),
        probe_interval: config.probe_interval(),
        distrust: config.distrust(),
    })?;
    let http = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .no_proxy()
        .build()?;
    let key = read_session_key(&config.edge_key_file)?;
    Ok(Edge::new(Parts {
        network: config.network,
        identity: Identity { id: config.edge, key, payer: config.payer },
        home: config.home.clone(),
        limits: config.limits,
        publisher: Arc::new(publisher),
        http,
        reader,
        progress,
    }))
}

type Serving = JoinHandle<Result<(), tonic::transport::Error>>;

fn serve(
    edge: &Arc<Edge>,
    tls: Option<ServerTlsConfig>,
    listener: TcpListener,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> Result<Serving, EdgeError> {
    let gate = Arc::new(Gate::new(&edge.limits));
    let mut server = Server::builder()
        .max_concurrent_streams(CONNECTION_STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_PATIENCE));
    if let Some(tls) = tls {
        server = server.tls_config(tls).map_err(|error| EdgeError::Server(error.to_string()))?;
    }
    let payer = PayerService::new(Arc::clone(edge), Arc::clone(&gate));
    let replication = ReplicationService::new(Arc::clone(edge), Arc::clone(&gate));
    let health = HealthService::new(Arc::clone(edge), Arc::clone(&gate));
    let edges = EdgesService::new(Arc::clone(edge), gate);
    let router = server
        .add_service(PayerApiServer::new(payer).max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(ReplicationApiServer::new(replication))
        .add_service(HealthServer::new(health))
        .add_service(EdgesServer::new(edges));
    // Without it, small answers wait for acknowledgements that are delayed by 40 ms.
    let connections = TcpIncoming::from(listener).with_nodelay(Some(true));
    Ok(tokio::spawn(router.serve_with_incoming_shutdown(connections, stopped)))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, EdgeError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| EdgeError::Listen { address, source })
}

async fn tls_config(files: &TlsFiles) -> Result<ServerTlsConfig, EdgeError> {
    let certificates = tokio::fs::read(&files.certificates).await.map_err(EdgeError::Tls)?;
    let key = tokio::fs::read(&files.key).await.map_err(EdgeError::Tls)?;
    Ok(ServerTlsConfig::new().identity(TlsIdentity::from_pem(certificates, key)))
}

/// `/metrics`, `/healthz` and `/readyz` (XMTP-011).
fn operations_router(edge: Arc<Edge>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "up\n" }))
        .route("/readyz", get(ready))
        .route(
            "/metrics",
            get(|State(edge): State<Arc<Edge>>| async move { edge.metrics.exposition(&edge) }),
        )
        .with_state(edge)
}

async fn ready(State(edge): State<Arc<Edge>>) -> (StatusCode, &'static str) {
    match (edge.is_serving(), edge.peers.are_known()) {
        (true, true) => (StatusCode::OK, "ready\n"),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "catching up with the network\n"),
        (_, false) => (StatusCode::SERVICE_UNAVAILABLE, "looking for the other edges\n"),
    }
}

fn reason(ended: Result<Result<(), tonic::transport::Error>, tokio::task::JoinError>) -> String {
    match ended {
        Ok(Ok(())) => "no connection is accepted any more".into(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    }
}
