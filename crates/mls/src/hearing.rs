//! Hearing what members state, and stating it (MLS-027, MLS-029, MLS-031).

use std::collections::BTreeSet;

use tidings_envelope::{ClientEnvelope, Topic};
use tidings_types::constants::{WISH_POSITIONS_MAX, WISHES_PER_EPOCH_MAX};
use tidings_types::{BoundedVec, InboxId, Period, Position, Wire};

use crate::contest::{Contest, Effect};
use crate::error::{CommitError, SealError};
use crate::group::Group;
use crate::installation::Installation;
use crate::judge::OrderedEntry;
use crate::record::GroupStatus;
use crate::seal::{SealContext, TranscriptTag};
use crate::statement::{Forum, OrderedFrame, Said, Statement};
use crate::verdict::{Verdict, VoidReason};
use crate::wish::{NotedWish, Wish, Wished};

/// What was stated and not heard of is stated again after this many periods.
const REPEAT_PERIODS: u64 = 2;

impl Group {
    /// Takes an entry that holds statements alone.
    pub(crate) fn hear_alone(&mut self, entry: &OrderedEntry<'_>, frame: &OrderedFrame) -> Verdict {
        let body = &entry.envelope.body;
        if body.expected_position.is_some() {
            return Verdict::Void(VoidReason::Misplaced);
        }
        self.hear_all(entry, frame);
        let mut verdict = Verdict::Noted;
        for statement in frame.statements.iter() {
            let Said::Wish { position, wish } = &statement.said else { continue };
            if self.record.status != GroupStatus::Active || body.topic != self.topic() {
                continue;
            }
            let age = entry.position.0.checked_sub(position.0);
            verdict = match self.judge_wish(statement, age, wish) {
                Ok(inbox) => self.note_wish(inbox, wish),
                Err(reason) => Verdict::Void(reason),
            };
        }
        verdict
    }

    /// Weighs what an entry states about commits.
    pub(crate) fn hear_all(&mut self, entry: &OrderedEntry<'_>, frame: &OrderedFrame) {
        for statement in frame.statements.iter() {
            match statement.said {
                Said::Ejected { position } => self.hear_ejected(entry, statement, position),
                Said::Entered { position, tag } => {
                    self.hear_entered(entry, statement, position, tag);
                }
                Said::Wish { .. } => {}
            }
        }
    }

    fn hear_ejected(
        &mut self,
        entry: &OrderedEntry<'_>,
        statement: &Statement,
        position: Position,
    ) {
        let topic = entry.envelope.body.topic;
        let forum = self.forum(topic);
        let mut contests = self.contests.iter_mut();
        let contest = contests.find(|it| it.topic == topic && it.position == position);
        let Some(contest) = contest else { return };
        if contest.witness(&statement.installation).is_none() || !forum.verifies(statement) {
            return;
        }
        if contest.note_ejected(&statement.installation, entry.period) == Effect::Noted {
            contest.write(&self.provider);
        }
    }

    fn hear_entered(
        &mut self,
        entry: &OrderedEntry<'_>,
        statement: &Statement,
        position: Position,
        tag: TranscriptTag,
    ) {
        let topic = entry.envelope.body.topic;
        // Nobody has followed what was not ordered yet.
        if position >= entry.position {
            return;
        }
        let proves = |contest: &Contest| {
            contest.topic == topic
                && contest.note_entered(&statement.installation, position) == Effect::Proved
        };
        let speaker = self.roster().inbox_of(&statement.installation);
        let vouches = self.record.voucher.is_some() && self.record.knows_tag(tag);
        let matters = self.contests.iter().any(proves) || (vouches && speaker.is_some());
        if !matters || !self.forum(topic).verifies(statement) {
            return;
        }
        if let Some(inbox) = speaker.filter(|_| vouches) {
            self.record.hear_of(inbox);
        }
        let (proved, open) = std::mem::take(&mut self.contests).into_iter().partition(proves);
        self.contests = open;
        let proved: Vec<Contest> = proved;
        proved.iter().for_each(|contest| contest.forget(&self.provider));
    }

    /// Whose wish it is, if it counts (MLS-031).
    fn judge_wish(
        &self,
        statement: &Statement,
        age: Option<u64>,
        wish: &Wish,
    ) -> Result<InboxId, VoidReason> {
        // It outlives the epoch in which it was made, or whoever commits faster than others can
        // wish would be out of reach; a removal ends the topic, so it cannot be repeated later.
        if age.is_none_or(|age| age == 0 || age > WISH_POSITIONS_MAX) {
            return Err(VoidReason::Statement);
        }
        let inbox = self.roster().inbox_of(&statement.installation);
        let inbox = inbox.filter(|_| self.forum(self.topic()).verifies(statement));
        let inbox = inbox.ok_or(VoidReason::Statement)?;
        let is_to_go = self.leaving().contains(&inbox) || self.wished().remove.contains(&inbox);
        let counts = wish.is_canonical()
            && !is_to_go
            && wish.is_permitted(inbox, &self.settings())
            && self.record.wishes.len() < WISHES_PER_EPOCH_MAX;
        counts.then_some(inbox).ok_or(VoidReason::NotPermitted)
    }

    fn note_wish(&mut self, inbox: InboxId, wish: &Wish) -> Verdict {
        let mut wishes = self.record.wishes.to_vec();
        let noted = NotedWish { inbox, wish: wish.clone() };
        if !wishes.contains(&noted) {
            wishes.push(noted);
        }
        self.record.wishes = BoundedVec::new(wishes).unwrap_or_default();
        self.record.hear_of(inbox);
        Verdict::Wished { inbox }
    }

