//! The HTTP API over real sockets, in front of a node that keeps everything in memory.

mod following;
mod model;
mod node;
mod reading;
mod serving;
mod settling;
mod store;
mod subscribing;
