//! Bearer tokens: 32 random bytes in words of a URL, of which only the SHA-256 digest is kept.

use std::fmt;

use super::{Role, Tenant};

/// How a token begins, so that people and scanners of leaks recognise one.
const PREFIX: &str = "ff_";
/// Bytes of randomness in a token: nobody guesses them, so that a fast digest is enough.
const BYTES: usize = 32;

/// What is known of a token, without the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Names the token in lists.
    pub id: String,
    /// Whose fleet it opens.
    pub tenant: Tenant,
    /// Who holds it.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// When it was made, milliseconds since 1970.
    pub created_at: i64,
    /// When it ends, milliseconds since 1970.
    pub not_after: Option<i64>,
}

/// The SHA-256 digest of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// A token in clear: shown once, never stored, never in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What was sent is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a token of freshen-fleet: they begin with `ff_` and have 67 characters")]
pub struct SecretError;

impl Secret {
    /// A token out of random bytes.
    pub fn new(random: [u8; BYTES]) -> Self {
        let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{PREFIX}{hex}"))
    }

    /// Reads what somebody sent.
    ///
    /// # Errors
    ///
    /// When it does not look like a token; it is then not repeated anywhere.
    pub fn read(text: &str) -> Result<Self, SecretError> {
        let hex = text.strip_prefix(PREFIX).ok_or(SecretError)?;
        let good = hex.len() == 2 * BYTES && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        if good { Ok(Self(text.to_owned())) } else { Err(SecretError) }
    }

    /// What is stored of it.
    pub fn digest(&self) -> Digest {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.0.as_bytes());
        Digest(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// The token itself, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_never_shown_by_accident() {
        let secret = Secret::new([7; 32]);
        assert_eq!(secret.reveal().len(), 67);
        assert_eq!(Secret::read(secret.reveal()).unwrap().digest(), secret.digest());
        assert!(!format!("{secret:?}").contains("07"));
        for bad in ["", "ff_", "ff_00", "xx", &"f".repeat(67)] {
            assert_eq!(Secret::read(bad), Err(SecretError), "{bad}");
        }
    }
}
