//! The registry's snapshots by epoch: what was signed under one is judged by that one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings_types::{EthereumAddress, NetworkId, NodeId, RegistryEpoch};

use crate::registry::{NodeRecord, Registry, RegistryInvalid};

/// Snapshots of one network's registry, at least one (TOP-009).
///
/// Snapshots are kept for ever: blocks and batches of any age name the epoch that judges them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryHistory {
    network: NetworkId,
    latest: Arc<Registry>,
    by_epoch: BTreeMap<RegistryEpoch, Arc<Registry>>,
}

/// Why a snapshot was not taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegistryRefused {
    /// Nobody can compute with it.
    #[error(transparent)]
    Invalid(#[from] RegistryInvalid),
    /// It is of another network.
    #[error("the registry is of another network")]
    WrongNetwork,
    /// Another snapshot of its epoch is known already.
    #[error("there are two registries of epoch {0}")]
    Contradiction(RegistryEpoch),
}

impl RegistryHistory {
    /// A history that begins with one snapshot.
    #[must_use]
    pub fn new(first: Arc<Registry>) -> Self {
        let network = first.network_id();
        let by_epoch = BTreeMap::from([(first.epoch, Arc::clone(&first))]);
        Self { network, latest: first, by_epoch }
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        self.network
    }

    /// Takes over a snapshot of any epoch; answers whether it was not known yet.
    ///
    /// # Errors
    /// [`RegistryRefused`] when it is invalid, of another network, or contradicts a known one.
    pub fn insert(&mut self, registry: Arc<Registry>) -> Result<bool, RegistryRefused> {
        registry.validate()?;
        if registry.network_id() != self.network {
            return Err(RegistryRefused::WrongNetwork);
        }
        if let Some(known) = self.by_epoch.get(&registry.epoch) {
            return match known == &registry {
                true => Ok(false),
                false => Err(RegistryRefused::Contradiction(registry.epoch)),
            };
        }
        if registry.epoch > self.latest.epoch {
            self.latest = Arc::clone(&registry);
        }
        self.by_epoch.insert(registry.epoch, registry);
        Ok(true)
    }

    /// The snapshot of an epoch, if it is known here.
    #[must_use]
    pub fn at(&self, epoch: RegistryEpoch) -> Option<&Arc<Registry>> {
        self.by_epoch.get(&epoch)
    }

    /// The newest snapshot known here.
    #[must_use]
    pub fn latest(&self) -> &Arc<Registry> {
        &self.latest
    }

    /// What the newest snapshot that lists a node says of it.
    ///
    /// A node that left is still known by the key under which its logs were signed.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&NodeRecord> {
        self.by_epoch.values().rev().find_map(|registry| registry.node(id))
    }

    /// Every key under which a node may have signed, the newest first.
    #[must_use]
    pub fn signing_keys(&self, id: NodeId) -> Vec<EthereumAddress> {
        let records = self.by_epoch.values().rev().filter_map(|registry| registry.node(id));
        let mut keys: Vec<EthereumAddress> = records.map(|record| record.signing).collect();
        // One key stands in a row of epochs, and never comes back (SET-016).
        keys.dedup();
        keys
    }

    /// Every snapshot, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Registry>> {
        self.by_epoch.values()
    }
}

/// A registry as files hold it: the fields of the newest snapshot, and beside them the snapshots
/// of earlier epochs.
///
/// A file without `earlier` is one of a single snapshot, and whoever knows snapshots alone reads
/// the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryDocument {
    /// The newest snapshot.
    #[serde(flatten)]
    pub latest: Registry,
    /// Snapshots of earlier epochs, in any order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Registry>,
}

impl RegistryDocument {
    /// The snapshots by epoch.
    ///
    /// # Errors
    /// [`RegistryRefused`] when one is invalid, of another network, or contradicts another.
    pub fn history(self) -> Result<RegistryHistory, RegistryRefused> {
        self.latest.validate()?;
        let mut history = RegistryHistory::new(Arc::new(self.latest));
        for registry in self.earlier {
            history.insert(Arc::new(registry))?;
        }
        Ok(history)
    }
}

