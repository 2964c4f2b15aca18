//! The gateway's HTTP API: routes, limits, refusals.

mod body;
mod cors;
mod estimate;
mod login;
mod rates;
mod refusal;
mod routes;
mod spend;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tidings_types::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::cors::Cors;
pub use self::rates::AddressRates;
use self::refusal::Refusal;
use crate::account::{Books, Payers, Quotas, Users};
use crate::config::{GatewayConfig, Limits, LoginConfig};
use crate::login::Nonces;
use crate::metrics::Metrics;
use crate::network::Network;
use crate::publish::Sender;

/// Every route, as `openapi.json` describes them.
#[cfg(test)]
const ROUTES: [(&str, &str); 12] = [
    ("POST", SEND),
    ("POST", ESTIMATE),
    ("GET", USAGE),
    ("GET", SPEND),
    ("POST", LOGIN_NONCE),
    ("POST", LOGIN),
    ("GET", STATUS),
    ("GET", REGISTRY),
    ("GET", HEALTHZ),
    ("GET", READYZ),
    ("GET", METRICS),
    ("GET", OPENAPI),
];

const SEND: &str = "/v1/send";
const ESTIMATE: &str = "/v1/estimate";
const USAGE: &str = "/v1/usage";
const SPEND: &str = "/v1/spend";
const LOGIN_NONCE: &str = "/v1/login/nonce";
const LOGIN: &str = "/v1/login";
const STATUS: &str = "/v1/status";
const REGISTRY: &str = "/v1/registry";
const HEALTHZ: &str = "/healthz";
const READYZ: &str = "/readyz";
const METRICS: &str = "/metrics";
const OPENAPI: &str = "/openapi.json";

/// What every route can reach.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) network: Arc<Network>,
    pub(crate) sender: Sender,
    pub(crate) users: Users,
    pub(crate) quotas: Quotas,
    pub(crate) books: Books,
    pub(crate) payers: Payers,
    pub(crate) metrics: Arc<Metrics>,
    /// Whether what payers have is in the metrics: it is nobody's business where there are several.
    shows_funds: bool,
    /// Whether who shows no key asks about the only payer that there is.
    has_one_payer: bool,
    /// Who may log in; nobody without.
    login: Option<LoginConfig>,
    nonces: Nonces,
    gate: Gate,
}

/// What keeps callers within bounds (GTW-012).
#[derive(Debug)]
pub(crate) struct Gate {
    limits: Limits,
    rates: AddressRates,
    cors: Cors,
    places: Arc<Semaphore>,
    memory_kilobytes: Arc<Semaphore>,
    is_draining: AtomicBool,
}

impl Gate {
    fn new(config: &GatewayConfig) -> Self {
        let limits = config.limits;
        let memory = usize::try_from(limits.body_kilobytes_max).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            limits,
            rates: AddressRates::new(limits.address_requests_per_second, limits.address_burst),
            cors: Cors::new(config.cors_origins.clone()),
            places: Arc::new(Semaphore::new(limits.requests_max.min(Semaphore::MAX_PERMITS))),
            memory_kilobytes: Arc::new(Semaphore::new(memory.min(Semaphore::MAX_PERMITS))),
            is_draining: AtomicBool::new(false),
        }
    }
}

/// The parts that an [`Api`] is put together from.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) network: Arc<Network>,
    pub(crate) sender: Sender,
    pub(crate) users: Users,
    pub(crate) quotas: Quotas,
    pub(crate) books: Books,
    pub(crate) payers: Payers,
    pub(crate) metrics: Arc<Metrics>,
}

impl Api {
    /// An API for a gateway of this configuration.
    pub(crate) fn new(config: &GatewayConfig, parts: Parts) -> Self {
        let Parts { network, sender, users, quotas, books, payers, metrics } = parts;
        Self {
            network,
            sender,
            users,
            quotas,
            books,
            payers,
            metrics,
            shows_funds: config.metrics_show_funds || config.payers.is_empty(),
            has_one_payer: config.payers.is_empty(),
            login: config.login.clone(),
            nonces: Nonces::default(),
            gate: Gate::new(config),
        }
    }

