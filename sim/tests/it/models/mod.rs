//! Small models of what the design rests on, checked over every order of events.
//!
//! Properties have the names of the design's invariants.
//! Each model is also checked with a fault built in, which must be found: a model that cannot
//! fail shows nothing.

mod agreement;
mod durability;

use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model};

/// Checks every state that a model can reach; answers how many there were.
fn check_all<M>(model: M) -> usize
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Send + Sync + std::fmt::Debug + Clone + PartialEq,
    M::Action: Send + Sync + std::fmt::Debug + Clone + PartialEq,
{
    let checker = model.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    assert!(checker.is_done());
    checker.unique_state_count()
}

/// Checks that a model with a fault breaks a property.
fn check_breaks<M>(model: M, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Send + Sync + std::fmt::Debug + Clone + PartialEq,
    M::Action: Send + Sync + std::fmt::Debug + Clone + PartialEq,
{
    let wanted = HasDiscoveries::AnyOf([property].into());
    let checker = model.checker().threads(2).finish_when(wanted).spawn_bfs().join();
    assert!(checker.discovery(property).is_some(), "the fault breaks no `{property}`");
}
