//! The people and apps of the tests, and updates signed as the test says.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey as DeviceKey;
use p256::ecdsa::SigningKey as PasskeySecret;
use p256::ecdsa::signature::Signer;
use prost::Message;
use sha2::{Digest, Sha512};
use tidings_types::EthereumAddress;
use tidings_types::node_key::NodeKey;
use tidings_types::sha256;
use tidings_xmtp::association::{
    AssociationError, AssociationState, Identifier, InboxId, InstallationKey, Member,
    NoContractWallets, ParsedUpdate, PasskeyKey, Transition, VerifiedUpdate,
};
use tidings_xmtp::proto::xmtp::identity::associations as proto;

/// A member with its key.
pub enum Actor {
    Wallet(NodeKey),
    Device(DeviceKey),
    Passkey(PasskeySecret),
    /// Signs with four bytes that only its chain can judge.
    Contract {
        address: EthereumAddress,
        chain_id: u64,
    },
}

pub fn wallet(seed: u8) -> Actor {
    Actor::Wallet(NodeKey::from_secret(&[seed; 32]).unwrap())
}

pub fn device(seed: u8) -> Actor {
    Actor::Device(DeviceKey::from_bytes(&[seed; 32]))
}

pub fn passkey(seed: u8) -> Actor {
    Actor::Passkey(PasskeySecret::from_slice(&[seed; 32]).unwrap())
}

pub fn contract(seed: u8, chain_id: u64) -> Actor {
    Actor::Contract { address: EthereumAddress([seed; 20]), chain_id }
}

impl Actor {
    pub fn member(&self) -> Member {
        match self {
            Self::Wallet(key) => Identifier::Ethereum(key.address()).into(),
            Self::Contract { address, .. } => Identifier::Ethereum(*address).into(),
            Self::Device(key) => InstallationKey(key.verifying_key().to_bytes()).into(),
            Self::Passkey(key) => {
                let point = key.verifying_key().to_encoded_point(false);
                Identifier::Passkey(PasskeyKey::parse(point.as_bytes()).unwrap()).into()
            }
        }
    }

    pub fn identifier(&self) -> Identifier {
        self.member().identifier().expect("not an installation").clone()
    }

    pub fn sign(&self, text: &str) -> proto::Signature {
        use proto::signature::Signature;
        let form = match self {
            Self::Wallet(key) => {
                let digest = alloy_primitives::eip191_hash_message(text);
                let compact = key.sign(&digest.0).0;
                let mut bytes = compact.to_vec();
                bytes[32] &= 0x7f;
                bytes.push(27 + (compact[32] >> 7));
                Signature::Erc191(proto::RecoverableEcdsaSignature { bytes })
            }
            Self::Device(key) => {
                let prehash = Sha512::new().chain_update(text);
                let context: &[u8] = b"IDENTITY UPDATE SIGNATURE";
                let signature = key.sign_prehashed(prehash, Some(context)).unwrap();
                Signature::InstallationKey(proto::RecoverableEd25519Signature {
                    bytes: signature.to_bytes().into(),
                    public_key: key.verifying_key().to_bytes().into(),
                })
            }
            Self::Passkey(key) => Signature::Passkey(assert(key, text)),
            Self::Contract { address, chain_id } => {
                Signature::Erc6492(proto::SmartContractWalletSignature {
                    account_id: format!("eip155:{chain_id}:{address}"),
                    block_number: 7,
                    signature: sha256(text.as_bytes())[..4].into(),
                })
            }
        };
        proto::Signature { signature: Some(form) }
    }
}

/// WebAuthn's assertion with `text` as the challenge.
fn assert(key: &PasskeySecret, text: &str) -> proto::RecoverablePasskeySignature {
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(text);
    let client_data_json = format!(
        r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"https://example.org"}}"#
    )
    .into_bytes();
    let mut authenticator_data = sha256(b"example.org").to_vec();
    authenticator_data.extend_from_slice(&[5, 0, 0, 0, 0]);
    let signed = [authenticator_data.as_slice(), &sha256(&client_data_json)].concat();
    let signature: p256::ecdsa::Signature = key.sign(&signed);
    proto::RecoverablePasskeySignature {
        public_key: key.verifying_key().to_encoded_point(false).as_bytes().into(),
        signature: signature.to_der().as_bytes().into(),
        authenticator_data,
        client_data_json,
    }
}

/// An action and who signs it.
#[derive(Clone, Copy)]
pub enum Deed<'a> {
    Create { who: &'a Actor, nonce: u64 },
    Add { who: &'a Actor, by: &'a Actor },
    Revoke { who: &'a Actor, by: &'a Actor },
    Recover { to: &'a Actor, by: &'a Actor },
}

