//! Following another node's log: entries are believed when a signed checkpoint covers them.

use tidings_envelope::{EntryHeader, Evidence, InclusionProof, LogId, SignedCheckpoint};
use tidings_types::{ErrorCode, EthereumAddress, Hash, LogIndex, LogSize, NetworkId};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::frontier::Frontier;
use crate::proof::verify_consistency;

/// What a replica or an auditor keeps of a log it follows; its wire form can be stored.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Follower {
    log: LogId,
    frontier: Frontier,
    latest: Option<SignedCheckpoint>,
}

/// A stored state is not one that a follower can be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored frontier of log {0} does not fit its latest checkpoint")]
pub struct FollowerInvalid(pub LogId);

/// Why entries were not taken; the follower is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// The sender mixes up logs.
    #[error("the checkpoint is of log {found}, not {expected}")]
    WrongLog {
        /// The log followed.
        expected: LogId,
        /// The log of the checkpoint.
        found: LogId,
    },
    /// Nobody who signs for the log signed the checkpoint.
    #[error("the checkpoint is not signed by the log's originator")]
    SignatureInvalid,
    /// An entry's version is not known here.
    #[error("entry {0} has an unknown version")]
    UnknownVersion(LogIndex),
    /// The sender left entries out, or sent one twice.
    #[error("entry {found} came where {expected} was due")]
    Gap {
        /// The index due.
        expected: LogIndex,
        /// The index that came.
        found: LogIndex,
    },
    /// The checkpoint does not cover what is held or what came with it.
    #[error("the checkpoint covers {covered} entries, {held} are at hand")]
    Regress {
        /// How many entries there would be.
        held: LogSize,
        /// How many the checkpoint covers.
        covered: LogSize,
    },
    /// The entries do not make the tree that the checkpoint is over; the sender may be at fault,
    /// or the originator.
    #[error("the entries through {0} do not lead to the checkpoint's root")]
    RootMismatch(LogSize),
    /// The originator signed two histories: what came is under the one, what is held was under
    /// the other. Two inclusion proofs of one index make it evidence.
    #[error("the entries contradict the checkpoint at {}", .held.checkpoint.size)]
    Diverges {
        /// The checkpoint seen before.
        held: Box<SignedCheckpoint>,
        /// The checkpoint that came now.
        offered: Box<SignedCheckpoint>,
    },
    /// The originator provably signed a contradiction.
    #[error("the originator signed two roots for one size")]
    Conflict(Box<Evidence>),
}

impl FollowError {
    /// The code that a peer sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::WrongLog { .. } | Self::SignatureInvalid | Self::Regress { .. } => {
                ErrorCode::CheckpointInvalid
            }
            Self::UnknownVersion(_) => ErrorCode::UnknownVersion,
            Self::Gap { .. } => ErrorCode::EntryOutOfOrder,
            Self::RootMismatch(_) => ErrorCode::MerkleProofInvalid,
            Self::Diverges { .. } | Self::Conflict(_) => ErrorCode::EntryConflict,
        }
    }
}

impl Follower {
    /// A follower that holds nothing of `log` yet.
    #[must_use]
    pub fn new(log: LogId) -> Self {
        Self { log, frontier: Frontier::default(), latest: None }
    }

    /// A follower that goes on from what storage holds.
    ///
    /// # Errors
    /// [`FollowerInvalid`] when `latest` is of another log, or of this size with another root.
    pub fn resume(
        log: LogId,
        frontier: Frontier,
        latest: Option<SignedCheckpoint>,
    ) -> Result<Self, FollowerInvalid> {
        let fits = latest.as_ref().is_none_or(|latest| {
            let checkpoint = &latest.checkpoint;
            let same_size = checkpoint.size == frontier.size();
            checkpoint.log == log && (!same_size || checkpoint.root == frontier.root())
        });
        match fits {
            true => Ok(Self { log, frontier, latest }),
            false => Err(FollowerInvalid(log)),
        }
    }

    /// The log followed.
    #[must_use]
    pub fn log(&self) -> LogId {
        self.log
    }

    /// How many entries are held.
    #[must_use]
    pub fn size(&self) -> LogSize {
        self.frontier.size()
    }

    /// The tree's right edge at that size.
    #[must_use]
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The largest checkpoint seen; covers at least what is held.
    #[must_use]
    pub fn latest(&self) -> Option<&SignedCheckpoint> {
        self.latest.as_ref()
    }

