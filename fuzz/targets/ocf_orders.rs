//! Requests, time and reports to a device without sockets.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| freshen_fuzz::ocf::orders(input));
