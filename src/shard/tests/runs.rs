//! Batches that carry many messages of one topic name.

use super::cluster::{Client, Cluster, publish, subscribe};

/// What each of these clients of shard 1 was sent since the last call.
fn sent<const COUNT: usize>(cluster: &mut Cluster, clients: [Client; COUNT]) -> [Vec<u8>; COUNT] {
    let sent = cluster.sent(1);
    clients.map(|client| {
        let own = sent.iter().filter(|(to, _)| *to == client);
        own.flat_map(|(_, bytes)| bytes.clone()).collect()
    })
}

/// Messages of one batch with the same name, with others between, a large one, and a name that
/// nobody there wants.
#[test]
fn each_message_of_a_batch_reaches_the_subscribers_of_its_own_name() {
    let mut cluster = Cluster::new(2);
    let exact = cluster.connect(1, "exact");
    cluster.feed(exact, &subscribe("a/1", 0));
    let wild = cluster.connect(1, "wild");
    cluster.feed(wild, &subscribe("a/+", 0));
    cluster.settle();
    sent(&mut cluster, [exact, wild]);

    let large = "x".repeat(20_000);
    let names = ["a/1", "a/1", "a/2", "a/1", "b", "a/2", "a/2", "a/1"];
    let payloads = ["1", "2", "3", &large, "5", "6", "7", "8"];
    let publisher = cluster.connect(0, "publisher");
    let (mut for_exact, mut for_wild) = (Vec::new(), Vec::new());
    for (name, payload) in names.into_iter().zip(payloads) {
        let bytes = publish(0, name, payload);
        cluster.feed(publisher, &bytes);
        if name == "a/1" {
            for_exact.extend_from_slice(&bytes);
        }
        if name != "b" {
            for_wild.extend_from_slice(&bytes);
        }
    }
    cluster.settle();
    assert_eq!(sent(&mut cluster, [exact, wild]), [for_exact, for_wild]);
}

/// What matched in one batch says nothing about the next one.
#[test]
fn subscription_between_two_batches_counts_for_the_second() {
    let mut cluster = Cluster::new(2);
    let publisher = cluster.connect(0, "publisher");
    let first = cluster.connect(1, "first");
    let second = cluster.connect(1, "second");
    cluster.feed(first, &subscribe("t", 0));
    cluster.settle();
    sent(&mut cluster, [first, second]);
    cluster.feed(publisher, &publish(0, "t", "1"));
    cluster.settle();
    cluster.feed(second, &subscribe("t", 0));
    cluster.settle();
    let before = sent(&mut cluster, [first, second]);
    assert_eq!(before[0], publish(0, "t", "1"));
    cluster.feed(publisher, &publish(0, "t", "2"));
    cluster.settle();
    let after = publish(0, "t", "2");
    assert_eq!(sent(&mut cluster, [first, second]), [after.clone(), after]);
}
