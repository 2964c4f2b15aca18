//! QUIC as nodes speak it, with any key, and with anybody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, IdleTimeout, ServerConfig, TransportConfig, VarInt,
};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use tidings_types::ed25519::{PublicKey, SigningKey};

/// The application protocol of links (REP-001).
const ALPN: &[u8] = b"tidings/1";

/// The name that certificates and connections carry, and nobody reads.
const SERVER_NAME: &str = "tidings";

/// What stands before the secret in an Ed25519 PrivateKeyInfo (RFC 8410 §7).
const SECRET_KEY_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// As many streams as a node lets its peers open.
const STREAMS_MAX: u32 = 4096;

/// Signs of life and patience, as nodes have them.
const KEEP_ALIVE: Duration = Duration::from_millis(400);
const IDLE_TIMEOUT_MS: u32 = 2_000;

/// One side of links: listens and calls with one key.
#[derive(Debug)]
pub(super) struct Side {
    endpoint: Endpoint,
    client: ClientConfig,
}

impl Side {
    /// Listens at `address` as whoever has `key`.
    ///
    /// # Errors
    /// When the address is taken.
    pub(super) fn listen(address: SocketAddr, key: &SigningKey) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut document = SECRET_KEY_PREFIX.to_vec();
        document.extend_from_slice(key.to_secret().as_slice());
        let secret = PrivatePkcs8KeyDer::from(document);
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&secret, &PKCS_ED25519)?;
        let parameters = CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
        let certificate = parameters.self_signed(&pair)?.der().clone();
        let anybody = Arc::new(Anybody { provider: provider.clone() });
        let secret = || PrivateKeyDer::Pkcs8(secret.clone_key());
        let versions = [&rustls::version::TLS13];
        let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)?
            .with_client_cert_verifier(anybody.clone())
            .with_single_cert(vec![certificate.clone()], secret())?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        let mut client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)?
            .dangerous()
            .with_custom_certificate_verifier(anybody)
            .with_client_auth_cert(vec![certificate], secret())?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        let transport = Arc::new(transport());
        let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server)?));
        server.transport_config(transport.clone());
        let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?));
        client.transport_config(transport);
        let endpoint = Endpoint::server(server, address)
            .with_context(|| format!("cannot listen at {address}"))?;
        Ok(Self { endpoint, client })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the socket is gone.
    pub(super) fn address(&self) -> Result<SocketAddr> {
        Ok(self.endpoint.local_addr()?)
    }

    /// The next call; none once the socket is gone.
    pub(super) async fn accept(&self) -> Option<Connection> {
        loop {
            let incoming = self.endpoint.accept().await?;
            let Ok(connecting) = incoming.accept() else { continue };
            if let Ok(connection) = connecting.await {
                return Some(connection);
            }
        }
    }

    /// Calls somebody.
    ///
    /// # Errors
    /// When nobody answers.
    pub(super) async fn call(&self, address: SocketAddr) -> Result<Connection> {
        Ok(self.endpoint.connect_with(self.client.clone(), address, SERVER_NAME)?.await?)
    }
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX));
    transport
}

/// The key of a connection's other side.
pub(super) fn key_of(connection: &Connection) -> Option<PublicKey> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let parsed = ParsedCertificate::try_from(identity.first()?).ok()?;
    let information = parsed.subject_public_key_info();
    let key = information.as_ref().last_chunk::<32>()?;
    Some(PublicKey(*key))
}

/// Takes any certificate: the proxy lies, it need not beware.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl Anybody {
    fn check(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn no_old_version() -> Result<HandshakeSignatureValid, Error> {
    Err(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
}

impl ServerCertVerifier for Anybody {
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
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_old_version()
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

impl ClientCertVerifier for Anybody {
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
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_old_version()
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
