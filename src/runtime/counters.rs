//! What one core's input and output has counted. Plain numbers: each core counts for itself, and
//! `serve` returns them when the cores have ended.

/// Declares the counters once, so that fields, names and the sum stay in step.
macro_rules! counters {
    ($($(#[$documentation:meta])* $name:ident,)*) => {
        /// Counters of one core since its start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct NetCounters {
            $($(#[$documentation])* pub $name: u64,)*
        }

        impl NetCounters {
            /// Adds what another core has counted.
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
    /// Connections accepted.
    accepts,
    /// Connections closed right after accept: the listener or the shard was full.
    accepts_refused,
    /// Times that accepting stopped because descriptors or memory were short. What recovers:
    /// a slot that becomes free, or the next try after 100 ms.
    accept_stops,
    /// Sockets closed, whatever the reason; those that moved to another core are not counted.
    closes,
    /// Closed sockets whose peer did not take or end in time.
    closes_forced,
    /// Pieces of input received.
    receives,
    /// Bytes of input received.
    received_bytes,
    /// Receives that found no free buffer; they are armed again in the same turn.
    buffers_exhausted,
    /// Send operations.
    sends,
    /// Sends of which the socket took only a part, or nothing.
    sends_partial,
    /// Sends that failed and closed their connection.
    sends_failed,
    /// TLS handshakes completed.
    tls_handshakes,
    /// Parts of TLS handshakes that were dealt with.
    tls_handshake_steps,
    /// Connections closed because TLS failed: at the handshake, or by a record that is not one.
    tls_faults,
    /// Rings of the core's sockets.
    rings,
    /// Calls of io_uring_enter.
    enters,
    /// Turns of the core.
    turns,
    /// Spins (`node.spin_us`) during which something came or fell due: no sleep was needed.
    spins_useful,
    /// Spins during which nothing came: the core went to sleep.
    spins_fruitless,
    /// Doorbells rung at sleeping peers.
    doorbells,
    /// Connections moved to another core.
    hand_overs_out,
    /// Connections taken from another core.
    hand_overs_in,
    /// Connections lost on the way to another core: its table was full.
    hand_overs_failed,
    /// Writes of the journal, each one on the medium before the next.
    journal_writes,
    /// Their bytes.
    journal_bytes,
    /// Segments made ready for the journal, new or recycled.
    journal_segments,
    /// Times that the disk's watermark was reached. What recovers: messages that leave, a snapshot,
    /// or space that the operator makes.
    disk_full,
    /// Turns given to the executor's reactor.
    reactor_turns,
}
