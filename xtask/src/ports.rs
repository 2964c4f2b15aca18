//! Loopback ports that stay ours: outside the ephemeral range, held by a lock file.

use std::fs::{self, File, OpenOptions, Permissions};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

/// Below Linux's ephemeral range (32768–60999), so that no outgoing connection
/// takes a port between two starts of its server.
const RANGE: RangeInclusive<u16> = 10_000..=32_767;

/// A port that no other lease holds for as long as this value lives.
#[derive(Debug)]
pub struct Lease {
    port: u16,
    _lock: File,
}

impl Lease {
    /// The port's number.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Leases `count` free ports.
///
/// # Errors
/// When there are none, or the lock files cannot be written.
pub fn lease(count: usize) -> Result<Vec<Lease>> {
    let size = u32::from(RANGE.end() - RANGE.start()) + 1;
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    let first = (nanos ^ std::process::id()) % size;
    let mut leases = Vec::new();
    for step in 0..size {
        if leases.len() == count {
            return Ok(leases);
        }
        let offset = u16::try_from((first + step) % size)?;
        leases.extend(try_lease(RANGE.start() + offset)?);
    }
    bail!("no {count} free ports on this machine");
}

/// Leases the ports that a network had before.
///
/// # Errors
/// When one is taken.
pub fn lease_again(ports: &[u16]) -> Result<Vec<Lease>> {
    ports
        .iter()
        .map(|port| try_lease(*port)?.with_context(|| format!("port {port} is taken")))
        .collect()
}

fn try_lease(port: u16) -> Result<Option<Lease>> {
    let dir = std::env::temp_dir().join("tidings-ports");
    // Networks of several users share the folder, as they share the ports.
    if fs::create_dir(&dir).is_ok() {
        fs::set_permissions(&dir, Permissions::from_mode(0o1777))?;
    }
    let path = dir.join(port.to_string());
    let Some(lock) = open_lock(&path)? else {
        return Ok(None);
    };
    if lock.try_lock().is_err() {
        return Ok(None);
    }
    let address = (Ipv4Addr::LOCALHOST, port);
    let free = TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok();
    Ok(free.then_some(Lease { port, _lock: lock }))
}

/// The lock file, or none when it belongs to another user.
fn open_lock(path: &Path) -> Result<Option<File>> {
    match OpenOptions::new().create(true).truncate(false).write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot open {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leased_ports_are_distinct_and_in_range() {
        let leases = lease(8).unwrap();
        let mut ports: Vec<u16> = leases.iter().map(Lease::port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
        assert!(ports.iter().all(|port| RANGE.contains(port)));
    }

    #[test]
    fn a_held_port_is_not_leased_again_until_it_is_let_go() {
        let lease = lease(1).unwrap().remove(0);
        let port = lease.port();
        assert!(lease_again(&[port]).is_err());
        drop(lease);
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(lease_again(&[port]).is_err());
        drop(held);
        assert_eq!(lease_again(&[port]).unwrap()[0].port(), port);
    }
}
