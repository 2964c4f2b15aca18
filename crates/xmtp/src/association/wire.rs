//! From the messages on the wire to strict types.

use super::contract::parse_account_id;
use super::limit::{
    ACCOUNT_ID_BYTES_MAX, ACTIONS_PER_UPDATE_MAX, AUTHENTICATOR_DATA_BYTES_MAX,
    CLIENT_DATA_BYTES_MAX, CONTRACT_SIGNATURE_BYTES_MAX, DER_SIGNATURE_BYTES_MAX,
    RELYING_PARTY_BYTES_MAX,
};
use super::{
    Action, AssociationError, ContractSignature, Identifier, InboxId, InstallationKey, Member,
    ParsedUpdate, PasskeyAssertion, PasskeyKey, Signature, TimestampNs,
};
use crate::proto::xmtp::identity::associations as proto;
use proto::identity_action::Kind as ActionKind;
use proto::member_identifier::Kind as MemberKind;
use proto::signature::Signature as SignatureForm;

type Parsed<T> = Result<T, AssociationError>;

pub(super) fn update(update: proto::IdentityUpdate) -> Parsed<ParsedUpdate> {
    let proto::IdentityUpdate { actions, client_timestamp_ns, inbox_id } = update;
    match actions.len() {
        0 => return Err(AssociationError::NoActions),
        1..=ACTIONS_PER_UPDATE_MAX => {}
        count => return Err(AssociationError::TooManyActions { count }),
    }
    let inbox = InboxId::parse(&inbox_id)?;
    let time = TimestampNs::new(client_timestamp_ns)?;
    let actions = actions.into_iter().map(action).collect::<Parsed<_>>()?;
    Ok(ParsedUpdate::new(inbox, time, actions))
}

fn action(action: proto::IdentityAction) -> Parsed<Action<Signature>> {
    match present("action", action.kind)? {
        ActionKind::CreateInbox(create) => {
            relying_party(create.relying_party.as_deref())?;
            Ok(Action::CreateInbox {
                first: identifier(&create.initial_identifier, create.initial_identifier_kind)?,
                nonce: create.nonce,
                signature: signature(
                    "initial_identifier_signature",
                    create.initial_identifier_signature,
                )?,
            })
        }
        ActionKind::Add(add) => {
            relying_party(add.relying_party.as_deref())?;
            Ok(Action::AddMember {
                member: member("new_member_identifier", add.new_member_identifier)?,
                existing: signature("existing_member_signature", add.existing_member_signature)?,
                new: signature("new_member_signature", add.new_member_signature)?,
            })
        }
        ActionKind::Revoke(revoke) => Ok(Action::RevokeMember {
            member: member("member_to_revoke", revoke.member_to_revoke)?,
            signature: signature(
                "recovery_identifier_signature",
                revoke.recovery_identifier_signature,
            )?,
        }),
        ActionKind::ChangeRecoveryAddress(change) => {
            relying_party(change.relying_party.as_deref())?;
            let kind = change.new_recovery_identifier_kind;
            Ok(Action::ChangeRecovery {
                recovery: identifier(&change.new_recovery_identifier, kind)?,
                signature: signature(
                    "existing_recovery_identifier_signature",
                    change.existing_recovery_identifier_signature,
                )?,
            })
        }
    }
}

pub(super) fn identifier(text: &str, kind: i32) -> Parsed<Identifier> {
    match proto::IdentifierKind::try_from(kind) {
        // Older clients know accounts only and name no kind.
        Ok(proto::IdentifierKind::Unspecified | proto::IdentifierKind::Ethereum) => {
            Identifier::ethereum(text)
        }
        Ok(proto::IdentifierKind::Passkey) => Identifier::passkey(text),
        Err(_) => Err(AssociationError::IdentifierKindUnknown { kind }),
    }
}

fn member(field: &'static str, member: Option<proto::MemberIdentifier>) -> Parsed<Member> {
    match present(field, member.and_then(|member| member.kind))? {
        MemberKind::EthereumAddress(text) => Ok(Identifier::ethereum(&text)?.into()),
        MemberKind::InstallationPublicKey(key) => {
            Ok(InstallationKey(fixed("installation_public_key", &key)?).into())
        }
        MemberKind::Passkey(passkey) => {
            relying_party(passkey.relying_party.as_deref())?;
            Ok(Identifier::Passkey(PasskeyKey::parse(&passkey.key)?).into())
        }
    }
}

fn signature(field: &'static str, signature: Option<proto::Signature>) -> Parsed<Signature> {
    match present(field, signature.and_then(|signature| signature.signature))? {
        SignatureForm::Erc191(wallet) => Ok(Signature::Eip191(fixed("erc_191", &wallet.bytes)?)),
        SignatureForm::Erc6492(wallet) => contract(wallet).map(Signature::Contract),
        SignatureForm::InstallationKey(installation) => Ok(Signature::Installation {
            key: InstallationKey(fixed("public_key", &installation.public_key)?),
            bytes: fixed("installation_key", &installation.bytes)?,
        }),
        SignatureForm::DelegatedErc191(_) => Err(AssociationError::LegacyKeyRetired),
        SignatureForm::Passkey(passkey) => assertion(passkey).map(Signature::Passkey),
    }
}

fn contract(wallet: proto::SmartContractWalletSignature) -> Parsed<ContractSignature> {
    bounded("account_id", wallet.account_id.as_bytes(), ACCOUNT_ID_BYTES_MAX)?;
    bounded("erc_6492", &wallet.signature, CONTRACT_SIGNATURE_BYTES_MAX)?;
    let (account, chain_id) = parse_account_id(&wallet.account_id)?;
    let proto::SmartContractWalletSignature { block_number, signature, .. } = wallet;
    Ok(ContractSignature { account, chain_id, block_number, signature })
}

fn assertion(passkey: proto::RecoverablePasskeySignature) -> Parsed<PasskeyAssertion> {
    let proto::RecoverablePasskeySignature {
        public_key,
        signature,
        authenticator_data,
        client_data_json: client_data,
    } = passkey;
    bounded("passkey", &signature, DER_SIGNATURE_BYTES_MAX)?;
    bounded("authenticator_data", &authenticator_data, AUTHENTICATOR_DATA_BYTES_MAX)?;
    bounded("client_data_json", &client_data, CLIENT_DATA_BYTES_MAX)?;
    let key = PasskeyKey::parse(&public_key)?;
    Ok(PasskeyAssertion { key, signature, authenticator_data, client_data })
}

/// It takes no part in identity; only its length matters.
fn relying_party(text: Option<&str>) -> Parsed<()> {
    bounded("relying_party", text.unwrap_or_default().as_bytes(), RELYING_PARTY_BYTES_MAX)
}

fn present<T>(field: &'static str, value: Option<T>) -> Parsed<T> {
    value.ok_or(AssociationError::FieldMissing { field })
}

fn bounded(field: &'static str, bytes: &[u8], length_bytes_max: usize) -> Parsed<()> {
    match bytes.len() <= length_bytes_max {
        true => Ok(()),
        false => Err(AssociationError::FieldTooLong { field, length_bytes_max }),
    }
}

fn fixed<const N: usize>(field: &'static str, bytes: &[u8]) -> Parsed<[u8; N]> {
    bytes.try_into().map_err(|_| AssociationError::FieldLengthWrong { field, length_bytes: N })
}
