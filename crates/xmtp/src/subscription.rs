//! What a stream has been sent and what it is to be sent next.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::index::{Cursor, IndexError, Reader, Stored};
use crate::topic::XmtpTopic;

/// Envelopes that one read takes from the index.
const PAGE_ENVELOPES: usize = 100;

/// Bytes that one read takes from the index, unless one envelope alone has more.
const PAGE_BYTES: usize = 256 << 10;

/// Topics with a cursor each.
#[derive(Debug)]
pub struct Subscription {
    reader: Reader,
    topics: BTreeMap<XmtpTopic, Cursor>,
    live: Receiver<Arc<Vec<Stored>>>,
    /// Topics that are to be read from the index.
    behind: Vec<XmtpTopic>,
}

impl Subscription {
    /// Follows topics from their cursors; `live` must have been taken before anything is read.
    #[must_use]
    pub fn new(
        reader: Reader,
        topics: BTreeMap<XmtpTopic, Cursor>,
        live: Receiver<Arc<Vec<Stored>>>,
    ) -> Self {
        let behind = topics.keys().cloned().collect();
        Self { reader, topics, live, behind }
    }

    /// The next page of what is stored; none when all topics have been read.
    ///
    /// # Errors
    /// [`IndexError`]
    pub async fn next_page(&mut self) -> Result<Option<Vec<Stored>>, IndexError> {
        while let Some(topic) = self.behind.last() {
            let cursor = self.topics.entry(topic.clone()).or_default();
            let topics = std::slice::from_ref(topic);
            let page = self.reader.after(topics, cursor, PAGE_ENVELOPES, PAGE_BYTES).await?;
            if page.is_empty() {
                self.behind.pop();
                continue;
            }
            page.iter().for_each(|stored| advance(cursor, stored));
            return Ok(Some(page));
        }
        Ok(None)
    }

    /// The next live envelopes of the topics; none when some are to be read from the index again,
    /// or the edge stops.
    pub async fn next_live(&mut self) -> Option<Vec<Stored>> {
        loop {
            match self.live.recv().await {
                Ok(stretch) => {
                    let news = self.news(&stretch);
                    if !news.is_empty() {
                        return Some(news);
                    }
                }
                Err(RecvError::Lagged(_)) => {
                    self.behind = self.topics.keys().cloned().collect();
                    return None;
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Whether something is to be read from the index.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    fn news(&mut self, stretch: &[Stored]) -> Vec<Stored> {
        let mut news = Vec::new();
        for stored in stretch {
            let Ok(topic) = XmtpTopic::parse(&stored.topic) else { continue };
            let Some(cursor) = self.topics.get_mut(&topic) else { continue };
            let seen = cursor.get(&stored.mark.originator).copied().unwrap_or_default();
            if stored.mark.sequence > seen {
                advance(cursor, stored);
                news.push(stored.clone());
            }
        }
        news
    }
}

fn advance(cursor: &mut Cursor, stored: &Stored) {
    let seen = cursor.entry(stored.mark.originator).or_default();
    *seen = (*seen).max(stored.mark.sequence);
}
