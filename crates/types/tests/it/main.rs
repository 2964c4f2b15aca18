//! Tests of the foundations through their public interface.

mod codec;
mod vectors;
