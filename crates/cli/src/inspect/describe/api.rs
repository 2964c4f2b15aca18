//! Requests, responses and frames of the HTTP API.

use tidings_envelope::ParsedEnvelope;
use tidings_envelope::api::{
    BlockPage, LogCursor, LogPage, NewestQuery, NodeFrame, PublishRequest, PublishResponse,
    PublishResult, SendRequest, SendResponse, SendResult, SubscriberFrame, Subscription,
    TopicCursor, TopicEntry, TopicPage, TopicQuery,
};

use super::Describe;
use crate::inspect::tree::{Tree, record};

impl Describe for PublishRequest {
    fn describe(&self) -> Tree {
        let envelopes = self.envelopes.iter().map(|bytes| match ParsedEnvelope::parse(bytes) {
            Ok(parsed) => parsed.envelope().describe(),
            Err(code) => record! { "refused" => code, "bytes" => Tree::opaque(bytes) },
        });
        record! {
            "version" => self.version,
            "level" => self.level,
            "batch" => self.batch,
            "ids" => self.ids,
            "envelopes" => Tree::List(envelopes.collect()),
            "ids_are_signed" => if self.ids_are_signed() { "yes" } else { "no" },
        }
    }
}

impl Describe for PublishResult {
    fn describe(&self) -> Tree {
        match self {
            Self::Stored { header, path, checkpoint } => {
                let stored = record! {
                    "header" => *header,
                    "path" => *path,
                    "checkpoint" => *checkpoint,
                };
                record! { "stored" => stored }
            }
            Self::Ordered(receipt) => record! { "ordered" => *receipt },
            Self::Refused { code } => record! { "refused" => *code },
        }
    }
}

impl Describe for PublishResponse {
    fn describe(&self) -> Tree {
        record! {
            "version" => self.version,
            "checkpoints" => self.checkpoints,
            "results" => self.results,
        }
    }
}

impl Describe for SendRequest {
    fn describe(&self) -> Tree {
        record! {
            "version" => self.version,
            "level" => self.level,
            "envelopes" => self.envelopes,
        }
    }
}

impl Describe for SendResult {
    fn describe(&self) -> Tree {
        match self {
            Self::Stored(receipt) => record! { "stored" => *receipt },
            Self::Ordered(receipt) => record! { "ordered" => *receipt },
            Self::Refused { code } => record! { "refused" => *code },
        }
    }
}

impl Describe for SendResponse {
    fn describe(&self) -> Tree {
        record! { "version" => self.version, "results" => self.results }
    }
}

impl Describe for LogCursor {
    fn describe(&self) -> Tree {
        record! { "log" => self.log, "next" => self.next, "previous" => self.previous }
    }
}

impl Describe for TopicCursor {
    fn describe(&self) -> Tree {
        record! { "logs" => self.logs, "position" => self.position }
    }
}

impl Describe for TopicQuery {
    fn describe(&self) -> Tree {
        record! {
            "version" => self.version,
            "topic" => self.topic,
            "cursor" => self.cursor,
            "limit" => self.limit,
        }
    }
}

impl Describe for NewestQuery {
    fn describe(&self) -> Tree {
        record! { "version" => self.version, "topic" => self.topic }
    }
}

impl Describe for TopicEntry {
    fn describe(&self) -> Tree {
        record! { "log" => self.log, "entry" => self.entry }
    }
}

impl Describe for TopicPage {
    fn describe(&self) -> Tree {
        record! {
            "version" => self.version,
            "ordered" => self.ordered,
            "broadcast" => self.broadcast,
            "more" => self.more,
        }
    }
}

impl Describe for LogPage {
    fn describe(&self) -> Tree {
        record! {
            "version" => self.version,
            "first" => self.first,
            "entries" => self.entries,
            "checkpoint" => self.checkpoint,
        }
    }
}

impl Describe for BlockPage {
    fn describe(&self) -> Tree {
        record! { "version" => self.version, "blocks" => self.blocks }
    }
}

impl Describe for Subscription {
    fn describe(&self) -> Tree {
        record! { "topic" => self.topic, "cursor" => self.cursor }
    }
}

impl Describe for SubscriberFrame {
    fn describe(&self) -> Tree {
        match self {
            Self::Subscribe(topics) => record! { "subscribe" => *topics },
            Self::Unsubscribe(topics) => record! { "unsubscribe" => *topics },
        }
    }
}

impl Describe for NodeFrame {
    fn describe(&self) -> Tree {
        match self {
            Self::Hello { version, network, period } => {
                let hello = record! {
                    "version" => *version,
                    "network" => *network,
                    "period" => *period,
                };
                record! { "hello" => hello }
            }
            Self::Broadcast(entry) => record! { "broadcast" => *entry },
            Self::Ordered(receipt) => record! { "ordered" => *receipt },
            Self::CaughtUp(topic) => record! { "caught_up" => *topic },
            Self::Heartbeat { period } => record! { "heartbeat" => *period },
            Self::Refused { topic, code } => {
                let refused = record! { "topic" => *topic, "code" => *code };
                record! { "refused" => refused }
            }
        }
    }
}
