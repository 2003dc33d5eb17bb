//! CoAP between two endpoints and a bad network, in virtual time.

mod application;
mod basics;
mod blocks;
mod hostile;
mod messages;
mod options;
mod pair;
mod quick;
mod raw;
