//! What can go wrong with a device, for programs to match and for people to read.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use uuid::Uuid;

use super::text;
use crate::coap::{CallError, Code, Response, option};
use crate::dtls;

/// Why something could not be done. The sentences name no command: whoever has commands adds which
/// one helps ([`Error::failure`], [`Error::refusal`]).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no answer, or no session to ask by.
    #[error("{whom}: {failure}")]
    Exchange {
        /// Who was asked.
        whom: String,
        /// What happened.
        failure: Failure,
    },
    /// The device said no.
    #[error("the device refuses {what}: {refusal}")]
    Refused {
        /// What was asked of it.
        what: String,
        /// Its answer.
        refusal: Refusal,
    },
    /// The device said something else than what it was asked for.
    #[error("{0}")]
    Unexpected(String),
    /// Nobody with this identifier answered.
    #[error("device {0} did not answer; is it on, and in this network?")]
    NotFound(Uuid),
    /// The device has an owner.
    #[error(
        "cannot be owned: {} owns it already. Its owner can give it up; whoever has it in hand can \
         reset it there",
        if *.ours { "this tool" } else { "somebody" }
    )]
    AlreadyOwned {
        /// Whether it is us.
        ours: bool,
    },
    /// The device does not take this way of taking ownership.
    #[error("the device does not offer {wanted}; it offers: {offered}")]
    Method {
        /// What was asked for.
        wanted: &'static str,
        /// What there is, in words.
        offered: String,
    },
    /// The two sides did not believe each other while ownership was transferred.
    #[error("coaps://{remote}: {}", unproved(*.method, .failure))]
    Unproved {
        /// Where the device is.
        remote: SocketAddr,
        /// By which method.
        method: super::own::Method,
        /// What happened.
        failure: Failure,
    },
    /// There is nothing to open a session with.
    #[error("there is no key for it in {directory}")]
    NoKey {
        /// Where the keys are.
        directory: String,
    },
    /// Only the owner can do that.
    #[error("{directory} has no owner's key for device {device}")]
    NoOwnerKey {
        /// Whose key is missing.
        device: Uuid,
        /// Where the keys are.
        directory: String,
    },
    /// The keys, or what was asked for, are of no use.
    #[error("{0}")]
    Invalid(String),
    /// The system does not do its part.
    #[error("{what}: {source}")]
    System {
        /// What could not be done.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// Another error, and on the way to what it happened.
    #[error("{doing}: {error}")]
    Doing {
        /// What was to be done.
        doing: String,
        /// Why it was not.
        error: Box<Error>,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody said anything in time.
    #[error("no answer came; is the address right, and is something listening there?")]
    NoAnswer,
    /// The time that the caller gave for the whole has passed.
    #[error("the time that was given for it is over")]
    TimeOver,
    /// The network says that there is no way, or nobody.
    #[error("{}", unreachable(.0))]
    Unreachable(io::Error),
    /// An answer came, and is of no use.
    #[error(transparent)]
    Call(CallError),
    /// No session could be made.
    #[error("no secure session: {0}")]
    Handshake(dtls::Error),
    /// This client has asked too many.
    #[error("this client has {0} sockets already; a new one is needed")]
    Sockets(usize),
}

/// An answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its code.
    pub code: Code,
    /// The device's own words; empty if it has none.
    pub words: String,
    /// When to try again, where the device is busy and says so (Max-Age of a 5.03, RFC 7252 section
    /// 5.9.3.4).
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// What the response says.
    pub(super) fn of(response: &Response) -> Self {
        let name = text::code(response.code);
        let words = match std::str::from_utf8(&response.payload) {
            // Some servers only repeat the name of the code.
            Ok(text) if !name.ends_with(text) && !super::request::is_cbor(response) => {
                text::printable(text)
            }
            _ => String::new(),
        };
        let age = response.options.uint(option::MAX_AGE).unwrap_or(MAX_AGE_DEFAULT);
        let retry_after = (response.code == Code::SERVICE_UNAVAILABLE)
            .then(|| Duration::from_secs(age.into()).min(RETRY_AFTER_MAX));
        Self { code: response.code, words, retry_after }
    }

    /// Whether the device is at work for somebody, and may say yes at another time: 5.03, or 4.09.
    pub fn is_busy(&self) -> bool {
        matches!(self.code, Code::SERVICE_UNAVAILABLE | Code::CONFLICT)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::code(self.code))?;
        if !self.words.is_empty() {
            write!(f, ": {}", self.words)?;
        }
        match (self.is_busy(), self.retry_after) {
            (true, Some(after)) => {
                write!(f, "; the device is busy: try again in {} s", after.as_secs().max(1))
            }
            (true, None) => {
                f.write_str("; the device is busy with something else: try again later")
            }
            (false, _) => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

impl Error {
    /// The same, with what was to be done before it.
    pub(super) fn doing(self, what: impl Into<String>) -> Self {
        Self::Doing { doing: what.into(), error: Box::new(self) }
    }

    /// The error itself, without what was to be done before it.
    pub fn innermost(&self) -> &Self {
        match self {
            Self::Doing { error, .. } => error.innermost(),
            other => other,
        }
    }

    /// What happened to the exchange, where that was it.
    pub fn failure(&self) -> Option<&Failure> {
        match self.innermost() {
            Self::Exchange { failure, .. } => Some(failure),
            _ => None,
        }
    }

    /// What the device said, where it said no.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self.innermost() {
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// Whether there was no key to ask with.
    pub fn is_no_key(&self) -> bool {
        matches!(self.innermost(), Self::NoKey { .. })
    }
}

/// Puts before an error what was to be done.
pub(super) trait Doing<T> {
    fn doing(self, what: impl Into<String>) -> Result<T, Error>;
}

impl<T> Doing<T> for Result<T, Error> {
    fn doing(self, what: impl Into<String>) -> Self {
        self.map_err(|error| error.doing(what))
    }
}

/// An error of the system, and what could not be done.
pub(super) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    |source| Error::System { what: what.into(), source }
}

/// Without random numbers nothing can be kept secret.
pub(super) fn no_random(error: getrandom::Error) -> Error {
    system("the system gives no random numbers")(io::Error::other(error.to_string()))
}

/// What to think of a handshake that failed while ownership was transferred. A wrong number looks like
/// a wrong key, and some devices fall silent.
fn unproved(method: super::own::Method, failure: &Failure) -> String {
    use super::own::Method;
    let why = match (method, failure) {
        (Method::RandomPin, Failure::Handshake(_)) => {
            "the number is wrong, or no longer the one that the device shows. Read it again and \
             repeat; after some wrong ones a device shows a new one, or pauses"
        }
        (Method::ManufacturerCertificate, Failure::Handshake(_)) => {
            "its certificate is not one of those manufacturers, or not valid now"
        }
        (Method::JustWorks, Failure::Handshake(_)) => {
            "another tool may be about to own it: try again in a minute"
        }
        _ => return failure.to_string(),
    };
    format!("{why} ({failure})")
}

fn unreachable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there".into(),
        _ => error.to_string(),
    }
}

