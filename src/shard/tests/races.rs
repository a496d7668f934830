//! Orders of events between shards that are rare by chance.

use super::cluster::{Client, Cluster, Held, publish, subscribe, unsubscribe};

const PUB_REC: [u8; 4] = [0x50, 2, 0, 7];
const NOTHING: [u8; 0] = [];
const SUB_ACK_0: [u8; 5] = [0x90, 3, 0, 1, 0];

/// PUBREC says that the message is safe; a repeated PUBLISH must not get it before the first copy
/// has arrived where it has to go [MQTT-4.3.3-8].
#[test]
fn repeated_publish_waits_for_the_acceptance_of_its_first_copy() {
    let mut cluster = Cluster::new(2);
    let subscriber = cluster.connect(1, "subscriber");
    cluster.feed(subscriber, &subscribe("t", 2));
    cluster.settle();
    assert_eq!(cluster.received(subscriber)[..2], [0x90, 3]);

    let publisher = cluster.connect(0, "publisher");
    cluster.feed(publisher, &publish(4, "t", "x"));
    let mut held = cluster.hold(0);
    cluster.cut(publisher);
    let publisher = cluster.connect(0, "publisher");
    cluster.feed(publisher, &publish(4 | 8, "t", "x"));
    assert_eq!(
        cluster.received(publisher),
        NOTHING,
        "the first copy is on its way"
    );

    cluster.deliver(&mut held, 1);
    cluster.settle();
    assert_eq!(cluster.received(publisher), PUB_REC);
    assert_eq!(
        cluster.received(subscriber)[..2],
        [0x34, 6],
        "delivered once"
    );
}

/// Also when it comes a second time over the same connection.
#[test]
fn repeated_publish_is_acknowledged_as_often_as_it_came() {
    let mut cluster = Cluster::new(2);
    let publisher = cluster.connect(0, "publisher");
    cluster.feed(publisher, &publish(4, "t", "x"));
    cluster.feed(publisher, &publish(4 | 8, "t", "x"));
    assert_eq!(
        cluster.received(publisher),
        [PUB_REC, PUB_REC].concat(),
        "nobody has to accept it"
    );
}

/// The lookup of an ended subscription does not go on for a later one with the same filter
/// [MQTT-3.10.4-2].
#[test]
fn retained_messages_come_once_when_a_filter_is_subscribed_again() {
    let mut cluster = Cluster::new(1);
    let client = cluster.connect(0, "client");
    cluster.feed(client, &publish(1, "t", "x"));
    cluster.feed(client, &subscribe("t", 0));
    cluster.feed(client, &unsubscribe("t"));
    cluster.feed(client, &subscribe("t", 0));
    cluster.settle();
    let unsub_ack = [0xb0, 2, 0, 2];
    let acks = [&SUB_ACK_0[..], &unsub_ack, &SUB_ACK_0].concat();
    let expected = [acks, publish(1, "t", "x")].concat();
    assert_eq!(cluster.received(client), expected);
}

/// A SUBSCRIBE that replaces a subscription asks again, and the earlier question stays.
#[test]
fn each_subscribe_gets_the_retained_messages() {
    let mut cluster = Cluster::new(1);
    let client = cluster.connect(0, "client");
    cluster.feed(client, &publish(1, "t", "x"));
    cluster.feed(client, &subscribe("t", 0));
    cluster.feed(client, &subscribe("t", 0));
    cluster.settle();
    let retained = publish(1, "t", "x");
    let expected = [&SUB_ACK_0[..], &SUB_ACK_0, &retained, &retained].concat();
    assert_eq!(cluster.received(client), expected);
}

/// The live message reaches the subscriber at shard 0 before its SUBACK, and the owner of the
/// retained one, shard 2, later than the lookup would.
#[test]
fn retained_message_does_not_follow_a_newer_live_one_that_came_before_sub_ack() {
    let mut cluster = Cluster::new(3);
    let topic_name = cluster.text_at(2, "t");
    let publisher = cluster.connect(1, "publisher");
    cluster.feed(publisher, &publish(1, &topic_name, "old"));
    cluster.settle();

    let subscriber = cluster.connect(0, "subscriber");
    cluster.feed(subscriber, &subscribe(&topic_name, 0));
    let mut from_subscriber = cluster.hold(0);
    cluster.deliver(&mut from_subscriber, 1);
    cluster.feed(publisher, &publish(1, &topic_name, "new"));
    let mut from_publisher = cluster.hold(1);
    cluster.deliver(&mut from_publisher, 0);
    let live = publish(0, &topic_name, "new");
    assert_eq!(cluster.received(subscriber), live);

    cluster.deliver(&mut from_subscriber, 2);
    cluster.carry(2, 0);
    assert_eq!(cluster.received(subscriber), SUB_ACK_0);
    let mut from_subscriber = cluster.hold(0);
    cluster.deliver(&mut from_subscriber, 2);
    cluster.run_slices(2);
    cluster.carry(2, 0);
    assert_eq!(
        cluster.received(subscriber),
        NOTHING,
        "the owner has the old one"
    );

    cluster.deliver(&mut from_publisher, 2);
    cluster.deliver(&mut from_subscriber, 1);
    cluster.settle();
    let retained = publish(1, &topic_name, "new");
    assert_eq!(cluster.received(subscriber), retained);
}

