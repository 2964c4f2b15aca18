//! Counters as newtypes: an index, a size and a height never stand in for one another.

use std::fmt;

use serde::{Deserialize, Serialize};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        #[derive(TlsSize, TlsSerialize, TlsDeserializeBytes, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The value `count` further on, or the largest value.
            #[must_use]
            pub const fn plus(self, count: $inner) -> Self {
                Self(self.0.saturating_add(count))
            }

            /// The value `count` before this one, or zero.
            #[must_use]
            pub const fn minus(self, count: $inner) -> Self {
                Self(self.0.saturating_sub(count))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

counter!(
    /// A node's number in the registry.
    NodeId, u32
);
counter!(
    /// The number of an XMTP edge in the registry.
    EdgeId, u32
);
counter!(
    /// A shard's number, below the network's `shard_count`.
    ShardId, u16
);
counter!(
    /// Which start of a node a log belongs to; numbered by the ordered lane from 1.
    Incarnation, u32
);
counter!(
    /// The place of an entry in one log, from 0.
    LogIndex, u64
);
counter!(
    /// How many entries a log holds.
    LogSize, u64
);
counter!(
    /// The place of an entry among its originator's entries of one topic, from 0.
    TopicIndex, u64
);
counter!(
    /// The height of a block in a shard's ordered lane; the first block has height 1.
    Height, u64
);
counter!(
    /// A round of agreement within one height, from 0.
    Round, u32
);
counter!(
    /// How many operations a topic has had applied in the ordered lane; 0 means none.
    Position, u64
);
counter!(
    /// Protocol time: the number of the last certified period marker.
    Period, u64
);
counter!(
    /// A version of the operator set.
    RegistryEpoch, u64
);
counter!(
    /// Seconds since the Unix epoch, for display only.
    TimestampSeconds, u64
);

impl RegistryEpoch {
    /// The epoch of a network's first registry, whose committee certifies the first block.
    pub const FIRST: Self = Self(1);
}

impl LogIndex {
    /// The size of a log whose last entry this is.
    #[must_use]
    pub const fn as_size_through(self) -> LogSize {
        LogSize(self.0.saturating_add(1))
    }
}

impl LogSize {
    /// The index that the next entry will have.
    #[must_use]
    pub const fn next_index(self) -> LogIndex {
        LogIndex(self.0)
    }
}
