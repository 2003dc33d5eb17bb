//! This room says what an update is, and whether to believe it.
//!
//! A package is a SUIT envelope (draft-ietf-suit-manifest) signed by the vendor. [`verify`] is the
//! only maker of a [`Verified`] manifest, and only that can be installed. This room does not fetch,
//! store or install, and it does not know what runs on the device.

mod digest;
mod manifest;
mod verify;

pub use digest::Digest;
pub use manifest::{Component, Format, Identity, Manifest, Source};
pub use verify::{Refusal, Trust, Verified, verify};
