//! What a request and a response are to the rooms above: codes, options, bodies.

/// A code of RFC 7252 section 12.1: class in the upper three bits, detail in the lower five.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub u8);

/// Numbers of the options that other rooms name.
pub mod option {
    /// Accept (RFC 7252 section 5.10.4).
    pub const ACCEPT: u16 = 17;
    /// Content-Format (RFC 7252 section 5.10.3).
    pub const CONTENT_FORMAT: u16 = 12;
    /// ETag (RFC 7252 section 5.10.6).
    pub const ETAG: u16 = 4;
    /// Max-Age (RFC 7252 section 5.10.5), seconds.
    pub const MAX_AGE: u16 = 14;
    /// Observe (RFC 7641 section 2).
    pub const OBSERVE: u16 = 6;
    /// Uri-Path (RFC 7252 section 5.10.1).
    pub const URI_PATH: u16 = 11;
    /// Uri-Query (RFC 7252 section 5.10.1).
    pub const URI_QUERY: u16 = 15;
}

impl Code {
    pub const GET: Self = Self(0x01);
    pub const POST: Self = Self(0x02);
    pub const PUT: Self = Self(0x03);
    pub const DELETE: Self = Self(0x04);
    pub const CREATED: Self = Self(0x41);
    pub const DELETED: Self = Self(0x42);
    pub const VALID: Self = Self(0x43);
    pub const CHANGED: Self = Self(0x44);
    pub const CONTENT: Self = Self(0x45);
    pub const BAD_REQUEST: Self = Self(0x80);
    pub const UNAUTHORIZED: Self = Self(0x81);
    pub const BAD_OPTION: Self = Self(0x82);
    pub const FORBIDDEN: Self = Self(0x83);
    pub const NOT_FOUND: Self = Self(0x84);
    pub const METHOD_NOT_ALLOWED: Self = Self(0x85);
    pub const NOT_ACCEPTABLE: Self = Self(0x86);
    pub const CONFLICT: Self = Self(0x89);
    pub const PRECONDITION_FAILED: Self = Self(0x8c);
    pub const REQUEST_ENTITY_TOO_LARGE: Self = Self(0x8d);
    pub const UNSUPPORTED_CONTENT_FORMAT: Self = Self(0x8f);
    pub const INTERNAL_SERVER_ERROR: Self = Self(0xa0);
    pub const SERVICE_UNAVAILABLE: Self = Self(0xa3);
    pub const PROXYING_NOT_SUPPORTED: Self = Self(0xa5);

    /// Class, 0 to 7.
    pub const fn class(self) -> u8 {
        self.0 >> 5
    }

    /// Detail, 0 to 31.
    pub const fn detail(self) -> u8 {
        self.0 & 31
    }

    /// Class 2.
    pub const fn is_success(self) -> bool {
        self.class() == 2
    }
}

/// The options of one message, kept in the order of their numbers; repeated ones in arrival order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(Vec<(u16, Vec<u8>)>);

impl Options {
    /// Adds one more value of option `number`.
    pub fn push(&mut self, number: u16, value: impl Into<Vec<u8>>) {
        let at = self.0.partition_point(|(other, _)| *other <= number);
        self.0.insert(at, (number, value.into()));
    }

    /// Removes every value of option `number`, then adds this one.
    pub fn set(&mut self, number: u16, value: impl Into<Vec<u8>>) {
        self.remove(number);
        self.push(number, value);
    }

    /// As [`Self::set`], for an unsigned integer in its shortest form (RFC 7252 section 3.2).
    pub fn set_uint(&mut self, number: u16, value: u32) {
        let bytes = value.to_be_bytes();
        self.set(number, &bytes[value.leading_zeros() as usize / 8..]);
    }

    /// Removes every value of option `number`.
    pub fn remove(&mut self, number: u16) {
        self.0.retain(|(other, _)| *other != number);
    }

    /// Every value of option `number`.
    pub fn all(&self, number: u16) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |(other, _)| *other == number).map(|(_, value)| &**value)
    }

    /// The first value of option `number`.
    pub fn first(&self, number: u16) -> Option<&[u8]> {
        self.all(number).next()
    }

    /// The first value of option `number` as an unsigned integer; `None` when absent or longer than
    /// four bytes.
    pub fn uint(&self, number: u16) -> Option<u32> {
        let bytes = self.first(number)?;
        (bytes.len() <= 4).then(|| bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    }

    /// All options, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.0.iter().map(|(number, value)| (*number, &**value))
    }
}

/// A whole request: its body, if it came in blocks, is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub code: Code,
    /// Every option but those that the endpoint deals with (Block, Size, Echo, Request-Tag, ...).
    pub options: Options,
    /// The body.
    pub payload: Vec<u8>,
}

impl Request {
    /// A request for `path`; segments divided by `/`, a leading `/` is not a segment. A `?` begins
    /// queries that are divided by `&`.
    pub fn new(code: Code, path: &str) -> Self {
        let mut options = Options::default();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        for segment in path.trim_start_matches('/').split('/').filter(|text| !text.is_empty()) {
            options.push(option::URI_PATH, segment);
        }
        for text in query.split('&').filter(|text| !text.is_empty()) {
            options.push(option::URI_QUERY, text);
        }
        Self { code, options, payload: Vec::new() }
    }

    /// Path segments; `None` where one is not UTF-8.
    pub fn path(&self) -> impl Iterator<Item = Option<&str>> {
        self.options.all(option::URI_PATH).map(|bytes| str::from_utf8(bytes).ok())
    }

    /// Queries; `None` where one is not UTF-8.
    pub fn queries(&self) -> impl Iterator<Item = Option<&str>> {
        self.options.all(option::URI_QUERY).map(|bytes| str::from_utf8(bytes).ok())
    }
}

/// A whole response. The endpoint cuts a long body into blocks and gives it an ETag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The code.
    pub code: Code,
    /// Every option but those that the endpoint deals with.
    pub options: Options,
    /// The body.
    pub payload: Vec<u8>,
}

impl Response {
    /// A response without body.
    pub fn new(code: Code) -> Self {
        Self { code, options: Options::default(), payload: Vec::new() }
    }

    /// An error with a diagnostic payload (RFC 7252 section 5.5.2).
    pub fn diagnostic(code: Code, text: impl Into<String>) -> Self {
        Self { code, options: Options::default(), payload: text.into().into_bytes() }
    }

    /// A body of the given content format.
    pub fn with_payload(mut self, content_format: u16, payload: Vec<u8>) -> Self {
        self.options.set_uint(option::CONTENT_FORMAT, content_format.into());
        self.payload = payload;
        self
    }
}
