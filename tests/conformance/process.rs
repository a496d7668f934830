//! The real process behind the conversations.

use crate::Server;
use crate::script::Conversation;
use crate::support::Broker;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

pub(crate) struct Process {
    broker: Broker,
    streams: BTreeMap<char, TcpStream>,
}

/// Long enough for a busy machine, and only waited for when something is missing.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long silence is watched.
const QUIET: Duration = Duration::from_millis(50);

impl Process {
    pub(crate) fn new(cores: usize, conversation: &Conversation) -> Self {
        let url = format!("tcp://127.0.0.1:0{}", conversation.listener);
        let mut arguments = vec!["--listen", &url];
        for setting in &conversation.settings {
            arguments.extend(["--set", setting]);
        }
        Self {
            broker: Broker::start_with(cores, &arguments),
            streams: BTreeMap::new(),
        }
    }

    fn stream(&mut self, client: char) -> &mut TcpStream {
        let address = self.broker.address;
        self.streams.entry(client).or_insert_with(|| {
            let stream = TcpStream::connect(address).expect("the broker accepts");
            stream.set_nodelay(true).expect("a TCP socket");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            stream
        })
    }
}

impl Server for Process {
    fn send(&mut self, client: char, bytes: &[u8]) {
        let _ = self.stream(client).write_all(bytes);
    }

    fn receive(&mut self, client: char, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let mut filled = 0;
        while filled < count {
            match self.stream(client).read(&mut bytes[filled..]) {
                Ok(0) | Err(_) => break,
                Ok(more) => filled += more,
            }
        }
        bytes.truncate(filled);
        bytes
    }

    fn is_quiet(&mut self, client: char) -> bool {
        let stream = self.stream(client);
        stream.set_read_timeout(Some(QUIET)).expect("a timeout");
        let outcome = stream.read(&mut [0]);
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let kind = outcome.err().map(|error| error.kind());
        matches!(kind, Some(ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    fn is_closed(&mut self, client: char) -> bool {
        let outcome = self.stream(client).read(&mut [0]);
        self.streams.remove(&client);
        match outcome {
            Ok(count) => count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    fn cut(&mut self, client: char) {
        if let Some(stream) = self.streams.remove(&client) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The end travels on its own connection: let it arrive before the others go on.
        std::thread::sleep(QUIET);
    }

    fn advance(&mut self, _seconds: u64) {
        unreachable!("conversations with virtual time are not played against the process");
    }
}