impl Deed<'_> {
    /// The action with signatures over `text`.
    fn action(self, text: &str) -> proto::IdentityAction {
        use proto::identity_action::Kind;
        let kind = match self {
            Self::Create { who, nonce } => Kind::CreateInbox(proto::CreateInbox {
                initial_identifier: who.identifier().to_string(),
                nonce,
                initial_identifier_signature: Some(who.sign(text)),
                initial_identifier_kind: kind(who),
                relying_party: None,
            }),
            Self::Add { who, by } => Kind::Add(proto::AddAssociation {
                new_member_identifier: Some(member(who)),
                existing_member_signature: Some(by.sign(text)),
                new_member_signature: Some(who.sign(text)),
                relying_party: None,
            }),
            Self::Revoke { who, by } => Kind::Revoke(proto::RevokeAssociation {
                member_to_revoke: Some(member(who)),
                recovery_identifier_signature: Some(by.sign(text)),
            }),
            Self::Recover { to, by } => Kind::ChangeRecoveryAddress(proto::ChangeRecoveryAddress {
                new_recovery_identifier: to.identifier().to_string(),
                existing_recovery_identifier_signature: Some(by.sign(text)),
                new_recovery_identifier_kind: kind(to),
                relying_party: None,
            }),
        };
        proto::IdentityAction { kind: Some(kind) }
    }
}

fn kind(actor: &Actor) -> i32 {
    match actor.identifier() {
        Identifier::Ethereum(_) => proto::IdentifierKind::Ethereum.into(),
        Identifier::Passkey(_) => proto::IdentifierKind::Passkey.into(),
    }
}

pub fn member(actor: &Actor) -> proto::MemberIdentifier {
    use proto::member_identifier::Kind;
    let kind = match actor.member() {
        Member::Installation(key) => Kind::InstallationPublicKey(key.0.into()),
        Member::Identifier(Identifier::Ethereum(address)) => {
            Kind::EthereumAddress(address.to_string())
        }
        Member::Identifier(Identifier::Passkey(key)) => {
            Kind::Passkey(proto::Passkey { key: key.as_bytes().into(), relying_party: None })
        }
    };
    proto::MemberIdentifier { kind: Some(kind) }
}

/// The update of `deeds` with every signature over what the client shows.
pub fn update(inbox: InboxId, seconds: u64, deeds: &[Deed<'_>]) -> proto::IdentityUpdate {
    let signed = |text: &str| proto::IdentityUpdate {
        actions: deeds.iter().map(|deed| deed.action(text)).collect(),
        client_timestamp_ns: seconds * 1_000_000_000 + 5,
        inbox_id: inbox.to_string(),
    };
    let parsed = ParsedUpdate::try_from(signed("")).unwrap();
    signed(parsed.text().as_str())
}

pub fn verified(update: &proto::IdentityUpdate) -> Result<VerifiedUpdate, AssociationError> {
    ParsedUpdate::parse(&update.encode_to_vec())?.verify(&NoContractWallets)
}

/// An inbox in the making; each update is a second after the last.
pub struct Story {
    pub inbox: InboxId,
    pub state: Option<AssociationState>,
    pub log: Vec<VerifiedUpdate>,
    seconds: u64,
}

impl Story {
    /// Before the inbox that `first` opens under nonce 0.
    pub fn before(first: &Actor) -> Self {
        let inbox = InboxId::derive(&first.identifier(), 0);
        Self { inbox, state: None, log: Vec::new(), seconds: 1_700_000_000 }
    }

    /// After `first` opened its inbox for `device`.
    pub fn of(first: &Actor, device: &Actor) -> Self {
        let mut story = Self::before(first);
        let create = Deed::Create { who: first, nonce: 0 };
        story.act(&[create, Deed::Add { who: device, by: first }]).unwrap();
        story
    }

    pub fn next(&mut self, deeds: &[Deed<'_>]) -> proto::IdentityUpdate {
        self.seconds += 1;
        update(self.inbox, self.seconds, deeds)
    }

    pub fn act(&mut self, deeds: &[Deed<'_>]) -> Result<Transition, AssociationError> {
        let update = self.next(deeds);
        self.publish(&update)
    }

    pub fn publish(
        &mut self,
        update: &proto::IdentityUpdate,
    ) -> Result<Transition, AssociationError> {
        self.apply(verified(update)?)
    }

    pub fn apply(&mut self, update: VerifiedUpdate) -> Result<Transition, AssociationError> {
        let transition = AssociationState::apply(self.state.as_ref(), &update)?;
        self.state = Some(transition.state.clone());
        self.log.push(update);
        Ok(transition)
    }

    pub fn state(&self) -> &AssociationState {
        self.state.as_ref().expect("the inbox was created")
    }

    /// Checks who belongs to the inbox now, in any order.
    pub fn check_members(&self, expected: &[&Actor]) {
        let mut expected: Vec<Member> = expected.iter().map(|actor| actor.member()).collect();
        expected.sort();
        let members: Vec<Member> =
            self.state().members().map(|(member, _)| member.clone()).collect();
        assert_eq!(members, expected);
    }
}
