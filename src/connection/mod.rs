//! One network connection's protocol state.

pub mod transmit;
