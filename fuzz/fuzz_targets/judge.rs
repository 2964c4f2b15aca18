//! The ordered lane panics on no operation and no block, and stages what it then accepts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_envelope::registry::{FeeSchedule, Registry};
use tidings_envelope::{Block, Operation};
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
        sequencers: Vec::new(),
        payers: Vec::new(),
        edges: Vec::new(),
        fees: FeeSchedule::default(),
    }
}

// ORD-004, ORD-007, ORD-012.
fuzz_target!(|input: &[u8]| {
    let (registry, shard, state) = (registry(), ShardId(0), LaneState::default());
    let network = registry.network_id();
    let context = LaneContext { network, registry: &registry, shard };
    if let Ok(operation) = Operation::from_wire(input) {
        let judged = judge_operation(&operation, shard, state.period(), network, &registry);
        let (staged, _) = state.stage(vec![operation], context);
        assert_eq!(state.restage(&staged.block, context).as_ref(), Ok(&staged));
        assert_eq!(state.check(&staged.block, context).is_ok(), judged.is_ok());
    }
    if let Ok(block) = Block::from_wire(input) {
        let _ = state.check(&block, context);
    }
});
