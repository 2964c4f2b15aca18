//! Several providers of one chain, of which some may lie, stall or lag.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use alloy::eips::BlockId;
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::client::RpcClient;
use alloy::transports::TransportError;
use alloy::transports::http::{Http, reqwest};
use tokio::task::JoinSet;

use crate::ChainError;

/// How long a provider may take for one request.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// How many blocks are asked about one after the other before there is no answer.
const ATTEMPTS_MAX: usize = 3;

/// Providers of one chain. What more than half of them say alike is believed; with one, it is
/// trusted.
#[derive(Debug, Clone)]
pub struct Endpoints {
    providers: Vec<DynProvider>,
}

impl Endpoints {
    /// Providers at these HTTP URLs.
    ///
    /// # Errors
    /// [`ChainError::Url`] for text that is no HTTP URL, and [`ChainError::NoEndpoint`].
    pub fn connect(urls: &[String]) -> Result<Self, ChainError> {
        Self::connect_within(urls, TIMEOUT_DEFAULT)
    }

    /// The same, with another time that a provider may take for one request.
    ///
    /// # Errors
    /// [`ChainError::Url`] for text that is no HTTP URL, and [`ChainError::NoEndpoint`].
    pub fn connect_within(urls: &[String], timeout: Duration) -> Result<Self, ChainError> {
        let client = reqwest::Client::builder().timeout(timeout).build();
        let client = client.map_err(|error| url_error("client", &error))?;
        let providers: Vec<_> = urls
            .iter()
            .map(|url| provider(url, client.clone()))
            .collect::<Result<_, ChainError>>()?;
        if providers.is_empty() {
            return Err(ChainError::NoEndpoint);
        }
        Ok(Self { providers })
    }

    /// How many must say the same: more than half.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.providers.len() / 2 + 1
    }

    /// All providers, for what is sent rather than asked.
    #[must_use]
    pub fn all(&self) -> &[DynProvider] {
        &self.providers
    }

    /// The answer that a quorum of the providers gives alike to `ask`, which must not depend on
    /// when it is asked.
    ///
    /// # Errors
    /// [`ChainError::Disagreement`] when no answer has a quorum.
    pub async fn agreed<T, E, F, A>(&self, ask: F) -> Result<T, ChainError>
    where
        T: PartialEq + Send + 'static,
        E: Display + Send + 'static,
        F: Fn(DynProvider) -> A,
        A: Future<Output = Result<T, E>> + Send + 'static,
    {
        let mut asking = self.asking(ask);
        let (mut answers, mut reason): (Vec<(T, usize)>, _) = (Vec::new(), None);
        while let Some(answer) = asking.join_next().await {
            match answer.unwrap_or_else(|error| Err(error.to_string())) {
                Err(said) => reason = Some(said),
                Ok(answer) => {
                    let known = answers.iter().position(|(known, _)| *known == answer);
                    let place = known.unwrap_or(answers.len());
                    if known.is_none() {
                        answers.push((answer, 0));
                    }
                    let (_, count) = &mut answers[place];
                    *count += 1;
                    if *count >= self.quorum() {
                        return Ok(answers.swap_remove(place).0);
                    }
                }
            }
        }
        Err(ChainError::Disagreement {
            asked: self.providers.len(),
            agreed: answers.iter().map(|(_, count)| *count).max().unwrap_or(0),
            needed: self.quorum(),
            reason: reason.unwrap_or_else(|| "their answers differ".into()),
        })
    }

    /// The height of the newest block that a quorum of the providers has.
    ///
    /// # Errors
    /// [`ChainError::Disagreement`] when fewer than a quorum answer.
    pub async fn height(&self) -> Result<u64, ChainError> {
        self.reached(|provider| async move { provider.get_block_number().await }).await
    }

    /// The answer that a quorum gives alike as of the newest block: `ask` is to ask everything as
    /// of the block that it is given.
    ///
    /// While a block is made, and where several machines answer for one provider, what is said of
    /// the newest may be partly of the next: without an answer it is asked again of that.
    ///
    /// # Errors
    /// [`ChainError::Disagreement`] when no answer has a quorum.
    pub async fn agreed_at_newest<T, E, F, A>(&self, ask: F) -> Result<T, ChainError>
    where
        T: PartialEq + Send + 'static,
        E: Display + Send + 'static,
        F: Fn(DynProvider, BlockId) -> A,
        A: Future<Output = Result<T, E>> + Send + 'static,
    {
        let mut height = self.height().await?;
        for _ in 1..ATTEMPTS_MAX {
            let block = BlockId::number(height);
            let answer = self.agreed(|provider| ask(provider, block)).await;
            if answer.is_ok() {
                return answer;
            }
            match self.height().await {
                Ok(newer) if newer != height => height = newer,
                _ => return answer,
            }
        }
        self.agreed(|provider| ask(provider, BlockId::number(height))).await
    }

    /// The largest number that a quorum of the providers has reached, as they say in answer to
    /// `ask`, such as the newest block: a minority can neither hold it back nor push it on.
    ///
    /// # Errors
    /// [`ChainError::Disagreement`] when fewer than a quorum answer.
    pub async fn reached<E, F, A>(&self, ask: F) -> Result<u64, ChainError>
    where
        E: Display + Send + 'static,
        F: Fn(DynProvider) -> A,
        A: Future<Output = Result<u64, E>> + Send + 'static,
    {
        let mut asking = self.asking(ask);
        let (mut numbers, mut reason) = (Vec::new(), String::new());
        while let Some(answer) = asking.join_next().await {
            match answer.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(number) => numbers.push(number),
                Err(said) => reason = said,
            }
        }
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        let disagreement = ChainError::Disagreement {
            asked: self.providers.len(),
            agreed: numbers.len(),
            needed: self.quorum(),
            reason,
        };
        numbers.get(self.quorum() - 1).copied().ok_or(disagreement)
    }

    fn asking<T, E, F, A>(&self, ask: F) -> JoinSet<Result<T, String>>
    where
        T: Send + 'static,
        E: Display + Send + 'static,
        F: Fn(DynProvider) -> A,
        A: Future<Output = Result<T, E>> + Send + 'static,
    {
        let mut asking = JoinSet::new();
        for provider in &self.providers {
            // Each request in it has a time of its own.
            let asked = ask(provider.clone());
            asking.spawn(async move { asked.await.map_err(|error| brief(&error)) });
        }
        asking
    }
}

