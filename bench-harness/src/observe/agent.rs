//! Observation of a broker on another host: an agent beside it answers over TCP.
//!
//! The protocol is lines. The generator sends `sample`, the agent answers with one line of JSON, a
//! [`BrokerSample`], or `gone` when the process has ended. One generator at a time is served; who
//! says anything else, or nothing for ten minutes, is let go.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use super::ProcessProbe;
use crate::result::{BrokerProbe, BrokerSample};

const REQUEST: &str = "sample";
const GONE: &str = "gone";
/// Of a request or an answer.
const LINE_BYTES_MAX: u64 = 4_096;
const ANSWER_TIME: Duration = Duration::from_secs(5);
const IDLE_TIME: Duration = Duration::from_mins(10);

/// The agent: owns its listening socket.
#[derive(Debug)]
pub struct Agent {
    listener: TcpListener,
    probe: ProcessProbe,
}

impl Agent {
    /// # Errors
    /// The address cannot be had, or the process cannot be read.
    pub fn bind(address: &str, pid: u32) -> Result<Self, String> {
        let probe = ProcessProbe::new(pid)?;
        let listener = TcpListener::bind(address).map_err(|error| format!("{address}: {error}"))?;
        Ok(Self { listener, probe })
    }

    /// # Errors
    /// The kernel does not say it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves one generator after the other until the observed process has ended.
    ///
    /// # Errors
    /// The listening socket broke.
    pub fn serve(mut self) -> io::Result<()> {
        while self.probe.sample().is_some() {
            let (stream, _) = self.listener.accept()?;
            // A generator that breaks off concerns nobody else.
            let _ = answer(stream, &mut self.probe);
        }
        Ok(())
    }
}

fn answer(stream: TcpStream, probe: &mut dyn BrokerProbe) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE_TIME))?;
    stream.set_write_timeout(Some(ANSWER_TIME))?;
    stream.set_nodelay(true)?;
    let mut requests = BufReader::new(stream.try_clone()?);
    let mut answers = stream;
    while read_line(&mut requests)?.is_some_and(|line| line == REQUEST) {
        let text = match probe.sample() {
            Some(sample) => serde_json::to_string(&sample)?,
            None => GONE.to_owned(),
        };
        answers.write_all(format!("{text}\n").as_bytes())?;
    }
    Ok(())
}

/// A line without its end; `None` at the end of the stream or when it is too long.
fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut line = String::new();
    io::Read::take(stream, LINE_BYTES_MAX).read_line(&mut line)?;
    Ok(line.strip_suffix('\n').map(str::to_owned))
}

/// The generator's side.
#[derive(Debug)]
pub struct AgentProbe {
    stream: BufReader<TcpStream>,
}

impl AgentProbe {
    /// # Errors
    /// Nobody answers there as an agent does.
    pub fn connect(address: &str) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("agent at {address}: {error}");
        let mut found = address.to_socket_addrs().map_err(|error| failed(&error))?;
        let found = found.next().ok_or_else(|| failed(&"no address"))?;
        let opened = TcpStream::connect_timeout(&found, ANSWER_TIME).and_then(|stream| {
            stream.set_read_timeout(Some(ANSWER_TIME))?;
            stream.set_write_timeout(Some(ANSWER_TIME))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        let stream = BufReader::new(opened.map_err(|error| failed(&error))?);
        let mut probe = Self { stream };
        match probe.sample() {
            Some(_) => Ok(probe),
            None => Err(failed(&"no figures; is it `ringway-bench agent`?")),
        }
    }
}

impl BrokerProbe for AgentProbe {
    fn sample(&mut self) -> Option<BrokerSample> {
        let request = format!("{REQUEST}\n");
        self.stream.get_mut().write_all(request.as_bytes()).ok()?;
        serde_json::from_str(&read_line(&mut self.stream).ok()??).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn agent_serves_one_generator_after_the_other() {
        let agent = Agent::bind("127.0.0.1:0", std::process::id()).unwrap();
        let address = agent.address().unwrap().to_string();
        thread::spawn(move || agent.serve());
        for _ in 0..2 {
            let mut probe = AgentProbe::connect(&address).unwrap();
            assert!(probe.sample().unwrap().rss_bytes > 0);
        }
        // Not one of ours: let go, and the next one is served.
        let mut stranger = TcpStream::connect(&address).unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut probe = AgentProbe::connect(&address).unwrap();
        assert!(probe.sample().is_some());
    }

    #[test]
    fn what_is_no_agent_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"220 mail\n").unwrap();
        });
        let error = AgentProbe::connect(&address).unwrap_err();
        assert!(error.contains("no figures"), "{error}");
        assert!(AgentProbe::connect("127.0.0.1:1").is_err());
        assert!(Agent::bind("127.0.0.1:0", u32::MAX).is_err());
    }
}
