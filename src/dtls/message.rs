//! Handshake messages: their grammar, both ways (RFC 5246 section 7.4, RFC 6347 section 4.2).

use super::Error;
use super::certificate::Curve;
use super::record::{DTLS_1_0, DTLS_1_2};
use super::suite::Exchange;
use super::wire::{Reader, put_u16, put_u24, put_vec8, put_vec16, put_vec24, u16s};

/// Types of handshake messages.
pub(super) mod kind {
    pub(in crate::dtls) const HELLO_REQUEST: u8 = 0;
    pub(in crate::dtls) const CLIENT_HELLO: u8 = 1;
    pub(in crate::dtls) const SERVER_HELLO: u8 = 2;
    pub(in crate::dtls) const HELLO_VERIFY_REQUEST: u8 = 3;
    pub(in crate::dtls) const CERTIFICATE: u8 = 11;
    pub(in crate::dtls) const SERVER_KEY_EXCHANGE: u8 = 12;
    pub(in crate::dtls) const CERTIFICATE_REQUEST: u8 = 13;
    pub(in crate::dtls) const SERVER_HELLO_DONE: u8 = 14;
    pub(in crate::dtls) const CERTIFICATE_VERIFY: u8 = 15;
    pub(in crate::dtls) const CLIENT_KEY_EXCHANGE: u8 = 16;
    pub(in crate::dtls) const FINISHED: u8 = 20;
}

/// Bytes in front of every handshake message and fragment.
pub(super) const HEADER_BYTES: usize = 12;

/// A piece of a handshake message, as it came (RFC 6347 section 4.2.3).
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment<'a> {
    pub(super) kind: u8,
    /// Of the whole message.
    pub(super) length: usize,
    pub(super) sequence: u16,
    pub(super) offset: usize,
    pub(super) body: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Takes the next fragment off a record.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let kind = reader.u8()?;
        let length = reader.u24()?;
        let sequence = reader.u16()?;
        let offset = reader.u24()?;
        let body = reader.vec24()?;
        if offset + body.len() > length {
            return Err(Error::Malformed("handshake fragment"));
        }
        Ok(Self { kind, length, sequence, offset, body })
    }
}

/// A whole handshake message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) sequence: u16,
    /// Of the records it came in.
    pub(super) epoch: u16,
    pub(super) body: Vec<u8>,
}

impl Message {
    /// The message in one piece, as the transcript takes it.
    pub(super) fn framed(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.body.len());
        put_fragment_header(
            &mut out,
            self.kind,
            self.body.len(),
            self.sequence,
            0,
            self.body.len(),
        );
        out.extend(&self.body);
        out
    }
}

pub(super) fn put_fragment_header(
    out: &mut Vec<u8>,
    kind: u8,
    length: usize,
    sequence: u16,
    offset: usize,
    fragment: usize,
) {
    out.push(kind);
    put_u24(out, length);
    put_u16(out, sequence);
    put_u24(out, offset);
    put_u24(out, fragment);
}

/// The front of a ClientHello: all that the cookie needs, found in its first fragment alone.
pub(super) struct HelloFront<'a> {
    pub(super) version: u16,
    pub(super) random: [u8; 32],
    pub(super) session_id: &'a [u8],
    /// As much of it as the first fragment has.
    pub(super) cookie: &'a [u8],
    pub(super) cookie_length: usize,
}

impl<'a> HelloFront<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let version = reader.u16()?;
        let random = reader.array()?;
        let session_id = reader.vec8()?;
        let cookie_length = usize::from(reader.u8()?);
        let cookie = reader.take_up_to(cookie_length);
        if session_id.len() > 32 {
            return Err(Error::Malformed("ClientHello"));
        }
        Ok(Self { version, random, session_id, cookie, cookie_length })
    }
}

/// What a client can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClientHello {
    pub(super) version: u16,
    pub(super) random: [u8; 32],
    pub(super) cookie: Vec<u8>,
    pub(super) suites: Vec<u16>,
    pub(super) extensions: Extensions,
}

