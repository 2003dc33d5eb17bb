//! From bytes to belief: the only maker of [`Verified`].

use super::envelope::Envelope;
use super::processor;
use super::{Algorithm, Identity, Manifest, Refusal, Trust, TrustSet};

/// Something that [`verify()`] accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> std::ops::Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Verifies an envelope for this device, in the order of draft-ietf-suit-manifest section 6.
///
/// Whether it is newer than what runs, and whether it has expired, is not judged here: the caller
/// knows the sequence floor and the time, and the manifest says what to compare them with.
///
/// # Errors
///
/// The first reason not to install it.
pub fn verify(
    envelope: &[u8],
    trust: &Trust,
    identity: &Identity,
) -> Result<Verified<Manifest>, Refusal> {
    // 8.2: an envelope of bounded size, its members found. Nothing is believed yet.
    let envelope = Envelope::read(envelope)?;
    // 8.3: the digest that is signed is that of this manifest. Comes first because it is cheap.
    envelope.check_digest()?;
    // 6.2: "MUST verify the signature of the manifest prior to parsing/executing any section".
    envelope.check_signatures(trust)?;
    // 6.1, 6.3 and 6.4: manifest version, components, then the sequences, as the vendor ordered them.
    processor::process(&envelope, Some(identity)).map(Verified)
}

/// Verifies the document that follows the trust set that a device believes. A device that was away for
/// long takes them one after the other.
///
/// Whether it has expired is not judged here.
///
/// # Errors
///
/// The first reason not to believe it.
pub fn verify_trust_set(
    document: &[u8],
    current: &TrustSet,
) -> Result<Verified<TrustSet>, Refusal> {
    current.successor(document).map(Verified)
}

/// What a person can see in an envelope without trusting anyone. Cannot be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// What it says.
    pub manifest: Manifest,
    /// Kinds of the signatures on it, unchecked; `None` for a kind that no device here knows, with
    /// its number in "COSE Algorithms".
    pub signatures: Vec<(Option<Algorithm>, i64)>,
    /// Members that travel outside the manifest, by name.
    pub severed: Vec<&'static str>,
}

/// Reads an envelope without checking who signed it or which device it is for.
///
/// # Errors
///
/// Everything that makes [`verify()`] refuse it, other than a missing or untrusted signature and
/// another identity.
pub fn inspect(envelope: &[u8]) -> Result<Inspection, Refusal> {
    let envelope = Envelope::read(envelope)?;
    envelope.check_digest()?;
    let manifest = processor::process(&envelope, None)?;
    let signatures = envelope.signatures.iter().map(|s| (s.kind(), s.algorithm)).collect();
    let severed = envelope.severed.iter().map(|(number, _)| processor::name(*number)).collect();
    Ok(Inspection { manifest, signatures, severed })
}
