//! The texts that wallets show, byte for byte.

use tidings_xmtp::association::{InboxId, ParsedUpdate};

use crate::association_cast::{Actor, Deed, device, passkey, update, wallet};

fn check(deeds: &[Deed<'_>], lines: &str) {
    let inbox = InboxId([0xab; 32]);
    let update = ParsedUpdate::try_from(update(inbox, 1_712_750_400, deeds)).unwrap();
    let expected = format!(
        "XMTP : Authenticate to inbox\n\nInbox ID: {}\nCurrent time: 2024-04-10T12:00:00Z\n\n\
         {lines}\n\nFor more info: https://xmtp.org/signatures",
        "ab".repeat(32)
    );
    assert_eq!(update.text().as_str(), expected);
}

fn named(actor: &Actor) -> String {
    actor.member().to_string()
}

#[test]
fn each_action_has_its_lines() {
    let (alice, bob, phone, key) = (wallet(1), wallet(2), device(3), passkey(4));
    let (a, b, p, k) = (named(&alice), named(&bob), named(&phone), named(&key));
    assert!(a.starts_with("0x") && a.len() == 42 && p.len() == 64 && k.starts_with("04"));
    check(&[Deed::Create { who: &alice, nonce: 9 }], &format!("- Create inbox\n  (Owner: {a})"));
    check(&[Deed::Create { who: &key, nonce: 9 }], &format!("- Create inbox\n  (Owner: {k})"));
    let by = &alice;
    for (who, line) in [
        (&bob, format!("- Link address to inbox\n  (Address: {b})")),
        (&phone, format!("- Grant messaging access to app\n  (ID: {p})")),
        (&key, format!("- Link passkey to inbox\n  (Passkey: {k})")),
    ] {
        check(&[Deed::Add { who, by }], &line);
    }
    for (who, line) in [
        (&bob, format!("- Unlink address from inbox\n  (Address: {b})")),
        (&phone, format!("- Revoke messaging access from app\n  (ID: {p})")),
        (&key, format!("- Unlink passkey from inbox\n  (Passkey: {k})")),
    ] {
        check(&[Deed::Revoke { who, by }], &line);
    }
    for (to, name) in [(&bob, b), (&key, k)] {
        let line = format!("- Change inbox recovery address\n  (Address: {name})");
        check(&[Deed::Recover { to, by }], &line);
    }
}

#[test]
fn one_text_covers_all_actions_in_order() {
    let (alice, phone) = (wallet(1), device(3));
    let deeds = [Deed::Create { who: &alice, nonce: 0 }, Deed::Add { who: &phone, by: &alice }];
    let lines = format!(
        "- Create inbox\n  (Owner: {})\n- Grant messaging access to app\n  (ID: {})",
        named(&alice),
        named(&phone)
    );
    check(&deeds, &lines);
}

#[test]
fn an_inbox_id_is_a_hash_of_text() {
    use tidings_xmtp::association::Identifier;
    let first = Identifier::ethereum("0x1234567890abcdef1234567890abcdef12345678").unwrap();
    let id = "fcd18d86276d7a99fe522dba9660c420f03c8648785ada7c5daae232a3df77a9";
    assert_eq!(InboxId::derive(&first, 0).to_string(), id);
    assert_eq!(InboxId::parse(id), Ok(InboxId::derive(&first, 0)));
    assert_ne!(InboxId::derive(&first, 1), InboxId::derive(&first, 0));
}
