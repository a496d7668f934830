//! The body is in `ringway::config::fuzz`, where an ordinary test calls it too.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringway::config::fuzz::exercise_config(bytes));
