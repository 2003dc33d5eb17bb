//! What the vendor says about a package, parsed once into meaningful types.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Digest, EncryptionInfo, Names, VersionMatch};

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
    /// What people call those devices, where the package says so and it is true.
    pub names: Option<Names>,
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
    /// SUIT component identifier: a path of names, without `..`, `/` or empty parts. A name that is no
    /// text is shown as `h'00'`, and only the device's configuration says where that belongs.
    pub id: Vec<String>,
    /// SHA-256 of the payload.
    pub digest: Digest,
    /// Length of the payload, bytes.
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
    /// Wherever the first of these ways leads that works. 1 to [`WAYS_MAX`](super::WAYS_MAX).
    Ways(Vec<Way>),
}

/// One way to a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Where it begins, relative to where the envelope was fetched from.
    pub uri: String,
    /// What is there; `None`: the payload itself.
    pub coding: Option<Coding>,
}

/// What is transferred in the place of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coding {
    /// SHA-256 of what is transferred; `None` where the package says no more than that it is encrypted,
    /// so that only what comes out can be judged.
    pub digest: Option<Digest>,
    /// Its length, bytes.
    pub size: u64,
    /// For whom it is encrypted; `None`: for everyone to read.
    pub encryption: Option<EncryptionInfo>,
    /// How it becomes the payload, once it is decrypted.
    pub encoding: Encoding,
}

/// How something becomes a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// It is the payload.
    Identity,
    /// The payload, compressed with zstd.
    Zstd,
    /// A patch.
    Delta {
        /// SHA-256 of what it is for.
        precursor: Digest,
    },
}

impl Component {
    /// What there is to transfer if the first way works: its digest, where that is signed, and its
    /// length in bytes.
    pub fn transfer(&self) -> (Option<Digest>, u64) {
        let coding = match &self.source {
            Source::Ways(ways) => ways.first().and_then(|way| way.coding.as_ref()),
            Source::Integrated(_) | Source::Uri(_) => None,
        };
        coding.map_or((Some(self.digest), self.size), |coding| (coding.digest, coding.size))
    }

    /// What there is to transfer if the first way works, bytes.
    pub fn transfer_size(&self) -> u64 {
        self.transfer().1
    }
}
