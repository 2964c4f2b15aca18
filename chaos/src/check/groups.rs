//! Groups: one history for all members, one end, and the one that the changes made.

use std::collections::BTreeMap;

use crate::check::{Knowledge, Violation};
use crate::history::{Change, GroupNumber, History, Member, View, Wish};

/// Everything that is wrong with groups.
pub(super) fn check(history: &History, knowledge: &Knowledge<'_>) -> Vec<Violation> {
    let mut violations = forks(history);
    for group in knowledge.groups() {
        let views = knowledge.last_views(group);
        let newest = views.values().flatten().max_by_key(|view| view.epoch).copied();
        let Some(newest) = newest else { continue };
        violations.extend(stragglers(group, &views, newest));
        violations.extend(other_names(group, &views, newest));
        violations.extend(unexplained(history, group, newest));
    }
    violations
}

/// Epochs in which not all members have the same group.
///
/// Names are compared at the end alone: a client may tell the name that it had a moment before.
fn forks(history: &History) -> Vec<Violation> {
    let mut known: BTreeMap<(GroupNumber, u64), (Member, &View)> = BTreeMap::new();
    let mut forked = BTreeMap::new();
    for snapshot in &history.snapshots {
        let Some(view) = &snapshot.view else { continue };
        let place = (snapshot.group, view.epoch);
        let (one, first) = *known.entry(place).or_insert((snapshot.of, view));
        if (&first.authenticator, &first.members) != (&view.authenticator, &view.members) {
            forked.entry(place).or_insert((one, snapshot.of));
        }
    }
    let violation = |((group, epoch), (one, other))| Violation::Forked { group, epoch, one, other };
    forked.into_iter().map(violation).collect()
}

/// Members who are not where the group is, and others who think that they are.
fn stragglers(
    group: GroupNumber,
    views: &BTreeMap<Member, Option<&View>>,
    newest: &View,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for who in &newest.members {
        let epoch = views.get(who).copied().flatten().map(|view| view.epoch);
        if epoch != Some(newest.epoch) {
            violations.push(Violation::Behind { group, who: *who, epoch, newest: newest.epoch });
        }
    }
    let inside = views.iter().filter(|(_, view)| view.is_some());
    let outsiders = inside.filter(|(who, _)| !newest.members.contains(who));
    violations.extend(outsiders.map(|(who, _)| Violation::Outsider { group, who: *who }));
    violations
}

/// Members in the newest epoch with another name for the group.
fn other_names(
    group: GroupNumber,
    views: &BTreeMap<Member, Option<&View>>,
    newest: &View,
) -> Vec<Violation> {
    let inside = views.iter().filter_map(|(who, view)| Some((*who, (*view)?)));
    let inside: Vec<_> = inside.filter(|(_, view)| view.epoch == newest.epoch).collect();
    let Some((one, first)) = inside.first() else { return Vec::new() };
    let others = inside.iter().filter(|(_, view)| view.name != first.name);
    others.map(|(other, _)| Violation::TwoNames { group, one: *one, other: *other }).collect()
}

/// What became of the group against its last changes.
fn unexplained(history: &History, group: GroupNumber, newest: &View) -> Vec<Violation> {
    let changes: Vec<&Change> = history.changes.iter().filter(|it| it.group == group).collect();
    let mut violations = Vec::new();
    let names: Vec<&Change> =
        changes.iter().filter(|it| matches!(it.wish, Wish::Rename(_))).copied().collect();
    let found = Wish::Rename(newest.name.clone());
    if !is_explained(&names, &found) {
        violations.push(Violation::Unexplained { group, found });
    }
    let subjects = changes.iter().filter_map(|it| match it.wish {
        Wish::Add(who) | Wish::Remove(who) => Some(who),
        Wish::Rename(_) => None,
    });
    for who in subjects.collect::<std::collections::BTreeSet<_>>() {
        let about = |it: &&&Change| it.wish == Wish::Add(who) || it.wish == Wish::Remove(who);
        let about: Vec<&Change> = changes.iter().filter(about).copied().collect();
        let found = match newest.members.contains(&who) {
            true => Wish::Add(who),
            false => Wish::Remove(who),
        };
        if !is_explained(&about, &found) {
            violations.push(Violation::Unexplained { group, found });
        }
    }
    violations
}

/// Whether one of `changes`, which are all that bear on it, may have been the last and made what
/// was found; with none that is certain to have happened, it may be as it was in the beginning.
fn is_explained(changes: &[&Change], found: &Wish) -> bool {
    let certain: Vec<&&Change> = changes.iter().filter(|it| it.done).collect();
    let may_be_last = |change: &Change| {
        let ended = change.returned.filter(|_| change.done);
        ended.is_none_or(|ended| certain.iter().all(|other| other.began <= ended))
    };
    certain.is_empty() || changes.iter().any(|it| it.wish == *found && may_be_last(it))
}
