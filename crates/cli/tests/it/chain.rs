//! A chain of a test's own with a network on it, and the program's commands on that network.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use alloy_sol_types::SolCall;
use serde_json::{Value, json};
use tidings_types::EthereumAddress;

use crate::program::{json, refused, run, told, word};

/// The keys of the first accounts that the EVM node endows; everybody knows them.
pub const KEYS: [&str; 3] = [
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
];

/// Their addresses.
pub const ACCOUNTS: [&str; 3] = [
    "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",
    "0x70997970c51812dc3a010c7d01b50e0d17dc79c8",
    "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc",
];

/// Processes that end with the test.
pub struct Processes(pub Vec<Child>);

impl Drop for Processes {
    fn drop(&mut self) {
        for process in &mut self.0 {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A chain with a network on it.
pub struct Chain {
    folder: tempfile::TempDir,
    /// The EVM node, and what was started after it.
    pub processes: Processes,
    /// Where the EVM node listens.
    pub url: String,
}

impl Chain {
    /// Starts an EVM node and deploys what `plan` says, as the first account.
    pub fn start(plan: &str) -> Self {
        let (anvil, url) = start_anvil();
        let chain =
            Self { folder: tempfile::tempdir().unwrap(), processes: Processes(vec![anvil]), url };
        for (index, key) in KEYS.iter().enumerate() {
            write_secret(&chain.key(index), key);
        }
        std::fs::write(chain.file("plan.toml"), plan).unwrap();
        let (key, plan) = (chain.key(0), chain.file("plan.toml"));
        let out = chain.file("deployment.json");
        let deploy = ["chain", "deploy", "--rpc", &chain.url, "--confirmations", "0"];
        let files = ["--key-file", word(&key), "--plan", word(&plan), "--out", word(&out)];
        run(&[deploy.as_slice(), files.as_slice()].concat());
        chain
    }

    /// A file of the test's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn key(&self, account: usize) -> PathBuf {
        self.file(&format!("account-{account}.key"))
    }

    /// The words of a command, and those that every command on the chain needs.
    fn words(&self, account: usize, words: &[&str]) -> Vec<String> {
        let (deployment, key) = (self.file("deployment.json"), self.key(account));
        let common = ["--deployment", word(&deployment), "--rpc", &self.url];
        let mut all: Vec<String> = words.iter().chain(&common).map(|it| (*it).to_owned()).collect();
        let looks = ["status", "check", "phase", "parameters"];
        if !looks.contains(&words[1]) {
            let acting = ["--key-file", word(&key), "--confirmations", "0"];
            all.extend(acting.map(str::to_owned));
        }
        all
    }

    /// A file with a secret of 32 bytes, all of which are `byte` in hex.
    pub fn secret(&self, name: &str, byte: &str) -> PathBuf {
        let path = self.file(name);
        write_secret(&path, &byte.repeat(32));
        path
    }

    /// Registers a node that never runs, with keys made of `byte`.
    pub fn register(&self, account: usize, name: &str, byte: &str) {
        let signing = self.secret(&format!("{name}-signing"), byte);
        let transport = self.secret(&format!("{name}-transport"), byte);
        let keys = ["--signing-key-file", word(&signing), "--transport-key-file", word(&transport)];
        let at = ["--http", "https://node.example", "--quic", "node.example:9080"];
        let words = ["operator", "register", "--name", name];
        self.act_as(account, &[words.as_slice(), &keys, &at].concat());
    }

    /// The value of a governed number.
    pub fn parameter(&self, name: &str) -> u64 {
        let all = self.act(&["gov", "parameters"]);
        let found = all.as_array().unwrap().iter().find(|it| it["name"] == name).unwrap();
        found["value"].as_u64().unwrap()
    }

    /// What a command answers in JSON, as the first account.
    pub fn act(&self, words: &[&str]) -> Value {
        self.act_as(0, words)
    }

    /// The same, as another account.
    pub fn act_as(&self, account: usize, words: &[&str]) -> Value {
        let all = self.words(account, words);
        json(&all.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// What a command prints for people.
    pub fn says(&self, words: &[&str]) -> String {
        let all = self.words(0, words);
        run(&all.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// What a command tells beside its answer.
    pub fn tells(&self, words: &[&str]) -> String {
        let all = self.words(0, words);
        told(&all.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// What a command says that fails with `code`, as an account.
    pub fn refuses(&self, account: usize, code: i32, words: &[&str]) -> String {
        let all = self.words(account, words);
        refused(&all.iter().map(String::as_str).collect::<Vec<_>>(), code)
    }

    /// Lets time pass on the chain.
    pub fn pass(&self, seconds: u64) {
        self.tell("evm_increaseTime", &json!([seconds]));
        self.tell("evm_mine", &json!([]));
    }

    fn tell(&self, method: &str, parameters: &Value) {
        ask(&self.url, method, parameters);
    }
}

/// What the EVM node at `url` answers.
pub fn ask(url: &str, method: &str, parameters: &Value) -> Value {
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters });
    let (body, address) = (call.to_string(), url.strip_prefix("http://").unwrap());
    let mut request = format!("POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    write!(request, "Content-Type: application/json\r\n").unwrap();
    write!(request, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let mut said: Value = serde_json::from_str(body).unwrap();
    assert!(said.get("result").is_some(), "{method}: {answer}");
    said["result"].take()
}

/// What a contract's function answers as of a block.
pub fn view<C: SolCall>(url: &str, to: EthereumAddress, call: &C, block: &Value) -> C::Return {
    let data = format!("0x{}", hex::encode(call.abi_encode()));
    let said = ask(url, "eth_call", &json!([{ "to": to.to_string(), "data": data }, block]));
    let digits = said.as_str().unwrap().trim_start_matches("0x");
    C::abi_decode_returns(&hex::decode(digits).unwrap()).unwrap()
}

/// Starts an EVM node that makes a block for every transaction; where it listens.
pub fn start_anvil() -> (Child, String) {
    let program = std::env::var_os("TIDINGS_TEST_ANVIL")
        .expect("`cargo xtask test` runs this test; it knows where anvil is");
    let mut anvil = Command::new(program)
        .args(["--port", "0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(anvil.stdout.take().unwrap()).lines();
    let url = loop {
        let line = lines.next().expect("it says where it listens").unwrap();
        if let Some(place) = line.strip_prefix("Listening on ") {
            break format!("http://{place}");
        }
    };
    // Its log must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (anvil, url)
}

/// Keeps a secret in a file that only its owner can read.
pub fn write_secret(path: &Path, digits: &str) {
    let mut file = std::fs::File::options();
    let file = file.write(true).create_new(true).mode(0o600).open(path);
    file.unwrap().write_all(digits.as_bytes()).unwrap();
}
