//! Malachite's core, driven as a function from an input to what it wants done.

use malachitebft_core_consensus::{
    Effect, Error, Input, LivenessMsg, Params, Resumable, Resume, SignedConsensusMsg, State,
    ThresholdParams, ValuePayload, process,
};
use malachitebft_core_types as bft;
use tidings_envelope::{Certificate, CommitSignature};
use tidings_types::node_key::NodeKey;
use tidings_types::{BlockHash, BoundedVec, Height, NetworkId, NodeId, Round, ShardId, mutant};

use super::book::Book;
use super::core_types::{
    CoreProposal, CoreSignature, CoreVote, Lane, LaneHeight, Member, MemberId, Members,
    from_core_proposal, from_core_round, from_core_vote,
};
use super::log::{LogRecord, polka_votes};
use crate::message::OrderMessage;

/// Inputs for later heights that the core itself would keep; the lane keeps them instead.
const CORE_QUEUE_HEIGHTS: usize = 1;

/// What the core wants done, in order.
#[expect(
    clippy::large_enum_variant,
    reason = "values are few and short-lived; a box would cost every caller"
)]
#[derive(Debug)]
pub(super) enum Wish {
    /// Remember this before anything that follows is said.
    Log(LogRecord),
    /// Tell every other member.
    Publish(OrderMessage),
    /// Build a block for this round and propose it.
    Build(Round),
    /// Send the block's bytes to every other member once more.
    Restream(BlockHash),
    /// The block is final.
    Decide(BlockHash, Certificate),
    /// Forget every pending timeout.
    CancelAll,
    /// Forget one.
    Cancel(bft::Timeout),
    /// Call back when it is over.
    Schedule(bft::Timeout),
}

/// The core contradicts its log, or fails otherwise; it must not be asked again at this height.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agreement on this height cannot go on here")]
pub(super) struct Stuck;

/// Who this member is, for signing and verifying.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity<'a> {
    pub(super) network: NetworkId,
    pub(super) node: NodeId,
    pub(super) key: &'a NodeKey,
}

/// The agreement on one height.
pub(super) struct Engine {
    shard: ShardId,
    core: State<Lane>,
    replaying: bool,
}

impl Engine {
    pub(super) fn new(shard: ShardId, node: NodeId, height: Height, members: Members) -> Self {
        let params = Params {
            address: MemberId(node),
            threshold_params: thresholds(),
            value_payload: ValuePayload::ProposalAndParts,
            enabled: true,
        };
        let (lane, height) = (Lane(shard), LaneHeight(height));
        let queue = CORE_QUEUE_HEIGHTS;
        let core = State::new(lane, height, members, params, queue, queue);
        Self { shard, core, replaying: false }
    }

    /// The round under way.
    pub(super) fn round(&self) -> Round {
        from_core_round(self.core.round()).unwrap_or_default()
    }

    /// Begins the height, going through what was logged of it before.
    pub(super) fn begin(
        &mut self,
        log: &[LogRecord],
        identity: Identity<'_>,
        book: &mut Book,
    ) -> Result<Vec<Wish>, Stuck> {
        let (height, members) = (self.core.height(), self.core.validator_set().clone());
        let replayed: Vec<Input<Lane>> =
            log.iter().filter_map(|record| record.to_input(height)).collect();
        let policy = bft::VoteExtensionPolicy::Disabled;
        let start = Input::StartHeight(height, members, !log.is_empty(), None, policy);
        self.replaying = !log.is_empty();
        if self.replaying {
            self.core.index_wal_entries(&replayed);
        }
        let mut wishes = self.take(start, identity, book)?;
        for input in replayed {
            wishes.append(&mut self.take(input, identity, book)?);
        }
        self.core.reset_entries_index();
        self.replaying = false;
        Ok(wishes)
    }

    /// Takes one input.
    pub(super) fn take(
        &mut self,
        input: Input<Lane>,
        identity: Identity<'_>,
        book: &mut Book,
    ) -> Result<Vec<Wish>, Stuck> {
        let mut turn =
            Turn { identity, book, shard: self.shard, replaying: self.replaying, wishes: vec![] };
        let core = &mut self.core;
        let result: Result<(), Error<Lane>> = process!(
            input: input,
            state: core,
            metrics: &(),
            with: effect => turn.perform(effect)
        );
        match result {
            Ok(()) => Ok(turn.wishes),
            Err(_) => Err(Stuck),
        }
    }
}

/// How many votes decide, and how many are not all by cheats.
fn thresholds() -> ThresholdParams {
    let usual = ThresholdParams::default();
    match mutant!(FewVotes) {
        true => ThresholdParams { quorum: usual.honest, ..usual },
        false => usual,
    }
}

/// One input's effects.
struct Turn<'a> {
    identity: Identity<'a>,
    book: &'a mut Book,
    shard: ShardId,
    replaying: bool,
    wishes: Vec<Wish>,
}

