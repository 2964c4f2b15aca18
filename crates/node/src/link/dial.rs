//! Who connects to whom: the lower id calls the higher, again and again (REP-011).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectError, Connection, ConnectionError, Incoming};
use tidings_envelope::registry::NodeRecord;
use tidings_types::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::AbortHandle;

use crate::link::{LinkFault, LinkLimits, Shared, session, tls};

/// How many peers may be in the midst of the handshake; each costs a few kilobytes and a
/// signature.
const HANDSHAKES_MAX: usize = 64;

/// Above so many, callers first prove that they receive at the address they call from.
const HANDSHAKES_UNPROVEN_MAX: usize = HANDSHAKES_MAX / 4;

/// Keeps a dialler for every higher id, answers calls, and drops peers that the registry drops,
/// until the endpoint closes.
pub(crate) async fn supervise(shared: Arc<Shared>, stopping: watch::Receiver<()>) {
    let mut registry = shared.registry.clone();
    let mut diallers: BTreeMap<NodeId, AbortHandle> = BTreeMap::new();
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let mut registry_may_change = true;
    loop {
        let snapshot = registry.borrow_and_update().clone();
        for link in shared.peers.unregistered(&snapshot) {
            shared.close(&link.connection, LinkFault::Unregistered);
        }
        for node in snapshot.nodes.iter().filter(|node| node.id > shared.id) {
            diallers.entry(node.id).or_insert_with(|| {
                tokio::spawn(dial(shared.clone(), node.id, stopping.clone())).abort_handle()
            });
        }
        tokio::select! {
            changed = registry.changed(), if registry_may_change => {
                registry_may_change = changed.is_ok();
            }
            incoming = shared.endpoint.accept() => match incoming {
                Some(incoming) => receive(&shared, incoming, &handshakes),
                None => break,
            }
        }
    }
}

/// Calls one peer whenever there is no connection to it.
async fn dial(shared: Arc<Shared>, peer: NodeId, mut stopping: watch::Receiver<()>) {
    let mut registry = shared.registry.clone();
    let mut attempt = 0u32;
    loop {
        let record = registry.borrow_and_update().node(peer).cloned();
        if let Some(record) = &record {
            match connect(&shared, record).await {
                Ok(connection) => {
                    if session::run(&shared, connection, peer).await {
                        attempt = 0;
                    }
                }
                Err(DialError::Stopping) => return,
                Err(error) => tracing::debug!(%peer, %error, "no connection"),
            }
        }
        let delay = redial_delay(&shared.limits, shared.id, peer, attempt);
        attempt = attempt.saturating_add(1);
        let waited = async {
            match record {
                Some(_) => tokio::time::sleep(delay).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = waited => {}
            // A changed record may be another address: worth an attempt at once.
            Ok(()) = registry.changed() => {}
            _ = stopping.changed() => return,
        }
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("this node stops")]
    Stopping,
    #[error("{0} does not resolve")]
    Address(String),
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("no answer in time")]
    Timeout,
}

async fn connect(shared: &Shared, record: &NodeRecord) -> Result<Connection, DialError> {
    let listed = shared.addresses.get(&record.id).unwrap_or(&record.quic);
    let address = resolve(shared, listed).await?;
    let mut config = shared.tls.client(record.transport)?;
    config.transport_config(shared.transport.clone());
    let connecting = match shared.endpoint.connect_with(config, address, tls::SERVER_NAME) {
        Err(ConnectError::EndpointStopping) => return Err(DialError::Stopping),
        connecting => connecting?,
    };
    let patience = Duration::from_millis(shared.limits.handshake_timeout_ms);
    match tokio::time::timeout(patience, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => {
            count_refusal(shared, &error);
            Err(error.into())
        }
        Err(_) => Err(DialError::Timeout),
    }
}

/// The first address of the endpoint's own family that `host:port` stands for.
async fn resolve(shared: &Shared, address: &str) -> Result<SocketAddr, DialError> {
    let unresolved = || DialError::Address(address.to_owned());
    let mut found = tokio::net::lookup_host(address).await.map_err(|_| unresolved())?;
    found.find(|found| found.is_ipv4() == shared.local.is_ipv4()).ok_or_else(unresolved)
}

/// Doubles from the least to the greatest delay, less up to a quarter that differs by pair.
fn redial_delay(limits: &LinkLimits, id: NodeId, peer: NodeId, attempt: u32) -> Duration {
    let factor = 1u64 << attempt.min(20);
    let delay_ms =
        limits.redial_delay_ms_min.saturating_mul(factor).min(limits.redial_delay_ms_max);
    let mixed = [id.0, peer.0, attempt].iter().fold(0x9e37_79b9_7f4a_7c15u64, |mixed, word| {
        (mixed ^ u64::from(*word)).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
    });
    Duration::from_millis(delay_ms - mixed % (delay_ms / 4 + 1))
}

/// Answers a call, unless there are too many.
fn receive(shared: &Arc<Shared>, incoming: Incoming, handshakes: &Arc<Semaphore>) {
    let busy = HANDSHAKES_MAX - handshakes.available_permits();
    if busy >= HANDSHAKES_UNPROVEN_MAX && incoming.may_retry() {
        // It can only fail where a retry is not allowed.
        let _ = incoming.retry();
        return;
    }
    match handshakes.clone().try_acquire_owned() {
        Ok(permit) => {
            tokio::spawn(admit(shared.clone(), incoming, permit));
        }
        Err(_) => incoming.refuse(),
    }
}

/// Takes a call through the handshake and, if the caller is who it should be, to its end.
async fn admit(shared: Arc<Shared>, incoming: Incoming, permit: OwnedSemaphorePermit) {
    let patience = Duration::from_millis(shared.limits.handshake_timeout_ms);
    let handshake = async { incoming.accept()?.await };
    let connection = match tokio::time::timeout(patience, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return count_refusal(&shared, &error),
        Err(_) => return,
    };
    drop(permit);
    let key = tls::peer_key(&connection);
    let registry = shared.registry.borrow().clone();
    match key.and_then(|key| registry.node_by_transport(&key)) {
        None => shared.close(&connection, LinkFault::Unregistered),
        Some(caller) if caller.id >= shared.id => shared.close(&connection, LinkFault::WrongSide),
        Some(caller) => {
            session::run(&shared, connection, caller.id).await;
        }
    }
}

fn count_refusal(shared: &Shared, error: &ConnectionError) {
    if let ConnectionError::TransportError(_) | ConnectionError::ConnectionClosed(_) = error {
        shared.counters.handshake_refused();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_bound_and_differ_by_pair() {
        let limits = LinkLimits::default();
        let delay = |peer, attempt| redial_delay(&limits, NodeId(1), NodeId(peer), attempt);
        let bounds = limits.redial_delay_ms_min * 3 / 4..=limits.redial_delay_ms_max;
        for attempt in 0..100 {
            let delay_ms = u64::try_from(delay(2, attempt).as_millis()).unwrap();
            assert!(bounds.contains(&delay_ms), "{delay_ms}");
        }
        assert!(delay(2, 30) > delay(2, 0) * 4);
        assert!((2..20).any(|peer| delay(peer, 30) != delay(20, 30)));
    }
}
