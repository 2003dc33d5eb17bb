//! Strict CBOR: one encoding for each value, or none.
//!
//! Written by hand because no crate refuses what a signed document must not contain: indefinite
//! lengths, numbers in more bytes than needed, unsorted or repeated keys, trailing bytes (RFC 8949,
//! 4.2.1). Reads in place, allocates nothing, and never recurses: each caller asks for the type that
//! the CDDL names, so nesting is as deep as the caller's code and no deeper.

use super::refusal::{Fault, Refusal};

const UINT: u8 = 0;
const NINT: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

const FALSE: u64 = 20;
const TRUE: u64 = 21;
const NULL: u64 = 22;

/// Reads one part of an envelope, front to back.
pub(super) struct Reader<'a> {
    /// What is being read, for the refusal.
    part: &'static str,
    rest: &'a [u8],
}

/// A map key. SUIT has integers everywhere, and texts for integrated payloads.
pub(super) enum Key<'a> {
    Int(i64),
    Text(&'a str),
}

/// A byte string, as content and as it was encoded: SUIT's digests cover the encoding.
#[derive(Clone, Copy)]
pub(super) struct Wrapped<'a> {
    pub(super) content: &'a [u8],
    pub(super) encoded: &'a [u8],
}

/// What the next item is, where the CDDL leaves a choice.
#[derive(PartialEq, Eq)]
pub(super) enum Next {
    Uint,
    Bytes,
    Array,
    Other,
}

impl<'a> Reader<'a> {
    pub(super) fn new(part: &'static str, bytes: &'a [u8]) -> Self {
        Self { part, rest: bytes }
    }

    /// Reads all of `bytes` as one item.
    pub(super) fn all<T>(
        part: &'static str,
        bytes: &'a [u8],
        read: impl FnOnce(&mut Self) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut reader = Self::new(part, bytes);
        let value = read(&mut reader)?;
        if reader.rest.is_empty() { Ok(value) } else { Err(reader.fault(Fault::Trailing)) }
    }

    /// The refusal of what was just read.
    pub(super) fn fault(&self, fault: Fault) -> Refusal {
        Refusal::Malformed { part: self.part, fault }
    }

    /// The refusal of something unknown that was just read.
    pub(super) fn unsupported(&self, what: &'static str, code: i64) -> Refusal {
        Refusal::Unsupported { part: self.part, what, code }
    }

    pub(super) fn next(&self) -> Next {
        match self.rest.first().map(|byte| byte >> 5) {
            Some(UINT) => Next::Uint,
            Some(BYTES) => Next::Bytes,
            Some(ARRAY) => Next::Array,
            _ => Next::Other,
        }
    }

    pub(super) fn uint(&mut self) -> Result<u64, Refusal> {
        self.expect(UINT)
    }

