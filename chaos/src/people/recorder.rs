//! Writes down what clients do and see, as it happens.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::history::{
    At, Change, GroupNumber, History, Member, MessageKey, Send, Snapshot, Told, Transcript, View,
    Wish,
};

/// The history so far, and the clock that its times are of.
#[derive(Debug)]
pub struct Recorder {
    begun: Instant,
    history: Mutex<History>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { begun: Instant::now(), history: Mutex::default() }
    }
}

impl Recorder {
    /// The time now.
    #[must_use]
    pub fn now(&self) -> At {
        self.begun.elapsed()
    }

    /// The history so far.
    pub fn history(&self) -> MutexGuard<'_, History> {
        // Every change is one push or one assignment.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message is being sent.
    pub fn send_began(&self, key: MessageKey, group: GroupNumber) {
        let began = self.now();
        let send = Send { key, group, began, returned: None, acknowledged: None, failed: None };
        self.history().sends.push(send);
    }

    /// The call returned.
    pub fn send_returned(&self, key: MessageKey) {
        let now = self.now();
        self.on_send(key, |send| send.returned = Some(now));
    }

    /// The client said that enough replicas have signed for the message.
    pub fn acknowledged(&self, key: MessageKey) {
        let now = self.now();
        self.on_send(key, |send| {
            send.acknowledged.get_or_insert(now);
        });
    }

    /// The client said that the message will never be sent.
    pub fn failed(&self, key: MessageKey, reason: &str) {
        self.on_send(key, |send| send.failed = Some(reason.to_owned()));
    }

    fn on_send(&self, key: MessageKey, act: impl FnOnce(&mut Send)) {
        let mut history = self.history();
        // What is looked for is among the last ones.
        if let Some(send) = history.sends.iter_mut().rev().find(|send| send.key == key) {
            act(send);
        }
    }

    /// A change is being made; the number to end it by.
    pub fn change_began(&self, by: Member, group: GroupNumber, wish: Wish) -> usize {
        let began = self.now();
        let mut history = self.history();
        history.changes.push(Change { by, group, wish, began, returned: None, done: false });
        history.changes.len() - 1
    }

    /// The call returned, with the group as wished or with a failure.
    pub fn change_returned(&self, number: usize, done: bool) {
        let now = self.now();
        if let Some(change) = self.history().changes.get_mut(number) {
            (change.returned, change.done) = (Some(now), done);
        }
    }

    /// A client told of a message.
    pub fn told(&self, to: Member, group: GroupNumber, key: MessageKey) {
        let at = self.now();
        self.history().told.push(Told { to, group, key, at });
    }

    /// A client that was asked at `asked` answered now.
    pub fn looked(&self, of: Member, group: GroupNumber, asked: At, view: Option<View>) {
        let answered = self.now();
        self.history().snapshots.push(Snapshot { of, group, asked, answered, view });
    }

    /// What a client holds of a group now.
    pub fn holds(&self, at: Member, group: GroupNumber, transcript: Transcript) {
        self.history().transcripts.insert((group, at), transcript);
    }
}
