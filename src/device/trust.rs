//! Which keys the device believes: those of its configuration, then those of the last trust set that it
//! has taken.
//!
//! The way from one to the next is TUF's (TUF 1.0.34, 5.3): number N+1 is looked for until there is
//! none, each is kept before it counts, and only the last one may not have expired.

use std::path::Path;

use chrono::{DateTime, Utc};
use url::Url;

use super::error::Error;
use super::failure;
use crate::fetch::{self, Fetcher};
use crate::package::{self, Trust, TrustSet};
use crate::store::{Form, Found, Ledger};
use crate::update::{Failure, FailureKind};
use crate::worker::Cancel;

const RECORD: &str = "trust";
const FORM: Form = Form::FIRST;

/// Trust sets taken in one check: a device that was away for years takes the rest at the next.
const TRUST_SETS_MAX: usize = 64;

/// The keys that are believed, and where newer ones come from.
pub(super) struct Trusted {
    current: TrustSet,
    ledger: Ledger,
    /// Seen from the envelope; the number is appended.
    reference: Option<String>,
}

impl Trusted {
    /// What the last life left, or the configured keys.
    pub(super) fn open(
        configured: Trust,
        reference: Option<String>,
        directory: &Path,
    ) -> Result<Self, Error> {
        let (ledger, found) = Ledger::open(directory, RECORD, FORM)?;
        let kept = match found {
            Found::Nothing => Some(TrustSet::configured(configured)),
            Found::Record(document) => TrustSet::read(&document).ok(),
            Found::Newer { form } => return Err(Error::newer(RECORD, form, FORM)),
            Found::Damaged => None,
        };
        let current = kept.unwrap_or_else(|| {
            // The configured keys may be the ones that were revoked.
            tracing::error!(
                "the stored trust set is damaged, and no package will be believed: copy trust.0 \
                 and trust.1 from a backup, or remove them to begin with the configured keys again"
            );
            TrustSet::configured(Trust::default())
        });
        Ok(Self { current, ledger, reference })
    }

    /// The keys that sign packages.
    pub(super) fn packages(&self) -> &Trust {
        &self.current.packages
    }

    /// Their generation.
    pub(super) fn epoch(&self) -> u64 {
        self.current.epoch
    }

    /// Until when they are believed.
    pub(super) fn expires(&self) -> Option<DateTime<Utc>> {
        self.current.expires
    }

    /// Takes the trust sets that have come since. A server that keeps one back can do so until the
    /// last one expires; one that gives a false one is found out.
    pub(super) fn refresh(
        &mut self,
        fetcher: &Fetcher,
        envelope: &Url,
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        let Some(reference) = self.reference.clone() else { return Ok(()) };
        for _ in 0..TRUST_SETS_MAX {
            let number = self.current.version.saturating_add(1);
            let url = envelope.join(&format!("{reference}{number}")).map_err(|error| {
                Failure::new(FailureKind::BadUrl, format!("update.trust_sets: {error}"))
            })?;
            let document = match fetcher.envelope(url.as_str(), cancel) {
                Ok(fetched) => fetched.bytes,
                Err(error) if is_absence(&error) => return Ok(()),
                Err(error) => return Err(failure::fetch(&error)),
            };
            self.take(&document)?;
        }
        Ok(())
    }

    fn take(&mut self, document: &[u8]) -> Result<(), Failure> {
        let next = package::verify_trust_set(document, &self.current).map_err(|refusal| {
            let number = self.current.version.saturating_add(1);
            let kind = failure::package(&refusal).kind;
            Failure::new(kind, format!("trust set {number} is refused: {refusal}"))
        })?;
        // On the disk first: what counted once must not be forgotten by a power cut.
        self.ledger.commit(document).map_err(|error| Failure::new(FailureKind::Storage, error))?;
        tracing::info!("trust set {} counts from now on", next.version);
        self.current = TrustSet::clone(&next);
        Ok(())
    }
}

/// Whether the server says that there is none (yet).
fn is_absence(error: &fetch::Error) -> bool {
    use fetch::Error::{CoapStatus, HttpStatus};
    matches!(error, HttpStatus(403 | 404 | 410, _) | CoapStatus(403 | 404, _))
}
