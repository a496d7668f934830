//! The clients' hosts: opening and closing sockets, reading, stalling, and the faults of the
//! network between.

use super::World;
use crate::client::act::Step;
use crate::client::rude::Rudeness;
use crate::network::{Connection, Hangup, Parcel, Place};
use crate::schedule::Event;
use crate::swarm::Theme;
use crate::wire::Version;
use ringway::base::time::Instant;
use ringway::shard::interface::CloseCause;
use std::time::Duration;

/// The broker must have ended a rude connection by then: the longest of its deadlines, keep alive
/// and connect timeout, and some time for the way.
const RUDE_TIME_MAX: Duration = Duration::from_secs(8);
/// The longest DISCONNECT that says only why.
const TAIL_BYTES: usize = 4;
/// Connections that a rude client makes.
const RUDE_CONNECTIONS: usize = 12;

/// A rude client and its present connection.
#[derive(Debug)]
pub(super) struct Rude {
    client_id: String,
    connection: Option<(usize, Rudeness, Instant)>,
    left: usize,
}

impl Rude {
    pub(super) fn new(index: usize) -> Self {
        Self {
            client_id: format!("rude-{index}"),
            connection: None,
            left: RUDE_CONNECTIONS,
        }
    }

    pub(super) const fn is_connected(&self) -> bool {
        self.connection.is_some()
    }
}

/// Sockets.
impl World {
    fn open(&mut self, endpoint: usize) -> usize {
        let shard = self.schedule.random().below(self.nodes.len() as u64) as usize;
        let now = self.schedule.now();
        let connection = self.network.len();
        let bytes_max = self.swarm.down_bytes_max;
        self.network
            .push(Connection::new(endpoint, shard, bytes_max, now));
        let delay = self.network_delay();
        self.schedule.after(delay, Event::Accept { connection });
        connection
    }

    fn send_up(&mut self, connection: usize, parcel: Parcel) {
        let it = &mut self.network[connection];
        if it.hangup.is_some() || matches!(it.place, Place::Gone) {
            return;
        }
        let arrival = self.schedule.now() + self.network_delay();
        let arrival = self.network[connection].up.send(parcel, arrival);
        self.schedule.at(arrival, Event::Arrive { connection });
    }

    pub(super) fn hang_up(&mut self, connection: usize, how: Hangup) {
        let now = self.schedule.now();
        self.trace
            .note(now, format_args!("  #{connection} hangs up: {how:?}"));
        match how {
            Hangup::Close | Hangup::HalfClose => self.send_up(connection, Parcel::Fin),
            Hangup::Reset => {
                self.network[connection].up.clear();
                self.network[connection].down.clear();
                self.send_up(connection, Parcel::Reset);
            }
            Hangup::Vanish => self.network[connection].up.clear(),
        }
        self.network[connection].hangup = Some(how);
    }

    pub(super) fn deliver(&mut self, connection: usize) {
        let it = &mut self.network[connection];
        it.down.arrive();
        if it.is_read() {
            self.plan_client_read(connection);
        } else if it.hangup != Some(Hangup::Vanish) {
            // Nobody listens: the socket's buffer does not fill.
            it.down.waiting.clear();
        }
    }

    pub(super) fn plan_client_read(&mut self, connection: usize) {
        let it = &mut self.network[connection];
        if !it.client_read_planned {
            it.client_read_planned = true;
            let at = if self.calm {
                self.schedule.now()
            } else {
                it.stalled_until
            };
            self.schedule.at(at, Event::ClientRead { connection });
        }
    }

    pub(super) fn client_read(&mut self, connection: usize) {
        let now = self.schedule.now();
        let split = !self.calm && self.faults.chance(self.swarm.faults.split_read, 10_000);
        let it = &mut self.network[connection];
        it.client_read_planned = false;
        if !it.is_read() {
            return;
        }
        if it.stalled_until > now && !self.calm {
            self.plan_client_read(connection);
            return;
        }
        let waiting = it.down.waiting.len();
        let count = match split && waiting > 0 {
            true => 1 + self.faults.below(waiting as u64) as usize,
            false => waiting,
        };
        let bytes = it.down.read(count);
        it.tail.extend(&bytes);
        let old = it.tail.len().saturating_sub(TAIL_BYTES);
        it.tail.drain(..old);
        if !bytes.is_empty() && !matches!(it.place, Place::Gone) {
            self.plan_write(connection);
        }
        self.take_bytes(connection, &bytes);
        let it = &self.network[connection];
        if !it.down.waiting.is_empty() {
            self.plan_client_read(connection);
        } else if it.down.fin {
            self.end_at_client(connection);
        }
    }

