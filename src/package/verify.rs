//! From bytes to belief: the only maker of [`Verified`].

use super::{Identity, Manifest};

/// Something that [`verify`] accepted.
#[derive(Clone, Debug)]
pub struct Verified<T>(T);

impl<T> std::ops::Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The vendor's public keys that this device believes.
#[derive(Clone, Debug)]
pub struct Trust {}

/// Why a package is not believed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {}

/// Verifies an envelope for this device.
pub fn verify(
    envelope: &[u8],
    trust: &Trust,
    identity: &Identity,
) -> Result<Verified<Manifest>, Refusal> {
    unimplemented!()
}
