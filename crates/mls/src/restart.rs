//! Restarts: going back to the last epoch that was good, without whoever ended it (MLS-030).

use openmls::group::MlsGroup;
use openmls_traits::OpenMlsProvider;
use tidings_envelope::{ClientEnvelope, EnvelopeBody};
use tidings_types::Period;

use crate::commit::{Changes, Mode};
use crate::contest::Contest;
use crate::error::CommitError;
use crate::facts::InboxFacts;
use crate::group::{Group, GroupId};
use crate::installation::Installation;
use crate::judge::{OrderedEntry, Sealed, parse_handshake};
use crate::past_epochs::PastEpochs;
use crate::record::{GroupStatus, Record};
use crate::seal::SealContext;
use crate::step::Step;
use crate::verdict::{Refusal, Verdict, VoidReason};

/// A restart that was not ordered by then cannot be any more: envelopes expire within two periods
/// and are remembered for two (ENV-006, ENV-010).
const EXPIRY_PERIODS: u64 = 5;

impl Group {
    /// Makes the commit that goes back to the epoch from which this installation was ejected,
    /// without the committer; none if that is not possible, or it is another's turn (MLS-030).
    ///
    /// `now` is the current period; the delta is to be stored before the envelope is sent.
    ///
    /// # Errors
    /// [`CommitError`]; the group is unchanged.
    pub fn restart(
        &mut self,
        installation: &Installation,
        now: Period,
        context: &SealContext,
    ) -> Result<Option<ClientEnvelope>, CommitError> {
        let Some(contest) = self.contests.last().cloned() else { return Ok(None) };
        let inbox = contest.witness(&self.record.installation);
        let is_turn = self.record.status == GroupStatus::Ejected
            && inbox.is_some_and(|inbox| contest.restarts_now(inbox, now));
        if !is_turn {
            return Ok(None);
        }
        let damaged = || CommitError::Library("the earlier state is damaged".to_owned());
        let mut base = self.base_of(&contest).ok_or_else(damaged)?;
        let expired = contest.stated_at.is_none_or(|at| now >= at.plus(EXPIRY_PERIODS));
        if base.record.pending.is_some() && !expired {
            return Ok(None);
        }
        base.clear_pending();
        let outcasts = contest.outcasts();
        let changes = Changes { remove: outcasts.clone(), ..Changes::default() };
        let mode = Mode::Restart(&outcasts);
        let pending = base.commit_as(installation, changes, mode, context)?;
        base.record.write(&base.provider);
        let prefix = contest.base();
        self.provider.store().remove_all(&prefix);
        for (key, value) in base.provider.store().entries() {
            self.provider.store().write_shared([&prefix, &key[..]].concat(), value);
        }
        if let Some(contest) = self.contests.last_mut() {
            contest.stated_at = Some(now);
            contest.write(&self.provider);
        }
        Ok(Some(pending.envelope))
    }

    /// The contest that an entry may be a restart in: a commit in the epoch before a commit that
    /// is contested, on the same topic.
    pub(crate) fn restarted_contest(
        &self,
        body: &EnvelopeBody,
        sealed: &Sealed,
    ) -> Option<Contest> {
        let open = |contest: &&Contest| {
            contest.topic == body.topic && contest.tag == sealed.tag && contest.is_contested()
        };
        let mut candidates = self.contests.iter().filter(open).peekable();
        candidates.peek()?;
        let message = parse_handshake(&sealed.frame.message)?;
        let ours = GroupId::of(message.group_id()) == Some(self.record.group);
        let epoch = message.epoch().as_u64();
        candidates.find(|contest| ours && contest.epoch == epoch).cloned()
    }

    /// Judges a restart by the state that was kept, and goes on from there if it is good.
    pub(crate) fn process_restart(
        &mut self,
        entry: &OrderedEntry<'_>,
        sealed: &Sealed,
        contest: &Contest,
    ) -> Verdict {
        if !contest.is_due(entry.period) {
            return Verdict::Void(VoidReason::NotDue);
        }
        let Some(base) = self.base_of(contest) else { return self.eject() };
        let outcasts = contest.outcasts();
        let body = &entry.envelope.body;
        let judged = match base.step_one(body, sealed, &InboxFacts::none(), Some(&outcasts)) {
            Ok(Step::Commit(judged)) => judged,
            Ok(Step::Leave(_)) => return Verdict::Void(VoidReason::WrongEpoch),
            Err(Refusal::Void(reason)) => return Verdict::Void(reason),
            Err(Refusal::Needs(_) | Refusal::Paused { .. }) => {
                return Verdict::Void(VoidReason::NotPermitted);
            }
        };
        self.go_back_to(base, contest);
        let verdict = self.step_two(entry, sealed, *judged, Some(outcasts));
        if self.record.pending.is_some() {
            self.clear_pending();
        }
        verdict
    }

    /// Replaces the state by that of `base`; contests over commits before it stay open.
    fn go_back_to(&mut self, base: Self, contest: &Contest) {
        let abandoned = std::mem::replace(self, base);
        let earlier = |it: &Contest| {
            it.epoch < contest.epoch
                || (it.topic == contest.topic && it.position < contest.position)
        };
        self.contests = abandoned.contests.iter().filter(|it| earlier(it)).cloned().collect();
        for kept in &self.contests {
            kept.write(&self.provider);
            self.provider.copy_from(&abandoned.provider, &kept.base());
        }
        self.record.abandon(&abandoned.record);
        self.provider.store().succeed(abandoned.provider.store());
    }

    /// The state that was kept for a contest.
    pub(crate) fn base_of(&self, contest: &Contest) -> Option<Self> {
        let provider = self.provider.fork(&contest.base()).ok()?;
        let record = Record::read(&provider)?;
        let mls = MlsGroup::load(provider.storage(), &record.group.to_mls()).ok().flatten()?;
        let past_epochs = PastEpochs::loaded(record.past_epochs_count());
        Some(Self { provider, mls, record, contests: Vec::new(), past_epochs })
    }
}
