//! Which keys a device believes, over time: a numbered document that each generation of keys hands on
//! to the next.
//!
//! SUIT has no rotation or revocation of keys. The rules are those of TUF's root role (TUF 1.0.34,
//! 5.3): document N+1 counts when enough root keys of document N and enough of its own signed it; a
//! key is revoked by leaving it out. The root keys may lie in a safe: packages are signed with others.

use chrono::{DateTime, Utc};

use super::cbor::{Key, Reader, Writer};
use super::codes::{SIGNATURES_MAX, TRUSTED_KEYS_MAX, trust_set};
use super::refusal::Fault;
use super::signature::{self, Signature};
use super::{Algorithm, KeyError, Refusal, SignError, SigningKey, Trust};

/// The largest document that is read, bytes: 32 keys and 8 signatures have about 4,000.
pub const TRUST_SET_BYTES_MAX: usize = 8 * 1024;

/// Which keys may sign packages, which keys may say so, and how many of each have to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustSet {
    /// Grows by one with every document. 0 is what the device was configured with.
    pub version: u64,
    /// After this moment there should be a newer one; the caller compares it with the time.
    pub expires: Option<DateTime<Utc>>,
    /// The generation of package keys, which counts more than the sequence number of a package: a stolen
    /// key that signed the highest number there is would otherwise rule out all later packages (TUF:
    /// fast-forward attack). It grows only where no package key of the set before is left.
    pub epoch: u64,
    /// Keys that sign the next document.
    pub roots: Trust,
    /// Keys that sign packages.
    pub packages: Trust,
}

impl TrustSet {
    /// What a device believes before it has seen any document: its configuration, for everything.
    pub fn configured(trust: Trust) -> Self {
        Self { version: 0, expires: None, epoch: 0, roots: trust.clone(), packages: trust }
    }

    /// The document without signatures.
    pub fn document(&self) -> Vec<u8> {
        let body = Writer::default()
            .map(6 + usize::from(self.expires.is_some()) + usize::from(self.epoch > 0))
            .int(trust_set::FORMAT)
            .uint(trust_set::FORMAT_VERSION)
            .int(trust_set::VERSION)
            .uint(self.version);
        let body = match self.expires {
            Some(moment) => body.int(trust_set::EXPIRES).int(moment.timestamp()),
            None => body,
        };
        let body = write_keys(body.int(trust_set::ROOT_KEYS), &self.roots)
            .int(trust_set::ROOT_THRESHOLD)
            .uint(self.roots.threshold() as u64);
        let body = write_keys(body.int(trust_set::PACKAGE_KEYS), &self.packages)
            .int(trust_set::PACKAGE_THRESHOLD)
            .uint(self.packages.threshold() as u64);
        let body = if self.epoch > 0 { body.int(trust_set::EPOCH).uint(self.epoch) } else { body };
        Writer::default().array(2).bytes(&body.done()).array(0).done()
    }

    /// Reads a document whoever signed it: to show it, or to sign it.
    ///
    /// # Errors
    ///
    /// Anything but a well-formed document.
    pub fn read(document: &[u8]) -> Result<Self, Refusal> {
        let document = Document::read(document)?;
        read_body(document.body)
    }

    /// The next document after this one, if those who may say so do (TUF 5.3.4, 5.3.5).
    pub(super) fn successor(&self, document: &[u8]) -> Result<Self, Refusal> {
        let document = Document::read(document)?;
        document.check(&self.roots)?;
        let next = read_body(document.body)?;
        document.check(&next.roots)?;
        let expected = self.version.saturating_add(1);
        if next.version != expected {
            return Err(Refusal::TrustVersion { expected, found: next.version });
        }
        self.check_epoch(&next)?;
        Ok(next)
    }

    /// What the old keys signed would be new once more, if one of them were left.
    fn check_epoch(&self, next: &Self) -> Result<(), Refusal> {
        let kept = next.packages.raw().any(|key| self.packages.raw().any(|old| old == key));
        if next.epoch < self.epoch || (next.epoch > self.epoch && kept) {
            return Err(Refusal::TrustEpoch);
        }
        Ok(())
    }
}

/// Adds a signature to a document, unless this very key has signed it: a key counts once.
///
/// # Errors
///
/// Anything but a well-formed document, or one with too many signatures.
pub fn sign_trust_set(document: &[u8], key: &SigningKey) -> Result<Vec<u8>, SignError> {
    TrustSet::read(document)?;
    let read = Document::read(document)?;
    if read.check(&key.trust()).is_ok() {
        return Ok(document.to_vec());
    }
    let Document { body, signatures } = read;
    let new = signature::sign(body, trust_set::ADDITIONAL_DATA, key)?;
    let signed = Writer::default().array(2).bytes(body).array(signatures.len() + 1);
    let old = signatures.iter().map(|signature| signature.tagged);
    let document = old.chain([&*new]).fold(signed, Writer::bytes).done();
    Document::read(&document)?;
    Ok(document)
}

/// A document in its two parts.
struct Document<'a> {
    body: &'a [u8],
    signatures: Vec<Signature<'a>>,
}

