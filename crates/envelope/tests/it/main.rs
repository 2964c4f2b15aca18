//! Tests of envelopes, logs and blocks through the public interface.

mod admission;
mod blocks;
mod codec;
mod corpus;
mod draw;
mod evidence;
mod network;
mod receipts;
mod vectors;
