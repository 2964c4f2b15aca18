//! Why a node closes a link, and what its peer is told.

use tidings_types::ErrorCode;

/// A reason to close a link; the peer sees the number of its [`ErrorCode`] and this text
/// (REP-012).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum LinkFault {
    /// A frame is not canonical, is cut short, or is not due where it stands.
    #[error("malformed frame")]
    Malformed,
    /// A frame is longer than its stream allows.
    #[error("frame too large")]
    TooLarge,
    /// The peer speaks another version (REP-002).
    #[error("unknown version of the link protocol")]
    UnknownVersion,
    /// The peer belongs to another network (REP-002).
    #[error("another network")]
    WrongNetwork,
    /// The registry does not list the peer's key, or no longer (REP-008).
    #[error("transport key not registered")]
    Unregistered,
    /// The peer is the one that has to wait for this node to connect (REP-011).
    #[error("the lower id connects")]
    WrongSide,
    /// The peer reads more slowly than this node has to tell it things.
    #[error("control queue full")]
    Overloaded,
    /// The peer connected again (REP-011).
    #[error("replaced by a newer connection")]
    Replaced,
    /// The peer said nothing in the time for its first frame.
    #[error("no hello in time")]
    Silent,
    /// This node stops.
    #[error("shutting down")]
    ShuttingDown,
    /// A bug on this side.
    #[error("internal error")]
    Internal,
}

impl LinkFault {
    /// The stable code that the connection is closed with.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Malformed => ErrorCode::Malformed,
            Self::TooLarge => ErrorCode::TooLarge,
            Self::UnknownVersion => ErrorCode::UnknownVersion,
            Self::WrongNetwork => ErrorCode::WrongNetwork,
            Self::Unregistered | Self::WrongSide => ErrorCode::Unauthorized,
            Self::Overloaded => ErrorCode::Overloaded,
            Self::Replaced => ErrorCode::Repeated,
            Self::Silent => ErrorCode::NotReady,
            Self::ShuttingDown => ErrorCode::ShuttingDown,
            Self::Internal => ErrorCode::Internal,
        }
    }

    /// Closes the connection, unless it is closed already; says whether this closed it.
    pub(crate) fn close(self, connection: &quinn::Connection) -> bool {
        let is_open = connection.close_reason().is_none();
        if is_open {
            let code = quinn::VarInt::from_u32(u32::from(self.code() as u16));
            connection.close(code, self.to_string().as_bytes());
        }
        is_open
    }
}
