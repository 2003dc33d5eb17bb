//! Almost legal messages, time and calls to a CoAP endpoint that is server and client.
#![no_main]

#[path = "../src/coap.rs"]
mod coap;

libfuzzer_sys::fuzz_target!(|input: &[u8]| coap::conversation(input));
