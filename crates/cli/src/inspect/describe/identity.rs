//! Identity updates.

use tidings_identity::{Action, IdentityUpdate, Member, Proof, UpdateSignature};

use super::Describe;
use crate::inspect::tree::{Tree, record};

impl Describe for Member {
    fn describe(&self) -> Tree {
        Tree::shown(self)
    }
}

impl Describe for Action {
    fn describe(&self) -> Tree {
        Tree::shown(self)
    }
}

impl Describe for Proof {
    fn describe(&self) -> Tree {
        match self {
            Self::Eip712(signature) => record! { "eip712" => hex::encode(signature.0).as_str() },
            Self::Eip191(signature) => record! { "eip191" => hex::encode(signature.0).as_str() },
            Self::Ed25519(signature) => record! { "ed25519" => *signature },
            Self::Erc1271(bytes) => record! { "erc1271" => Tree::opaque(bytes) },
            Self::WebAuthn(bytes) => record! { "webauthn" => Tree::opaque(bytes) },
        }
    }
}

impl Describe for UpdateSignature {
    fn describe(&self) -> Tree {
        record! { "signer" => self.signer, "proof" => self.proof }
    }
}

impl Describe for IdentityUpdate {
    fn describe(&self) -> Tree {
        let body = &self.body;
        record! {
            "hash" => body.hash(),
            "version" => body.version,
            "inbox" => body.inbox,
            "sequence" => body.sequence.0,
            "previous" => body.previous,
            "actions" => body.actions,
            "signatures" => self.signatures,
        }
    }
}
