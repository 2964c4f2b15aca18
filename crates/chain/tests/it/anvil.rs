//! An EVM node of the test's own, and what tests do on it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use alloy::primitives::{U256, hex};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::sol_types::SolCall;
use tidings_chain::contracts::{NodeRegistry, TidingsToken, node_registry::INodeRegistry};
use tidings_chain::{
    Call, Confirmed, Deployment, Endpoints, MemoryJournal, Parameter, Plan, SubmitError, Submitter,
    SubmitterConfig, Voting, Wallet, address, deploy,
};
use tidings_types::node_key::NodeKey;
use tidings_types::{EthereumAddress, NodeId};

/// Where `cargo xtask test` has the program.
const PROGRAM_VARIABLE: &str = "TIDINGS_TEST_ANVIL";

/// The key of the first account that the program endows.
pub(crate) const KEY: [u8; 32] =
    hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
/// The key of the second one.
pub(crate) const OTHER_KEY: [u8; 32] =
    hex!("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d");

pub(crate) const CHAIN_ID: u64 = 31_337;

/// A running node; it ends with this value.
pub(crate) struct Anvil {
    child: Child,
    pub(crate) url: String,
}

impl Anvil {
    /// Starts one that makes a block for every transaction.
    pub(crate) fn start() -> Self {
        let program = std::env::var_os(PROGRAM_VARIABLE)
            .expect("`cargo xtask test` runs this test; it knows where anvil is");
        let mut child = Command::new(program)
            .args(["--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = loop {
            let line = lines.next().expect("it says where it listens").unwrap();
            if let Some(place) = line.strip_prefix("Listening on ") {
                break format!("http://{place}");
            }
        };
        // Its log must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }

    pub(crate) fn endpoints(&self) -> Endpoints {
        Endpoints::connect(std::slice::from_ref(&self.url)).unwrap()
    }

    /// A call that only this program knows.
    pub(crate) async fn tell(&self, method: &'static str, parameters: serde_json::Value) {
        let provider = ProviderBuilder::new().connect_http(self.url.parse().unwrap());
        let _: serde_json::Value = provider.raw_request(method.into(), parameters).await.unwrap();
    }

    /// Makes so many empty blocks.
    pub(crate) async fn mine(&self, blocks: u64) {
        self.tell("anvil_mine", serde_json::json!([blocks])).await;
    }

    /// Whether each transaction makes a block at once.
    pub(crate) async fn mine_at_once(&self, at_once: bool) {
        self.tell("evm_setAutomine", serde_json::json!([at_once])).await;
    }

    pub(crate) fn submitter(&self, key: &[u8; 32]) -> Submitter {
        let journal = Box::new(MemoryJournal::default());
        let wallet = Wallet::from_secret(key).unwrap();
        Submitter::new(self.endpoints(), CHAIN_ID, wallet, journal, quick()).unwrap()
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Times for a chain that answers at once.
pub(crate) fn quick() -> SubmitterConfig {
    SubmitterConfig {
        confirmations: 0,
        poll: Duration::from_millis(5),
        give_up_after: Duration::from_secs(60),
        ..SubmitterConfig::default()
    }
}

/// A deployed network of which `KEY` is deployer, council and holder of all tokens.
pub(crate) struct Stage {
    pub(crate) anvil: Anvil,
    pub(crate) deployment: Deployment,
    pub(crate) submitter: Submitter,
    serial: u32,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let anvil = Anvil::start();
        let mut submitter = anvil.submitter(&KEY);
        let me = submitter.address();
        let plan = Plan {
            salt: [7; 32].into(),
            holder: me,
            council: me,
            keeper: me,
            keeper_until: 4_000_000_000,
            dollar: None,
            timelock_seconds: 10,
            voting: Voting {
                delay_seconds: 1,
                period_seconds: 10,
                proposal_threshold: 1,
                quorum_percent: 4,
            },
            parameters: vec![
                (Parameter::BondMin, 5),
                (Parameter::UnbondingSeconds, 5),
                (Parameter::WithdrawalSeconds, 5),
                (Parameter::ProbationSeconds, 0),
                (Parameter::EpochSeconds, 0),
                (Parameter::EpochChurnMax, 4),
                (Parameter::PeriodMs, 10_000),
            ],
        };
        let deployment = deploy(&mut submitter, CHAIN_ID, &plan).await.unwrap();
        deployment.check(&anvil.endpoints()).await.unwrap();
        Self { anvil, deployment, submitter, serial: 0 }
    }

    /// Carries out a call that must succeed.
    pub(crate) async fn call<C: SolCall>(&mut self, to: EthereumAddress, call: &C) -> Confirmed {
        self.try_call(to, call).await.unwrap()
    }

    pub(crate) async fn try_call<C: SolCall>(
        &mut self,
        to: EthereumAddress,
        call: &C,
    ) -> Result<Confirmed, SubmitError> {
        self.serial += 1;
        let call = Call::new(format!("test {}", self.serial), to, call.abi_encode());
        self.submitter.submit(&call).await
    }

    /// Registers, bonds and admits a node whose signing key comes from `seed`.
    pub(crate) async fn add_node(&mut self, id: u32, seed: u8) -> NodeId {
        let registry = self.deployment.registry;
        let operator = self.submitter.address();
        let key = NodeKey::from_secret(&[seed; 32]).unwrap();
        let transport = [seed; 32];
        let register = NodeRegistry::registerCall {
            description: INodeRegistry::Description {
                name: format!("node {id}"),
                signing: address(key.address()),
                transport: transport.into(),
                quic: format!("127.0.0.1:{id}"),
                http: format!("http://127.0.0.1:{id}"),
                weight: 1,
            },
            payout: address(operator),
            possession: tidings_chain::possession(
                &key,
                operator,
                &tidings_types::ed25519::PublicKey(transport),
                self.deployment.genesis().network_id(),
            )
            .0
            .to_vec()
            .into(),
        };
        self.call(registry, &register).await;
        let bond = U256::from(5u64) * U256::from(10u64).pow(U256::from(18u64));
        let approve = TidingsToken::approveCall { spender: address(registry), value: bond };
        self.call(self.deployment.token, &approve).await;
        self.call(registry, &NodeRegistry::bondCall { id, amount: bond }).await;
        self.call(registry, &NodeRegistry::admitCall { id }).await;
        self.call(registry, &NodeRegistry::graduateCall { id }).await;
        NodeId(id)
    }

    pub(crate) async fn open_epoch(&mut self) -> Confirmed {
        self.call(self.deployment.registry, &NodeRegistry::advanceEpochCall {}).await
    }
}
