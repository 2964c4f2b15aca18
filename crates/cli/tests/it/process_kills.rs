//! SIGKILL of a client at any moment, fifty times: nothing acknowledged is lost or there twice.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::network::{Network, Person};
use crate::program::{command, word};

/// How often a client is killed while it sends, and another while it reads.
const KILLS: usize = 50;

/// Starts the program and kills it after a while that is drawn at random, if it still runs;
/// answers whether it ended well by itself.
fn run_and_kill(person: &Person, words: &[&str], rng: &mut StdRng) -> bool {
    let words = [&["--home", word(&person.home)], words].concat();
    let mut child = command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The moment of the kill is the test's input; nothing waits for anything here.
    std::thread::sleep(Duration::from_millis(rng.gen_range(0..400)));
    // It may have ended by itself.
    let _ = child.kill();
    child.wait().unwrap().success()
}

fn count(texts: Vec<String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    counts
}

#[test]
fn killed_clients_lose_nothing_acknowledged_and_repeat_nothing() {
    let network = Network::start();
    let (alice, bob) = (network.person("alice", 0), network.person("bob", 3));
    alice.run(&["dm", &bob.address, "first"]);
    bob.run(&["conversations"]);
    let mut rng = StdRng::seed_from_u64(11);
    let mut acknowledged = vec!["first".to_owned()];
    for number in 0..KILLS {
        let text = format!("message {number}");
        if run_and_kill(&alice, &["send", &bob.address, &text], &mut rng) {
            acknowledged.push(text);
        }
        if number % 2 == 0 {
            run_and_kill(&bob, &["read", &alice.address], &mut rng);
        }
    }
    // Whatever was signed before a kill is sent by the next run.
    alice.run(&["send", &bob.address, "last"]);
    acknowledged.push("last".to_owned());
    let (heard, said) = (bob.texts(&alice.address), alice.texts(&bob.address));
    assert_eq!(heard, said, "both have the same conversation in the same order");
    let heard = count(heard);
    assert!(heard.values().all(|times| *times == 1), "{heard:?}");
    for text in &acknowledged {
        assert!(heard.contains_key(text), "{text} was acknowledged and is lost");
    }
    assert!(acknowledged.len() > 2, "some were not killed");
}
