//! Bytes to messages and back (RFC 7252 section 3).
//!
//! Reading has to bound the datagram and its options, to refuse what coap-lite's `Packet` lets pass
//! (versions, codes, markers, tokens of RFC 8974), and to do so before it allocates; writing is the
//! little that is left. In the tests coap-lite judges both.

use std::sync::Arc;

use super::{Code, Options};

/// The longest datagram that is read, bytes: what one Ethernet frame holds over IPv4. Blocks of 1024
/// bytes leave more than 400 for options; RFC 7252 section 4.6 assumes 1152.
pub const DATAGRAM_BYTES_MAX: usize = 1472;

/// The most options that one message may have. Paths and queries of people have fewer than twenty.
pub const OPTIONS_MAX: usize = 64;

/// The longest token that is taken, bytes. RFC 8974 allows 65,804; stateless clients in use stay
/// below 40, and we keep a copy for every request that waits and every observation.
pub const TOKEN_BYTES_MAX: usize = 64;

/// The four types of message (RFC 7252 section 4.2 and 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Confirmable = 0,
    NonConfirmable = 1,
    Acknowledgement = 2,
    Reset = 3,
}

/// Matches responses with requests; chosen by the client (RFC 7252 section 5.3.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Token {
    /// Up to eight bytes, the rest zero: no allocation.
    Short(u8, [u8; 8]),
    /// Longer ones (RFC 8974).
    Long(Box<[u8]>),
}

/// One message over UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) id: u16,
    pub(super) content: Content,
}

/// What a request or response says, whatever carries it (RFC 7252 section 3, RFC 8323 section 3.2); its
/// options are not yet judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) code: Code,
    pub(super) token: Token,
    pub(super) options: Options,
    pub(super) payload: Vec<u8>,
}

/// Why a datagram is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// To be ignored silently: no header, another version, or an ACK or RST (RFC 7252 section 3, 4.2).
    Silently,
    /// A confirmable or non-confirmable message with a format error (RFC 7252 section 4.2, 4.3).
    Message { kind: Kind, id: u16 },
    /// A request that is longer than [`DATAGRAM_BYTES_MAX`]; its header and token could be read.
    TooLong { kind: Kind, id: u16, token: Token },
}

impl Token {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut short = [0; 8];
        match short.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                Self::Short(bytes.len() as u8, short)
            }
            None => Self::Long(bytes.into()),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or(bytes),
            Self::Long(bytes) => bytes,
        }
    }
}

impl Message {
    /// An empty message: an acknowledgement, a reset or a ping (RFC 7252 section 4.1).
    pub(super) fn empty(kind: Kind, id: u16) -> Vec<u8> {
        frame(kind, Code::EMPTY, id, &Token::new(&[]), &[])
    }
}

/// Reads a datagram.
pub(super) fn decode(datagram: &[u8]) -> Result<Message, Malformed> {
    let header = Header::read(datagram)?;
    let Header { kind, code, id, token, token_end } = header;
    let format_error = || match kind {
        Kind::Confirmable | Kind::NonConfirmable => Malformed::Message { kind, id },
        Kind::Acknowledgement | Kind::Reset => Malformed::Silently,
    };
    let token = token.ok_or_else(format_error)?;
    if datagram.len() > DATAGRAM_BYTES_MAX {
        let request = code.is_request() && format_error() != Malformed::Silently;
        return Err(if request { Malformed::TooLong { kind, id, token } } else { format_error() });
    }
    let legal = match kind {
        Kind::Reset => code == Code::EMPTY,
        Kind::Acknowledgement => code == Code::EMPTY || code.is_response(),
        Kind::NonConfirmable => code.is_request() || code.is_response(),
        Kind::Confirmable => code == Code::EMPTY || code.is_request() || code.is_response(),
    };
    if !legal || (code == Code::EMPTY && datagram.len() > 4) {
        return Err(format_error());
    }
    let Some(rest) = datagram.get(token_end..) else { return Err(format_error()) };
    let (options, payload) = read_tail(rest).ok_or_else(format_error)?;
    let content = Content { code, token, options, payload: payload.to_vec() };
    Ok(Message { kind, id, content })
}