impl Turn<'_> {
    fn perform(&mut self, effect: Effect<Lane>) -> Result<Resume<Lane>, Stuck> {
        Ok(match effect {
            Effect::CancelAllTimeouts(resume) => {
                self.wishes.push(Wish::CancelAll);
                resume.resume_with(())
            }
            Effect::CancelTimeout(timeout, resume) => {
                self.wishes.push(Wish::Cancel(timeout));
                resume.resume_with(())
            }
            Effect::ScheduleTimeout(timeout, resume) => {
                self.wishes.push(Wish::Schedule(timeout));
                resume.resume_with(())
            }
            Effect::StartRound(.., resume) => resume.resume_with(()),
            Effect::PublishConsensusMsg(message, resume) => {
                self.wishes.push(Wish::Publish(match message {
                    SignedConsensusMsg::Vote(vote) => OrderMessage::Vote(from_core_vote(&vote)),
                    SignedConsensusMsg::Proposal(proposal) => {
                        OrderMessage::Proposal(from_core_proposal(&proposal))
                    }
                }));
                resume.resume_with(())
            }
            Effect::PublishLivenessMsg(message, resume) => {
                self.publish_liveness(&message);
                resume.resume_with(())
            }
            Effect::RepublishVote(vote, resume) => {
                self.wishes.push(Wish::Publish(OrderMessage::Vote(from_core_vote(&vote))));
                resume.resume_with(())
            }
            Effect::RepublishRoundCertificate(certificate, resume) => {
                self.publish_round_votes(&certificate);
                resume.resume_with(())
            }
            Effect::GetValue(_, round, _, resume) => {
                self.wishes.push(Wish::Build(from_core_round(round).unwrap_or_default()));
                resume.resume_with(())
            }
            Effect::RestreamProposal(_, _, _, _, block, resume) => {
                self.wishes.push(Wish::Restream(block));
                resume.resume_with(())
            }
            Effect::Decide(certificate, _, resume) => {
                self.decide(certificate)?;
                resume.resume_with(())
            }
            Effect::WalAppend(_, input, resume) => {
                let record = LogRecord::of(&input, self.shard).filter(|_| !self.replaying);
                self.wishes.extend(record.map(Wish::Log));
                resume.resume_with(())
            }
            Effect::SignVote(vote, resume) => resume.resume_with(self.sign_vote(vote)?),
            Effect::SignProposal(proposal, resume) => {
                resume.resume_with(self.sign_proposal(proposal)?)
            }
            other => self.verify(other),
        })
    }

    /// What is to be verified.
    fn verify(&mut self, effect: Effect<Lane>) -> Resume<Lane> {
        match effect {
            Effect::VerifySignature(signed, signer, resume) => {
                use malachitebft_core_consensus::ConsensusMsg;
                let signature = signed.signature;
                let digest = match signed.message {
                    ConsensusMsg::Vote(vote) => {
                        let signed = bft::SignedVote::<Lane>::new(vote, signature.clone());
                        if self.book.has_vote(&from_core_vote(&signed)) {
                            return resume.resume_with(true);
                        }
                        signed.message.vote.digest(self.identity.network)
                    }
                    ConsensusMsg::Proposal(proposal) => {
                        let signed = bft::SignedProposal::<Lane>::new(proposal, signature.clone());
                        if self.book.has_proposal(&from_core_proposal(&signed)) {
                            return resume.resume_with(true);
                        }
                        signed.message.proposal.digest(self.identity.network)
                    }
                };
                resume.resume_with(signature.to_node().verify(&digest, signer).is_ok())
            }
            Effect::VerifyCommitCertificate(certificate, members, threshold, resume) => {
                let votes = commit_votes(&certificate, self.shard);
                let verdict = self.verify_votes(&votes, &members, threshold.quorum);
                resume.resume_with(verdict)
            }
            Effect::VerifyPolkaCertificate(certificate, members, threshold, resume) => {
                let votes: Vec<_> = certificate.votes(&Lane(self.shard)).collect();
                let verdict = self.verify_votes(&votes, &members, threshold.quorum);
                resume.resume_with(verdict)
            }
            Effect::VerifyRoundCertificate(certificate, members, threshold, resume) => {
                let votes: Vec<_> = certificate.votes(&Lane(self.shard)).collect();
                let needed = match certificate.cert_type {
                    bft::RoundCertificateType::Skip => threshold.honest,
                    bft::RoundCertificateType::Precommit => threshold.quorum,
                };
                let verdict = self.verify_votes(&votes, &members, needed);
                resume.resume_with(verdict)
            }
            // Blocks of other heights come by the lane's own feed, votes without extensions, and
            // a height ends with its decision; what belongs to these is never asked for.
            _ => Resume::Continue,
        }
    }

    /// Signs a vote, repeats one that was signed before, and refuses to contradict one (ORD-015).
    fn sign_vote(&mut self, vote: CoreVote) -> Result<bft::SignedVote<Lane>, Stuck> {
        let Identity { network, node, key } = self.identity;
        let signed = match self.book.vote(node, vote.vote.round, vote.vote.step) {
            Some(said) if said.vote == vote.vote => *said,
            Some(_) => return Err(Stuck),
            None => vote.vote.sign(node, key, network),
        };
        self.book.note_vote(signed);
        Ok(bft::SignedVote::new(vote, signed.signature.into()))
    }

    fn sign_proposal(
        &mut self,
        proposal: CoreProposal,
    ) -> Result<bft::SignedProposal<Lane>, Stuck> {
        let Identity { network, node, key } = self.identity;
        let signed = match self.book.proposal(node, proposal.proposal.round) {
            Some(said) if said.proposal == proposal.proposal => *said,
            Some(_) => return Err(Stuck),
            None => proposal.proposal.sign(node, key, network),
        };
        self.book.note_proposal(signed);
        Ok(bft::SignedProposal::new(proposal, signed.signature.into()))
    }

    fn publish_liveness(&mut self, message: &LivenessMsg<Lane>) {
        match message {
            LivenessMsg::Vote(vote) => {
                self.wishes.push(Wish::Publish(OrderMessage::Vote(from_core_vote(vote))));
            }
            LivenessMsg::PolkaCertificate(polka) => {
                let votes = polka_votes(polka, self.shard).map(OrderMessage::Polka);
                self.wishes.extend(votes.map(Wish::Publish));
            }
            LivenessMsg::SkipRoundCertificate(certificate) => {
                self.publish_round_votes(certificate);
            }
        }
    }

    fn publish_round_votes(&mut self, certificate: &bft::RoundCertificate<Lane>) {
        let lane = Lane(self.shard);
        let votes = certificate.votes(&lane).map(|signed| from_core_vote(&signed));
        if let Ok(votes) = BoundedVec::new(votes.collect()) {
            self.wishes.push(Wish::Publish(OrderMessage::RoundVotes(votes)));
        }
    }

    fn decide(&mut self, certificate: bft::CommitCertificate<Lane>) -> Result<(), Stuck> {
        let mut signatures: Vec<CommitSignature> = certificate
            .commit_signatures
            .iter()
            .map(|commit| CommitSignature {
                node: commit.address.0,
                signature: commit.signature.to_node(),
            })
            .collect();
        signatures.sort_unstable_by_key(|commit| commit.node);
        let round = from_core_round(certificate.round).ok_or(Stuck)?;
        let signatures = BoundedVec::new(signatures).map_err(|_| Stuck)?;
        self.wishes.push(Wish::Decide(certificate.value_id, Certificate { round, signatures }));
        Ok(())
    }

    /// Checks that enough distinct members signed; what the book knows is verified already.
    fn verify_votes(
        &self,
        votes: &[bft::SignedVote<Lane>],
        members: &Members,
        needed: bft::ThresholdParam,
    ) -> Result<(), bft::CertificateError<Lane>> {
        use bft::ValidatorSet as _;
        let mut voters: Vec<NodeId> = Vec::with_capacity(votes.len());
        for vote in votes {
            let signed = from_core_vote(vote);
            let member = MemberId(signed.node);
            let unknown = bft::CertificateError::UnknownValidator(member);
            let Member { signer, .. } = members.get_by_address(&member).ok_or(unknown)?;
            let genuine = self.book.has_vote(&signed)
                || signed.verify(self.identity.network, *signer).is_ok();
            if !genuine {
                let signature: CoreSignature = signed.signature.into();
                let commit = bft::CommitSignature::new(member, signature);
                return Err(bft::CertificateError::InvalidCommitSignature(commit));
            }
            voters.push(signed.node);
        }
        voters.sort_unstable();
        voters.dedup();
        let (signed, total) = (voters.len() as u64, members.total_voting_power());
        if needed.is_met(signed, total) {
            return Ok(());
        }
        let expected = needed.min_expected(total);
        Err(bft::CertificateError::NotEnoughVotingPower { signed, total, expected })
    }
}

fn commit_votes(
    certificate: &bft::CommitCertificate<Lane>,
    shard: ShardId,
) -> Vec<bft::SignedVote<Lane>> {
    use bft::Context as _;
    let vote = |commit: &bft::CommitSignature<Lane>| {
        let block = bft::NilOrVal::Val(certificate.value_id);
        let vote =
            Lane(shard).new_precommit(certificate.height, certificate.round, block, commit.address);
        bft::SignedVote::new(vote, commit.signature.clone())
    };
    certificate.commit_signatures.iter().map(vote).collect()
}
