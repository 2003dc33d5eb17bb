//! From what went wrong in a room to what the engine keeps of it: one table for each room.

use std::io;

use crate::fetch;
use crate::install;
use crate::package::Refusal;
use crate::update::{Failure, FailureKind};

pub(super) fn fetch(error: &fetch::Error) -> Failure {
    use fetch::Error as E;
    let kind = match error {
        E::Settings(_) | E::Disk { .. } => FailureKind::Storage,
        E::BadUrl { .. } => FailureKind::BadUrl,
        E::UnsupportedScheme(_) | E::NoCredentials => FailureKind::UnsupportedScheme,
        E::HostNotAllowed(_) | E::Redirect(_) => FailureKind::SourceRefused,
        E::NameUnknown(_) => FailureKind::NameUnknown,
        E::ConnectionLost { .. } | E::Tls { .. } | E::TimedOut { .. } | E::BadAnswer { .. } => {
            FailureKind::ConnectionLost
        }
        E::HttpStatus(status, _) => FailureKind::Http(*status),
        E::CoapStatus(code, _) => FailureKind::Coap(*code),
        E::TooLarge(_) => FailureKind::Malformed,
        E::SizeMismatch { .. } | E::DigestMismatch { .. } => FailureKind::Digest,
        E::NoSpace { .. } => FailureKind::NoSpace,
        E::Cancelled => FailureKind::Cancelled,
    };
    Failure::new(kind, error)
}

pub(super) fn package(refusal: &Refusal) -> Failure {
    use Refusal as R;
    let kind = match refusal {
        R::NotSigned | R::Signature | R::TooFewSignatures { .. } => FailureKind::Signature,
        R::Digest { .. } | R::Size { .. } => FailureKind::Digest,
        R::WrongVendor { .. } | R::WrongClass { .. } => FailureKind::WrongDevice,
        _ => FailureKind::Malformed,
    };
    Failure::new(kind, refusal)
}

/// The disk refused to keep a package.
pub(super) fn disk(error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::NoSpace,
        io::ErrorKind::OutOfMemory => FailureKind::NoMemory,
        _ => FailureKind::Storage,
    };
    Failure::new(kind, format!("cannot keep the package: {error}"))
}

/// What was kept is not there any more.
pub(super) fn lost(error: &io::Error) -> Failure {
    Failure::new(FailureKind::Storage, format!("the kept package cannot be read: {error}"))
}

pub(super) fn install(error: &install::Error) -> Failure {
    use install::Error as E;
    let kind = match error {
        E::NoSpace { .. } => FailureKind::NoSpace,
        E::NoMemory => FailureKind::NoMemory,
        E::PayloadChanged { .. } => FailureKind::Digest,
        E::HealthFailed(_) | E::ActivateFailed(_) | E::TriesSpent(_) => FailureKind::Trial,
        E::BadArchive { .. } | E::Unreadable(_) | E::Unfit(_) => FailureKind::Unfit,
        E::NothingToRollBackTo => FailureKind::NothingBefore,
        E::Cancelled => FailureKind::Cancelled,
        E::Disk { .. } | E::Damaged { .. } => FailureKind::Storage,
        E::Settings(_) | E::NotWritten(_) | E::Vetoed(_) | E::InstallerFailed { .. } => {
            FailureKind::Install
        }
    };
    Failure::new(kind, error)
}
