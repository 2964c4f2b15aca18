//! Links between nodes over real sockets.

mod control;
mod fault;
pub mod fixture;
mod handshake;
mod raw;
mod stream;
