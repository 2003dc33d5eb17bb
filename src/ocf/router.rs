//! From a request to a resource, to who may do that, to the answer.

use super::discovery::{Device, Discovery, Platform};
use super::pstat::Start;
use super::resource::{Resource, interface};
use super::security::{self, Access, Change, OnboardingState, RoleChange, Write};
use super::site::{Guard, Site, Subject};
use super::{body, discovery, introspection, orders, pstat, softwareupdate, status};
use crate::coap::{Code, Reception, Request, Response, option};
use crate::update::{Command, Refusal};

/// What to do with a request.
#[derive(Debug)]
pub enum Answer {
    /// Send this. With a resource, the asker may watch it.
    Reply(Response, Option<Resource>),
    /// Let the engine take the command, then send what [`Pending::done`] makes of the result.
    Order(Command, Pending),
    /// Let the security state take the write, then send what [`Pending::written`] makes of the
    /// result.
    Write(Write, Pending),
    /// Judge what the asker says of its roles, then send what [`Pending::written`] makes of that.
    Roles(RoleChange, Pending),
    /// The asker may not do this; send the response, and let the owner know of it.
    Denied(Response, Resource),
    /// An order that cannot be meant or not be taken now; the same.
    Refused(Response),
    /// Send nothing (a multicast request that is not for us).
    Silence,
}

/// An answer that waits for a step.
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

/// How long the state of a resource that can be watched is fresh, seconds (Max-Age; RFC 7641 section
/// 4.3.1). Watchers are told again, confirmably, within 60 to 96 s of this: a lost notification is made
/// up for, and a watcher that has gone is found out. The default of 60 would double that traffic; much
/// more would leave a client that follows an update in the dark for minutes.
const WATCHED_FRESH_S: u32 = 120;

/// How soon a client should ask again while the device resets, seconds.
const RESETTING_S: u32 = 2;

/// The same while somebody has to go to the device.
const LOCKED_S: u32 = 60;

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
    let resource = routed(site, &request)
        .ok_or_else(|| Response::diagnostic(Code::NOT_FOUND, "there is no such resource"))?;
    awake(site)?;
    selected_interface(resource, &request)?;
    if !allowed(site, subject, resource, request.code) {
        let denied = Response::diagnostic(Code::UNAUTHORIZED, "this is not for you");
        return Ok(Answer::Denied(denied, resource));
    }
    match request.code {
        Code::GET => {
            let response = represented_for(site, subject, resource, &request)?;
            Ok(Answer::Reply(response, resource.topic().map(|_| resource)))
        }
        Code::POST if resource == Resource::SoftwareUpdate => {
            Ok(ordered(site, subject, resource, request).unwrap_or_else(Answer::Refused))
        }
        Code::POST if resource == Resource::ProvisioningStatus => {
            Ok(provisioned(site, subject, resource, request).unwrap_or_else(Answer::Refused))
        }
        Code::POST if resource.is_writable() => written(subject, resource, request),
        Code::DELETE if resource.has_entries() => written(subject, resource, request),
        Code::POST | Code::PUT | Code::DELETE if is_read_only(resource) => {
            Err(Response::diagnostic(Code::FORBIDDEN, "this resource can only be read"))
        }
        _ => {
            Err(Response::diagnostic(Code::METHOD_NOT_ALLOWED, "this resource has no such method"))
        }
    }
}

/// While the device resets nobody is served: what they would see is about to change. Nor while it
/// cannot tell who owns it.
fn awake(site: &Site<'_>) -> Result<(), Response> {
    let (why, again) = match site.guard {
        Some(guard) if guard.locked => ("the device is locked: reset it by hand", LOCKED_S),
        Some(guard) if guard.state.onboarding == OnboardingState::Reset => {
            ("the device is resetting", RESETTING_S)
        }
        _ => return Ok(()),
    };
    let mut response = Response::diagnostic(Code::SERVICE_UNAVAILABLE, why);
    response.options.set_uint(option::MAX_AGE, again);
    Err(response)
}

