//! The identity crate as its users see it.

mod builder;
mod cast;
mod codec;
mod limits;
mod machine;
mod vectors;
