//! The DTLS endpoint on real sockets, against programs that we did not write.
//!
//! Every test is one cell of the table in `docs/conformance.md`. A peer that is not installed fails
//! the test and says what to install; nothing is skipped.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod adversary;
mod driver;
mod gnutls;
mod libcoap;
mod mbedtls;
mod openssl;
mod pki;
