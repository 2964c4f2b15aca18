//! `tidings chat`: a terminal screen with conversations, messages and a line to type on.

mod command;
mod input;
mod state;
mod view;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io::IsTerminal;
use std::pin::Pin;
use std::task::Poll;

use anyhow::Result;
use crossterm::event::{
    DisableBracketedPaste, EnableBracketedPaste, Event as TerminalEvent, EventStream, KeyEventKind,
};
use crossterm::execute;
use futures_util::StreamExt;
use ratatui::DefaultTerminal;
use tidings_client::{CallerError, Client, Consent, ConversationId, Event, GroupPolicy, Recipient};
use tidings_types::InboxId;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::failure::UsageError;
use crate::home::Home;
use crate::people::{People, wallet_of};
use crate::{conversation, shutdown};
use command::{HELP, SlashCommand};
use state::{Action, State};

/// How many messages of a conversation can be scrolled through.
const MESSAGES_SHOWN: u32 = 500;

/// What a task has to tell the screen.
enum Told {
    /// A task is done, or failed; nothing to say if it went as asked.
    Done(Option<String>),
    /// A conversation is there and is to be shown.
    Opened(ConversationId),
    /// The name of an inbox.
    Name(InboxId, String),
}

/// The screen and what stands behind it.
struct Chat {
    client: Client,
    state: State,
    people: People,
    /// Inboxes whose names have been asked for.
    asked: BTreeSet<InboxId>,
    tell: UnboundedSender<Told>,
}

/// Shows the screen until the user leaves it.
///
/// # Errors
/// When there is no terminal or no inbox, or the store fails.
pub async fn run(word: Option<&str>, home: &Home) -> Result<()> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        let text = "chat needs a terminal; scripts use `tidings listen` and `tidings send`";
        return Err(UsageError(text.into()).into());
    }
    let client = home.open()?;
    let own = client.inbox_id()?.ok_or(CallerError::NoInbox)?;
    let first = match word {
        Some(word) => Some(conversation::find(&client, word).await?),
        None => None,
    };
    let (tell, told) = unbounded_channel();
    let mut chat = Chat {
        client,
        state: State::default(),
        people: People::new(Some(own)),
        asked: BTreeSet::new(),
        tell,
    };
    chat.state.own = match chat.client.wallet_address()? {
        Some(address) => address.to_string(),
        None => own.to_string(),
    };
    if let Some(id) = first {
        chat.state.select(id);
    }
    let stop = shutdown::signalled()?;
    chat.run(Screen::take()?, told, stop).await
}

/// A terminal that is given back when this is dropped.
struct Screen(DefaultTerminal);

impl Screen {
    /// Takes the terminal over; from here on a panic, too, gives it back as it was.
    fn take() -> Result<Self> {
        let screen = Self(ratatui::try_init()?);
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let _ = execute!(std::io::stdout(), DisableBracketedPaste);
            hook(panic);
        }));
        execute!(std::io::stdout(), EnableBracketedPaste)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Where the terminal is gone, there is nothing to give back.
        let _ = execute!(std::io::stdout(), DisableBracketedPaste);
        ratatui::restore();
    }
}

impl Chat {
    async fn run(
        &mut self,
        mut screen: Screen,
        mut told: UnboundedReceiver<Told>,
        stop: impl Future<Output = ()>,
    ) -> Result<()> {
        tokio::pin!(stop);
        let mut listener = self.client.listen();
        let mut keys = EventStream::new();
        loop {
            self.reload()?;
            screen.0.draw(|frame| view::draw(frame, &self.state))?;
            tokio::select! {
                () = &mut stop => return Ok(()),
                event = keys.next() => match event {
                    None => return Ok(()),
                    Some(event) => {
                        if self.terminal(event?).await? {
                            return Ok(());
                        }
                    }
                },
                event = listener.next() => {
                    let Some(event) = event else { return Ok(()) };
                    self.event(&event);
                    // A catch-up brings many events; one drawing shows them all.
                    while let Some(event) = listener.try_next() {
                        self.event(&event);
                    }
                }
                Some(told) = told.recv() => self.told(told),
            }
        }
    }

    /// Takes over what the store holds.
    fn reload(&mut self) -> Result<()> {
        let mut conversations = self.client.conversations()?;
        conversations.retain(|it| it.consent != Consent::Denied);
        self.state.show_conversations(&conversations, &self.people);
        for peer in conversations.iter().filter_map(|it| it.peer) {
            self.look_up(peer);
        }
        if let Some(id) = self.state.selected().map(|row| row.id) {
            let messages = self.client.latest_messages(id, MESSAGES_SHOWN)?;
            for message in &messages {
                self.look_up(message.sender);
            }
            self.state.show_messages(&messages, &self.people);
        }
        Ok(())
    }

