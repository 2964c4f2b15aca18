//! A relay that passes on what a node answers, with one byte changed here and there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

/// Which answers are changed, and which byte of them, counted from the end.
#[derive(Debug, Clone, Copy)]
pub struct Lie {
    /// Part of the paths whose answers are changed.
    pub path: &'static str,
    /// 1 for the last byte.
    pub from_end: usize,
}

/// Starts a relay to the node at `url`; its own base URL. It ends with the test.
pub fn start(url: &str, lie: Lie) -> String {
    let node = url.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, node) = (stream.unwrap(), node.clone());
            std::thread::spawn(move || relay(stream, &node, lie));
        }
    });
    format!("http://{address}")
}

/// Answers one request, and closes.
fn relay(mut asker: TcpStream, node: &str, lie: Lie) {
    let mut lines = BufReader::new(asker.try_clone().unwrap()).lines();
    let Some(Ok(request)) = lines.next() else { return };
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let mut node_stream = TcpStream::connect(node).unwrap();
    write!(node_stream, "{request}\r\nHost: {node}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    node_stream.read_to_end(&mut answer).unwrap();
    let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    if request.contains(lie.path) && answer.len() > body + lie.from_end {
        let at = answer.len() - lie.from_end;
        answer[at] ^= 1;
    }
    // An asker that has seen enough may be gone.
    let _ = asker.write_all(&answer);
}
