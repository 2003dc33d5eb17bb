//! Any bytes as an envelope, or as its manifest.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| freshen_fuzz::package::envelopes(input));