/// The longest part of what a provider says that is repeated, in characters.
const SAID_CHARACTERS_MAX: usize = 200;

/// What a provider or its failure says, short, on one line, and without the provider's address,
/// which may hold a password.
pub(crate) fn brief(said: &dyn Display) -> String {
    let said = said.to_string();
    let words = said.split_whitespace().map(|word| match word.contains("://") {
        true => "(address)",
        false => word,
    });
    let line = words.collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(SAID_CHARACTERS_MAX).collect()
}

/// The EIP-155 id of a provider's chain.
///
/// # Errors
/// When the provider does not answer.
pub async fn chain_id(provider: DynProvider) -> Result<u64, TransportError> {
    provider.get_chain_id().await
}

fn provider(url: &str, client: reqwest::Client) -> Result<DynProvider, ChainError> {
    let parsed = reqwest::Url::parse(url).map_err(|error| url_error(url, &error))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(url_error(url, &"the scheme is neither http nor https"));
    }
    let is_local = matches!(parsed.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    let client = RpcClient::new(Http::with_client(client, parsed), is_local);
    Ok(ProviderBuilder::new().disable_recommended_fillers().connect_client(client).erased())
}

/// The part of a URL that is no secret.
fn host(url: &str) -> String {
    let parsed = reqwest::Url::parse(url).ok();
    parsed.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| "(address)".into())
}

fn url_error(url: &str, reason: &dyn Display) -> ChainError {
    ChainError::Url { url: host(url), reason: brief(reason) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_providers_say_is_short_and_tells_no_secret() {
        let said = "error sending request for url (https://rpc.example/v3/SECRET)\u{1b}[31m\nx";
        let told = brief(&said);
        assert!(
            !told.contains("SECRET") && !told.contains('\n') && !told.contains('\u{1b}'),
            "{told}"
        );
        assert_eq!(brief(&"x".repeat(10_000)).len(), SAID_CHARACTERS_MAX);
        let refused = url_error("ws://user:SECRET@rpc.example/SECRET", &"the scheme");
        assert!(!refused.to_string().contains("SECRET"), "{refused}");
    }
}
