//! The other edges: which of them live, and how far each has come.
//!
//! A client reads from the edge that answered it first, and publishes to the one it was given.
//! So a publish is answered only when every edge that lives shows it (XMTP-007).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidings_envelope::LogId;
use tidings_envelope::registry::EdgeRecord;
use tidings_types::{EdgeId, Height, Incarnation, LogIndex, NodeId, ShardId};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::edge::Edge;
use crate::place::Place;
use crate::progress::Progress;
use crate::proto::edges::edges_client::EdgesClient;
use crate::proto::edges::{self, FollowRequest};

/// How often an edge says that it lives.
pub const HEARTBEAT: Duration = Duration::from_millis(500);

/// An edge that was not heard of for so long is not waited for.
const SILENCE: Duration = Duration::from_millis(1_500);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The pause before an edge that is gone is looked for again.
const PAUSE: Duration = Duration::from_millis(250);

/// One other edge as it is known here.
#[derive(Debug, Clone, Default)]
struct Peer {
    url: String,
    /// Whether it is connected and serves.
    lives: bool,
    /// Whether it was looked for at least once.
    is_known: bool,
    /// What it did not show in time; it is not waited for until it does.
    late: Vec<Place>,
    progress: Progress,
}

/// All other edges of the registry.
#[derive(Debug)]
pub struct Peers {
    me: EdgeId,
    peers: Mutex<BTreeMap<EdgeId, Peer>>,
    /// Whether a registry has been seen.
    is_taken: AtomicBool,
    changes: watch::Sender<u64>,
}

impl Peers {
    /// None is known yet.
    #[must_use]
    pub fn new(me: EdgeId) -> Self {
        let (is_taken, changes) = (AtomicBool::new(false), watch::Sender::new(0));
        Self { me, peers: Mutex::default(), is_taken, changes }
    }

    /// The edges that live, but for this one: number and base URL.
    #[must_use]
    pub fn living(&self) -> Vec<(EdgeId, String)> {
        let peers = self.lock();
        let living = peers.iter().filter(|(_, peer)| peer.lives && peer.late.is_empty());
        living.map(|(id, peer)| (*id, peer.url.clone())).collect()
    }

    /// Whether every edge of the registry has been looked for.
    #[must_use]
    pub fn are_known(&self) -> bool {
        self.is_taken.load(Ordering::Acquire) && self.lock().values().all(|peer| peer.is_known)
    }

    /// Waits until every edge that lives shows what stands at the places.
    pub async fn reach(&self, places: &[Place]) {
        let mut changes = self.changes.subscribe();
        let is_shown = |_: &u64| {
            let peers = self.lock();
            let mut living = peers.values().filter(|peer| peer.lives && peer.late.is_empty());
            living.all(|peer| places.iter().all(|place| peer.progress.covers(place)))
        };
        // The sender lives as long as this.
        let _ = changes.wait_for(is_shown).await;
    }