    /// What is wished for in this epoch.
    pub(crate) fn wished(&self) -> Wished {
        Wished::of(self.record.wishes.iter())
    }

    /// The wishes that count in this epoch, oldest first, with whose they are (MLS-031).
    #[must_use]
    pub fn wishes(&self) -> Vec<(InboxId, Wish)> {
        self.record.wishes.iter().map(|it| (it.inbox, it.wish.clone())).collect()
    }

    /// Asks whoever commits next to change something, for the ordered lane (MLS-031).
    ///
    /// To be sent when a commit of ours lost a race; we go on trying meanwhile.
    ///
    /// # Errors
    /// [`CommitError`]: the installation may not wish for this, or not now.
    pub fn wish(
        &self,
        installation: &Installation,
        wish: Wish,
        context: &SealContext,
    ) -> Result<ClientEnvelope, CommitError> {
        if self.record.status != GroupStatus::Active {
            return Err(CommitError::Inactive);
        }
        let said = Said::Wish { position: self.record.position, wish: wish.clone() };
        let statement = self.forum(self.topic()).state(said, installation.key());
        self.judge_wish(&statement, Some(1), &wish).map_err(CommitError::WouldBeVoid)?;
        self.statement_envelope(self.topic(), statement, context).map_err(CommitError::from)
    }

    /// What this installation has to state now about a commit that is not proved: that it was
    /// ejected, or that it has followed; none if it has nothing to state or others are first
    /// (MLS-029).
    ///
    /// To be asked after each entry and in each period; `now` is the current period.
    /// The delta is to be stored before the envelope is sent.
    ///
    /// # Errors
    /// [`SealError`], which is a bug.
    pub fn testify(
        &mut self,
        installation: &Installation,
        now: Period,
        context: &SealContext,
    ) -> Result<Option<ClientEnvelope>, SealError> {
        let Some((place, said)) = self.due_statement(now) else { return Ok(None) };
        let Some(contest) = self.contests.get_mut(place) else { return Ok(None) };
        contest.stated_at = Some(now);
        contest.write(&self.provider);
        let topic = contest.topic;
        let statement = self.forum(topic).state(said, installation.key());
        self.statement_envelope(topic, statement, context).map(Some)
    }

    fn due_statement(&self, now: Period) -> Option<(usize, Said)> {
        let own = self.record.installation;
        let last = self.contests.len().checked_sub(1)?;
        let tag = self.record.tag_of(self.epoch())?;
        self.contests.iter().enumerate().find_map(|(place, contest)| {
            let stated = contest.stated_at.is_some_and(|at| now < at.plus(REPEAT_PERIODS));
            if stated || contest.witness(&own).is_none() {
                return None;
            }
            let said = match self.record.status {
                GroupStatus::Ejected if place == last => (!contest.has_ejected(self.record.inbox))
                    .then_some(Said::Ejected { position: contest.position })?,
                // Who was let back in proves nothing that was before by one member's word alone.
                GroupStatus::Active if !self.is_hearsay(contest) => {
                    let position = self.record.position_of(contest.topic)?;
                    contest.proves_now(&own, now).then_some(Said::Entered { position, tag })?
                }
                GroupStatus::Ejected => {
                    let position = contest.position;
                    contest.proves_now(&own, now).then_some(Said::Entered { position, tag })?
                }
                _ => return None,
            };
            Some((place, said))
        })
    }

    /// Whether a contest is about what this installation was ejected from, and it has only one
    /// member's word that it is where the others are (MLS-036).
    fn is_hearsay(&self, contest: &Contest) -> bool {
        self.record.voucher.is_some() && contest.epoch < self.record.joined_at()
    }

    /// What a commit states in passing: that its committer has followed all before it.
    pub(crate) fn statements_in_passing(&self, installation: &Installation) -> Vec<Statement> {
        let own = installation.public_key();
        let is_witness = |contest: &Contest| {
            let is_here = contest.topic == self.topic() && !self.is_hearsay(contest);
            is_here && contest.witness(&own).is_some()
        };
        let tag = self.record.tag_of(self.epoch());
        let tag = tag.filter(|_| self.contests.iter().any(is_witness));
        let position = self.record.position;
        let said = tag.map(|tag| Said::Entered { position, tag });
        let forum = self.forum(self.topic());
        said.map(|said| forum.state(said, installation.key())).into_iter().collect()
    }

    fn statement_envelope(
        &self,
        topic: Topic,
        statement: Statement,
        context: &SealContext,
    ) -> Result<ClientEnvelope, SealError> {
        let generation = self.record.generation_of(topic).ok_or(SealError::Library)?;
        let frame = OrderedFrame::new(vec![statement], Vec::new()).ok_or(SealError::Library)?;
        let body = self.ordered_body_on(topic, context, None);
        self.seal(&generation, body, &frame.to_wire())
    }

    pub(crate) fn forum(&self, topic: Topic) -> Forum {
        Forum { network: self.record.network, group: self.record.group, topic }
    }

    /// The topics on which something about commits is still to be said or heard.
    #[must_use]
    pub fn open_topics(&self) -> BTreeSet<Topic> {
        self.contests.iter().map(|contest| contest.topic).collect()
    }
}
