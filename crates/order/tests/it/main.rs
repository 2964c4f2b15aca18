//! Tests of the ordered lane through its public interface.

mod agreement;
mod expiry;
mod identity;
mod incarnations;
mod judging;
mod lane;
mod lottery;
mod markers;
mod network;
mod proposals;
mod racing;
mod vectors;
mod voting;
