//! The registry as nodes get it, through reorganisations and restarts.

use std::time::Duration;

use alloy::primitives::U256;
use tidings_chain::contracts::{
    AccessManager, NetworkParameters, NodeRegistry, PayerVault, TidingsTimelock,
};
use tidings_chain::{
    ChainError, KeepError, Parameter, RegistryKeeper, WatchError, Watcher, WatcherConfig, address,
};
use tidings_envelope::RegistryDocument;
use tidings_types::ed25519::PublicKey;
use tidings_types::node_key::NodeKey;
use tidings_types::{NodeId, PicoDollars, RegistryEpoch};

use crate::anvil::Stage;

fn watcher(stage: &Stage, finality_depth: u64, known: Option<RegistryEpoch>) -> Watcher {
    let config = WatcherConfig { finality_depth, poll: Duration::from_millis(5) };
    Watcher::new(stage.anvil.endpoints(), stage.deployment, config, known)
}

async fn epochs(watcher: &mut Watcher) -> Vec<u64> {
    let opened = watcher.look().await.unwrap();
    opened.iter().map(|registry| registry.epoch.0).collect()
}

#[tokio::test]
async fn an_epoch_is_what_the_contracts_say() {
    let mut stage = Stage::set().await;
    for id in 0..3 {
        stage.add_node(id, u8::try_from(id).unwrap() + 1).await;
    }
    let key = [9; 32];
    let (vault, payer) = (stage.deployment.vault, stage.submitter.address());
    let set = PayerVault::setSessionKeyCall { key: key.into(), expires: 4_000_000_000 };
    stage.call(vault, &set).await;
    let set = PayerVault::setSessionKeyCall { key: [8; 32].into(), expires: 4_000_000_000 };
    stage.call(vault, &set).await;
    stage.call(vault, &PayerVault::removeSessionKeyCall { key: [8; 32].into() }).await;
    stage.open_epoch().await;
    // What comes after the epoch's block is of the next one.
    stage.add_node(3, 4).await;

    let mut watcher = watcher(&stage, 0, None);
    let opened = watcher.look().await.unwrap();
    let [registry] = opened.as_slice() else { panic!("{opened:?}") };
    assert_eq!(registry.network_id(), stage.deployment.genesis().network_id());
    assert_eq!(registry.epoch, RegistryEpoch(1));
    assert_eq!((registry.shard_count, registry.replication_factor), (1, 4));
    assert_eq!(registry.period_ms, 10_000);
    assert_eq!(registry.fees.base, PicoDollars(2_000_000));
    let ids: Vec<NodeId> = registry.nodes.iter().map(|node| node.id).collect();
    assert_eq!(ids, [NodeId(0), NodeId(1), NodeId(2)]);
    let second = &registry.nodes[1];
    assert_eq!(second.name, "node 1");
    assert_eq!(second.signing, NodeKey::from_secret(&[2; 32]).unwrap().address());
    assert_eq!(second.transport, PublicKey([2; 32]));
    assert_eq!((second.quic.as_str(), second.http.as_str()), ("127.0.0.1:1", "http://127.0.0.1:1"));
    assert!(registry.nodes.iter().all(|node| node.active));
    let [record] = registry.payers.as_slice() else { panic!("{:?}", registry.payers) };
    assert_eq!(
        (record.address, record.session_keys.as_slice()),
        (payer, [PublicKey(key)].as_slice())
    );

    stage.open_epoch().await;
    let opened = watcher.look().await.unwrap();
    assert_eq!(opened[0].nodes.len(), 4);
    assert!(opened[0].nodes[3].active);
    assert_eq!(epochs(&mut watcher).await, [0u64; 0]);
}

#[tokio::test]
async fn nodes_that_wait_or_leave_are_listed_and_vote_in_nothing() {
    let mut stage = Stage::set().await;
    for id in 0..3 {
        stage.add_node(id, u8::try_from(id).unwrap() + 1).await;
    }
    stage.open_epoch().await;
    let registry = stage.deployment.registry;
    stage.call(registry, &NodeRegistry::exitCall { id: 1 }).await;
    stage.add_node(3, 4).await;
    stage.open_epoch().await;
    let opened = watcher(&stage, 0, None).look().await.unwrap();
    let listed: Vec<(u32, bool)> =
        opened[1].nodes.iter().map(|node| (node.id.0, node.active)).collect();
    assert_eq!(listed, [(0, true), (1, false), (2, true), (3, true)]);
}

#[tokio::test]
async fn a_watcher_goes_on_after_a_restart() {
    let mut stage = Stage::set().await;
    stage.add_node(0, 1).await;
    for _ in 0..3 {
        stage.open_epoch().await;
    }
    assert_eq!(epochs(&mut watcher(&stage, 0, None)).await, [1, 2, 3]);
    let mut restarted = watcher(&stage, 0, Some(RegistryEpoch(2)));
    assert_eq!(epochs(&mut restarted).await, [3]);
}

