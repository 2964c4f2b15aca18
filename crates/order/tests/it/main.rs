//! Tests of the ordered lane through its public interface.

mod agreement;
mod congestion;
mod epochs;
mod expiry;
mod identity;
mod incarnations;
mod judging;
mod lane;
mod lottery;
mod markers;
mod network;
mod offences;
mod proposals;
mod proving;
mod purses;
mod racing;
mod restarts;
mod signers;
mod vectors;
mod voting;
