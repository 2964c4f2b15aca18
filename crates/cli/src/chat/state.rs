//! What is on the screen, and what a key does to it.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tidings_client::Content;
use tidings_client::{Conversation, ConversationId, ConversationState, Delivery, Message};

use super::command::SlashCommand;
use super::input::Input;
use crate::conversation::{remark, title};
use crate::message::{clock, summary};
use crate::people::People;

/// A conversation in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which one.
    pub id: ConversationId,
    /// What it is called.
    pub title: String,
    /// What is special about our part in it.
    pub remark: Option<&'static str>,
    /// Whether we can write to it.
    pub is_active: bool,
    /// How many messages came since it was last on the screen.
    pub unread: usize,
}

/// A message on the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was sent, hours and minutes.
    pub time: String,
    /// Who wrote it.
    pub who: String,
    /// Whether that was us.
    pub is_own: bool,
    /// What it says.
    pub text: String,
    /// How far it has come, if it is ours.
    pub mark: Mark,
}

/// How far a message of ours has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// It is not ours.
    None,
    /// It waits for the network.
    Waits,
    /// The network has it, and has not proved yet that it keeps it.
    Sending,
    /// Enough replicas have signed that they hold it.
    Sent,
    /// It will not be sent.
    Failed(String),
}

/// What a key asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing but drawing.
    Draw,
    /// Another conversation is selected.
    Selected,
    /// A text for the selected conversation.
    Send(ConversationId, String),
    /// A command.
    Command(SlashCommand),
    /// The end.
    Quit,
}

/// Everything on the screen.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The conversations, in their order.
    pub rows: Vec<Row>,
    pub(super) selected: Option<ConversationId>,
    /// The messages of the selected conversation, oldest first.
    pub lines: Vec<Line>,
    /// How many rows the messages are moved down, from the newest.
    pub scroll: usize,
    /// The line being typed.
    pub input: Input,
    /// Which node we are connected to.
    pub connection: Option<String>,
    /// Something to tell, until the next key.
    pub notice: Option<String>,
    /// The address under which others find us.
    pub own: String,
}

impl State {
    /// The selected conversation.
    #[must_use]
    pub fn selected(&self) -> Option<&Row> {
        self.rows.iter().find(|row| Some(row.id) == self.selected)
    }

    /// Selects a conversation.
    pub fn select(&mut self, id: ConversationId) {
        if self.selected != Some(id) {
            self.selected = Some(id);
            self.scroll = 0;
            self.lines.clear();
        }
        if let Some(row) = self.rows.iter_mut().find(|row| row.id == id) {
            row.unread = 0;
        }
    }

    /// Takes over the list of conversations; the first is selected if none is.
    pub fn show_conversations(&mut self, conversations: &[Conversation], people: &People) {
        let rows = conversations.iter().map(|it| Row {
            id: it.id,
            title: title(it, people),
            remark: remark(it),
            is_active: matches!(it.state, ConversationState::Active | ConversationState::Leaving),
            unread: self.rows.iter().find(|row| row.id == it.id).map_or(0, |row| row.unread),
        });
        self.rows = rows.collect();
        if self.selected().is_none()
            && let Some(first) = self.rows.first().map(|row| row.id)
        {
            self.select(first);
        }
    }

    /// Takes over the messages of the selected conversation.
    pub fn show_messages(&mut self, messages: &[Message], people: &People) {
        let shown = messages
            .iter()
            .filter(|message| !matches!(message.content, Content::ReadReceipt { .. }));
        self.lines = shown
            .map(|message| Line {
                time: clock(message.sent_at),
                who: people.name(message.sender),
                is_own: message.is_own(),
                text: summary(message),
                mark: match &message.delivery {
                    Delivery::Received => Mark::None,
                    Delivery::Queued => Mark::Waits,
                    Delivery::Sending => Mark::Sending,
                    Delivery::Sent => Mark::Sent,
                    Delivery::Failed { reason } => Mark::Failed(reason.clone()),
                },
            })
            .collect();
    }

    /// Counts a message that came in a conversation that is not on the screen.
    pub fn note_message(&mut self, id: ConversationId) {
        if self.selected != Some(id)
            && let Some(row) = self.rows.iter_mut().find(|row| row.id == id)
        {
            row.unread += 1;
        }
    }

    /// Puts pasted text into the line.
    pub fn paste(&mut self, text: &str) {
        text.chars().for_each(|character| self.input.insert(character));
    }

