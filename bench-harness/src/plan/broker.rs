//! The broker that the planner measures: Ringway, with fresh data.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::broker::{Broker, Launch, Place, free_port, fresh_folder};
use crate::mqtt::Version;
use crate::target::Target;
use crate::transport::TlsOptions;

/// In the broker's folder, made for it: ECDSA with P-256.
const CERT: &str = "cert.pem";
const KEY: &str = "key.pem";
const HOW_TO_NAME: &str = "name the broker with --broker";

/// A broker with a plain and a TLS listener.
pub(super) struct Measured {
    pub broker: Broker,
    pub secure: Target,
    /// Trusts the certificate of the TLS listener.
    pub tls: TlsOptions,
}

impl Measured {
    pub(super) fn target(&self, is_tls: bool) -> &Target {
        match is_tls {
            true => &self.secure,
            false => self.broker.target(),
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
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]);
    let made = made.map_err(|error| format!("a certificate: {error}"))?;
    let path = |name: &str| place.folder.join(name).display().to_string();
    let (cert, key) = (path(CERT), path(KEY));
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
        files: vec![
            (CERT, made.cert.pem()),
            (KEY, made.signing_key.serialize_pem()),
        ],
        how_to_install: HOW_TO_NAME.to_owned(),
    };
    Ok(Measured {
        tls: TlsOptions {
            ca: Some(place.folder.join(CERT)),
            ..TlsOptions::default()
        },
        broker: Broker::start(&launch, &place)?,
        secure,
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
