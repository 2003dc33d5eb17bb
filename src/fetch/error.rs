//! Why something could not be fetched, in words for a person and fine enough for every door.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use url::Url;

use crate::source;

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings themselves are of no use; nothing was tried.
    #[error("the download settings cannot be used: {0}")]
    Settings(String),
    /// Not an absolute URL, or one with parts that have no place here.
    #[error("`{url}` is not a URL that can be fetched: {why}")]
    BadUrl {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A scheme that this device does not speak, or is not allowed to.
    #[error("`{0}` is not a scheme that this device may fetch from; use https or coaps")]
    UnsupportedScheme(String),
    /// A coaps server, and nothing to prove itself by or to know it by.
    #[error(
        "there is neither a key nor an authority for coaps servers; set `update.coaps_psk`, or \
         `update.ca` to a file"
    )]
    NoCredentials,
    /// The allow-list, the port list or the address policy says no. One error for all three, so that
    /// it reveals nothing about the network behind the device: whoever asked may see these words, and
    /// only the log says which address and which rule it was.
    #[error(
        "`{0}` is not an address that this device may fetch from: its log names the address, and which of allow_hosts, allow_ports and allow_private it is about"
    )]
    HostNotAllowed(String),
    /// More redirections than [`super::REDIRECTS_MAX`], or one to where it may not lead.
    #[error("the server sends us elsewhere in a way that is not allowed: {0}")]
    Redirect(String),
    /// The name has no address.
    #[error("the name `{0}` is not known; check the URL and the name server")]
    NameUnknown(String),
    /// No connection, or it broke.
    #[error("the connection to `{host}` was lost: {why}")]
    ConnectionLost {
        /// The other side.
        host: String,
        /// What the system or the protocol said.
        why: String,
    },
    /// The other side is not who it should be, or does not speak our TLS.
    #[error("`{host}` could not be trusted: {why}")]
    Tls {
        /// The other side.
        host: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A limit of [`super::Limits`] passed.
    #[error("`{host}` is too slow: {what} took longer than allowed")]
    TimedOut {
        /// The other side.
        host: String,
        /// What took too long.
        what: &'static str,
    },
    /// The final status of an HTTP server.
    #[error("the server answered with HTTP status {0} to {1}")]
    HttpStatus(u16, Asked),
    /// The final code of a CoAP server, class x 100 + detail.
    #[error("the server answered with CoAP code {} to {}", coap_code(*.0), .1)]
    CoapStatus(u16, Asked),
    /// The answer contradicts itself or what was asked.
    #[error("the answer of `{host}` makes no sense: {why}")]
    BadAnswer {
        /// The other side.
        host: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An envelope beyond [`crate::package::ENVELOPE_BYTES_MAX`].
    #[error("what the server sends is longer than the {0} bytes an envelope may have")]
    TooLarge(usize),
    /// Not the length that the vendor signed.
    #[error("the payload has {got} bytes where the vendor signed {signed}")]
    SizeMismatch {
        /// Bytes signed.
        signed: u64,
        /// Bytes announced or received.
        got: u64,
    },
    /// Not the bytes that the vendor signed.
    #[error("the payload is not what the vendor signed: its SHA-256 is {got}, not {signed}")]
    DigestMismatch {
        /// As signed.
        signed: crate::package::Digest,
        /// As received.
        got: crate::package::Digest,
    },
    /// The disk cannot hold it.
    #[error("there is no space for {needed} bytes at {}: free some and try again", path.display())]
    NoSpace {
        /// Where it was to go.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
    },
    /// The disk did not do what it was told.
    #[error("{}: {source}", path.display())]
    Disk {
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Cancelled,
}

/// As CoAP writes it: class, and two digits of detail.
fn coap_code(code: u16) -> String {
    format!("{}.{:02}", code / 100, code % 100)
}

/// Which file a server was asked for: its URL, without a query, which may be somebody's secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked(String);

impl Asked {
    /// From the whole URL.
    pub(super) fn of(url: &Url) -> Self {
        let mut url = url.clone();
        url.set_query(None);
        url.set_fragment(None);
        Self(url.as_str().chars().take(URL_SHOWN_MAX).collect())
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How much of a URL is shown, characters.
const URL_SHOWN_MAX: usize = 200;

impl From<source::Refusal> for Error {
    fn from(refusal: source::Refusal) -> Self {
        match refusal {
            source::Refusal::BadUrl { url, why } => Self::BadUrl { url, why },
            source::Refusal::UnsupportedScheme(scheme) => Self::UnsupportedScheme(scheme),
            source::Refusal::HostNotAllowed(host) => Self::HostNotAllowed(host),
        }
    }
}

impl Error {
    /// Whether another attempt may end better: the network's moods, not somebody's decision.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::NameUnknown(_) | Self::ConnectionLost { .. } | Self::TimedOut { .. } => true,
            Self::HttpStatus(status, _) => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
            Self::CoapStatus(code, _) => matches!(code, 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// From what the system said about `path`.
    pub(super) fn disk(path: &Path, needed: u64) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { path: path.to_owned(), needed }
            }
            _ => Self::Disk { path: path.to_owned(), source },
        }
    }
}
