//! The body is in `ringway::shard::fuzz`, where an ordinary test calls it too.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringway::shard::fuzz::exercise_connection(bytes));
