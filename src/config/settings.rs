//! The validated settings of one broker process: what the program starts with.

use super::address::{ListenAddress, Scheme};
use super::limits::{Limits, ListenerLimits};
use std::path::PathBuf;
use std::time::Duration;

/// Everything that can be configured. `Settings::default()` is the broker without configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    pub node: NodeSettings,
    /// Never empty.
    pub listeners: Vec<ListenerSettings>,
    /// Of the whole process; see [`Limits::for_shard_count`].
    pub limits: Limits,
    pub durability: DurabilitySettings,
    pub log: LogSettings,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeSettings {
    pub cores: CoreSelection,
    pub data_dir: PathBuf,
    /// So long a core with nothing to do looks for something before it sleeps.
    pub spin_time: Duration,
    /// Time for goodbyes and unfinished sends at a requested stop.
    pub shutdown_timeout: Duration,
}

/// The journal's files. What the journal itself goes by stands in [`Limits`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DurabilitySettings {
    /// From one write of a core's journal to the next at least.
    pub sync_delay: Duration,
    /// Bytes of all segments of all cores; `None`: what the disk has.
    pub disk_bytes_max: Option<u64>,
    /// Bytes that stay free on the disk.
    pub free_bytes_min: u64,
}

impl Default for DurabilitySettings {
    fn default() -> Self {
        Self {
            // The next commit gathers while the present one is written; waiting only adds latency.
            sync_delay: Duration::ZERO,
            disk_bytes_max: None,
            // A full file system hurts everybody on the machine.
            free_bytes_min: 256 << 20,
        }
    }
}

/// On which CPUs the shards run, one each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CoreSelection {
    /// All CPUs of the process's affinity mask.
    Auto,
    /// The first so many of them.
    Count(u16),
    /// These CPU ids, ascending, each once.
    List(Vec<u16>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerSettings {
    pub bind: ListenAddress,
    /// Connections of this listener at one time, over all cores.
    pub max_connections: u32,
    /// Whether clients may connect without being asked who they are.
    pub allow_anonymous: bool,
    /// Connections that the kernel holds until they are accepted.
    pub backlog: u32,
    /// There exactly where `bind` says `tls://`.
    pub tls: Option<TlsSettings>,
    pub limits: ListenerLimits,
}

/// What a `tls://` listener shows and demands. The files are PEM; nobody has looked into them here.
/// Relative paths start at the working directory of the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsSettings {
    /// The certificate chain, the listener's own first.
    pub cert: PathBuf,
    /// The private key of the first certificate.
    pub key: PathBuf,
    /// Who signs the clients' certificates; `None`: clients are not asked for one.
    pub client_ca: Option<PathBuf>,
    /// Which of the clients' certificates are no longer good.
    pub crl: Option<PathBuf>,
    /// Whether a client without a certificate is sent away.
    pub require_client_cert: bool,
    pub min_version: TlsVersion,
}

/// The oldest version of the protocol that a listener speaks; it speaks all later ones as well.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TlsVersion {
    V1_2,
    V1_3,
}

impl TlsSettings {
    /// Serves everybody who speaks 1.2 or later; many devices in the field know nothing newer.
    #[must_use]
    pub const fn new(cert: PathBuf, key: PathBuf) -> Self {
        Self {
            cert,
            key,
            client_ca: None,
            crl: None,
            require_client_cert: false,
            min_version: TlsVersion::V1_2,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogSettings {
    pub level: LogLevel,
    pub format: LogFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    Text,
    Json,
}

impl Default for Settings {
    fn default() -> Self {
        let mut settings = Self {
            node: NodeSettings {
                cores: CoreSelection::Auto,
                data_dir: PathBuf::from("./ringway-data"),
                // An idle broker leaves the CPU to others, and a core that is at work never sleeps.
                spin_time: Duration::ZERO,
                // Shorter than the 90 s after which systemd kills, longer than any healthy client
                // needs to take its last bytes.
                shutdown_timeout: Duration::from_secs(10),
            },
            listeners: vec![ListenerSettings::on(ListenAddress {
                scheme: Scheme::Tcp,
                host: "127.0.0.1".to_owned(),
                port: 1883,
            })],
            limits: Limits::default(),
            durability: DurabilitySettings::default(),
            log: LogSettings {
                level: LogLevel::Info,
                format: LogFormat::Text,
            },
        };
        settings.derive_from_listeners();
        settings
    }
}

impl ListenerSettings {
    /// 100,000 connections fit well under the usual hard limit of descriptors (524,288) and take
    /// about half a GiB idle; more is a decision that comes with settings of the host.
    pub const MAX_CONNECTIONS: u32 = 100_000;
    /// What Linux allows by default (`net.core.somaxconn`); the kernel cuts what is more.
    pub const BACKLOG: u32 = 4096;

    /// A `tcp://` listener with nothing but its address: anonymous only where no other machine
    /// comes in.
    #[must_use]
    pub fn on(bind: ListenAddress) -> Self {
        Self {
            allow_anonymous: bind.is_loopback(),
            bind,
            max_connections: Self::MAX_CONNECTIONS,
            backlog: Self::BACKLOG,
            tls: None,
            limits: ListenerLimits::DEFAULT,
        }
    }
}

impl Settings {
    /// What the core needs of the listeners; its bound on connections is their sum.
    pub(super) fn derive_from_listeners(&mut self) {
        let listeners = self.listeners.iter();
        self.limits.listeners = listeners.map(|listener| listener.limits.clone()).collect();
        self.limits.connections_max = self.listeners.iter().fold(0, |sum, listener| {
            listener.max_connections.saturating_add(sum)
        });
    }
}

impl CoreSelection {
    /// Reads `auto`, a number of cores, or a list of CPU ids such as `0,2-5` (`3,` for one id).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text == "auto" {
            return Some(Self::Auto);
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let count = text.parse().ok()?;
            return (1..=Self::COUNT_MAX)
                .contains(&count)
                .then_some(Self::Count(count));
        }
        let mut ids = Vec::new();
        for part in text.strip_suffix(',').unwrap_or(text).split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (cpu_id(first)?, cpu_id(last)?);
            if first > last {
                return None;
            }
            ids.extend(first..=last);
        }
        ids.sort_unstable();
        ids.dedup();
        let fits = !ids.is_empty() && ids.len() <= usize::from(Self::COUNT_MAX);
        fits.then_some(Self::List(ids))
    }

    /// Shards of one process at most.
    pub const COUNT_MAX: u16 = crate::base::ids::ShardId::COUNT_MAX;
}

/// The kernel's own largest number of CPUs (`CONFIG_NR_CPUS`) is 8192.
fn cpu_id(text: &str) -> Option<u16> {
    let text = text.trim();
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let id = plain.then(|| text.parse().ok()).flatten()?;
    (id < 8192).then_some(id)
}

impl std::fmt::Display for CoreSelection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Count(count) => write!(formatter, "{count}"),
            Self::List(ids) => {
                for (index, id) in ids.iter().enumerate() {
                    write!(formatter, "{}{id}", if index == 0 { "" } else { "," })?;
                }
                // A single id must not read as a number of cores.
                formatter.write_str(if ids.len() == 1 { "," } else { "" })
            }
        }
    }
}