fn routed(site: &Site<'_>, request: &Request) -> Option<Resource> {
    let href = &site.about.softwareupdate_href;
    Resource::ALL.into_iter().find(|resource| site.has(*resource) && resource.is_at(href, request))
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

fn allowed(site: &Site<'_>, subject: &Subject, resource: Resource, method: Code) -> bool {
    let Some(guard) = site.guard else { return true };
    let href = resource.href(&site.about.softwareupdate_href);
    let access = Access { subject, resource, href, method };
    // What has ended stays ended when the clock is put back.
    security::permits(guard.state, guard.connected, &access, site.state.time(site.now.wall))
}

/// Whether somebody may see a resource now: asked again for those who watch when access changes.
pub fn readable(site: &Site<'_>, subject: &Subject, resource: Resource) -> bool {
    awake(site).is_ok() && allowed(site, subject, resource, Code::GET)
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
    represented_for(site, &Subject::Anonymous, resource, request)
}

/// Roles show each session its own.
fn represented_for(
    site: &Site<'_>,
    subject: &Subject,
    resource: Resource,
    request: &Request,
) -> Result<Response, Response> {
    let baseline = selected_interface(resource, request)? == interface::BASELINE;
    if resource == Resource::WellKnownCore {
        return well_known_core(site, request);
    }
    let format = accepted(request)?;
    let about = site.about;
    let bytes = match resource {
        Resource::Discovery => discovered(site, request, baseline)?,
        Resource::Device => body::encoded(&Device::new(site, baseline)),
        Resource::Platform => body::encoded(&Platform::new(site, baseline)),
        Resource::Introspection => {
            // A client takes the first address that it can reach, and would be refused there.
            let clear = readable(site, &Subject::Anonymous, Resource::IntrospectionData);
            let endpoints = site.endpoints.iter().filter(|one| clear || one.starts_with("coaps:"));
            body::encoded(&introspection::Representation::new(endpoints, baseline))
        }
        Resource::IntrospectionData => {
            introspection::data(&about.softwareupdate_href, about.purl_max)
        }
        Resource::SoftwareUpdate | Resource::ProvisioningStatus | Resource::UpdateStatus => {
            watched(site, resource, baseline)
        }
        _ => guarded(site, subject, resource, request, baseline)?,
    };
    let mut response = Response::new(Code::CONTENT).with_payload(format, bytes);
    if resource.topic().is_some() {
        response.options.set_uint(option::MAX_AGE, WATCHED_FRESH_S);
    }
    Ok(versioned(response, request))
}

/// What can be watched is encoded once for all who see the same.
fn watched(site: &Site<'_>, resource: Resource, baseline: bool) -> Vec<u8> {
    let state = site.state;
    let encode = || match resource {
        Resource::ProvisioningStatus => {
            let security = site.guard.map(|guard| guard.state);
            body::encoded(&pstat::Representation::new(&state.phase, security, baseline))
        }
        Resource::UpdateStatus => {
            body::encoded(&status::Representation::new(state, site.progress, baseline))
        }
        _ => body::encoded(&softwareupdate::Representation::new(state, baseline)),
    };
    if baseline { encode() } else { site.memo.encoded(site, resource, encode) }
}

fn discovered(site: &Site<'_>, request: &Request, baseline: bool) -> Result<Vec<u8>, Response> {
    let nothing = |text: &str| Response::diagnostic(Code::BAD_REQUEST, text);
    if query(request, "sduuid").any(|domain| !discovery::is_in_domain(site, domain)) {
        return Err(nothing("this device is not in that security domain"));
    }
    let types: Vec<&str> = query(request, "rt").collect();
    let links = discovery::links(site, &types);
    if links.is_empty() {
        return Err(nothing("no resource has this type"));
    }
    Ok(if baseline { body::encoded(&Discovery::new(site, links)) } else { body::encoded(&links) })
}

/// The security resources.
fn guarded(
    site: &Site<'_>,
    subject: &Subject,
    resource: Resource,
    request: &Request,
    baseline: bool,
) -> Result<Vec<u8>, Response> {
    let nothing = || Response::diagnostic(Code::NOT_FOUND, "there is no such resource");
    let guard = site.guard.ok_or_else(nothing)?;
    if resource == Resource::OwnerTransfer && !security::matches_query(&guard.state.doxm, request) {
        let text = "this device is not in the state that is searched for";
        return Err(Response::diagnostic(Code::BAD_REQUEST, text));
    }
    let roles = match subject {
        Subject::Peer(peer) => peer.roles.as_slice(),
        _ => &[],
    };
    let orders = match resource {
        Resource::AuditLog => orders::events(&site.state.journal),
        _ => vec![],
    };
    security::represented(guard.state, guard.rules, resource, request, roles, &orders, baseline)
        .map_err(|refusal| refusal.response())?
        .ok_or_else(nothing)
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
fn readable_body(request: &Request) -> Result<(), Response> {
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

/// Adds the version option where the request shows that its client knows such options: others must drop
/// what carries a critical option that they do not know (RFC 7252 section 5.4.1), whatever they accept.
fn versioned(mut response: Response, request: &Request) -> Response {
    let knows = request.options.first(ACCEPT_VERSION).is_some();
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
    readable_body(&request)?;
    accepted(&request)?;
    may_update(site, subject)?;
    let wish = softwareupdate::command(&request.payload, site.about.purl_max, site.now)
        .map_err(refused)?;
    let command = orders::written(wish, site, subject)?;
    Ok(Answer::Order(command, Pending { resource, request }))
}

fn refused(fault: String) -> Response {
    Response::diagnostic(Code::BAD_REQUEST, fault)
}

/// A device that nobody owns yet, or that is being repaired by pstat, takes no orders to update.
fn may_update(site: &Site<'_>, subject: &Subject) -> Result<(), Response> {
    let transfer = |guard: Guard<'_>| guard.state.onboarding == OnboardingState::Rfotm;
    if site.guard.is_some_and(transfer) && !matches!(subject, Subject::Known(_)) {
        let text = "nobody owns this device yet; it takes no orders";
        return Err(Response::diagnostic(Code::FORBIDDEN, text));
    }
    Ok(())
}

/// POST pstat: it moves the security state, or starts the engine.
fn provisioned(
    site: &Site<'_>,
    subject: &Subject,
    resource: Resource,
    request: Request,
) -> Result<Answer, Response> {
    readable_body(&request)?;
    accepted(&request)?;
    let (mut update, stage) = pstat::read(&request.payload).map_err(refused)?;
    let start = match site.guard {
        None => pstat::open_start(&update, stage).map_err(refused)?,
        Some(guard) => {
            update.state = update.state.filter(|state| *state != guard.state.onboarding);
            let resets = update.state == Some(OnboardingState::Reset);
            if update != security::StateUpdate::default() {
                if stage.is_some() && !resets {
                    return Err(refused("send tm and changes of dos or rowneruuid apart".into()));
                }
                let change = Change::Pstat(update);
                return Ok(Answer::Write(write(subject, change), Pending { resource, request }));
            }
            stage.map(Start::Stage)
        }
    };
    let Some(start) = start else { return Ok(Answer::Reply(Response::new(Code::CHANGED), None)) };
    may_update(site, subject)?;
    if site.guard.is_some_and(|guard| guard.state.onboarding == OnboardingState::Sreset) {
        let text = "tm starts nothing in SRESET";
        return Err(Response::diagnostic(Code::FORBIDDEN, text));
    }
    let command = match start {
        Start::Stage(stage) => orders::started(stage, site, subject),
        Start::Reset => Command::Reset,
    };
    Ok(Answer::Order(command, Pending { resource, request }))
}

/// POST and DELETE to the other security resources.
fn written(subject: &Subject, resource: Resource, request: Request) -> Result<Answer, Response> {
    readable_body(&request)?;
    accepted(&request)?;
    if resource == Resource::Roles {
        let change = security::read_roles(&request).map_err(refused)?;
        return Ok(Answer::Roles(change, Pending { resource, request }));
    }
    let change = security::read_change(resource, &request).map_err(refused)?;
    Ok(Answer::Write(write(subject, change), Pending { resource, request }))
}

fn write(subject: &Subject, change: Change) -> Write {
    let onboarding = *subject == Subject::Onboarding;
    Write { asker: subject.to_string(), onboarding, change }
}

impl Pending {
    /// The answer, now that the engine has taken the command or refused it. `site` is that of the
    /// state after.
    pub fn done(&self, site: &Site<'_>, refusal: Option<&Refusal>) -> Response {
        match refusal {
            Some(refusal) => orders::refused(refusal),
            None if self.resource == Resource::SoftwareUpdate => {
                let mut response = render(site, self.resource, &self.request);
                if response.code == Code::CONTENT {
                    response.code = Code::CHANGED;
                    // Of use only where an answer can be kept (RFC 7252 section 5.9.1).
                    response.options.remove(option::MAX_AGE);
                }
                response
            }
            // The model of pstat: 204, no payload.
            None => Response::new(Code::CHANGED),
        }
    }

    /// The answer, now that the security state has taken the write or refused it.
    pub fn written(&self, site: &Site<'_>, refusal: Option<&security::Refusal>) -> Response {
        match refusal {
            Some(refusal) => refusal.response(),
            None if self.request.code == Code::DELETE => Response::new(Code::DELETED),
            // The model of sp has a body, those of the others have none.
            None if self.resource == Resource::SecurityProfile => {
                let mut response = render(site, self.resource, &self.request);
                response.code = Code::CHANGED;
                response
            }
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
