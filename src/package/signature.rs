//! COSE_Sign1 with a detached payload (RFC 9052, 4.2; draft-ietf-suit-manifest 8.3).

use coset::{CoseSign1, CoseSign1Builder, HeaderBuilder, TaggedCborSerializable, iana};

use super::cbor::{Key, Reader};
use super::codes::{TAG_SIGN1, cose};
use super::refusal::Fault;
use super::{Algorithm, KeyError, Refusal, SigningKey, Trust};

/// SUIT signs without additional data.
pub(super) const NO_ADDITIONAL_DATA: &[u8] = &[];

/// One signature, in the only shape that is accepted. Not checked yet.
pub(super) struct Signature<'a> {
    /// Number in "COSE Algorithms".
    pub(super) algorithm: i64,
    pub(super) tagged: &'a [u8],
}

impl<'a> Signature<'a> {
    /// The protected header has the algorithm. Either may have the key's name, which we do not need:
    /// each signature is tried with each key. The unprotected one is not signed, so that nothing else
    /// may be in it.
    pub(super) fn read(tagged: &'a [u8]) -> Result<Self, Refusal> {
        let protected = Reader::all("a signature", tagged, |reader| {
            match reader.tag()? {
                TAG_SIGN1 => {}
                tag => {
                    let tag = i64::try_from(tag).unwrap_or(i64::MAX);
                    return Err(reader.unsupported("COSE structure with tag", tag));
                }
            }
            if reader.array()? != 4 {
                return Err(reader.fault(Fault::WrongValue));
            }
            let protected = reader.bytes()?;
            reader.map(|label, value| match label {
                Key::Int(cose::KEY_ID) => value.bytes().map(|_| ()),
                _ => Err(value.fault(Fault::WrongValue)),
            })?;
            reader.null()?;
            reader.bytes()?;
            Ok(protected)
        })?;
        let mut algorithm = None;
        Reader::all("a signature's header", protected, |reader| {
            reader.map(|key, value| match key {
                Key::Int(cose::ALGORITHM) => value.int().map(|number| algorithm = Some(number)),
                Key::Int(cose::KEY_ID) => value.bytes().map(|_| ()),
                Key::Int(label) => Err(value.unsupported("header", label)),
                Key::Text(_) => Err(value.fault(Fault::WrongValue)),
            })
        })?;
        let algorithm = algorithm.ok_or(Refusal::Missing("a signature's algorithm"))?;
        Ok(Self { algorithm, tagged })
    }

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

    /// Which of the trusted keys made this signature, by its place among them.
    fn maker(&self, trust: &Trust, signed: &[u8], additional: &[u8]) -> Option<usize> {
        let kind = self.kind()?;
        // `read` accepted the shape before, so coset sees nothing deep or long.
        let sign1 = CoseSign1::from_tagged_slice(self.tagged).ok()?;
        let mut maker = None;
        let _: Result<(), ()> =
            sign1.verify_detached_signature(signed, additional, |signature, message| {
                maker = trust.maker(kind, message, signature);
                Ok(())
            });
        maker
    }
}

/// Checks that as many different trusted keys signed as have to.
pub(super) fn check(
    signatures: &[Signature<'_>],
    trust: &Trust,
    signed: &[u8],
    additional: &[u8],
) -> Result<(), Refusal> {
    if signatures.is_empty() {
        return Err(Refusal::NotSigned);
    }
    let mut makers: Vec<_> =
        signatures.iter().filter_map(|s| s.maker(trust, signed, additional)).collect();
    makers.sort_unstable();
    makers.dedup();
    match makers.len() {
        0 => Err(Refusal::Signature),
        made if made < trust.threshold() => {
            Err(Refusal::TooFewSignatures { made, needed: trust.threshold() })
        }
        _ => Ok(()),
    }
}

/// Signs: `COSE_Sign1_Tagged`. The fully specified algorithms (RFC 9864) are what
/// draft-ietf-suit-mti asks for.
pub(super) fn sign(
    to_sign: &[u8],
    additional: &[u8],
    key: &SigningKey,
) -> Result<Vec<u8>, KeyError> {
    let algorithm = match key.algorithm() {
        Algorithm::P256 => iana::Algorithm::ESP256,
        Algorithm::Ed25519 => iana::Algorithm::Ed25519,
    };
    let sign1 = CoseSign1Builder::new()
        .protected(HeaderBuilder::new().algorithm(algorithm).build())
        .try_create_detached_signature(to_sign, additional, |message| key.sign(message))?
        .build();
    Ok(sign1.to_tagged_vec().expect("a header of one number and a signature can be encoded"))
}
