//! Usage reports at the end of a run: all correct members come to the same.

use std::collections::BTreeMap;

use tidings_envelope::UsageReport;
use tidings_payer::{Meter, Pin};
use tidings_tlog::Frontier;
use tidings_types::{LogIndex, NodeId, Period, ShardId};

use super::World;
use crate::disk::Disk;
use crate::ledger::{Invariant, demand};
use crate::setup::Seat;

impl World {
    /// Compares what correct nodes come to from their own disks, period by period; how many
    /// reports two or more of them came to.
    ///
    /// # Errors
    /// The invariant that a difference breaks.
    pub(super) fn check_reports(&self) -> Result<u64, (Invariant, String)> {
        let mut known: BTreeMap<(ShardId, Period), (NodeId, UsageReport)> = BTreeMap::new();
        let mut alike = 0;
        for node in self.setup.nodes().filter(|node| self.ledger.is_correct(*node)) {
            let Some(host) = self.hosts.get(&Seat::of(node)) else { continue };
            for shard in self.setup.shards() {
                for report in self.reports(&host.disk, shard) {
                    let (first, other) =
                        known.entry((shard, report.last)).or_insert((node, report));
                    let difference = report.first_difference(other);
                    demand(difference.is_none(), Invariant::Determinism, || {
                        format!(
                            "nodes {first} and {node} come to other reports of shard {shard} for \
                             period {}: {}",
                            report.last,
                            difference.unwrap_or_default()
                        )
                    })?;
                    alike += u64::from(*first != node);
                }
            }
        }
        Ok(alike)
    }

    /// The reports that a disk leads to.
    fn reports(&self, disk: &Disk, shard: ShardId) -> Vec<UsageReport> {
        let registries = self.setup.history();
        let mut meter = Meter::new(shard, self.setup.network);
        let mut trees = BTreeMap::new();
        let mut reports = Vec::new();
        while let Some(certified) = disk.block(shard, meter.height().plus(1)) {
            if meter.take_block(&certified.block, &registries).is_err() {
                break;
            }
            let Some(pins) = meter.pins().map(<[Pin]>::to_vec) else { continue };
            for pin in &pins {
                let before: Frontier = trees.remove(&pin.log).unwrap_or_default();
                // As a node does, it waits for what it does not hold.
                let Some(tree) = count(&mut meter, pin, before, disk) else { return reports };
                trees.insert(pin.log, tree);
            }
            let Ok(report) = meter.close() else { break };
            reports.push(report);
        }
        reports
    }
}

/// Counts what a pin covers; none when the disk does not hold it, or holds another history.
fn count(meter: &mut Meter, pin: &Pin, mut tree: Frontier, disk: &Disk) -> Option<Frontier> {
    for index in (pin.from.0..pin.size.0).map(LogIndex) {
        let entry = disk.entry(pin.log, index)?;
        tree.append(entry.header.hash().0);
        meter.count(pin.log, &entry.header).ok()?;
    }
    meter.counted(pin.log, tree.root());
    (tree.root() == pin.root).then_some(tree)
}