    /// Asks for the name of an inbox, once.
    fn look_up(&mut self, inbox: InboxId) {
        if !self.people.is_unknown(inbox) || !self.asked.insert(inbox) {
            return;
        }
        let (client, tell) = (self.client.clone(), self.tell.clone());
        tokio::spawn(async move {
            if let Some(name) = wallet_of(&client, inbox).await {
                // Nobody listens once the screen is gone.
                let _ = tell.send(Told::Name(inbox, name));
            }
        });
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Message(message) if !message.is_own() => {
                self.state.note_message(message.conversation);
            }
            Event::Connected { node } => {
                let nodes = self.client.nodes().into_iter();
                let name = nodes.filter(|(id, ..)| id == node).map(|(_, name, _)| name).next();
                self.state.connection = Some(name.unwrap_or_else(|| format!("node {node}")));
            }
            Event::Disconnected { .. } => self.state.connection = None,
            Event::Gone { reason, .. } => self.state.notice = Some(reason.clone()),
            Event::Ejected { .. } => {
                let notice = "a change could not be followed here; getting back in";
                self.state.notice = Some(notice.to_owned());
            }
            Event::Returned { .. } => self.state.notice = Some("back in".to_owned()),
            Event::SetAside { reason, .. } => {
                self.state.notice = Some(format!("An entry was set aside: {reason}"));
            }
            _ => {}
        }
    }

    fn told(&mut self, told: Told) {
        match told {
            Told::Done(notice) => self.state.notice = notice,
            Told::Opened(id) => {
                self.state.notice = None;
                self.state.select(id);
            }
            Told::Name(inbox, name) => self.people.learn(inbox, name),
        }
    }

    /// What the terminal reports; whether that is the end.
    async fn terminal(&mut self, event: TerminalEvent) -> Result<bool> {
        let action = match event {
            TerminalEvent::Key(key) if key.kind != KeyEventKind::Release => self.state.key(key),
            TerminalEvent::Paste(text) => {
                self.state.paste(&text);
                Action::Draw
            }
            _ => Action::Draw,
        };
        match action {
            Action::Quit => return Ok(true),
            Action::Draw | Action::Selected => {}
            Action::Send(id, text) => {
                conversation::accept(&self.client, id)?;
                self.send(id, text).await;
            }
            Action::Command(command) => self.command(command)?,
        }
        Ok(false)
    }

    /// Sends in the background; the message is in the store, and so on the screen, at once.
    async fn send(&mut self, id: ConversationId, text: String) {
        let (client, tell) = (self.client.clone(), self.tell.clone());
        let mut sending: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
            let notice = client.send_text(id, &text).await.err().map(|error| error.to_string());
            let _ = tell.send(Told::Done(notice));
        });
        let finished = poll_fn(|context| Poll::Ready(sending.as_mut().poll(context).is_ready()));
        if !finished.await {
            tokio::spawn(sending);
        }
    }

    fn command(&mut self, command: SlashCommand) -> Result<()> {
        let selected = self.state.selected().map(|row| row.id);
        let conversation = || selected.ok_or("There is no conversation on the screen.".to_owned());
        let client = self.client.clone();
        match command {
            SlashCommand::Help => self.state.notice = Some(HELP.into()),
            SlashCommand::Allow => self.decide(selected, Consent::Allowed)?,
            SlashCommand::Deny => self.decide(selected, Consent::Denied)?,
            SlashCommand::Quit => {}
            SlashCommand::Dm(who) => self.open(async move { client.dm(&who).await }),
            SlashCommand::Group(name, members) => self.open(async move {
                client.group_create(&name, "", GroupPolicy::OPEN, &members).await
            }),
            SlashCommand::Add(members) => {
                let id = conversation();
                self.change(async move { add(&client, id?, &members).await });
            }
            SlashCommand::Remove(members) => {
                let id = conversation();
                self.change(async move {
                    let changed = client.group_remove(id?, &members).await;
                    changed.map_err(|error| error.to_string())
                });
            }
            SlashCommand::Leave => {
                let id = conversation();
                self.change(async move {
                    client.group_leave(id?).await.map_err(|error| error.to_string())
                });
            }
        }
        Ok(())
    }

    fn decide(&mut self, selected: Option<ConversationId>, consent: Consent) -> Result<()> {
        let conversations = self.client.conversations()?;
        let peer = conversations.iter().find(|it| Some(it.id) == selected).and_then(|it| it.peer);
        match peer {
            Some(peer) => self.client.set_consent(peer, consent)?,
            None => self.state.notice = Some("There is nobody to decide about.".into()),
        }
        Ok(())
    }

    /// Shows the conversation that a task comes up with.
    fn open<E: std::fmt::Display>(
        &mut self,
        task: impl Future<Output = Result<ConversationId, E>> + Send + 'static,
    ) {
        self.state.notice = Some("One moment…".into());
        let tell = self.tell.clone();
        tokio::spawn(async move {
            let told = match task.await {
                Ok(id) => Told::Opened(id),
                Err(error) => Told::Done(Some(error.to_string())),
            };
            let _ = tell.send(told);
        });
    }

    /// Says how a task ended.
    fn change(&mut self, task: impl Future<Output = Result<(), String>> + Send + 'static) {
        self.state.notice = Some("One moment…".into());
        let tell = self.tell.clone();
        tokio::spawn(async move {
            let told = match task.await {
                Ok(()) => Told::Done(Some("Done.".into())),
                Err(error) => Told::Done(Some(error)),
            };
            let _ = tell.send(told);
        });
    }
}

async fn add(client: &Client, id: ConversationId, members: &[Recipient]) -> Result<(), String> {
    client.group_add(id, members).await.map_err(|error| error.to_string())
}
