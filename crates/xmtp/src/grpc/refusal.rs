//! What a caller is refused with, as gRPC says it (XMTP-009).

use tidings_types::ErrorCode;
use tonic::Status;

use crate::association::{AssociationError, Fault};
use crate::envelope::EnvelopeInvalid;
use crate::index::IndexError;
use crate::publish::PublishError;
use crate::topic::TopicInvalid;

impl From<PublishError> for Status {
    fn from(error: PublishError) -> Self {
        let text = error.to_string();
        match error {
            PublishError::Invalid { source: EnvelopeInvalid::TooLong, .. } => {
                Self::resource_exhausted(text)
            }
            PublishError::Count | PublishError::Invalid { .. } => Self::invalid_argument(text),
            PublishError::Association { source, .. } => of_association(&source, text),
            PublishError::Overtaken => Self::aborted(text),
            PublishError::NotServing | PublishError::NotShown => Self::unavailable(text),
            PublishError::Network(code) => of_network(code, text),
            PublishError::Index(error) => error.into(),
            PublishError::Internal(_) => Self::internal(text),
        }
    }
}

impl From<IndexError> for Status {
    fn from(error: IndexError) -> Self {
        tracing::error!(%error, "the index does not serve");
        Self::unavailable("the edge cannot read its index")
    }
}

impl From<TopicInvalid> for Status {
    fn from(error: TopicInvalid) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

fn of_association(error: &AssociationError, text: String) -> Status {
    match error.fault() {
        Fault::Input | Fault::Signature => Status::invalid_argument(text),
        Fault::State => Status::failed_precondition(text),
        Fault::Limit => Status::resource_exhausted(text),
        Fault::Edge if error.code().retryable() => Status::unavailable(text),
        Fault::Edge => Status::unimplemented(text),
    }
}

fn of_network(code: ErrorCode, text: String) -> Status {
    match code {
        ErrorCode::TooLarge => Status::resource_exhausted(text),
        ErrorCode::PayerOverCap
        | ErrorCode::QuotaExceeded
        | ErrorCode::InsufficientFunds
        | ErrorCode::RateLimited => Status::resource_exhausted(text),
        _ if code.retryable() => Status::unavailable(text),
        _ if code.peer_at_fault() => {
            tracing::error!(%code, "a node refuses what this edge wrote");
            Status::internal(text)
        }
        _ => Status::unavailable(text),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn check(error: PublishError, expected: Code) {
        let text = error.to_string();
        let status = Status::from(error);
        assert_eq!((status.code(), status.message()), (expected, &text[..]));
    }

    #[test]
    fn each_fault_has_its_code() {
        // covers: XMTP-009
        let invalid = |source| PublishError::Invalid { at: 2, source };
        check(invalid(EnvelopeInvalid::Malformed), Code::InvalidArgument);
        check(invalid(EnvelopeInvalid::Topic(TopicInvalid)), Code::InvalidArgument);
        check(invalid(EnvelopeInvalid::TooLong), Code::ResourceExhausted);
        check(PublishError::Count, Code::InvalidArgument);
        let association = |source| PublishError::Association { at: 0, source };
        check(association(AssociationError::NoActions), Code::InvalidArgument);
        check(association(AssociationError::ChallengeMismatch), Code::InvalidArgument);
        check(association(AssociationError::CreateMissing), Code::FailedPrecondition);
        check(association(AssociationError::TooManyUpdates), Code::ResourceExhausted);
        check(PublishError::Overtaken, Code::Aborted);
        check(PublishError::NotServing, Code::Unavailable);
        check(PublishError::NotShown, Code::Unavailable);
        check(PublishError::Network(ErrorCode::Unreachable), Code::Unavailable);
        check(PublishError::Network(ErrorCode::PayerOverCap), Code::ResourceExhausted);
        check(PublishError::Network(ErrorCode::WriteProofInvalid), Code::Internal);
        check(PublishError::Internal("a bug"), Code::Internal);
    }
}
