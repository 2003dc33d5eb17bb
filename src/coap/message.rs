//! What a request and a response are to the rooms above: codes, options, bodies.

/// A code of RFC 7252 section 12.1: class in the upper three bits, detail in the lower five.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub u8);

/// Numbers of the options that other rooms name.
pub mod option {
    /// If-Match (RFC 7252 section 5.10.8.1).
    pub const IF_MATCH: u16 = 1;
    /// Uri-Host (RFC 7252 section 5.10.1).
    pub const URI_HOST: u16 = 3;
    /// ETag (RFC 7252 section 5.10.6).
    pub const ETAG: u16 = 4;
    /// If-None-Match (RFC 7252 section 5.10.8.2).
    pub const IF_NONE_MATCH: u16 = 5;
    /// Observe (RFC 7641 section 2).
    pub const OBSERVE: u16 = 6;
    /// Uri-Port (RFC 7252 section 5.10.1).
    pub const URI_PORT: u16 = 7;
    /// Location-Path (RFC 7252 section 5.10.7).
    pub const LOCATION_PATH: u16 = 8;
    /// Uri-Path (RFC 7252 section 5.10.1).
    pub const URI_PATH: u16 = 11;
    /// Content-Format (RFC 7252 section 5.10.3).
    pub const CONTENT_FORMAT: u16 = 12;
    /// Max-Age (RFC 7252 section 5.10.5), seconds.
    pub const MAX_AGE: u16 = 14;
    /// Uri-Query (RFC 7252 section 5.10.1).
    pub const URI_QUERY: u16 = 15;
    /// Hop-Limit (RFC 8768).
    pub const HOP_LIMIT: u16 = 16;
    /// Accept (RFC 7252 section 5.10.4).
    pub const ACCEPT: u16 = 17;
    /// Q-Block1 (RFC 9177).
    pub const Q_BLOCK1: u16 = 19;
    /// Location-Query (RFC 7252 section 5.10.7).
    pub const LOCATION_QUERY: u16 = 20;
    /// Block2 (RFC 7959).
    pub const BLOCK2: u16 = 23;
    /// Block1 (RFC 7959).
    pub const BLOCK1: u16 = 27;
    /// Size2 (RFC 7959 section 4).
    pub const SIZE2: u16 = 28;
    /// Q-Block2 (RFC 9177).
    pub const Q_BLOCK2: u16 = 31;
    /// Proxy-Uri (RFC 7252 section 5.10.2).
    pub const PROXY_URI: u16 = 35;
    /// Proxy-Scheme (RFC 7252 section 5.10.2).
    pub const PROXY_SCHEME: u16 = 39;
    /// Size1 (RFC 7252 section 5.10.9).
    pub const SIZE1: u16 = 60;
    /// Echo (RFC 9175 section 2).
    pub const ECHO: u16 = 252;
    /// No-Response (RFC 7967).
    pub const NO_RESPONSE: u16 = 258;
    /// Request-Tag (RFC 9175 section 3).
    pub const REQUEST_TAG: u16 = 292;
}

impl Code {
    /// 0.00: no request and no response (RFC 7252 section 4.1).
    pub const EMPTY: Self = Self(0x00);
    /// 0.01 GET.
    pub const GET: Self = Self(0x01);
    /// 0.02 POST.
    pub const POST: Self = Self(0x02);
    /// 0.03 PUT.
    pub const PUT: Self = Self(0x03);
    /// 0.04 DELETE.
    pub const DELETE: Self = Self(0x04);
    /// 0.05 FETCH (RFC 8132).
    pub const FETCH: Self = Self(0x05);
    /// 0.06 PATCH (RFC 8132).
    pub const PATCH: Self = Self(0x06);
    /// 0.07 iPATCH (RFC 8132).
    pub const IPATCH: Self = Self(0x07);
    /// 2.01 Created.
    pub const CREATED: Self = Self(0x41);
    /// 2.02 Deleted.
    pub const DELETED: Self = Self(0x42);
    /// 2.03 Valid.
    pub const VALID: Self = Self(0x43);
    /// 2.04 Changed.
    pub const CHANGED: Self = Self(0x44);
    /// 2.05 Content.
    pub const CONTENT: Self = Self(0x45);
    /// 2.31 Continue (RFC 7959).
    pub const CONTINUE: Self = Self(0x5f);
    /// 4.00 Bad Request.
    pub const BAD_REQUEST: Self = Self(0x80);
    /// 4.01 Unauthorized.
    pub const UNAUTHORIZED: Self = Self(0x81);
    /// 4.02 Bad Option.
    pub const BAD_OPTION: Self = Self(0x82);
    /// 4.03 Forbidden.
    pub const FORBIDDEN: Self = Self(0x83);
    /// 4.04 Not Found.
    pub const NOT_FOUND: Self = Self(0x84);
    /// 4.05 Method Not Allowed.
    pub const METHOD_NOT_ALLOWED: Self = Self(0x85);
    /// 4.06 Not Acceptable.
    pub const NOT_ACCEPTABLE: Self = Self(0x86);
    /// 4.08 Request Entity Incomplete (RFC 7959).
    pub const REQUEST_ENTITY_INCOMPLETE: Self = Self(0x88);
    /// 4.09 Conflict (RFC 8132).
    pub const CONFLICT: Self = Self(0x89);
    /// 4.12 Precondition Failed.
    pub const PRECONDITION_FAILED: Self = Self(0x8c);
    /// 4.13 Request Entity Too Large.
    pub const REQUEST_ENTITY_TOO_LARGE: Self = Self(0x8d);
    /// 4.15 Unsupported Content-Format.
    pub const UNSUPPORTED_CONTENT_FORMAT: Self = Self(0x8f);
    /// 4.22 Unprocessable Entity (RFC 8132).
    pub const UNPROCESSABLE_ENTITY: Self = Self(0x96);
    /// 4.29 Too Many Requests (RFC 8516).
    pub const TOO_MANY_REQUESTS: Self = Self(0x9d);
    /// 5.00 Internal Server Error.
    pub const INTERNAL_SERVER_ERROR: Self = Self(0xa0);
    /// 5.01 Not Implemented.
    pub const NOT_IMPLEMENTED: Self = Self(0xa1);
    /// 5.03 Service Unavailable.
    pub const SERVICE_UNAVAILABLE: Self = Self(0xa3);
    /// 5.05 Proxying Not Supported.
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