impl ClientHello {
    pub(super) fn read(body: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "ClientHello";
        let mut reader = Reader::new(body, WHAT);
        let front = HelloFront::read(&mut reader)?;
        if front.cookie.len() < front.cookie_length {
            return Err(Error::Malformed(WHAT));
        }
        let suites = u16s(reader.vec16()?, WHAT)?;
        let compressions = reader.vec8()?;
        if suites.is_empty() || !compressions.contains(&0) {
            return Err(Error::Malformed(WHAT));
        }
        let mut extensions = Extensions::read(reader, WHAT)?;
        extensions.renegotiation_info |= suites.contains(&EMPTY_RENEGOTIATION_INFO);
        Ok(Self {
            version: front.version,
            random: front.random,
            cookie: front.cookie.to_vec(),
            suites,
            extensions,
        })
    }

    /// What we offer as a client.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = vec![];
        put_u16(&mut out, self.version);
        out.extend(self.random);
        put_vec8(&mut out, &[]);
        put_vec8(&mut out, &self.cookie);
        let mut suites = vec![];
        self.suites.iter().for_each(|suite| put_u16(&mut suites, *suite));
        put_u16(&mut suites, EMPTY_RENEGOTIATION_INFO);
        put_vec16(&mut out, &suites);
        put_vec8(&mut out, &[0]);
        out.extend(self.extensions.write());
        out
    }
}

/// The extensions that mean something to us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    /// RFC 8422 section 5.1.1.
    pub(super) groups: Option<Vec<u16>>,
    /// RFC 8422 section 5.1.2.
    pub(super) point_formats: Option<Vec<u8>>,
    /// RFC 5246 section 7.4.1.4.1.
    pub(super) signatures: Option<Vec<u16>>,
    /// RFC 7366.
    pub(super) encrypt_then_mac: bool,
    /// RFC 7627.
    pub(super) extended_master_secret: bool,
    /// RFC 5746; or, in a ClientHello, the suite number that stands for it.
    pub(super) renegotiation_info: bool,
    /// Whether there was one that we do not know.
    pub(super) unknown: bool,
}

impl Extensions {
    fn read(mut reader: Reader<'_>, what: &'static str) -> Result<Self, Error> {
        let mut found = Self::default();
        if reader.is_empty() {
            return Ok(found);
        }
        let mut list = Reader::new(reader.vec16()?, what);
        reader.done()?;
        let mut seen = vec![];
        while !list.is_empty() {
            let name = list.u16()?;
            let mut body = Reader::new(list.vec16()?, what);
            if seen.contains(&name) || seen.len() == EXTENSIONS_MAX {
                return Err(Error::Malformed(what));
            }
            seen.push(name);
            match name {
                SUPPORTED_GROUPS => found.groups = Some(u16s(body.vec16()?, what)?),
                POINT_FORMATS => found.point_formats = Some(body.vec8()?.to_vec()),
                SIGNATURE_ALGORITHMS => found.signatures = Some(u16s(body.vec16()?, what)?),
                ENCRYPT_THEN_MAC => found.encrypt_then_mac = true,
                EXTENDED_MASTER_SECRET => found.extended_master_secret = true,
                RENEGOTIATION_INFO => {
                    found.renegotiation_info = true;
                    // Only the empty one of a first handshake (RFC 5746 section 3.6).
                    if !body.vec8()?.is_empty() {
                        return Err(Error::Illegal("a renegotiation"));
                    }
                }
                _ => {
                    found.unknown = true;
                    continue;
                }
            }
            body.done()?;
        }
        Ok(found)
    }

    fn write(&self) -> Vec<u8> {
        let mut list = vec![];
        let mut put = |name: u16, body: &[u8]| {
            put_u16(&mut list, name);
            put_vec16(&mut list, body);
        };
        let numbers = |numbers: &[u16]| {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
            let mut body = vec![];
            put_vec16(&mut body, &bytes);
            body
        };
        if self.renegotiation_info {
            put(RENEGOTIATION_INFO, &[0]);
        }
        if let Some(groups) = &self.groups {
            put(SUPPORTED_GROUPS, &numbers(groups));
        }
        if let Some(formats) = &self.point_formats {
            let mut body = vec![];
            put_vec8(&mut body, formats);
            put(POINT_FORMATS, &body);
        }
        if let Some(signatures) = &self.signatures {
            put(SIGNATURE_ALGORITHMS, &numbers(signatures));
        }
        if self.encrypt_then_mac {
            put(ENCRYPT_THEN_MAC, &[]);
        }
        if self.extended_master_secret {
            put(EXTENDED_MASTER_SECRET, &[]);
        }
        let mut out = vec![];
        if !list.is_empty() {
            put_vec16(&mut out, &list);
        }
        out
    }
}

