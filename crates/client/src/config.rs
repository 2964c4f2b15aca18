//! What a client is told when it is made.

use tidings_types::{NetworkId, NodeId};

/// Where the network is and how this client may use it.
#[derive(Clone)]
pub struct Config {
    /// The gateway's base URL, `http://` or `https://`.
    pub gateway: String,
    /// The key that the gateway knows this user by.
    pub api_key: String,
    /// The node that is asked and listened to first; any if there is none.
    pub node: Option<NodeId>,
    /// The network that must be met; whichever is met first if there is none.
    pub network: Option<NetworkId>,
}

impl Config {
    /// A gateway and a key to it.
    #[must_use]
    pub fn new(gateway: impl Into<String>, api_key: impl Into<String>) -> Self {
        Self { gateway: gateway.into(), api_key: api_key.into(), node: None, network: None }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Config")
            .field("gateway", &self.gateway)
            .field("node", &self.node)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}