    pub(super) fn int(&mut self) -> Result<i64, Refusal> {
        let (major, argument) = self.head()?;
        let value = i64::try_from(argument).map_err(|_| self.fault(Fault::WrongValue))?;
        match major {
            UINT => Ok(value),
            NINT => Ok(-1 - value),
            _ => Err(self.fault(Fault::WrongType)),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Refusal> {
        let length = self.expect(BYTES)?;
        self.take(length)
    }

    pub(super) fn wrapped(&mut self) -> Result<Wrapped<'a>, Refusal> {
        let before = self.rest;
        let content = self.bytes()?;
        Ok(Wrapped { content, encoded: self.since(before) })
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Refusal> {
        let length = self.expect(TEXT)?;
        self.utf8(length)
    }

    /// The number of items that follow.
    pub(super) fn array(&mut self) -> Result<u64, Refusal> {
        self.expect(ARRAY)
    }

    pub(super) fn tag(&mut self) -> Result<u64, Refusal> {
        self.expect(TAG)
    }

    pub(super) fn null(&mut self) -> Result<(), Refusal> {
        self.simple(NULL)
    }

    pub(super) fn true_(&mut self) -> Result<(), Refusal> {
        self.simple(TRUE)
    }

    /// Reads a map; `entry` reads the value of each key. Keys must grow, as encoded.
    pub(super) fn map(
        &mut self,
        mut entry: impl FnMut(Key<'a>, &mut Self) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let entries = self.expect(MAP)?;
        let mut previous: &[u8] = &[];
        for _ in 0..entries {
            let before = self.rest;
            let key = self.key()?;
            let encoded = self.since(before);
            if encoded <= previous {
                return Err(self.fault(Fault::KeyOrder));
            }
            previous = encoded;
            entry(key, self)?;
        }
        Ok(())
    }

    fn key(&mut self) -> Result<Key<'a>, Refusal> {
        if self.rest.first().is_some_and(|byte| byte >> 5 == TEXT) {
            self.text().map(Key::Text)
        } else {
            self.int().map(Key::Int)
        }
    }

    fn simple(&mut self, value: u64) -> Result<(), Refusal> {
        if self.expect(SIMPLE)? == value { Ok(()) } else { Err(self.fault(Fault::WrongType)) }
    }

    fn expect(&mut self, major: u8) -> Result<u64, Refusal> {
        match self.head()? {
            (found, argument) if found == major => Ok(argument),
            _ => Err(self.fault(Fault::WrongType)),
        }
    }

    /// Major type and argument of the next item (RFC 8949, 3).
    fn head(&mut self) -> Result<(u8, u64), Refusal> {
        let [first] = self.array_of()?;
        let (major, information) = (first >> 5, first & 0x1f);
        let (argument, shortest) = match information {
            0..24 => (u64::from(information), 0),
            24 => (u64::from(u8::from_be_bytes(self.array_of()?)), 24),
            25 => (u64::from(u16::from_be_bytes(self.array_of()?)), 1 << 8),
            26 => (u64::from(u32::from_be_bytes(self.array_of()?)), 1 << 16),
            27 => (u64::from_be_bytes(self.array_of()?), 1 << 32),
            31 => return Err(self.fault(Fault::Indefinite)),
            _ => return Err(self.fault(Fault::WrongType)),
        };
        if argument < shortest {
            return Err(self.fault(Fault::NotShortest));
        }
        // SUIT uses neither floats nor simple values beyond these.
        if major == SIMPLE && !(information < 24 && (FALSE..=NULL).contains(&argument)) {
            return Err(self.fault(Fault::WrongType));
        }
        Ok((major, argument))
    }

    fn utf8(&mut self, length: u64) -> Result<&'a str, Refusal> {
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.fault(Fault::NotUtf8))
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (&taken, rest) =
            self.rest.split_first_chunk().ok_or_else(|| self.fault(Fault::Truncated))?;
        self.rest = rest;
        Ok(taken)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Refusal> {
        let (taken, rest) = usize::try_from(length)
            .ok()
            .and_then(|length| self.rest.split_at_checked(length))
            .ok_or_else(|| self.fault(Fault::Truncated))?;
        self.rest = rest;
        Ok(taken)
    }

    /// What was read since `before`, which is where this reader once stood.
    fn since(&self, before: &'a [u8]) -> &'a [u8] {
        before.get(..before.len().saturating_sub(self.rest.len())).unwrap_or_default()
    }
}

/// Writes what [`Reader`] reads. Whoever writes a map writes its keys in order.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn int(self, value: i64) -> Self {
        // -1 - value is the argument of a negative integer, and !value is -1 - value.
        if value < 0 {
            self.head(NINT, (!value).unsigned_abs())
        } else {
            self.head(UINT, value.unsigned_abs())
        }
    }