    /// Refuses new sends from now on; those under way go on (GTW-014).
    pub(crate) fn drain(&self) {
        self.gate.is_draining.store(true, Ordering::SeqCst);
    }

    fn is_draining(&self) -> bool {
        self.gate.is_draining.load(Ordering::SeqCst)
    }

    /// Writes what users and payers spent; after a failure it is tried again next time.
    ///
    /// # Errors
    /// [`ErrorCode::StorageUnavailable`] when the database fails.
    pub(crate) async fn write_books(self: &Arc<Self>) -> Result<(), ErrorCode> {
        let api = Arc::clone(self);
        // On a task of its own: whoever waits for it and goes must not leave it half done, or it
        // would be lost or entered twice.
        let writing = tokio::spawn(async move {
            let users = api.books.write(routes::now_seconds()).await;
            users.and(api.payers.write().await)
        });
        writing.await.map_err(|_| ErrorCode::Internal)?.map_err(|error| {
            tracing::warn!(%error, "what was spent could not be written yet");
            ErrorCode::StorageUnavailable
        })
    }

    /// Why the gateway cannot serve now, if it cannot (GTW-011).
    pub(crate) fn unreadiness(&self) -> Option<(ErrorCode, String)> {
        if self.is_draining() {
            return Some((ErrorCode::ShuttingDown, "the gateway is shutting down".into()));
        }
        let Some(now) = self.network.snapshot() else {
            return Some((ErrorCode::NotReady, "the registry is not known yet".into()));
        };
        let unserved = || {
            let shard = self.network.unserved_shard(&now)?;
            Some(format!("no healthy node serves shard {shard}"))
        };
        let obstacle = self.payers.obstacle(&now.registry, self.network.period());
        let reason = obstacle.map(str::to_owned).or_else(unserved)?;
        Some((ErrorCode::NotReady, reason))
    }

    /// A place among the requests being answered (GTW-012).
    fn enter(&self) -> Result<OwnedSemaphorePermit, ErrorCode> {
        if self.is_draining() {
            return Err(ErrorCode::ShuttingDown);
        }
        Arc::clone(&self.gate.places).try_acquire_owned().map_err(|_| ErrorCode::Overloaded)
    }

    /// Room for a body of `bytes` (GTW-012).
    fn reserve_memory(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ErrorCode> {
        let kilobytes = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
        let memory = Arc::clone(&self.gate.memory_kilobytes);
        memory.try_acquire_many_owned(kilobytes).map_err(|_| ErrorCode::Overloaded)
    }

    fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.gate.limits.body_timeout_ms)
    }
}

/// The routes with their limits.
pub(crate) fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route(SEND, post(routes::send))
        .route(ESTIMATE, post(estimate::estimate))
        .route(USAGE, get(routes::usage))
        .route(SPEND, get(spend::spend))
        .route(LOGIN_NONCE, post(login::nonce))
        .route(LOGIN, post(login::login))
        .route(STATUS, get(routes::status))
        .route(REGISTRY, get(routes::registry))
        .route(HEALTHZ, get(routes::healthz))
        .route(READYZ, get(routes::readyz))
        .route(METRICS, get(routes::metrics))
        .route(OPENAPI, get(routes::openapi))
        .fallback(routes::not_found)
        .layer(from_fn_with_state(Arc::clone(&api), around))
        .with_state(api)
}

/// What surrounds every route: the address limit, cross-origin answers, counting.
async fn around(
    State(api): State<Arc<Api>>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let origin = api.gate.cors.allowed(request.headers());
    let mut response = if Cors::is_preflight(request.method(), request.headers()) {
        Cors::preflight(origin.is_some())
    } else if api.gate.rates.take(address.ip(), Instant::now()) {
        next.run(request).await
    } else {
        api.metrics.rate_limited.increment();
        Refusal::from(ErrorCode::RateLimited).into_response()
    };
    Cors::mark(&mut response, origin);
    api.metrics.answered(response.status().as_u16());
    response
}
