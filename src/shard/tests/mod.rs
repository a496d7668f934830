//! Shards driven by hand: the fuzz target's body with a fixed seed, and races between shards that
//! need their batches held back in a certain order.

mod behind_disk;
mod bodies;
mod cluster;
mod crash;
mod durability;
mod groups;
mod interest;
mod races;
mod retained;
mod runs;
mod slices;
mod sys;

use super::fuzz::exercise_connection;
use crate::base::random::Random;

#[test]
fn random_actions_break_no_invariant() {
    let mut random = Random::new(3);
    for _ in 0..1500 {
        let length = random.below(400);
        let bytes: Vec<u8> = (0..length)
            .map(|_| random.next_u64().to_le_bytes()[0])
            .collect();
        exercise_connection(&bytes);
    }
}
