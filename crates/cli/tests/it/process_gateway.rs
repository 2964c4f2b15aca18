//! A gateway that is killed between signing for what it was given and sending it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use tidings_envelope::api::{MEDIA_TYPE, SendRequest, SendResponse, SendResult};
use tidings_envelope::{AckLevel, EnvelopeBody, Topic};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::SigningKey;
use tidings_types::{Period, Wire};

use crate::network::get;
use crate::program::json;
use crate::settled::{Settled, text_of, wait_for};

/// A period that a restart of the gateway fits into.
const PERIOD_MS: u32 = 5_000;

/// Where the gateway listens.
fn gateway(network: &Settled) -> String {
    let url = text_of(&network.layout["gateway"]["http"]);
    url.strip_prefix("http://").unwrap().to_owned()
}

/// How many batches the gateway has signed since it started.
fn signed(network: &Settled) -> u64 {
    let metrics = get(&gateway(network), "/metrics").unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("tidings_gateway_batches_total "));
    line.unwrap().trim().parse().unwrap()
}

/// A request with one message.
fn request(network: &Settled) -> Vec<u8> {
    let key = SigningKey::from_secret(&[7; 32]);
    let topic = Topic::group(&key.public_key());
    let not_after = Period(network.period() + 2);
    let payload = b"under way".to_vec().try_into().unwrap();
    let body = EnvelopeBody::broadcast(topic, network.payer, not_after, payload);
    let envelope = body.sign(&key, network.deployment.genesis().network_id());
    let envelopes = vec![envelope].try_into().unwrap();
    SendRequest { version: PROTOCOL_VERSION, level: AckLevel::Replicated, envelopes }.to_wire()
}

/// Sends it; what the gateway answers, if it lives so long.
fn send(address: &str, key: &str, request: &[u8]) -> std::io::Result<Option<SendResult>> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST /v1/send HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: {MEDIA_TYPE}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        request.len()
    )?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 4);
    let response = body.and_then(|body| SendResponse::from_wire(&answer[body..]).ok());
    Ok(response.and_then(|response| response.results.into_vec().pop()))
}

fn fee_of(result: Option<SendResult>) -> Result<u64, String> {
    match result {
        Some(SendResult::Stored(receipt)) => Ok(receipt.header.fee.0),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn what_a_killed_gateway_had_signed_for_is_billed_once() {
    // covers: GTW-009
    // covers: SET-004
    let mut network = Settled::start(PERIOD_MS);
    let (address, request) = (gateway(&network), request(&network));
    let key = fs::read_to_string(text_of(&network.layout["gateway"]["api_key_file"])).unwrap();
    // No node takes anything in, so that what is signed for stays on its way.
    network.signal_nodes("-STOP");
    let before = signed(&network);
    let first = {
        let (address, key, request) = (address.clone(), key.trim().to_owned(), request.clone());
        std::thread::spawn(move || send(&address, &key, &request))
    };
    wait_for("a signature", || match signed(&network) {
        count if count > before => Ok(()),
        count => Err(count.to_string()),
    });
    network.restart_gateway(|network| network.signal_nodes("-CONT"));
    assert!(!matches!(first.join().unwrap(), Ok(Some(_))), "nobody was told that it was stored");
    // Whoever asks again is told, whether it had arrived or not.
    let fee = wait_for("the receipt", || {
        let result = send(&address, key.trim(), &request).map_err(|error| error.to_string())?;
        fee_of(result)
    });
    // Every member comes to the same bill: of one message, which is charged whole.
    let payer = network.payer.to_string();
    let usage = network.words(&["payer", "usage", &payer, "--node", network.node(2)]);
    let bill: Value = wait_for("the bill", || {
        network.money().is_conserved();
        let bill = json(&usage)[0].clone();
        let is_charged = bill["charged_dollars"] == bill["billed_dollars"];
        match is_charged && bill["billed_picodollars"].is_string() {
            true => Ok(bill),
            false => Err(bill.to_string()),
        }
    });
    assert_eq!(text_of(&bill["billed_picodollars"]), fee.to_string());
}
