//! rumqttc, 3.1.1 and 5.0.

use super::CORES;
use super::support::{Broker, PATIENCE};
use std::time::Duration;

const COUNT: usize = 30;

/// What a test compares: topic, payload and QoS of each message, per QoS in the order of sending.
fn check_received(received: &[(String, String, u8)]) {
    for qos in 0..3u8 {
        let of_qos: Vec<_> = received
            .iter()
            .filter(|(_, _, other)| *other == qos)
            .collect();
        let payloads: Vec<_> = of_qos
            .iter()
            .map(|(_, payload, _)| payload.clone())
            .collect();
        let wanted: Vec<_> = (0..COUNT).map(|number| number.to_string()).collect();
        assert_eq!(payloads, wanted, "QoS {qos}");
        assert!(
            of_qos
                .iter()
                .all(|(topic, ..)| *topic == format!("rumqtt/{qos}/x"))
        );
    }
}

#[test]
fn rumqttc_v311_delivers_every_qos() {
    use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
    for cores in CORES {
        let broker = Broker::start(cores, &[]);
        let options = |name: &str| {
            let mut options = MqttOptions::new(name, "127.0.0.1", broker.port());
            options.set_keep_alive(Duration::from_secs(30));
            options
        };
        let (subscriber, mut events) = Client::new(options("rumqtt-sub"), 100);
        subscriber
            .subscribe("rumqtt/+/#", QoS::ExactlyOnce)
            .unwrap();
        let (publisher, mut publisher_events) = Client::new(options("rumqtt-pub"), 100);
        std::thread::spawn(move || while publisher_events.recv().is_ok() {});
        let mut received = Vec::new();
        while received.len() < 3 * COUNT {
            match events
                .recv_timeout(PATIENCE)
                .expect("an event in time")
                .expect("connected")
            {
                Event::Incoming(Packet::SubAck(_)) => {
                    let publisher = publisher.clone();
                    std::thread::spawn(move || {
                        for number in 0..COUNT {
                            for (level, qos) in
                                [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
                                    .into_iter()
                                    .enumerate()
                            {
                                let topic = format!("rumqtt/{level}/x");
                                publisher
                                    .publish(topic, qos, false, number.to_string())
                                    .unwrap();
                            }
                        }
                    });
                }
                Event::Incoming(Packet::Publish(publish)) => received.push((
                    publish.topic.clone(),
                    String::from_utf8(publish.payload.to_vec()).unwrap(),
                    publish.qos as u8,
                )),
                _ => {}
            }
        }
        check_received(&received);
        subscriber.disconnect().unwrap();
    }
}

#[test]
fn rumqttc_v5_delivers_every_qos() {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::Packet;
    use rumqttc::v5::{Client, Event, MqttOptions};
    for cores in CORES {
        let broker = Broker::start(cores, &[]);
        let options = |name: &str| {
            let mut options = MqttOptions::new(name, "127.0.0.1", broker.port());
            options.set_keep_alive(Duration::from_secs(30));
            options
        };
        let (subscriber, mut events) = Client::new(options("rumqtt5-sub"), 100);
        subscriber
            .subscribe("rumqtt/+/#", QoS::ExactlyOnce)
            .unwrap();
        let (publisher, mut publisher_events) = Client::new(options("rumqtt5-pub"), 100);
        std::thread::spawn(move || while publisher_events.recv().is_ok() {});
        let mut received = Vec::new();
        while received.len() < 3 * COUNT {
            match events
                .recv_timeout(PATIENCE)
                .expect("an event in time")
                .expect("connected")
            {
                Event::Incoming(Packet::SubAck(_)) => {
                    let publisher = publisher.clone();
                    std::thread::spawn(move || {
                        for number in 0..COUNT {
                            for (level, qos) in
                                [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
                                    .into_iter()
                                    .enumerate()
                            {
                                let topic = format!("rumqtt/{level}/x");
                                publisher
                                    .publish(topic, qos, false, number.to_string())
                                    .unwrap();
                            }
                        }
                    });
                }
                Event::Incoming(Packet::Publish(publish)) => received.push((
                    String::from_utf8(publish.topic.to_vec()).unwrap(),
                    String::from_utf8(publish.payload.to_vec()).unwrap(),
                    publish.qos as u8,
                )),
                _ => {}
            }
        }
        check_received(&received);
        subscriber.disconnect().unwrap();
    }
}
