//! Two people chat on two terminals, through two different nodes.

use crate::network::Network;
use crate::program::{refused, word};
use crate::terminal::Terminal;

const ESCAPE: &str = "\u{1b}";
const CONTROL_C: &str = "\u{3}";

#[test]
fn two_terminals_talk_through_two_nodes() {
    let network = Network::start();
    let (alice, bob) = (network.person("alice", 0), network.person("bob", 2));
    alice.run(&["dm", &bob.address]);
    let mut left = Terminal::start(&["--home", word(&alice.home), "chat"]);
    let mut right = Terminal::start(&["--home", word(&bob.home), "chat"]);
    left.wait_for("connected to node-0");
    right.wait_for("connected to node-2");
    right.wait_for("request");

    left.press("good tidings\r");
    right.wait_for("good tidings");
    left.wait_for("good tidings ✓");
    right.press("and to you\r");
    left.wait_for("and to you");
    right.wait_for("and to you ✓");

    // The home of a running chat is in use.
    let error = refused(&["--home", word(&alice.home), "conversations"], 1);
    assert!(error.contains("tidings chat"), "{error}");

    left.press(ESCAPE);
    assert_eq!(left.end(), (0, true));
    right.press(CONTROL_C);
    assert_eq!(right.end(), (0, true));
    assert_eq!(alice.texts(&bob.address), ["good tidings", "and to you"]);
    assert_eq!(bob.texts(&alice.address), ["good tidings", "and to you"]);
}

#[test]
fn a_conversation_begins_and_a_group_is_made_on_the_screen() {
    let network = Network::start();
    let (alice, bob) = (network.person("alice", 1), network.person("bob", 3));
    let mut screen = Terminal::start(&["--home", word(&alice.home), "chat"]);
    screen.wait_for("Nobody has written yet");
    screen.press("/fly\r");
    screen.wait_for("/help says what is");
    screen.press("hello\r");
    screen.wait_for("There is no conversation yet");
    screen.press(&format!("/dm {}\r", bob.address));
    screen.wait_for("▸ 0x");
    screen.press("first\r");
    screen.wait_for("first ✓");
    screen.press(&format!("/group us {}\r", bob.address));
    screen.wait_for("▸ us");
    screen.press("second\r");
    screen.wait_for("second ✓");
    // Pasted lines are one message, which waits for Enter.
    screen.press("\u{1b}[200~third\nand more\u{1b}[201~");
    screen.wait_for("third and more");
    screen.press("\r");
    screen.wait_for("third and more ✓");
    screen.press(ESCAPE);
    assert_eq!(screen.end(), (0, true));
    assert_eq!(bob.texts(&alice.address), ["first"]);
    assert_eq!(bob.texts("us"), ["second", "third and more"]);
}

#[test]
fn a_chat_moves_to_another_node_when_its_own_dies() {
    let mut network = Network::start();
    let (alice, bob) = (network.person("alice", 0), network.person("bob", 3));
    alice.run(&["dm", &bob.address, "one"]);
    let mut left = Terminal::start(&["--home", word(&alice.home), "chat"]);
    let right = Terminal::start(&["--home", word(&bob.home), "chat"]);
    right.wait_for("connected to node-3");
    right.wait_for("one");
    network.kill(3);
    right.wait_until_gone("connected to node-3");
    right.wait_for("connected to node-");
    left.press("two\r");
    left.wait_for("two ✓");
    right.wait_for("two");
    left.press(ESCAPE);
    assert_eq!(left.end(), (0, true));
    drop(right);
    assert_eq!(bob.texts(&alice.address), ["one", "two"]);
}
