//! The running gateway: what is started, and how it stops.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::TokioTimer;
use tokio::task::{JoinHandle, JoinSet};

use crate::account::{Books, Database, DatabaseError, FundsWatches, Payers, Quotas, Users};
use crate::config::{GatewayConfig, TlsFiles};
use crate::http::{self, Api, Parts};
use crate::metrics::Metrics;
use crate::network::{Network, NodeClient};
use crate::publish::{Desk, Sender, Ways};
use crate::session_key::{SessionKeyError, SessionKeys, read_session_key};

/// Why a gateway does not start or stops by itself.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A payer's session key cannot be used.
    #[error(transparent)]
    SessionKey(#[from] SessionKeyError),
    /// The database does not serve.
    #[error("the database: {0}")]
    Database(#[from] DatabaseError),
    /// The certificate or its key cannot be used.
    #[error("the TLS files: {0}")]
    Tls(io::Error),
    /// The configuration has `[chain]`, and nobody watches what a payer has there.
    #[error(
        "the configuration limits spending to the payers' funds, and nobody says what they are"
    )]
    FundsUnwatched,
    /// The client for nodes cannot be set up.
    #[error("the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The server gave up.
    #[error("the server stopped: {0}")]
    Server(io::Error),
}

/// A gateway that serves.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    api: Arc<Api>,
    database: Database,
    handle: Handle<SocketAddr>,
    server: JoinHandle<io::Result<()>>,
    /// Ends with the gateway.
    watching: JoinSet<()>,
    drain_timeout: Duration,
}

/// Runs a gateway until `shutdown` completes, then lets requests finish. With a payer's `funds`, it
/// sends no more than that payer can pay for (GTW-017).
///
/// # Errors
/// [`GatewayError`] when it cannot start, or stops by itself.
pub async fn run(
    config: GatewayConfig,
    funds: FundsWatches,
    shutdown: impl Future<Output = ()>,
) -> Result<(), GatewayError> {
    let mut gateway = Gateway::start(config, funds).await?;
    tokio::select! {
        () = shutdown => gateway.stop().await,
        failed = &mut gateway.server => Err(GatewayError::Server(flatten(failed).err().unwrap_or_else(
            || io::Error::other("no connection is accepted any more"),
        ))),
    }
}

impl Gateway {
    /// Starts a gateway: it listens on return, and is ready once it has found the network. With a
    /// payer's `funds`, it sends no more than that payer can pay for (GTW-017).
    ///
    /// # Errors
    /// [`GatewayError`] when something that it needs is missing.
    pub async fn start(config: GatewayConfig, funds: FundsWatches) -> Result<Self, GatewayError> {
        if config.chain.is_some() && !config.payers().all(|it| funds.contains_key(&it.address)) {
            return Err(GatewayError::FundsUnwatched);
        }
        // Fails when there is a provider already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut session_keys = SessionKeys::new();
        for payer in config.payers() {
            session_keys.insert(payer.address, read_session_key(&payer.session_key_file)?);
        }
        let database = Database::open(&config.database).await?;
        let payers = Payers::open(&database, config.payer, &session_keys, funds).await?;
        let client = NodeClient::new(config.attempt_timeout())?;
        let network = Network::new(config.network, config.nodes.clone(), client, config.distrust());
        let (network, metrics) = (Arc::new(network), Arc::new(Metrics::default()));
        let desk = Arc::new(Desk {
            network: Arc::clone(&network),
            session_keys,
            metrics: Arc::clone(&metrics),
            ways: Ways::default(),
        });
        let parts = Parts {
            network: Arc::clone(&network),
            sender: Sender::new(desk, config.send_deadline(), config.envelope_fee_max),
            users: Users::new(database.clone()),
            quotas: Quotas::new(database.clone(), config.quota_window_seconds),
            books: Books::new(database.clone()),
            payers,
            metrics,
        };
        let api = Arc::new(Api::new(&config, parts));
        let (address, handle, server) = serve(&config, Arc::clone(&api)).await?;
        let mut watching = JoinSet::new();
        let interval = config.probe_interval();
        watching.spawn(async move { network.watch(interval).await });
        let written = Arc::clone(&api);
        watching.spawn(async move { keep_books(&written).await });
        tracing::info!(%address, payer = %config.payer, others = config.payers.len(), "the gateway listens");
        let drain_timeout = Duration::from_millis(config.limits.drain_timeout_ms);
        Ok(Self { address, api, database, handle, server, watching, drain_timeout })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until every shard has a healthy node and a payer can pay.
    pub async fn ready(&self) {
        let mut looks = self.api.network.looks();
        while self.api.unreadiness().is_some() && looks.changed().await.is_ok() {}
    }

    /// Stops: new sends are refused, those under way are answered, leases are given back
    /// (GTW-014).
    ///
    /// # Errors
    /// [`GatewayError::Server`] when the server had failed.
    pub async fn stop(mut self) -> Result<(), GatewayError> {
        self.api.drain();
        self.handle.graceful_shutdown(Some(self.drain_timeout));
        let served = flatten((&mut self.server).await);
        self.watching.shutdown().await;
        self.api.quotas.return_leases().await;
        let written = self.api.write_books().await;
        self.database.close().await;
        tracing::info!(all_written = written.is_ok(), "the gateway has stopped");
        served.map_err(GatewayError::Server)
    }
}

/// Writes what was spent once in a while, for ever.
async fn keep_books(api: &Arc<Api>) {
    let mut ticks = tokio::time::interval(BOOKS_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A failure was told, and is tried again with the next tick.
        let _ = api.write_books().await;
    }
}

/// How often what was spent is written, and so how much of it a crash may forget.
const BOOKS_INTERVAL: Duration = Duration::from_secs(1);

type Serving = (SocketAddr, Handle<SocketAddr>, JoinHandle<io::Result<()>>);

async fn serve(config: &GatewayConfig, api: Arc<Api>) -> Result<Serving, GatewayError> {
    let not_listening = |source| GatewayError::Listen { address: config.listen, source };
    let tls = match &config.tls {
        Some(files) => Some(tls_config(files).await?),
        None => None,
    };
    let listener = TcpListener::bind(config.listen).map_err(not_listening)?;
    listener.set_nonblocking(true).map_err(not_listening)?;
    let address = listener.local_addr().map_err(not_listening)?;
    let handle = Handle::new();
    let head_timeout = Duration::from_millis(config.limits.head_timeout_ms);
    let mut server = axum_server::from_tcp(listener).map_err(not_listening)?.handle(handle.clone());
    let http = server.http_builder();
    http.http1().timer(TokioTimer::new()).header_read_timeout(head_timeout);
    let service = http::router(api).into_make_service_with_connect_info::<SocketAddr>();
    let server = match tls {
        None => tokio::spawn(server.serve(service)),
        Some(tls) => tokio::spawn(server.acceptor(RustlsAcceptor::new(tls)).serve(service)),
    };
    Ok((address, handle, server))
}

async fn tls_config(files: &TlsFiles) -> Result<RustlsConfig, GatewayError> {
    RustlsConfig::from_pem_file(&files.certificates, &files.key).await.map_err(GatewayError::Tls)
}

fn flatten(ended: Result<io::Result<()>, tokio::task::JoinError>) -> io::Result<()> {
    ended.unwrap_or_else(|error| Err(io::Error::other(error)))
}