/// Options, payload marker and payload as bytes: everything behind the token, so that one copy serves
/// every observer of a representation.
pub(super) fn tail(options: &Options, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(OPTION_BYTES_USUAL + payload.len());
    let mut before = 0;
    for (number, value) in options.iter() {
        let (delta, delta_extension) = nibble(usize::from(number - before));
        let (length, length_extension) = nibble(value.len());
        bytes.push(delta << 4 | length);
        bytes.extend(delta_extension);
        bytes.extend(length_extension);
        bytes.extend_from_slice(value);
        before = number;
    }
    if !payload.is_empty() {
        bytes.push(PAYLOAD_MARKER);
        bytes.extend_from_slice(payload);
    }
    bytes
}

/// The [`tail`] that was made last: most answers in a row are the same.
#[derive(Debug, Default)]
pub(super) struct LastTail {
    options: Options,
    payload: Vec<u8>,
    tail: Arc<[u8]>,
}

impl LastTail {
    /// As [`tail`].
    pub(super) fn of(&mut self, options: &Options, payload: &[u8]) -> Arc<[u8]> {
        if self.payload != payload || self.options != *options {
            let tail = tail(options, payload).into();
            *self = Self { options: options.clone(), payload: payload.to_vec(), tail };
        }
        self.tail.clone()
    }
}

/// Header, token and an encoded [`tail`].
pub(super) fn frame(kind: Kind, code: Code, id: u16, token: &Token, tail: &[u8]) -> Vec<u8> {
    let token = token.bytes();
    let (length, extension) = nibble(token.len());
    let mut bytes = Vec::with_capacity(6 + token.len() + tail.len());
    bytes.extend_from_slice(&[VERSION << 6 | (kind as u8) << 4 | length, code.0]);
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend(extension);
    bytes.extend_from_slice(token);
    bytes.extend_from_slice(tail);
    bytes
}

/// How a delta, a length or the length of a token is written (RFC 7252 section 3.1, RFC 8974 section
/// 2.1): four bits, and the bytes that extend them.
fn nibble(value: usize) -> (u8, impl Iterator<Item = u8>) {
    let (nibble, [high, low], extension) = match value {
        0..13 => (value as u8, [0, 0], 0),
        13..269 => (13, [0, (value - 13) as u8], 1),
        _ => (14, ((value - 269) as u16).to_be_bytes(), 2),
    };
    (nibble, [high, low].into_iter().skip(2 - extension))
}

/// Gives an encoded message another message id.
pub(super) fn set_id(message: &mut [u8], id: u16) {
    if let Some(place) = message.get_mut(2..4) {
        place.copy_from_slice(&id.to_be_bytes());
    }
}

const VERSION: u8 = 1;
const PAYLOAD_MARKER: u8 = 0xff;

struct Header {
    kind: Kind,
    code: Code,
    id: u16,
    /// `None` when its length is reserved, more than we take, or more than there is.
    token: Option<Token>,
    token_end: usize,
}

impl Header {
    fn read(datagram: &[u8]) -> Result<Self, Malformed> {
        let [first, code, high, low, ..] = *datagram else { return Err(Malformed::Silently) };
        if first >> 6 != VERSION {
            return Err(Malformed::Silently);
        }
        let kind = match first >> 4 & 3 {
            0 => Kind::Confirmable,
            1 => Kind::NonConfirmable,
            2 => Kind::Acknowledgement,
            _ => Kind::Reset,
        };
        let at = |index: usize| datagram.get(index).map(|byte| usize::from(*byte));
        let span = match first & 15 {
            length @ 0..=12 => Some((4, usize::from(length))),
            13 => at(4).map(|length| (5, length + 13)),
            14 => at(4).zip(at(5)).map(|(high, low)| (6, (high << 8 | low) + 269)),
            _ => None,
        };
        let token = span.filter(|(_, length)| *length <= TOKEN_BYTES_MAX);
        let token_end = token.map_or(0, |(start, length)| start + length);
        let token = token.and_then(|(start, _)| datagram.get(start..token_end)).map(Token::new);
        Ok(Self { kind, code: Code(code), id: u16::from_be_bytes([high, low]), token, token_end })
    }
}

