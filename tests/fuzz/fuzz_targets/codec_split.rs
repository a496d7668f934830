//! The body is in `ringway::codec::fuzz`, where an ordinary test calls it too.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: (&[u8], Vec<u16>)| {
    let cuts: Vec<usize> = input.1.iter().map(|cut| usize::from(*cut)).collect();
    ringway::codec::fuzz::exercise_split(input.0, &cuts);
});