impl From<&RegistryHistory> for RegistryDocument {
    fn from(history: &RegistryHistory) -> Self {
        let latest = Registry::clone(history.latest());
        let earlier = history.iter().filter(|registry| registry.epoch < latest.epoch);
        Self { earlier: earlier.map(|registry| Registry::clone(registry)).collect(), latest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::tests::registry;

    fn at(epoch: u64, weight: u32) -> Arc<Registry> {
        let mut registry = registry(4, 1, 4);
        registry.epoch = RegistryEpoch(epoch);
        registry.nodes[0].weight = weight;
        Arc::new(registry)
    }

    #[test]
    fn snapshots_are_found_by_epoch_in_whatever_order_they_came() {
        // covers: TOP-009
        let mut history = RegistryHistory::new(at(2, 1));
        assert_eq!(history.insert(at(5, 2)), Ok(true));
        assert_eq!(history.insert(at(1, 3)), Ok(true));
        assert_eq!(history.insert(at(5, 2)), Ok(false));
        assert_eq!(history.latest().epoch, RegistryEpoch(5));
        assert_eq!(history.at(RegistryEpoch(1)), Some(&at(1, 3)));
        assert_eq!(history.at(RegistryEpoch(3)), None);
        let epochs: Vec<u64> = history.iter().map(|registry| registry.epoch.0).collect();
        assert_eq!(epochs, [1, 2, 5]);
    }

    #[test]
    fn what_contradicts_is_refused() {
        // covers: TOP-009
        let mut history = RegistryHistory::new(at(2, 1));
        let contradiction = RegistryRefused::Contradiction(RegistryEpoch(2));
        assert_eq!(history.insert(at(2, 9)), Err(contradiction));
        let mut elsewhere = Registry::clone(&at(3, 1));
        elsewhere.genesis = tidings_types::Genesis::without_chain([2; 32].into());
        assert_eq!(history.insert(Arc::new(elsewhere)), Err(RegistryRefused::WrongNetwork));
        let invalid = RegistryRefused::Invalid(RegistryInvalid::Epoch);
        assert_eq!(history.insert(at(0, 1)), Err(invalid));
        assert_eq!(history.latest(), &at(2, 1));
    }

    #[test]
    fn a_node_that_left_is_known_by_its_last_record() {
        let mut history = RegistryHistory::new(at(1, 7));
        let mut without = Registry::clone(&at(2, 1));
        without.nodes.remove(0);
        history.insert(Arc::new(without)).unwrap();
        assert_eq!(history.node(NodeId(1)).map(|node| node.weight), Some(7));
        assert_eq!(history.node(NodeId(9)), None);
    }

    #[test]
    fn files_hold_the_newest_snapshot_and_the_earlier_ones() {
        // covers: TOP-009
        let mut history = RegistryHistory::new(at(2, 1));
        history.insert(at(1, 3)).unwrap();
        let text = serde_json::to_string(&RegistryDocument::from(&history)).unwrap();
        let read: RegistryDocument = serde_json::from_str(&text).unwrap();
        assert_eq!(read.history().unwrap(), history);
        // Whoever knows single snapshots reads the newest of a new file, and an old file is good.
        assert_eq!(serde_json::from_str::<Registry>(&text).unwrap(), *at(2, 1));
        let old = serde_json::to_string(&*at(2, 1)).unwrap();
        let read: RegistryDocument = serde_json::from_str(&old).unwrap();
        assert_eq!(read.history().unwrap(), RegistryHistory::new(at(2, 1)));
        let twice = RegistryDocument {
            latest: Registry::clone(&at(2, 1)),
            earlier: vec![Registry::clone(&at(2, 9))],
        };
        let contradiction = RegistryRefused::Contradiction(RegistryEpoch(2));
        assert_eq!(twice.history(), Err(contradiction));
    }
}
