//! Ports that nobody else takes: outside the ephemeral range, each held by a lock file.

use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use rand::Rng;

/// Below the range from which the kernel gives ports away.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// A port that is free for TCP and UDP and stays reserved as long as this lives.
#[derive(Debug)]
pub struct PortLease {
    port: u16,
    _lock: File,
}

impl PortLease {
    /// Finds and reserves a port.
    ///
    /// # Errors
    /// When a thousand ports in a row are taken.
    pub fn take() -> Result<Self> {
        let folder = std::env::temp_dir().join("tidings-ports");
        std::fs::create_dir_all(&folder).context("cannot keep lock files of ports")?;
        for _ in 0..1_000 {
            let port = rand::thread_rng().gen_range(RANGE);
            if let Some(lease) = Self::try_port(folder.join(port.to_string()), port)? {
                return Ok(lease);
            }
        }
        bail!("no free port in {RANGE:?}")
    }

    fn try_port(path: PathBuf, port: u16) -> Result<Option<Self>> {
        let lock = File::create(path)?;
        let is_free = lock.try_lock().is_ok()
            && TcpListener::bind(("127.0.0.1", port)).is_ok()
            && UdpSocket::bind(("127.0.0.1", port)).is_ok();
        Ok(is_free.then_some(Self { port, _lock: lock }))
    }

    /// The port's number.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}
