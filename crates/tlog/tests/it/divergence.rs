//! Where two histories part is found by a few proofs, and honest ones never seem to.

use tidings_tlog::{Divergence, compare_histories, conflicting_entries, last_common};
use tidings_types::{LogIndex, LogSize};

use crate::originator::{NETWORK, Originator};

/// Compares histories of these sizes that part after `common` entries; answers the index at which
/// they were found to differ and how many proofs of each it took.
fn compare(common: u64, sizes: (u64, u64)) -> Option<(LogIndex, u32)> {
    let history = |salt, size| {
        let mut originator = Originator::with_entries(common.min(size), 1);
        (common..size).for_each(|_| originator.append(salt));
        originator
    };
    let (one, two) = (history(1, sizes.0), history(2, sizes.1));
    let mut index = last_common(LogSize(sizes.0), LogSize(sizes.1))?;
    for step in 1.. {
        let pair = (one.inclusion(index.0, sizes.0), two.inclusion(index.0, sizes.1));
        match compare_histories(&pair.0, &pair.1).unwrap() {
            Divergence::None => return None,
            Divergence::Within(next) => index = next,
            Divergence::Here => {
                let evidence = conflicting_entries(pair.0, pair.1, NETWORK, one.address());
                assert!(evidence.is_some());
                return Some((index, step));
            }
        }
    }
    None
}

#[test]
fn an_entry_that_differs_is_found() {
    // covers: LOG-013
    for one in 1..40 {
        for two in 1..40 {
            for common in 0..one.min(two) {
                let (index, steps) = compare(common, (one, two)).expect("they differ");
                assert!(index >= LogIndex(common), "{one} {two}");
                assert!(steps <= 7, "{steps} steps for {one}, {two} after {common}");
            }
            assert_eq!(compare(one.min(two), (one, two)), None);
        }
    }
    let (index, steps) = compare(1_234, (3_000, 2_500)).unwrap();
    assert!(index >= LogIndex(1_234) && steps <= 13, "{steps}");
    assert_eq!(compare(0, (0, 5)), None);
}

#[test]
fn proofs_that_do_not_belong_together_prove_nothing() {
    let (one, two) = (Originator::with_entries(20, 1), Originator::with_entries(20, 2));
    let other_place = compare_histories(&one.inclusion(3, 20), &two.inclusion(4, 20));
    assert!(other_place.is_err());
    let mut forged = two.inclusion(3, 20);
    forged.header.timestamp.0 += 1;
    assert!(compare_histories(&one.inclusion(3, 20), &forged).is_err());
    let mut elsewhere = two.inclusion(3, 20);
    elsewhere.checkpoint.checkpoint.log.incarnation.0 += 1;
    assert!(compare_histories(&one.inclusion(3, 20), &elsewhere).is_err());
}
