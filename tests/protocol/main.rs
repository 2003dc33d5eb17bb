//! CoAP between two endpoints and a bad network, in virtual time.

mod application;
mod basics;
mod messages;
mod pair;
mod raw;
