//! Every decoder takes the one encoding of a value, or nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_envelope::api::*;
use tidings_envelope::*;
use tidings_types::Wire;

fn check<T: Wire>(input: &[u8]) {
    if let Ok(value) = T::from_wire(input) {
        assert!(value.to_wire() == input, "{}", std::any::type_name::<T>());
    }
}

/// Hands the input to each decoder.
macro_rules! decode {
    ($input:ident: $($name:ident)*) => { $(check::<$name>($input);)* };
}

// ENC-001, ENC-002.
fuzz_target!(|input: &[u8]| {
    decode!(input: ClientEnvelope PayerBatch PayerEnvelope EntryHeader LogEntry SignedCheckpoint
        SignedAcknowledgement BlockHeader IncarnationRequest Operation DecidedOperation Block
        Certificate CertifiedBlock Receipt OrderedReceipt Evidence PublishRequest PublishResponse
        SendRequest SendResponse TopicQuery TopicPage NewestQuery StateQuery StateAnswer LogPage
        BlockPage SubscriberFrame NodeFrame);
    if let Ok(proof) = StateProof::from_wire(input) {
        let _ = proof.branch.read(&proof.key, proof.header.state_root);
    }
    if let Ok(entry) = LogEntry::from_wire(input) {
        let _ = entry.open();
    }
    if let Ok(request) = PublishRequest::from_wire(input) {
        let _ = (request.ids_are_signed(), request.paths());
    }
    if let Some(plaintext) = padding::unpad(input.to_vec()) {
        assert_eq!(padding::pad(plaintext), input);
    }
});
