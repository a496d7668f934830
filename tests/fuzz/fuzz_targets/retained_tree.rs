//! The body is in `ringway::topic::fuzz`, where an ordinary test calls it too.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringway::topic::fuzz::exercise_retained(bytes));