    fn take_bytes(&mut self, connection: usize, bytes: &[u8]) {
        let endpoint = self.network[connection].endpoint;
        if endpoint >= self.clients.len() || bytes.is_empty() {
            return;
        }
        let result = self.with_client(endpoint, |client, context| {
            client.on_bytes(context, connection, bytes)
        });
        if let Err(fault) = result {
            self.fail(format!("client {endpoint} on #{connection}: {fault}"));
        }
        self.send_output(endpoint);
    }

    fn end_at_client(&mut self, connection: usize) {
        let endpoint = self.network[connection].endpoint;
        if endpoint < self.clients.len() {
            self.check_goodbye(connection);
            let said = self.clients[endpoint].on_end(connection);
            self.trace.note(
                self.schedule.now(),
                format_args!("  #{connection} end seen by client {endpoint}: {said:?}"),
            );
        }
        if self.network[connection].hangup != Some(Hangup::HalfClose) {
            self.hang_up(connection, Hangup::Close);
        }
        self.network[connection].hangup = Some(Hangup::Close);
    }

    /// A 5.0 client whose session was taken over hears so [MQTT-3.1.4-3].
    fn check_goodbye(&mut self, connection: usize) {
        let it = &self.network[connection];
        let history = &self.auditor.receivers[it.endpoint].history.attempts;
        let attempt = history
            .iter()
            .find(|attempt| attempt.connection == connection);
        let connected = attempt.is_some_and(|attempt| attempt.confirmed.is_some());
        let v5 = self.clients[it.endpoint].profile.version == Version::V5;
        let taken_over = matches!(it.ended, Some((_, CloseCause::SessionTakenOver)));
        if !(v5 && connected && taken_over) || it.cut_short || it.down.reset {
            return;
        }
        let heard = it.tail.ends_with(b"\xe0\x01\x8e") || it.tail.ends_with(b"\xe0\x02\x8e\0");
        if !heard {
            self.fail(format!(
                "#{connection}: taken over without a word: {:02x?}",
                it.tail
            ));
        }
    }

    /// What a client has written goes on its way.
    pub(super) fn send_output(&mut self, index: usize) {
        let Some(live) = &mut self.clients[index].live else {
            return;
        };
        if live.output.is_empty() {
            return;
        }
        let connection = live.connection;
        let bytes = std::mem::take(&mut live.output);
        self.send_up(connection, Parcel::Bytes(bytes));
    }
}

/// Clients.
impl World {
    pub(super) fn act(&mut self, endpoint: usize) {
        let Some(rude) = endpoint.checked_sub(self.clients.len()) else {
            self.act_client(endpoint);
            let client = &self.clients[endpoint];
            let pause = client.pause(&self.swarm, self.calm, &mut self.workload);
            self.schedule.after(pause, Event::Act { endpoint });
            return;
        };
        self.act_rude(rude, endpoint);
    }

    fn act_client(&mut self, index: usize) {
        self.suffer(index);
        match self.with_client(index, |client, context| client.act(context)) {
            Step::Nothing => {}
            Step::Open => self.open_client(index),
            Step::Leave => {
                self.send_output(index);
                if let Some(connection) = self.clients[index].forget_connection() {
                    self.hang_up(connection, Hangup::Close);
                }
            }
            Step::TakeOver => {
                self.send_output(index);
                self.clients[index].forget_connection();
                self.open_client(index);
            }
        }
        self.send_output(index);
    }

    /// A client may open a connection once the outcome of its earlier CONNECT packets is settled:
    /// one that is still on its way could overtake the new one.
    pub(super) fn open_client(&mut self, index: usize) {
        if !self.is_serving {
            return;
        }
        let history = &self.auditor.receivers[index].history;
        let unsettled = history
            .attempts
            .iter()
            .any(|attempt| attempt.confirmed.is_none() && attempt.ended.is_none());
        if unsettled {
            return;
        }
        let connection = self.open(index);
        self.with_client(index, |client, context| {
            let (clean_start, expiry_s) = client.draw_session(context);
            let wills = context.swarm.features.wills;
            let wanted = wills && !context.calm && context.random.chance(1, 2);
            let will = wanted.then(|| client.draw_will(context));
            client.connect(context, connection, clean_start, expiry_s, will);
        });
        self.send_output(index);
    }

    /// Faults that hit a client's connection.
    fn suffer(&mut self, index: usize) {
        if self.calm || self.clients[index].profile.scripted {
            return;
        }
        let Some(live) = &self.clients[index].live else {
            return;
        };
        let (connection, connected) = (live.connection, live.connected);
        // A client that is cut before it is connected, over and over, shows nothing.
        if !connected && self.faults.chance(19, 20) {
            return;
        }
        let faults = &self.swarm.faults;
        let mut hit = |weight| self.faults.chance(weight, 10_000);
        if hit(faults.stall) {
            let until = self.schedule.now() + Duration::from_micros(1 << self.faults.below(24));
            self.network[connection].stalled_until = until;
            return;
        }
        let how = if hit(faults.reset) {
            Hangup::Reset
        } else if hit(faults.close_without_disconnect) {
            Hangup::Close
        } else if hit(faults.half_close) {
            self.hang_up(connection, Hangup::HalfClose);
            return;
        } else if connected && hit(faults.vanish) {
            Hangup::Vanish
        } else {
            return;
        };
        self.clients[index].forget_connection();
        self.hang_up(connection, how);
    }

