//! From a request to a resource, to who may do that, to the answer.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::discovery::{Device, Discovery, Platform};
use super::resource::{Resource, interface};
use super::{body, discovery, introspection, pstat, softwareupdate, status};
use crate::clock::Now;
use crate::coap::{Code, Reception, Request, Response, option};
use crate::update::{Ask, Command, Door, Refusal, State};

/// What a device is, whatever runs on it.
#[derive(Clone, Debug)]
pub struct About {
    /// `di`.
    pub device: Uuid,
    /// `piid`: stays when the device is reset.
    pub protocol_independent: Uuid,
    /// `pi`.
    pub platform: Uuid,
    /// `n`.
    pub name: String,
    /// `mnmn`.
    pub manufacturer: String,
    /// `mnmo`, `dmno`.
    pub model: String,
    /// `mndt`.
    pub manufactured: DateTime<Utc>,
    /// Where the software update resource is.
    pub softwareupdate_href: String,
    /// Longest `purl` taken, characters.
    pub purl_max: usize,
}

/// How far the work under way is. Not durable: it is of this life only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes done.
    pub done: u64,
    /// Bytes expected.
    pub expected: u64,
    /// Bytes a second.
    pub rate: u64,
    /// Which attempt, from 1; 0 when nothing is under way.
    pub attempt: u32,
}

/// Who asks, as the session proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Nobody in particular: in clear.
    Anonymous,
    /// Somebody the device has a key or an anchor for; the name is for the log.
    Known(String),
}

/// What an answer may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// What the device is.
    pub about: &'a About,
    /// What the engine has on disk.
    pub state: &'a State,
    /// How far the work is.
    pub progress: Progress,
    /// Every endpoint that the asker could use, such as `coap://127.0.0.1:5683`.
    pub endpoints: &'a [String],
    /// Whether everything is served to everyone in clear (`insecure`).
    pub open: bool,
    /// The time.
    pub now: Now,
}

/// What to do with a request.
#[derive(Debug)]
pub enum Answer {
    /// Send this. With a resource, the asker may watch it.
    Reply(Response, Option<Resource>),
    /// Let the engine take the command, then send what [`Pending::done`] makes of the result.
    Order(Command, Pending),
    /// Send nothing (a multicast request that is not for us).
    Silence,
}

/// An answer that waits for the engine.
#[derive(Clone, Debug)]
pub struct Pending {
    resource: Resource,
    request: Request,
}

/// Content formats (CoAP Content-Formats registry).
mod format {
    pub(super) const LINK_FORMAT: u16 = 40;
    pub(super) const CBOR: u16 = 60;
    pub(super) const OCF_CBOR: u16 = 10000;
}

/// OCF-Accept-Content-Format-Version.
const ACCEPT_VERSION: u16 = 2049;
/// OCF-Content-Format-Version. Critical, so only for those who know it.
const CONTENT_VERSION: u16 = 2053;
/// Version 1.0.0 of the content format, as every OCF 1.x and 2.x device sends it.
const VERSION: u32 = 2048;

/// Answers a request.
pub fn answer(
    site: &Site<'_>,
    subject: &Subject,
    reception: Reception,
    request: Request,
) -> Answer {
    let result = answered(site, subject, request);
    match (reception, result) {
        (Reception::Unicast, Ok(answer)) => answer,
        (Reception::Unicast, Err(response)) => Answer::Reply(response, None),
        // RFC 7252 section 8.2: no errors, and nothing that changes the device.
        (Reception::Multicast, Ok(Answer::Reply(response, _))) => Answer::Reply(response, None),
        (Reception::Multicast, _) => Answer::Silence,
    }
}

fn answered(site: &Site<'_>, subject: &Subject, request: Request) -> Result<Answer, Response> {
    let resource = routed(&site.about.softwareupdate_href, &request)
        .ok_or_else(|| Response::diagnostic(Code::NOT_FOUND, "there is no such resource"))?;
    selected_interface(resource, &request)?;
    allowed(site, subject, resource)?;
    match request.code {
        Code::GET => {
            let response = represented(site, resource, &request)?;
            Ok(Answer::Reply(response, resource.topic().map(|_| resource)))
        }
        Code::POST if resource.is_writable() => ordered(site, subject, resource, request),
        Code::POST | Code::PUT | Code::DELETE if is_read_only(resource) => {
            Err(Response::diagnostic(Code::FORBIDDEN, "this resource can only be read"))
        }
        _ => {
            Err(Response::diagnostic(Code::METHOD_NOT_ALLOWED, "this resource has no such method"))
        }
    }
}

