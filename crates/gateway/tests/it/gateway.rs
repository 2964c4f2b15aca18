//! A real gateway before scripted nodes, and a user's view of it.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tidings_envelope::api::{MEDIA_TYPE, SendRequest, SendResponse, SendResult};
use tidings_envelope::{AckLevel, ClientEnvelope, Registry};
use tidings_gateway::{FundsWatches, Gateway, GatewayConfig, Limits, Quota, add_user};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::SigningKey;
use tidings_types::{BoundedVec, ErrorCode, NodeId, PicoDollars, Wire};

use super::peer::Peer;
use super::world::{PAYER, World, network, session_key};

/// More than any test sends by mistake.
const QUOTA: u64 = 1_000_000;

pub struct Subject {
    pub world: Arc<World>,
    pub peers: Vec<Arc<Peer>>,
    pub gateway: Gateway,
    pub config: GatewayConfig,
    pub client: reqwest::Client,
    pub key: String,
    folder: TempDir,
}

/// What is different from test to test.
pub struct Setting {
    pub nodes: usize,
    pub shards: u16,
    pub quota: u64,
    /// In picodollars per window; no limit without.
    pub money_quota: Option<u64>,
    /// What payers have; no limit without.
    pub funds: FundsWatches,
    /// Which nodes say that they are ready, by place; the others are the last resort.
    pub ready: Vec<usize>,
    /// Which nodes are not there at all.
    pub down: Vec<usize>,
    pub change: fn(&mut GatewayConfig),
    /// What is different in the registry.
    pub registry: fn(&mut Registry),
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            nodes: 4,
            shards: 1,
            quota: QUOTA,
            money_quota: None,
            funds: FundsWatches::new(),
            ready: vec![0],
            down: vec![],
            change: |_| (),
            registry: |_| (),
        }
    }
}

impl Setting {
    pub async fn start(self) -> Subject {
        let subject = self.start_unready().await;
        subject.gateway.ready().await;
        subject
    }

    pub async fn start_unready(self) -> Subject {
        let listeners: Vec<_> =
            (0..self.nodes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let world = Arc::new(World::new(&listeners, self.shards));
        (self.registry)(&mut world.registry.lock().unwrap());
        let mut peers = Vec::new();
        for (place, listener) in listeners.into_iter().enumerate() {
            if !self.down.contains(&place) {
                let id = NodeId(u32::try_from(place).unwrap() + 1);
                let peer = Peer::start(id, Arc::clone(&world), listener);
                peer.is_ready.store(self.ready.contains(&place), Ordering::SeqCst);
                peers.push(peer);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let mut config = configuration(&folder, &world);
        (self.change)(&mut config);
        let quota = Quota { envelopes: self.quota, money: self.money_quota.map(PicoDollars) };
        let key = add_user(&config.database, "ada", quota).await.unwrap().reveal().to_string();
        let gateway = Gateway::start(config.clone(), self.funds).await.unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Subject { world, peers, gateway, config, client, key, folder }
    }
}

fn configuration(folder: &TempDir, world: &World) -> GatewayConfig {
    let session_key_file = key_file(folder.path(), &session_key());
    GatewayConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        nodes: world.registry().nodes.iter().map(|node| node.http.clone()).collect(),
        network: network(),
        payer: PAYER,
        session_key_file,
        database: format!("sqlite:{}", folder.path().join("gateway.db").display()),
        tls: None,
        cors_origins: Vec::new(),
        log_format: "text".into(),
        quota_window_seconds: 1_000_000_000,
        envelope_fee_max: None,
        send_deadline_ms: 20_000,
        attempt_timeout_ms: 10_000,
        // One look at the start, and then only when there is a reason.
        probe_interval_ms: 3_600_000,
        distrust_ms: 3_600_000,
        limits: Limits::default(),
        chain: None,
        login: None,
        payers: Vec::new(),
        metrics_show_funds: false,
    }
}

/// Keeps a session key as a gateway wants it.
pub fn key_file(folder: &Path, key: &SigningKey) -> PathBuf {
    let file = folder.join(format!("{}.key", key.public_key()));
    std::fs::write(&file, hex::encode(key.to_secret().as_slice())).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file
}

impl Subject {
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.address())
    }

    /// A send request that nobody has called for yet.
    pub fn post(&self, body: Vec<u8>) -> RequestBuilder {
        let request = self.client.post(self.url("/v1/send")).bearer_auth(&self.key);
        request.header("content-type", MEDIA_TYPE).body(body)
    }

    pub async fn try_send(
        &self,
        level: AckLevel,
        envelopes: Vec<ClientEnvelope>,
    ) -> Result<Vec<SendResult>, ErrorCode> {
        outcome(self.post(request(level, envelopes)).send().await.unwrap()).await
    }

    pub async fn send(&self, level: AckLevel, envelopes: Vec<ClientEnvelope>) -> Vec<SendResult> {
        self.try_send(level, envelopes).await.unwrap()
    }

    /// Sends one message to be replicated, and checks that it is.
    pub async fn send_one(&self, envelope: ClientEnvelope) -> NodeId {
        let results = self.send(AckLevel::Replicated, vec![envelope.clone()]).await;
        self.check_stored(&results[0], &envelope, AckLevel::Replicated)
    }

    /// Checks a receipt as its user would; answers with the node that stored it.
    pub fn check_stored(
        &self,
        result: &SendResult,
        envelope: &ClientEnvelope,
        level: AckLevel,
    ) -> NodeId {
        let SendResult::Stored(receipt) = result else { panic!("{result:?}") };
        assert_eq!(receipt.header.envelope_id, envelope.body.id());
        receipt.verify(network(), &self.world.registry(), level).unwrap();
        receipt.checkpoint.checkpoint.log.node
    }

    pub async fn get(&self, path: &str) -> (StatusCode, String) {
        let request = self.client.get(self.url(path)).bearer_auth(&self.key);
        let response = request.send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    pub async fn json(&self, path: &str) -> Value {
        let (status, text) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The value of a metric without labels, or with the labels given in its name.
    pub async fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.get("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    pub fn publish_counts(&self) -> Vec<usize> {
        self.peers.iter().map(|peer| peer.publish_count()).collect()
    }
}

pub fn request(level: AckLevel, envelopes: Vec<ClientEnvelope>) -> Vec<u8> {
    let envelopes = BoundedVec::new(envelopes).unwrap();
    SendRequest { version: PROTOCOL_VERSION, level, envelopes }.to_wire()
}

/// The results, or the code of the refusal.
pub async fn outcome(response: Response) -> Result<Vec<SendResult>, ErrorCode> {
    let status = response.status();
    let bytes = response.bytes().await.unwrap();
    if status.is_success() {
        return Ok(SendResponse::from_wire(&bytes).unwrap().results.into_vec());
    }
    let refusal: Value = serde_json::from_slice(&bytes).unwrap();
    let code: ErrorCode = serde_json::from_value(refusal["code"].clone()).unwrap();
    assert_eq!(refusal["retryable"], code.retryable());
    assert!(refusal["message"].is_string());
    Err(code)
}
