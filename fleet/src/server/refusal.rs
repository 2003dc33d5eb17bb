//! Why something was not done, without a word about HTTP.

use crate::access::Denied;
use crate::blob::BlobError;
use crate::plan::filter::FilterError;
use crate::plan::words::WordError;
use crate::store::{Failure, Noun, Refused};

/// Why something was not done; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Who asks may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// A name is not as names are.
    #[error(transparent)]
    Word(#[from] WordError),
    /// An expression or a regular expression is not one.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Something else that was said makes no sense.
    #[error("{0}")]
    Senseless(String),
    /// The store refused, or is away.
    #[error(transparent)]
    Store(#[from] Failure),
    /// The bytes were refused, or their store is away.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// An envelope that no device of its class would accept, or by none of the vendor's keys.
    #[error("no device of its class would accept this envelope: {0}")]
    Envelope(String),
    /// The package cannot be given to devices yet.
    #[error("the package cannot be ordered: {0}")]
    NotReady(String),
    /// The key was used for another request.
    #[error("this Idempotency-Key was used for another request; take a new one")]
    KeyReused,
    /// An update is larger than what is left of the billing cycle.
    #[error(
        "the next update has {bytes} bytes, and {left} are left of the billing cycle; it waits for \
         the next one"
    )]
    Oversize {
        /// Bytes of the update.
        bytes: u64,
        /// Bytes left.
        left: u64,
    },
    /// The update does not stand where this could happen.
    #[error("the update is {state}: {what}")]
    WrongState {
        /// Where it stands.
        state: String,
        /// What cannot be done.
        what: &'static str,
    },
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self::Store(Failure::Refused(refused))
    }
}

/// There is none of these.
pub(super) fn missing(noun: Noun) -> Refusal {
    Refused::Missing(noun).into()
}
