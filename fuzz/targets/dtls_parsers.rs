//! Everything that a DTLS peer can send before it is trusted.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| freshen::dtls::fuzzing::parsers(data));