/// A retained message that the subscriber publishes itself while its lookup is on the way comes
/// neither live nor as a retained one [MQTT-3.8.3-3].
#[test]
fn no_local_holds_for_a_lookup_under_way() {
    let mut cluster = Cluster::new(2);
    let topic = cluster.text_at(1, "own");
    let bridge = cluster.connect_with_level(0, "bridge", 0x84);
    cluster.feed(bridge, &subscribe("#", 0));
    let mut held = cluster.hold(0);
    cluster.deliver(&mut held, 1);
    let mut held = cluster.hold(1);
    cluster.deliver(&mut held, 0);
    assert_eq!(cluster.received(bridge), SUB_ACK_0);
    cluster.feed(bridge, &publish(1, &topic, "x"));
    cluster.settle();
    assert_eq!(cluster.received(bridge), NOTHING);

    let other = cluster.connect(1, "other");
    cluster.feed(other, &subscribe("#", 0));
    cluster.settle();
    assert!(cluster.received(other).ends_with(b"x"), "it is stored");
}

/// The chosen shard's last member has gone while the message was on its way: another shard's
/// member gets it.
#[test]
fn shared_message_is_passed_on_when_its_member_has_gone() {
    let mut cluster = Cluster::new(3);
    let leaving = cluster.connect(1, "leaving");
    let staying = cluster.connect(2, "staying");
    let publisher = cluster.connect(0, "publisher");
    cluster.feed(leaving, &subscribe("$share/g/t", 0));
    cluster.settle();
    assert_eq!(cluster.received(leaving), SUB_ACK_0);
    cluster.feed(publisher, &publish(2, "t", "x"));
    let mut held = cluster.hold(0);

    cluster.feed(staying, &subscribe("$share/g/t", 0));
    cluster.feed(leaving, &unsubscribe("$share/g/t"));
    cluster.settle();
    assert_eq!(cluster.received(staying), SUB_ACK_0);
    assert_eq!(
        cluster.received(publisher),
        NOTHING,
        "nobody has accepted it"
    );
    cluster.deliver(&mut held, 1);
    cluster.settle();
    assert_eq!(cluster.received(staying), publish(0, "t", "x"));
    assert_eq!(cluster.received(publisher), [0x40, 2, 0, 7]);
}

/// Members on all shards, messages from all shards: each message reaches one of them, and each
/// member gets its share.
#[test]
fn shared_messages_are_spread_over_members_of_all_shards() {
    const ROUNDS: usize = 30;
    let mut cluster = Cluster::new(3);
    let names = ["first", "second", "third"];
    let members: Vec<_> = [(0, "m"), (1, "m"), (2, "m")]
        .map(|(shard, name)| cluster.connect(shard, name))
        .into();
    for member in &members {
        cluster.feed(*member, &subscribe("$share/g/t/+", 0));
        cluster.settle();
    }
    let mut received = vec![0; members.len()];
    let mut count = |cluster: &mut Cluster| {
        for (member, received) in members.iter().zip(&mut received) {
            let bytes = cluster.received(*member);
            *received += bytes.split(|byte| *byte == 0x30).count() - 1;
        }
    };
    count(&mut cluster);
    for (shard, name) in names.into_iter().enumerate() {
        let publisher = cluster.connect(shard, name);
        for _ in 0..ROUNDS {
            cluster.feed(publisher, &publish(0, "t/1", "x"));
            cluster.settle();
            count(&mut cluster);
        }
    }
    assert_eq!(received.iter().sum::<usize>(), 3 * ROUNDS, "{received:?}");
    assert!(
        received.iter().all(|share| *share > ROUNDS / 2),
        "{received:?}"
    );
}

/// Four shards with a part each in a race for one topic.
struct Race {
    cluster: Cluster,
    topic_name: String,
    subscriber: Client,
    first: Client,
    second: Client,
}

const SUBSCRIBER: usize = 0;
const OWNER: usize = 1;
const FIRST: usize = 2;
const SECOND: usize = 3;

