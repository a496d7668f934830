//! Bytes and packets on the network: arithmetic from the sizes of MQTT and TCP, nothing measured.

use super::cost::Message;
use super::linear::Interval;

/// Preamble, header, checksum and gap of Ethernet; IPv4; TCP with timestamps.
const FRAME_BYTES: f64 = 38.0 + 20.0 + 32.0;
/// Payload of a full segment.
const SEGMENT_BYTES: f64 = 1_448.0;
/// PUBACK, PUBREC, PUBREL, PUBCOMP without properties.
const ANSWER_BYTES: f64 = 4.0;
const PING_BYTES: f64 = 2.0;
/// Header, tag and content type of a record of TLS 1.3 (RFC 8446 section 5.2).
const RECORD_BYTES: f64 = 5.0 + 16.0 + 1.0;
/// Plain bytes of a record at most.
const RECORD_BYTES_MAX: f64 = 16_384.0;
/// Receivers acknowledge at least each second segment.
const SEGMENTS_PER_ACK: f64 = 2.0;

/// One direction, per second.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Direction {
    /// On the wire with all headers; from everything in full segments to everything alone.
    pub bits_per_s: Interval,
    pub packets_per_s: Interval,
}

#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Network {
    pub to_broker: Direction,
    pub from_broker: Direction,
}

/// Bytes of MQTT per second in one direction, and the segments of its packets when each goes alone.
#[derive(Clone, Copy)]
struct Flow {
    bytes: f64,
    segments: f64,
}

pub fn load(message: &Message, rate: f64, topic_bytes: f64, pings_per_s: f64) -> Network {
    let publish = publish_bytes(message, topic_bytes);
    // Each packet is a record of its own, or several.
    let record = if message.is_tls { RECORD_BYTES } else { 0.0 };
    let publish = publish + (publish / RECORD_BYTES_MAX).ceil() * record;
    let (answer, ping) = (ANSWER_BYTES + record, PING_BYTES + record);
    let flow = |publishes: f64, packets: f64| {
        let answers = (packets - publishes) * rate;
        let segments = (publish / SEGMENT_BYTES).ceil() * publishes * rate;
        Flow {
            bytes: publish * publishes * rate + answers * answer + pings_per_s * ping,
            segments: segments + answers + pings_per_s,
        }
    };
    let inbound = flow(1.0, message.packets_in());
    let outbound = flow(message.fan_out, message.packets_out());
    Network {
        to_broker: direction(inbound, outbound),
        from_broker: direction(outbound, inbound),
    }
}

/// What flows back is acknowledged here: by segments of their own at most, by none at least.
fn direction(flow: Flow, back: Flow) -> Direction {
    let full = flow.bytes / SEGMENT_BYTES + back.bytes / SEGMENT_BYTES / SEGMENTS_PER_ACK;
    let packets_per_s = Interval {
        low: full.min(flow.segments),
        estimate: flow.segments + back.segments / SEGMENTS_PER_ACK,
        high: flow.segments + back.segments,
    };
    Direction {
        bits_per_s: packets_per_s.map(|packets| (flow.bytes + packets * FRAME_BYTES) * 8.0),
        packets_per_s,
    }
}

fn publish_bytes(message: &Message, topic_bytes: f64) -> f64 {
    let packet_id = if message.qos > 0 { 2.0 } else { 0.0 };
    let property_length = if message.is_v5 { 1.0 } else { 0.0 };
    let rest = 2.0 + topic_bytes + packet_id + property_length + message.payload_bytes;
    // Seven bits of the remaining length to a byte.
    let length_bytes = [128.0, 16_384.0, 2_097_152.0]
        .iter()
        .filter(|limit| rest >= **limit)
        .count() as f64;
    2.0 + length_bytes + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(qos: u8, payload_bytes: f64, fan_out: f64) -> Message {
        Message {
            qos,
            payload_bytes,
            fan_out,
            is_v5: false,
            is_durable: false,
            is_tls: false,
            batch: 1.0,
        }
    }

    #[test]
    fn packets_have_their_size() {
        // Fixed header 2, topic 2 + 10, payload.
        assert_eq!(publish_bytes(&message(0, 50.0, 1.0), 10.0), 64.0);
        assert_eq!(publish_bytes(&message(1, 50.0, 1.0), 10.0), 66.0);
        assert_eq!(publish_bytes(&message(0, 1_000.0, 1.0), 10.0), 1_015.0);
        let v5 = Message {
            is_v5: true,
            ..message(0, 50.0, 1.0)
        };
        assert_eq!(publish_bytes(&v5, 10.0), 65.0);
    }

    #[test]
    fn each_direction_carries_its_packets() {
        let network = load(&message(1, 50.0, 10.0), 1_000.0, 10.0, 0.0);
        // In: a PUBLISH and ten PUBACKs; out: ten PUBLISHes and a PUBACK.
        assert_eq!(network.to_broker.packets_per_s.high, 11_000.0 + 11_000.0);
        let out = network.from_broker;
        let payload_bits = (10.0 * 66.0 + 4.0) * 1_000.0 * 8.0;
        assert!(out.bits_per_s.low > payload_bits);
        assert_eq!(out.bits_per_s.high, payload_bits + 22_000.0 * 90.0 * 8.0);
        assert!(out.packets_per_s.low < out.packets_per_s.estimate);
    }

    #[test]
    fn records_of_tls_take_bytes() {
        let secure = Message {
            is_tls: true,
            ..message(1, 50.0, 1.0)
        };
        let bits = |message: &Message| {
            let network = load(message, 1_000.0, 10.0, 100.0);
            network.to_broker.bits_per_s.high
        };
        // A PUBLISH, a PUBACK and a tenth of a PINGREQ of each message.
        let more = bits(&secure) - bits(&message(1, 50.0, 1.0));
        assert!((more - 2.1 * 22.0 * 1_000.0 * 8.0).abs() < 1.0, "{more}");
    }

    #[test]
    fn large_messages_take_several_segments() {
        let network = load(&message(0, 14_000.0, 1.0), 10.0, 10.0, 0.0);
        assert_eq!(network.to_broker.packets_per_s.high, 100.0 + 100.0);
    }
}
