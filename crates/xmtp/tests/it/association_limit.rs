//! The limits and forms of updates and inboxes.

use prost::Message;
use tidings_xmtp::association::{
    ACCOUNT_ID_BYTES_MAX, ACTIONS_PER_UPDATE_MAX, AUTHENTICATOR_DATA_BYTES_MAX,
    AssociationError as E, CLIENT_DATA_BYTES_MAX, CONTRACT_SIGNATURE_BYTES_MAX,
    DER_SIGNATURE_BYTES_MAX, INSTALLATIONS_PER_INBOX_MAX, Identifier, InboxId,
    MEMBERS_PER_INBOX_MAX, ParsedUpdate, RECOVERY_UPDATES_PER_INBOX_MAX, RELYING_PARTY_BYTES_MAX,
    TIMESTAMP_NS_MAX, UPDATE_BYTES_MAX, UPDATES_PER_INBOX_MAX,
};
use tidings_xmtp::proto::xmtp::identity::associations as proto;

use crate::association_cast::{Actor, Deed, Story, contract, device, passkey, update, wallet};

/// An update by Alice that adds `who`.
fn adding(who: &Actor) -> proto::IdentityUpdate {
    let inbox = InboxId::derive(&wallet(1).identifier(), 0);
    update(inbox, 1, &[Deed::Add { who, by: &wallet(1) }])
}

fn check(update: &proto::IdentityUpdate, expected: E) {
    assert_eq!(ParsedUpdate::parse(&update.encode_to_vec()), Err(expected));
}

/// Checks what the update that adds `who` is refused for after `change`.
fn check_changed(who: &Actor, change: impl FnOnce(&mut proto::AddAssociation), expected: E) {
    let mut update = adding(who);
    let Some(proto::identity_action::Kind::Add(add)) = &mut update.actions[0].kind else {
        panic!("an add");
    };
    change(add);
    check(&update, expected);
}

fn new_signature(add: &mut proto::AddAssociation) -> &mut proto::signature::Signature {
    add.new_member_signature.as_mut().and_then(|each| each.signature.as_mut()).unwrap()
}

#[test]
fn updates_are_bounded() {
    let mut update = adding(&device(2));
    update.actions = vec![update.actions[0].clone(); ACTIONS_PER_UPDATE_MAX];
    assert!(ParsedUpdate::parse(&update.encode_to_vec()).is_ok());
    update.actions.push(update.actions[0].clone());
    check(&update, E::TooManyActions { count: ACTIONS_PER_UPDATE_MAX + 1 });
    update.actions.clear();
    check(&update, E::NoActions);
    let length_bytes = UPDATE_BYTES_MAX + 1;
    let refused = ParsedUpdate::parse(&vec![0; length_bytes]);
    assert_eq!(refused, Err(E::UpdateTooLarge { length_bytes }));
    assert!(matches!(ParsedUpdate::parse(&[0xff]), Err(E::Undecodable(_))));
    assert_eq!(ParsedUpdate::parse(&[]), Err(E::NoActions));
}

#[test]
fn names_have_one_form() {
    let upper = |text: String| text.to_uppercase();
    let mut update = adding(&device(2));
    for id in [String::new(), "ab".repeat(31), "AB".repeat(32), format!("0x{}", "ab".repeat(31))] {
        update.inbox_id = id;
        check(&update, E::InboxIdMalformed);
    }
    let address = wallet(3).identifier().to_string();
    let digits = &address[2..];
    for text in [
        format!("0x{}", upper(digits.into())),
        format!("0X{digits}"),
        digits.into(),
        format!("{address}0"),
        address[..41].into(),
        format!("{}g", &address[..41]),
        String::new(),
    ] {
        let kind = Some(proto::member_identifier::Kind::EthereumAddress(text));
        let named = Some(proto::MemberIdentifier { kind });
        check_changed(&wallet(3), |add| add.new_member_identifier = named, E::AddressMalformed);
    }
    for key in [vec![], vec![4; 65], vec![2; 32], vec![5; 33], vec![0], vec![0xff; 4_096]] {
        let kind = Some(proto::member_identifier::Kind::Passkey(proto::Passkey {
            key,
            relying_party: None,
        }));
        let named = Some(proto::MemberIdentifier { kind });
        check_changed(&wallet(3), |add| add.new_member_identifier = named, E::PasskeyMalformed);
    }
    let mut update = adding(&device(2));
    update.client_timestamp_ns = TIMESTAMP_NS_MAX + 1;
    check(&update, E::TimestampTooLate { timestamp_ns: TIMESTAMP_NS_MAX + 1 });
}

