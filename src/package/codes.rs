//! The numbers of SUIT, as IANA assigned them (registry group "SUIT", draft-ietf-suit-manifest-37,
//! draft-ietf-suit-update-management-14), ours beside them, and the limits of our profile.

/// CBOR tag of an envelope.
pub(super) const TAG_ENVELOPE: u64 = 107;
/// CBOR tag of a COSE_Sign1 (RFC 9052, 2).
pub(super) const TAG_SIGN1: u64 = 18;
/// The only `suit-manifest-version` there is.
pub(super) const MANIFEST_VERSION: u64 = 1;
/// SHA-256 in the registry "COSE Algorithms".
pub(super) const SHA_256: i64 = -16;

/// Members of the envelope; the severable ones have the same numbers in the manifest.
pub(super) mod member {
    pub(in crate::package) const AUTHENTICATION: i64 = 2;
    pub(in crate::package) const MANIFEST: i64 = 3;
    pub(in crate::package) const COSWID: i64 = 14;
    pub(in crate::package) const PAYLOAD_FETCH: i64 = 16;
    pub(in crate::package) const INSTALL: i64 = 20;
    pub(in crate::package) const TEXT: i64 = 23;
}

/// Members of the manifest.
pub(super) mod manifest {
    pub(in crate::package) const VERSION: i64 = 1;
    pub(in crate::package) const SEQUENCE_NUMBER: i64 = 2;
    pub(in crate::package) const COMMON: i64 = 3;
    pub(in crate::package) const REFERENCE_URI: i64 = 4;
    pub(in crate::package) const COMPONENT_ID: i64 = 5;
    pub(in crate::package) const SET_VERSION: i64 = 6;
    pub(in crate::package) const VALIDATE: i64 = 7;
    pub(in crate::package) const INVOKE: i64 = 9;
}

/// Members of the common section.
pub(super) mod common {
    pub(in crate::package) const COMPONENTS: i64 = 2;
    pub(in crate::package) const SHARED_SEQUENCE: i64 = 4;
}

/// Conditions and directives.
pub(super) mod command {
    pub(in crate::package) const VENDOR_IDENTIFIER: i64 = 1;
    pub(in crate::package) const CLASS_IDENTIFIER: i64 = 2;
    pub(in crate::package) const IMAGE_MATCH: i64 = 3;
    pub(in crate::package) const USE_BEFORE: i64 = 4;
    pub(in crate::package) const SET_COMPONENT_INDEX: i64 = 12;
    pub(in crate::package) const TRY_EACH: i64 = 15;
    pub(in crate::package) const OVERRIDE_PARAMETERS: i64 = 20;
    pub(in crate::package) const FETCH: i64 = 21;
    pub(in crate::package) const INVOKE: i64 = 23;
    pub(in crate::package) const UPDATE_AUTHORIZED: i64 = 27;
    pub(in crate::package) const VERSION: i64 = 28;
}

/// Parameters of a component.
pub(super) mod parameter {
    pub(in crate::package) const VENDOR_IDENTIFIER: i64 = 1;
    pub(in crate::package) const CLASS_IDENTIFIER: i64 = 2;
    pub(in crate::package) const IMAGE_DIGEST: i64 = 3;
    pub(in crate::package) const USE_BEFORE: i64 = 4;
    pub(in crate::package) const IMAGE_SIZE: i64 = 14;
    pub(in crate::package) const ENCRYPTION_INFO: i64 = 19;
    pub(in crate::package) const URI: i64 = 21;
    pub(in crate::package) const UPDATE_PRIORITY: i64 = 27;
    pub(in crate::package) const VERSION: i64 = 28;
    /// Ours (private use: below -255): how the payload becomes files; text, one of [`super::format`].
    /// Absent: the payload is the file.
    pub(in crate::package) const PAYLOAD_FORMAT: i64 = -256;
    /// Ours: upper bound of the unpacked size of a compressed payload, bytes; unsigned integer.
    pub(in crate::package) const UNPACKED_BYTES_MAX: i64 = -257;
    /// Ours: what is transferred where that is not the image; `SUIT_Digest`, as for the image.
    pub(in crate::package) const TRANSFER_DIGEST: i64 = -258;
    /// Ours: its length, bytes; unsigned integer.
    pub(in crate::package) const TRANSFER_SIZE: i64 = -259;
    /// Ours: how it becomes the image once it is decrypted; text, one of [`super::encoding`]. Absent: it
    /// is the image.
    pub(in crate::package) const ENCODING: i64 = -260;
    /// Ours: what a patch is for; `SUIT_Digest`.
    pub(in crate::package) const PRECURSOR_DIGEST: i64 = -261;
}

