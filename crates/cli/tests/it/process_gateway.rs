//! A gateway of several payers, and one that is killed between signing and sending.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use tidings_envelope::api::{MEDIA_TYPE, SendRequest, SendResponse, SendResult};
use tidings_envelope::{AckLevel, EnvelopeBody, Topic};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::SigningKey;
use tidings_types::{Period, Wire};

use crate::chain::{ACCOUNTS, KEYS, write_secret};
use crate::network::get;
use crate::program::{json, run, word};
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

/// Adds a payer to the gateway: what it has on the chain, its key, and who pays for "ben".
fn add_payer(network: &mut Settled, payer: &str) -> String {
    let file = |name: &str| network.folder.path().join(name);
    let (account, session, api_key) = (file("account.key"), file("session.key"), file("ben.key"));
    write_secret(&account, KEYS[1]);
    write_secret(&session, &"2b".repeat(32));
    let key = SigningKey::from_secret(&[0x2b; 32]).public_key().to_string();
    for act in [
        ["chain", "mint", payer, "50"].as_slice(),
        &["payer", "deposit", "50"],
        &["payer", "add-session-key", &key, "4000000000"],
        &["payer", "cap", "0", "0.5"],
    ] {
        let acting = ["--key-file", word(&account), "--confirmations", "0"];
        run(&network.words(&[act, &acting].concat()));
    }
    network.restart_gateway(|network| {
        let mut config = fs::read_to_string(network.gateway_config()).unwrap();
        let more = format!("[[payers]]\naddress = \"{payer}\"\nsession_key_file = {session:?}\n");
        config.push_str(&more);
        fs::write(network.gateway_config(), config).unwrap();
    });
    let add = ["gateway", "add-user", "--config", network.gateway_config(), "ben"];
    run(&[add.as_slice(), &["--payer", payer, "--api-key-file", word(&api_key)]].concat());
    wait_for("the payer to be known and to have a cap", || {
        let metrics = get(&gateway(network), "/metrics").unwrap();
        let line = format!("tidings_gateway_payer_ready{{payer=\"{payer}\"}} 1");
        if metrics.contains(&line) { Ok(()) } else { Err(metrics) }
    });
    word(&api_key).to_owned()
}

/// What a payer was billed so far, and whether all of it is charged.
fn billed(network: &Settled, payer: &str) -> (u128, bool) {
    let bills = json(&network.words(&["payer", "usage", payer, "--node", network.node(2)]));
    let bill = &bills[0];
    let billed = bill["billed_picodollars"].as_str().map_or(0, |it| it.parse().unwrap());
    (billed, bill["charged_dollars"] == bill["billed_dollars"])
}

#[test]
fn every_payer_of_a_gateway_is_charged_for_its_own_users() {
    // covers: GTW-021
    let mut network = Settled::start(PERIOD_MS);
    let (first, other) = (network.payer.to_string(), ACCOUNTS[1]);
    let api_key = add_payer(&mut network, other);
    let (alice, alice_address) = network.person("alice", 0);
    let ben = word(&network.folder.path().join("ben")).to_owned();
    let url = text_of(&network.layout["gateway"]["http"]);
    let create = ["inbox", "create", "--gateway", url, "--api-key-file", &api_key];
    json(&[create.as_slice(), &["--home", &ben]].concat());
    run(&["--home", &ben, "dm", &alice_address, "on the other's account"]);
    let spent_by = |spending: &Value, name: &str| -> u128 {
        let users = spending["users"].as_array().unwrap();
        let user = users.iter().find(|user| user["name"] == name);
        user.map_or(0, |user| text_of(&user["fee_picodollars"]).parse().unwrap())
    };
    // A user's spending is its payer's bill, and nobody else's.
    wait_for("both bills", || {
        let spending = network.spending();
        let (of_devnet, of_ben) = (spent_by(&spending, "devnet-1"), spent_by(&spending, "ben"));
        let bills = (billed(&network, &first), billed(&network, other));
        match bills == ((of_devnet, true), (of_ben, true)) && of_devnet > 0 && of_ben > 0 {
            true => Ok(()),
            false => Err(format!("{bills:?} of {spending}")),
        }
    });
    assert_eq!(network.spending()["users"].as_array().unwrap().len(), 2);

    // Ben's messages go on when somebody else pays for them.
    let of_alice = spent_by(&network.spending(), "devnet-1");
    let set = ["gateway", "set-payer", "--config", network.gateway_config(), "ben", &first];
    assert_eq!(json(&set)["payer"], first.as_str());
    let sent = std::cell::Cell::new(1);
    wait_for("the first payer to pay for all", || {
        run(&["--home", &ben, "dm", &alice_address, "on yours"]);
        sent.set(sent.get() + 1);
        match billed(&network, &first).0 {
            billed if billed > of_alice => Ok(()),
            billed => Err(format!("{billed} of {}", network.spending())),
        }
    });
    let bill = wait_for("the other's last bill", || match billed(&network, other) {
        (billed, true) => Ok(billed),
        (billed, false) => Err(billed.to_string()),
    });
    run(&["--home", &ben, "dm", &alice_address, "on yours"]);
    sent.set(sent.get() + 1);
    let heard = json(&["--home", &alice, "conversations"]);
    assert_eq!(heard.as_array().unwrap().len(), 1);
    let id = text_of(&heard[0]["id"]);
    let texts = json(&["--home", &alice, "read", id, "--limit", "1000"]);
    assert_eq!(texts.as_array().unwrap().len(), sent.get(), "none is lost, and none doubled");
    let all = billed(&network, &first).0;
    wait_for("a report of all of it", || match billed(&network, &first) {
        (billed, true) if billed > all => Ok(()),
        state => Err(format!("{state:?}")),
    });
    assert_eq!(billed(&network, other).0, bill, "the other pays no more");
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