fn routed(softwareupdate_href: &str, request: &Request) -> Option<Resource> {
    Resource::ALL.into_iter().find(|resource| resource.is_at(softwareupdate_href, request))
}

fn is_read_only(resource: Resource) -> bool {
    resource.interfaces().first() == Some(&interface::READ)
}

/// The interface that the request names, or the default one.
fn selected_interface(resource: Resource, request: &Request) -> Result<&'static str, Response> {
    let has = resource.interfaces();
    let Some(wanted) = query(request, "if").next() else {
        return Ok(has.first().copied().unwrap_or(interface::READ));
    };
    has.iter().find(|name| **name == wanted).copied().ok_or_else(|| {
        let text = format!("this resource has the interfaces {}", has.join(", "));
        Response::diagnostic(Code::FORBIDDEN, text)
    })
}

/// OCF Security 12.2, as far as it goes before anyone owns the device.
fn allowed(site: &Site<'_>, subject: &Subject, resource: Resource) -> Result<(), Response> {
    if site.open || resource.is_public() || matches!(subject, Subject::Known(_)) {
        return Ok(());
    }
    Err(Response::diagnostic(Code::UNAUTHORIZED, "ask over coaps"))
}

fn query<'a>(request: &'a Request, name: &'a str) -> impl Iterator<Item = &'a str> {
    request.queries().flatten().filter_map(move |text| text.strip_prefix(name)?.strip_prefix('='))
}

/// The representation of a resource, as a GET or a notification carries it.
///
/// The request decides the interface and the format; it may be the one that registered a watcher.
pub fn render(site: &Site<'_>, resource: Resource, request: &Request) -> Response {
    represented(site, resource, request).unwrap_or_else(|response| response)
}

fn represented(
    site: &Site<'_>,
    resource: Resource,
    request: &Request,
) -> Result<Response, Response> {
    let baseline = selected_interface(resource, request)? == interface::BASELINE;
    if resource == Resource::WellKnownCore {
        return well_known_core(site, request);
    }
    let format = accepted(request)?;
    let (about, state) = (site.about, site.state);
    let bytes = match resource {
        Resource::Discovery => {
            let types: Vec<&str> = query(request, "rt").collect();
            let links = discovery::links(site, &types);
            if links.is_empty() {
                let text = "no resource has this type";
                return Err(Response::diagnostic(Code::BAD_REQUEST, text));
            }
            if baseline { body::encoded(&Discovery::new(links)) } else { body::encoded(&links) }
        }
        Resource::Device => body::encoded(&Device::new(about, &state.running.version, baseline)),
        Resource::Platform => body::encoded(&Platform::new(site, baseline)),
        Resource::Introspection => {
            body::encoded(&introspection::Representation::new(site, baseline))
        }
        Resource::IntrospectionData => {
            introspection::data(&about.softwareupdate_href, about.purl_max)
        }
        Resource::SoftwareUpdate => {
            body::encoded(&softwareupdate::Representation::new(state, baseline))
        }
        Resource::ProvisioningStatus => {
            body::encoded(&pstat::Representation::new(&state.phase, baseline))
        }
        Resource::UpdateStatus => {
            body::encoded(&status::Representation::new(state, &site.progress, baseline))
        }
        Resource::WellKnownCore => unreachable!("answered above"),
    };
    Ok(versioned(Response::new(Code::CONTENT).with_payload(format, bytes), request))
}

fn well_known_core(site: &Site<'_>, request: &Request) -> Result<Response, Response> {
    match request.options.uint(option::ACCEPT) {
        None | Some(40) => {}
        Some(_) => return Err(Response::diagnostic(Code::NOT_ACCEPTABLE, "only link format here")),
    }
    let filter = request.queries().flatten().find_map(|text| text.split_once('='));
    let text = discovery::link_format(site, filter);
    Ok(Response::new(Code::CONTENT).with_payload(format::LINK_FORMAT, text.into_bytes()))
}

