//! What every scheme is given to go by, and what it brings.

use url::Url;

use super::Settings;
use super::address::Lookup;
use super::https::Https;
use crate::worker::Cancel;

/// What it takes to go anywhere.
pub(super) struct Way<'a> {
    pub(super) settings: &'a Settings,
    pub(super) lookup: Lookup,
    pub(super) https: &'a Https,
    pub(super) cancel: &'a Cancel,
}

/// An envelope and where it finally came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The envelope, not verified.
    pub bytes: Vec<u8>,
    /// What the payloads' URIs are relative to.
    pub final_url: Url,
}
