//! What arrives: packets of one connection, their answers, and what they say about guarantees.

use super::client::{Client, State};
use super::connect;
use super::context::Context;
use super::source::Source;
use crate::load::{LatencyFrom, Tracking};
use crate::measure::Measure;
use crate::mqtt::{self, AckKind, Malformed, Packet, PublishView};
use crate::payload::Stamp;
use crate::sequence::Arrival;

/// Why a connection cannot go on.
pub(super) type Fault = String;

/// Takes bytes from the network; keeps an incomplete packet for the next time.
pub(super) fn on_bytes(
    client: &mut Client,
    sources: &mut [Source],
    context: &mut Context,
    bytes: &[u8],
    now_ns: u64,
) -> Result<(), Fault> {
    if client.tail.is_empty() {
        let used = on_packets(client, sources, context, bytes, now_ns)?;
        client.tail.extend_from_slice(&bytes[used..]);
        return Ok(());
    }
    let mut joined = std::mem::take(&mut client.tail);
    joined.extend_from_slice(bytes);
    let used = on_packets(client, sources, context, &joined, now_ns)?;
    joined.drain(..used);
    client.tail = joined;
    Ok(())
}

fn on_packets(
    client: &mut Client,
    sources: &mut [Source],
    context: &mut Context,
    bytes: &[u8],
    now_ns: u64,
) -> Result<usize, Fault> {
    let version = context.job.version;
    let mut used = 0;
    loop {
        match mqtt::decode(&bytes[used..], version) {
            Ok(Some((packet, length))) => {
                on_packet(client, sources, context, &packet, now_ns)?;
                used += length;
            }
            Ok(None) => return Ok(used),
            Err(Malformed(what)) => {
                return Err(format!("the broker sent a malformed packet: {what}"));
            }
        }
    }
}

fn on_packet(
    client: &mut Client,
    sources: &mut [Source],
    context: &mut Context,
    packet: &Packet<'_>,
    now_ns: u64,
) -> Result<(), Fault> {
    match *packet {
        Packet::Publish(ref publish) => on_publish(client, sources, context, publish, now_ns),
        Packet::Ack {
            kind,
            packet_id,
            reason,
        } => on_ack(client, sources, context, (kind, packet_id, reason), now_ns),
        Packet::Connack {
            session_present,
            code,
            receive_maximum,
        } => {
            if code != 0 {
                return Err(format!("CONNACK with code {code}"));
            }
            client.receive_maximum = receive_maximum;
            connect::on_connack(client, context, session_present, now_ns);
            Ok(())
        }
        Packet::Suback { codes, .. } => match codes.iter().find(|code| **code >= 0x80) {
            Some(code) => Err(format!("subscription refused with code {code:#04x}")),
            None => {
                connect::on_suback(client, context);
                Ok(())
            }
        },
        Packet::Pingresp | Packet::Unsuback { .. } => Ok(()),
        Packet::Disconnect { reason } => Err(format!("DISCONNECT with code {reason:#04x}")),
        Packet::Connect(_) | Packet::Subscribe { .. } | Packet::Unsubscribe { .. } => {
            Err("the broker sent a client's packet".to_owned())
        }
        Packet::Pingreq => Err("the broker sent PINGREQ".to_owned()),
    }
}

fn on_publish(
    client: &mut Client,
    sources: &mut [Source],
    context: &mut Context,
    publish: &PublishView<'_>,
    now_ns: u64,
) -> Result<(), Fault> {
    match publish.qos {
        0 => {}
        1 => acknowledge(client, context, AckKind::Puback, publish.packet_id),
        _ => {
            acknowledge(client, context, AckKind::Pubrec, publish.packet_id);
            // Before PUBREL a repeated message is part of the same handshake, not a second copy.
            if publish.is_dup && client.inbound.contains(&publish.packet_id) {
                return Ok(());
            }
            client.inbound.push_back(publish.packet_id);
        }
    }
    context.tally.delivered += 1;
    context.recorder.count_delivered(now_ns);
    check_arrival(client, sources, context, publish, now_ns);
    Ok(())
}