/// The content format to answer in.
fn accepted(request: &Request) -> Result<u16, Response> {
    match request.options.uint(option::ACCEPT) {
        _ if request.options.uint(ACCEPT_VERSION).is_some_and(|version| version < VERSION) => {
            Err(unsupported_version())
        }
        None | Some(10000) => Ok(format::OCF_CBOR),
        Some(60) => Ok(format::CBOR),
        Some(_) => Err(Response::diagnostic(
            Code::NOT_ACCEPTABLE,
            "only application/vnd.ocf+cbor and application/cbor here",
        )),
    }
}

/// Whether the body may be read at all.
fn readable(request: &Request) -> Result<(), Response> {
    if request.options.uint(CONTENT_VERSION).is_some_and(|version| version < VERSION) {
        return Err(unsupported_version());
    }
    match request.options.uint(option::CONTENT_FORMAT) {
        None | Some(60 | 10000) => Ok(()),
        Some(_) => Err(Response::diagnostic(
            Code::UNSUPPORTED_CONTENT_FORMAT,
            "send application/vnd.ocf+cbor or application/cbor",
        )),
    }
}

fn unsupported_version() -> Response {
    let text = "this device speaks content format version 1.0.0 (2048)";
    Response::diagnostic(Code::UNSUPPORTED_CONTENT_FORMAT, text)
}

/// Adds the version option for a client that knows it: libcoap's drops what carries it otherwise.
fn versioned(mut response: Response, request: &Request) -> Response {
    let knows = request.options.first(ACCEPT_VERSION).is_some()
        || request.options.uint(option::ACCEPT) == Some(format::OCF_CBOR.into());
    if knows && response.options.uint(option::CONTENT_FORMAT) == Some(format::OCF_CBOR.into()) {
        response.options.set_uint(CONTENT_VERSION, VERSION);
    }
    response
}

fn ordered(
    site: &Site<'_>,
    subject: &Subject,
    resource: Resource,
    request: Request,
) -> Result<Answer, Response> {
    readable(&request)?;
    accepted(&request)?;
    let refused = |fault: String| Response::diagnostic(Code::BAD_REQUEST, fault);
    let (door, ask): (Door, Option<Ask>) = match resource {
        Resource::SoftwareUpdate => {
            let ask = softwareupdate::command(&request.payload, site.about.purl_max, site.now);
            (Door::SoftwareUpdate, Some(ask.map_err(refused)?))
        }
        _ => (Door::ProvisioningStatus, pstat::command(&request.payload).map_err(refused)?),
    };
    let Some(ask) = ask else { return Ok(Answer::Reply(Response::new(Code::CHANGED), None)) };
    let asker = match subject {
        Subject::Anonymous => "anyone in clear".into(),
        Subject::Known(name) => name.clone(),
    };
    Ok(Answer::Order(Command { door, asker, ask }, Pending { resource, request }))
}

impl Pending {
    /// The answer, now that the engine has taken the command or refused it. `site` is that of the
    /// state after.
    pub fn done(&self, site: &Site<'_>, refusal: Option<&Refusal>) -> Response {
        match refusal {
            Some(refusal @ Refusal::Busy { .. }) => {
                Response::diagnostic(Code::CONFLICT, refusal.to_string())
            }
            Some(refusal) => Response::diagnostic(Code::BAD_REQUEST, refusal.to_string()),
            None if self.resource == Resource::SoftwareUpdate => {
                let mut response = render(site, self.resource, &self.request);
                if response.code == Code::CONTENT {
                    response.code = Code::CHANGED;
                }
                response
            }
            // The model of pstat: 204, no payload.
            None => Response::new(Code::CHANGED),
        }
    }

    /// The answer when the new state could not be kept.
    pub fn not_durable() -> Response {
        let text = "the device could not store this; nothing has changed";
        Response::diagnostic(Code::INTERNAL_SERVER_ERROR, text)
    }
}

#[cfg(test)]
mod tests;
