//! What can be typed after a slash.

use tidings_client::Recipient;

/// Something to do besides sending text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlashCommand {
    /// Open the conversation with somebody.
    Dm(Recipient),
    /// Make a group.
    Group(String, Vec<Recipient>),
    /// Add people to the group on the screen.
    Add(Vec<Recipient>),
    /// Remove people from it.
    Remove(Vec<Recipient>),
    /// Leave it.
    Leave,
    /// The person at the other end is welcome.
    Allow,
    /// The person at the other end is not.
    Deny,
    /// Show what can be typed.
    Help,
    /// End.
    Quit,
}

/// What can be typed, on one line.
pub const HELP: &str = "/dm ADDRESS  /group NAME ADDRESS…  /add ADDRESS  /remove ADDRESS  /leave  \
                        /allow  /deny  /quit";

impl SlashCommand {
    /// Reads a line that begins with a slash.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.trim_start_matches('/').split_whitespace();
        let name = words.next().unwrap_or_default();
        let rest: Vec<&str> = words.collect();
        match (name, rest.as_slice()) {
            ("dm", [who]) => Ok(Self::Dm(recipient(who)?)),
            ("dm", _) => Err("/dm ADDRESS".into()),
            ("group", [name, members @ ..]) => {
                Ok(Self::Group((*name).to_owned(), recipients(members)?))
            }
            ("group", []) => Err("/group NAME ADDRESS…".into()),
            ("add", [_, ..]) => Ok(Self::Add(recipients(&rest)?)),
            ("add", []) => Err("/add ADDRESS…".into()),
            ("remove", [_, ..]) => Ok(Self::Remove(recipients(&rest)?)),
            ("remove", []) => Err("/remove ADDRESS…".into()),
            ("leave", []) => Ok(Self::Leave),
            ("allow", []) => Ok(Self::Allow),
            ("deny", []) => Ok(Self::Deny),
            ("help", _) => Ok(Self::Help),
            ("quit", []) => Ok(Self::Quit),
            _ => Err(format!("/{name} is nothing to do here; /help says what is")),
        }
    }
}

fn recipients(words: &[&str]) -> Result<Vec<Recipient>, String> {
    words.iter().map(|word| recipient(word)).collect()
}

fn recipient(word: &str) -> Result<Recipient, String> {
    word.parse().map_err(|error| format!("{word}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_commands() {
        let address = format!("0x{}", "ab".repeat(20));
        let who: Recipient = address.parse().unwrap();
        let check = |line: String, expected: SlashCommand| {
            assert_eq!(SlashCommand::parse(&line), Ok(expected));
        };
        check(format!("/dm {address}"), SlashCommand::Dm(who.clone()));
        check(format!("/group us {address}"), SlashCommand::Group("us".into(), vec![who.clone()]));
        check(format!("/add {address} {address}"), SlashCommand::Add(vec![who.clone(), who]));
        check("/quit".into(), SlashCommand::Quit);
    }

    #[test]
    fn other_lines_say_what_is_missing() {
        for (line, expected) in [
            ("/dm", "/dm ADDRESS"),
            ("/dm 0x12", "0x12"),
            ("/fly", "/help"),
            ("/leave now", "/help"),
        ] {
            let error = SlashCommand::parse(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
