//! Where two histories part is found by a few proofs, and honest ones never seem to.

use tidings_tlog::{Divergence, compare_histories, conflicting_entries, last_common};
use tidings_types::{LogIndex, LogSize};

use crate::originator::{NETWORK, Originator};

/// A history of `size` entries, with one of its own at `other` if that is within it.
fn history(salt: u8, size: u64, other: u64) -> Originator {
    let mut originator = Originator::with_entries(0, 1);
    for index in 0..size {
        match index == other {
            true => originator.append_aside(salt),
            false => originator.append(1),
        }
    }
    originator
}

/// Compares histories of these sizes; answers the index at which they were found to differ and
/// how many proofs of each it took.
fn compare(one: &Originator, two: &Originator, sizes: (u64, u64)) -> Option<(LogIndex, u32)> {
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
fn the_only_entry_that_differs_is_found() {
    // covers: LOG-013
    for other in 0..18 {
        let (one, two) = (history(2, 18, other), history(3, 18, other));
        for sizes in (1..=18).flat_map(|one| (1..=18).map(move |two| (one, two))) {
            let found = compare(&one, &two, sizes);
            if other >= sizes.0.min(sizes.1) {
                assert_eq!(found, None, "{sizes:?} differ in {other} or nothing");
                continue;
            }
            let (index, steps) = found.expect("they differ");
            assert_eq!(index, LogIndex(other), "{sizes:?}");
            assert!(steps <= 6, "{steps} steps for {other} in {sizes:?}");
        }
    }
    let (one, two) = (history(2, 3_000, 1_234), history(3, 2_500, 1_234));
    let (index, steps) = compare(&one, &two, (3_000, 2_500)).unwrap();
    assert!(index == LogIndex(1_234) && steps <= 13, "{steps}");
}

#[test]
fn an_entry_is_found_where_everything_after_some_differs() {
    // covers: LOG-013
    for common in 0..20 {
        let mut one = Originator::with_entries(common, 1);
        let mut two = Originator::with_entries(common, 1);
        (common..20).for_each(|_| (one.append(1), two.append(2)).0);
        for sizes in (0..=20).flat_map(|one| (0..=20).map(move |two| (one, two))) {
            let found = compare(&one, &two, sizes);
            match common < sizes.0.min(sizes.1) {
                true => assert!(found.is_some_and(|(index, _)| index.0 >= common), "{sizes:?}"),
                false => assert_eq!(found, None, "{sizes:?}"),
            }
        }
    }
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