impl Race {
    fn new() -> Self {
        let mut cluster = Cluster::new(4);
        Self {
            topic_name: cluster.text_at(OWNER, "t"),
            subscriber: cluster.connect(SUBSCRIBER, "subscriber"),
            first: cluster.connect(FIRST, "first"),
            second: cluster.connect(SECOND, "second"),
            cluster,
        }
    }

    /// A retained message to the topic, and what is on its way then.
    fn publish(&mut self, client: Client, payload: &str) -> Vec<Held> {
        let shard = if client == self.first { FIRST } else { SECOND };
        self.cluster
            .feed(client, &publish(1, &self.topic_name, payload));
        self.cluster.hold(shard)
    }

    /// A retained message that nobody is subscribed to.
    fn publish_and_settle(&mut self, payload: &str) {
        let mut retained = self.publish(self.second, payload);
        self.cluster.deliver(&mut retained, OWNER);
        self.cluster.settle();
    }

    /// All that a shard has to say arrives.
    fn carry(&mut self, from: usize) {
        let mut held = self.cluster.hold(from);
        self.deliver(&mut held, &[SUBSCRIBER, OWNER, FIRST, SECOND]);
    }

    fn deliver(&mut self, held: &mut Vec<Held>, shards: &[usize]) {
        for shard in shards {
            self.cluster.deliver(held, *shard);
        }
    }

    fn subscribe(&mut self) -> Vec<Held> {
        let subscribe = subscribe(&self.topic_name, 0);
        self.cluster.feed(self.subscriber, &subscribe);
        self.cluster.hold(SUBSCRIBER)
    }

    fn received(&mut self) -> Vec<u8> {
        self.cluster.received(self.subscriber)
    }

    fn live(&self, payload: &str) -> Vec<u8> {
        publish(0, &self.topic_name, payload)
    }

    /// "old" is retained and came live before the SUBACK; returns the barrier behind it.
    fn up_to_the_second_barrier(&mut self) -> Vec<Held> {
        let mut barrier = self.subscribe();
        self.cluster.deliver(&mut barrier, FIRST);
        let mut old = self.publish(self.first, "old");
        self.deliver(&mut old, &[SUBSCRIBER, OWNER]);
        self.deliver(&mut barrier, &[OWNER, SECOND]);
        self.carry(OWNER);
        self.carry(FIRST);
        self.carry(SECOND);
        let expected = [self.live("old"), SUB_ACK_0.to_vec()].concat();
        assert_eq!(self.received(), expected);
        self.cluster.hold(SUBSCRIBER)
    }

    /// The barrier has passed; the owner knows nothing newer than "old" when it is asked.
    fn look_up(&mut self) {
        self.carry(SUBSCRIBER);
        self.cluster.run_slices(OWNER);
        self.carry(OWNER);
    }
}

/// The second publisher's message, which was not forwarded, reaches the owner after the first
/// one's, whose live copy reaches the subscriber after the SUBACK: what came live is not what is
/// retained, and the lookup's answer is not older [MQTT-3.3.1-9].
#[test]
fn live_message_does_not_hide_a_retained_one_that_took_its_place() {
    let mut race = Race::new();
    let mut retained = race.publish(race.second, "retained");
    let mut barrier = race.subscribe();
    race.cluster.deliver(&mut barrier, FIRST);
    race.carry(FIRST);
    let mut live = race.publish(race.first, "live");
    race.cluster.deliver(&mut live, OWNER);
    race.cluster.deliver(&mut retained, OWNER);
    race.deliver(&mut barrier, &[OWNER, SECOND]);
    race.carry(OWNER);
    race.carry(SECOND);
    assert_eq!(race.received(), SUB_ACK_0);

    let mut from_subscriber = race.cluster.hold(SUBSCRIBER);
    race.cluster.deliver(&mut from_subscriber, OWNER);
    race.cluster.run_slices(OWNER);
    let mut from_owner = race.cluster.hold(OWNER);
    race.cluster.deliver(&mut live, SUBSCRIBER);
    assert_eq!(race.received(), race.live("live"));
    race.cluster.deliver(&mut from_owner, SUBSCRIBER);
    race.deliver(&mut from_subscriber, &[FIRST, SECOND]);
    race.cluster.settle();
    let expected = publish(1, &race.topic_name, "retained");
    assert_eq!(race.received(), expected);
}

