//! Any bytes as datagrams to a CoAP server.
#![no_main]

#[path = "../src/coap.rs"]
mod coap;

libfuzzer_sys::fuzz_target!(|input: &[u8]| coap::datagrams(input));
