//! The broker that the planner measures: Ringway, with fresh data.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::broker::{Broker, Launch, Place, free_port, fresh_folder};
use crate::certificate::{Certificate, CertificateFiles};
use crate::mqtt::Version;
use crate::target::Target;
use crate::transport::TlsOptions;

const HOW_TO_NAME: &str = "name the broker with --broker";

/// A broker with a plain and a TLS listener.
pub(super) struct Measured {
    broker: Broker,
    secure: Target,
    certificate: Certificate,
}

impl Measured {
    pub(super) fn pid(&self) -> u32 {
        self.broker.pid()
    }

    pub(super) fn target(&self, is_tls: bool) -> &Target {
        match is_tls {
            true => &self.secure,
            false => self.broker.target(),
        }
    }

    /// Trusts the certificate of the TLS listener.
    pub(super) fn tls(&self) -> TlsOptions {
        TlsOptions {
            ca: Some(self.certificate.files.cert.clone()),
            ..TlsOptions::default()
        }
    }
}

/// Below `folder` its data directory is made, on the disk that is to be measured.
pub(super) fn start(program: &Path, cores: u32, folder: &Path) -> Result<Measured, String> {
    let place = Place {
        port: free_port().map_err(|error| format!("no free port: {error}"))?,
        folder: fresh_folder(folder),
        version: Version::V50,
        tls: None,
        cpus: Vec::new(),
    };
    let secure_port = free_port().map_err(|error| format!("no free port: {error}"))?;
    let secure: Target = format!("tls://127.0.0.1:{secure_port}").parse()?;
    let certificate = Certificate::make(folder)?;
    let CertificateFiles { cert, key } = &certificate.files;
    let (cert, key) = (cert.display(), key.display());
    let arguments = [
        "serve".to_owned(),
        format!("--listen=tcp://127.0.0.1:{}", place.port),
        format!("--listen={secure}?tls.cert={cert}&tls.key={key}"),
        format!("--cores={cores}"),
        format!("--data-dir={}", place.folder.join("data").display()),
    ];
    let launch = Launch {
        program: program.to_owned(),
        arguments: arguments.to_vec(),
        files: Vec::new(),
        how_to_install: HOW_TO_NAME.to_owned(),
    };
    Ok(Measured {
        broker: Broker::start(&launch, &place)?,
        secure,
        certificate,
    })
}

/// As the program says it.
pub(super) fn version(program: &Path) -> Result<String, String> {
    let failed = |error: String| format!("{}: {error}; {HOW_TO_NAME}", program.display());
    let output = Command::new(program).arg("--version").output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if text.is_empty() {
        return Err(failed("does not say its version".to_owned()));
    }
    Ok(text)
}

/// `ringway` beside this program, as both are built together; else as the shell finds it.
pub fn default_program() -> PathBuf {
    let beside = std::env::current_exe().ok();
    let beside = beside.and_then(|own| Some(own.parent()?.join("ringway")));
    beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from("ringway"))
}
