//! The listening socket: accepting, TLS, limits on connections, and an orderly end.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::address::AddressConnections;
use super::backend::Backend;
use super::config::{HttpConfig, HttpLimits, TlsFiles};
use super::guard::Caller;
use super::{Api, drained, routes};
use crate::hub::Hub;
use crate::metrics::Metrics;

/// Pause after a failed accept, which is mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the HTTP API does not start; the operator's settings are at fault.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A PEM file is missing or does not hold what it should.
    #[error("cannot read {path}: {source}")]
    Pem {
        /// The configured file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not belong together, or their kind is not supported.
    #[error("cannot use the TLS certificate: {0}")]
    Tls(#[from] rustls::Error),
}

/// The HTTP API, being served.
///
/// Dropping it closes the listening socket and every plain connection at once; see
/// [`HttpServer::shutdown`] for an orderly end.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    draining: watch::Sender<bool>,
    accepting: JoinHandle<JoinSet<()>>,
    /// Closes when the last connection is gone.
    closed: mpsc::Receiver<Infallible>,
    drain_timeout: Duration,
}

impl HttpServer {
    /// Listens, and serves until it is shut down.
    ///
    /// # Errors
    /// [`StartError`] when the address or the TLS files cannot be used.
    pub async fn start(
        config: HttpConfig,
        backend: Arc<dyn Backend>,
        hub: Arc<Hub>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let tls = config.tls.as_ref().map(acceptor).transpose()?;
        let cannot_listen = |source| StartError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        let (draining, is_draining) = watch::channel(false);
        let (alive, closed) = mpsc::channel(1);
        let limits = config.limits;
        let api = Arc::new(Api::new(config, backend, hub, metrics, is_draining.clone()));
        let front = Front {
            router: routes::router(api),
            tls,
            slots: Arc::default(),
            limits,
            alive,
            draining: is_draining,
        };
        let accepting = tokio::spawn(front.accept(listener));
        let drain_timeout = limits.drain_timeout();
        Ok(Self { address, draining, accepting, closed, drain_timeout })
    }

    /// The address that is listened on.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new connection, tells subscribers, lets requests finish, and cuts off what is
    /// left after the configured time (API-018).
    pub async fn shutdown(mut self) {
        self.draining.send_replace(true);
        let connections = (&mut self.accepting).await;
        let drained = tokio::time::timeout(self.drain_timeout, self.closed.recv()).await;
        if drained.is_err() {
            tracing::warn!("connections were still open after the drain timeout");
        }
        drop(connections);
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.draining.send_replace(true);
        self.accepting.abort();
    }
}

/// Counts of open connections.
#[derive(Debug, Default)]
struct Slots {
    addresses: AddressConnections,
    total: AtomicUsize,
}

/// One connection's place among those allowed; given back when dropped (API-015).
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    slots: Arc<Slots>,
    address: IpAddr,
    _alive: mpsc::Sender<Infallible>,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.slots.total.fetch_sub(1, Ordering::Relaxed);
        self.slots.addresses.close(self.address);
    }
}

/// What every connection is served with.
#[derive(Clone)]
struct Front {
    router: Router,
    tls: Option<TlsAcceptor>,
    slots: Arc<Slots>,
    limits: HttpLimits,
    alive: mpsc::Sender<Infallible>,
    draining: watch::Receiver<bool>,
}

impl Front {
    /// Accepts until draining begins; returns the connections that are open then.
    async fn accept(self, listener: TcpListener) -> JoinSet<()> {
        let mut draining = self.draining.clone();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = drained(&mut draining) => return connections,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.admit(stream, peer.ip(), &mut connections),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    /// Serves the connection, or closes it unanswered when there are too many (API-015).
    fn admit(&self, stream: TcpStream, address: IpAddr, connections: &mut JoinSet<()>) {
        let Some(slot) = self.slot(address) else {
            tracing::debug!(%address, "too many connections");
            return;
        };
        let (front, caller) = (self.clone(), Caller { address, slot: Arc::new(slot) });
        connections.spawn(async move {
            // Answers are written whole; waiting to fill a packet would only delay them.
            let _ = stream.set_nodelay(true);
            match front.tls.clone() {
                None => front.serve(stream, caller).await,
                Some(tls) => {
                    let handshake = tls.accept(stream);
                    let timeout = front.limits.head_timeout();
                    if let Ok(Ok(stream)) = tokio::time::timeout(timeout, handshake).await {
                        front.serve(stream, caller).await;
                    }
                }
            }
        });
    }

    fn slot(&self, address: IpAddr) -> Option<ConnectionSlot> {
        if !self.slots.addresses.open(address, self.limits.address_connections_max) {
            return None;
        }
        // From here on dropping the slot gives back both counts.
        let before = self.slots.total.fetch_add(1, Ordering::Relaxed);
        let slot =
            ConnectionSlot { slots: self.slots.clone(), address, _alive: self.alive.clone() };
        (before < self.limits.connections_max).then_some(slot)
    }

    async fn serve<I>(self, stream: I, caller: Caller)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = TowerToHyperService::new(self.router);
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(caller.clone());
            router.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_timeout())
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let mut draining = self.draining;
        drop(self.alive);
        tokio::select! {
            ended = connection.as_mut() => return trace_end(ended),
            () = drained(&mut draining) => {}
        }
        connection.as_mut().graceful_shutdown();
        trace_end(connection.await);
    }
}

fn trace_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, StartError> {
    let pem = |path: &std::path::Path| {
        let path = path.to_owned();
        move |source| StartError::Pem { path, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(pem(&files.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(pem(&files.key))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