    /// A method, known or not (RFC 7252 section 12.1.1).
    pub const fn is_request(self) -> bool {
        self.class() == 0 && self.detail() != 0
    }

    /// Success or error (RFC 7252 section 12.1.2).
    pub const fn is_response(self) -> bool {
        matches!(self.class(), 2..=5)
    }

    /// A method that promises to change nothing (RFC 7252 section 5.1, RFC 8132 section 2).
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::GET | Self::FETCH)
    }
}

/// The options of one message, kept in the order of their numbers; repeated ones in arrival order.
///
/// All values lie in one buffer: a message has five options or more, and one allocation for all of
/// them is what keeps a request cheap.
#[derive(Clone, Debug, Default)]
pub struct Options {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

/// Where in the buffer the value of one option lies.
#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u16,
    start: u32,
    end: u32,
}

impl Options {
    /// Adds one more value of option `number`.
    pub fn push(&mut self, number: u16, value: impl AsRef<[u8]>) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(value.as_ref());
        let at = self.entries.partition_point(|entry| entry.number <= number);
        self.entries.insert(at, Entry { number, start, end: self.bytes.len() as u32 });
    }

    /// Removes every value of option `number`, then adds this one.
    pub fn set(&mut self, number: u16, value: impl AsRef<[u8]>) {
        self.remove(number);
        self.push(number, value);
    }

    /// As [`Self::set`], for an unsigned integer in its shortest form (RFC 7252 section 3.2).
    pub fn set_uint(&mut self, number: u16, value: u32) {
        let bytes = value.to_be_bytes();
        self.set(number, &bytes[value.leading_zeros() as usize / 8..]);
    }

    /// Adds one more value of option `number`, as [`Self::set_uint`] does.
    pub fn push_uint(&mut self, number: u16, value: u32) {
        let bytes = value.to_be_bytes();
        self.push(number, &bytes[value.leading_zeros() as usize / 8..]);
    }

    /// Removes every value of option `number`.
    pub fn remove(&mut self, number: u16) {
        self.entries.retain(|entry| entry.number != number);
    }

    /// Every value of option `number`.
    pub fn all(&self, number: u16) -> impl Iterator<Item = &[u8]> {
        let first = self.entries.partition_point(|entry| entry.number < number);
        let from_first = self.entries.get(first..).unwrap_or_default();
        from_first
            .iter()
            .take_while(move |entry| entry.number == number)
            .map(|entry| self.value(entry))
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
        self.entries.iter().map(|entry| (entry.number, self.value(entry)))
    }

    fn value(&self, entry: &Entry) -> &[u8] {
        self.bytes.get(entry.start as usize..entry.end as usize).unwrap_or_default()
    }

    /// Keeps the options for which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(u16) -> bool) {
        self.entries.retain(|entry| keep(entry.number));
    }

    /// How many there are, repeated ones counted singly.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes held in memory.
    pub(super) fn footprint(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// None yet, with room for `count` options of `bytes` bytes together.
    pub(super) fn with_capacity(count: usize, bytes: usize) -> Self {
        Self { entries: Vec::with_capacity(count), bytes: Vec::with_capacity(bytes) }
    }
}

impl PartialEq for Options {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Options {}

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

    /// Whether its path has the segments of `path`, which are divided by `/`. A `/` inside a segment
    /// divides nothing: `a%2Fb` is not `a/b`.
    pub fn is_for(&self, path: &str) -> bool {
        let mut rest = Some(path.trim_start_matches('/').as_bytes());
        for segment in self.options.all(option::URI_PATH) {
            let behind = rest.and_then(|text| text.strip_prefix(segment));
            rest = match behind {
                None => return false,
                Some(_) if segment.contains(&b'/') => return false,
                Some([]) => None,
                Some([b'/', more @ ..]) => Some(more),
                Some(_) => return false,
            };
        }
        rest.is_none()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_compared_by_its_segments() {
        let at = |segments: &[&str]| {
            let mut request = Request::new(Code::GET, "");
            segments.iter().for_each(|segment| request.options.push(option::URI_PATH, segment));
            request
        };
        assert!(at(&["oic", "res"]).is_for("/oic/res") && at(&["oic", "res"]).is_for("oic/res"));
        assert!(at(&["a", ""]).is_for("/a/"));
        for other in [
            &[][..],
            &["oic"],
            &["oic", "re"],
            &["oic", "ress"],
            &["oic/res"],
            &["oic", "res", ""],
            &["oic", "res", "x"],
            &["", "oic", "res"],
            &["oi", "c", "res"],
        ] {
            assert!(!at(other).is_for("/oic/res"), "{other:?}");
        }
    }
}