#[test]
fn identifier_kinds_are_known() {
    use proto::identity_action::Kind;
    let inbox = InboxId::derive(&wallet(1).identifier(), 0);
    let mut update = update(inbox, 1, &[Deed::Create { who: &wallet(1), nonce: 0 }]);
    let parsed = ParsedUpdate::parse(&update.encode_to_vec());
    let mut with = |kind| {
        let Some(Kind::CreateInbox(create)) = &mut update.actions[0].kind else { panic!("create") };
        create.initial_identifier_kind = kind;
        ParsedUpdate::parse(&update.encode_to_vec())
    };
    assert_eq!(with(0), parsed);
    assert_eq!(with(2), Err(E::PasskeyMalformed));
    assert_eq!(with(3), Err(E::IdentifierKindUnknown { kind: 3 }));
}

#[test]
fn lookups_take_any_case() {
    let (bob, key) = (wallet(3).identifier(), passkey(4).identifier());
    let upper = format!("0x{}", bob.to_string()[2..].to_uppercase());
    for kind in [0, 1] {
        assert_eq!(Identifier::lookup(&upper, kind), Ok(bob.clone()));
    }
    assert_eq!(Identifier::lookup(&key.to_string().to_uppercase(), 2), Ok(key.clone()));
    assert_eq!(Identifier::lookup(&key.to_string(), 1), Err(E::AddressMalformed));
    assert_eq!(Identifier::lookup(&upper, 2), Err(E::PasskeyMalformed));
    assert_eq!(Identifier::lookup(&upper, 9), Err(E::IdentifierKindUnknown { kind: 9 }));
}

#[test]
fn fields_are_present() {
    let missing = |field| E::FieldMissing { field };
    let who = device(2);
    check_changed(&who, |add| add.new_member_identifier = None, missing("new_member_identifier"));
    let unset = Some(proto::MemberIdentifier { kind: None });
    check_changed(&who, |add| add.new_member_identifier = unset, missing("new_member_identifier"));
    let field = "existing_member_signature";
    check_changed(&who, |add| add.existing_member_signature = None, missing(field));
    let unset = Some(proto::Signature { signature: None });
    check_changed(&who, |add| add.new_member_signature = unset, missing("new_member_signature"));
    let mut update = adding(&who);
    update.actions[0].kind = None;
    check(&update, missing("action"));
}

#[test]
fn fields_have_their_length() {
    use proto::signature::Signature;
    let wrong = |field, length_bytes| E::FieldLengthWrong { field, length_bytes };
    let long = |field, length_bytes_max| E::FieldTooLong { field, length_bytes_max };
    let shorten_wallet = |add: &mut proto::AddAssociation| {
        let Signature::Erc191(wallet) = new_signature(add) else { panic!("a wallet") };
        wallet.bytes.pop();
    };
    check_changed(&wallet(3), shorten_wallet, wrong("erc_191", 65));
    let shorten_key = |add: &mut proto::AddAssociation| {
        let Signature::InstallationKey(key) = new_signature(add) else { panic!("a device") };
        key.public_key.pop();
    };
    check_changed(&device(2), shorten_key, wrong("public_key", 32));
    let lengthen_contract = |add: &mut proto::AddAssociation| {
        let Signature::Erc6492(wallet) = new_signature(add) else { panic!("a contract") };
        wallet.signature = vec![0; CONTRACT_SIGNATURE_BYTES_MAX + 1];
    };
    let expected = long("erc_6492", CONTRACT_SIGNATURE_BYTES_MAX);
    check_changed(&contract(8, 1), lengthen_contract, expected);
    let lengthen_account = |add: &mut proto::AddAssociation| {
        let Signature::Erc6492(wallet) = new_signature(add) else { panic!("a contract") };
        wallet.account_id = "a".repeat(ACCOUNT_ID_BYTES_MAX + 1);
    };
    check_changed(&contract(8, 1), lengthen_account, long("account_id", ACCOUNT_ID_BYTES_MAX));
    let party = "a".repeat(RELYING_PARTY_BYTES_MAX + 1);
    let expected = long("relying_party", RELYING_PARTY_BYTES_MAX);
    check_changed(&device(2), |add| add.relying_party = Some(party), expected);
}

