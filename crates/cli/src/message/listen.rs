//! `tidings listen`: what happens, as JSON, one event per line, each message once.

use anyhow::Result;
use clap::Args;
use tidings_client::{Client, Event, Listener};

use crate::home::Home;
use crate::output::Output;

/// How many stored messages are read at once.
const PAGE: u32 = 200;

/// What to listen to.
#[derive(Debug, Args)]
pub struct Listen {
    /// Begin with the stored messages after the one with this number; 0 for all of them
    #[arg(long, value_name = "NUMBER")]
    pub after: Option<u64>,
    /// Stop after so many messages
    #[arg(long, value_name = "COUNT")]
    pub messages: Option<u64>,
    /// Only messages from others and our own, no other events
    #[arg(long)]
    pub only_messages: bool,
}

/// Prints events until SIGTERM, Ctrl-C, or as many messages as asked for.
///
/// A script that remembers the number of the last message it has dealt with, and passes it in
/// `--after`, sees every message exactly once.
///
/// # Errors
/// When the store cannot be opened or standard output is closed.
pub async fn listen(options: &Listen, home: &Home) -> Result<()> {
    let client = home.open()?;
    let stop = crate::shutdown::signalled()?;
    tokio::pin!(stop);
    // Listening begins before the store is read, so that nothing falls in between.
    let mut listener = client.listen();
    let mut printer = Printer::new(options);
    if let Some(after) = options.after {
        printer.stored(&client, after)?;
    }
    while !printer.is_done() {
        tokio::select! {
            () = &mut stop => break,
            event = next(&mut listener) => match event {
                Some(event) => printer.event(&event)?,
                None => break,
            },
        }
    }
    Ok(())
}

async fn next(listener: &mut Listener) -> Option<Event> {
    listener.next().await
}

/// Prints each message once, and counts.
struct Printer {
    output: Output,
    only_messages: bool,
    /// The last message that was read from the store.
    read_to: u64,
    left: Option<u64>,
}

impl Printer {
    fn new(options: &Listen) -> Self {
        Self {
            output: Output { json: true },
            only_messages: options.only_messages,
            read_to: 0,
            left: options.messages,
        }
    }

    fn is_done(&self) -> bool {
        self.left == Some(0)
    }

    fn stored(&mut self, client: &Client, after: u64) -> Result<()> {
        self.read_to = after;
        while !self.is_done() {
            let page = client.messages_since(self.read_to, PAGE)?;
            let Some(last) = page.last().map(|message| message.number) else { break };
            for message in page {
                self.print_message(&Event::Message(message))?;
            }
            self.read_to = last;
        }
        Ok(())
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Message(message) if message.number <= self.read_to => Ok(()),
            Event::Message(_) => self.print_message(event),
            _ if self.only_messages => Ok(()),
            _ => self.print(event),
        }
    }

    fn print_message(&mut self, event: &Event) -> Result<()> {
        if self.is_done() {
            return Ok(());
        }
        self.left = self.left.map(|left| left - 1);
        self.print(event)
    }

    fn print(&self, event: &Event) -> Result<()> {
        self.output.item(event, |_| String::new())
    }
}
