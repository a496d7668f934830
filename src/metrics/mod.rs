//! Plain counters of one shard and their names. No atomics: each shard counts for itself and the
//! runtime adds the shards up.
#![forbid(unsafe_code)]

pub mod sys;

/// Declares the counters once: fields, names and the sum stay in step.
macro_rules! counters {
    ($($(#[$documentation:meta])* $name:ident,)*) => {
        /// What one shard has counted since its start.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$documentation])* pub $name: u64,)*
        }

        impl Counters {
            /// Adds what another shard has counted.
            pub const fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// Name and value of each counter, in a fixed order.
            pub fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Network connections that sent a CONNECT which was accepted.
    connects_accepted,
    /// CONNECT packets refused.
    connects_refused,
    /// Connections moved to the home shard of their session.
    connections_handed_over,
    /// Connections whose session was taken over by a newer one.
    sessions_taken_over,
    /// Connections closed for breaking the protocol.
    protocol_errors,
    /// Connections closed because nothing came for one and a half times the keep alive.
    keep_alive_timeouts,
    /// Connections closed without a complete CONNECT in time.
    connect_timeouts,
    /// Connections closed because their socket took nothing for too long.
    slow_consumers_closed,
    /// Connections closed or refused because a limit was reached.
    limits_reached,
    /// Times a connection was paused because a link, its acknowledgements or its own send queue
    /// were full.
    read_pauses,
    /// Network connections accepted by this core.
    connections_opened,
    /// Control packets received.
    packets_received,
    /// Control packets put into send queues.
    packets_sent,
    /// Bytes put into send queues.
    bytes_sent,
    /// PUBLISH packets received.
    messages_received,
    /// Payload bytes of the PUBLISH packets received.
    payload_bytes_received,
    /// Payload bytes of the PUBLISH packets put into send queues.
    payload_bytes_sent,
    /// Bytes received.
    bytes_received,
    /// PUBLISH packets put into send queues.
    messages_sent,
    /// Messages put into the queue of a session that could not take them at once.
    messages_queued,
    /// QoS 0 messages dropped because the connection's send queue was full.
    drops_slow_consumer,
    /// QoS 0 messages dropped because the session had no connection.
    drops_offline,
    /// QoS 1 and 2 messages dropped by the queue's limit.
    drops_queue_full,
    /// Messages dropped because they had expired.
    drops_expired,
    /// Messages not sent to a client because they exceed its Maximum Packet Size.
    drops_too_large,
    /// PUBLISH packets to topics that clients may not publish to.
    publishes_denied,
    /// PUBLISH packets whose payload is not UTF-8 although it says so, where that is checked.
    payloads_invalid,
    /// Messages forwarded to other shards.
    messages_forwarded,
    /// Messages received from other shards.
    messages_from_peers,
    /// Messages from other shards that no local subscription matched.
    forwards_unmatched,
    /// Messages of shared subscriptions that found no member, as the last ones were leaving.
    shared_unmatched,
    /// Retained messages not stored because a limit was reached.
    retained_refused,
    /// Retained answers dropped because a newer live message had been delivered.
    retained_overtaken,
    /// Live messages not noted for a retained lookup because its table was full.
    retained_untracked,
    /// Records appended to the journal.
    journal_records,
    /// Batches of them that were written.
    journal_batches,
    /// Bytes of these.
    journal_bytes,
    /// Snapshots that were completed.
    journal_snapshots,
    /// Messages that snapshots wrote again to free old segments.
    journal_carried,
    /// Reads paused because too much waits for the disk.
    journal_pauses,
    /// Queued messages that wait on the disk only.
    messages_stored,
    /// Messages that were read back.
    messages_read_back,
    /// Reads of the journal for that.
    journal_reads,
    /// Stored messages dropped because the disk gave something else back.
    drops_damaged,
    /// QoS 1 and 2 messages refused because the disk is full.
    publishes_refused_disk_full,
    /// Will messages published.
    wills_published,
    /// Sessions ended by their expiry interval.
    sessions_expired,
}