/// Our own document of trusted keys.
pub(super) mod trust_set {
    /// Signed beside the document, so that no signature on one thing is one on another.
    pub(in crate::package) const ADDITIONAL_DATA: &[u8] = b"freshen trust set";
    pub(in crate::package) const FORMAT_VERSION: u64 = 1;
    pub(in crate::package) const FORMAT: i64 = 1;
    pub(in crate::package) const VERSION: i64 = 2;
    pub(in crate::package) const EXPIRES: i64 = 3;
    pub(in crate::package) const ROOT_KEYS: i64 = 4;
    pub(in crate::package) const ROOT_THRESHOLD: i64 = 5;
    pub(in crate::package) const PACKAGE_KEYS: i64 = 6;
    pub(in crate::package) const PACKAGE_THRESHOLD: i64 = 7;
    pub(in crate::package) const EPOCH: i64 = 8;
    /// ESP256 and Ed25519 in "COSE Algorithms".
    pub(in crate::package) const P256: i64 = -9;
    pub(in crate::package) const ED25519: i64 = -19;
}

/// Values of [`parameter::PAYLOAD_FORMAT`].
pub(super) mod format {
    pub(in crate::package) const RAW: &str = "raw";
    pub(in crate::package) const TAR: &str = "tar";
    pub(in crate::package) const TAR_ZSTD: &str = "tar+zstd";
}

/// Values of [`parameter::ENCODING`].
pub(super) mod encoding {
    pub(in crate::package) const ZSTD: &str = "zstd";
    /// A patch as bidiff makes them, compressed.
    pub(in crate::package) const DELTA: &str = "bidiff+zstd";
}

/// Labels and values of COSE (RFC 9052, RFC 9053).
pub(super) mod cose {
    pub(in crate::package) const TAG_ENCRYPT: u64 = 96;
    pub(in crate::package) const ALGORITHM: i64 = 1;
    pub(in crate::package) const KEY_ID: i64 = 4;
    pub(in crate::package) const IV: i64 = 5;
    pub(in crate::package) const EPHEMERAL_KEY: i64 = -1;
    pub(in crate::package) const KEY_TYPE: i64 = 1;
    pub(in crate::package) const EC2: i64 = 2;
    pub(in crate::package) const CURVE: i64 = -1;
    pub(in crate::package) const P256: i64 = 1;
    pub(in crate::package) const X: i64 = -2;
    pub(in crate::package) const Y: i64 = -3;
}

/// A reporting policy has four bits.
pub(super) const REPORTING_POLICY_MAX: u64 = 0b1111;
/// What commands report here: `send-record-on-success` to `send-sysinfo-failure`, as in the draft's examples.
pub(super) const REPORT_ALL: u64 = 0b1111;

/// The largest envelope that is read, bytes. A manifest has about 300; the rest is room for small
/// integrated payloads. It is held in memory, so the limit is a bound on memory.
pub const ENVELOPE_BYTES_MAX: usize = 64 * 1024;
/// Components in a package. Devices with more parts than this are not seen in OCF.
pub const COMPONENTS_MAX: usize = 16;
/// Names in one component identifier, like directories in a path.
pub(super) const COMPONENT_NAMES_MAX: usize = 8;
/// Bytes in one such name (Linux NAME_MAX).
pub(super) const COMPONENT_NAME_BYTES_MAX: usize = 255;
/// Commands in all sequences together: 16 components need at most 8 each.
pub(super) const COMMANDS_MAX: u64 = 512;
/// Ways to one payload: a patch, mirrors, the whole.
pub const WAYS_MAX: usize = 8;
/// Devices that one payload is encrypted for; each takes some 170 bytes of the envelope.
pub(super) const RECIPIENTS_MAX: u64 = 64;
/// Bytes of encryption info: as many recipients as there may be, with names of their own.
pub(super) const ENCRYPTION_INFO_BYTES_MAX: usize = 16 * 1024;
/// Versions that a package may ask to run: a range, and exceptions.
pub const VERSION_MATCHES_MAX: usize = 8;
/// Bytes of a URI reference.
pub(super) const URI_BYTES_MAX: usize = 1024;
/// Signatures in an envelope: old and new key, old and new algorithm, and a few to spare.
pub(super) const SIGNATURES_MAX: u64 = 8;
/// Public keys that one device trusts.
pub const TRUSTED_KEYS_MAX: usize = 16;
/// The largest window of a zstd payload, as a power of two in bytes: 8 MiB, which RFC 8878
/// (3.1.1.1.2) recommends every decoder to support. Memory a device needs while it unpacks.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;
