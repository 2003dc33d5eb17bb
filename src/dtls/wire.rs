//! Big-endian fields and vectors with a length in front (RFC 5246 section 4). Every read is checked.

use super::Error;

/// What is left of a message.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`; `what` names them in errors.
    pub(super) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) =
            self.rest.split_at_checked(length).ok_or(Error::Malformed(self.what))?;
        self.rest = rest;
        Ok(taken)
    }

    /// What there is, where there is less.
    pub(super) fn take_up_to(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Error::Malformed(self.what))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u24(&mut self) -> Result<usize, Error> {
        let [a, b, c] = self.array()?;
        Ok(u32::from_be_bytes([0, a, b, c]) as usize)
    }

    /// A vector whose length takes one byte.
    pub(super) fn vec8(&mut self) -> Result<&'a [u8], Error> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// A vector whose length takes two bytes.
    pub(super) fn vec16(&mut self) -> Result<&'a [u8], Error> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// A vector whose length takes three bytes.
    pub(super) fn vec24(&mut self) -> Result<&'a [u8], Error> {
        let length = self.u24()?;
        self.take(length)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may be left.
    pub(super) fn done(self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::Malformed(self.what)) }
    }
}

/// The 16-bit numbers of a list; an odd byte at the end is an error.
pub(super) fn u16s(bytes: &[u8], what: &'static str) -> Result<Vec<u16>, Error> {
    let (pairs, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(Error::Malformed(what));
    }
    Ok(pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect())
}

pub(super) fn put_u16(out: &mut Vec<u8>, number: u16) {
    out.extend(number.to_be_bytes());
}

/// The low 24 bits.
pub(super) fn put_u24(out: &mut Vec<u8>, number: usize) {
    let [.., a, b, c] = (number as u64).to_be_bytes();
    out.extend([a, b, c]);
}

/// A vector whose length takes one byte. What we write is shorter than 256 bytes by construction;
/// longer contents are cut off rather than framed wrongly.
pub(super) fn put_vec8(out: &mut Vec<u8>, contents: &[u8]) {
    let length = u8::try_from(contents.len()).unwrap_or(u8::MAX);
    out.push(length);
    out.extend(contents.iter().take(usize::from(length)));
}

/// As [`put_vec8`] with two bytes.
pub(super) fn put_vec16(out: &mut Vec<u8>, contents: &[u8]) {
    let length = u16::try_from(contents.len()).unwrap_or(u16::MAX);
    put_u16(out, length);
    out.extend(contents.iter().take(usize::from(length)));
}

/// As [`put_vec8`] with three bytes.
pub(super) fn put_vec24(out: &mut Vec<u8>, contents: &[u8]) {
    put_u24(out, contents.len());
    out.extend(contents);
}
