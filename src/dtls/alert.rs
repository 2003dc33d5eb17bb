//! Alerts (RFC 5246 section 7.2).

use super::Error;

pub(super) const CLOSE_NOTIFY: u8 = 0;
pub(super) const NO_RENEGOTIATION: u8 = 100;

/// The level of an alert that ends the session.
pub(super) const FATAL: u8 = 2;
/// The level of an alert that does not.
pub(super) const WARNING: u8 = 1;

/// The registered name.
pub(super) fn name(description: u8) -> &'static str {
    match description {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        22 => "record_overflow",
        40 => "handshake_failure",
        41 => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        90 => "user_canceled",
        100 => "no_renegotiation",
        110 => "unsupported_extension",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        _ => "of an unknown kind",
    }
}

/// What the peer is told of a failure; `None` when there is nobody to tell.
pub(super) fn description(error: &Error) -> Option<u8> {
    Some(match error {
        Error::Malformed(_) => 50,
        Error::Unexpected(_) => 10,
        Error::Illegal(_) => 47,
        Error::Version => 70,
        Error::NoSharedSuite(_) => 40,
        // The same for both, so that nobody learns which identities exist.
        Error::UnknownPskIdentity | Error::KeyMismatch => 20,
        Error::FinishedMismatch | Error::BadSignature(_) => 51,
        Error::NoCertificate | Error::NoKey => 40,
        Error::Certificate(_) => 42,
        Error::Abandoned | Error::PolicyChanged => 90,
        Error::Credentials(_) => 80,
        Error::Alert(_) | Error::TimedOut | Error::NoSession | Error::TooLong { .. } => None?,
        Error::Full => 80,
    })
}
