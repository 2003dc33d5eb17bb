//! Almost legal messages, time and calls to a CoAP endpoint that is server and client.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| freshen_fuzz::coap::conversation(input));
