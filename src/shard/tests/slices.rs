//! Packets with very many filters, and sessions that end with very many subscriptions: a turn does
//! a bounded part of it.

use super::cluster::{Client, Cluster, publish, subscribe, subscribe_all, unsubscribe_all};
use crate::shard::filter_work::STEPS_PER_TURN_MAX;
use crate::shard::interface::ReadVerdict;

const FILTERS: usize = 20_000;

/// One in three of each kind, so that the tables of both are used.
fn filters(stem: &str, count: usize) -> Vec<String> {
    let kinds = ["x", "+", "x/#"];
    let filter = |number: usize| format!("{stem}/{number}/{}", kinds[number % 3]);
    (0..count).map(filter).collect()
}

fn subscription_count(cluster: &Cluster) -> usize {
    cluster.shards[0].index.subscription_count()
}

/// Runs turns of the first shard to the end of the work that was cut up; in none of them may the
/// index change by more than a turn's steps. Returns the number of turns.
fn run_bounded(cluster: &mut Cluster, counted_before: usize) -> usize {
    let (mut count, mut turns) = (counted_before, 0);
    loop {
        let now = subscription_count(cluster);
        assert!(count.abs_diff(now) <= STEPS_PER_TURN_MAX, "{count} {now}");
        count = now;
        if cluster.shards[0].filter_work.is_settled() || !cluster.run_slices(0) {
            return turns;
        }
        for other in 1..cluster.shards.len() {
            cluster.carry(0, other);
        }
        turns += 1;
    }
}

#[test]
fn many_filters_of_one_packet_take_many_turns() {
    for shards in [1, 2] {
        let mut cluster = Cluster::new(shards);
        let client = cluster.connect(0, "many");
        let filters = filters("site", FILTERS);
        let verdict = cluster.feed_any(client, &subscribe_all(&filters));
        assert_eq!(verdict, ReadVerdict::Pause);
        let turns = run_bounded(&mut cluster, 0);
        assert!(turns >= FILTERS / STEPS_PER_TURN_MAX, "{turns}");
        assert_eq!(subscription_count(&cluster), FILTERS);
        cluster.settle();
        let sub_ack = cluster.received(client);
        assert_eq!(sub_ack.len(), 1 + 3 + 2 + FILTERS);
        assert!(sub_ack[6..].iter().all(|code| *code == 1));

        let verdict = cluster.feed_any(client, &unsubscribe_all(&filters));
        assert_eq!(verdict, ReadVerdict::Pause);
        let turns = run_bounded(&mut cluster, FILTERS);
        assert!(turns >= FILTERS / STEPS_PER_TURN_MAX, "{turns}");
        assert_eq!(subscription_count(&cluster), 0);
        cluster.settle();
        assert_eq!(cluster.received(client), [0xb0, 2, 0, 4]);
    }
}

/// [MQTT-4.6.0-5]: nothing behind the packet is handled before it.
#[test]
fn what_follows_a_large_packet_is_answered_behind_it() {
    let mut cluster = Cluster::new(1);
    let client = cluster.connect(0, "many");
    let filters = filters("site", 5000);
    let bytes = [
        subscribe_all(&filters),
        publish(2, "site/0/x", "to itself"),
        unsubscribe_all(&filters),
        publish(2, "site/0/x", "to nobody"),
    ];
    let _verdict = cluster.feed_any(client, &bytes.concat());
    cluster.settle();
    let received = cluster.received(client);
    let first_bytes = [0x90, 0x32, 0x40, 0xb0, 0x40];
    let mut rest = &received[..];
    for first_byte in first_bytes {
        assert_eq!(rest[0], first_byte);
        // The one large answer has a Remaining Length of two bytes.
        let length = match first_byte {
            0x90 => 3 + 2 + filters.len(),
            _ => 2 + usize::from(rest[1]),
        };
        rest = &rest[length..];
    }
    assert!(rest.is_empty());
    assert!(cluster.shards[0].is_settled());
}

