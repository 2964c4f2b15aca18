//! What the links count, for metrics and tests.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::link::LinkFault;

/// Counters of one node's links, all since its start but for [`LinkCounters::links_up`].
#[derive(Debug, Default)]
pub struct LinkCounters {
    links_up: AtomicU64,
    handshakes_refused: AtomicU64,
    malformed: AtomicU64,
    hello_refused: AtomicU64,
    unregistered: AtomicU64,
    overloaded: AtomicU64,
    control_sent: AtomicU64,
    control_received: AtomicU64,
    feed_frames_sent: AtomicU64,
    feed_frames_received: AtomicU64,
    feed_bytes_sent: AtomicU64,
    feed_bytes_received: AtomicU64,
}

macro_rules! readings {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        impl LinkCounters {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(&self) -> u64 {
                    self.$name.load(Ordering::Relaxed)
                }
            )*

            /// Every reading with its name, for export.
            #[must_use]
            pub fn readings(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name()),)*]
            }
        }
    };
}

readings! {
    /// How many peers are connected now.
    links_up;
    /// How many connections ended in the TLS handshake (REP-001).
    handshakes_refused;
    /// How many links were closed for a frame that is malformed or too large (REP-012).
    malformed;
    /// How many links were closed for a wrong first frame (REP-002).
    hello_refused;
    /// How many links were closed because the peer's key is not registered (REP-008).
    unregistered;
    /// How many links were closed because the peer did not read.
    overloaded;
    /// How many control frames went out.
    control_sent;
    /// How many control frames came in.
    control_received;
    /// How many feed frames went out.
    feed_frames_sent;
    /// How many feed frames came in.
    feed_frames_received;
    /// How many bytes of feed frames went out.
    feed_bytes_sent;
    /// How many bytes of feed frames came in.
    feed_bytes_received;
}

impl LinkCounters {
    pub(crate) fn link_is_up(&self) {
        self.links_up.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn link_is_down(&self) {
        self.links_up.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn handshake_refused(&self) {
        self.handshakes_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed_for(&self, fault: LinkFault) {
        let counter = match fault {
            LinkFault::Malformed | LinkFault::TooLarge => &self.malformed,
            LinkFault::UnknownVersion | LinkFault::WrongNetwork | LinkFault::Silent => {
                &self.hello_refused
            }
            LinkFault::Unregistered => &self.unregistered,
            LinkFault::Overloaded => &self.overloaded,
            LinkFault::WrongSide
            | LinkFault::Replaced
            | LinkFault::ShuttingDown
            | LinkFault::Internal => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn control_out(&self) {
        self.control_sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn control_in(&self) {
        self.control_received.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn feed_out(&self, bytes: usize) {
        self.feed_frames_sent.fetch_add(1, Ordering::Relaxed);
        self.feed_bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn feed_in(&self, bytes: usize) {
        self.feed_frames_received.fetch_add(1, Ordering::Relaxed);
        self.feed_bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
