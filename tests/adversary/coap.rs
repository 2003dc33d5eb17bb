//! CoAP messages by hand (RFC 7252 section 3), apart from the engine.

pub(crate) const CON: u8 = 0;
pub(crate) const NON: u8 = 1;

pub(crate) const OBSERVE: u16 = 6;
pub(crate) const ACCEPT: u16 = 17;
pub(crate) const BLOCK2: u16 = 23;
pub(crate) const ECHO: u16 = 252;
/// OCF-Accept-Content-Format-Version.
pub(crate) const VERSION: u16 = 2049;

/// A message that was read.
#[derive(Debug)]
pub(crate) struct Message {
    /// As people write it: 205 for 2.05.
    pub(crate) code: u32,
    pub(crate) token: Vec<u8>,
    options: Vec<(u16, Vec<u8>)>,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    pub(crate) fn read(datagram: &[u8]) -> Self {
        let token = 4 + usize::from(datagram[0] & 15);
        let code = u32::from(datagram[1] >> 5) * 100 + u32::from(datagram[1] & 31);
        let (mut rest, mut number, mut options) = (&datagram[token..], 0, vec![]);
        while let Some((first, after)) = rest.split_first().filter(|(first, _)| **first != 0xff) {
            let (delta, after) = extended(first >> 4, after);
            let (length, after) = extended(first & 15, after);
            number += delta;
            let (value, after) = after.split_at(usize::from(length));
            options.push((number, value.to_vec()));
            rest = after;
        }
        let payload = rest.get(1..).unwrap_or_default().to_vec();
        Self { code, token: datagram[4..token].to_vec(), options, payload }
    }

    pub(crate) fn option(&self, number: u16) -> Option<&[u8]> {
        self.options.iter().find(|(other, _)| *other == number).map(|(_, value)| &**value)
    }

    pub(crate) fn uint(&self, number: u16) -> Option<u32> {
        let value = self.option(number)?;
        Some(value.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    }
}

/// A GET of `path`, with its query, and these options besides.
pub(crate) fn get(kind: u8, id: u16, token: &[u8], path: &str, more: &[(u16, &[u8])]) -> Vec<u8> {
    request(kind, 1, id, token, path, more, &[])
}

/// A POST of a body in OCF's CBOR.
pub(crate) fn post(kind: u8, id: u16, token: &[u8], path: &str, body: &[u8]) -> Vec<u8> {
    request(kind, 2, id, token, path, &[(12, &10000u16.to_be_bytes())], body)
}

fn request(
    kind: u8,
    code: u8,
    id: u16,
    token: &[u8],
    path: &str,
    more: &[(u16, &[u8])],
    body: &[u8],
) -> Vec<u8> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut options = more.to_vec();
    options.extend(path.split('/').skip(1).map(|segment| (11, segment.as_bytes())));
    options.extend(query.split('&').filter(|one| !one.is_empty()).map(|one| (15, one.as_bytes())));
    options.sort_by_key(|(number, _)| *number);
    let mut message = vec![0x40 | kind << 4 | token.len() as u8, code];
    message.extend(id.to_be_bytes());
    message.extend(token);
    let mut before = 0;
    for (number, value) in options {
        let (delta, delta_more) = nibble(number - before);
        let (length, length_more) = nibble(value.len() as u16);
        message.push(delta << 4 | length);
        message.extend([&delta_more[..], &length_more, value].concat());
        before = number;
    }
    if !body.is_empty() {
        message.push(0xff);
        message.extend(body);
    }
    message
}

fn nibble(value: u16) -> (u8, Vec<u8>) {
    match value {
        0..13 => (value as u8, vec![]),
        13..269 => (13, vec![(value - 13) as u8]),
        _ => (14, (value - 269).to_be_bytes().to_vec()),
    }
}

fn extended(nibble: u8, rest: &[u8]) -> (u16, &[u8]) {
    match nibble {
        13 => (u16::from(rest[0]) + 13, &rest[1..]),
        14 => (u16::from_be_bytes([rest[0], rest[1]]) + 269, &rest[2..]),
        _ => (nibble.into(), rest),
    }
}
