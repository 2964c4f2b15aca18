//! The `tidings` program as people and scripts meet it.

mod chain;
mod devnet_init;
mod inspecting;
mod network;
mod process_chain;
mod process_chat;
mod process_devnet;
mod process_gateway;
mod process_governance;
mod process_kills;
mod process_operator;
mod process_settlement;
mod process_talk;
mod program;
mod relay;
mod settled;
mod terminal;
mod words;