impl<'a> Document<'a> {
    fn read(document: &'a [u8]) -> Result<Self, Refusal> {
        if document.len() > TRUST_SET_BYTES_MAX {
            let limit = TRUST_SET_BYTES_MAX as u64;
            return Err(Refusal::OverLimit { what: "bytes of trust set", limit });
        }
        Reader::all("the trust set", document, |reader| {
            if reader.array()? != 2 {
                return Err(reader.fault(Fault::WrongValue));
            }
            let body = reader.bytes()?;
            let count = reader.array()?;
            if count > SIGNATURES_MAX {
                return Err(Refusal::OverLimit { what: "signatures", limit: SIGNATURES_MAX });
            }
            let signatures = (0..count)
                .map(|_| reader.bytes().and_then(Signature::read))
                .collect::<Result<_, _>>()?;
            Ok(Self { body, signatures })
        })
    }

    fn check(&self, roots: &Trust) -> Result<(), Refusal> {
        signature::check(&self.signatures, roots, self.body, trust_set::ADDITIONAL_DATA)
    }
}

fn read_body(body: &[u8]) -> Result<TrustSet, Refusal> {
    let (mut format, mut version, mut expires) = (None, None, None);
    let (mut roots, mut root_threshold) = (None, None);
    let (mut packages, mut package_threshold) = (None, None);
    let mut epoch = 0;
    Reader::all("the trust set", body, |reader| {
        reader.map(|key, value| {
            match key {
                Key::Int(trust_set::FORMAT) => format = Some(value.uint()?),
                Key::Int(trust_set::VERSION) => version = Some(value.uint()?),
                Key::Int(trust_set::EXPIRES) => expires = Some(read_moment(value)?),
                Key::Int(trust_set::ROOT_KEYS) => roots = Some(read_keys(value)?),
                Key::Int(trust_set::ROOT_THRESHOLD) => root_threshold = Some(value.uint()?),
                Key::Int(trust_set::PACKAGE_KEYS) => packages = Some(read_keys(value)?),
                Key::Int(trust_set::PACKAGE_THRESHOLD) => package_threshold = Some(value.uint()?),
                Key::Int(trust_set::EPOCH) => epoch = value.uint()?,
                Key::Int(number) => return Err(value.unsupported("member", number)),
                Key::Text(_) => return Err(value.fault(Fault::WrongType)),
            }
            Ok(())
        })
    })?;
    if format != Some(trust_set::FORMAT_VERSION) {
        return Err(Refusal::Missing("a format of trust sets that this device knows"));
    }
    Ok(TrustSet {
        version: version.ok_or(Refusal::Missing("the number of the trust set"))?,
        expires,
        epoch,
        roots: with_threshold(roots, root_threshold)?,
        packages: with_threshold(packages, package_threshold)?,
    })
}

fn with_threshold(keys: Option<Trust>, threshold: Option<u64>) -> Result<Trust, Refusal> {
    let keys = keys.ok_or(Refusal::Missing("a list of keys"))?;
    let threshold = threshold.ok_or(Refusal::Missing("the number of keys that have to sign"))?;
    usize::try_from(threshold)
        .ok()
        .and_then(|threshold| keys.with_threshold(threshold).ok())
        .ok_or(Refusal::Malformed { part: "the trust set", fault: Fault::WrongValue })
}

fn read_moment(reader: &mut Reader<'_>) -> Result<DateTime<Utc>, Refusal> {
    let seconds = i64::try_from(reader.uint()?).ok();
    let moment = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    moment.ok_or_else(|| reader.fault(Fault::WrongValue))
}

/// A key is the COSE number of its signatures, and its bytes.
fn read_keys(reader: &mut Reader<'_>) -> Result<Trust, Refusal> {
    let count = reader.array()?;
    if count > TRUSTED_KEYS_MAX as u64 {
        let limit = TRUSTED_KEYS_MAX as u64;
        return Err(Refusal::OverLimit { what: "keys", limit });
    }
    let mut keys = vec![];
    for _ in 0..count {
        if reader.array()? != 2 {
            return Err(reader.fault(Fault::WrongValue));
        }
        let kind = match reader.int()? {
            trust_set::P256 => Algorithm::P256,
            trust_set::ED25519 => Algorithm::Ed25519,
            code => return Err(reader.unsupported("kind of key", code)),
        };
        keys.push((kind, reader.bytes()?));
    }
    // Two entries for one key would let it count twice.
    Trust::from_raw(&keys).map_err(|error| match error {
        KeyError::NoPublicKey => Refusal::Missing("a key"),
        _ => reader.fault(Fault::WrongValue),
    })
}

fn write_keys(to: Writer, trust: &Trust) -> Writer {
    trust.raw().fold(to.array(trust.keys()), |to, (algorithm, bytes)| {
        let kind = match algorithm {
            Algorithm::P256 => trust_set::P256,
            Algorithm::Ed25519 => trust_set::ED25519,
        };
        to.array(2).int(kind).bytes(bytes)
    })
}