/// A live message without RETAIN leaves the retained one in force: a lookup under way still brings
/// it [MQTT-3.3.1-9].
#[test]
fn live_message_without_retain_does_not_hide_the_retained_one() {
    let mut race = Race::new();
    race.publish_and_settle("retained");
    let mut barrier = race.subscribe();
    for _ in ["SUBACK", "lookup"] {
        race.deliver(&mut barrier, &[OWNER, FIRST, SECOND]);
        race.carry(OWNER);
        race.carry(SECOND);
        race.carry(FIRST);
        barrier = race.cluster.hold(SUBSCRIBER);
    }
    assert_eq!(race.received(), SUB_ACK_0);

    let live = race.live("live");
    race.cluster.feed(race.first, &live);
    race.carry(FIRST);
    assert_eq!(race.received(), live);
    race.deliver(&mut barrier, &[OWNER, FIRST, SECOND]);
    race.cluster.run_slices(OWNER);
    race.cluster.settle();
    let expected = publish(1, &race.topic_name, "retained");
    assert_eq!(race.received(), expected);
}

/// A live message that was published behind its shard's part of the barrier comes before the
/// barrier has passed: its update may reach the owner after the question.
#[test]
fn retained_message_does_not_follow_a_live_one_that_came_during_the_barrier() {
    let mut race = Race::new();
    let mut barrier = race.up_to_the_second_barrier();
    race.cluster.deliver(&mut barrier, FIRST);
    race.carry(FIRST);
    let mut new = race.publish(race.first, "new");
    race.cluster.deliver(&mut new, SUBSCRIBER);
    assert_eq!(race.received(), race.live("new"));

    race.deliver(&mut barrier, &[OWNER, SECOND]);
    race.carry(OWNER);
    race.carry(SECOND);
    race.look_up();
    race.cluster.deliver(&mut new, OWNER);
    race.cluster.settle();
    assert_eq!(race.received(), NOTHING);
}

/// The same when the shard can't answer the barrier yet, because of another topic's update.
#[test]
fn retained_message_does_not_follow_a_live_one_that_came_before_a_late_answer() {
    let mut race = Race::new();
    let mut barrier = race.up_to_the_second_barrier();
    let other_topic = race.cluster.text_at(OWNER, "other");
    let update = publish(1, &other_topic, "x");
    race.cluster.feed(race.first, &update);
    let mut update = race.cluster.hold(FIRST);
    race.cluster.deliver(&mut barrier, FIRST);
    let mut new = race.publish(race.first, "new");
    race.cluster.deliver(&mut new, SUBSCRIBER);
    assert_eq!(race.received(), race.live("new"));

    race.cluster.deliver(&mut update, OWNER);
    race.deliver(&mut barrier, &[OWNER, SECOND]);
    race.carry(OWNER);
    race.carry(FIRST);
    race.carry(SECOND);
    race.look_up();
    race.cluster.deliver(&mut new, OWNER);
    race.cluster.settle();
    assert_eq!(race.received(), NOTHING);
}

/// The same, and an earlier barrier, which another SUBSCRIBE waits for, is answered in between.
#[test]
fn answer_to_an_earlier_barrier_does_not_make_a_live_message_older() {
    let mut race = Race::new();
    let other_topic = race.cluster.text_at(OWNER, "other");
    let update = publish(1, &other_topic, "x");
    let mut first_barrier = race.subscribe();
    race.cluster.deliver(&mut first_barrier, FIRST);
    let mut old = race.publish(race.first, "old");
    race.deliver(&mut old, &[SUBSCRIBER, OWNER]);
    race.deliver(&mut first_barrier, &[OWNER, SECOND]);
    race.cluster.feed(race.subscriber, &subscribe("else", 0));
    let mut earlier = race.cluster.hold(SUBSCRIBER);
    race.carry(OWNER);
    race.carry(FIRST);
    race.carry(SECOND);
    let expected = [race.live("old"), SUB_ACK_0.to_vec()].concat();
    assert_eq!(race.received(), expected);
    let mut barrier = race.cluster.hold(SUBSCRIBER);

    race.cluster.feed(race.first, &update);
    let mut first_update = race.cluster.hold(FIRST);
    race.cluster.deliver(&mut earlier, FIRST);
    race.cluster.feed(race.first, &update);
    let mut second_update = race.cluster.hold(FIRST);
    race.cluster.deliver(&mut second_update, SUBSCRIBER);
    race.cluster.deliver(&mut barrier, FIRST);
    race.carry(FIRST);
    race.cluster.deliver(&mut first_update, OWNER);
    race.carry(OWNER);
    let mut new = race.publish(race.first, "new");
    race.cluster.deliver(&mut new, SUBSCRIBER);
    assert_eq!(race.received(), race.live("new"));

    race.cluster.deliver(&mut second_update, OWNER);
    race.deliver(&mut earlier, &[OWNER, SECOND]);
    race.deliver(&mut barrier, &[OWNER, SECOND]);
    race.carry(OWNER);
    race.carry(FIRST);
    race.carry(SECOND);
    race.look_up();
    race.cluster.deliver(&mut new, OWNER);
    race.cluster.settle();
    assert_eq!(race.received(), SUB_ACK_0);
}
