//! A member whose commits are well-formed and cannot be followed, and what the others make of them.

use std::collections::BTreeSet;
use std::sync::Mutex;

use openmls_rust_crypto::RustCrypto;
use openmls_traits::OpenMlsProvider;
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::types::{
    AeadType, Ciphersuite, CryptoError, ExporterSecret, HashType, HpkeCiphertext, HpkeConfig,
    HpkeKeyPair, KemOutput, SignatureScheme,
};
use tidings_envelope::ClientEnvelope;
use tidings_types::Wire;
use tls_codec::SecretVLBytes;

use crate::Changes;
use crate::judge::tests::sealed;
use crate::plan::Plan;
use crate::policy::CommitData;
use crate::world::World;

/// What is wrong with a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Malice {
    /// Nothing.
    None,
    /// The path secrets with these numbers, in the order in which they are encrypted.
    PathSecrets(BTreeSet<usize>),
    /// Every path secret.
    Path,
    /// The confirmation tag.
    ConfirmationTag,
    /// The membership tag.
    MembershipTag,
}

/// Cryptography that spoils what [`Malice`] says.
pub(crate) struct HostileCrypto {
    inner: RustCrypto,
    malice: Malice,
    sealed: Mutex<usize>,
}

impl HostileCrypto {
    pub(crate) fn new(malice: Malice) -> Self {
        Self { inner: RustCrypto::default(), malice, sealed: Mutex::new(0) }
    }

    /// How many path secrets were encrypted.
    pub(crate) fn path_secrets(&self) -> usize {
        *self.sealed.lock().unwrap()
    }
}

/// MACs over a transcript hash are confirmation tags; membership tags are over more.
const TRANSCRIPT_HASH_BYTES: usize = 32;

impl OpenMlsCrypto for HostileCrypto {
    fn supports(&self, ciphersuite: Ciphersuite) -> Result<(), CryptoError> {
        self.inner.supports(ciphersuite)
    }

    fn supported_ciphersuites(&self) -> Vec<Ciphersuite> {
        self.inner.supported_ciphersuites()
    }

    fn hkdf_extract(
        &self,
        hash_type: HashType,
        salt: &[u8],
        ikm: &[u8],
    ) -> Result<SecretVLBytes, CryptoError> {
        self.inner.hkdf_extract(hash_type, salt, ikm)
    }

    fn hmac(
        &self,
        hash_type: HashType,
        key: &[u8],
        message: &[u8],
    ) -> Result<SecretVLBytes, CryptoError> {
        let mac = self.inner.hmac(hash_type, key, message)?;
        let is_confirmation = message.len() == TRANSCRIPT_HASH_BYTES;
        let spoils = is_confirmation && self.malice == Malice::ConfirmationTag;
        let mut bytes = mac.as_slice().to_vec();
        bytes[0] ^= u8::from(spoils);
        Ok(bytes.into())
    }

    fn hkdf_expand(
        &self,
        hash_type: HashType,
        prk: &[u8],
        info: &[u8],
        okm_len: usize,
    ) -> Result<SecretVLBytes, CryptoError> {
        self.inner.hkdf_expand(hash_type, prk, info, okm_len)
    }

    fn hash(&self, hash_type: HashType, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.inner.hash(hash_type, data)
    }

