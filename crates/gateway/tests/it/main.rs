//! The gateway from outside: real HTTP on both sides, nodes that follow a script.

mod access;
mod database;
mod failing;
mod gateway;
mod login;
mod lying;
mod money;
mod payers;
mod peer;
mod running;
mod sending;
mod world;
