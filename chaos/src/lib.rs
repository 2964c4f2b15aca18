//! Chaos on a network of real processes: clients talk while links, disks, clocks and nodes fail,
//! and a checker proves from what they saw that nothing was lost, repeated, reordered or forked.
//!
//! [`history`] and [`check`] are pure: plain data, and what it proves.
//! [`byzantine`] is a node that lies, a program of its own.
//! [`people`] drive clients and write down what happens; [`phase`] makes the network bad and good
//! again; [`measure`] says how available it was meanwhile.

pub mod byzantine;
pub mod check;
pub mod history;
pub mod measure;
pub mod people;
pub mod phase;
pub mod report;