    fn aead_encrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.inner.aead_encrypt(alg, key, data, nonce, aad)
    }

    fn aead_decrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        ct_tag: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.inner.aead_decrypt(alg, key, ct_tag, nonce, aad)
    }

    fn signature_key_gen(&self, alg: SignatureScheme) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        self.inner.signature_key_gen(alg)
    }

    fn verify_signature(
        &self,
        alg: SignatureScheme,
        data: &[u8],
        pk: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.inner.verify_signature(alg, data, pk, signature)
    }

    fn sign(&self, alg: SignatureScheme, data: &[u8], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.inner.sign(alg, data, key)
    }

    fn hpke_seal(
        &self,
        config: HpkeConfig,
        pk_r: &[u8],
        info: &[u8],
        aad: &[u8],
        ptxt: &[u8],
    ) -> Result<HpkeCiphertext, CryptoError> {
        let mut sealed = self.sealed.lock().unwrap();
        let spoils = match &self.malice {
            Malice::Path => true,
            Malice::PathSecrets(numbers) => numbers.contains(&sealed),
            _ => false,
        };
        *sealed += 1;
        let mut secret = ptxt.to_vec();
        secret[0] ^= u8::from(spoils);
        self.inner.hpke_seal(config, pk_r, info, aad, &secret)
    }

    fn hpke_open(
        &self,
        config: HpkeConfig,
        input: &HpkeCiphertext,
        sk_r: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.inner.hpke_open(config, input, sk_r, info, aad)
    }

    fn hpke_setup_sender_and_export(
        &self,
        config: HpkeConfig,
        pk_r: &[u8],
        info: &[u8],
        exporter_context: &[u8],
        exporter_length: usize,
    ) -> Result<(KemOutput, ExporterSecret), CryptoError> {
        self.inner.hpke_setup_sender_and_export(
            config,
            pk_r,
            info,
            exporter_context,
            exporter_length,
        )
    }

    fn hpke_setup_receiver_and_export(
        &self,
        config: HpkeConfig,
        enc: &[u8],
        sk_r: &[u8],
        info: &[u8],
        exporter_context: &[u8],
        exporter_length: usize,
    ) -> Result<ExporterSecret, CryptoError> {
        self.inner.hpke_setup_receiver_and_export(
            config,
            enc,
            sk_r,
            info,
            exporter_context,
            exporter_length,
        )
    }

    fn derive_hpke_keypair(
        &self,
        config: HpkeConfig,
        ikm: &[u8],
    ) -> Result<HpkeKeyPair, CryptoError> {
        self.inner.derive_hpke_keypair(config, ikm)
    }
}

/// A commit of `device` that makes `changes`, with something wrong with it; how many path secrets
/// it has.
///
/// The device itself can follow it.
pub(crate) fn spoilt_commit(
    world: &mut World,
    device: usize,
    changes: Changes,
    malice: Malice,
) -> (ClientEnvelope, usize) {
    let (message, secrets) = spoilt_message(world, device, changes, malice);
    let group = world.devices[device].group();
    (sealed(group, &message, Some(group.position())), secrets)
}

fn spoilt_message(
    world: &mut World,
    device: usize,
    changes: Changes,
    malice: Malice,
) -> (Vec<u8>, usize) {
    let (group, installation) = world.devices[device].group_mut();
    // Who is to go can plan nothing that counts, and commits all the same.
    let plan = group.plan(changes).unwrap_or_else(|_| Plan {
        settings: group.settings(),
        extensions_change: false,
        removals: Vec::new(),
        invitees: Vec::new(),
        rotates: false,
    });
    let crypto = HostileCrypto::new(malice);
    group.mls.set_aad(CommitData::of_member(None).to_wire());
    let mut builder = group
        .mls
        .commit_builder()
        .force_self_update(true)
        .propose_removals(plan.removals.iter().copied());
    if plan.extensions_change {
        let extensions = plan.settings.to_extensions().unwrap();
        builder = builder.propose_group_context_extensions(extensions).unwrap();
    }
    let bundle = builder
        .load_psks(group.provider.storage())
        .unwrap()
        .build(group.provider.rand(), &crypto, &installation.signer(), |_| true)
        .unwrap()
        .stage_commit(&group.provider)
        .unwrap();
    group.mls.set_aad(Vec::new());
    let mut message = bundle.commit().to_bytes().unwrap();
    if crypto.malice == Malice::MembershipTag {
        // It stands at the end.
        *message.last_mut().unwrap() ^= 1;
    }
    (message, crypto.path_secrets())
}

/// The four devices of three people that `everybody` makes; device 0 and 1 are the admin's.
mod tests {
    use super::*;
    use crate::contest::is_of_contest;
    use crate::judge::tests::everybody;
    use crate::verdict::{Verdict, VoidReason};
    use crate::world::{CONTEXT, inbox};
    use crate::{GroupStatus, OpenError, StagedRejoin, Wish};
    use proptest::prelude::*;

    /// Lets everybody state what is due, and hear it, for so many periods.
    fn talk(world: &mut World, periods: u64) {
        for _ in 0..periods {
            world.now = world.now.plus(1);
            world.talk();
        }
    }

    fn order(world: &mut World, envelope: &ClientEnvelope) -> Vec<Verdict> {
        world.submit(envelope).unwrap();
        let mut verdicts = world.catch_up();
        (0..world.devices.len())
            .map(|device| verdicts.remove(&device).unwrap_or_default().pop())
            .map(|verdict| verdict.unwrap_or(Verdict::Stale))
            .collect()
    }

