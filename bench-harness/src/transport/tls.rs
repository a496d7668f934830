//! TLS 1.2 and 1.3 as a client, with the system's authorities, given ones, or none at all.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use serde::{Deserialize, Serialize};

/// Where distributions keep the authorities that the system trusts.
const SYSTEM_AUTHORITIES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsOptions {
    /// PEM file of the authorities to trust; the system's when `None`.
    pub ca: Option<PathBuf>,
    /// Accept any certificate of any name.
    pub insecure: bool,
}

/// How all connections of a thread begin their TLS. Each is a full handshake: sessions are not
/// resumed, so that what is measured does not depend on the order of connections.
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    pub fn new(options: &TlsOptions, host: &str) -> io::Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .dangerous();
        let verifier: Arc<dyn ServerCertVerifier> = if options.insecure {
            Arc::new(AnyCertificate(provider))
        } else {
            let roots = Arc::new(authorities(options)?);
            WebPkiServerVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(io::Error::other)?
        };
        let mut config = builder
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Self {
            config: Arc::new(config),
            name,
        })
    }

    pub(super) fn connect(&self) -> io::Result<ClientConnection> {
        let connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        let mut connection = connection.map_err(io::Error::other)?;
        // What may wait is bounded by the client's own buffer.
        connection.set_buffer_limit(None);
        Ok(connection)
    }
}

fn authorities(options: &TlsOptions) -> io::Result<RootCertStore> {
    let system = || {
        let mut paths = SYSTEM_AUTHORITIES.iter().map(PathBuf::from);
        paths.find(|path| path.exists())
    };
    let path = options.ca.clone().or_else(system).ok_or_else(|| {
        io::Error::other("this system has no file of authorities: name one with --ca")
    })?;
    let failed =
        |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(&path).map_err(|error| failed(&error))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| failed(&error))?;
        // The system's file may hold certificates that rustls does not take.
        let added = roots.add(certificate);
        if options.ca.is_some() {
            added.map_err(|error| failed(&error))?;
        }
    }
    if roots.is_empty() {
        return Err(failed(&"no certificate"));
    }
    Ok(roots)
}

/// For `--insecure`: encryption without knowing with whom.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let schemes = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, schemes)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let schemes = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
