//! Deliberate bugs, which the simulator must notice: one of them at a time, switched on for one
//! thread.
//!
//! Built only with the feature `mutants`, which no crate turns on, and for this crate's own tests;
//! [`crate::mutant!`] makes the switches in the code.

use std::cell::Cell;
use std::fmt;

/// Declares the bugs, so that none can be missing from the list of all.
macro_rules! mutants {
    ($($(#[$doc:meta])+ $name:ident = $text:literal,)+) => {
        /// A rule that the code breaks while it is switched on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mutant {
            $($(#[$doc])+ $name,)+
        }

        impl Mutant {
            /// Every bug there is.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its name on the command line and in the table.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

mutants! {
    /// A replica acknowledges entries before they are durable.
    AcknowledgeEarly = "acknowledge-early",
    /// An entry counts as replicated with one holder fewer than needed.
    FewHolders = "few-holders",
    /// A node takes its own flush for durable before it is, and answers.
    AnswerEarly = "answer-early",
    /// A started process goes on in the incarnation that it finds.
    KeepIncarnation = "keep-incarnation",
    /// Votes leave before they are logged.
    VoteUnlogged = "vote-unlogged",
    /// A started member votes without asking others what it said before.
    SkipRecall = "skip-recall",
    /// A final block's certificate is not verified.
    TrustBlocks = "trust-blocks",
    /// f+1 votes decide.
    FewVotes = "few-votes",
    /// A commit applies whatever position it expects.
    AnyPosition = "any-position",
    /// The ids of envelopes that were taken are not remembered.
    ForgetIds = "forget-ids",
    /// An envelope is decided on as often as it comes.
    DecideAgain = "decide-again",
    /// A payload that is not the header's condemns the originator, whoever garbled it.
    BlameOriginator = "blame-originator",
    /// Entries are judged by the wall clock: those from its future are refused.
    WallClock = "wall-clock",
    /// A node admits envelopes that have expired, and others take them.
    AdmitExpired = "admit-expired",
    /// The ordered lane takes envelopes that have expired.
    OrderExpired = "order-expired",
    /// A node admits envelopes whose write proof does not verify.
    AnyWriter = "any-writer",
    /// A source that sends nothing of what it offers is kept for ever.
    KeepSource = "keep-source",
    /// Evidence is not handed to the ordered lane.
    KeepEvidence = "keep-evidence",
    /// A member that is one height behind waits for ever for the block that it missed.
    StayBehind = "stay-behind",
    /// A member executes a block with the newest registry that it knows.
    NewestRegistry = "newest-registry",
    /// Two histories of a log are noticed, and nothing is made of it.
    HushHistories = "hush-histories",
    /// Two votes in one step are noticed, and nothing is made of it.
    HushVotes = "hush-votes",
    /// A period may begin as soon as somebody says so.
    HurryPeriods = "hurry-periods",
}

impl fmt::Display for Mutant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

thread_local! {
    static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Whether a bug is switched on for this thread.
#[must_use]
pub fn is(mutant: Mutant) -> bool {
    ON.get() == Some(mutant)
}

/// Does `work` with a bug switched on for this thread, or with none, and then goes back to how it
/// was, even when `work` panics.
pub fn with<T>(mutant: Option<Mutant>, work: impl FnOnce() -> T) -> T {
    let _before = Before(ON.replace(mutant));
    work()
}

/// What was switched on before, and is again when this goes.
struct Before(Option<Mutant>);

impl Drop for Before {
    fn drop(&mut self) {
        ON.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn a_bug_is_on_only_for_its_thread_and_its_time() {
        let on = || is(Mutant::SkipRecall);
        assert!(!on());
        with(Some(Mutant::SkipRecall), || {
            assert!(on() && !is(Mutant::FewVotes));
            let elsewhere = std::thread::scope(|scope| scope.spawn(on).join().unwrap());
            assert!(!elsewhere, "another thread");
            assert!(!with(None, on), "none inside");
            assert!(on(), "back again");
        });
        assert!(!on());
        let panicked = catch_unwind(|| with(Some(Mutant::SkipRecall), || panic!("on purpose")));
        assert!(panicked.is_err() && !on());
    }

    #[test]
    fn names_tell_bugs_apart() {
        let names: BTreeSet<&str> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
        assert_eq!(names.len(), Mutant::ALL.len());
        assert_eq!(format!("{:>14}|", Mutant::FewVotes), "     few-votes|");
    }
}
