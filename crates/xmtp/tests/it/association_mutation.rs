//! Random bytes and damaged updates: no panic, and nothing that its signers did not sign.

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;
use tidings_xmtp::association::{
    AssociationError, AssociationState, JudgedContractWallets, Member, ParsedUpdate, Transition,
    VerifiedUpdate,
};
use tidings_xmtp::proto::xmtp::identity::associations as proto;

use crate::association_cast::{Actor, Deed, Story, device, passkey, wallet};
use crate::association_official::fixture;

/// An update of the official client, and the inbox before and after it.
struct Step {
    before: Option<AssociationState>,
    bytes: Vec<u8>,
    meant: Transition,
}

static STEPS: LazyLock<Vec<Step>> = LazyLock::new(|| {
    let mut steps = Vec::new();
    for log in fixture().logs {
        let mut before = None;
        for bytes in log.updates.iter().map(|step| step.bytes()) {
            let update = judge(&bytes).unwrap();
            let meant = AssociationState::apply(before.as_ref(), &update).unwrap();
            let after = Some(meant.state.clone());
            steps.push(Step { before: std::mem::replace(&mut before, after), bytes, meant });
        }
    }
    steps
});

fn members(state: &AssociationState) -> Vec<Member> {
    state.members().map(|(member, _)| member.clone()).collect()
}

fn judge(bytes: &[u8]) -> Option<VerifiedUpdate> {
    ParsedUpdate::parse(bytes).ok()?.verify(&JudgedContractWallets).ok()
}

/// How to damage an update.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Repeat(Index, Index),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Flip(at, bit) => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Self::Cut(at) => bytes.truncate(1 + at.index(bytes.len())),
            Self::Insert(at, more) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Repeat(from, to) => {
                let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                bytes.extend_from_within(from.min(to)..from.max(to));
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        6 => (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => (any::<Index>(), vec(any::<u8>(), 1..4)).prop_map(|(at, more)| Damage::Insert(at, more)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Repeat(from, to)),
    ]
}

/// Bytes that are often of the length that is wanted.
fn about(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => vec(any::<u8>(), length), 1 => vec(any::<u8>(), 0..2 * length)]
}

fn signature() -> impl Strategy<Value = Option<proto::Signature>> {
    use proto::signature::Signature as Form;
    let wallet =
        about(65).prop_map(|bytes| Form::Erc191(proto::RecoverableEcdsaSignature { bytes }));
    let contract = ("eip155:[0-9]{1,21}:0x[0-9a-fA-F]{40}", about(65), any::<u64>()).prop_map(
        |(account_id, signature, block_number)| {
            Form::Erc6492(proto::SmartContractWalletSignature {
                account_id,
                block_number,
                signature,
            })
        },
    );
    let installation = (about(64), about(32)).prop_map(|(bytes, public_key)| {
        Form::InstallationKey(proto::RecoverableEd25519Signature { bytes, public_key })
    });
    let passkey = (passkey_bytes(), about(70), about(37), ".{0,64}").prop_map(
        |(public_key, signature, authenticator_data, client_data)| {
            Form::Passkey(proto::RecoverablePasskeySignature {
                public_key,
                signature,
                authenticator_data,
                client_data_json: client_data.into_bytes(),
            })
        },
    );
    let form = prop_oneof![wallet, contract, installation, passkey];
    proptest::option::weighted(0.95, form)
        .prop_map(|signature| Some(proto::Signature { signature }))
}

fn passkey_bytes() -> impl Strategy<Value = Vec<u8>> {
    (0..8u8, about(64)).prop_map(|(form, point)| [vec![form], point].concat())
}

fn member_message() -> impl Strategy<Value = Option<proto::MemberIdentifier>> {
    use proto::member_identifier::Kind;
    let kind = prop_oneof![
        "0x[0-9a-f]{40}".prop_map(Kind::EthereumAddress),
        about(32).prop_map(Kind::InstallationPublicKey),
        passkey_bytes().prop_map(|key| Kind::Passkey(proto::Passkey { key, relying_party: None })),
    ];
    kind.prop_map(|kind| Some(proto::MemberIdentifier { kind: Some(kind) }))
}

