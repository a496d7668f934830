//! What a listener's connections begin their TLS with: certificate, key, and who may come in.
//!
//! Read as a whole and swapped as a whole: a connection begins with the old files or with the new
//! ones, and those that there are stay. With the files the keys of the session tickets change, so
//! that nobody resumes a session that the new files would not have let in.

use crate::config::settings::{TlsSettings, TlsVersion};
use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Of certificates in one file; no chain and no list of authorities needs more (16 MiB).
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A file of a listener's TLS cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFileError {
    /// The configuration's key that names it, such as `tls.cert`.
    pub key: &'static str,
    pub path: PathBuf,
    /// What is wrong with it, and what to do.
    pub what: String,
}

impl TlsFileError {
    fn new(key: &'static str, path: &Path, what: impl Into<String>) -> Self {
        Self {
            key,
            path: path.to_owned(),
            what: what.into(),
        }
    }
}

impl fmt::Display for TlsFileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, path, what } = self;
        write!(formatter, "{key} {}: {what}", path.display())
    }
}

impl std::error::Error for TlsFileError {}

/// One listener's, shared by all cores.
#[derive(Debug)]
pub struct Gate {
    settings: TlsSettings,
    config: ArcSwap<ServerConfig>,
}

impl Gate {
    /// Reads the files.
    ///
    /// # Errors
    /// The first one that cannot be used.
    pub fn open(settings: &TlsSettings) -> Result<Self, TlsFileError> {
        Ok(Self {
            config: ArcSwap::from_pointee(read(settings)?),
            settings: settings.clone(),
        })
    }

    /// Reads the files again, for the connections that begin from now on.
    ///
    /// # Errors
    /// As [`Gate::open`]; everything stays as it was then.
    pub fn reload(&self) -> Result<(), TlsFileError> {
        self.config.store(Arc::new(read(&self.settings)?));
        Ok(())
    }

    /// What the next connection begins with.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }
}

fn read(settings: &TlsSettings) -> Result<ServerConfig, TlsFileError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain: Vec<CertificateDer<'static>> = read_all("tls.cert", &settings.cert, "certificate")?;
    let key = read_key(&settings.key)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions(settings.min_version))
        .map_err(|reason| TlsFileError::new("tls.cert", &settings.cert, reason.to_string()))?;
    let builder = match &settings.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => builder.with_client_cert_verifier(verifier(settings, path, provider)?),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|reason| match reason {
            rustls::Error::InconsistentKeys(_) => {
                let cert = settings.cert.display();
                TlsFileError::new(
                    "tls.key",
                    &settings.key,
                    format!("is not the key of {cert}"),
                )
            }
            reason => TlsFileError::new("tls.cert", &settings.cert, reason.to_string()),
        })?;
    // Tickets, which the clients keep: the broker remembers no session, and no core waits for a
    // lock of another one's.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new()
        .map_err(|reason| TlsFileError::new("tls.cert", &settings.cert, reason.to_string()))?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static ALL: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match min {
        TlsVersion::V1_2 => &ALL,
        TlsVersion::V1_3 => &ALL[..1],
    }
}

/// Who may come in: clients with a certificate of these authorities that is not revoked; others,
/// too, unless one is required.
fn verifier(
    settings: &TlsSettings,
    authorities: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsFileError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_all("tls.client_ca", authorities, "certificate")? {
        roots.add(certificate).map_err(|reason| {
            TlsFileError::new("tls.client_ca", authorities, reason.to_string())
        })?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let mut named = ("tls.client_ca", authorities);
    if let Some(path) = &settings.crl {
        named = ("tls.crl", path);
        let lists: Vec<CertificateRevocationListDer<'static>> =
            read_all("tls.crl", path, "certificate revocation list")?;
        builder = builder.with_crls(lists).only_check_end_entity_revocation();
    }
    if !settings.require_client_cert {
        builder = builder.allow_unauthenticated();
    }
    builder
        .build()
        .map_err(|reason| TlsFileError::new(named.0, named.1, reason.to_string()))
}

/// All items of one kind in a PEM file: at least one.
fn read_all<T: PemObject>(
    key: &'static str,
    path: &Path,
    kind: &str,
) -> Result<Vec<T>, TlsFileError> {
    let error = |what: String| TlsFileError::new(key, path, what);
    let text = read_file(path).map_err(error)?;
    let items: Result<Vec<T>, pem::Error> = T::pem_slice_iter(&text).collect();
    match items {
        Ok(items) if items.is_empty() => Err(error(format!(
            "holds no {kind}; it must be a PEM file (-----BEGIN ...)"
        ))),
        Ok(items) => Ok(items),
        Err(reason) => Err(error(format!("is no PEM file: {reason}"))),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    let error = |what: String| TlsFileError::new("tls.key", path, what);
    let text = read_file(path).map_err(error)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|reason| {
        match reason {
        pem::Error::NoItemsFound => error(
            "holds no private key; it must be a PEM file (-----BEGIN PRIVATE KEY----- or the like, \
             without a password)"
                .to_owned(),
        ),
        reason => error(format!("is no PEM file: {reason}")),
    }
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot be read: {error}");
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes"));
    }
    std::fs::read(path).map_err(failed)
}