    /// The follower after the entries `headers`, which `checkpoint` covers (LOG-002, LOG-012).
    ///
    /// `consistency` proves that the log through the last header begins the one under the
    /// checkpoint; it is empty when the checkpoint's size is reached. Payloads and topic chains
    /// are the caller's to check.
    ///
    /// # Errors
    /// [`FollowError`] says whose fault it is; nothing is taken then.
    pub fn extend(
        &self,
        headers: &[EntryHeader],
        checkpoint: &SignedCheckpoint,
        consistency: &[Hash],
        network: NetworkId,
        signer: EthereumAddress,
    ) -> Result<Self, FollowError> {
        self.check_checkpoint(checkpoint, network, signer)?;
        let offered = &checkpoint.checkpoint;
        let frontier = self.appended(headers, checkpoint)?;
        if offered.size < frontier.size() {
            return Err(FollowError::Regress { held: frontier.size(), covered: offered.size });
        }
        let (here, there) = ((frontier.size(), &frontier.root()), (offered.size, &offered.root));
        verify_consistency(here, there, consistency)
            .map_err(|_| FollowError::RootMismatch(frontier.size()))?;
        let known = self.latest.filter(|latest| latest.checkpoint.size > offered.size);
        Ok(Self { log: self.log, frontier, latest: known.or(Some(*checkpoint)) })
    }

    /// Checks all that does not depend on the entries.
    fn check_checkpoint(
        &self,
        signed: &SignedCheckpoint,
        network: NetworkId,
        signer: EthereumAddress,
    ) -> Result<(), FollowError> {
        let (expected, found) = (self.log, signed.checkpoint.log);
        if expected != found {
            return Err(FollowError::WrongLog { expected, found });
        }
        signed.verify(network, signer).map_err(|_| FollowError::SignatureInvalid)?;
        match self.latest.as_ref().and_then(|latest| root_conflict(latest, signed)) {
            Some(evidence) => Err(FollowError::Conflict(Box::new(evidence))),
            None => Ok(()),
        }
    }

    /// The frontier after `headers`, which must agree with the latest checkpoint on the way.
    fn appended(
        &self,
        headers: &[EntryHeader],
        offered: &SignedCheckpoint,
    ) -> Result<Frontier, FollowError> {
        let mut frontier = self.frontier.clone();
        for header in headers {
            let expected = frontier.size().next_index();
            if !header.version_is_known() {
                return Err(FollowError::UnknownVersion(expected));
            }
            if header.index != expected {
                return Err(FollowError::Gap { expected, found: header.index });
            }
            frontier.append(header.hash().0);
            match &self.latest {
                Some(held)
                    if held.checkpoint.size == frontier.size()
                        && held.checkpoint.root != frontier.root() =>
                {
                    let (held, offered) = (Box::new(*held), Box::new(*offered));
                    return Err(FollowError::Diverges { held, offered });
                }
                _ => {}
            }
        }
        Ok(frontier)
    }
}

/// The evidence that two checkpoints make, if the holder of `signer` signed both and they
/// contradict each other (LOG-008, LOG-013).
///
/// A node calls it with what it has stored for the size of a checkpoint that a peer shows.
#[must_use]
pub fn contradiction(
    held: &SignedCheckpoint,
    offered: &SignedCheckpoint,
    network: NetworkId,
    signer: EthereumAddress,
) -> Option<Evidence> {
    let evidence = root_conflict(held, offered)?;
    evidence.verify(network, signer).is_ok().then_some(evidence)
}

/// The evidence that two inclusion proofs make, if they show different entries at one index of
/// one log under checkpoints that the holder of `signer` signed (LOG-008, LOG-013).
#[must_use]
pub fn conflicting_entries(
    held: InclusionProof,
    offered: InclusionProof,
    network: NetworkId,
    signer: EthereumAddress,
) -> Option<Evidence> {
    let evidence = Evidence::Entries(held, offered);
    evidence.verify(network, signer).is_ok().then_some(evidence)
}

fn root_conflict(held: &SignedCheckpoint, offered: &SignedCheckpoint) -> Option<Evidence> {
    let (one, two) = (&held.checkpoint, &offered.checkpoint);
    let conflict = one.log == two.log && one.size == two.size && one.root != two.root;
    conflict.then_some(Evidence::Checkpoints(*held, *offered))
}
