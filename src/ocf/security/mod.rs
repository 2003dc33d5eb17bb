//! Who owns the device, whom it knows, and who may do what: OCF Security's resources as one durable
//! state.
//!
//! [`step()`] is the only way to a new state, in the manner of `update::step`: the next state and the
//! effects to carry out once that is on disk. [`permits`] is the only place that decides who may do
//! what. No keys are made here and no certificate is believed: the caller hands in what is random
//! and what a certificate turned out to be.

mod access;
mod acl2;
mod ael;
mod cred;
mod csr;
mod doxm;
mod init;
mod pstat;
mod read;
mod refusal;
mod roles;
mod sdi;
mod secret;
mod sp;
mod state;
mod step;
mod validity;

pub use access::{Access, permits};
pub use acl2::{Ace, AceResource, AceSubject, Acl, ConnectionType, Wildcard};
pub use ael::{AuditLog, Category, Event};
pub use cred::{CredSubject, Credential, Credentials, Usage};
pub use doxm::{Doxm, Method};
pub use init::resume;
pub use pstat::OnboardingState;
pub use refusal::Refusal;
pub use roles::{ROLES_MAX, Role, RoleChange};
pub use sdi::SecurityDomain;
pub use secret::Secret;
pub use state::{Fresh, Security};
pub use step::{Change, Effect, Input, Rules, Step, World, Write, step};

pub(super) use doxm::matches_query;
pub(super) use pstat::{Update as StateUpdate, state_bits};
pub(super) use read::uuid;

use super::body::Fault;
use super::resource::Resource;
use crate::coap::{Code, Request};

/// What a POST or DELETE asks for, read from its body and queries.
///
/// # Errors
///
/// Words for the diagnostic payload.
pub(super) fn read_change(resource: Resource, request: &Request) -> Result<Change, Fault> {
    let body = &request.payload;
    let deletes = request.code == Code::DELETE;
    Ok(match resource {
        Resource::OwnerTransfer => Change::Doxm(doxm::Update::read(body)?),
        Resource::Credentials if deletes => Change::DeleteCred(cred::Selection::read(request)?),
        Resource::Credentials => Change::Cred(cred::Update::read(body)?),
        Resource::AccessControl if deletes => Change::DeleteAcl2(acl2::selection(request)?),
        Resource::AccessControl => Change::Acl2(acl2::Update::read(body)?),
        Resource::SecurityProfile => Change::Sp(sp::Update::read(body)?),
        Resource::SecurityDomain => Change::Sdi(sdi::Update::read(body)?),
        Resource::AuditLog => Change::Ael(ael::Update::read(body)?),
        _ => return Err("this resource cannot be written".into()),
    })
}

/// What a POST or DELETE to roles asks for.
pub(super) fn read_roles(request: &Request) -> Result<RoleChange, Fault> {
    if request.code == Code::DELETE {
        roles::selection(request)
    } else {
        roles::read(&request.payload)
    }
}

/// The representation of a security resource other than pstat; `None` for what is none.
pub(super) fn represented(
    state: &Security,
    rules: &Rules,
    resource: Resource,
    request: &Request,
    own: &[Role],
    orders: &[Event],
    baseline: bool,
) -> Result<Option<Vec<u8>>, Refusal> {
    use super::body::encoded;
    Ok(Some(match resource {
        Resource::OwnerTransfer => encoded(&doxm::Representation::new(state, rules, baseline)),
        Resource::Credentials => {
            let wanted = cred::Selection::read(request).map_err(Refusal::Malformed)?;
            encoded(&cred::Representation::new(&state.cred, wanted, baseline))
        }
        Resource::AccessControl => {
            let wanted = acl2::selection(request).map_err(Refusal::Malformed)?;
            encoded(&acl2::Representation::new(&state.acl2, wanted, baseline))
        }
        Resource::SecurityProfile => encoded(&sp::Representation::new(baseline)),
        Resource::SecurityDomain => encoded(&sdi::Representation::new(&state.sdi, baseline)),
        Resource::AuditLog => encoded(&ael::Representation::new(&state.ael, orders, baseline)),
        Resource::CertificateRequest => encoded(&csr::Representation::new(state, baseline)?),
        Resource::Roles => encoded(&roles::Representation::new(own, baseline)),
        _ => return Ok(None),
    }))
}