/// The request to prove an address. The version is that of DTLS 1.0 on purpose (RFC 6347 4.2.1).
pub(super) fn write_hello_verify_request(cookie: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    put_u16(&mut out, DTLS_1_0);
    put_vec8(&mut out, cookie);
    out
}

/// The cookie in a HelloVerifyRequest.
pub(super) fn read_hello_verify_request(body: &[u8]) -> Result<&[u8], Error> {
    let mut reader = Reader::new(body, "HelloVerifyRequest");
    let _version = reader.u16()?;
    let cookie = reader.vec8()?;
    reader.done()?;
    Ok(cookie)
}

/// What a server has chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerHello {
    pub(super) random: [u8; 32],
    pub(super) suite: u16,
    pub(super) extensions: Extensions,
}

impl ServerHello {
    pub(super) fn read(body: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "ServerHello";
        let mut reader = Reader::new(body, WHAT);
        if reader.u16()? != DTLS_1_2 {
            return Err(Error::Version);
        }
        let random = reader.array()?;
        if reader.vec8()?.len() > 32 {
            return Err(Error::Malformed(WHAT));
        }
        let suite = reader.u16()?;
        if reader.u8()? != 0 {
            return Err(Error::Illegal("a compression"));
        }
        Ok(Self { random, suite, extensions: Extensions::read(reader, WHAT)? })
    }

    /// With an empty session id: nothing can be resumed.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = vec![];
        put_u16(&mut out, DTLS_1_2);
        out.extend(self.random);
        put_vec8(&mut out, &[]);
        put_u16(&mut out, self.suite);
        out.push(0);
        out.extend(self.extensions.write());
        out
    }
}

pub(super) fn write_certificate(chain: &[Vec<u8>]) -> Vec<u8> {
    let mut list = vec![];
    chain.iter().for_each(|certificate| put_vec24(&mut list, certificate));
    let mut out = vec![];
    put_vec24(&mut out, &list);
    out
}

/// The certificates of a chain; none is a client's way to say that it has none.
pub(super) fn read_certificate(body: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    const WHAT: &str = "Certificate";
    let mut reader = Reader::new(body, WHAT);
    let mut list = Reader::new(reader.vec24()?, WHAT);
    reader.done()?;
    let mut chain = vec![];
    while !list.is_empty() {
        if chain.len() == CERTIFICATES_MAX {
            return Err(Error::Malformed(WHAT));
        }
        chain.push(list.vec24()?.to_vec());
    }
    Ok(chain)
}

/// A signature and how it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signed<'a> {
    pub(super) scheme: u16,
    pub(super) signature: &'a [u8],
}

impl<'a> Signed<'a> {
    pub(super) fn read(body: &'a [u8], what: &'static str) -> Result<Self, Error> {
        let mut reader = Reader::new(body, what);
        let found = Self::read_from(&mut reader)?;
        reader.done()?;
        Ok(found)
    }

    fn read_from(reader: &mut Reader<'a>) -> Result<Self, Error> {
        Ok(Self { scheme: reader.u16()?, signature: reader.vec16()? })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_u16(out, self.scheme);
        put_vec16(out, self.signature);
    }
}

/// The public half of the server's ephemeral key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share<'a> {
    pub(super) curve: Curve,
    pub(super) point: &'a [u8],
    /// Curve and point as they stand in the message: what is signed.
    pub(super) bytes: Vec<u8>,
}

