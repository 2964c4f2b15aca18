//! What a history tells about who was where in which epoch.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{At, GroupNumber, History, Member, Send, Snapshot, View};

/// A time that a client spent in a group without a break, in epochs that it is known to have
/// read; it may have been there a little before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    /// The first epoch in which the client was seen there.
    pub first: u64,
    /// The last one.
    pub last: u64,
}

/// The epochs in one of which a message was encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// A history's snapshots, by group and client.
#[derive(Debug)]
pub struct Knowledge<'a> {
    snapshots: BTreeMap<(GroupNumber, Member), Vec<&'a Snapshot>>,
    members: BTreeMap<(GroupNumber, u64), &'a BTreeSet<Member>>,
}

impl<'a> Knowledge<'a> {
    /// Sorts what `history` tells.
    #[must_use]
    pub fn new(history: &'a History) -> Self {
        let mut snapshots: BTreeMap<_, Vec<&Snapshot>> = BTreeMap::new();
        let mut members = BTreeMap::new();
        for snapshot in &history.snapshots {
            snapshots.entry((snapshot.group, snapshot.of)).or_default().push(snapshot);
            if let Some(view) = &snapshot.view {
                members.insert((snapshot.group, view.epoch), &view.members);
            }
        }
        Self { snapshots, members }
    }

    /// The groups that anybody was seen in.
    #[must_use]
    pub fn groups(&self) -> BTreeSet<GroupNumber> {
        self.snapshots.keys().map(|(group, _)| *group).collect()
    }

    /// The last look of each client at a group.
    #[must_use]
    pub fn last_views(&self, group: GroupNumber) -> BTreeMap<Member, Option<&'a View>> {
        let of_group = self.snapshots.iter().filter(|((of, _), _)| *of == group);
        let last = of_group.filter_map(|((_, member), all)| Some((*member, all.last()?)));
        last.map(|(member, snapshot)| (member, snapshot.view.as_ref())).collect()
    }

    /// The stays of a client in a group.
    #[must_use]
    pub fn stays(&self, group: GroupNumber, of: Member) -> Vec<Stay> {
        let mut stays: Vec<Stay> = Vec::new();
        let mut is_in = false;
        for snapshot in self.of(group, of) {
            match (&snapshot.view, stays.last_mut()) {
                (None, _) => is_in = false,
                (Some(view), Some(stay)) if is_in => stay.last = view.epoch,
                (Some(view), _) => {
                    is_in = true;
                    stays.push(Stay { first: view.epoch, last: view.epoch });
                }
            }
        }
        stays
    }

    /// The epochs in which a message may have been encrypted, if its author was in the group from
    /// before it was sent until after it was acknowledged.
    #[must_use]
    pub fn span(&self, send: &Send) -> Option<Span> {
        let acknowledged = send.acknowledged?;
        let own = self.of(send.group, send.key.author);
        let before = own.iter().rposition(|it| it.answered <= send.began)?;
        let after = own.iter().position(|it| it.asked >= acknowledged)?;
        let between = own.get(before..=after)?;
        // Between two looks with the author inside all must be so.
        let views: Option<Vec<&View>> = between.iter().map(|it| it.view.as_ref()).collect();
        let views = views?;
        Some(Span { first: views.first()?.epoch, last: views.last()?.epoch })
    }

    /// Whether somebody is known to have been outside in every epoch of a span.
    #[must_use]
    pub fn was_outside(&self, group: GroupNumber, who: Member, span: Span) -> bool {
        (span.first..=span.last).all(|epoch| {
            self.members.get(&(group, epoch)).is_some_and(|members| !members.contains(&who))
        })
    }

    /// Whether somebody is known to have been inside in every epoch of a span, and outside in none
    /// since; who was removed and came back between two looks seems to have stayed.
    ///
    /// An author who is behind writes in an epoch that others have left: who came back since then
    /// has no keys for it.
    #[must_use]
    pub fn was_inside(&self, group: GroupNumber, who: Member, span: Span) -> bool {
        let is_in = |epoch: u64| {
            let members = self.members.get(&(group, epoch));
            members.map(|members| members.contains(&who))
        };
        let since = self.members.range((group, span.last)..=(group, u64::MAX));
        (span.first..=span.last).all(|epoch| is_in(epoch) == Some(true))
            && since.into_iter().all(|((_, epoch), _)| is_in(*epoch) == Some(true))
    }

    /// Whether a client was seen to know, in this time, that it is not in the group.
    #[must_use]
    pub fn knew_outside(&self, group: GroupNumber, of: Member, from: At, until: At) -> bool {
        let within = |it: &&&Snapshot| it.asked >= from && it.answered <= until;
        self.of(group, of).iter().filter(within).any(|it| it.view.is_none())
    }

    fn of(&self, group: GroupNumber, of: Member) -> &[&'a Snapshot] {
        self.snapshots.get(&(group, of)).map(Vec::as_slice).unwrap_or_default()
    }
}
