//! What the planner's broker costs: as any run observes it, but with CPU time to the nanosecond, as
//! its runs are short, and with the bytes that it gives to the disk.

use std::fs;

use crate::observe::ProcessProbe;
use crate::result::{BrokerProbe, BrokerSample};

pub(super) struct Probe {
    pid: u32,
    process: ProcessProbe,
    /// Bytes given to the disk at each sample.
    written: Vec<u64>,
}

impl Probe {
    pub(super) fn new(pid: u32) -> Result<Self, String> {
        Ok(Self {
            pid,
            process: ProcessProbe::new(pid)?,
            written: Vec::new(),
        })
    }

    /// Bytes written between the start and the end of the measured window: the first sample is
    /// from before the run.
    pub(super) fn written_in_window(&self) -> Option<u64> {
        match self.written.as_slice() {
            [_, first, .., last] => Some(last - first),
            _ => None,
        }
    }

    /// CPU time of all threads; the broker keeps its threads, so the sum only grows.
    fn cpu_s(&self) -> Option<f64> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid)).ok()? {
            // A thread may end between the two readings.
            if let Ok(times) = fs::read_to_string(task.ok()?.path().join("schedstat")) {
                nanos += times.split_whitespace().next()?.parse::<u64>().ok()?;
            }
        }
        Some(nanos as f64 / 1e9)
    }
}

impl BrokerProbe for Probe {
    fn sample(&mut self) -> Option<BrokerSample> {
        let mut sample = self.process.sample()?;
        // What is in ticks gives the shares of user and system only.
        let (user, system) = (sample.cpu_user_s, sample.cpu_system_s);
        let cpu_s = self.cpu_s()?;
        sample.cpu_user_s = if user > 0.0 {
            cpu_s * user / (user + system)
        } else {
            0.0
        };
        sample.cpu_system_s = cpu_s - sample.cpu_user_s;
        let io = fs::read_to_string(format!("/proc/{}/io", self.pid)).ok();
        if let Some(bytes) = io.and_then(|io| field(&io, "write_bytes:")) {
            self.written.push(bytes);
        }
        Some(sample)
    }
}

/// The number behind a name at the start of a line.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let rest = lines.find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_at_the_start_of_a_line() {
        let text = "nonvoluntary_ctxt_switches:\t9\nvoluntary_ctxt_switches:\t7\nVmRSS:  12 kB\n";
        assert_eq!(field(text, "voluntary_ctxt_switches:"), Some(7));
        assert_eq!(field(text, "VmRSS:"), Some(12));
        assert_eq!(field(text, "VmHWM:"), None);
    }

    #[test]
    fn a_process_is_observed_to_the_nanosecond() {
        let mut probe = Probe::new(std::process::id()).unwrap();
        let cpu_s = |sample: &BrokerSample| sample.cpu_user_s + sample.cpu_system_s;
        let first = probe.sample().unwrap();
        let mut sum = 0_u64;
        for number in 0..30_000_000_u64 {
            sum = std::hint::black_box(sum ^ number);
        }
        let second = probe.sample().unwrap();
        assert!(cpu_s(&second) > cpu_s(&first));
        assert!(second.rss_bytes > 0 && second.anon_bytes > Some(0));
        assert!(Probe::new(u32::MAX).is_err());
    }

    #[test]
    fn the_window_is_behind_the_first_sample() {
        let mut probe = Probe::new(std::process::id()).unwrap();
        assert_eq!(probe.written_in_window(), None);
        probe.written = vec![100, 150, 170, 400];
        assert_eq!(probe.written_in_window(), Some(250));
    }
}
