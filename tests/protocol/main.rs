//! CoAP between two endpoints and a bad network, in virtual time.

mod basics;
mod pair;
