//! Contract wallets, whose signatures only their chain can judge.

use prost::Message;
use tidings_xmtp::association::{
    AssociationError as E, ContractClaim, ContractVerdict, ContractWallets, Fault,
    JudgedContractWallets, ParsedUpdate, SignatureKind, Transition,
};

use crate::association_cast::{Actor, Deed, Story, contract, device, verified, wallet};

/// A chain that answers as told.
struct Chain(ContractVerdict);

impl ContractWallets for Chain {
    fn judge(&self, claim: &ContractClaim<'_>) -> ContractVerdict {
        assert_eq!((claim.block_number, claim.signature.len()), (7, 4));
        self.0
    }
}

fn act(story: &mut Story, deeds: &[Deed<'_>], verdict: ContractVerdict) -> Result<Transition, E> {
    let update = ParsedUpdate::try_from(story.next(deeds))?;
    story.apply(update.verify(&Chain(verdict))?)
}

fn story(safe: &Actor) -> Story {
    let mut story = Story::before(safe);
    let deeds = [Deed::Create { who: safe, nonce: 0 }, Deed::Add { who: &device(2), by: safe }];
    act(&mut story, &deeds, ContractVerdict::Valid).unwrap();
    story
}

#[test]
fn a_chain_judges_its_wallets() {
    let (safe, phone) = (contract(8, 10), device(2));
    let mut story = story(&safe);
    story.check_members(&[&safe, &phone]);
    assert_eq!(story.state().member(&safe.member()).unwrap().chain_id, Some(10));
    let revoke = [Deed::Revoke { who: &phone, by: &safe }];
    let invalid = E::SignatureInvalid { kind: SignatureKind::Contract };
    assert_eq!(act(&mut story, &revoke, ContractVerdict::Invalid), Err(invalid));
    let unavailable = act(&mut story, &revoke, ContractVerdict::Unavailable).unwrap_err();
    assert!(unavailable.code().retryable() && unavailable.fault() == Fault::Edge);
    act(&mut story, &revoke, ContractVerdict::Valid).unwrap();
    story.check_members(&[&safe]);
}

#[test]
fn an_edge_without_chains_says_so() {
    let safe = contract(8, 10);
    let mut story = Story::before(&safe);
    let create = story.next(&[Deed::Create { who: &safe, nonce: 0 }]);
    let Actor::Contract { address: account, chain_id } = safe else { panic!("a contract") };
    let refused = E::ContractWalletUnsupported { account, chain_id };
    assert!(!refused.code().retryable() && !refused.code().peer_at_fault());
    assert_eq!(verified(&create), Err(refused));
}

#[test]
fn what_was_judged_is_not_judged_again() {
    let safe = contract(8, 10);
    let mut story = Story::before(&safe);
    let create = story.next(&[Deed::Create { who: &safe, nonce: 0 }]).encode_to_vec();
    let update = ParsedUpdate::parse(&create).unwrap().verify(&JudgedContractWallets).unwrap();
    story.apply(update).unwrap();
    story.check_members(&[&safe]);
}

#[test]
fn the_chain_is_asked_about_every_claim() {
    let (alice, safe) = (wallet(1), contract(8, 10));
    let mut story = Story::before(&alice);
    let deeds = [Deed::Create { who: &alice, nonce: 0 }, Deed::Add { who: &safe, by: &alice }];
    let update = ParsedUpdate::try_from(story.next(&deeds)).unwrap();
    let claims: Vec<_> = update.contract_claims().collect();
    let digest = alloy_primitives::eip191_hash_message(update.text().as_str()).0;
    assert_eq!(claims.len(), 1);
    assert_eq!((claims[0].chain_id, claims[0].digest), (10, digest));
}

#[test]
fn the_same_address_elsewhere_is_somebody_else() {
    let (safe, twin) = (contract(8, 10), contract(8, 1));
    let signer = safe.member();
    let refused = E::ChainMismatch { signer, expected: Some(10), found: Some(1) };
    let deeds = [
        Deed::Add { who: &device(3), by: &twin },
        Deed::Revoke { who: &device(2), by: &twin },
        Deed::Recover { to: &wallet(1), by: &twin },
    ];
    for deed in deeds {
        let mut story = story(&safe);
        assert_eq!(act(&mut story, &[deed], ContractVerdict::Valid), Err(refused.clone()));
        // The recovery identifier keeps its chain when it is no member any more.
        let leave = [Deed::Revoke { who: &safe, by: &safe }];
        act(&mut story, &leave, ContractVerdict::Valid).unwrap();
        assert_eq!(act(&mut story, &[deed], ContractVerdict::Valid), Err(refused.clone()));
    }
}

#[test]
fn a_new_recovery_identifier_has_the_chain_it_joined_with() {
    let (alice, safe, twin) = (wallet(1), contract(8, 10), contract(8, 1));
    let mut story = Story::of(&alice, &device(2));
    act(&mut story, &[Deed::Add { who: &safe, by: &alice }], ContractVerdict::Valid).unwrap();
    act(&mut story, &[Deed::Recover { to: &safe, by: &alice }], ContractVerdict::Valid).unwrap();
    let revoke = |by| [Deed::Revoke { who: &alice, by }];
    let refused = act(&mut story, &revoke(&twin), ContractVerdict::Valid);
    assert!(matches!(refused, Err(E::ChainMismatch { .. })));
    act(&mut story, &revoke(&safe), ContractVerdict::Valid).unwrap();
}
