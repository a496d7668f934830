"""Drives the broker with Eclipse Paho: every QoS, wildcards, both protocol versions.

Usage: paho_client.py PORT VERSION [CA_FILE TLS_VERSION]   (VERSION: 3, 4 or 5; TLS_VERSION: 1.2 or
1.3). Exits with 1 and a reason on failure.
"""

import ssl
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PORT = int(sys.argv[1])
VERSION = {"3": mqtt.MQTTv31, "4": mqtt.MQTTv311, "5": mqtt.MQTTv5}[sys.argv[2]]
CA_FILE, TLS_VERSION = sys.argv[3:5] if len(sys.argv) > 3 else (None, None)
PREFIX = f"paho/{sys.argv[2]}"
COUNT = 50
PATIENCE_S = 30


def client(name):
    """A connected client; the connection's result is checked."""
    connected = threading.Event()
    one = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=VERSION)

    def on_connect(_client, _userdata, _flags, reason_code, _properties):
        assert not reason_code.is_failure, reason_code
        connected.set()

    one.on_connect = on_connect
    if CA_FILE:
        context = ssl.create_default_context(cafile=CA_FILE)
        version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[TLS_VERSION]
        context.minimum_version = context.maximum_version = version
        one.tls_set_context(context)
    one.connect("127.0.0.1", PORT, keepalive=30)
    one.loop_start()
    assert connected.wait(PATIENCE_S), "no CONNACK"
    return one


def subscribe(one, topic_filter, qos):
    done = threading.Event()
    codes = []

    def on_subscribe(_client, _userdata, _mid, reason_codes, _properties):
        codes.extend(reason_codes)
        done.set()

    one.on_subscribe = on_subscribe
    one.subscribe(topic_filter, qos)
    assert done.wait(PATIENCE_S), "no SUBACK"
    assert [code.value for code in codes] == [qos], codes


def main():
    received = []
    complete = threading.Event()
    subscriber = client(f"paho-sub-{VERSION}")

    def on_message(_client, _userdata, message):
        received.append(message)
        if len(received) == 3 * COUNT:
            complete.set()

    subscriber.on_message = on_message
    subscribe(subscriber, f"{PREFIX}/+/data/#", 2)
    publisher = client(f"paho-pub-{VERSION}")
    properties = None
    if VERSION == mqtt.MQTTv5:
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = [("unit", "kelvin"), ("unit", "again")]
        properties.ContentType = "text/plain"
    for number in range(COUNT):
        for qos in (0, 1, 2):
            info = publisher.publish(
                f"{PREFIX}/{qos}/data/{number % 5}", f"{number}", qos, properties=properties
            )
            info.wait_for_publish(PATIENCE_S)
            assert info.is_published(), f"QoS {qos} was not acknowledged"
    assert complete.wait(PATIENCE_S), f"{len(received)} of {3 * COUNT} messages"
    for qos in (0, 1, 2):
        of_qos = [m for m in received if m.topic.startswith(f"{PREFIX}/{qos}/")]
        assert [int(m.payload) for m in of_qos] == list(range(COUNT)), f"order at QoS {qos}"
        assert all(m.qos == qos and not m.retain for m in of_qos)
        if VERSION == mqtt.MQTTv5:
            wanted = [("unit", "kelvin"), ("unit", "again")]
            assert all(m.properties.UserProperty == wanted for m in of_qos)
            assert all(m.properties.ContentType == "text/plain" for m in of_qos)
    publisher.publish(f"{PREFIX}/kept", "value", 1, retain=True).wait_for_publish(PATIENCE_S)
    kept = threading.Event()
    late = client(f"paho-late-{VERSION}")
    late.on_message = lambda _c, _u, m: kept.set() if m.retain and m.payload == b"value" else None
    subscribe(late, f"{PREFIX}/kept", 1)
    assert kept.wait(PATIENCE_S), "no retained message"
    for one in (subscriber, publisher, late):
        one.disconnect()
        one.loop_stop()


main()
