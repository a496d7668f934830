//! The body is in `ringway::session::fuzz`, where an ordinary test calls it too.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringway::session::fuzz::exercise_session(bytes));
