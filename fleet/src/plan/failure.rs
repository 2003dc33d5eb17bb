//! Why an update failed: a code that programs compare, a text for people, and the class of trouble,
//! which decides whether trying again makes sense.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::words::FailureCode;

/// How many bytes of a device's words about a failure are kept.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// Why an update failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// What programs compare.
    pub code: FailureCode,
    /// What the device, or the server, said.
    pub text: String,
}

/// What kind of trouble a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The download broke off: the line, or a server that was in trouble.
    Transport,
    /// The download was refused: what is not there now will not be there later.
    Refused,
    /// There is no room on the device.
    Space,
    /// What was downloaded is not what was signed.
    Validation,
    /// The device cannot do this at all.
    Unsupported,
    /// The installation went wrong.
    Install,
    /// It was installed, and the old version runs again.
    RolledBack,
    /// Nothing was heard for too long.
    TimedOut,
    /// Somebody on the device said no.
    Declined,
    /// The interval was over before it began.
    Expired,
    /// None of these.
    Other,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Transport,
        Self::Refused,
        Self::Space,
        Self::Validation,
        Self::Unsupported,
        Self::Install,
        Self::RolledBack,
        Self::TimedOut,
        Self::Declined,
        Self::Expired,
        Self::Other,
    ];

    /// Whether such a failure can go away by itself. What was refused, is wrongly signed, or was
    /// declined by a person, is not tried again by a machine.
    pub fn may_be_retried(self) -> bool {
        matches!(
            self,
            Self::Transport
                | Self::Space
                | Self::Install
                | Self::RolledBack
                | Self::TimedOut
                | Self::Other
        )
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transport => "transport",
            Self::Refused => "refused",
            Self::Space => "space",
            Self::Validation => "validation",
            Self::Unsupported => "unsupported",
            Self::Install => "install",
            Self::RolledBack => "rolled_back",
            Self::TimedOut => "timed_out",
            Self::Declined => "declined",
            Self::Expired => "expired",
            Self::Other => "other",
        })
    }
}

/// The result codes of the vehicle clients, by their number.
const NUMBERED: [&str; 20] = [
    "ok",
    "already_processed",
    "dependency_failure",
    "validation_failed",
    "install_failed",
    "upgrade_failed",
    "removal_failed",
    "flash_failed",
    "partition_create_failed",
    "partition_delete_failed",
    "partition_resize_failed",
    "partition_write_failed",
    "partition_patch_failed",
    "user_declined",
    "software_blacklisted",
    "disk_full",
    "not_found",
    "old_version",
    "internal_error",
    "general_error",
];

impl Failure {
    /// A failure with a device's words, of which as much is kept as fits.
    pub fn new(code: FailureCode, text: &str) -> Self {
        let end =
            (0..=text.len().min(TEXT_BYTES_MAX)).rev().find(|end| text.is_char_boundary(*end));
        Self { code, text: text[..end.unwrap_or(0)].to_owned() }
    }

    /// The failure that a numeric result stands for; none for 0 and 1, which are successes, and for
    /// numbers that mean nothing.
    pub fn numbered(number: u64, text: &str) -> Option<Self> {
        let code = usize::try_from(number).ok().filter(|n| *n > 1).and_then(|n| NUMBERED.get(n))?;
        Some(Self::known(code, text))
    }

    /// What became of the interval.
    pub fn expired() -> Self {
        Self::known("expired", "it had not begun when its interval was over")
    }

    /// The old version was seen after the installation.
    pub fn rolled_back() -> Self {
        Self::known("rolled_back", "the device runs the version that it ran before")
    }

    /// Nothing was heard for as long as the campaign waits.
    pub fn timed_out() -> Self {
        Self::known("timed_out", "nothing was heard of the device for too long")
    }

    /// Somebody said no.
    pub fn declined(text: &str) -> Self {
        Self::known("user_declined", text)
    }

    fn known(code: &str, text: &str) -> Self {
        Self::new(code.parse().expect("the codes of this room are codes"), text)
    }

    /// What kind of trouble it is.
    pub fn class(&self) -> Class {
        match self.code.as_str() {
            "connection_lost" | "incomplete_download" | "internal_error" => Class::Transport,
            "not_found" | "software_blacklisted" => Class::Refused,
            "disk_full" => Class::Space,
            "validation_failed" | "old_version" | "signature_invalid" => Class::Validation,
            "unsupported_protocol" | "dependency_failure" => Class::Unsupported,
            "install_failed" | "upgrade_failed" | "removal_failed" | "flash_failed" => {
                Class::Install
            }
            "rolled_back" => Class::RolledBack,
            "timed_out" => Class::TimedOut,
            "user_declined" | "cancelled" => Class::Declined,
            "expired" => Class::Expired,
            code if code.starts_with("partition_") => Class::Install,
            // What a download was answered with: 4xx is for good, 5xx is not.
            code if code.starts_with("transport_4") => Class::Refused,
            code if code.starts_with("transport_") => Class::Transport,
            _ => Class::Other,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_clients_have_their_meaning() {
        assert_eq!(Failure::numbered(0, ""), None);
        assert_eq!(Failure::numbered(1, ""), None);
        assert_eq!(Failure::numbered(20, ""), None);
        assert_eq!(Failure::numbered(u64::MAX, ""), None);
        for (number, class) in [
            (3, Class::Validation),
            (4, Class::Install),
            (9, Class::Install),
            (13, Class::Declined),
            (15, Class::Space),
            (19, Class::Other),
        ] {
            assert_eq!(Failure::numbered(number, "").unwrap().class(), class, "{number}");
        }
    }

    #[test]
    fn a_server_that_refuses_is_not_asked_again_and_one_in_trouble_is() {
        let class = |code: &str| Failure::new(code.parse().unwrap(), "").class();
        assert!(!class("transport_404").may_be_retried());
        assert!(class("transport_503").may_be_retried());
        assert!(!Failure::expired().class().may_be_retried());
        assert!(!class("validation_failed").may_be_retried());
    }

    #[test]
    fn a_devices_words_are_kept_up_to_a_length() {
        let failure = Failure::new("other".parse().unwrap(), &"€".repeat(1_000));
        assert_eq!(failure.text.len(), 1_023);
    }
}