    pub(super) fn uint(self, value: u64) -> Self {
        self.head(UINT, value)
    }

    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        self.head(BYTES, bytes.len() as u64).raw(bytes)
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.head(TEXT, text.len() as u64).raw(text.as_bytes())
    }

    pub(super) fn array(self, items: usize) -> Self {
        self.head(ARRAY, items as u64)
    }

    pub(super) fn map(self, entries: usize) -> Self {
        self.head(MAP, entries as u64)
    }

    pub(super) fn tag(self, tag: u64) -> Self {
        self.head(TAG, tag)
    }

    pub(super) fn null(self) -> Self {
        self.raw(&[0xf6])
    }

    pub(super) fn true_(self) -> Self {
        self.head(SIMPLE, TRUE)
    }

    /// Bytes that are CBOR already.
    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn head(mut self, major: u8, argument: u64) -> Self {
        let major = major << 5;
        let bytes = argument.to_be_bytes();
        let (information, length) = match argument {
            0..24 => (bytes[7], 0),
            24..=0xff => (24, 1),
            0x100..=0xffff => (25, 2),
            0x1_0000..=0xffff_ffff => (26, 4),
            _ => (27, 8),
        };
        self.0.push(major | information);
        self.0.extend_from_slice(&bytes[8 - length..]);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault<T>(result: Result<T, Refusal>) -> Fault {
        match result {
            Err(Refusal::Malformed { fault, .. }) => fault,
            _ => panic!("not refused as malformed"),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for value in
            [0, 1, 23, 24, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX]
        {
            let bytes = Writer::default().uint(value).done();
            assert_eq!(Reader::all("test", &bytes, Reader::uint), Ok(value));
        }
        for value in [-1, -24, -25, -256, -257, 0, 7, i64::MIN, i64::MAX] {
            let bytes = Writer::default().int(value).done();
            assert_eq!(Reader::all("test", &bytes, Reader::int), Ok(value));
        }
    }

    #[test]
    fn a_number_in_more_bytes_than_it_needs_is_refused() {
        for bytes in [
            &[0x18, 23][..],
            &[0x19, 0, 255],
            &[0x1a, 0, 0, 255, 255],
            &[0x1b, 0, 0, 0, 0, 255, 255, 255, 255],
        ] {
            assert_eq!(fault(Reader::all("test", bytes, Reader::uint)), Fault::NotShortest);
        }
        // A length is a number too.
        assert_eq!(fault(Reader::all("test", &[0x58, 1, 0], Reader::bytes)), Fault::NotShortest);
    }

    #[test]
    fn indefinite_lengths_are_refused() {
        let read = |bytes| fault(Reader::all("test", bytes, Reader::bytes));
        assert_eq!(read(&[0x5f, 0x41, 0, 0xff]), Fault::Indefinite);
        let read = |bytes| fault(Reader::all("test", bytes, |r| r.map(|_, _| Ok(()))));
        assert_eq!(read(&[0xbf, 0xff]), Fault::Indefinite);
        let read = |bytes| fault(Reader::all("test", bytes, Reader::array));
        assert_eq!(read(&[0x9f, 0xff]), Fault::Indefinite);
    }

    #[test]
    fn map_keys_must_grow() {
        let read =
            |bytes| Reader::all("test", bytes, |r| r.map(|_, value| value.uint().map(|_| ())));
        assert_eq!(read(&[0xa2, 1, 0, 2, 0]), Ok(()));
        assert_eq!(fault(read(&[0xa2, 2, 0, 1, 0])), Fault::KeyOrder);
        assert_eq!(fault(read(&[0xa2, 1, 0, 1, 0])), Fault::KeyOrder);
        // 24 needs two bytes, -1 one; the first byte decides.
        assert_eq!(read(&[0xa2, 0x18, 24, 0, 0x20, 0]), Ok(()));
        assert_eq!(fault(read(&[0xa2, 0x20, 0, 0x18, 24, 0])), Fault::KeyOrder);
    }

    #[test]
    fn lengths_beyond_the_end_are_refused_without_allocating() {
        let huge = [0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(fault(Reader::all("test", &huge, Reader::bytes)), Fault::Truncated);
        let huge = [0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        let read = |bytes| Reader::all("test", bytes, |r| r.map(|_, value| value.null()));
        assert_eq!(fault(read(&huge)), Fault::Truncated);
    }

    #[test]
    fn floats_undefined_and_other_simple_values_are_refused() {
        for bytes in [&[0xf7][..], &[0xe0], &[0xf8, 0xff], &[0xf9, 0x3c, 0], &[0xf8, 22]] {
            Reader::all("test", bytes, Reader::null).unwrap_err();
        }
        assert_eq!(Reader::all("test", &[0xf6], Reader::null), Ok(()));
    }

    #[test]
    fn trailing_bytes_are_refused() {
        assert_eq!(fault(Reader::all("test", &[0, 0], Reader::uint)), Fault::Trailing);
    }
}