impl<'a> Share<'a> {
    pub(super) fn new(curve: Curve, point: &'a [u8]) -> Self {
        let mut bytes = vec![NAMED_CURVE];
        put_u16(&mut bytes, curve.group());
        put_vec8(&mut bytes, point);
        Self { curve, point, bytes }
    }

    fn read_from(reader: &mut Reader<'a>) -> Result<Self, Error> {
        if reader.u8()? != NAMED_CURVE {
            return Err(Error::Illegal("a curve without a name"));
        }
        let curve = Curve::from_group(reader.u16()?).ok_or(Error::Illegal("a curve"))?;
        Ok(Self::new(curve, reader.vec8()?))
    }
}

/// What a server says about keys; which parts there are depends on the exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerKeyExchange<'a> {
    pub(super) hint: Option<&'a [u8]>,
    pub(super) share: Option<Share<'a>>,
    pub(super) signed: Option<Signed<'a>>,
}

impl<'a> ServerKeyExchange<'a> {
    pub(super) fn read(body: &'a [u8], exchange: Exchange) -> Result<Self, Error> {
        let mut reader = Reader::new(body, "ServerKeyExchange");
        let hint = exchange.has_psk().then(|| reader.vec16()).transpose()?;
        let share = exchange.has_ecdh().then(|| Share::read_from(&mut reader)).transpose()?;
        let is_signed = exchange == Exchange::EcdheEcdsa;
        let signed = is_signed.then(|| Signed::read_from(&mut reader)).transpose()?;
        reader.done()?;
        Ok(Self { hint, share, signed })
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = vec![];
        if let Some(hint) = self.hint {
            put_vec16(&mut out, hint);
        }
        if let Some(share) = &self.share {
            out.extend(&share.bytes);
        }
        if let Some(signed) = &self.signed {
            signed.write(&mut out);
        }
        out
    }
}

/// What a client says about keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientKeyExchange<'a> {
    pub(super) identity: Option<&'a [u8]>,
    pub(super) point: Option<&'a [u8]>,
}

impl<'a> ClientKeyExchange<'a> {
    pub(super) fn read(body: &'a [u8], exchange: Exchange) -> Result<Self, Error> {
        let mut reader = Reader::new(body, "ClientKeyExchange");
        let identity = exchange.has_psk().then(|| reader.vec16()).transpose()?;
        let point = exchange.has_ecdh().then(|| reader.vec8()).transpose()?;
        reader.done()?;
        Ok(Self { identity, point })
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = vec![];
        if let Some(identity) = self.identity {
            put_vec16(&mut out, identity);
        }
        if let Some(point) = self.point {
            put_vec8(&mut out, point);
        }
        out
    }
}

/// Asks for an ECDSA certificate of any authority.
pub(super) fn write_certificate_request() -> Vec<u8> {
    let mut out = vec![];
    put_vec8(&mut out, &[ECDSA_SIGN]);
    let schemes: Vec<u8> = SIGNATURES.iter().flat_map(|scheme| scheme.to_be_bytes()).collect();
    put_vec16(&mut out, &schemes);
    put_vec16(&mut out, &[]);
    out
}

/// The signature schemes that a CertificateRequest allows; none if it wants no ECDSA certificate.
pub(super) fn read_certificate_request(body: &[u8]) -> Result<Vec<u16>, Error> {
    const WHAT: &str = "CertificateRequest";
    let mut reader = Reader::new(body, WHAT);
    let types = reader.vec8()?;
    let schemes = u16s(reader.vec16()?, WHAT)?;
    let _authorities = reader.vec16()?;
    reader.done()?;
    Ok(if types.contains(&ECDSA_SIGN) { schemes } else { vec![] })
}

/// ecdsa_secp256r1_sha256 and ecdsa_secp384r1_sha384, in the words of TLS 1.2: ECDSA with SHA-256,
/// with SHA-384. `ring` has no ECDSA with SHA-512.
pub(super) const SIGNATURES: [u16; 2] = [0x0403, 0x0503];

