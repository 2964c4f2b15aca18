//! Tests of envelopes, logs and blocks through the public interface.

mod admission;
mod blocks;
mod codec;
mod corpus;
mod draw;
mod evidence;
mod fees;
mod network;
mod price_list;
mod receipts;
mod vectors;
