//! What the vendor says about a package, parsed once into meaningful types.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Digest, VersionMatch};

/// Which devices a package is for (SUIT vendor and class identifiers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// UUIDv5 of the DNS name space and the vendor's domain.
    pub vendor: Uuid,
    /// UUIDv5 of the vendor id and the class name.
    pub class: Uuid,
}

impl Identity {
    /// From the vendor's domain and the class name.
    pub fn new(vendor: &str, class: &str) -> Self {
        let vendor = Uuid::new_v5(&Uuid::NAMESPACE_DNS, vendor.as_bytes());
        Self { vendor, class: Uuid::new_v5(&vendor, class.as_bytes()) }
    }
}

/// The signed description of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// SHA-256 of the bstr-wrapped manifest, as signed: the name of this update.
    pub digest: Digest,
    /// Grows with every release (SUIT manifest-sequence-number).
    pub sequence: u64,
    /// What `nv` shows, at most 64 characters.
    pub version: String,
    /// Who it is for.
    pub identity: Identity,
    /// After this moment it is not installed any more.
    pub use_before: Option<DateTime<Utc>>,
    /// What must run on a device for it to be installed; all of it, at most
    /// [`VERSION_MATCHES_MAX`](super::VERSION_MATCHES_MAX) a component.
    pub requires: Vec<VersionMatch>,
    /// Whether somebody has to approve of this very package (SUIT update-authorized).
    pub needs_approval: bool,
    /// What is installed; all of it or nothing. 1 to 16.
    pub components: Vec<Component>,
}

/// One payload and what it becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// SUIT component identifier: a path of names, without `..`, `/` or empty parts.
    pub id: Vec<String>,
    /// SHA-256 of the payload as transferred.
    pub digest: Digest,
    /// Length of the payload as transferred, bytes.
    pub size: u64,
    /// How the payload becomes files.
    pub format: Format,
    /// Where the payload is.
    pub source: Source,
}

/// How a payload becomes files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The payload is the file.
    Raw,
    /// A tar archive, unpacked into the slot.
    Tar,
    /// A tar archive compressed with zstd. Unpacked it has at most `unpacked_bytes_max` bytes.
    TarZstd {
        /// Signed bound on the size of the unpacked archive, bytes.
        unpacked_bytes_max: u64,
    },
}

/// Where a payload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the envelope.
    Integrated(Vec<u8>),
    /// At this URI, relative to where the envelope was fetched from.
    Uri(String),
}
