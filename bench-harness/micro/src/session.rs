//! A client that comes, subscribes and goes.

use crate::broker::Broker;
use crate::case::Workload;
use crate::packets;
use ringway::codec::{ProtocolVersion, QosLevel};

const CLIENTS: u16 = 16;
const VERSION: ProtocolVersion = ProtocolVersion::V311;

/// CONNECT, SUBSCRIBE and DISCONNECT of several clients, one after the other. With a clean session
/// everything is made and thrown away each time, without one it is found again.
#[derive(Debug)]
pub(crate) struct Cycle {
    broker: Broker,
    /// CONNECT and SUBSCRIBE of each client.
    arrivals: Vec<(Vec<u8>, Vec<u8>)>,
    is_clean: bool,
    runs: u64,
}

impl Cycle {
    pub(crate) fn new(is_clean: bool) -> Self {
        let broker = Broker::new(1, 64);
        let arrivals = (0..CLIENTS)
            .map(|number| {
                let client_id = broker.client_id(0, &format!("sensor-{number:06}"));
                let filter = format!("fleet/{number:06}/command");
                (
                    packets::connect(VERSION, &client_id, is_clean),
                    packets::subscribe(VERSION, &filter, QosLevel::AtLeastOnce),
                )
            })
            .collect();
        Self {
            broker,
            arrivals,
            is_clean,
            runs: 0,
        }
    }
}

impl Workload for Cycle {
    fn run(&mut self) {
        for (connect, subscribe) in &self.arrivals {
            self.broker.tick();
            let client = self.broker.connect(0, connect);
            self.broker.settle();
            self.broker.feed(client, subscribe);
            self.broker.settle();
            self.broker.feed_last(client, &packets::DISCONNECT);
            self.broker.settle();
        }
        self.runs += 1;
    }

    fn units(&self) -> u32 {
        u32::from(CLIENTS)
    }

    fn verify(&mut self) {
        let counters = self.broker.counters();
        let cycles = self.runs * u64::from(CLIENTS);
        assert_eq!(counters.connects_accepted, cycles);
        assert_eq!(counters.packets_received, 2 * cycles);
        assert_eq!(counters.protocol_errors, 0);
        let sessions = if self.is_clean { 0 } else { CLIENTS };
        assert_eq!(self.broker.population(), (0, usize::from(sessions)));
    }
}
