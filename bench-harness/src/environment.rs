//! The machine and its settings, as far as they bear on the figures: what a reader must know to
//! judge a result, and what disturbed it.

use std::fs;
use std::path::Path;

use crate::result::Environment;

/// Settings of the kernel that bear on brokers and load.
const SYSCTLS: [&str; 12] = [
    "net.core.somaxconn",
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.core.netdev_max_backlog",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_mem",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_max_syn_backlog",
    "fs.nr_open",
    "kernel.io_uring_disabled",
    "kernel.sched_rt_runtime_us",
];
const LIMITS: [&str; 3] = ["Max open files", "Max locked memory", "Max processes"];
const RESOURCES: [&str; 3] = ["cpu", "memory", "io"];

/// Readings at the start of a run, for what happened meanwhile.
#[derive(Debug)]
pub struct Watch {
    load_average: f64,
    cpu_ticks: Option<CpuTicks>,
    stalls_us: Vec<Option<u64>>,
    started: std::time::Instant,
}

/// Of all CPUs, since the start of the system.
#[derive(Clone, Copy, Debug, PartialEq)]
struct CpuTicks {
    all: u64,
    stolen: u64,
}

impl Watch {
    pub fn start() -> Self {
        Self {
            load_average: load_average(),
            cpu_ticks: cpu_ticks(&text("/proc/stat")),
            stalls_us: RESOURCES.map(stall_us).to_vec(),
            started: std::time::Instant::now(),
        }
    }

    /// The machine, and what took from it since the start.
    pub fn finish(&self, generator_cpus: &[usize], broker_version: Option<&str>) -> Environment {
        Environment {
            load_average_before: self.load_average,
            steal: self.steal(),
            pressure: self.pressure(),
            broker_version: broker_version.map(str::to_owned),
            generator_cpus: show_cpus(generator_cpus),
            ..machine()
        }
    }

    fn steal(&self) -> Option<f64> {
        let (before, after) = (self.cpu_ticks?, cpu_ticks(&text("/proc/stat"))?);
        let all = after.all.checked_sub(before.all).filter(|all| *all > 0)?;
        Some(after.stolen.checked_sub(before.stolen)? as f64 / all as f64)
    }

    fn pressure(&self) -> Vec<(String, f64)> {
        let elapsed_us = self.started.elapsed().as_micros().max(1) as f64;
        let shares = RESOURCES.iter().zip(&self.stalls_us);
        shares
            .filter_map(|(name, before)| {
                let stalled = stall_us(name)?.checked_sub((*before)?)?;
                Some(((*name).to_owned(), stalled as f64 / elapsed_us))
            })
            .collect()
    }
}

/// What does not change during a run.
fn machine() -> Environment {
    let cpuinfo = text("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "model name").then(|| value.trim().to_owned())
    });
    let limits = text("/proc/self/limits");
    let limit = |name: &str| {
        let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
        Some((name.to_owned(), rest.split_whitespace().next()?.to_owned()))
    };
    let sysctl = |name: &&str| {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let value = fs::read_to_string(path).ok()?;
        let words: Vec<&str> = value.split_whitespace().collect();
        Some(((*name).to_owned(), words.join(" ")))
    };
    Environment {
        host: word("/proc/sys/kernel/hostname"),
        kernel: word("/proc/sys/kernel/osrelease"),
        cpu_model: model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        // Not those that this thread may use, which may be pinned.
        cpus: text("/proc/cpuinfo").matches("processor\t").count() as u32,
        governor: fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
            .ok()
            .map(|governor| governor.trim().to_owned()),
        memory_bytes: memory_bytes(&text("/proc/meminfo")),
        mitigations: files_of(Path::new("/sys/devices/system/cpu/vulnerabilities")),
        sysctls: SYSCTLS.iter().filter_map(sysctl).collect(),
        limits: LIMITS.iter().filter_map(|name| limit(name)).collect(),
        harness_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Environment::default()
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn word(path: &str) -> String {
    text(path).trim().to_owned()
}

fn load_average() -> f64 {
    let text = text("/proc/loadavg");
    let first = text.split_whitespace().next();
    first.and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

fn memory_bytes(meminfo: &str) -> u64 {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1_024
}

/// `cpu  USER NICE SYSTEM IDLE IOWAIT IRQ SOFTIRQ STEAL ...`; guest time is in user time.
fn cpu_ticks(stat: &str) -> Option<CpuTicks> {
    let line = stat.lines().find(|line| line.starts_with("cpu "))?;
    let ticks = line.split_whitespace().skip(1).take(8);
    let ticks: Vec<u64> = ticks.filter_map(|number| number.parse().ok()).collect();
    Some(CpuTicks {
        all: ticks.iter().sum(),
        stolen: *ticks.get(7)?,
    })
}

/// Time in which somebody waited for a resource; kernels may be built without it.
fn stall_us(resource: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/pressure/{resource}")).ok()?;
    some_total_us(&text)
}

fn some_total_us(pressure: &str) -> Option<u64> {
    let line = pressure.lines().find(|line| line.starts_with("some "))?;
    let mut words = line.split_whitespace();
    words.find_map(|word| word.strip_prefix("total=")?.parse().ok())
}

/// Name and first line of each file of a folder, by name.
fn files_of(folder: &Path) -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<(String, String)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((
                name,
                fs::read_to_string(entry.path()).ok()?.trim().to_owned(),
            ))
        })
        .collect();
    files.sort_unstable();
    files
}

/// As in `0,2-5`; `any` when nothing was chosen.
fn show_cpus(cpus: &[usize]) -> String {
    if cpus.is_empty() {
        return "any".to_owned();
    }
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => parts.push((cpu, cpu)),
        }
    }
    let show = |(first, last)| {
        if first == last {
            format!("{first}")
        } else {
            format!("{first}-{last}")
        }
    };
    let parts: Vec<String> = parts.into_iter().map(show).collect();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read() {
        let stat = "cpu  10 1 20 60 4 0 2 3 9 9\ncpu0 1 1 1 1 1 1 1 1\n";
        let expected = CpuTicks {
            all: 100,
            stolen: 3,
        };
        assert_eq!(cpu_ticks(stat), Some(expected));
        assert_eq!(cpu_ticks("cpu  1 2\n"), None);
        let pressure = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234\nfull total=5\n";
        assert_eq!(some_total_us(pressure), Some(1_234));
        assert_eq!(
            memory_bytes("MemTotal:  16 kB\nMemFree: 1 kB\n"),
            16 * 1_024
        );
        assert_eq!(show_cpus(&[]), "any");
        assert_eq!(show_cpus(&[0, 2, 3, 4, 5, 7]), "0,2-5,7");
    }

    #[test]
    fn this_machine_has_what_every_machine_has() {
        let found = Watch::start().finish(&[1], Some("test"));
        assert!(found.cpus > 0 && found.memory_bytes > 0 && !found.kernel.is_empty());
        assert_eq!(found.generator_cpus, "1");
        assert!(
            found
                .limits
                .iter()
                .any(|(name, _)| name == "Max open files")
        );
        assert!(
            found
                .sysctls
                .iter()
                .any(|(name, _)| name == "net.core.somaxconn")
        );
    }
}