#[test]
fn packets_of_several_clients_share_the_steps_of_a_turn() {
    let mut cluster = Cluster::new(1);
    let clients: Vec<Client> = (0..8)
        .map(|number| cluster.connect(0, &format!("client{number}-")))
        .collect();
    for (number, client) in clients.iter().enumerate() {
        let filters = filters(&format!("site{number}"), 1500);
        let verdict = cluster.feed_any(*client, &subscribe_all(&filters));
        assert_eq!(verdict, ReadVerdict::Pause);
    }
    // All together have had one turn so far.
    assert!(subscription_count(&cluster) <= STEPS_PER_TURN_MAX);
    run_bounded(&mut cluster, 0);
    assert_eq!(subscription_count(&cluster), 8 * 1500);
    cluster.shards[0].assert_invariants();
}

#[test]
fn packet_with_a_wrong_filter_at_its_end_has_no_effect() {
    for wrong in [[0, 9, b'a'], [0, 1, 0xff]] {
        let mut cluster = Cluster::new(1);
        let client = cluster.connect(0, "wrong");
        let mut packet = subscribe_all(&filters("site", 5000));
        let end = packet.len();
        packet[end - 4..end - 1].copy_from_slice(&wrong);
        let _verdict = cluster.feed_any(client, &packet);
        run_bounded(&mut cluster, 0);
        assert_eq!(
            cluster.shards[0].population().0,
            0,
            "the connection is closed"
        );
        assert_eq!(subscription_count(&cluster), 0);
    }
}

#[test]
fn connection_that_ends_within_a_packet_leaves_nothing_under_way() {
    let mut cluster = Cluster::new(2);
    let client = cluster.connect_clean(0, "short");
    let _verdict = cluster.feed_any(client, &subscribe_all(&filters("site", FILTERS)));
    cluster.run_slices(0);
    let subscribed = subscription_count(&cluster);
    assert!((1..FILTERS).contains(&subscribed));
    cluster.cut(client);
    run_bounded(&mut cluster, subscribed);
    cluster.settle();
    assert_eq!(subscription_count(&cluster), 0);
    assert!(cluster.shards[0].is_settled());
}

#[test]
fn ended_session_leaves_the_index_over_many_turns() {
    let mut cluster = Cluster::new(2);
    let old = cluster.connect(0, "client");
    let _verdict = cluster.feed_any(old, &subscribe_all(&filters("site", FILTERS)));
    cluster.settle();
    cluster.received(old);
    // Clean start: the old session ends at once for everybody but the index.
    let new = cluster.connect_clean(0, "client");
    assert_eq!(cluster.shards[0].population(), (1, 1));
    let left = subscription_count(&cluster);
    assert!((1..FILTERS).contains(&left));
    cluster.shards[0].assert_invariants();
    // A session that comes meanwhile is not taken for the old one.
    cluster.feed(new, &subscribe("other", 0));
    let other = cluster.connect(0, "other");
    for filter in filters("site", FILTERS).iter().step_by(3) {
        let matched_by_old = publish(0, filter, "to nobody");
        cluster.feed(other, &matched_by_old);
    }
    run_bounded(&mut cluster, left + 1);
    cluster.settle();
    assert_eq!(subscription_count(&cluster), 1);
    let received = cluster.received(new);
    assert_eq!(received[..2], [0x90, 3], "{}", received.escape_ascii());
    assert_eq!(received.len(), 5);
}

/// The news of removed filters do not fill a link past its limit.
#[test]
fn removal_waits_for_room_on_the_links() {
    let mut cluster = Cluster::with_limits(2, &|limits| limits.link_messages_max = 100);
    let client = cluster.connect_clean(0, "client");
    let _verdict = cluster.feed_any(client, &subscribe_all(&filters("site", 3000)));
    cluster.settle();
    cluster.received(client);
    cluster.cut(client);
    let removed = 3000 - subscription_count(&cluster);
    assert!((100..=100 + 64).contains(&removed), "{removed}");
    assert!(
        cluster.shards[0].poll_timeout().is_none(),
        "it does not spin"
    );
    cluster.settle();
    assert_eq!(subscription_count(&cluster), 0);
    assert!(cluster.shards[0].is_settled());
}
