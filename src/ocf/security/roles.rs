//! `oic.r.roles`: what a peer may be beside itself, for as long as its session stands.

use ciborium::Value;
use serde::{Deserialize, Serialize};

use super::read;
use crate::coap::Request;
use crate::ocf::body::{self, Fault};
use crate::ocf::representation::{Names, common};
use crate::ocf::resource::Resource;

/// Longest name of a role or an authority, bytes.
const ROLE_BYTES_MAX: usize = 64;

/// Roles that one session may have.
pub const ROLES_MAX: usize = 8;

/// Longest chain of a role certificate, bytes (the model of cred).
const CHAIN_BYTES_MAX: usize = 3072;

/// A role and who gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Role {
    /// `role`.
    #[serde(rename = "role")]
    pub name: String,
    /// `authority`; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub authority: String,
}

impl Role {
    /// The role that may do everything (OCF Security 10.4.2).
    pub(super) fn is_owner(&self) -> bool {
        self.name == "oic.role.owner"
    }

    pub(super) fn text(name: &str, value: Value) -> Result<String, Fault> {
        read::short_text(name, value, ROLE_BYTES_MAX)
    }

    /// `roleid` of a credential.
    pub(super) fn read(value: Value) -> Result<Self, Fault> {
        let mut role = Self { name: String::new(), authority: String::new() };
        for (name, value) in body::properties(value)? {
            match &*name {
                "role" => role.name = Self::text("role", value)?,
                "authority" => role.authority = Self::text("authority", value)?,
                _ => {}
            }
        }
        if role.name.is_empty() { Err("roleid has no role".into()) } else { Ok(role) }
    }
}

/// What a peer says of its own roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleChange {
    /// It has those of these certificates: chains in PEM, the role's own certificate first. The
    /// caller has to judge them.
    Assert(Vec<String>),
    /// It gives up this one, counted from 1, or all.
    Forget(Option<usize>),
}

#[derive(Serialize)]
pub(super) struct Representation<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    rt: Names,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#if: Names,
    roles: Vec<Shown<'a>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    credid: usize,
    credtype: u8,
    subjectuuid: &'static str,
    roleid: &'a Role,
}

impl<'a> Representation<'a> {
    pub(super) fn new(roles: &'a [Role], baseline: bool) -> Self {
        let (rt, r#if) = common(Resource::Roles, baseline);
        let shown = |(n, roleid)| Shown { credid: n + 1, credtype: 8, subjectuuid: "*", roleid };
        Self { rt, r#if, roles: roles.iter().enumerate().map(shown).collect() }
    }
}

/// The certificates of a POST.
pub(super) fn read(body: &[u8]) -> Result<RoleChange, Fault> {
    let mut chains = Vec::new();
    for (name, value) in body::members(body)? {
        match &*name {
            "roles" => {
                for entry in read::array(&name, value, ROLES_MAX)? {
                    chains.push(chain(entry)?);
                }
            }
            name if read::is_common(name) => {}
            name => return Err(read::unknown(name)),
        }
    }
    Ok(RoleChange::Assert(chains))
}

/// The `credid` of a DELETE.
pub(super) fn selection(request: &Request) -> Result<RoleChange, Fault> {
    let text = request.queries().flatten().find_map(|query| query.strip_prefix("credid="));
    let number = |text: &str| text.parse().map_err(|_| String::from("credid is not a number"));
    Ok(RoleChange::Forget(text.map(number).transpose()?))
}

fn chain(value: Value) -> Result<String, Fault> {
    for (name, value) in body::properties(value)? {
        if name != "publicdata" {
            continue;
        }
        for (name, value) in body::properties(value)? {
            if name == "data" {
                return read::short_text("publicdata.data", value, CHAIN_BYTES_MAX);
            }
        }
    }
    Err("an entry of roles has no publicdata.data".into())
}
