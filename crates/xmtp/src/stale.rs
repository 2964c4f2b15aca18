//! Noticing that the node that is followed lives but is cut off from the others.
//!
//! Such a node answers, and has nothing to show; what tells is that other edges, which follow
//! other nodes, go on where this one stands still.

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};

use crate::edge::Edge;
use crate::place::Place;
use crate::publish::OWN_PATIENCE;

/// Has another node followed when this edge lacks the same thing at two looks in a row that f+1
/// of the edges show, one of which is then honest.
pub async fn watch(edge: Arc<Edge>) {
    let mut looks = interval(OWN_PATIENCE);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lacked = Vec::new();
    loop {
        looks.tick().await;
        let lacks = edge.peers.ahead_of(&edge.progress().borrow());
        let still: Vec<Place> =
            lacks.iter().filter(|place| lacked.contains(*place)).copied().collect();
        lacked = lacks;
        if !still.is_empty() && edge.is_serving() {
            edge.missed.send_replace(still);
        }
    }
}
