//! The phases of a run: each makes the network bad in one way, for a while, and good again.

mod disks;
mod links;
mod lying;
mod processes;
mod run;

pub use run::{Settings, run};

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore;
use tidings_demo::Network;

use crate::byzantine::Lie;
use crate::people::World;

/// A way in which a network can be bad; at most one node is faulty in any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is wrong.
    Calm,
    /// No packet passes between one node and the others.
    Isolated,
    /// One node's packets pass, and no packet passes to it.
    Deaf,
    /// No packet passes between two nodes and the other two.
    Halves,
    /// Every packet takes 200 ms longer.
    Latency,
    /// One packet in twenty is lost, some come twice, some late.
    Loss,
    /// One node's disk takes long for every sync.
    SlowDisk,
    /// One node's disk fails every sync, for half of the time.
    FailingDisk,
    /// One clock is a day ahead, another a day behind, and both jump.
    Skew,
    /// Nodes are killed and started again, one at a time.
    Kills,
    /// Nodes are halted and go on, one at a time.
    Halts,
    /// Every node is stopped and started again, one after another.
    Restarts,
    /// One node lies.
    Lying(Lie),
}

/// Whether a lane goes on under a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordering {
    /// Changes are made.
    Goes,
    /// No change can be made, because no two thirds of the committee reach each other.
    Stops,
}

impl Fault {
    /// All there are, in the order of a run.
    pub const ALL: [Self; 17] = [
        Self::Calm,
        Self::Isolated,
        Self::Deaf,
        Self::Halves,
        Self::Latency,
        Self::Loss,
        Self::SlowDisk,
        Self::FailingDisk,
        Self::Skew,
        Self::Kills,
        Self::Halts,
        Self::Restarts,
        Self::Lying(Lie::Withhold),
        Self::Lying(Lie::VoteTwice),
        Self::Lying(Lie::ProposeTwice),
        Self::Lying(Lie::Equivocate),
        Self::Lying(Lie::Forge),
    ];

    /// Its name on the command line and in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Isolated => "isolated",
            Self::Deaf => "deaf",
            Self::Halves => "halves",
            Self::Latency => "latency",
            Self::Loss => "loss",
            Self::SlowDisk => "slow-disk",
            Self::FailingDisk => "failing-disk",
            Self::Skew => "skew",
            Self::Kills => "kills",
            Self::Halts => "halts",
            Self::Restarts => "restarts",
            Self::Lying(lie) => lie.name(),
        }
    }

    /// What becomes of the ordered lane; messages go on in any case.
    #[must_use]
    pub fn ordering(self) -> Ordering {
        match self {
            Self::Halves => Ordering::Stops,
            _ => Ordering::Goes,
        }
    }

    /// Makes the network bad for `time`, and good again; when it returns, every node serves.
    ///
    /// # Errors
    /// When a process cannot be handled or does not come back.
    pub async fn strike(self, stage: &mut Stage, time: Duration) -> Result<()> {
        match self {
            Self::Calm => stage.last(time).await,
            Self::Isolated => links::isolated(stage, time).await?,
            Self::Deaf => links::deaf(stage, time).await?,
            Self::Halves => links::halves(stage, time).await?,
            Self::Latency => links::latency(stage, time).await?,
            Self::Loss => links::loss(stage, time).await?,
            Self::SlowDisk => disks::slow(stage, time).await?,
            Self::FailingDisk => disks::failing(stage, time).await?,
            Self::Skew => disks::skew(stage, time).await?,
            Self::Kills => processes::kills(stage, time).await?,
            Self::Halts => processes::halts(stage, time).await?,
            Self::Restarts => processes::restarts(stage).await?,
            Self::Lying(lie) => lying::strike(stage, lie, time).await?,
        }
        Ok(())
    }
}

/// The network and those who use it.
#[derive(Debug)]
pub struct Stage {
    /// The processes.
    pub network: Network,
    /// The people.
    pub world: Arc<World>,
    /// Decides which node is struck and when.
    pub rng: ChaCha20Rng,
}

impl Stage {
    /// Any node.
    fn some_node(&mut self) -> usize {
        self.rng.next_u32() as usize % self.network.nodes().len()
    }

    /// Lets things be as they are for a while: how long a fault lasts is what a phase is about.
    async fn last(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
