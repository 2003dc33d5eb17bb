//! Any bytes as datagrams to a CoAP server.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| freshen_fuzz::coap::datagrams(input));