/// Options and payload (RFC 7252 section 3.1); `None` on a format error, on more than [`OPTIONS_MAX`]
/// options and on a marker with nothing behind it.
fn read_tail(mut rest: &[u8]) -> Option<(Options, &[u8])> {
    let mut options = Options::with_capacity(OPTIONS_USUAL, rest.len().min(OPTION_BYTES_USUAL));
    let mut number = 0;
    while let Some((first, more)) = rest.split_first() {
        if *first == PAYLOAD_MARKER {
            return (!more.is_empty()).then_some((options, more));
        }
        rest = more;
        number += extended(first >> 4, &mut rest)?;
        let length = extended(first & 15, &mut rest)?;
        let (value, behind) = rest.split_at_checked(length)?;
        rest = behind;
        if options.len() == OPTIONS_MAX {
            return None;
        }
        options.push(u16::try_from(number).ok()?, value);
    }
    Some((options, rest))
}

/// Room made at once for the options of one message and for their values; more grow.
const OPTIONS_USUAL: usize = 8;
const OPTION_BYTES_USUAL: usize = 64;

/// An option delta or length, with its extension bytes.
fn extended(nibble: u8, rest: &mut &[u8]) -> Option<usize> {
    match nibble {
        0..=12 => Some(nibble.into()),
        13 => {
            let (byte, more) = rest.split_first()?;
            *rest = more;
            Some(usize::from(*byte) + 13)
        }
        14 => {
            let (bytes, more) = rest.split_first_chunk()?;
            *rest = more;
            Some(usize::from(u16::from_be_bytes(*bytes)) + 269)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use coap_lite::{CoapOption, Packet};

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for length in [0, 1, 8, 12, 13, TOKEN_BYTES_MAX] {
            let token = Token::new(&vec![7; length]);
            let mut options = Options::default();
            for (number, length) in [(1, 0), (11, 12), (11, 13), (258, 268), (2049, 269)] {
                options.push(number, vec![1; length]);
            }
            let kind = Kind::Confirmable;
            let bytes = frame(kind, Code::GET, 77, &token, &tail(&options, b"body"));
            let payload = b"body".to_vec();
            let content = Content { code: Code::GET, token, options, payload };
            assert_eq!(decode(&bytes), Ok(Message { kind, id: 77, content }));
        }
    }

    #[test]
    fn what_we_write_coap_lite_writes_alike() {
        for (numbers, length) in
            [(vec![], 0), (vec![3, 11, 11, 15], 5), (vec![1, 14, 300, 65_000], 12)]
        {
            for value in [0, 1, 12, 13, 14, 268, 269, 300, 1000] {
                let mut packet = Packet::new();
                let mut options = Options::default();
                for number in &numbers {
                    options.push(*number, vec![7; value]);
                    packet.add_option(CoapOption::from(*number), vec![7; value]);
                }
                let payload = vec![9; length];
                packet.payload = payload.clone();
                let theirs = packet.to_bytes_unlimited().unwrap();
                assert_eq!(tail(&options, &payload), theirs[4..], "{numbers:?} {value}");
            }
        }
    }

    #[test]
    fn what_we_read_coap_lite_reads_alike() {
        let mut random = 1u64;
        let mut byte = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 56) as u8
        };
        let mut both = 0;
        for _ in 0..200_000 {
            let options = usize::from(byte() % 24);
            let mut datagram = vec![0x40 | byte() & 0x38, 1, 0, 1];
            datagram.extend((0..datagram[0] & 15).map(|_| 7));
            // Mostly small deltas and lengths, or nothing would be well-formed.
            datagram
                .extend((0..options).map(|_| if byte() < 200 { byte() & 0x23 } else { byte() }));
            let (Ok(ours), Ok(theirs)) = (decode(&datagram), Packet::from_bytes(&datagram)) else {
                continue;
            };
            let flat = theirs.options().flat_map(|(number, values)| {
                values.iter().map(move |value| (*number, value.as_slice()))
            });
            let ours = ours.content;
            assert!(ours.options.iter().eq(flat), "{datagram:02x?}");
            assert_eq!(ours.payload, theirs.payload, "{datagram:02x?}");
            assert_eq!(ours.token.bytes(), theirs.get_token(), "{datagram:02x?}");
            both += 1;
        }
        assert!(both > 10_000, "only {both} were well-formed");
    }

    #[test]
    fn an_id_is_changed_in_place() {
        let mut ping = Message::empty(Kind::Confirmable, 1);
        set_id(&mut ping, 0x1234);
        assert_eq!(ping, [0x40, 0, 0x12, 0x34]);
        set_id(&mut [], 5);
    }
}
