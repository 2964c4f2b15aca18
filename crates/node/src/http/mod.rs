//! The node's HTTP API: publishing, reading, subscribing, auditing, and what operators watch.
//!
//! [`HttpServer::start`] serves a [`Backend`] with the rules of `spec/09-http-api.md`;
//! [`crate::hub::Hub`] brings subscribers what became durable.

use std::sync::Arc;

use tidings_types::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::hub::Hub;
use crate::metrics::Metrics;

mod about;
mod address;
mod audit;
mod backend;
mod body;
mod config;
mod cors;
mod follow;
mod follower;
mod guard;
mod look_up;
mod refusal;
mod routes;
mod server;
mod settlement;
mod socket;
mod subscriber;
mod topics;

pub use address::{AddressConnections, AddressRates};
pub use backend::{Answer, Backend, LogStatus, NodeStatus, Sample, ShardStatus};
pub use config::{
    HttpConfig, HttpLimits, PUBLISH_BYTES_MAX, QUERY_BYTES_MAX, SUBSCRIBER_FRAME_BYTES_MAX,
    TlsFiles,
};
pub use refusal::{Refusal, status_of};
pub use routes::{OPENAPI, operations};
pub use server::{HttpServer, StartError};
pub use subscriber::{Read, Subscriber, check_cursor};

/// What every handler works with.
pub(crate) struct Api {
    backend: Arc<dyn Backend>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    config: HttpConfig,
    rates: AddressRates,
    requests: Arc<Semaphore>,
    /// One permit per kilobyte.
    memory: Arc<Semaphore>,
    proofs: Arc<Semaphore>,
    catch_up_reads: Arc<Semaphore>,
    draining: watch::Receiver<bool>,
}

impl Api {
    fn new(
        config: HttpConfig,
        backend: Arc<dyn Backend>,
        hub: Arc<Hub>,
        metrics: Arc<Metrics>,
        draining: watch::Receiver<bool>,
    ) -> Self {
        let limits = config.limits;
        Self {
            backend,
            hub,
            metrics,
            config,
            rates: AddressRates::new(limits.address_requests_per_minute, limits.address_burst),
            requests: Arc::new(Semaphore::new(limits.requests_max)),
            memory: Arc::new(Semaphore::new(limits.body_kilobytes_max as usize)),
            proofs: Arc::new(Semaphore::new(limits.proofs_max)),
            catch_up_reads: Arc::new(Semaphore::new(limits.catch_up_reads_max)),
            draining,
        }
    }

    fn limits(&self) -> &HttpLimits {
        &self.config.limits
    }

    /// Accounts for the memory of a body until the permit is dropped (API-015).
    fn reserve_memory(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ErrorCode> {
        let kilobytes = u32::try_from(bytes.div_ceil(1_024)).map_err(|_| ErrorCode::TooLarge)?;
        let permit = self.memory.clone().try_acquire_many_owned(kilobytes);
        permit.map_err(|_| ErrorCode::Overloaded)
    }
}

/// Resolves when the node begins to shut down; safe to drop and to call again.
async fn drained(draining: &mut watch::Receiver<bool>) {
    // Without a sender the server is gone, which is the same.
    let _ = draining.wait_for(|draining| *draining).await;
}
