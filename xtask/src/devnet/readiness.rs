//! Asking a process over HTTP whether it is ready.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::signals;

const POLL_INTERVAL: Duration = Duration::from_millis(50);
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Waits until `GET /readyz` at `http` answers 200.
///
/// # Errors
/// When the child ends, the user interrupts, or `deadline` passes; the message
/// carries the last answer.
pub fn wait(child: &mut Child, http: &str, deadline: Instant) -> Result<()> {
    wait_until(child, http, deadline, |answer| answer.status == 200)
}

/// Waits until the server at `http` answers something, as one does that speaks no HTTP of ours.
///
/// # Errors
/// As for [`wait`].
pub fn wait_for_answer(child: &mut Child, http: &str, deadline: Instant) -> Result<()> {
    wait_until(child, http, deadline, |_| true)
}

fn wait_until(
    child: &mut Child,
    http: &str,
    deadline: Instant,
    is_good: impl Fn(&Answer) -> bool,
) -> Result<()> {
    let address = address(http)?;
    loop {
        if let Some(status) = child.try_wait()? {
            bail!("it ended: {status}");
        }
        let last = match ask(address, "/readyz") {
            Ok(answer) if is_good(&answer) => return Ok(()),
            Ok(answer) => format!("{} {}", answer.status, answer.body.trim()),
            Err(error) => error.to_string(),
        };
        if signals::stopped() {
            bail!("interrupted");
        }
        if Instant::now() >= deadline {
            bail!("it is not ready: {last}");
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Whether the process at `http` says it is ready now.
pub fn is_ready(http: &str) -> bool {
    address(http)
        .and_then(|address| ask(address, "/readyz"))
        .is_ok_and(|answer| answer.status == 200)
}

/// The socket address in `http://host:port`, `host:port` or `…/path`.
fn address(http: &str) -> Result<SocketAddr> {
    let rest = http.strip_prefix("http://").unwrap_or(http);
    let authority = rest.split('/').next().unwrap_or(rest);
    authority.parse().with_context(|| format!("{http} is not the address of a loopback server"))
}

/// An HTTP answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    body: String,
}

/// Sends JSON to the server at `http`, as chains are spoken to, and lets it answer what it likes.
///
/// # Errors
/// When it does not answer.
pub fn tell(http: &str, json: &str) -> Result<()> {
    let address = address(http)?;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    );
    exchange(address, &request).map(|_| ())
}

fn ask(address: SocketAddr, path: &str) -> Result<Answer> {
    // In one piece: a server that answers the first line and closes would reset the rest.
    exchange(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
    )
}

fn exchange(address: SocketAddr, request: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_DEADLINE)?;
    stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
    stream.set_write_timeout(Some(ANSWER_DEADLINE))?;
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    parse(&String::from_utf8_lossy(&bytes)).context("its answer is not HTTP")
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut words = head.lines().next()?.split(' ');
    if !words.next()?.starts_with("HTTP/1.") {
        return None;
    }
    Some(Answer { status: words.next()?.parse().ok()?, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_answer_is_parsed() {
        let answer = parse("HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\nstarting").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "starting"));
        assert_eq!(parse("SSH-2.0\r\n\r\n"), None);
        assert_eq!(parse("HTTP/1.1 200 OK\r\n"), None);
    }

    #[test]
    fn addresses_come_with_and_without_a_scheme() {
        let expected: SocketAddr = "127.0.0.1:10001".parse().unwrap();
        for http in ["127.0.0.1:10001", "http://127.0.0.1:10001", "http://127.0.0.1:10001/"] {
            assert_eq!(address(http).unwrap(), expected);
        }
        assert!(address("nowhere").is_err());
    }

    #[test]
    fn a_server_is_asked() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let http = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            let mut byte = [0];
            while !request.ends_with("\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0].into());
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            request
        });
        assert!(is_ready(&http));
        assert!(server.join().unwrap().starts_with("GET /readyz HTTP/1.1\r\n"));
        assert!(!is_ready(&http));
    }
}
