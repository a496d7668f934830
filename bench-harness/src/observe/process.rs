//! A process of this host and everything it started, from `/proc`.
//!
//! CPU time comes from the process's own clock: the ticks of `/proc/PID/stat`, 10 ms each, are too
//! coarse for windows of a second or two and only divide it into user and system time.

use std::fs;

use crate::engine::system;
use crate::result::{BrokerProbe, BrokerSample};

/// Descendants that are followed; a broker that forks more is not measured whole, so it is refused.
const PROCESSES_MAX: usize = 256;
/// The unit of CPU time in `/proc/PID/stat`: fixed for programs on every Linux.
const TICKS_PER_S: f64 = 100.0;
const PAGE_BYTES: u64 = 4_096;

/// Reads one process and its descendants.
#[derive(Debug)]
pub struct ProcessProbe {
    pid: u32,
}

impl ProcessProbe {
    /// # Errors
    /// There is no such process, or it is another user's.
    pub fn new(pid: u32) -> Result<Self, String> {
        let probe = Self { pid };
        match probe.read() {
            Some(_) => Ok(probe),
            None => Err(format!(
                "process {pid} cannot be read: it does not exist, or belongs to another user"
            )),
        }
    }

    fn read(&self) -> Option<BrokerSample> {
        let mut sum = BrokerSample::default();
        let mut pids = vec![self.pid];
        let mut index = 0;
        while let Some(&pid) = pids.get(index) {
            match read_process(pid) {
                Some(sample) => add(&mut sum, &sample),
                // A child may have ended meanwhile, the broker itself may not.
                None if index == 0 => return None,
                None => {}
            }
            pids.extend(children(pid));
            index += 1;
            if index > PROCESSES_MAX {
                return None;
            }
        }
        sum.kernel_tcp_bytes = tcp_bytes(&fs::read_to_string("/proc/net/sockstat").ok()?);
        Some(sum)
    }
}

impl BrokerProbe for ProcessProbe {
    fn sample(&mut self) -> Option<BrokerSample> {
        self.read()
    }
}

fn add(sum: &mut BrokerSample, one: &BrokerSample) {
    let plus = |a: Option<u64>, b: Option<u64>| Some(a.unwrap_or(0) + b?);
    sum.cpu_user_s += one.cpu_user_s;
    sum.cpu_system_s += one.cpu_system_s;
    sum.voluntary_switches += one.voluntary_switches;
    sum.involuntary_switches += one.involuntary_switches;
    sum.rss_bytes += one.rss_bytes;
    sum.rss_peak_bytes += one.rss_peak_bytes;
    sum.anon_bytes = plus(sum.anon_bytes, one.anon_bytes);
    sum.pss_bytes = plus(sum.pss_bytes, one.pss_bytes);
}

fn read_process(pid: u32) -> Option<BrokerSample> {
    let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let (user_s, system_s) = cpu_times(&file("stat")?)?;
    let cpu_s = system::process_cpu_ns(pid)? as f64 / 1e9;
    let cpu_user_s = match user_s + system_s {
        0.0 => cpu_s,
        sum => cpu_s * user_s / sum,
    };
    let status = file("status")?;
    let kibibytes = |name: &str| field(&status, name).map(|number| number * 1_024);
    let mut sample = BrokerSample {
        cpu_user_s,
        cpu_system_s: cpu_s - cpu_user_s,
        rss_bytes: kibibytes("VmRSS:")?,
        rss_peak_bytes: kibibytes("VmHWM:")?,
        anon_bytes: kibibytes("RssAnon:"),
        // Not every user may read it.
        pss_bytes: file("smaps_rollup").and_then(|text| Some(field(&text, "Pss:")? * 1_024)),
        ..BrokerSample::default()
    };
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        // A thread may have ended since.
        if let Ok(status) = fs::read_to_string(task.path().join("status")) {
            sample.voluntary_switches += field(&status, "voluntary_ctxt_switches:")?;
            sample.involuntary_switches += field(&status, "nonvoluntary_ctxt_switches:")?;
        }
    }
    Some(sample)
}

/// User and system seconds of all threads, also of those that have ended.
fn cpu_times(stat: &str) -> Option<(f64, f64)> {
    // The name of the program, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? / TICKS_PER_S, ticks()? / TICKS_PER_S))
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| pids(&text))
        .collect()
}

fn pids(text: &str) -> Vec<u32> {
    let words = text.split_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
}

/// The number behind a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let rest = lines.find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Memory of all TCP sockets: `TCP: inuse 5 orphan 0 tw 0 alloc 7 mem 3`, in pages.
fn tcp_bytes(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find(|line| line.starts_with("TCP:"))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "mem");
    let pages: u64 = words.nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn files_of_the_kernel_are_read() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 150 9 9 20 0 1 0 100 0";
        assert_eq!(cpu_times(stat), Some((2.5, 1.5)));
        assert_eq!(cpu_times("7 (x) S 1"), None);
        let status = "nonvoluntary_ctxt_switches:\t9\nvoluntary_ctxt_switches:\t7\nVmRSS:  12 kB\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(7));
        assert_eq!(field(status, "VmRSS:"), Some(12));
        assert_eq!(field(status, "VmHWM:"), None);
        let sockets = "sockets: used 9\nTCP: inuse 5 orphan 0 tw 0 alloc 7 mem 3\nUDP: mem 1\n";
        assert_eq!(tcp_bytes(sockets), Some(3 * 4_096));
        assert_eq!(pids("12 345 "), [12, 345]);
    }

    #[test]
    fn own_work_is_seen() {
        let mut probe = ProcessProbe::new(std::process::id()).unwrap();
        let first = probe.sample().unwrap();
        let cpu = |sample: &BrokerSample| sample.cpu_user_s + sample.cpu_system_s;
        let mut sum = 0_u64;
        loop {
            for number in 0..1_000_000_u64 {
                sum = std::hint::black_box(sum ^ number);
            }
            let sample = probe.sample().unwrap();
            if cpu(&sample) > cpu(&first) {
                let ticks = fs::read_to_string("/proc/self/stat").unwrap();
                let (user_s, system_s) = cpu_times(&ticks).unwrap();
                // Other tests' threads go on meanwhile.
                assert!(cpu(&sample) < user_s + system_s + 1.0, "{sample:?} {ticks}");
                assert!(sample.rss_bytes > 0 && sample.rss_peak_bytes >= sample.rss_bytes);
                assert!(sample.anon_bytes > Some(0));
                break;
            }
        }
    }

    #[test]
    fn children_count_and_an_ended_process_is_seen() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 100 & read line; kill $!"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        let mut probe = ProcessProbe::new(pid).unwrap();
        while children(pid).is_empty() {
            std::thread::yield_now();
        }
        let alone = read_process(pid).unwrap().rss_bytes;
        assert!(probe.sample().unwrap().rss_bytes > alone);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(probe.sample(), None);
        let error = ProcessProbe::new(u32::MAX).unwrap_err();
        assert!(
            error.starts_with("process 4294967295 cannot be read"),
            "{error}"
        );
    }
}
