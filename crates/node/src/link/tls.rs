//! Who a peer is: TLS 1.3 both ways, by the transport keys that the registry lists (REP-001).
//!
//! A certificate is only an envelope for the key: it is self-signed, and its names, dates and
//! extensions decide nothing.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use tidings_envelope::Registry;
use tidings_types::ed25519::{PublicKey, SigningKey};
use tokio::sync::watch;

/// The application protocol that both sides name.
pub(crate) const ALPN: &[u8] = b"tidings/1";

/// The name that certificates and connections carry, and nobody reads.
pub(crate) const SERVER_NAME: &str = "tidings";

/// What stands before the 32 key bytes in an Ed25519 SubjectPublicKeyInfo (RFC 8410 §4).
const PUBLIC_KEY_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What stands before the 32 secret bytes in an Ed25519 PrivateKeyInfo (RFC 8410 §7).
const SECRET_KEY_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate cannot be made.
    #[error("the transport certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The library refuses the configuration.
    #[error("TLS: {0}")]
    Configuration(#[from] rustls::Error),
    /// The provider lacks the cipher that QUIC starts with.
    #[error("TLS: {0}")]
    Cipher(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// A node's certificate and the rules it checks others' by.
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    certificate: CertificateDer<'static>,
    secret: PrivatePkcs8KeyDer<'static>,
    registry: watch::Receiver<Arc<Registry>>,
}

impl Tls {
    /// A certificate for `key`, and peers as `registry` lists them at any time.
    pub(crate) fn new(
        key: &SigningKey,
        registry: watch::Receiver<Arc<Registry>>,
    ) -> Result<Self, TlsError> {
        let mut document = SECRET_KEY_PREFIX.to_vec();
        document.extend_from_slice(key.to_secret().as_slice());
        let secret = PrivatePkcs8KeyDer::from(document);
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&secret, &PKCS_ED25519)?;
        let parameters = CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
        let certificate = parameters.self_signed(&pair)?.der().clone();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Ok(Self { provider, certificate, secret, registry })
    }

    /// How to answer a connection: any registered node may be the other side.
    ///
    /// Sessions are never resumed, because a resumed session skips the check of the key.
    pub(crate) fn server(&self) -> Result<quinn::ServerConfig, TlsError> {
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(self.verifier(None))
            .with_single_cert(vec![self.certificate.clone()], self.secret())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let crypto = QuicServerConfig::try_from(config)?;
        Ok(quinn::ServerConfig::with_crypto(Arc::new(crypto)))
    }

    /// How to connect to the node with this key, and to no other.
    pub(crate) fn client(&self, peer: PublicKey) -> Result<quinn::ClientConfig, TlsError> {
        let mut config = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(Some(peer)))
            .with_client_auth_cert(vec![self.certificate.clone()], self.secret())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        let crypto = QuicClientConfig::try_from(config)?;
        Ok(quinn::ClientConfig::new(Arc::new(crypto)))
    }

    fn secret(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.secret.clone_key())
    }

    fn verifier(&self, expected: Option<PublicKey>) -> Arc<PeerVerifier> {
        Arc::new(PeerVerifier {
            registry: self.registry.clone(),
            expected,
            algorithms: self.provider.signature_verification_algorithms,
        })
    }
}

/// The key that a connection's peer proved to hold.
pub(crate) fn peer_key(connection: &quinn::Connection) -> Option<PublicKey> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    key_of(identity.first()?)
}

/// The Ed25519 key in a certificate, if that is what it holds.
fn key_of(certificate: &CertificateDer<'_>) -> Option<PublicKey> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let information = parsed.subject_public_key_info();
    let key = information.as_ref().strip_prefix(&PUBLIC_KEY_PREFIX)?;
    Some(PublicKey(key.try_into().ok()?))
}

/// Accepts certificates by their key alone (REP-001).
#[derive(Debug)]
struct PeerVerifier {
    registry: watch::Receiver<Arc<Registry>>,
    /// The one key to accept, when it is known who is called.
    expected: Option<PublicKey>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PeerVerifier {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let key = key_of(certificate).ok_or(CertificateError::BadEncoding)?;
        let is_expected = self.expected.is_none_or(|expected| expected == key);
        match is_expected && self.registry.borrow().node_by_transport(&key).is_some() {
            true => Ok(()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }
}

/// TLS 1.2 is not offered; an attempt at it is refused here once more.
fn old_version() -> rustls::Error {
    rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13.into()
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(old_version())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(old_version())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_envelope::registry::FeeSchedule;
    use tidings_types::{Genesis, RegistryEpoch};

    fn empty_registry() -> Registry {
        Registry {
            genesis: Genesis::without_chain([1; 32].into()),
            epoch: RegistryEpoch(1),
            shard_count: 1,
            replication_factor: 1,
            period_ms: 10_000,
            mailbox_buckets: 1,
            nodes: Vec::new(),
            payers: Vec::new(),
            edges: Vec::new(),
            fees: FeeSchedule::default(),
        }
    }

    #[test]
    fn certificates_hold_the_transport_key() {
        // covers: REP-001
        let key = SigningKey::from_secret(&[7; 32]);
        let (_sender, registry) = watch::channel(Arc::new(empty_registry()));
        let tls = Tls::new(&key, registry).unwrap();
        assert_eq!(key_of(&tls.certificate), Some(key.public_key()));
        assert!(tls.server().is_ok() && tls.client(key.public_key()).is_ok());
    }

    #[test]
    fn other_kinds_of_keys_are_no_transport_keys() {
        // covers: REP-001
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let parameters = CertificateParams::new(vec![SERVER_NAME.to_owned()]).unwrap();
        let certificate = parameters.self_signed(&pair).unwrap();
        assert_eq!(key_of(certificate.der()), None);
        assert_eq!(key_of(&CertificateDer::from(vec![0x30, 0x03, 1, 2, 3])), None);
    }
}
