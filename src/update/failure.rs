//! Why a job failed, finer than any door can say it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a piece of work failed: a kind for the doors to translate, and words for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// What happened, to what; at most [`Failure::DETAIL_CHARS_MAX`] characters.
    pub detail: String,
}

/// Kinds of failure, finer than any door's codes. Each door has one table from these to its own; a new kind
/// does not compile until each of them has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// Something needed more memory than there is.
    NoMemory,
    /// The disk has no room for it.
    NoSpace,
    /// The connection broke, or none could be made.
    ConnectionLost,
    /// The name of the host could not be resolved.
    NameUnknown,
    /// The server answered with this HTTP status, 400 to 599.
    Http(u16),
    /// The server answered with this CoAP code, class times 100 plus detail.
    Coap(u16),
    /// The source is not a URL that may be used.
    BadUrl,
    /// The configuration does not allow this host or address.
    SourceRefused,
    /// The source is empty and the device has no built-in one.
    NoSource,
    /// The URL's scheme is not one that the device may use.
    UnsupportedScheme,
    /// The package is not in the form that the profile asks for.
    Malformed,
    /// A digest or a length is not what was signed, or not what was ordered.
    Digest,
    /// The signature is not by a key that the device trusts.
    Signature,
    /// The package is for other devices.
    WrongDevice,
    /// The package is older than what the device has confirmed.
    OlderSequence,
    /// The package's time is over, or that of the keys that vouch for it.
    Expired,
    /// The package is not for what runs here.
    WrongVersion,
    /// The package is not the version that was ordered.
    OtherVersion,
    /// The installer could not write the software.
    Install,
    /// The software is as it was signed, and cannot be installed as it is.
    Unfit,
    /// The new software did not prove itself.
    Trial,
    /// Whoever may do that told the device to stop.
    Cancelled,
    /// Another order took its place while it waited.
    Replaced,
    /// The device was busy when its time came, and for too long after.
    Late,
    /// The device started anew too often while it worked on this.
    Interrupted,
    /// The software failed, and there is none before it to go back to.
    NothingBefore,
    /// The device's own storage failed.
    Storage,
}

impl Failure {
    /// Longest detail kept, characters: it is shown in a resource and stored in the record.
    pub const DETAIL_CHARS_MAX: usize = 200;

    /// A failure with its words, cut to [`Self::DETAIL_CHARS_MAX`].
    pub fn new(kind: FailureKind, detail: impl fmt::Display) -> Self {
        Self { kind, detail: detail.to_string().chars().take(Self::DETAIL_CHARS_MAX).collect() }
    }
}
