//! The ordered lane panics on no operation and no block, and stages what it then accepts.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tidings_envelope::registry::{FeeSchedule, Registry};
use tidings_envelope::{Block, Operation, RegistryHistory};
use tidings_order::{LaneContext, LaneState, judge_operation};
use tidings_types::{Genesis, GenesisSalt, RegistryEpoch, ShardId, Wire};

fn registry() -> Registry {
    Registry {
        genesis: Genesis::without_chain(GenesisSalt([1; 32])),
        epoch: RegistryEpoch(1),
        shard_count: 1,
        replication_factor: 1,
        period_ms: 1,
        mailbox_buckets: 1,
        nodes: Vec::new(),
        payers: Vec::new(),
        edges: Vec::new(),
        fees: FeeSchedule::default(),
    }
}

// ORD-004, ORD-007, ORD-012.
fuzz_target!(|input: &[u8]| {
    let (registry, shard, state) = (registry(), ShardId(0), LaneState::default());
    let network = registry.network_id();
    let registries = RegistryHistory::new(Arc::new(registry.clone()));
    let context = LaneContext { network, registries: &registries, shard };
    if let Ok(operation) = Operation::from_wire(input) {
        let judged = judge_operation(&operation, &state.judging(network, shard, &registry));
        let (staged, _) = state.stage(vec![operation], context).expect("the registry is known");
        assert_eq!(state.restage(&staged.block, context).as_ref(), Ok(&staged));
        let checked = state.check(&staged.block, |_| false, context);
        assert_eq!(checked.is_ok(), judged.is_ok());
    }
    if let Ok(block) = Block::from_wire(input) {
        let _ = state.check(&block, |_| false, context);
    }
});
