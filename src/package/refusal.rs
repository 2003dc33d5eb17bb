//! Why a package is not believed, in the words of the person who has to do something about it.

use std::fmt;

use uuid::Uuid;

use super::{Identity, Names, names};

/// Why a package is not believed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    /// Larger than [`ENVELOPE_BYTES_MAX`](super::ENVELOPE_BYTES_MAX).
    #[error(
        "the envelope has {bytes} bytes, more than the 65536 that a device reads; \
         leave large payloads beside it instead of inside"
    )]
    TooLarge {
        /// Its length, bytes.
        bytes: usize,
    },
    /// Something else altogether, or nothing.
    #[error("it is not a SUIT envelope (CBOR tag 107), as `freshen pack` makes them")]
    NotAnEnvelope,
    /// Not the CBOR that SUIT prescribes. Whoever made it did not follow the draft, or it was damaged on the way.
    #[error("{part} is not valid: {fault}")]
    Malformed {
        /// Which part of the envelope.
        part: &'static str,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Something that this device does not know, and therefore does not skip.
    #[error("{}", names::unsupported(part, what, *code))]
    Unsupported {
        /// Which part of the envelope.
        part: &'static str,
        /// Which kind of thing: a member, a command, a parameter, an algorithm.
        what: &'static str,
        /// Its number in the IANA registry "SUIT" or "COSE Algorithms".
        code: i64,
    },
    /// Something that the profile demands is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Two statements that cannot both hold.
    #[error("{0} is given twice with different values")]
    Contradiction(&'static str),
    /// More of something than a device prepares for.
    #[error("it has more than {limit} {what}")]
    OverLimit {
        /// What there is too much of.
        what: &'static str,
        /// How much of it is allowed.
        limit: u64,
    },
    /// A component identifier that is no safe path.
    #[error(
        "the component identifier {0} is not a safe path: it is one name or several, none of them empty, `.` or `..`, or with a `/` in it"
    )]
    ComponentPath(String),
    /// Two components where one would overwrite the other.
    #[error("two components would be installed over each other at {0}")]
    Overlap(String),
    /// A payload in the envelope that no component asks for, so that nobody signed it.
    #[error("the envelope has a payload that the manifest does not ask for")]
    UnsignedPayload,
    /// A version that cannot be written as SUIT writes versions.
    #[error(
        "the version {0} cannot be shown: write it like 1.2.3, or 1.2.3-rc.1, -beta.1, -alpha.1, at most 64 characters"
    )]
    Version(String),
    /// A URI reference that no device could follow.
    #[error(
        "the payload's URI {0} is not a URI reference of visible ASCII characters, at most 1024 of them"
    )]
    Uri(String),
    /// There is no signature to check.
    #[error("it is not signed")]
    NotSigned,
    /// There are signatures, none of them by a key that the device trusts.
    #[error("no key that this device trusts has signed it")]
    Signature,
    /// Fewer trusted keys signed than have to.
    #[error("{made} of the keys that this device trusts have signed it, but {needed} have to")]
    TooFewSignatures {
        /// Trusted keys that signed.
        made: usize,
        /// Trusted keys that have to.
        needed: usize,
    },
    /// A trust set that does not follow the one that the device has.
    #[error("the trust set has the number {found}, but {expected} comes next")]
    TrustVersion {
        /// The number of the next document.
        expected: u64,
        /// The number of this document.
        found: u64,
    },
    /// A trust set that lowers the epoch, or that raises it and keeps a package key.
    #[error(
        "the epoch of a trust set never falls, and grows only where all package keys are new: \
         otherwise packages signed before would count as newer"
    )]
    TrustEpoch,
    /// Bytes that are not the ones that were signed.
    #[error("{of} was changed after signing: its digest differs")]
    Digest {
        /// What was changed.
        of: &'static str,
    },
    /// Encrypted, and this device has no key for anything encrypted.
    #[error("it is encrypted, and this device has no key: set update.decryption_key")]
    NoDecryptionKey,
    /// Encrypted for other devices.
    #[error("it is not encrypted for this device: `freshen pack --encrypt-to` its public key")]
    NotEncryptedForUs,
    /// What was transferred does not become the payload.
    #[error("what was transferred does not become the payload that was signed: it {0}")]
    Coding(&'static str),
    /// An integrated payload that is longer or shorter than what was signed.
    #[error("the integrated payload has {actual} bytes, but {signed} were signed")]
    Size {
        /// Signed length, bytes.
        signed: u64,
        /// Actual length, bytes.
        actual: u64,
    },
    /// Made for another vendor's devices.
    #[error("{}", .0.words("vendor", |identity| identity.vendor))]
    WrongVendor(Box<Mismatch>),
    /// Made for another class of the vendor's devices.
    #[error("{}", .0.words("class", |identity| identity.class))]
    WrongClass(Box<Mismatch>),
}

/// Whom a package is for, and who looked at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// In the package.
    pub package: Identity,
    /// What people call those devices, where the package says so.
    pub package_names: Option<Names>,
    /// Of the device.
    pub device: Identity,
    /// What people call this device, where that is known.
    pub device_names: Option<Names>,
}

impl Mismatch {
    fn words(&self, what: &str, id: fn(&Identity) -> Uuid) -> String {
        let Self { package, package_names, device, device_names } = self;
        let package = match package_names {
            Some(names) => names.to_string(),
            None => format!("devices of the {what} {}", id(package)),
        };
        let device = match device_names {
            Some(names) => names.to_string(),
            None => format!("of the {what} {}", id(device)),
        };
        format!("it is for {package}; this device is {device}")
    }
}

impl Refusal {
    /// The same with the names of the device that refuses.
    pub fn on(mut self, names: &Names) -> Self {
        if let Self::WrongVendor(mismatch) | Self::WrongClass(mismatch) = &mut self {
            mismatch.device_names = Some(names.clone());
        }
        self
    }

    /// The same with the names in the package that is refused.
    pub(super) fn of(mut self, names: Option<Names>) -> Self {
        if let Self::WrongVendor(mismatch) | Self::WrongClass(mismatch) = &mut self {
            mismatch.package_names = names;
        }
        self
    }
}

/// What is wrong with a piece of CBOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ends before it should.
    Truncated,
    /// It goes on after its end.
    Trailing,
    /// A string, array or map of indefinite length.
    Indefinite,
    /// A number in more bytes than it needs.
    NotShortest,
    /// Map keys that are out of order or occur twice.
    KeyOrder,
    /// Text that is not UTF-8.
    NotUtf8,
    /// Another type than the draft's CDDL asks for.
    WrongType,
    /// The right type with a value that the draft does not allow.
    WrongValue,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "it ends too early",
            Self::Trailing => "something follows after its end",
            Self::Indefinite => "it uses an indefinite length",
            Self::NotShortest => "a number is longer than it needs to be",
            Self::KeyOrder => "map keys are out of order or occur twice",
            Self::NotUtf8 => "a text is not UTF-8",
            Self::WrongType => "a value has another type than the SUIT draft asks for",
            Self::WrongValue => "a value is not one that the SUIT draft allows",
        })
    }
}
