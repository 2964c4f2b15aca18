//! A peer made by hand, which can break every rule that [`tidings_node::link`] keeps.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rcgen::{CertificateParams, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use tidings_replica::wire::ControlFrame;
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::ed25519::SigningKey;
use tidings_types::{ErrorCode, Wire};

use super::fixture::{registry, soon};

pub const ALPN: &[u8] = b"tidings/1";

/// The Ed25519 key as rcgen takes it (RFC 8410 §7).
pub fn ed25519_pair(key: &SigningKey) -> KeyPair {
    let mut document = vec![48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
    document.extend_from_slice(key.to_secret().as_slice());
    let document = PrivatePkcs8KeyDer::from(document);
    KeyPair::from_pkcs8_der_and_sign_algo(&document, &rcgen::PKCS_ED25519).unwrap()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn credentials(pair: &KeyPair) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let parameters = CertificateParams::new(vec!["anything".to_owned()]).unwrap();
    let certificate = parameters.self_signed(pair).unwrap().der().clone();
    (vec![certificate], PrivatePkcs8KeyDer::from(pair.serialize_der()).into())
}

/// A way to call that accepts whoever answers, with a certificate for `pair` or with none.
pub fn caller(pair: Option<&KeyPair>, alpn: &[u8]) -> ClientConfig {
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible(provider())));
    let mut config = match pair {
        Some(pair) => {
            let (chain, key) = credentials(pair);
            config.with_client_auth_cert(chain, key).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()))
}

/// An endpoint that answers with a certificate for `key`.
pub fn server(key: &SigningKey) -> Endpoint {
    let (chain, secret) = credentials(&ed25519_pair(key));
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(Arc::new(Gullible(provider())))
        .with_single_cert(chain, secret)
        .unwrap();
    config.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicServerConfig::try_from(config).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap()
}

/// An endpoint that only calls.
pub fn endpoint() -> Endpoint {
    Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap()
}

/// A connection by hand.
pub struct Raw {
    pub connection: Connection,
    pub control: SendStream,
}

impl Raw {
    /// Calls as the holder of `key` and opens the control stream, without a word.
    pub async fn call(endpoint: &Endpoint, key: &SigningKey, address: SocketAddr) -> Self {
        let config = caller(Some(&ed25519_pair(key)), ALPN);
        let connecting = endpoint.connect_with(config, address, "anything").unwrap();
        Self::over(soon(connecting).await.unwrap()).await
    }

    /// Takes the next call and opens the control stream, without a word.
    pub async fn answer(endpoint: &Endpoint) -> Self {
        let incoming = soon(endpoint.accept()).await.unwrap();
        Self::over(soon(incoming.accept().unwrap()).await.unwrap()).await
    }

    async fn over(connection: Connection) -> Self {
        let control = soon(connection.open_uni()).await.unwrap();
        Self { connection, control }
    }

    /// Writes bytes to the control stream as they are.
    pub async fn write(&mut self, bytes: &[u8]) {
        soon(self.control.write_all(bytes)).await.unwrap();
    }

    /// Says hello as one should.
    pub async fn hello(&mut self) {
        self.write(&framed(&hello())).await;
    }

    /// Says hello, and waits for the other side's.
    pub async fn greet(&mut self) -> RecvStream {
        self.hello().await;
        let mut control = soon(self.connection.accept_uni()).await.unwrap();
        let mut first = vec![0; framed(&hello()).len()];
        soon(control.read_exact(&mut first)).await.unwrap();
        assert_eq!(first, framed(&hello()));
        control
    }

    /// The code that the other side closes the connection with.
    pub async fn code(&self) -> ErrorCode {
        match soon(self.connection.closed()).await {
            ConnectionError::ApplicationClosed(closed) => {
                let number = u16::try_from(closed.error_code.into_inner()).unwrap();
                ErrorCode::from_wire(&number.to_wire()).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }
}

pub fn hello() -> ControlFrame {
    ControlFrame::Hello { version: PROTOCOL_VERSION, network: registry(1).network_id() }
}

/// The frame as it goes over a stream.
pub fn framed(frame: &impl Wire) -> Vec<u8> {
    framed_bytes(&frame.to_wire())
}

pub fn framed_bytes(body: &[u8]) -> Vec<u8> {
    [u32::try_from(body.len()).unwrap().to_be_bytes().as_slice(), body].concat()
}

/// Accepts every certificate.
#[derive(Debug)]
struct Gullible(Arc<CryptoProvider>);

impl Gullible {
    fn check(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Gullible {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