    /// What a key does.
    pub fn key(&mut self, key: KeyEvent) -> Action {
        self.notice = None;
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match (key.code, control) {
            (KeyCode::Esc, _) | (KeyCode::Char('c' | 'd'), true) => return Action::Quit,
            (KeyCode::Enter, _) => return self.enter(),
            (KeyCode::Down | KeyCode::Tab, _) | (KeyCode::Char('n'), true) => return self.step(1),
            (KeyCode::Up | KeyCode::BackTab, _) | (KeyCode::Char('p'), true) => {
                return self.step(-1);
            }
            (KeyCode::PageUp, _) => self.scroll = self.scroll.saturating_add(10),
            (KeyCode::PageDown, _) => self.scroll = self.scroll.saturating_sub(10),
            (KeyCode::Backspace, _) | (KeyCode::Char('h'), true) => self.input.backspace(),
            (KeyCode::Delete, _) => self.input.delete(),
            (KeyCode::Left, _) => self.input.left(),
            (KeyCode::Right, _) => self.input.right(),
            (KeyCode::Home, _) | (KeyCode::Char('a'), true) => self.input.home(),
            (KeyCode::End, _) | (KeyCode::Char('e'), true) => self.input.end(),
            (KeyCode::Char('w'), true) => self.input.delete_word(),
            (KeyCode::Char('u'), true) => {
                self.input.take();
            }
            (KeyCode::Char(character), false) => self.input.insert(character),
            _ => {}
        }
        Action::Draw
    }

    fn enter(&mut self) -> Action {
        let text = self.input.take();
        if text.is_empty() {
            return Action::Draw;
        }
        if text.starts_with('/') {
            return match SlashCommand::parse(&text) {
                Ok(SlashCommand::Quit) => Action::Quit,
                Ok(command) => Action::Command(command),
                Err(reason) => self.tell(reason),
            };
        }
        match self.selected() {
            None => self.tell("There is no conversation yet: /dm ADDRESS begins one.".into()),
            Some(row) if !row.is_active => {
                let reason = format!("You cannot write here: {}.", row.remark.unwrap_or("ended"));
                self.tell(reason)
            }
            Some(row) => {
                let action = Action::Send(row.id, text);
                self.scroll = 0;
                action
            }
        }
    }

    fn tell(&mut self, notice: String) -> Action {
        self.notice = Some(notice);
        Action::Draw
    }

    fn step(&mut self, by: isize) -> Action {
        let count = self.rows.len();
        let at = self.rows.iter().position(|row| Some(row.id) == self.selected).unwrap_or(0);
        let Some(next) = at.checked_add_signed(by).filter(|next| *next < count) else {
            return Action::Draw;
        };
        if let Some(id) = self.rows.get(next).map(|row| row.id) {
            self.select(id);
        }
        Action::Selected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u8, is_active: bool) -> Row {
        let remark = if is_active { None } else { Some("removed") };
        let (id, title) = (ConversationId([number; 32]), format!("person {number}"));
        Row { id, title, remark, is_active, unread: 0 }
    }

    fn state() -> State {
        let mut state = State { rows: vec![row(1, true), row(2, false)], ..State::default() };
        state.select(ConversationId([1; 32]));
        state
    }

    fn press(state: &mut State, code: KeyCode) -> Action {
        state.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn enter(state: &mut State, text: &str) -> Action {
        state.paste(text);
        press(state, KeyCode::Enter)
    }

    #[test]
    fn text_goes_to_the_selected_conversation() {
        let mut state = state();
        let sent = Action::Send(ConversationId([1; 32]), "hello".into());
        assert_eq!(enter(&mut state, " hello "), sent);
        assert_eq!(enter(&mut state, ""), Action::Draw);
        assert_eq!(enter(&mut state, "/help"), Action::Command(SlashCommand::Help));
        assert_eq!(enter(&mut state, "/quit"), Action::Quit);
    }

    #[test]
    fn conversations_are_stepped_through_and_ended_ones_are_for_reading() {
        let mut state = state();
        assert_eq!(press(&mut state, KeyCode::Up), Action::Draw);
        assert_eq!(press(&mut state, KeyCode::Down), Action::Selected);
        assert_eq!(state.selected().map(|row| row.id), Some(ConversationId([2; 32])));
        assert_eq!(enter(&mut state, "hello"), Action::Draw);
        assert!(state.notice.as_deref().unwrap_or_default().contains("removed"));
    }

    #[test]
    fn messages_elsewhere_are_counted_until_looked_at() {
        let mut state = state();
        state.note_message(ConversationId([1; 32]));
        state.note_message(ConversationId([2; 32]));
        assert_eq!([state.rows[0].unread, state.rows[1].unread], [0, 1]);
        press(&mut state, KeyCode::Down);
        assert_eq!(state.rows[1].unread, 0);
    }

    #[test]
    fn escape_and_control_c_quit() {
        let mut state = state();
        assert_eq!(press(&mut state, KeyCode::Esc), Action::Quit);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(state.key(control_c), Action::Quit);
    }
}
