//! Bytes through real sockets: hand-over, slow readers, last bytes, full tables, resets.

use super::client::{Client, connect, payload, publish, subscribe};
use super::{Broker, ServeOptions, options};
use crate::base::random::Random;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// The whole conversation is sent at once, cut at random places, so that it is split between the
/// accepting core and the home core in all ways.
#[test]
fn hand_over_neither_loses_nor_reorders_bytes() {
    const CLIENTS: u64 = 60;
    const MESSAGES: u32 = 60;
    let broker = Broker::start(&options(2));
    let mut random = Random::new(11);
    for number in 0..CLIENTS {
        let name = format!("mover-{number}");
        let mut bytes = connect(&name);
        bytes.extend(subscribe(&name));
        for message in 0..MESSAGES {
            let length = usize::try_from(random.below(400)).unwrap();
            let mut body = message.to_be_bytes().to_vec();
            body.resize(4 + length, b'x');
            bytes.extend(publish(&name, &body));
        }
        let mut client = broker.client();
        send_in_pieces(&mut client, &bytes, &mut random);
        expect_in_order(&mut client, MESSAGES);
    }
    let (net, counters) = broker.stop().sums();
    assert_eq!(net.hand_overs_in, net.hand_overs_out);
    assert_eq!(net.hand_overs_out, counters.connections_handed_over);
    assert!(net.hand_overs_out > CLIENTS / 5, "{net:?}");
    assert_eq!(net.hand_overs_failed, 0);
    assert_eq!(net.closes, CLIENTS);
}

fn send_in_pieces(client: &mut Client, mut bytes: &[u8], random: &mut Random) {
    while !bytes.is_empty() {
        let most = if random.chance(1, 2) { 20 } else { 5000 };
        let length = usize::try_from(1 + random.below(most))
            .unwrap()
            .min(bytes.len());
        client.send(&bytes[..length]);
        bytes = &bytes[length..];
        if random.chance(1, 8) {
            std::thread::sleep(Duration::from_micros(random.below(300)));
        }
    }
}

/// CONNACK first; then the SUBACK anywhere among all messages in order.
fn expect_in_order(client: &mut Client, messages: u32) {
    assert_eq!(client.packet()[0], 0x20);
    let mut next = 0u32;
    let mut subscribed = false;
    while next < messages || !subscribed {
        let packet = client.packet();
        match packet[0] {
            0x90 => subscribed = true,
            0x30 => {
                let body = payload(&packet);
                assert_eq!(body[..4], next.to_be_bytes());
                assert!(body[4..].iter().all(|byte| *byte == b'x'));
                next += 1;
            }
            other => panic!("unexpected packet {other:#x}"),
        }
    }
}

/// A socket with a small receive buffer, so that the sender is stopped early.
fn narrow_stream(broker: &Broker) -> TcpStream {
    let address = broker.ready.addresses[0];
    // SAFETY: takes no pointers.
    let descriptor = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
    // SAFETY: just opened, and owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let bytes: i32 = 4096;
    // SAFETY: reads one i32 from this stack frame.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const bytes).cast(),
            4,
        )
    };
    assert_eq!(set, 0);
    let ip = match address.ip() {
        std::net::IpAddr::V4(ip) => u32::from(ip).to_be(),
        std::net::IpAddr::V6(_) => panic!("the listener is on IPv4"),
    };
    let target = libc::sockaddr_in {
        sin_family: 2,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: ip },
        sin_zero: [0; 8],
    };
    // SAFETY: reads one address from this stack frame.
    let connected = unsafe { libc::connect(socket.as_raw_fd(), (&raw const target).cast(), 16) };
    assert_eq!(connected, 0);
    TcpStream::from(socket)
}