#[test]
fn passkeys_fields_are_bounded() {
    use proto::RecoverablePasskeySignature as Passkey;
    let cases: [(fn(&mut Passkey), _, _); 3] = [
        (|key| key.signature = vec![0; DER_SIGNATURE_BYTES_MAX + 1], "passkey", 72),
        (
            |key| key.authenticator_data = vec![0; AUTHENTICATOR_DATA_BYTES_MAX + 1],
            "authenticator_data",
            1_024,
        ),
        (
            |key| key.client_data_json = vec![0; CLIENT_DATA_BYTES_MAX + 1],
            "client_data_json",
            20_480,
        ),
    ];
    for (change, field, length_bytes_max) in cases {
        let change = |add: &mut proto::AddAssociation| {
            let proto::signature::Signature::Passkey(key) = new_signature(add) else {
                panic!("a passkey");
            };
            change(key);
        };
        check_changed(&passkey(3), change, E::FieldTooLong { field, length_bytes_max });
    }
}

#[test]
fn a_passkey_signs_the_longest_update() {
    let (key, keys) = (passkey(1), (2..=64).map(passkey).collect::<Vec<_>>());
    let mut story = Story::before(&key);
    let create = Deed::Create { who: &key, nonce: u64::MAX };
    let adds = keys.iter().map(|who| Deed::Add { who, by: &key });
    let deeds: Vec<_> = std::iter::once(create).chain(adds).collect();
    let update = story.next(&deeds);
    assert_eq!(update.actions.len(), ACTIONS_PER_UPDATE_MAX);
    assert!(ParsedUpdate::try_from(update).is_ok());
}

#[test]
fn an_inbox_holds_so_many_members() {
    let alice = wallet(1);
    let mut story = Story::of(&alice, &device(1));
    let devices: Vec<_> = (2..=32).map(device).collect();
    assert_eq!(devices.len() + 1, INSTALLATIONS_PER_INBOX_MAX);
    let adds: Vec<_> = devices.iter().map(|who| Deed::Add { who, by: &alice }).collect();
    story.act(&adds).unwrap();
    let one_more = device(33);
    let refused = story.act(&[Deed::Add { who: &one_more, by: &alice }]);
    assert_eq!(refused, Err(E::TooManyInstallations));
    let wallets: Vec<_> = (2..=96).map(wallet).collect();
    for wallets in wallets.chunks(48) {
        let adds: Vec<_> = wallets.iter().map(|who| Deed::Add { who, by: &alice }).collect();
        story.act(&adds).unwrap();
    }
    assert_eq!(story.state().members().count(), MEMBERS_PER_INBOX_MAX);
    let one_more = wallet(99);
    assert_eq!(story.act(&[Deed::Add { who: &one_more, by: &alice }]), Err(E::TooManyMembers));
    let swap =
        [Deed::Revoke { who: &wallets[0], by: &alice }, Deed::Add { who: &one_more, by: &alice }];
    story.act(&swap).unwrap();
}

#[test]
fn a_full_log_still_takes_revocations() {
    let (alice, phone, stolen, bob) = (wallet(1), device(1), device(2), wallet(3));
    let mut story = Story::of(&alice, &phone);
    story.act(&[Deed::Add { who: &stolen, by: &alice }]).unwrap();
    let toggle = [Deed::Add { who: &bob, by: &stolen }, Deed::Revoke { who: &bob, by: &alice }];
    while story.state().update_count() < UPDATES_PER_INBOX_MAX {
        story.act(&toggle).unwrap();
    }
    assert_eq!(story.act(&toggle), Err(E::TooManyUpdates));
    let revoke = [Deed::Revoke { who: &stolen, by: &alice }];
    for _ in 0..RECOVERY_UPDATES_PER_INBOX_MAX {
        story.act(&revoke).unwrap();
    }
    assert_eq!(story.act(&revoke), Err(E::TooManyUpdates));
    story.check_members(&[&alice, &phone]);
}
