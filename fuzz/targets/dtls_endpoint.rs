//! A DTLS client and a DTLS server on a network that the bytes control.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| freshen::dtls::fuzzing::endpoint(data));
