//! One GET over HTTP/1.1 and TLS, redirections followed by hand.
//!
//! The client is ureq with rustls and ring: blocking, small, and it lets us choose the addresses. Each
//! request has a connection of its own; a download is one long answer, so there is nothing to reuse.

use std::io::{self, Read};
use std::time::Duration;

use chrono::DateTime;
use rustls::crypto::ring;
use ureq::http::{HeaderMap, StatusCode, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::{Connector, RustlsConnector, TcpConnector};

use super::address::{self, Lookup};
use super::wire::{Judged, Stop, Watch};
use super::{Error, Roots, Settings, trouble};
use crate::clock;
use crate::source::{self, Scheme, Target};
use crate::worker::Cancel;

/// Redirections that are followed. Depots use one; a second and a third leave room for a front door.
pub const REDIRECTS_MAX: usize = 3;

/// What all requests have in common.
#[derive(Debug)]
pub(super) struct Https {
    tls: TlsConfig,
}

/// What to ask for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    /// Media types, as in the Accept field.
    pub(super) accept: &'a str,
    /// Where to begin, bytes; 0 asks for the whole.
    pub(super) from: u64,
    /// Only if the server still calls its version so (RFC 9110 section 13.1.5).
    pub(super) if_range: Option<&'a str>,
    /// When to give up, whatever happens.
    pub(super) time_left: Duration,
}

/// The head of an answer, and the rest of it to be read.
pub(super) struct Answer {
    /// Where it finally came from.
    pub(super) target: Target,
    /// The status code.
    pub(super) status: u16,
    headers: HeaderMap,
    body: ureq::BodyReader<'static>,
    watch: Watch,
}

impl Https {
    pub(super) fn new(roots: &Roots) -> Result<Self, Error> {
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(ring::default_provider().into())
            .root_certs(root_certs(roots)?)
            .build();
        Ok(Self { tls })
    }

    /// Asks, and follows redirections under the same policy.
    pub(super) fn get(
        &self,
        target: &Target,
        ask: Ask<'_>,
        settings: &Settings,
        lookup: Lookup,
        cancel: &Cancel,
    ) -> Result<Answer, Error> {
        let mut target = target.clone();
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.get_once(target, ask, settings, lookup, cancel)?;
            match answer.location() {
                None => return Ok(answer),
                Some(location) => target = follow(&answer.target, location, settings)?,
            }
        }
        Err(Error::Redirect(format!("more than {REDIRECTS_MAX} times")))
    }

    fn get_once(
        &self,
        target: Target,
        ask: Ask<'_>,
        settings: &Settings,
        lookup: Lookup,
        cancel: &Cancel,
    ) -> Result<Answer, Error> {
        let addresses = address::resolve(lookup, &target.host, target.port, settings, cancel)?;
        let watch = Watch::new(settings, cancel);
        let connector =
            ().chain(TcpConnector::default())
                .chain(watch.clone())
                .chain(RustlsConnector::default());
        let config = self.config(settings, ask.time_left);
        let agent = ureq::Agent::with_parts(config, connector, Judged(addresses));
        let mut request = agent.get(target.url.as_str()).header(header::ACCEPT, ask.accept);
        if ask.from > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", ask.from));
            if let Some(etag) = ask.if_range {
                request = request.header(header::IF_RANGE, etag);
            }
        }
        match request.call() {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                let status = parts.status.as_u16();
                let body = body.into_reader();
                Ok(Answer { target, status, headers: parts.headers, body, watch })
            }
            Err(error) => Err(explain(error, &target.host, &watch)),
        }
    }

    fn config(&self, settings: &Settings, time_left: Duration) -> ureq::config::Config {
        let limits = &settings.limits;
        ureq::Agent::config_builder()
            .tls_config(self.tls.clone())
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("freshen/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .max_idle_connections(0)
            .input_buffer_size(WIRE_BUFFER_BYTES)
            .output_buffer_size(WIRE_BUFFER_BYTES)
            .max_response_header_size(HEADER_BYTES_MAX)
            .timeout_connect(Some(limits.connect))
            .timeout_send_request(Some(limits.header))
            .timeout_recv_response(Some(limits.header))
            .timeout_per_read(Some(limits.read))
            .timeout_per_write(Some(limits.read))
            .timeout_global(Some(time_left))
            .build()
    }
}

