//! Topic names and filters (MQTT 5.0 section 4.7): their syntax, which subscribers' filters match a
//! published name, and which stored names match a new subscriber's filter.
//!
//! Knows neither sessions nor messages: keys and values are generic. Each shard has its own index,
//! trie and tree; nothing here is shared between cores. Callers validate names and filters with
//! [`names`] before they hand them to the structures, which take any text without harm.
#![forbid(unsafe_code)]

mod arena;
mod exact;
mod filter;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod index;
mod levels;
pub mod names;
mod node;
pub mod retained;
pub mod subscribers;
#[cfg(test)]
mod tests;
pub mod trie;