#[tokio::test]
async fn what_is_not_final_does_not_count_and_may_be_taken_back() {
    let mut stage = Stage::set().await;
    stage.add_node(0, 1).await;
    stage.anvil.mine(5).await;
    let mut watcher = watcher(&stage, 5, None);
    assert_eq!(epochs(&mut watcher).await, [0u64; 0]);
    stage.open_epoch().await;
    assert_eq!(epochs(&mut watcher).await, [0u64; 0]);
    // The last block goes, and the epoch with it.
    stage.anvil.tell("anvil_reorg", serde_json::json!([1, []])).await;
    stage.anvil.mine(10).await;
    assert_eq!(epochs(&mut watcher).await, [0u64; 0]);
    stage.submitter = stage.anvil.submitter(&crate::anvil::KEY);
    stage.open_epoch().await;
    stage.anvil.mine(5).await;
    assert_eq!(epochs(&mut watcher).await, [1]);
}

#[tokio::test]
async fn a_chain_that_takes_back_what_was_final_is_not_followed() {
    let mut stage = Stage::set().await;
    stage.add_node(0, 1).await;
    stage.open_epoch().await;
    stage.anvil.mine(3).await;
    let mut watcher = watcher(&stage, 1, None);
    assert_eq!(epochs(&mut watcher).await, [1]);
    stage.anvil.tell("anvil_reorg", serde_json::json!([4, []])).await;
    stage.anvil.mine(4).await;
    let refused = watcher.look().await;
    let Err(WatchError::Chain(error @ ChainError::Reorganised { .. })) = refused else {
        panic!("{refused:?}");
    };
    assert!(!WatchError::Chain(error).retryable());
}

#[tokio::test]
async fn a_file_is_kept_as_new_as_the_chain() {
    let mut stage = Stage::set().await;
    stage.add_node(0, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.json");
    let keeper = |stage: &Stage| {
        let config = WatcherConfig { finality_depth: 0, poll: Duration::from_millis(5) };
        RegistryKeeper::open(path.clone(), stage.anvil.endpoints(), stage.deployment, config)
    };
    let mut waiting = keeper(&stage).unwrap();
    assert!(!waiting.look().await.unwrap() && !waiting.lists(NodeId(0)));
    stage.open_epoch().await;
    waiting.listing(NodeId(0)).await.unwrap();
    stage.open_epoch().await;
    // Another one takes up where this one ended.
    let mut next = keeper(&stage).unwrap();
    assert!(next.lists(NodeId(0)) && next.look().await.unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    let document: RegistryDocument = serde_json::from_str(&text).unwrap();
    assert_eq!(document.latest.epoch, RegistryEpoch(2));
    let earlier: Vec<u64> = document.earlier.iter().map(|registry| registry.epoch.0).collect();
    assert_eq!(earlier, [1]);
    // What could not be written is written later.
    stage.open_epoch().await;
    std::fs::create_dir(folder.path().join("registry.json.next")).unwrap();
    assert!(matches!(next.look().await, Err(KeepError::Io { .. })));
    std::fs::remove_dir(folder.path().join("registry.json.next")).unwrap();
    assert!(next.look().await.unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    let document: RegistryDocument = serde_json::from_str(&text).unwrap();
    assert_eq!(document.latest.epoch, RegistryEpoch(3));
    // A file of another network is left alone.
    let other = text.replace("0707", "0808");
    std::fs::write(&path, &other).unwrap();
    assert!(matches!(keeper(&stage), Err(KeepError::OtherNetwork { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), other);
}

#[tokio::test]
async fn nobody_but_the_timelock_governs_in_the_end() {
    let mut stage = Stage::set().await;
    let parameters = stage.deployment.parameters;
    let set = NetworkParameters::setCall {
        parameter: Parameter::BondMin as u8,
        newValue: U256::from(1u64),
    };
    let refused = stage.try_call(parameters, &set).await.unwrap_err().to_string();
    assert!(refused.contains("AccessManagedUnauthorized"), "{refused}");
    let (access, timelock) = (stage.deployment.access, stage.deployment.timelock);
    let (me, governor) = (stage.submitter.address(), stage.deployment.governor);
    let (access, at) = (address(access), address(timelock));
    let ask = move |provider: alloy::providers::DynProvider| async move {
        let access = AccessManager::new(access, &provider);
        let timelock = TidingsTimelock::new(at, &provider);
        let is_admin = |who| access.hasRole(0, who);
        let proposer = alloy::primitives::keccak256("PROPOSER_ROLE");
        Ok::<_, tidings_chain::ContractError>([
            is_admin(at).call().await?.isMember,
            is_admin(address(me)).call().await?.isMember,
            timelock.hasRole(proposer, address(governor)).call().await?,
            timelock.hasRole(Default::default(), address(me)).call().await?,
        ])
    };
    let roles = stage.anvil.endpoints().agreed(ask).await.unwrap();
    assert_eq!(roles, [true, false, true, false]);
}