    fn active(world: &World) -> Vec<usize> {
        let is_active = |device: &usize| {
            let group = world.devices[*device].group.as_ref();
            group.is_some_and(|group| group.status() == GroupStatus::Active)
        };
        (0..world.devices.len()).filter(is_active).collect()
    }

    #[test]
    fn an_honest_commit_made_the_same_way_is_followed() {
        let mut world = everybody();
        let (envelope, secrets) = spoilt_commit(&mut world, 2, Changes::default(), Malice::None);
        let verdicts = order(&mut world, &envelope);
        assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Applied(_))));
        assert!(secrets >= 2);
        world.check_agreement(&[0, 1, 2, 3]);
    }

    #[test]
    fn a_membership_tag_that_is_wrong_is_void_for_all() {
        // covers: MLS-014
        let mut world = everybody();
        let (envelope, _) = spoilt_commit(&mut world, 2, Changes::default(), Malice::MembershipTag);
        let verdicts = order(&mut world, &envelope);
        // Its maker tells its own commit by the confirmation tag; all others find the same.
        let others = [&verdicts[0], &verdicts[1], &verdicts[3]];
        assert_eq!(others, [&Verdict::Void(VoidReason::Mls); 3]);
        world.change(0, Changes::default());
        world.check_agreement(&[0, 1, 3]);
    }

    /// A rejoin of device 3 that says that it was made with `key`.
    fn rejoin_on(world: &mut World, key: Option<[u8; 32]>) -> ClientEnvelope {
        world.devices[3].group_mut().0.record.status = GroupStatus::Ejected;
        let (pointer, grant) = world.grant(3, 0).unwrap();
        let (facts, now) = (world.facts(), world.now);
        let (device, rng) = (&world.devices[3], &mut world.rng);
        let (installation, ejected) = (&device.installation, device.group());
        let opened = StagedRejoin::open(installation, ejected, &pointer, &grant.blob);
        let mut staged = opened.unwrap();
        staged.external_key = key;
        let made = staged.rejoin(installation, ejected, &facts, now, &CONTEXT, rng);
        made.unwrap().1.envelope
    }

    #[test]
    fn only_a_rejoin_names_an_external_key_and_only_the_true_one() {
        // covers: MLS-034
        let mut world = everybody();
        for key in [Some([7; 32]), None] {
            let rejoin = rejoin_on(&mut world, key);
            let verdicts = order(&mut world, &rejoin);
            let others = [&verdicts[0], &verdicts[1], &verdicts[2]];
            assert_eq!(others, [&Verdict::Void(VoidReason::ExternalKey); 3]);
        }
        let (group, installation) = world.devices[0].group_mut();
        let data = CommitData { external_key: Some([7; 32]), ..CommitData::of_member(None) };
        group.mls.set_aad(data.to_wire());
        let built = group.mls.self_update(
            &group.provider,
            &installation.signer(),
            openmls::prelude::LeafNodeParameters::default(),
        );
        let message = built.unwrap().commit().to_bytes().unwrap();
        group.mls.set_aad(Vec::new());
        let envelope = sealed(group, &message, Some(group.position()));
        let verdicts = order(&mut world, &envelope);
        assert_eq!(verdicts[1], Verdict::Void(VoidReason::Malformed));
        world.devices[0].group_mut().0.clear_pending();
        world.change(0, Changes::default());
        world.check_agreement(&[0, 1, 2]);
    }

    #[test]
    fn a_commit_that_nobody_can_follow_is_undone_without_its_maker() {
        // covers: MLS-028
        // covers: MLS-029
        // covers: MLS-030
        for malice in [Malice::Path, Malice::ConfirmationTag] {
            let mut world = everybody();
            let before = world.devices[3].group().settings();
            let (envelope, _) = spoilt_commit(&mut world, 2, Changes::default(), malice);
            let verdicts = order(&mut world, &envelope);
            assert!(matches!(&verdicts[2], Verdict::Applied(applied) if applied.own));
            assert_eq!(active(&world), [2]);
            assert_eq!(world.devices[0].group().ejected_by(), Some(inbox(2)));
            talk(&mut world, 4);
            assert_eq!(active(&world), [0, 1, 3]);
            assert_eq!(world.devices[2].group().status(), GroupStatus::Removed);
            world.check_agreement(&[0, 1, 3]);
            let after = world.devices[3].group().settings();
            assert!(!after.is_member(inbox(2)));
            assert_eq!((after.name, after.admins), (before.name, before.admins));
            let (envelope, message) = world.send(3, "on we go");
            world.check_read(&[0, 1], &envelope, &message);
            world.change(1, Changes::default());
            world.check_agreement(&[0, 1, 3]);
        }
    }

    #[test]
    fn those_who_could_follow_prove_it_and_the_others_get_back() {
        // covers: MLS-029
        // covers: MLS-033
        let mut world = everybody();
        let (_, secrets) = spoilt_commit(&mut world, 2, Changes::default(), Malice::None);
        world.devices[2].group_mut().0.clear_pending();
        let mut ejected_by_one = BTreeSet::new();
        for number in 0..secrets {
            let mut world = everybody();
            let malice = Malice::PathSecrets([number].into());
            let (envelope, _) = spoilt_commit(&mut world, 2, Changes::default(), malice);
            order(&mut world, &envelope);
            let ejected: Vec<usize> =
                (0..4).filter(|device| !active(&world).contains(device)).collect();
            assert!(!ejected.is_empty() && ejected.len() < 3);
            ejected_by_one.extend(ejected.clone());
            talk(&mut world, 6);
            // The committer's commit was proved, so nobody went back.
            assert!(active(&world).contains(&2));
            let granter = active(&world)[0];
            for device in ejected {
                world.get_back(device, granter);
            }
            world.check_agreement(&[0, 1, 2, 3]);
            let (envelope, message) = world.send(0, "all here");
            world.check_read(&[1, 2, 3], &envelope, &message);
        }
        assert_eq!(ejected_by_one, BTreeSet::from([0, 1, 3]));
    }

    #[test]
    fn a_liar_alone_has_nobody_removed() {
        // covers: MLS-030
        let mut world = everybody();
        let pending = world.commit(0, Changes::default());
        order(&mut world, &pending.envelope);
        // Device 3 follows, and says that it does not; its group is a copy that is stuck.
        let (group, _) = world.devices[3].group_mut();
        group.record.status = GroupStatus::Ejected;
        // The other inbox sleeps.
        let asleep = world.devices[2].group.take();
        talk(&mut world, 6);
        assert_eq!(active(&world), [0, 1], "no restart by one inbox alone");
        world.devices[2].group = asleep;
        talk(&mut world, 2);
        assert_eq!(active(&world), [0, 1, 2]);
        world.check_agreement(&[0, 1, 2]);
    }

    #[test]
    fn who_was_asleep_goes_back_with_the_others() {
        // covers: MLS-028
        // covers: MLS-030
        // Device 1 of the admin sleeps through it all; it could follow, for the commit is bad for
        // two other inboxes only.
        let mut world = World::new(83, &[1, 1, 1, 1]).with_everybody();
        let (_, secrets) = spoilt_commit(&mut world, 0, Changes::default(), Malice::None);
        world.devices[0].group_mut().0.clear_pending();
        let for_one = |number| {
            let mut world = World::new(83, &[1, 1, 1, 1]).with_everybody();
            let malice = Malice::PathSecrets([number].into());
            let (envelope, _) = spoilt_commit(&mut world, 0, Changes::default(), malice);
            order(&mut world, &envelope);
            (0..4).filter(|device| !active(&world).contains(device)).collect::<Vec<_>>()
        };
        let fails: Vec<Vec<usize>> = (0..secrets).map(for_one).collect();
        let spares_one: BTreeSet<usize> =
            (0..secrets).filter(|number| !fails[*number].contains(&1)).collect();
        let malice = Malice::PathSecrets(spares_one);
        let (envelope, _) = spoilt_commit(&mut world, 0, Changes::default(), malice);
        let asleep = world.devices[1].group.take();
        order(&mut world, &envelope);
        let (late, _) = world.send(0, "only I can read this");
        talk(&mut world, 4);
        assert_eq!(active(&world), [2, 3]);
        world.devices[1].group = asleep;
        let verdicts = world.catch_up_on(1);
        assert!(matches!(&verdicts[..], [Verdict::Applied(one), Verdict::Applied(two)]
            if !one.restarts && two.restarts && two.removed == [inbox(1)]));
        world.check_agreement(&[1, 2, 3]);
        let (group, _) = world.devices[1].group_mut();
        assert_eq!(group.open(&late, crate::world::NOW), Err(OpenError::Abandoned));
        let (envelope, message) = world.send(1, "good morning");
        world.check_read(&[2, 3], &envelope, &message);
    }

    #[test]
    fn whom_a_bad_commit_removed_is_back_with_the_others() {
        // covers: MLS-030
        let mut world = everybody();
        let changes = Changes { remove: [inbox(3)].into(), ..Changes::default() };
        let (envelope, _) = spoilt_commit(&mut world, 0, changes, Malice::Path);
        let verdicts = order(&mut world, &envelope);
        assert_eq!(verdicts[3], Verdict::Removed { by: inbox(1) });
        // Inbox 2 is the only one that can say anything, and it cannot follow.
        talk(&mut world, 4);
        assert_eq!(active(&world), [2, 3]);
        world.check_agreement(&[2, 3]);
        assert!(!world.devices[2].group().settings().is_member(inbox(1)));
    }

    /// A commit of `device` in the epoch before the commit that ejected it.
    fn commit_on_base(
        world: &mut World,
        device: usize,
        changes: Changes,
        malice: Malice,
    ) -> ClientEnvelope {
        let group = world.devices[device].group();
        let contest = group.contests.last().unwrap();
        let mut base = group.base_of(contest).unwrap();
        std::mem::swap(world.devices[device].group.as_mut().unwrap(), &mut base);
        let (message, _) = spoilt_message(world, device, changes, malice);
        std::mem::swap(world.devices[device].group.as_mut().unwrap(), &mut base);
        sealed(&base, &message, None)
    }

    fn without(people: &[u8]) -> Changes {
        Changes { remove: people.iter().map(|it| inbox(*it)).collect(), ..Changes::default() }
    }

    #[test]
    fn a_bad_restart_is_undone_like_any_commit() {
        // covers: MLS-030
        let mut world = World::new(84, &[1, 1, 1, 1]).with_everybody();
        let (envelope, _) = spoilt_commit(&mut world, 0, Changes::default(), Malice::Path);
        order(&mut world, &envelope);
        world.talk();
        world.now = world.now.plus(2);
        let restart = commit_on_base(&mut world, 1, without(&[1]), Malice::Path);
        let verdicts = order(&mut world, &restart);
        assert_eq!(verdicts[1..], [const { Verdict::Ejected }; 3]);
        talk(&mut world, 5);
        assert_eq!(active(&world), [2, 3]);
        world.check_agreement(&[2, 3]);
        let settings = world.devices[2].group().settings();
        assert!(!settings.is_member(inbox(1)) && !settings.is_member(inbox(2)));
    }

    #[test]
    fn a_restart_before_its_time_or_of_more_than_it_may_is_void() {
        // covers: MLS-030
        let mut world = World::new(85, &[1, 1, 1, 1]).with_everybody();
        let (envelope, _) = spoilt_commit(&mut world, 1, Changes::default(), Malice::Path);
        order(&mut world, &envelope);
        world.talk();
        assert!(world.devices[3].group().contests.last().unwrap().is_contested());
        let check = |world: &mut World, changes, reason| {
            let restart = commit_on_base(world, 3, changes, Malice::None);
            let verdicts = order(world, &restart);
            for device in [0, 2, 3] {
                assert_eq!(verdicts[device], Verdict::Void(reason), "device {device}");
            }
        };
        check(&mut world, without(&[2]), VoidReason::NotDue);
        world.now = world.now.plus(1);
        check(&mut world, without(&[2]), VoidReason::NotDue);
        let (group, installation) = world.devices[3].group_mut();
        assert_eq!(group.restart(installation, world.now, &CONTEXT), Ok(None));
        world.now = world.now.plus(1);
        check(&mut world, without(&[]), VoidReason::NotPermitted);
        check(&mut world, without(&[2, 3]), VoidReason::NotPermitted);
        check(&mut world, without(&[3]), VoidReason::NotPermitted);
        let name = Some("mine".to_owned());
        check(&mut world, Changes { name, ..without(&[2]) }, VoidReason::NotPermitted);
        let restart = commit_on_base(&mut world, 3, without(&[2]), Malice::None);
        let verdicts = order(&mut world, &restart);
        assert!(matches!(&verdicts[0], Verdict::Applied(applied) if applied.restarts));
        // What the device itself made was not kept for it; the others go on.
        world.check_agreement(&[0, 2]);
    }

    #[test]
    fn what_is_proved_is_not_undone() {
        // covers: MLS-028
        // covers: MLS-030
        let mut world = World::new(86, &[1, 1, 1, 1]).with_everybody();
        let pending = world.commit(1, Changes::default());
        order(&mut world, &pending.envelope);
        world.talk();
        world.now = world.now.plus(1);
        world.talk();
        assert!(world.devices.iter().all(|device| device.group().contests.is_empty()));
        for device in &world.devices {
            let kept = device.group().provider.store().entries();
            let of_contests = kept.keys().filter(|key| is_of_contest(key)).count();
            assert_eq!(of_contests, 0, "nothing is kept of the epoch before");
        }
    }

    #[test]
    fn who_commits_all_the_time_cannot_keep_his_removal_out() {
        // covers: MLS-032
        let mut world = World::new(89, &[1, 1, 1]).with_everybody();
        let mut blocks = 0;
        while world.devices[0].group().settings().is_member(inbox(2)) {
            blocks += 1;
            assert!(blocks <= 10);
            // Device 1 wins every position, by good commits as long as it may, then by void ones.
            let (envelope, _) = spoilt_commit(&mut world, 1, Changes::default(), Malice::None);
            let before = world.devices[0].group().epoch();
            world.submit(&envelope).unwrap();
            let (group, installation) = world.devices[0].group_mut();
            // What others have made of the block before comes after it.
            let late = match group.owes_commit() {
                false => {
                    let remove = vec![inbox(2)].try_into().unwrap();
                    let wish = Wish { remove, ..Wish::default() };
                    group.wish(installation, wish, &CONTEXT).unwrap()
                }
                true => {
                    group.commit_lost();
                    let changes = Changes::default();
                    let made = group.commit(installation, changes, &CONTEXT, &mut world.rng);
                    made.unwrap().envelope
                }
            };
            assert_eq!(late.body.expected_position, None);
            world.submit(&late).unwrap();
            world.catch_up();
            world.devices[1].group_mut().0.clear_pending();
            assert!(world.devices[0].group().epoch() <= before + 2);
        }
        assert_eq!(blocks, 2);
        assert_eq!(world.devices[1].group().status(), GroupStatus::Removed);
        world.check_agreement(&[0, 2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is wrong with whoever's commit, those who take part agree afterwards, and a
        /// commit that somebody else could follow stands.
        #[test]
        fn members_agree_whatever_each_could_follow(
            seed in any::<u64>(),
            committer in 0usize..5,
            spoilt in prop::collection::btree_set(0usize..8, 0..8),
            tag in any::<bool>(),
            rotate in any::<bool>(),
            sleeper in prop::option::of(0usize..5),
        ) {
            // covers: MLS-014
            // covers: MLS-028
            // covers: MLS-030
            let mut world = World::new(seed, &[1, 1, 1, 1, 1]).with_everybody();
            let changes = Changes { rotate, ..Changes::default() };
            let malice = match tag && spoilt.is_empty() {
                true => Malice::ConfirmationTag,
                false => Malice::PathSecrets(spoilt),
            };
            let (envelope, _) = spoilt_commit(&mut world, committer, changes, malice);
            let sleeper = sleeper.filter(|it| *it != committer);
            let asleep = sleeper.map(|it| world.devices[it].group.take());
            order(&mut world, &envelope);
            let followed = active(&world).into_iter().filter(|it| *it != committer).count();
            talk(&mut world, 8);
            if let (Some(sleeper), Some(asleep)) = (sleeper, asleep) {
                world.devices[sleeper].group = asleep;
                world.catch_up_on(sleeper);
                talk(&mut world, 8);
            }
            let live = active(&world);
            prop_assert_eq!(live.contains(&committer), followed > 0);
            for device in 0..5 {
                if device != committer && !live.contains(&device) {
                    world.get_back(device, live[0]);
                    talk(&mut world, 1);
                }
            }
            let live = active(&world);
            prop_assert!(live.len() >= 4, "{:?}", live);
            world.check_agreement(&live);
        }
    }
}