#[test]
fn slow_reader_gets_every_byte_in_order() {
    const MESSAGES: u32 = 160;
    const BYTES: usize = 100_000;
    let mut options = options(2);
    options.limits.send_queue_bytes_max = 64 << 20;
    let broker = Broker::start(&options);
    let mut slow = Client::from_stream(narrow_stream(&broker)).connected("slow");
    slow.send(&subscribe("much"));
    assert_eq!(slow.packet()[0], 0x90);
    let mut fast = broker.client().connected("fast");
    for message in 0..MESSAGES {
        let mut body = message.to_be_bytes().to_vec();
        body.resize(BYTES, u8::try_from(message % 251).unwrap());
        fast.send(&publish("much", &body));
    }
    fast.ping();
    for message in 0..MESSAGES {
        let packet = slow.packet();
        let body = payload(&packet);
        assert_eq!(body.len(), BYTES);
        assert_eq!(body[..4], message.to_be_bytes());
        let fill = u8::try_from(message % 251).unwrap();
        assert!(body[4..].iter().all(|byte| *byte == fill));
        if message % 16 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    slow.ping();
    let (net, _) = broker.stop().sums();
    assert!(net.sends_partial > 0, "{net:?}");
    assert_eq!(net.sends_failed, 0);
}

/// Hundreds of small messages to one connection in one turn, and one large one in many pieces.
#[test]
fn send_with_more_pieces_than_the_kernel_takes_is_complete() {
    let mut options = options(1);
    options.limits.send_queue_bytes_max = 64 << 20;
    let broker = Broker::start(&options);
    let mut client = broker.client().connected("pieces");
    client.send(&subscribe("pieces"));
    assert_eq!(client.packet()[0], 0x90);
    // Each message is a head and a shared tail: two pieces.
    const MESSAGES: u32 = 3000;
    let mut writer = client.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        for message in 0..MESSAGES {
            let mut body = message.to_be_bytes().to_vec();
            body.resize(2500, 1);
            bytes.extend(publish("pieces", &body));
        }
        Write::write_all(&mut writer, &bytes).unwrap();
    });
    for message in 0..MESSAGES {
        let packet = client.packet();
        assert_eq!(payload(&packet)[..4], message.to_be_bytes());
    }
    sender.join().unwrap();
    broker.stop();
}

/// The peer of a closed connection reads the last bytes although it has sent more than anybody
/// wants: a reset would have thrown them away.
#[test]
fn last_bytes_arrive_although_the_peer_keeps_sending() {
    let broker = Broker::start(&options(1));
    let mut client = broker.client().connected("bad");
    let mut bytes = vec![0xf0, 0x00];
    bytes[0] = 0x00;
    bytes.resize(300_000, 0xff);
    let mut writer = client.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let _ = Write::write_all(&mut writer, &bytes);
        let _ = writer.shutdown(std::net::Shutdown::Write);
    });
    assert_eq!(client.packet()[0], 0xe0, "DISCONNECT");
    assert!(client.packet().is_empty(), "the end");
    sender.join().unwrap();
    let (net, counters) = broker.stop().sums();
    assert_eq!(counters.protocol_errors, 1);
    assert_eq!((net.closes, net.closes_forced), (1, 0));
}

#[test]
fn peer_that_ends_neither_side_is_closed_after_the_linger_time() {
    let broker = Broker::start(&options(1));
    let mut client = broker.client().connected("lazy");
    client.send(&[0x00, 0x00]);
    assert_eq!(client.packet()[0], 0xe0, "DISCONNECT");
    assert!(client.packet().is_empty(), "the end");
    // The client's side stays open; the broker must not wait for it.
    std::thread::sleep(Duration::from_millis(1200));
    let (net, _) = broker.stop().sums();
    assert_eq!((net.closes, net.closes_forced), (1, 1));
}

#[test]
fn full_table_stops_accepting_without_hurting_anybody() {
    let broker = Broker::start_with_tables(&options(1), Some((64, 1)));
    let mut inside: Vec<Client> = (0..32)
        .map(|number| broker.client().connected(&format!("inside-{number}")))
        .collect();
    let mut outside: Vec<Client> = (0..8).map(|_| broker.client()).collect();
    for (number, client) in outside.iter_mut().enumerate() {
        client.send(&connect(&format!("outside-{number}")));
    }
    std::thread::sleep(Duration::from_millis(300));
    inside.iter_mut().for_each(Client::ping);
    for mut client in outside {
        inside.pop();
        assert_eq!(client.packet()[0], 0x20);
        client.ping();
        inside.insert(0, client);
    }
    inside.iter_mut().for_each(Client::ping);
    let (net, _) = broker.stop().sums();
    assert_eq!(net.accepts, 40);
    assert!(net.accept_stops > 0, "{net:?}");
    assert!(net.turns < 1000, "the core spins: {net:?}");
}

/// Several times more connections than one table holds, on two cores: half of them are handed
/// over, to whichever ring has room there.
#[test]
fn cores_make_further_rings_when_their_tables_are_full() {
    further_rings(&options(2));
}

