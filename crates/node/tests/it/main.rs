//! The node's parts through their public interfaces.

mod feed;
mod http;
mod link;
mod storage;
