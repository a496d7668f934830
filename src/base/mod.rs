//! Containers, ids, time and buffers that know nothing of MQTT and do no input or output.

pub mod hash;
pub mod ids;
pub mod map;
pub mod prefetch;
pub mod random;
pub mod scan;
pub mod slab;
pub mod table;
pub mod time;
pub mod wheel;
