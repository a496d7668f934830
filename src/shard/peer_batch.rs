//! What travels between two shards: opaque to the driver, which only moves it.

/// Messages of one turn for one other shard. Made by the sender, emptied by the receiver, and
/// given back to the sender to be filled again.
#[derive(Debug, Default)]
pub struct PeerBatch {}
