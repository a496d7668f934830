//! TLS 1.2 and 1.3 as a client, with the system's authorities, given ones, or none at all.
//!
//! What is offered is written down here and does not follow the library's build options: figures
//! of two builds of this program must mean the same.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use serde::{Deserialize, Serialize};

use super::ticket::Ticket;

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
    /// The only version to offer; both when `None`.
    pub version: Option<TlsVersion>,
    /// Each client comes back with the newest ticket that the broker gave it; else each handshake
    /// is a full one, so that what is measured does not depend on the order of connections.
    pub resume: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    V1_2,
    V1_3,
}

impl TlsVersion {
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

/// The groups for the key exchange, best first: what every TLS library has, so that no broker pays
/// for a group that others are not asked for.
const KEY_EXCHANGES: [&dyn SupportedKxGroup; 3] =
    [kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];

/// How connections begin their TLS: those of a thread, or those of one client.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    resume: bool,
}

impl Tls {
    pub fn new(options: &TlsOptions, host: &str) -> io::Result<Self> {
        let provider = Arc::new(CryptoProvider {
            kx_groups: KEY_EXCHANGES.to_vec(),
            ..aws_lc_rs::default_provider()
        });
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions(options.version))
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
            resume: options.resume,
        })
    }

    /// The same with a ticket of its own, for a client that is to resume; `None` when no client is.
    pub(crate) fn of_one_client(&self) -> Option<Self> {
        let mut config = self.resume.then(|| ClientConfig::clone(&self.config))?;
        config.resumption = Resumption::store(Arc::new(Ticket::default()));
        Some(Self {
            config: Arc::new(config),
            name: self.name.clone(),
            resume: true,
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

fn versions(only: Option<TlsVersion>) -> &'static [&'static SupportedProtocolVersion] {
    static ALL: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match only {
        None => &ALL,
        Some(TlsVersion::V1_3) => &ALL[..1],
        Some(TlsVersion::V1_2) => &ALL[1..],
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
