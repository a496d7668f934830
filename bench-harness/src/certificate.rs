//! A certificate for the brokers of one comparison: made for it, trusted by its generator alone,
//! gone with it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::broker::{Folder, fresh_folder};

/// What a broker of this host may be called.
const NAMES: [&str; 2] = ["127.0.0.1", "localhost"];

/// PEM files that a broker serves TLS with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Its files are there as long as the value.
#[derive(Debug)]
pub struct Certificate {
    pub files: CertificateFiles,
    _folder: Folder,
}

impl Certificate {
    /// ECDSA P-256, signed by itself, in a new folder below `parent`.
    pub fn make(parent: &Path) -> Result<Self, String> {
        let made = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned));
        let made = made.map_err(|error| format!("cannot make a certificate: {error}"))?;
        let folder = Folder::make(fresh_folder(parent))?;
        let files = CertificateFiles {
            cert: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
        };
        write(&files.cert, 0o644, &made.cert.pem())?;
        write(&files.key, 0o600, &made.signing_key.serialize_pem())?;
        Ok(Self {
            files,
            _folder: folder,
        })
    }
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), String> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::transport::{Tls, TlsOptions};

    #[test]
    fn the_files_go_with_the_certificate() {
        let certificate = Certificate::make(&std::env::temp_dir()).unwrap();
        let CertificateFiles { cert, key } = certificate.files.clone();
        let mode = key.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "nobody else reads the key");
        let options = TlsOptions {
            ca: Some(cert.clone()),
            ..TlsOptions::default()
        };
        Tls::new(&options, "localhost").unwrap();
        drop(certificate);
        assert!(!cert.parent().unwrap().exists());
    }
}
