//! TLS as the user's flags want it: whom to trust, and who we are.

use super::options::TlsOptions;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where distributions keep the authorities that the system trusts.
const SYSTEM_AUTHORITIES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// A connection before its handshake.
///
/// # Errors
/// A file cannot be used; which, and why.
pub(super) fn connection(options: &TlsOptions, host: &str) -> Result<ClientConnection, String> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("--host {host} is no name or address that a certificate can have"))?;
    let connection = ClientConnection::new(Arc::new(config(options)?), name);
    connection.map_err(|error| error.to_string())
}

fn config(options: &TlsOptions) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = Arc::new(authorities(options.ca_file.as_deref())?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .build()
        .map_err(|error| error.to_string())?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match options.any_name {
        false => builder.with_webpki_verifier(verifier),
        true => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyName(verifier))),
    };
    let Some((cert, key)) = &options.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(cert)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| at(key, &error))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| at(cert, &error))
}

fn authorities(file: Option<&Path>) -> Result<RootCertStore, String> {
    let system = || {
        SYSTEM_AUTHORITIES
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
    };
    let path = file
        .map(Path::to_owned)
        .or_else(system)
        .ok_or("this system has no file of authorities: name the broker's with --cafile")?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&path)? {
        // The system's file may hold certificates that rustls does not take.
        let added = roots.add(certificate);
        if file.is_some() {
            added.map_err(|error| at(&path, &error))?;
        }
    }
    match roots.is_empty() {
        true => Err(at(&path, &"holds no certificate")),
        false => Ok(roots),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let items = CertificateDer::pem_file_iter(path).map_err(|error| at(path, &error))?;
    let items: Result<Vec<_>, _> = items.collect();
    items.map_err(|error| at(path, &error))
}

fn at(path: &Path, what: &dyn Display) -> String {
    format!("{}: {what}", path.display())
}

/// The certificate must come from the authorities, and may be for another host.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is looked at last, when everything else was good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
