//! The broker that the planner measures: Ringway, with fresh data.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::broker::{Broker, Launch, Place, free_port, fresh_folder};
use crate::mqtt::Version;

const HOW_TO_NAME: &str = "name the broker with --broker";

/// Below `folder` its data directory is made, on the disk that is to be measured.
pub(super) fn start(program: &Path, cores: u32, folder: &Path) -> Result<Broker, String> {
    let place = Place {
        port: free_port().map_err(|error| format!("no free port: {error}"))?,
        folder: fresh_folder(folder),
        version: Version::V50,
        cpus: Vec::new(),
    };
    let arguments = [
        "serve".to_owned(),
        format!("--listen=tcp://127.0.0.1:{}", place.port),
        format!("--cores={cores}"),
        format!("--data-dir={}", place.folder.join("data").display()),
    ];
    let launch = Launch {
        program: program.to_owned(),
        arguments: arguments.to_vec(),
        files: Vec::new(),
        how_to_install: HOW_TO_NAME.to_owned(),
    };
    Broker::start(&launch, &place)
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
