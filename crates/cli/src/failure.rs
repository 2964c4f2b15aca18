//! How a command fails: what went wrong, what to do next, and the exit code.

use std::io::ErrorKind;
use std::process::ExitCode;

use serde_json::json;
use tidings_client::{CallerError, ClientError, StoreError};
use tidings_types::ErrorCode;

/// The caller asks for something that makes no sense; exit code 2, as for a misspelt option.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Says on standard error what went wrong and what to do next; the exit code to end with.
pub fn report(error: &anyhow::Error, json: bool) -> ExitCode {
    if reader_went_away(error) {
        return ExitCode::SUCCESS;
    }
    let client = error.downcast_ref::<ClientError>();
    let advice = client.and_then(advice).or_else(|| caller(error));
    if json {
        let code = client.and_then(ClientError::code).map(ErrorCode::as_str);
        let retryable = client.is_some_and(ClientError::retryable);
        let text = format!("{error:#}");
        let report =
            json!({ "error": text, "code": code, "retryable": retryable, "advice": advice });
        eprintln!("{report}");
    } else {
        eprintln!("tidings: {error:#}");
        if let Some(advice) = advice {
            eprintln!("{advice}");
        }
    }
    match error.downcast_ref::<UsageError>() {
        Some(_) => ExitCode::from(2),
        None => ExitCode::FAILURE,
    }
}

/// Whether whoever read our output has seen enough, as `head` does.
fn reader_went_away(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// What the user can do about it.
fn advice(error: &ClientError) -> Option<&'static str> {
    match error {
        ClientError::Caller(error) => caller_advice(error),
        ClientError::Store(error) => store_advice(error),
        ClientError::Refused { code } => refusal_advice(*code),
        ClientError::Unreachable { .. } => Some(
            "Check that the network runs (`cargo xtask devnet status` for one on this machine) and \
             that this machine reaches it.",
        ),
        ClientError::Unverified(_) => Some(
            "A server answered with something that does not verify; another one may do better, so \
             try again.",
        ),
        ClientError::Identity(_) => {
            Some("`tidings inbox show` says who belongs to the inbox and who may change it.")
        }
        ClientError::Group(_) => error
            .retryable()
            .then_some("Try again.")
            .or(Some("`tidings group info` says who may do what.")),
    }
}

fn caller(error: &anyhow::Error) -> Option<&'static str> {
    error.downcast_ref::<CallerError>().and_then(caller_advice)
}

fn caller_advice(error: &CallerError) -> Option<&'static str> {
    Some(match error {
        CallerError::NoInbox => "Make one with `tidings inbox create`.",
        CallerError::HasInbox(_) => "`tidings inbox show` shows it; use --home for another one.",
        CallerError::UnknownConversation(_) => "`tidings conversations` lists them.",
        CallerError::NotActive { .. } => "Ask a member to add you again.",
        CallerError::UnknownRecipient(_) => {
            "Ask them for the address or inbox that their `tidings inbox show` prints."
        }
        CallerError::NameNotResolvable(_) => "Use their address (0x…) or inbox id.",
        CallerError::NotReachable(_) => {
            "Their program publishes key packages when it runs; ask them to open it once."
        }
        CallerError::NoDraft => {
            "Begin with `tidings inbox create --wallet-address`, `add-wallet` or `revoke`."
        }
        CallerError::NoLocalWallet => "Use --wallet-key-file, or sign with your own wallet.",
        _ => return None,
    })
}

fn store_advice(error: &StoreError) -> Option<&'static str> {
    Some(match error {
        StoreError::Absent => {
            "Make an inbox with `tidings inbox create`, or name the folder of yours with --home."
        }
        StoreError::InUse => {
            "Close the other program, perhaps `tidings chat` or `listen`, or use another --home."
        }
        StoreError::WrongKey | StoreError::PassphraseNeeded => {
            "Name a file that holds the passphrase with --passphrase-file."
        }
        StoreError::KeyFileNeeded => "Leave --passphrase-file out.",
        StoreError::NewerFormat { .. } => "Use the newer version of the program.",
        _ => return None,
    })
}

fn refusal_advice(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::Unauthorized => Some("The gateway does not know the API key; ask for another."),
        ErrorCode::QuotaExceeded => Some("Wait for the gateway's next window, or ask for more."),
        ErrorCode::InsufficientFunds => {
            Some("The gateway's payer is out of money; its operator can put some in.")
        }
        code if code.retryable() => Some("Try again in a moment."),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do_next() {
        let check = |error: ClientError, expected: &str| {
            let advice = advice(&error).unwrap_or_default();
            assert!(advice.contains(expected), "{error}: {advice}");
        };
        check(StoreError::Absent.into(), "inbox create");
        check(StoreError::InUse.into(), "--home");
        check(CallerError::NoInbox.into(), "inbox create");
        check(ClientError::Refused { code: ErrorCode::Unauthorized }, "API key");
        check(ClientError::Unreachable { reason: "x".into() }, "devnet status");
    }
}
