"""Eclipse Paho over a crash of the broker: `paho_restart.py PORT VERSION before|after`.

`before` leaves a session with a subscription, messages of QoS 1 and 2 for it, and a retained
message; `after` expects to find them, once each. Exits with 1 and a reason on failure.
"""

import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PORT = int(sys.argv[1])
VERSION = {"4": mqtt.MQTTv311, "5": mqtt.MQTTv5}[sys.argv[2]]
COUNT = 20
PATIENCE_S = 30


def client(name, persistent, on_message=None):
    """A connected client and whether the broker knew its session."""
    connected = threading.Event()
    present = []
    options = {"client_id": name, "protocol": VERSION}
    if VERSION != mqtt.MQTTv5:
        options["clean_session"] = not persistent
    one = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, **options)

    def on_connect(_client, _userdata, flags, reason_code, _properties):
        assert not reason_code.is_failure, reason_code
        present.append(flags.session_present)
        connected.set()

    one.on_connect = on_connect
    one.on_message = on_message
    arguments = {}
    if VERSION == mqtt.MQTTv5:
        arguments["clean_start"] = not persistent
        arguments["properties"] = Properties(PacketTypes.CONNECT)
        arguments["properties"].SessionExpiryInterval = 3600 if persistent else 0
    one.connect("127.0.0.1", PORT, keepalive=30, **arguments)
    one.loop_start()
    assert connected.wait(PATIENCE_S), "no CONNACK"
    return one, present[0]


def subscribe(one, topic_filter, qos):
    done = threading.Event()
    one.on_subscribe = lambda *_: done.set()
    one.subscribe(topic_filter, qos)
    assert done.wait(PATIENCE_S), "no SUBACK"


def before():
    sleeper, present = client("paho-sleeper", True)
    assert not present
    subscribe(sleeper, "paho/missed/#", 2)
    sleeper.disconnect()
    sleeper.loop_stop()
    publisher, _ = client("paho-publisher", False)
    for number in range(COUNT):
        info = publisher.publish(f"paho/missed/{1 + number % 2}", f"{number}", 1 + number % 2)
        info.wait_for_publish(PATIENCE_S)
        assert info.is_published(), f"message {number} was not acknowledged"
    info = publisher.publish("paho/kept", "value", 1, retain=True)
    info.wait_for_publish(PATIENCE_S)
    publisher.disconnect()
    publisher.loop_stop()


def after():
    received = []
    complete = threading.Event()

    def on_message(_client, _userdata, message):
        received.append(message)
        if len(received) == COUNT + 1:
            complete.set()

    sleeper, present = client("paho-sleeper", True, on_message)
    assert present, "the session is gone"
    publisher, _ = client("paho-publisher", False)
    publisher.publish("paho/missed/end", "end", 2).wait_for_publish(PATIENCE_S)
    assert complete.wait(PATIENCE_S), f"{len(received)} of {COUNT + 1} messages"
    for qos in (1, 2):
        # Order holds for each topic and QoS [MQTT-4.6.0-5].
        of_topic = [m for m in received if m.topic == f"paho/missed/{qos}"]
        assert [int(m.payload) for m in of_topic] == list(range(qos - 1, COUNT, 2)), of_topic
        assert all(m.qos == qos for m in of_topic)
    kept = threading.Event()
    late, _ = client("paho-late", False, lambda _c, _u, message: kept.set())
    subscribe(late, "paho/kept", 1)
    assert kept.wait(PATIENCE_S), "no retained message"
    for one in (sleeper, publisher, late):
        one.disconnect()
        one.loop_stop()


{"before": before, "after": after}[sys.argv[3]]()
