//! Following a log: what a replica believes, refuses, and keeps as evidence.

use tidings_envelope::{Evidence, LogId, SignedCheckpoint};
use tidings_tlog::{
    FollowError, Follower, Frontier, TopicHead, conflicting_entries, contradiction,
};
use tidings_types::{ErrorCode, EthereumAddress, Incarnation, LogIndex, LogSize, NetworkId, Wire};

use crate::originator::{LOG, NETWORK, Originator};

/// A follower that took the first `size` entries under a checkpoint of that size.
fn follower(originator: &Originator, size: u64) -> Follower {
    extend(&Follower::new(LOG), originator, 0..size).unwrap()
}

fn extend(
    follower: &Follower,
    originator: &Originator,
    range: std::ops::Range<u64>,
) -> Result<Follower, FollowError> {
    let headers = &originator.headers[range.start as usize..range.end as usize];
    let checkpoint = originator.checkpoint(range.end);
    follower.extend(headers, &checkpoint, &[], NETWORK, originator.address())
}

fn refused(result: Result<Follower, FollowError>, code: ErrorCode) -> FollowError {
    let error = result.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    error
}

#[test]
fn a_log_is_followed_in_steps() {
    // covers: LOG-002
    // covers: LOG-012
    let originator = Originator::with_entries(40, 1);
    let mut following = Follower::new(LOG);
    for (begin, end) in [(0, 1), (1, 8), (8, 8), (8, 29), (29, 40)] {
        following = extend(&following, &originator, begin..end).unwrap();
        assert_eq!(following.size(), LogSize(end));
        assert_eq!(following.frontier().root(), originator.checkpoint(end).checkpoint.root);
        assert_eq!(following.latest(), Some(&originator.checkpoint(end)));
        // What is stored is what is followed.
        assert_eq!(Follower::from_wire(&following.to_wire()), Ok(following.clone()));
        let (frontier, latest) = (following.frontier().clone(), following.latest().copied());
        assert_eq!(Follower::resume(LOG, frontier, latest), Ok(following.clone()));
    }
}

#[test]
fn a_page_that_ends_before_the_checkpoint_proves_that_it_begins_it() {
    // covers: LOG-012
    let originator = Originator::with_entries(40, 1);
    let checkpoint = originator.checkpoint(40);
    let following = follower(&originator, 5);
    let page = &originator.headers[5..17];
    let signer = originator.address();
    let proof = originator.consistency(17, 40);
    let extended = following.extend(page, &checkpoint, &proof, NETWORK, signer).unwrap();
    assert_eq!((extended.size(), extended.latest()), (LogSize(17), Some(&checkpoint)));
    let unproved = following.extend(page, &checkpoint, &[], NETWORK, signer);
    refused(unproved, ErrorCode::MerkleProofInvalid);
    // A checkpoint between the two does not make the larger one forgotten.
    let nearer = extend(&extended, &originator, 17..30).unwrap();
    assert_eq!((nearer.size(), nearer.latest()), (LogSize(30), Some(&checkpoint)));
    assert!(extend(&nearer, &originator, 30..40).is_ok());
}

#[test]
fn gaps_repeats_and_strangers_are_refused() {
    // covers: LOG-002
    // covers: LOG-005
    // covers: LOG-012
    let originator = Originator::with_entries(20, 1);
    let following = follower(&originator, 10);
    let signer = originator.address();
    let checkpoint = originator.checkpoint(20);
    let with = |checkpoint: &SignedCheckpoint, network: NetworkId, signer: EthereumAddress| {
        following.extend(&originator.headers[10..20], checkpoint, &[], network, signer)
    };
    assert!(with(&checkpoint, NETWORK, signer).is_ok());
    let gap = refused(extend(&following, &originator, 11..20), ErrorCode::EntryOutOfOrder);
    assert_eq!(gap, FollowError::Gap { expected: LogIndex(10), found: LogIndex(11) });
    let repeat = refused(extend(&following, &originator, 9..20), ErrorCode::EntryOutOfOrder);
    assert_eq!(repeat, FollowError::Gap { expected: LogIndex(10), found: LogIndex(9) });
    refused(with(&checkpoint, NetworkId([8; 32]), signer), ErrorCode::CheckpointInvalid);
    let stranger = EthereumAddress([1; 20]);
    assert_eq!(with(&checkpoint, NETWORK, stranger), Err(FollowError::SignatureInvalid));
    let small = originator.checkpoint(12);
    let regress = refused(with(&small, NETWORK, signer), ErrorCode::CheckpointInvalid);
    let (held, covered) = (LogSize(20), LogSize(12));
    assert_eq!(regress, FollowError::Regress { held, covered });
    let other_log = LogId { incarnation: Incarnation(2), ..LOG };
    let mut elsewhere = checkpoint.checkpoint;
    elsewhere.log = other_log;
    let elsewhere = elsewhere.sign(&originator.key, NETWORK);
    refused(with(&elsewhere, NETWORK, signer), ErrorCode::CheckpointInvalid);
}

