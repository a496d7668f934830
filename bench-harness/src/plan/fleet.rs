//! Memory by connection: a fleet connects evenly, and user and kernel memory are read while it
//! grows. The generator's own ends of the connections are in the kernel too; what such an end takes
//! is measured before, with connections of this process to itself.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::broker::Measured;
use super::data::{FleetKind, FleetPoint, FleetStep};
use super::probe::{Probe, field};
use crate::control::{self, Setup, Status, new_run_id};
use crate::result::BrokerProbe as _;
use crate::scenario::Options;

/// Sizes at which memory is read.
const STEPS: u64 = 8;
/// Connections that the kernel's share of one is measured with.
const OWN_CONNECTIONS: usize = 1_000;
/// Inode and directory entry of a socket: the kernel could give such memory back in general, but
/// not that of an open socket.
const SOCKET_FILE_BYTES: f64 = 862.0 + 195.0;
/// For what the kernel frees late.
const SETTLE: Duration = Duration::from_millis(300);

/// Bytes of kernel memory of this host that cannot be given back. What can be is mostly caches of
/// files, whose size changes by itself.
fn kernel_bytes() -> Result<u64, String> {
    let text = fs::read_to_string("/proc/meminfo").map_err(|error| error.to_string())?;
    field(&text, "SUnreclaim:")
        .map(|kibibytes| kibibytes * 1_024)
        .ok_or_else(|| "/proc/meminfo does not tell the kernel's memory".to_owned())
}

/// The same of one end of a connection.
pub(super) fn kernel_bytes_of_an_end() -> Result<f64, String> {
    let failed = |error: std::io::Error| format!("connections to this process: {error}");
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let before = kernel_bytes()?;
    let mut ends = Vec::with_capacity(2 * OWN_CONNECTIONS);
    for _ in 0..OWN_CONNECTIONS {
        ends.push(TcpStream::connect(address).map_err(failed)?);
        ends.push(listener.accept().map_err(failed)?.0);
    }
    let after = kernel_bytes()?;
    // With a reset, so that no end stays behind in the kernel for a minute.
    for end in &ends {
        let socket = socket2::SockRef::from(end);
        socket.set_linger(Some(Duration::ZERO)).map_err(failed)?;
    }
    drop(ends);
    std::thread::sleep(SETTLE);
    Ok(after.saturating_sub(before) as f64 / (2 * OWN_CONNECTIONS) as f64)
}

/// Connects `connections` clients of a kind, evenly over `seconds`.
pub(super) struct FleetRun {
    pub kind: FleetKind,
    pub cores: u32,
    pub connections: u64,
    pub seconds: f64,
    pub end_bytes: f64,
}

impl FleetRun {
    pub(super) fn measure(
        &self,
        broker: &Measured,
        probe: &mut Probe,
        show: &mut dyn FnMut(Status<'_>),
    ) -> Result<FleetPoint, String> {
        let kernel_before = kernel_bytes()?;
        let mut steps = Vec::new();
        let mut next = self.connections / STEPS;
        let mut on_status = |status: Status<'_>| {
            if status.connected >= next {
                next = (status.connected + 1).max(next + self.connections / STEPS);
                if let Some(step) = self.step(status.connected, kernel_before, probe) {
                    steps.push(step);
                }
            }
            show(status);
        };
        let run = control::run(&self.setup(broker), None, &mut on_status)?;
        let counts = &run.result.counts;
        if counts.connect_failures + counts.disconnects > 0 {
            let reason = run.result.void.first().cloned().unwrap_or_default();
            return Err(format!("a fleet lost connections: {reason}"));
        }
        // The last of a fleet may be seen several times while it holds.
        steps.dedup_by_key(|step: &mut FleetStep| step.connections);
        Ok(FleetPoint {
            kind: self.kind,
            cores: self.cores,
            steps,
        })
    }

    fn step(&self, connections: u64, kernel_before: u64, probe: &mut Probe) -> Option<FleetStep> {
        let user_bytes = probe.sample()?.anon_bytes?;
        let grown = kernel_bytes().ok()? as f64 - kernel_before as f64;
        let of_connections = (SOCKET_FILE_BYTES - self.end_bytes) * connections as f64;
        Some(FleetStep {
            connections,
            user_bytes,
            kernel_bytes: (grown + of_connections) as i64,
        })
    }

    fn setup(&self, broker: &Measured) -> Setup {
        let rate = self.connections as f64 / self.seconds;
        let count = self.connections;
        let scenario = match self.kind {
            FleetKind::Connected => format!("conn-tcp-{count}-{rate:.0}"),
            FleetKind::Subscribed | FleetKind::Secure => format!("idle-{count}"),
            FleetKind::Persistent => format!("idle-persistent-{count}"),
        };
        Setup {
            options: Options {
                connect_rate: Some(rate),
                warm_up_s: 0.3,
                duration_s: 0.3,
                run_id: new_run_id(),
                ..Options::default()
            },
            tls: broker.tls(),
            ..Setup::new(
                &scenario,
                broker.target(self.kind == FleetKind::Secure).clone(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_its_memory() {
        assert!(kernel_bytes().unwrap() > 0);
    }
}
