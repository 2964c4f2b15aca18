//! An edge that finds no network: it says so, and does nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tidings_types::{EdgeId, EthereumAddress, NetworkId};
use tidings_xmtp::proto::health::HealthCheckRequest;
use tidings_xmtp::proto::health::health_check_response::ServingStatus;
use tidings_xmtp::proto::health::health_client::HealthClient;
use tidings_xmtp::proto::message_api::QueryEnvelopesRequest;
use tidings_xmtp::proto::message_api::replication_api_client::ReplicationApiClient;
use tidings_xmtp::proto::payer_api::payer_api_client::PayerApiClient;
use tidings_xmtp::proto::payer_api::{GetNodesRequest, PublishClientEnvelopesRequest};
use tidings_xmtp::{EdgeConfig, EdgeError, RunningEdge};
use tonic::Code;

fn secret(folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::write(&path, "07".repeat(32)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn config(folder: &Path) -> EdgeConfig {
    let text = format!(
        "listen = \"127.0.0.1:0\"\noperations = \"127.0.0.1:0\"\nedge = 1\n\
         nodes = [\"http://127.0.0.1:9\"]\nnetwork = \"{}\"\npayer = \"{}\"\n\
         session_key_file = \"session.key\"\nedge_key_file = \"edge.key\"\nindex = \"index.db\"\n",
        NetworkId([1; 32]),
        EthereumAddress([2; 20]),
    );
    secret(folder, "session.key");
    secret(folder, "edge.key");
    fs::write(folder.join("edge.toml"), text).unwrap();
    EdgeConfig::load(&folder.join("edge.toml")).unwrap()
}

#[tokio::test]
async fn an_edge_without_a_network_says_so() {
    // covers: XMTP-011
    // covers: XMTP-009
    let folder = tempfile::tempdir().unwrap();
    let edge = RunningEdge::start(config(folder.path())).await.unwrap();
    let get = async |path: &str| {
        let url = format!("http://{}{path}", edge.operations());
        let response = reqwest::get(url).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(get("/healthz").await.0, 200);
    assert_eq!(get("/readyz").await, (503, "catching up with the network\n".to_owned()));
    let (_, metrics) = get("/metrics").await;
    for line in ["tidings_xmtp_serving 0", "tidings_xmtp_peers_living 0"] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }

    let url = format!("http://{}", edge.address());
    let mut health = HealthClient::connect(url.clone()).await.unwrap();
    let check = async |health: &mut HealthClient<_>, service: &str| {
        let request = HealthCheckRequest { service: service.into() };
        health.check(request).await.map(|answer| answer.into_inner().status())
    };
    assert_eq!(check(&mut health, "").await.unwrap(), ServingStatus::NotServing);
    assert_eq!(check(&mut health, "nobody").await.unwrap_err().code(), Code::NotFound);
    let mut payer = PayerApiClient::connect(url.clone()).await.unwrap();
    let publish = PublishClientEnvelopesRequest { envelopes: vec![vec![1]] };
    let refused = payer.publish_client_envelopes(publish).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(payer.get_nodes(GetNodesRequest {}).await.unwrap_err().code(), Code::Unavailable);
    let mut reader = ReplicationApiClient::connect(url).await.unwrap();
    let refused = reader.query_envelopes(QueryEnvelopesRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    edge.stop().await.unwrap();
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let open = fs::Permissions::from_mode(0o644);
    fs::set_permissions(&config.edge_key_file, open).unwrap();
    assert_eq!(config.edge, EdgeId(1));
    let refused = RunningEdge::start(config).await.unwrap_err();
    assert!(matches!(refused, EdgeError::Key(_)), "{refused}");
}