/// TLS_EMPTY_RENEGOTIATION_INFO_SCSV (RFC 5746 section 3.3).
const EMPTY_RENEGOTIATION_INFO: u16 = 0x00FF;
const SUPPORTED_GROUPS: u16 = 10;
const POINT_FORMATS: u16 = 11;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ENCRYPT_THEN_MAC: u16 = 22;
const EXTENDED_MASTER_SECRET: u16 = 23;
const RENEGOTIATION_INFO: u16 = 0xFF01;
const NAMED_CURVE: u8 = 3;
const ECDSA_SIGN: u8 = 64;
/// More than any client sends; keeps the search for repeated ones short.
const EXTENSIONS_MAX: usize = 64;
/// OCF chains have three tiers; leave room for cross-signed ones.
const CERTIFICATES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> ClientHello {
        ClientHello {
            version: DTLS_1_2,
            random: [7; 32],
            cookie: vec![1, 2, 3],
            suites: vec![0xC037, 0xFF00],
            extensions: Extensions {
                groups: Some(vec![23, 24]),
                point_formats: Some(vec![0]),
                signatures: Some(SIGNATURES.to_vec()),
                encrypt_then_mac: true,
                extended_master_secret: true,
                renegotiation_info: true,
                unknown: false,
            },
        }
    }

    #[test]
    fn hellos_read_back_as_they_were_written_and_never_when_cut() {
        let mut hello = hello();
        let bytes = hello.write();
        hello.suites.push(EMPTY_RENEGOTIATION_INFO);
        assert_eq!(ClientHello::read(&bytes).unwrap(), hello);
        // A hello without extensions is a hello; the one cut that leaves exactly that is no lie.
        let bare = bytes.len() - hello.extensions.write().len();
        for cut in (0..bytes.len()).filter(|cut| *cut != bare) {
            assert!(ClientHello::read(&bytes[..cut]).is_err(), "{cut}");
        }
        let answer = ServerHello { random: [8; 32], suite: 0xC037, extensions: hello.extensions };
        assert_eq!(ServerHello::read(&answer.write()).unwrap(), answer);
    }

    #[test]
    fn an_extension_given_twice_is_refused() {
        let mut bytes = ClientHello { extensions: Extensions::default(), ..hello() }.write();
        bytes.extend([0, 8, 0, 23, 0, 0, 0, 23, 0, 0]);
        assert_eq!(ClientHello::read(&bytes), Err(Error::Malformed("ClientHello")));
    }

    #[test]
    fn key_exchanges_read_back_in_every_form() {
        use Exchange::{EcdhAnon, EcdheEcdsa, EcdhePsk, Psk};
        for exchange in [EcdheEcdsa, EcdhePsk, Psk, EcdhAnon] {
            let signed = Signed { scheme: 0x0403, signature: &[5; 70] };
            let server = ServerKeyExchange {
                hint: exchange.has_psk().then_some(&[0, 1, 0]),
                share: exchange.has_ecdh().then(|| Share::new(Curve::P256, &[4; 65])),
                signed: (exchange == EcdheEcdsa).then_some(signed),
            };
            let bytes = server.write();
            assert_eq!(ServerKeyExchange::read(&bytes, exchange).unwrap(), server);
            assert!(
                (0..bytes.len())
                    .all(|cut| ServerKeyExchange::read(&bytes[..cut], exchange).is_err())
            );
            let client = ClientKeyExchange {
                identity: exchange.has_psk().then_some(&[0, 0]),
                point: exchange.has_ecdh().then_some(&[4; 65]),
            };
            let bytes = client.write();
            assert_eq!(ClientKeyExchange::read(&bytes, exchange).unwrap(), client);
            assert!(
                (0..bytes.len())
                    .all(|cut| ClientKeyExchange::read(&bytes[..cut], exchange).is_err())
            );
        }
    }

    #[test]
    fn certificates_and_requests_read_back() {
        let chain = vec![vec![1; 300], vec![2; 20]];
        assert_eq!(read_certificate(&write_certificate(&chain)).unwrap(), chain);
        assert_eq!(read_certificate(&write_certificate(&[])).unwrap(), Vec::<Vec<u8>>::new());
        let schemes = read_certificate_request(&write_certificate_request()).unwrap();
        assert_eq!(schemes, SIGNATURES);
    }
}