fn action() -> impl Strategy<Value = proto::IdentityAction> {
    use proto::identity_action::Kind;
    let name = || ("(0x)?[0-9a-f]{40}([0-9a-f]{26})?", 0..4);
    let create = (name(), any::<u64>(), signature()).prop_map(|(name, nonce, signature)| {
        Kind::CreateInbox(proto::CreateInbox {
            initial_identifier: name.0,
            nonce,
            initial_identifier_signature: signature,
            initial_identifier_kind: name.1,
            relying_party: None,
        })
    });
    let add = (member_message(), signature(), signature()).prop_map(|(member, existing, new)| {
        Kind::Add(proto::AddAssociation {
            new_member_identifier: member,
            existing_member_signature: existing,
            new_member_signature: new,
            relying_party: None,
        })
    });
    let revoke = (member_message(), signature()).prop_map(|(member, signature)| {
        Kind::Revoke(proto::RevokeAssociation {
            member_to_revoke: member,
            recovery_identifier_signature: signature,
        })
    });
    let change = (name(), signature()).prop_map(|(name, signature)| {
        Kind::ChangeRecoveryAddress(proto::ChangeRecoveryAddress {
            new_recovery_identifier: name.0,
            existing_recovery_identifier_signature: signature,
            new_recovery_identifier_kind: name.1,
            relying_party: None,
        })
    });
    let kind = prop_oneof![create, add, revoke, change];
    proptest::option::weighted(0.95, kind).prop_map(|kind| proto::IdentityAction { kind })
}

/// What some of the actors do, whether they may or not.
#[derive(Debug, Clone)]
enum Whim {
    Add(usize, usize),
    Revoke(usize, usize),
    Recover(usize, usize),
}

const ACTORS: usize = 8;

fn whim() -> impl Strategy<Value = Whim> {
    let two = || (0..ACTORS, 0..ACTORS);
    prop_oneof![
        4 => two().prop_map(|(who, by)| Whim::Add(who, by)),
        1 => (0..ACTORS, 0..3usize).prop_map(|(who, by)| Whim::Revoke(who, by)),
        1 => (0..4usize, 0..3usize).prop_map(|(to, by)| Whim::Recover(to, by)),
    ]
}

impl Whim {
    fn deed<'a>(&self, actors: &'a [Actor]) -> Deed<'a> {
        match *self {
            Self::Add(who, by) => Deed::Add { who: &actors[who], by: &actors[by] },
            Self::Revoke(who, by) => Deed::Revoke { who: &actors[who], by: &actors[by] },
            Self::Recover(to, by) => Deed::Recover { to: &actors[to], by: &actors[by] },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..512)) {
        let _ = judge(&bytes);
    }

    #[test]
    fn no_message_makes_it_panic(
        actions in vec(action(), 0..4),
        client_timestamp_ns in any::<u64>(),
        step in any::<Index>(),
    ) {
        let Step { before, meant, .. } = step.get(&STEPS);
        let inbox_id = meant.state.inbox().to_string();
        let message = proto::IdentityUpdate { actions, client_timestamp_ns, inbox_id };
        if let Some(update) = judge(&message.encode_to_vec()) {
            prop_assert!(AssociationState::apply(before.as_ref(), &update).is_err());
        }
    }

    #[test]
    fn damage_changes_nobodys_membership(
        step in any::<Index>(),
        damage in vec(damage(), 1..4),
    ) {
        let Step { before, bytes, meant } = step.get(&STEPS);
        let mut bytes = bytes.clone();
        damage.iter().for_each(|each| each.apply(&mut bytes));
        let next = judge(&bytes)
            .and_then(|update| AssociationState::apply(before.as_ref(), &update).ok());
        // Sub-seconds, unknown fields and what is only shown are not signed.
        if let Some(next) = next {
            prop_assert_eq!(&next.diff.recovery, &meant.diff.recovery);
            prop_assert_eq!(members(&next.state), members(&meant.state));
        }
    }

    #[test]
    fn a_log_is_a_function_of_its_updates(whims in vec(vec(whim(), 1..3), 1..12)) {
        let actors = [
            wallet(1), wallet(2), passkey(3), passkey(4),
            device(5), device(6), device(7), device(8),
        ];
        let mut story = Story::of(&actors[0], &actors[4]);
        for whims in whims {
            let deeds: Vec<_> = whims.iter().map(|whim| whim.deed(&actors)).collect();
            let before = story.state().clone();
            match story.act(&deeds) {
                Err(_) => prop_assert_eq!(story.state(), &before),
                Ok(next) => {
                    let mut expected = members(&before);
                    expected.retain(|member| !next.diff.removed.contains(member));
                    expected.extend(next.diff.added);
                    expected.sort();
                    prop_assert_eq!(members(&next.state), expected);
                }
            }
        }
        prop_assert_eq!(&AssociationState::replay(&story.log).unwrap(), story.state());
        for update in &story.log {
            let again = AssociationState::apply(Some(story.state()), update);
            prop_assert_eq!(again, Err(AssociationError::SignatureReplayed));
        }
    }
}
