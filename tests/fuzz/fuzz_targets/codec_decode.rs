//! The body is in `ringway::codec::fuzz`, where an ordinary test calls it too.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringway::codec::fuzz::exercise_decode(bytes));