#[test]
fn changed_entries_do_not_lead_to_the_root() {
    // covers: LOG-012
    let originator = Originator::with_entries(20, 1);
    let following = follower(&originator, 10);
    let mut headers = originator.headers[10..20].to_vec();
    headers[3].fee.0 += 1;
    let signer = originator.address();
    let checkpoint = originator.checkpoint(20);
    let changed = following.extend(&headers, &checkpoint, &[], NETWORK, signer);
    refused(changed, ErrorCode::MerkleProofInvalid);
    headers[3].version = 2;
    let unknown = following.extend(&headers, &checkpoint, &[], NETWORK, signer);
    refused(unknown, ErrorCode::UnknownVersion);
}

#[test]
fn two_roots_for_one_size_become_evidence() {
    // covers: LOG-008
    // covers: LOG-013
    let (one, two) = (Originator::with_entries(20, 1), Originator::with_entries(20, 2));
    let following = follower(&one, 20);
    let forked = following.extend(&[], &two.checkpoint(20), &[], NETWORK, two.address());
    let FollowError::Conflict(evidence) = refused(forked, ErrorCode::EntryConflict) else {
        panic!("two signed roots are evidence");
    };
    assert_eq!(evidence.verify(NETWORK, one.address()), Ok(()));
    let found = contradiction(&one.checkpoint(7), &two.checkpoint(7), NETWORK, one.address());
    assert!(matches!(found, Some(Evidence::Checkpoints(..))));
    // Nothing else is: an honest node cannot be accused.
    let same = contradiction(&one.checkpoint(7), &one.checkpoint(7), NETWORK, one.address());
    assert_eq!(same, None);
    let grown = contradiction(&one.checkpoint(7), &two.checkpoint(8), NETWORK, one.address());
    assert_eq!(grown, None);
    let mut forged = two.checkpoint(7);
    forged.signature = one.checkpoint(8).signature;
    assert_eq!(contradiction(&one.checkpoint(7), &forged, NETWORK, one.address()), None);
    let unsigned = following.extend(&[], &forged, &[], NETWORK, one.address());
    assert_eq!(unsigned, Err(FollowError::SignatureInvalid));
}

#[test]
fn two_entries_at_one_index_become_evidence() {
    // covers: LOG-008
    // covers: LOG-013
    let (one, two) = (Originator::with_entries(20, 1), Originator::with_entries(30, 2));
    let signer = one.address();
    let found = conflicting_entries(one.inclusion(4, 20), two.inclusion(4, 30), NETWORK, signer);
    assert!(matches!(found, Some(Evidence::Entries(..))));
    let same = conflicting_entries(one.inclusion(4, 20), one.inclusion(4, 10), NETWORK, signer);
    assert_eq!(same, None);
    let apart = conflicting_entries(one.inclusion(4, 20), two.inclusion(5, 30), NETWORK, signer);
    assert_eq!(apart, None);
    let mut misplaced = two.inclusion(5, 30);
    misplaced.header.index = LogIndex(4);
    assert_eq!(conflicting_entries(one.inclusion(4, 20), misplaced, NETWORK, signer), None);
}

#[test]
fn a_fork_behind_a_larger_checkpoint_shows_when_it_is_reached() {
    // covers: LOG-013
    let (one, two) = (Originator::with_entries(20, 1), Originator::with_entries(30, 2));
    // The follower knows the checkpoint of one history, then gets entries of the other.
    let signer = one.address();
    let nothing = Follower::new(LOG);
    let told = nothing.extend(&[], &one.checkpoint(20), &[], NETWORK, signer).unwrap();
    assert_eq!(told.size(), LogSize(0));
    let forked = extend(&told, &two, 0..30);
    let FollowError::Diverges { held, offered } = refused(forked, ErrorCode::EntryConflict) else {
        panic!("the histories differ before the larger checkpoint");
    };
    assert_eq!((*held, *offered), (one.checkpoint(20), two.checkpoint(30)));
}

#[test]
fn stored_states_that_do_not_fit_are_refused() {
    let (one, two) = (Originator::with_entries(20, 1), Originator::with_entries(20, 2));
    let frontier = follower(&one, 20).frontier().clone();
    assert!(Follower::resume(LOG, frontier.clone(), Some(two.checkpoint(20))).is_err());
    let other_log = LogId { incarnation: Incarnation(2), ..LOG };
    assert!(Follower::resume(other_log, frontier, Some(one.checkpoint(20))).is_err());
    assert!(Follower::resume(LOG, Frontier::default(), Some(one.checkpoint(20))).is_ok());
}

#[test]
fn entries_of_a_topic_form_a_chain() {
    // covers: LOG-003
    let originator = Originator::with_entries(3, 1);
    let heads = originator
        .headers
        .iter()
        .try_fold(TopicHead::default(), |head, header| head.advance(header));
    assert_eq!(heads.unwrap().next.0, 3);
    let head = TopicHead::default().advance(&originator.headers[0]).unwrap();
    let skipped = head.advance(&originator.headers[2]).unwrap_err();
    assert_eq!(skipped.code(), ErrorCode::EntryOutOfOrder);
    let mut other = originator.headers[1];
    other.previous.0[0] ^= 1;
    assert!(head.advance(&other).is_err());
    assert!(head.advance(&originator.headers[0]).is_err());
}