#[test]
fn cores_that_spin_serve_their_further_rings() {
    let mut options = options(2);
    options.spin_time = Duration::from_millis(1);
    further_rings(&options);
}

fn further_rings(options: &ServeOptions) {
    const CLIENTS: usize = 400;
    let broker = Broker::start_with_tables(options, Some((128, 16)));
    let mut clients: Vec<Client> = Vec::new();
    for number in 0..CLIENTS {
        let mut client = broker.client().connected(&format!("crowd-{number}"));
        client.send(&subscribe(&format!("crowd/{number}")));
        assert_eq!(client.packet()[0], 0x90);
        clients.push(client);
    }
    // Each publishes to the one that is half the crowd away: over all pairs of rings.
    for number in 0..CLIENTS {
        let target = (number + CLIENTS / 2) % CLIENTS;
        let body = u32::try_from(number).unwrap().to_be_bytes();
        clients[number].send(&publish(&format!("crowd/{target}"), &body));
        assert_eq!(payload(&clients[target].packet()), body);
    }
    clients.iter_mut().for_each(Client::ping);
    // Slots become free on every ring and are used again.
    clients.truncate(CLIENTS / 2);
    for number in CLIENTS / 2..CLIENTS {
        clients.push(broker.client().connected(&format!("later-{number}")));
    }
    clients.iter_mut().for_each(Client::ping);
    let (net, _) = broker.stop().sums();
    assert!(net.rings >= 4, "{net:?}");
    assert_eq!((net.hand_overs_failed, net.accept_stops), (0, 0), "{net:?}");
    assert_eq!(net.accepts, net.closes, "{net:?}");
}

#[test]
fn listener_limit_refuses_and_frees() {
    let mut options = options(2);
    options.listeners[0].max_connections = 5;
    let broker = Broker::start(&options);
    let mut inside: Vec<Client> = (0..5)
        .map(|number| broker.client().connected(&format!("in-{number}")))
        .collect();
    let mut refused = broker.client();
    assert!(refused.packet().is_empty());
    inside.iter_mut().for_each(Client::ping);
    drop(inside.pop());
    let start = Instant::now();
    loop {
        // Refused before its CONNECT was read, it may see a reset.
        let mut again = broker.client().stream;
        let mut first = [0];
        let _ = again.write_all(&connect("again"));
        if again.read_exact(&mut first).is_ok() && first == [0x20] {
            break;
        }
        assert!(start.elapsed() < super::PATIENCE);
    }
    let (net, _) = broker.stop().sums();
    assert!(net.accepts_refused >= 1);
    assert_eq!(net.accepts, net.closes);
}

/// Clients that vanish at any point of their life, half of them with a reset.
#[test]
fn vanishing_clients_leave_nothing_behind() {
    const CLIENTS: u64 = 300;
    let broker = Broker::start(&options(2));
    let mut witness = broker.client().connected("witness");
    let mut random = Random::new(5);
    let mut open: Vec<Client> = Vec::new();
    for number in 0..CLIENTS {
        let mut client = broker.client();
        let mut bytes = connect(&format!("ghost-{number}"));
        bytes.extend(subscribe("ghosts/#"));
        bytes.extend(publish("ghosts/1", &[1; 3000]));
        let cut = usize::try_from(random.below(bytes.len() as u64 + 1)).unwrap();
        client.send(&bytes[..cut]);
        open.push(client);
        while open.len() > 20 {
            let index = usize::try_from(random.below(open.len() as u64)).unwrap();
            let gone = open.swap_remove(index);
            if random.chance(1, 2) {
                reset_at_close(&gone.stream);
            }
        }
    }
    drop(open);
    witness.ping();
    // The other core may still be taking the last ones from its backlog.
    std::thread::sleep(Duration::from_millis(300));
    let (net, _) = broker.stop().sums();
    assert!(
        net.accepts > CLIENTS / 2 && net.accepts <= CLIENTS + 1,
        "{net:?}"
    );
    assert_eq!(net.accepts, net.closes, "{net:?}");
    assert_eq!(net.hand_overs_in, net.hand_overs_out);
}

fn reset_at_close(stream: &TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: reads one linger from this stack frame.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            8,
        )
    };
    assert_eq!(set, 0);
}
