//! Messages: none lost, none twice, each author's in order, and nothing for the wrong ears.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::{Knowledge, Violation};
use crate::history::{
    GroupNumber, History, Line, Member, MessageKey, Send, Standing, Transcript, Wish,
};

/// Everything that is wrong with messages.
pub(super) fn check(history: &History, knowledge: &Knowledge<'_>) -> Vec<Violation> {
    let sends: BTreeMap<MessageKey, &Send> =
        history.sends.iter().map(|send| (send.key, send)).collect();
    let mut violations = Vec::new();
    for ((group, at), transcript) in &history.transcripts {
        let reader = Reader { group: *group, at: *at, sends: &sends, knowledge };
        violations.extend(transcript.iter().filter_map(|line| reader.check_line(line)));
        violations.extend(reader.check_order(transcript));
        violations.extend(reader.check_told(history, transcript));
    }
    for send in &history.sends {
        violations.extend(lost(history, knowledge, send));
    }
    violations
}

/// A client that holds a transcript of a group.
struct Reader<'a> {
    group: GroupNumber,
    at: Member,
    sends: &'a BTreeMap<MessageKey, &'a Send>,
    knowledge: &'a Knowledge<'a>,
}

impl Reader<'_> {
    fn check_line(&self, line: &Line) -> Option<Violation> {
        let at = self.at;
        let phantom = || Some(Violation::Phantom { text: line.text.clone(), at });
        let Some((key, send)) = line.key().ok().and_then(|key| Some((key, *self.sends.get(&key)?)))
        else {
            return phantom();
        };
        let is_own = line.standing != Standing::Received;
        if send.group != self.group
            || line.sender != Some(key.author)
            || is_own != (key.author == at)
        {
            return phantom();
        }
        if is_own {
            return None;
        }
        if send.failed.is_some() {
            return Some(Violation::FailedYetReceived { key, at });
        }
        let span = self.knowledge.span(send)?;
        let outside = self.knowledge.was_outside(self.group, at, span);
        outside.then_some(Violation::HeardOutside { key, at })
    }

    /// Each author's messages rise, and so none is there twice.
    fn check_order(&self, transcript: &Transcript) -> Vec<Violation> {
        let mut last: BTreeMap<Member, MessageKey> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut violations = Vec::new();
        for key in transcript.iter().filter_map(|line| line.key().ok()) {
            if !seen.insert(key) {
                violations.push(Violation::Duplicated { key, at: self.at });
                continue;
            }
            let before = last.get(&key.author).copied();
            if let Some(first) = before.filter(|before| before.serial > key.serial) {
                violations.push(Violation::OutOfOrder { first, second: key, at: self.at });
            } else {
                last.insert(key.author, key);
            }
        }
        violations
    }

    /// What was received was told of, once.
    fn check_told(&self, history: &History, transcript: &Transcript) -> Vec<Violation> {
        let mut told: BTreeMap<MessageKey, usize> = BTreeMap::new();
        let own = history.told.iter().filter(|it| it.to == self.at && it.group == self.group);
        own.for_each(|it| *told.entry(it.key).or_default() += 1);
        let received = transcript.iter().filter(|line| line.standing == Standing::Received);
        let held: BTreeSet<MessageKey> = received.filter_map(|line| line.key().ok()).collect();
        let keys: BTreeSet<MessageKey> = held.iter().chain(told.keys()).copied().collect();
        let differs = |key: &MessageKey| {
            let told = told.get(key).copied().unwrap_or_default();
            let is_held = held.contains(key);
            (told != usize::from(is_held)).then_some(Violation::ToldOtherwise {
                key: *key,
                told,
                at: self.at,
            })
        };
        keys.iter().filter_map(differs).collect()
    }
}

/// Who lacks an acknowledged message, of those who must hold it.
fn lost(history: &History, knowledge: &Knowledge<'_>, send: &Send) -> Vec<Violation> {
    let Send { key, group, .. } = *send;
    let Some(span) = knowledge.span(send) else { return Vec::new() };
    if removal_overlaps(history, knowledge, send) {
        return Vec::new();
    }
    let mut violations = Vec::new();
    for ((_, at), transcript) in history.transcripts.iter().filter(|((of, _), _)| *of == group) {
        let stays = knowledge.stays(group, *at);
        let was_there = stays.iter().any(|it| it.first <= span.first && span.last <= it.last)
            && knowledge.was_inside(group, *at, span);
        let holds = |line: &Line| {
            let counts = matches!(line.standing, Standing::Received | Standing::Sent);
            counts && line.key() == Ok(key)
        };
        if was_there && !transcript.iter().any(holds) {
            violations.push(Violation::Lost { key, group, at: *at });
        }
    }
    violations
}

/// Whether somebody was removing the author before the message was acknowledged, and the author
/// had not learned of it when sending: others may then have let go of the author before it came.
fn removal_overlaps(history: &History, knowledge: &Knowledge<'_>, send: &Send) -> bool {
    let Send { key, group, began, acknowledged, .. } = *send;
    history.changes.iter().any(|change| {
        let removes = change.group == group && change.wish == Wish::Remove(key.author);
        // One that returned undone cannot take effect once the group has moved past it.
        let settled = if change.done { Some(change.began) } else { change.returned };
        let learned =
            settled.is_some_and(|from| knowledge.knew_outside(group, key.author, from, began));
        removes && Some(change.began) <= acknowledged && !learned
    })
}
