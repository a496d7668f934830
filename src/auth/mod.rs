//! Who a client is, as pure decisions: no connections, no time, no files.
//!
//! So far the frame for enhanced authentication (section 4.12): a registry of methods, each of
//! which answers the client's data step by step. Called by the shard that the connection lives on.
#![forbid(unsafe_code)]

pub mod method;