impl Answer {
    /// The next bytes of the body; 0 at its end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let host = &self.target.host;
        self.body.read(buffer).map_err(|error| explain(from_io(error), host, &self.watch))
    }

    /// Bytes that follow, where the server says so.
    pub(super) fn length(&self) -> Option<u64> {
        self.text(header::CONTENT_LENGTH)?.parse().ok()
    }

    /// The entity tag, where it is a strong one: a weak one does not vouch for single bytes.
    pub(super) fn strong_etag(&self) -> Option<&str> {
        self.text(header::ETAG).filter(|etag| etag.starts_with('"') && etag.len() <= ETAG_BYTES_MAX)
    }

    /// First byte and, where known, whole length of a part (RFC 9110 section 14.4). `None` for anything
    /// but one range of bytes.
    pub(super) fn range(&self) -> Option<(u64, Option<u64>)> {
        let (range, total) =
            self.text(header::CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (first.parse().ok()?, last.parse::<u64>().ok()?);
        let total = if total == "*" { None } else { Some(total.parse().ok()?) };
        (first <= last && total.is_none_or(|total| last < total)).then_some((first, total))
    }

    /// How long the server asks us to stay away (RFC 9110 section 10.2.3).
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let text = self.text(header::RETRY_AFTER)?;
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let until = DateTime::parse_from_rfc2822(text).ok()?;
        (until.to_utc() - clock::now().wall).to_std().ok()
    }

    /// Whether the bytes are the payload's own and not packed for the way.
    pub(super) fn is_plain(&self) -> bool {
        self.text(header::CONTENT_ENCODING)
            .is_none_or(|coding| coding.eq_ignore_ascii_case("identity"))
    }

    fn location(&self) -> Option<&str> {
        let redirects = matches!(self.status, 301 | 302 | 303 | 307 | 308);
        self.text(header::LOCATION).filter(|_| redirects)
    }

    fn text(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim)
    }
}

/// Where a redirection leads, if it may: never from a secured connection to an open one.
fn follow(from: &Target, location: &str, settings: &Settings) -> Result<Target, Error> {
    let no = |why: &dyn std::fmt::Display| Error::Redirect(why.to_string());
    let mut url = from.url.join(location).map_err(|error| no(&error))?;
    url.set_fragment(None);
    let target = source::judge_url(url, &settings.sources()).map_err(|error| no(&error))?;
    match (from.scheme, target.scheme) {
        (_, Scheme::Https) | (Scheme::Http, Scheme::Http) => Ok(target),
        _ => Err(no(&"from a secured connection to an open one")),
    }
}

fn root_certs(roots: &Roots) -> Result<RootCerts, Error> {
    let Roots::Pem(pem) = roots else { return Ok(RootCerts::WebPki) };
    let mut certificates = vec![];
    for item in parse_pem(pem.as_bytes()) {
        match item.map_err(|error| Error::Settings(format!("the certificates in `ca`: {error}")))? {
            PemItem::Certificate(certificate) => certificates.push(certificate),
            _ => return Err(Error::Settings("`ca` holds more than certificates".into())),
        }
    }
    if certificates.is_empty() {
        return Err(Error::Settings("`ca` holds no certificate".into()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// The client's own errors travel inside those of the system when they come through a reader.
fn from_io(error: io::Error) -> ureq::Error {
    error.downcast::<ureq::Error>().unwrap_or_else(ureq::Error::Io)
}

fn explain(error: ureq::Error, host: &str, watch: &Watch) -> Error {
    let host = host.to_owned();
    match watch.stopped() {
        Some(Stop::Cancelled) => return Error::Cancelled,
        Some(Stop::TooSlow) => {
            return Error::TimedOut { host, what: "a fair share of the bytes" };
        }
        None => {}
    }
    match error {
        ureq::Error::Timeout(timeout) => Error::TimedOut { host, what: what_took_long(timeout) },
        ureq::Error::Rustls(error) => Error::Tls { host, why: trouble::words(&error) },
        ureq::Error::Tls(why) => Error::Tls { host, why: why.to_owned() },
        ureq::Error::Io(error) => match rustls_inside(&error) {
            Some(why) => Error::Tls { host, why },
            None => Error::ConnectionLost { host, why: error.to_string() },
        },
        ureq::Error::Protocol(_) | ureq::Error::Http(_) => {
            Error::BadAnswer { host, why: "it is not HTTP/1.1" }
        }
        ureq::Error::LargeResponseHeader(..) => {
            Error::BadAnswer { host, why: "its header is too long" }
        }
        other => Error::ConnectionLost { host, why: other.to_string() },
    }
}

/// A handshake that fails for a reason of trust; one that is cut off is a lost connection.
fn rustls_inside(error: &io::Error) -> Option<String> {
    error.get_ref()?.downcast_ref::<rustls::Error>().map(trouble::words)
}

fn what_took_long(timeout: ureq::Timeout) -> &'static str {
    match timeout {
        ureq::Timeout::Connect => "connecting",
        ureq::Timeout::RecvResponse => "the head of its answer",
        ureq::Timeout::PerRead => "the next bytes",
        ureq::Timeout::Global => "the whole download",
        _ => "sending our question",
    }
}

/// Whether a status says that the whole, or the rest, follows.
pub(super) fn is_whole(status: u16) -> bool {
    status == StatusCode::OK.as_u16()
}

/// See [`is_whole`].
pub(super) fn is_part(status: u16) -> bool {
    status == StatusCode::PARTIAL_CONTENT.as_u16()
}

/// The client's buffers, bytes: two TLS records.
const WIRE_BUFFER_BYTES: usize = 32 * 1024;

/// The longest header of an answer, bytes: far more than a file server sends.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// The longest entity tag that is remembered, bytes: common ones have under 100.
const ETAG_BYTES_MAX: usize = 1024;
