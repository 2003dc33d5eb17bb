//! The envelope: what is in it, and whether somebody we trust signed it.
//!
//! Nothing here looks inside the manifest: draft-ietf-suit-manifest section 6.2 wants the signature
//! checked first.

use super::cbor::{Key, Reader, Wrapped, Writer};
use super::codes::{
    COMPONENTS_MAX, ENVELOPE_BYTES_MAX, SHA_256, SIGNATURES_MAX, TAG_ENVELOPE, member,
};
use super::refusal::Fault;
use super::signature::{self, NO_ADDITIONAL_DATA, Signature};
use super::{Digest, Refusal, Trust};

/// The members of an envelope, found but not believed.
pub(super) struct Envelope<'a> {
    /// SHA-256 of the manifest as the authentication wrapper gives it; equal to that of
    /// `manifest.encoded`.
    pub(super) digest: Digest,
    /// The signed bytes: the encoded `SUIT_Digest`.
    pub(super) signed: &'a [u8],
    pub(super) signatures: Vec<Signature<'a>>,
    pub(super) manifest: Wrapped<'a>,
    /// Members that the manifest gives only a digest of, by their number.
    pub(super) severed: Vec<(i64, Wrapped<'a>)>,
    /// Payloads in the envelope, by their URI.
    pub(super) integrated: Vec<(&'a str, &'a [u8])>,
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

    /// Checks that enough of the trusted keys signed that digest. Others may have signed too: that is
    /// how a vendor changes keys or algorithms.
    pub(super) fn check_signatures(&self, trust: &Trust) -> Result<(), Refusal> {
        signature::check(&self.signatures, trust, self.signed, NO_ADDITIONAL_DATA)
    }

    /// The same envelope with one more signature.
    pub(super) fn with_signature(&self, signature: &[u8]) -> Vec<u8> {
        let blocks = self.signatures.iter().map(|signature| signature.tagged).chain([signature]);
        let authentication = Writer::default().array(2 + self.signatures.len()).bytes(self.signed);
        let authentication = blocks.fold(authentication, |w, block| w.bytes(block)).done();
        let members = 2 + self.severed.len() + self.integrated.len();
        let envelope = Writer::default()
            .tag(TAG_ENVELOPE)
            .map(members)
            .int(member::AUTHENTICATION)
            .bytes(&authentication)
            .int(member::MANIFEST)
            .raw(self.manifest.encoded);
        let envelope = self.severed.iter().fold(envelope, |w, (n, m)| w.int(*n).raw(m.encoded));
        let payloads = self.integrated.iter();
        payloads.fold(envelope, |w, (uri, payload)| w.text(uri).bytes(payload)).done()
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
            .map(|_| reader.bytes().and_then(Signature::read))
            .collect::<Result<_, _>>()?;
        Ok((digest, signatures))
    })
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
