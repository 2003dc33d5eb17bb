//! The envelope: what is in it, and whether somebody we trust signed it.
//!
//! Nothing here looks inside the manifest: draft-ietf-suit-manifest section 6.2 wants the signature
//! checked first.

use coset::{CoseSign1, TaggedCborSerializable};

use super::cbor::{Key, Reader, Wrapped};
use super::codes::{
    COMPONENTS_MAX, ENVELOPE_BYTES_MAX, SHA_256, SIGNATURES_MAX, TAG_ENVELOPE, TAG_SIGN1, member,
};
use super::refusal::Fault;
use super::{Algorithm, Digest, Refusal, Trust};

/// The members of an envelope, found but not believed.
pub(super) struct Envelope<'a> {
    /// SHA-256 of the manifest as the authentication wrapper gives it; equal to that of
    /// `manifest.encoded`.
    pub(super) digest: Digest,
    /// The signed bytes: the encoded `SUIT_Digest`.
    signed: &'a [u8],
    pub(super) signatures: Vec<Signature<'a>>,
    pub(super) manifest: Wrapped<'a>,
    /// Members that the manifest gives only a digest of, by their number.
    pub(super) severed: Vec<(i64, Wrapped<'a>)>,
    /// Payloads in the envelope, by their URI.
    pub(super) integrated: Vec<(&'a str, &'a [u8])>,
}

/// One COSE_Sign1, in the only shape that SUIT allows.
pub(super) struct Signature<'a> {
    /// Number in "COSE Algorithms".
    pub(super) algorithm: i64,
    tagged: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Finds the members (draft 8.2, 8.3).
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Refusal> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(Refusal::TooLarge { bytes: bytes.len() });
        }
        let (mut authentication, mut manifest) = (None, None);
        let (mut severed, mut integrated) = (vec![], vec![]);
        Reader::all("the envelope", bytes, |reader| {
            if reader.tag() != Ok(TAG_ENVELOPE) {
                return Err(Refusal::NotAnEnvelope);
            }
            reader.map(|key, value| {
                match key {
                    Key::Int(member::AUTHENTICATION) => authentication = Some(value.bytes()?),
                    Key::Int(member::MANIFEST) => manifest = Some(value.wrapped()?),
                    Key::Int(
                        number @ (member::COSWID
                        | member::PAYLOAD_FETCH
                        | member::INSTALL
                        | member::TEXT),
                    ) => severed.push((number, value.wrapped()?)),
                    Key::Int(number) => return Err(value.unsupported("member", number)),
                    Key::Text(uri) if integrated.len() < COMPONENTS_MAX => {
                        integrated.push((uri, value.bytes()?));
                    }
                    Key::Text(_) => {
                        let limit = COMPONENTS_MAX as u64;
                        return Err(Refusal::OverLimit { what: "integrated payloads", limit });
                    }
                }
                Ok(())
            })
        })?;
        let authentication =
            authentication.ok_or(Refusal::Missing("the authentication wrapper"))?;
        let manifest = manifest.ok_or(Refusal::Missing("the manifest"))?;
        let (signed, signatures) = read_authentication(authentication)?;
        let digest = Reader::all("the manifest's digest", signed, read_digest)?;
        Ok(Self { digest, signed, signatures, manifest, severed, integrated })
    }

    /// Checks that the manifest is the one whose digest is signed (draft 8.3: the digest covers the
    /// manifest with its byte string header).
    pub(super) fn check_digest(&self) -> Result<(), Refusal> {
        if Digest::of(self.manifest.encoded) == self.digest {
            Ok(())
        } else {
            Err(Refusal::Digest { of: "the manifest" })
        }
    }

    /// Checks that somebody trusted signed that digest. Others may have signed too: that is how a
    /// vendor changes keys or algorithms.
    pub(super) fn check_signature(&self, trust: &Trust) -> Result<(), Refusal> {
        if self.signatures.is_empty() {
            return Err(Refusal::NotSigned);
        }
        if self.signatures.iter().any(|signature| signature.is_by(trust, self.signed)) {
            Ok(())
        } else {
            Err(Refusal::Signature)
        }
    }
}

impl Signature<'_> {
    /// Which kind of key makes such signatures.
    pub(super) fn kind(&self) -> Option<Algorithm> {
        match self.algorithm {
            // ES256 (RFC 9053) and its fully specified twin ESP256 (RFC 9864).
            -7 | -9 => Some(Algorithm::P256),
            // EdDSA, and its fully specified Ed25519.
            -8 | -19 => Some(Algorithm::Ed25519),
            _ => None,
        }
    }

    fn is_by(&self, trust: &Trust, signed: &[u8]) -> bool {
        let Some(kind) = self.kind() else {
            return false;
        };
        // `read_signature` accepted the shape before, so coset sees nothing deep or long.
        CoseSign1::from_tagged_slice(self.tagged).is_ok_and(|sign1| {
            sign1
                .verify_detached_signature(signed, &[], |signature, message| {
                    trust.made(kind, message, signature).then_some(()).ok_or(())
                })
                .is_ok()
        })
    }
}

/// `SUIT_Authentication`: the encoded digest, then signatures.
fn read_authentication(bytes: &[u8]) -> Result<(&[u8], Vec<Signature<'_>>), Refusal> {
    Reader::all("the authentication wrapper", bytes, |reader| {
        let items = reader.array()?;
        if items > 1 + SIGNATURES_MAX {
            return Err(Refusal::OverLimit { what: "signatures", limit: SIGNATURES_MAX });
        }
        let digest = reader.bytes()?;
        let signatures = (1..items)
            .map(|_| reader.bytes().and_then(read_signature))
            .collect::<Result<_, _>>()?;
        Ok((digest, signatures))
    })
}

/// `COSE_Sign1_Tagged` with a detached payload. The unprotected header is not signed, so nothing may
/// be in it; the protected one has the algorithm, and perhaps the key's name, which we do not need.
fn read_signature(tagged: &[u8]) -> Result<Signature<'_>, Refusal> {
    let protected = Reader::all("a signature", tagged, |reader| {
        match reader.tag()? {
            TAG_SIGN1 => {}
            tag => return Err(reader.unsupported("COSE structure with tag", tag as i64)),
        }
        if reader.array()? != 4 {
            return Err(reader.fault(Fault::WrongValue));
        }
        let protected = reader.bytes()?;
        reader.map(|_, value| Err(value.fault(Fault::WrongValue)))?;
        reader.null()?;
        reader.bytes()?;
        Ok(protected)
    })?;
    let mut algorithm = None;
    Reader::all("a signature's header", protected, |reader| {
        reader.map(|key, value| match key {
            Key::Int(1) => value.int().map(|number| algorithm = Some(number)),
            Key::Int(4) => value.bytes().map(|_| ()),
            Key::Int(label) => Err(value.unsupported("header", label)),
            Key::Text(_) => Err(value.fault(Fault::WrongValue)),
        })
    })?;
    let algorithm = algorithm.ok_or(Refusal::Missing("a signature's algorithm"))?;
    Ok(Signature { algorithm, tagged })
}

/// `SUIT_Digest`. Only SHA-256, which every device must know.
pub(super) fn read_digest(reader: &mut Reader<'_>) -> Result<Digest, Refusal> {
    if reader.array()? != 2 {
        return Err(reader.fault(Fault::WrongValue));
    }
    match reader.int()? {
        SHA_256 => {}
        algorithm => return Err(reader.unsupported("digest algorithm", algorithm)),
    }
    let bytes = reader.bytes()?;
    bytes.try_into().map(Digest).map_err(|_| reader.fault(Fault::WrongValue))
}