    /// Waits no more for edges that have not shown what stands at the places, until they do.
    pub fn leave_behind(&self, places: &[Place]) {
        let shows = |peer: &Peer| places.iter().all(|place| peer.progress.covers(place));
        for (id, peer) in self.lock().iter_mut() {
            if peer.lives && peer.late.is_empty() && !shows(peer) {
                tracing::warn!(edge = %id, "another edge is late and not waited for");
                peer.late = places.to_vec();
            }
        }
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// The next place of each log and lane that f+1 of the edges show and `progress` does not.
    #[must_use]
    pub fn ahead_of(&self, progress: &Progress) -> Vec<Place> {
        let peers = self.lock();
        // This edge is one of them.
        let needed = peers.len() / 3 + 1;
        let living: Vec<_> = peers.values().filter(|peer| peer.lives).collect();
        let mut places: Vec<Place> = Vec::new();
        for place in living.iter().flat_map(|peer| peer.progress.beyond(progress)) {
            let showing = living.iter().filter(|peer| peer.progress.covers(&place)).count();
            if showing >= needed && !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<EdgeId, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, id: EdgeId, change: impl FnOnce(&mut Peer)) {
        if let Some(peer) = self.lock().get_mut(&id) {
            change(peer);
            if peer.late.iter().all(|place| peer.progress.covers(place)) {
                peer.late.clear();
            }
        }
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Takes the edges of a registry; those that are to be followed anew.
    fn take(&self, records: &[EdgeRecord]) -> Vec<EdgeRecord> {
        let mut peers = self.lock();
        self.is_taken.store(true, Ordering::Release);
        let is_peer = |record: &&EdgeRecord| record.active && record.id != self.me;
        let wanted: Vec<_> = records.iter().filter(is_peer).collect();
        peers.retain(|id, peer| {
            wanted.iter().any(|record| record.id == *id && record.url == peer.url)
        });
        let mut new = Vec::new();
        for record in wanted {
            peers.entry(record.id).or_insert_with(|| {
                new.push(record.clone());
                Peer { url: record.url.clone(), ..Peer::default() }
            });
        }
        new
    }
}

/// Follows all other edges of the registry for ever.
pub async fn watch(edge: Arc<Edge>) {
    let mut looks = edge.publisher.looks();
    let mut following = JoinSet::new();
    loop {
        if let Some(registry) = edge.registry() {
            for record in edge.peers.take(&registry.edges) {
                following.spawn(follow(Arc::clone(&edge), record));
            }
        }
        if looks.changed().await.is_err() {
            return;
        }
    }
}

/// Follows one edge until the registry lists it otherwise.
async fn follow(edge: Arc<Edge>, record: EdgeRecord) {
    let is_listed = || {
        let peers = edge.peers.lock();
        peers.get(&record.id).is_some_and(|peer| peer.url == record.url)
    };
    while is_listed() {
        if let Err(error) = listen(&edge.peers, &record).await {
            tracing::debug!(edge = %record.id, %error, "another edge is not heard");
        }
        edge.peers.change(record.id, |peer| {
            peer.lives = false;
            peer.is_known = true;
        });
        tokio::time::sleep(PAUSE).await;
    }
}

#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("unreachable: {0}")]
    Transport(#[from] tonic::transport::Error),
    #[error("refused: {0}")]
    Status(#[from] tonic::Status),
    #[error("silent")]
    Silent,
    #[error("the stream ended")]
    Ended,
}

/// Takes an edge's news until it is lost.
async fn listen(peers: &Peers, record: &EdgeRecord) -> Result<(), Lost> {
    let mut endpoint = Endpoint::from_shared(record.url.clone())?.connect_timeout(CONNECT_TIMEOUT);
    if record.url.starts_with("https:") {
        endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots())?;
    }
    let channel: Channel =
        timeout(CONNECT_TIMEOUT, endpoint.connect()).await.map_err(|_| Lost::Silent)??;
    let mut client = EdgesClient::new(channel);
    let call = timeout(SILENCE, client.follow(FollowRequest {}));
    let mut news = call.await.map_err(|_| Lost::Silent)??.into_inner();
    let mut is_first = true;
    loop {
        let message = timeout(SILENCE, news.message()).await.map_err(|_| Lost::Silent)??;
        let message = message.ok_or(Lost::Ended)?;
        peers.change(record.id, |peer| {
            if is_first {
                peer.progress = Progress::default();
            }
            peer.progress.merge(&from_message(&message));
            peer.lives = message.serving;
            peer.is_known = true;
        });
        is_first = false;
    }
}

/// What another edge said; numbers that fit no log are passed over.
fn from_message(message: &edges::Progress) -> Progress {
    let logs = message.logs.iter().filter_map(|log| {
        let shard = ShardId(u16::try_from(log.shard).ok()?);
        let (node, incarnation) = (NodeId(log.node), Incarnation(log.incarnation));
        Some((LogId { node, shard, incarnation }, LogIndex(log.next)))
    });
    let lanes = message
        .lanes
        .iter()
        .filter_map(|lane| Some((ShardId(u16::try_from(lane.shard).ok()?), Height(lane.next))));
    Progress { logs: logs.collect(), lanes: lanes.collect() }
}

/// What this edge says.
#[must_use]
pub fn to_message(news: &Progress, serving: bool) -> edges::Progress {
    let logs = news.logs.iter().map(|(log, next)| edges::progress::Log {
        node: log.node.0,
        shard: u32::from(log.shard.0),
        incarnation: log.incarnation.0,
        next: next.0,
    });
    let lanes = news
        .lanes
        .iter()
        .map(|(shard, next)| edges::progress::Lane { shard: u32::from(shard.0), next: next.0 });
    edges::Progress { serving, logs: logs.collect(), lanes: lanes.collect() }
}

#[cfg(test)]
mod tests {
    use tidings_types::ed25519::PublicKey;

    use super::*;

    fn record(id: u32, url: &str, active: bool) -> EdgeRecord {
        EdgeRecord { id: EdgeId(id), key: PublicKey([0; 32]), url: url.into(), active }
    }

    #[test]
    fn the_registry_says_who_is_followed() {
        let peers = Peers::new(EdgeId(1));
        let registry = [record(1, "a", true), record(2, "b", true), record(3, "c", false)];
        assert_eq!(peers.take(&registry), [record(2, "b", true)]);
        assert_eq!(peers.take(&registry), []);
        assert!(!peers.are_known());
        peers.change(EdgeId(2), |peer| (peer.is_known, peer.lives) = (true, true));
        assert!(peers.are_known());
        assert_eq!(peers.living(), [(EdgeId(2), "b".to_owned())]);
        assert_eq!(peers.take(&[record(2, "d", true)]), [record(2, "d", true)]);
        assert_eq!(peers.living(), []);
    }

    #[test]
    fn what_too_few_edges_show_is_no_sign_of_being_cut_off() {
        // covers: XMTP-007
        let peers = Peers::new(EdgeId(1));
        peers.take(&[2, 3, 4].map(|id| record(id, "b", true)));
        let reaching = |height| Progress {
            lanes: [(ShardId(0), Height(height))].into(),
            ..Progress::default()
        };
        let shows = |id, height| {
            peers.change(EdgeId(id), |peer| {
                (peer.lives, peer.progress) = (true, reaching(height));
            });
        };
        shows(2, 900);
        assert_eq!(peers.ahead_of(&reaching(5)), []);
        shows(3, 6);
        let lacked = Place::Lane { shard: ShardId(0), height: Height(5), operation: 0 };
        assert_eq!(peers.ahead_of(&reaching(5)), [lacked]);
        assert_eq!(peers.ahead_of(&reaching(6)), []);
        peers.change(EdgeId(3), |peer| peer.lives = false);
        assert_eq!(peers.ahead_of(&reaching(5)), []);
    }

    #[tokio::test]
    async fn only_edges_that_live_are_waited_for() {
        // covers: XMTP-007
        let peers = Peers::new(EdgeId(1));
        peers.take(&[record(2, "b", true), record(3, "c", true)]);
        let place = Place::Lane { shard: ShardId(0), height: Height(4), operation: 0 };
        peers.reach(&[place]).await;
        peers.change(EdgeId(2), |peer| peer.lives = true);
        {
            let waiting = peers.reach(std::slice::from_ref(&place));
            tokio::pin!(waiting);
            assert!(futures_util::poll!(&mut waiting).is_pending());
        }
        // One that is late is waited for again when it has caught up.
        peers.leave_behind(&[place]);
        assert_eq!(peers.living(), []);
        peers.reach(&[place]).await;
        let lanes = [(ShardId(0), Height(5))].into();
        let news = Progress { lanes, ..Progress::default() };
        peers
            .change(EdgeId(2), |peer| peer.progress.merge(&from_message(&to_message(&news, true))));
        assert_eq!(peers.living().len(), 1);
        peers.reach(&[place]).await;
    }
}