fn check_arrival(
    client: &mut Client,
    sources: &mut [Source],
    context: &mut Context,
    publish: &PublishView<'_>,
    now_ns: u64,
) {
    let stamp = Stamp::decode(publish.payload);
    let Some((stamp, arrival)) = stamp.and_then(|s| Some((s, arrival(client, context, &s)?)))
    else {
        context.tally.unexpected += 1;
        return;
    };
    let Some(subscribe) = context.subscribe(client.group) else {
        return;
    };
    let (is_slow, is_ordered) = (subscribe.is_slow, subscribe.tracking == Tracking::Ordered);
    let begin_ns = match subscribe.latency_from {
        LatencyFrom::Intended => stamp.intended_ns,
        LatencyFrom::Connect => client.connect_begin_ns,
    };
    let skipped = match arrival {
        Arrival::New { skipped } => skipped,
        Arrival::Late => {
            context.tally.reordered += u64::from(is_ordered);
            0
        }
        Arrival::Again => {
            context.tally.doubled += 1;
            return;
        }
    };
    if is_slow {
        context.tally.first_copies_slow += 1;
        return;
    }
    context.tally.first_copies += 1;
    context.recorder.record(Measure::Latency, begin_ns, now_ns);
    if arrival != Arrival::Late {
        give_back(sources, context, stamp.source, 1 + skipped, now_ns);
    }
}

/// `None` for a message that the client did not ask for.
fn arrival(client: &mut Client, context: &mut Context, stamp: &Stamp) -> Option<Arrival> {
    let subscribe = context.subscribe(client.group)?;
    let expects = subscribe.expects?;
    let first = expects.first + client.number * expects.stride;
    let index = stamp.source.checked_sub(first)? as usize;
    let streams = match subscribe.tracking {
        Tracking::Shared => &mut context.shared[usize::from(client.group)],
        Tracking::Ordered | Tracking::Unordered => &mut client.streams,
    };
    streams.get_mut(index)?.on_arrival(stamp.sequence)
}

/// A closed loop sends again when what it sent has arrived.
fn give_back(sources: &mut [Source], context: &mut Context, source: u32, count: u64, now_ns: u64) {
    let Some(index) = context.local_source(source) else {
        return;
    };
    let source = &mut sources[index as usize];
    source.returned += count;
    source.returned_ns = now_ns;
    refill(source, context, index, false);
}

fn refill(source: &mut Source, context: &mut Context, index: u32, is_blocked: bool) {
    if (source.is_closed_loop() || is_blocked) && !source.is_refilled {
        source.is_refilled = true;
        context.refill.push(index);
    }
}

fn acknowledge(client: &mut Client, context: &mut Context, kind: AckKind, packet_id: u16) {
    mqtt::encode_ack(kind, packet_id, 0, &mut client.out);
    client.mark_dirty(context);
}

fn on_ack(
    client: &mut Client,
    sources: &mut [Source],
    context: &mut Context,
    (kind, packet_id, reason): (AckKind, u16, u8),
    now_ns: u64,
) -> Result<(), Fault> {
    match kind {
        AckKind::Pubrel => {
            let inbound = &mut client.inbound;
            match inbound.iter().position(|id| *id == packet_id) {
                Some(0) => drop(inbound.pop_front()),
                Some(index) => drop(inbound.remove(index)),
                None => {}
            }
            acknowledge(client, context, AckKind::Pubcomp, packet_id);
            return Ok(());
        }
        AckKind::Pubrec if reason < 0x80 => {
            acknowledge(client, context, AckKind::Pubrel, packet_id);
            return Ok(());
        }
        AckKind::Puback | AckKind::Pubrec | AckKind::Pubcomp => {}
    }
    let in_flight = &mut client.in_flight;
    let position = in_flight
        .iter()
        .position(|message| message.packet_id == packet_id);
    let message = match position {
        Some(0) => in_flight.pop_front(),
        Some(index) => in_flight.remove(index),
        None => None,
    };
    let Some(message) = message else {
        return Err("an acknowledgement of what was not sent".to_owned());
    };
    context.acknowledgements_open -= 1;
    if message.is_counted {
        context.tally.acknowledged += 1;
        context.tally.refused += u64::from(reason >= 0x80);
        context.recorder.count_acknowledged(now_ns);
        let begin_ns = message.intended_ns;
        context
            .recorder
            .record(Measure::AckLatency, begin_ns, now_ns);
    }
    let is_blocked = !client.blocked.is_empty();
    let index = message.source;
    refill(&mut sources[index as usize], context, index, is_blocked);
    Ok(())
}

/// What a connection owed when it ended is not waited for any more.
pub(super) fn forget_in_flight(client: &mut Client, context: &mut Context) {
    context.acknowledgements_open -= client.in_flight.len() as u64;
    client.in_flight.clear();
    if client.state != State::Ready {
        client.blocked.clear();
    }
}
