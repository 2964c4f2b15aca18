//! Tests of the replica through its inputs and effects, with queues in place of network and disk.

mod accusing;
mod cluster;
mod congestion;
mod faults;
mod looking_up;
mod measuring;
mod publishing;
mod wire;
