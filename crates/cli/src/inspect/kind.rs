//! The wire structures that can be told apart, and how bytes are read as each.

use clap::ValueEnum;
use tidings_envelope::api::{
    AcknowledgedCheckpoint, BlockPage, LogPage, NewestQuery, NodeFrame, PublishRequest,
    PublishResponse, SendRequest, SendResponse, SubscriberFrame, TopicPage, TopicQuery,
};
use tidings_envelope::{
    CertifiedBlock, ClientEnvelope, EntryHeader, Evidence, LogEntry, Operation, OrderedReceipt,
    PayerBatch, PayerEnvelope, Receipt, RegistryHistory, SignedAcknowledgement, SignedCheckpoint,
};
use tidings_identity::IdentityUpdate;
use tidings_types::{DecodeError, Wire};

use super::check::{Check, Finding};
use super::describe::Describe;
use super::tree::Tree;

/// Checks a structure against a registry.
type Checker = Box<dyn Fn(&RegistryHistory) -> Vec<Finding>>;

/// A structure as read: what it holds, and how to check it against a registry.
pub struct Decoded {
    /// What it holds.
    pub tree: Tree,
    findings: Checker,
}

impl Decoded {
    /// What holds and what does not, under these snapshots of the registry.
    pub fn findings(&self, registries: &RegistryHistory) -> Vec<Finding> {
        (self.findings)(registries)
    }
}

type Reader = fn(&[u8]) -> Result<Decoded, DecodeError>;

fn read<T: Wire + Describe + Check + 'static>(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let value = T::from_wire(bytes)?;
    Ok(Decoded {
        tree: value.describe(),
        findings: Box::new(move |registries| value.check(registries)),
    })
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $type:ty;)*) => {
        /// A wire structure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
        pub enum Kind {
            /// Whichever structure the bytes are
            Auto,
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            /// Every structure, those first that are met most.
            const ALL: &'static [Self] = &[$(Self::$name,)*];

            fn reader(self) -> Option<Reader> {
                match self {
                    Self::Auto => None,
                    $(Self::$name => Some(read::<$type>),)*
                }
            }
        }
    };
}

kinds! {
    /// A client envelope
    Envelope = ClientEnvelope;
    /// A client envelope with its payer's batch, as logs store it
    PayerEnvelope = PayerEnvelope;
    /// A log entry
    Entry = LogEntry;
    /// The header of a log entry
    Header = EntryHeader;
    /// A signed checkpoint
    Checkpoint = SignedCheckpoint;
    /// A checkpoint and its acknowledgements
    AcknowledgedCheckpoint = AcknowledgedCheckpoint;
    /// A replica's acknowledgement
    Acknowledgement = SignedAcknowledgement;
    /// A receipt of the broadcast lane
    Receipt = Receipt;
    /// A receipt of the ordered lane
    OrderedReceipt = OrderedReceipt;
    /// A block with its certificate
    Block = CertifiedBlock;
    /// An operation of the ordered lane
    Operation = Operation;
    /// Evidence against a node
    Evidence = Evidence;
    /// A payer batch
    Batch = PayerBatch;
    /// An update of an inbox
    IdentityUpdate = IdentityUpdate;
    /// A page of a topic
    TopicPage = TopicPage;
    /// A stretch of a log
    LogPage = LogPage;
    /// Consecutive blocks
    BlockPage = BlockPage;
    /// A request to publish
    PublishRequest = PublishRequest;
    /// The answer to a request to publish
    PublishResponse = PublishResponse;
    /// A request to a gateway
    SendRequest = SendRequest;
    /// The answer of a gateway
    SendResponse = SendResponse;
    /// A query of a topic
    TopicQuery = TopicQuery;
    /// A query of the newest entries of a topic
    NewestQuery = NewestQuery;
    /// What a subscriber sends
    SubscriberFrame = SubscriberFrame;
    /// What a node sends to a subscriber
    NodeFrame = NodeFrame;
}

impl Kind {
    /// The word for it on the command line.
    pub fn word(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Reads `bytes` as this structure, or as each that they can be.
    ///
    /// # Errors
    /// What is wrong with the bytes; nothing of the kind for [`Kind::Auto`], which answers with
    /// an empty list.
    pub fn read(self, bytes: &[u8]) -> Result<Vec<(Self, Decoded)>, DecodeError> {
        match self.reader() {
            Some(reader) => Ok(vec![(self, reader(bytes)?)]),
            None => Ok(Self::every(bytes)),
        }
    }

    fn every(bytes: &[u8]) -> Vec<(Self, Decoded)> {
        let readers = Self::ALL.iter().filter_map(|kind| Some((*kind, kind.reader()?)));
        readers.filter_map(|(kind, reader)| Some((kind, reader(bytes).ok()?))).collect()
    }
}