/// What a response without Max-Age has, seconds (RFC 7252 section 5.10.5).
const MAX_AGE_DEFAULT: u32 = 60;

/// No device is busy for longer without having gone wrong.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: Code, words: &str, max_age: Option<u32>) -> Refusal {
        let mut response = Response::new(code);
        response.payload = words.as_bytes().to_vec();
        if let Some(seconds) = max_age {
            response.options.set_uint(option::MAX_AGE, seconds);
        }
        Refusal::of(&response)
    }

    #[test]
    fn a_busy_device_says_when_to_come_again() {
        let busy = refusal(Code::SERVICE_UNAVAILABLE, "an update is under way", Some(30));
        assert_eq!(busy.retry_after, Some(Duration::from_secs(30)));
        assert_eq!(
            busy.to_string(),
            "5.03 Service Unavailable: an update is under way; the device is busy: try again in 30 s"
        );
        let unsaid = refusal(Code::SERVICE_UNAVAILABLE, "", None);
        assert!(unsaid.to_string().ends_with("try again in 60 s"), "{unsaid}");
        let absurd = refusal(Code::SERVICE_UNAVAILABLE, "", Some(u32::MAX));
        assert_eq!(absurd.retry_after, Some(RETRY_AFTER_MAX));
        let conflict = refusal(Code::CONFLICT, "another order", Some(30));
        assert!(conflict.is_busy() && conflict.retry_after.is_none());
        assert!(conflict.to_string().contains("busy with something else"), "{conflict}");
    }

    #[test]
    fn a_refusal_is_its_code_and_the_devices_words_once() {
        assert_eq!(refusal(Code::NOT_FOUND, "Not Found", None).to_string(), "4.04 Not Found");
        let bad = refusal(Code::BAD_REQUEST, "purl: \x1b[2J", Some(9));
        assert_eq!(bad.to_string(), "4.00 Bad Request: purl: \u{fffd}[2J");
        assert_eq!(bad.retry_after, None);
    }

    #[test]
    fn a_wrong_number_is_not_taken_for_a_foreign_owner() {
        let remote = ([192, 0, 2, 1], 5684).into();
        let failure = Failure::Handshake(dtls::Error::Alert(20));
        let method = super::super::own::Method::RandomPin;
        let text = Error::Unproved { remote, method, failure }.to_string();
        assert!(text.contains("the number is wrong"), "{text}");
        assert!(!text.contains("owner") && !text.contains("reset"), "{text}");
    }
}
