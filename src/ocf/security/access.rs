//! Who may do what (OCF Security 12.2): one function, no state of its own.

use chrono::{DateTime, Utc};

use super::acl2::permission;
use super::{Ace, AceResource, AceSubject, ConnectionType, OnboardingState, Security, Wildcard};
use crate::coap::Code;
use crate::ocf::Subject;
use crate::ocf::resource::Resource;

/// A request, as far as access depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// Who asks.
    pub subject: &'a Subject,
    /// What it is about.
    pub resource: Resource,
    /// Where that is.
    pub href: &'a str,
    /// The method.
    pub method: Code,
}

/// Whether this may be done. The first rule that has an answer wins.
///
/// `connected`: an onboarding connection stands.
pub fn permits(
    state: &Security,
    connected: bool,
    access: &Access<'_>,
    wall: DateTime<Utc>,
) -> bool {
    let Access { subject, resource, method, .. } = *access;
    let clear = *subject == Subject::Anonymous;
    let transfer = state.onboarding == OnboardingState::Rfotm;
    let reads = method == Code::GET;
    let configures = resource.is_configuration();
    let announces = matches!(resource, Resource::Discovery | Resource::Device | Resource::Platform);
    if let Subject::Known(_) = subject {
        return known_before_ownership(state, resource, reads);
    }
    if reads && resource == Resource::WellKnownCore {
        return true;
    }
    // While one onboards the device, all others wait.
    if transfer && clear && connected {
        return false;
    }
    if state.onboarding != OnboardingState::Rfnop && !configures {
        return false;
    }
    if resource.is_secured() && clear {
        return false;
    }
    if *subject == Subject::Onboarding
        && matches!(state.onboarding, OnboardingState::Rfotm | OnboardingState::Rfpro)
    {
        return configures;
    }
    if transfer {
        // Nobody owns the device: what it takes to begin, and nothing else.
        return (reads && announces)
            || clear && resource == Resource::OwnerTransfer
            || clear && reads && resource == Resource::ProvisioningStatus;
    }
    if clear && resource.is_security() {
        return false;
    }
    if owns(state, subject, resource) {
        return true;
    }
    if resource == Resource::Roles && !clear {
        return true;
    }
    let needs = match method {
        Code::GET => permission::READ | permission::NOTIFY,
        Code::POST | Code::PUT => permission::CREATE | permission::WRITE,
        Code::DELETE => permission::DELETE,
        _ => 0,
    };
    granted(state, access, wall) & needs != 0
}

/// Those whom the configuration names, for as long as nobody owns the device: everything but
/// ownership itself.
fn known_before_ownership(state: &Security, resource: Resource, reads: bool) -> bool {
    let ownership = resource.is_security() && resource != Resource::ProvisioningStatus;
    !state.doxm.owned && (!ownership || (reads && resource == Resource::OwnerTransfer))
}

/// The `rowneruuid` of a resource may do everything with it.
fn owns(state: &Security, subject: &Subject, resource: Resource) -> bool {
    let owner = match resource {
        Resource::OwnerTransfer => state.doxm.resource_owner,
        Resource::ProvisioningStatus => state.pstat_owner,
        Resource::Credentials => state.cred.owner,
        Resource::AccessControl => state.acl2.owner,
        _ => return false,
    };
    matches!(subject, Subject::Peer(peer) if peer.uuid == owner && !owner.is_nil())
}

/// The permissions of all entries that fit.
fn granted(state: &Security, access: &Access<'_>, wall: DateTime<Utc>) -> u8 {
    if is_owner_by_role(state, access.subject, wall) {
        return permission::ALL;
    }
    state
        .acl2
        .entries
        .iter()
        .filter(|ace| ace.validity.is_empty() || ace.validity.iter().any(|time| time.holds(wall)))
        .filter(|ace| names_subject(state, ace, access, wall) && names_resource(ace, access))
        .fold(0, |sum, ace| sum | ace.permission)
}

fn is_owner_by_role(state: &Security, subject: &Subject, wall: DateTime<Utc>) -> bool {
    let Subject::Peer(peer) = subject else { return false };
    peer.roles.iter().any(super::Role::is_owner)
        || peer.by_key && state.cred.roles_of(peer.uuid, wall).any(super::Role::is_owner)
}

fn names_subject(state: &Security, ace: &Ace, access: &Access<'_>, wall: DateTime<Utc>) -> bool {
    match (&ace.subject, access.subject) {
        (AceSubject::Uuid(uuid), Subject::Peer(peer)) => *uuid == peer.uuid,
        (AceSubject::Role(role), Subject::Peer(peer)) => {
            peer.roles.contains(role)
                || peer.by_key && state.cred.roles_of(peer.uuid, wall).any(|own| own == role)
        }
        // Connection types are no way to the security resources.
        (AceSubject::Connection(_), _) if access.resource.is_security() => false,
        (AceSubject::Connection(ConnectionType::AnonClear), _) => true,
        (AceSubject::Connection(ConnectionType::AuthCrypt), subject) => {
            matches!(subject, Subject::Peer(_))
        }
        _ => false,
    }
}

fn names_resource(ace: &Ace, access: &Access<'_>) -> bool {
    let resource = access.resource;
    ace.resources.iter().any(|named| match named {
        AceResource::Href(href) => href == access.href,
        AceResource::Wildcard(_) if resource.is_configuration() => false,
        AceResource::Wildcard(Wildcard::All) => true,
        AceResource::Wildcard(Wildcard::Secure) => resource.is_discoverable(),
        AceResource::Wildcard(Wildcard::Clear) => {
            resource.is_discoverable() && !resource.is_secured()
        }
    })
}