    /// The broker ended a connection: was it allowed to?
    pub(super) fn on_broker_ended(&mut self, connection: usize, now: Instant, cause: CloseCause) {
        let endpoint = self.network[connection].endpoint;
        if endpoint >= self.clients.len() {
            return;
        }
        if let Err(fault) = self.check_end(connection, now, cause) {
            self.fail(format!(
                "client {endpoint} on #{connection}: {cause:?}: {fault}"
            ));
        }
        self.auditor.on_ended(endpoint, connection, now, cause);
    }

    fn check_end(
        &self,
        connection: usize,
        now: Instant,
        cause: CloseCause,
    ) -> Result<(), &'static str> {
        let it = &self.network[connection];
        let client = &self.clients[it.endpoint];
        match cause {
            CloseCause::ClientDisconnected | CloseCause::NetworkClosed => Ok(()),
            CloseCause::SessionTakenOver => {
                let attempts = &self.auditor.receivers[it.endpoint].history.attempts;
                let newer = attempts
                    .iter()
                    .any(|attempt| attempt.connection > connection);
                if newer { Ok(()) } else { Err("by nobody") }
            }
            CloseCause::KeepAliveTimeout => {
                // [MQTT-3.1.2-22]
                let keep_alive_s = match client.profile.keep_alive_s {
                    0 => self.swarm.limits.keep_alive_max_s,
                    own => own.min(self.swarm.limits.keep_alive_max_s),
                };
                let silence = Duration::from_secs(keep_alive_s.into()) * 3 / 2;
                let silent = now.saturating_since(it.fed_at) >= silence;
                if silent || it.paused_ever {
                    Ok(())
                } else {
                    Err("it was not silent")
                }
            }
            CloseCause::SlowConsumer => {
                let blocked = it.blocked_since.is_some_and(|since| {
                    now.saturating_since(since) >= self.swarm.limits.send_timeout
                });
                if blocked {
                    Ok(())
                } else {
                    Err("its socket was not blocked so long")
                }
            }
            CloseCause::ConnectTimeout => {
                let cut = it.hangup.is_some();
                if cut {
                    Ok(())
                } else {
                    Err("it sent CONNECT at once")
                }
            }
            CloseCause::ConnectRefused(_) if self.swarm.theme == Theme::Narrow => Ok(()),
            // 3.x has no word for it.
            CloseCause::LimitReached("the disk is full")
                if client.profile.version != Version::V5 && self.auditor.is_disk_full() =>
            {
                Ok(())
            }
            CloseCause::ProtocolError(_)
            | CloseCause::ConnectRefused(_)
            | CloseCause::LimitReached(_)
            | CloseCause::ServerStopping => Err("it did nothing wrong"),
        }
    }
}

/// Rude clients.
impl World {
    fn act_rude(&mut self, index: usize, endpoint: usize) {
        let now = self.schedule.now();
        if let Some((connection, rudeness, since)) = self.rude[index].connection {
            let over = self.network[connection].ended.is_some();
            if over || self.calm || rudeness == Rudeness::NeverReads && since + RUDE_TIME_MAX < now
            {
                self.rude[index].connection = None;
                self.hang_up(connection, Hangup::Reset);
            } else if rudeness.is_ended() && since + RUDE_TIME_MAX < now {
                self.fail(format!("{rudeness:?} on #{connection} was not ended"));
            }
        } else if self.rude[index].left > 0 && !self.calm && self.is_serving {
            self.rude[index].left -= 1;
            self.begin_rudeness(index, endpoint);
        }
        let pause = Duration::from_millis(1 + self.workload.below(2_000));
        self.schedule.after(pause, Event::Act { endpoint });
    }

    fn begin_rudeness(&mut self, index: usize, endpoint: usize) {
        let rudeness = Rudeness::draw(&mut self.workload);
        let bytes = rudeness.bytes(&self.rude[index].client_id, &mut self.workload);
        let connection = self.open(endpoint);
        self.trace.note(
            self.schedule.now(),
            format_args!("  #{connection} is rude: {rudeness:?}"),
        );
        if rudeness == Rudeness::NeverReads {
            self.network[connection].stalled_until = Instant::from_micros(u64::MAX);
        }
        if !bytes.is_empty() {
            self.send_up(connection, Parcel::Bytes(bytes));
        }
        self.rude[index].connection = Some((connection, rudeness, self.schedule.now()));
    }
}
