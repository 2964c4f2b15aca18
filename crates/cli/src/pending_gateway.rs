//! Temporary: the gateway's API while the crate is being written.
#![allow(missing_docs, unused)]
use std::path::{Path, PathBuf};
use serde::{Deserialize, Serialize};
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError { #[error("exists {0}")] UserExists(String), #[error("x")] Other }
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GatewayConfig { pub database: String, #[serde(default)] pub log_format: String, pub listen: String, pub nodes: Vec<String>, pub network: String, pub payer: String, pub session_key_file: PathBuf }
impl GatewayConfig {
    pub fn load(path: &Path, _v: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        Ok(toml::from_str(&std::fs::read_to_string(path)?)?)
    }
}
pub struct ApiKey(zeroize::Zeroizing<String>);
impl ApiKey { pub fn reveal(&self) -> zeroize::Zeroizing<String> { self.0.clone() } }
pub async fn add_user(_u: &str, _n: &str, _q: u64) -> Result<ApiKey, DatabaseError> { Ok(ApiKey(zeroize::Zeroizing::new(hex::encode(*crate::secret_file::random())))) }
pub async fn run(_c: GatewayConfig, s: impl Future<Output = ()>) -> anyhow::Result<()> { s.await; anyhow::bail!("the gateway is not there yet") }
