//! The body is in `ringway::journal::fuzz`, where an ordinary test calls it too.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringway::journal::fuzz::exercise_recovery(bytes));
