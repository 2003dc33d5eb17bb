//! This room says what an update is, and whether to believe it.
//!
//! A package is a SUIT envelope (draft-ietf-suit-manifest) signed by the vendor. [`verify()`] is the
//! only maker of a [`Verified`] manifest, and only that can be installed; [`Description::sign`] makes
//! packages, and only such as [`verify()`] accepts. This room does not fetch, store or install, and it
//! does not know what runs on the device.

mod cbor;
mod codes;
mod coding;
mod component;
mod description;
mod digest;
mod encryption;
mod envelope;
mod gcm;
mod manifest;
mod names;
mod outline;
mod parameters;
mod processor;
mod refusal;
mod sequence;
mod signature;
mod text;
mod trust;
mod trust_set;
mod verify;
mod version;

pub use codes::{
    COMPONENTS_MAX, ENVELOPE_BYTES_MAX, TRUSTED_KEYS_MAX, VERSION_MATCHES_MAX, WAYS_MAX,
    ZSTD_WINDOW_LOG_MAX,
};
pub use coding::{DecodeError, EncryptError, Image, encrypt};
pub use component::is_opaque;
pub use description::{Description, SignError, add_signature};
pub use digest::Digest;
pub use encryption::{DecryptionKey, EncryptionInfo, Recipient};
pub use manifest::{Coding, Component, Encoding, Format, Identity, Manifest, Source, Way};
pub use outline::{Entry, outline};
pub use refusal::{Fault, Mismatch, Refusal};
pub use text::Names;
pub use trust::{Algorithm, KeyError, SigningKey, Trust};
pub use trust_set::{TRUST_SET_BYTES_MAX, TrustSet, sign_trust_set};
pub use verify::{Inspection, Verified, inspect, verify, verify_trust_set};
pub use version::{VERSION_CHARS_MAX, VersionMatch};

#[cfg(test)]
mod tests;
