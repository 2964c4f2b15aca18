//! Tests of the ordered lane through its public interface.

mod agreement;
mod network;
mod racing;
