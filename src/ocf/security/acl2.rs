//! `oic.r.acl2`: who may do what.

use ciborium::Value;
use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use super::validity::Validity;
use super::{OnboardingState, Refusal, Role, Security, read};
use crate::coap::Request;
use crate::ocf::body::{self, Fault};
use crate::ocf::representation::{Names, common, uuid as as_text};
use crate::ocf::resource::Resource;

/// Entries of the access control list. Tools write about one for each client and a handful of their
/// own.
pub(super) const ACES_MAX: usize = 64;

/// Resources that one entry may name. A device has fewer.
const ACE_RESOURCES_MAX: usize = 32;

/// Times at which one entry may hold.
const ACE_VALIDITIES_MAX: usize = 4;

/// Longest `href`, bytes (the model).
const HREF_BYTES_MAX: usize = 256;

/// All `href`s of the list together, bytes: so that the record stays small.
const HREFS_BYTES_MAX: usize = 32 * 1024;

/// The durable part of acl2.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acl {
    /// `rowneruuid`.
    pub owner: Uuid,
    /// `aclist2`.
    pub entries: Vec<Ace>,
}

/// One access control entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ace {
    /// `aceid`, 1 or more.
    pub id: u32,
    /// Whom it is for.
    pub subject: AceSubject,
    /// What it is about; none is legal and gives nothing.
    pub resources: Vec<AceResource>,
    /// What may be done: the bits of [`permission`].
    pub permission: u8,
    /// When; always, if there is none.
    pub validity: Vec<Validity>,
}

/// The bits of `permission` (OCF Security 13.5).
pub(super) mod permission {
    pub(crate) const CREATE: u8 = 1;
    pub(crate) const READ: u8 = 2;
    pub(crate) const WRITE: u8 = 4;
    pub(crate) const DELETE: u8 = 8;
    pub(crate) const NOTIFY: u8 = 16;
    pub(crate) const ALL: u8 = 31;
}

/// Whom an entry is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AceSubject {
    /// One device or user.
    Uuid(Uuid),
    /// Whoever has this role.
    Role(Role),
    /// Whoever comes by such a connection.
    Connection(ConnectionType),
}

/// `conntype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConnectionType {
    /// `auth-crypt`: any secure session.
    AuthCrypt,
    /// `anon-clear`: in clear; it holds for secure sessions too.
    AnonClear,
}

/// What an entry is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AceResource {
    /// One resource.
    Href(String),
    /// Many; never the device's own configuration.
    Wildcard(Wildcard),
}

/// `wc`. The model's descriptions are outdated; this is the text's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wildcard {
    /// `+`: discoverable ones with a secure endpoint.
    Secure,
    /// `-`: discoverable ones with an endpoint in clear.
    Clear,
    /// `*`: all.
    All,
}

// ── representation ────────────────────────────────────────────────────────────────────────────────

#[derive(Serialize)]
pub(super) struct Representation<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    rt: Names,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#if: Names,
    aclist2: Vec<Shown<'a>>,
    #[serde(rename = "rowneruuid", serialize_with = "as_text")]
    owner: Uuid,
}

#[derive(Serialize)]
struct Shown<'a> {
    subject: ShownSubject<'a>,
    resources: Vec<ShownResource<'a>>,
    permission: u8,
    aceid: u32,
    #[serde(skip_serializing_if = "<[Validity]>::is_empty")]
    validity: &'a [Validity],
}

#[derive(Serialize)]
#[serde(untagged)]
enum ShownSubject<'a> {
    Uuid {
        #[serde(serialize_with = "as_text")]
        uuid: Uuid,
    },
    Role(&'a Role),
    Connection {
        conntype: ShownConnection,
    },
}

struct ShownConnection(ConnectionType);

impl Serialize for ShownConnection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self.0 {
            ConnectionType::AuthCrypt => "auth-crypt",
            ConnectionType::AnonClear => "anon-clear",
        })
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum ShownResource<'a> {
    Href { href: &'a str },
    Wildcard { wc: &'static str },
}

impl<'a> Representation<'a> {
    pub(super) fn new(acl: &'a Acl, wanted: Option<u32>, baseline: bool) -> Self {
        let (rt, r#if) = common(Resource::AccessControl, baseline);
        let shown = acl.entries.iter().filter(|ace| wanted.is_none_or(|id| ace.id == id));
        Self { rt, r#if, aclist2: shown.map(Shown::new).collect(), owner: acl.owner }
    }
}

impl<'a> Shown<'a> {
    fn new(ace: &'a Ace) -> Self {
        let resources = ace.resources.iter().map(|resource| match resource {
            AceResource::Href(href) => ShownResource::Href { href },
            AceResource::Wildcard(wildcard) => ShownResource::Wildcard {
                wc: match wildcard {
                    Wildcard::Secure => "+",
                    Wildcard::Clear => "-",
                    Wildcard::All => "*",
                },
            },
        });
        Self {
            subject: match &ace.subject {
                AceSubject::Uuid(uuid) => ShownSubject::Uuid { uuid: *uuid },
                AceSubject::Role(role) => ShownSubject::Role(role),
                AceSubject::Connection(kind) => {
                    ShownSubject::Connection { conntype: ShownConnection(*kind) }
                }
            },
            resources: resources.collect(),
            permission: ace.permission,
            aceid: ace.id,
            validity: &ace.validity,
        }
    }
}

// ── changes ───────────────────────────────────────────────────────────────────────────────────────

/// What a POST changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    owner: Option<Uuid>,
    /// Entries; those without an id (0) get one.
    entries: Option<Vec<Ace>>,
}

impl Update {
    pub(super) fn read(body: &[u8]) -> Result<Self, Fault> {
        let mut update = Self::default();
        for (name, value) in body::members(body)? {
            match &*name {
                "rowneruuid" => update.owner = Some(read::uuid(&name, value)?),
                "aclist2" => {
                    let entries = read::array(&name, value, ACES_MAX)?.into_iter().map(ace);
                    update.entries = Some(entries.collect::<Result<_, _>>()?);
                }
                name if read::is_common(name) => {}
                name => return Err(read::unknown(name)),
            }
        }
        Ok(update)
    }

    pub(super) fn apply(self, next: &mut Security, write: &super::Write) -> Result<(), Refusal> {
        if let Some(owner) = self.owner {
            next.resource_owner_is_writable(write)?;
            next.acl2.owner = owner;
        }
        let Some(entries) = self.entries else { return Ok(()) };
        if !next.onboarding.is_provisioning() {
            let text = "aclist2 is written in RFOTM, RFPRO and SRESET";
            return Err(Refusal::WrongState(text.into()));
        }
        for entry in entries {
            next.acl2.put(entry)?;
        }
        Ok(())
    }
}

impl Acl {
    fn put(&mut self, mut entry: Ace) -> Result<(), Refusal> {
        if entry.id == 0 {
            let same = |other: &&mut Ace| {
                other.subject == entry.subject
                    && other.resources == entry.resources
                    && other.validity == entry.validity
            };
            // The same entry once more says nothing new; with other permissions it adds them.
            if let Some(same) = self.entries.iter_mut().find(same) {
                same.permission |= entry.permission;
                return Ok(());
            }
            let used = |id: u32| self.entries.iter().any(|other| other.id == id);
            entry.id = (1..).find(|id| !used(*id)).expect("there are more numbers than entries");
        }
        let count = self.entries.len();
        match self.entries.iter_mut().find(|other| other.id == entry.id) {
            Some(known) => *known = entry,
            None if count >= ACES_MAX => {
                return Err(Refusal::Full { what: "access control entries", max: ACES_MAX });
            }
            None => self.entries.push(entry),
        }
        let hrefs = self.entries.iter().flat_map(|ace| &ace.resources).map(|one| match one {
            AceResource::Href(href) => href.len(),
            AceResource::Wildcard(_) => 1,
        });
        if hrefs.sum::<usize>() > HREFS_BYTES_MAX {
            return Err(Refusal::Full { what: "bytes of hrefs", max: HREFS_BYTES_MAX });
        }
        Ok(())
    }

    /// Removes one entry, or all.
    pub(super) fn remove(&mut self, id: Option<u32>) -> Result<(), Refusal> {
        let before = self.entries.len();
        self.entries.retain(|ace| id.is_some_and(|id| ace.id != id));
        if id.is_some() && self.entries.len() == before { Err(Refusal::Absent) } else { Ok(()) }
    }
}

/// Whether entries may be removed now.
pub(super) fn may_remove(state: OnboardingState) -> Result<(), Refusal> {
    if state.is_provisioning() {
        return Ok(());
    }
    Err(Refusal::Forbidden("entries are removed in RFOTM, RFPRO and SRESET".into()))
}

/// The `aceid` that a query names.
pub(super) fn selection(request: &Request) -> Result<Option<u32>, Fault> {
    let text = request.queries().flatten().find_map(|query| query.strip_prefix("aceid="));
    let number = |text: &str| text.parse().map_err(|_| String::from("aceid is not a number"));
    text.map(number).transpose()
}

/// One entry. Members that are not known are passed over: tools have some of their own.
fn ace(value: Value) -> Result<Ace, Fault> {
    let mut found = (None, None);
    let mut entry = Ace {
        id: 0,
        subject: AceSubject::Uuid(Uuid::nil()),
        resources: vec![],
        permission: 0,
        validity: vec![],
    };
    for (name, value) in body::properties(value)? {
        match &*name {
            "aceid" => entry.id = read::number(&name, &value)?,
            "subject" => found.0 = Some(subject(value)?),
            "permission" => found.1 = Some(read::number::<u8>(&name, &value)?),
            "resources" => {
                let list = read::array(&name, value, ACE_RESOURCES_MAX)?;
                for value in list {
                    entry.resources.extend(resource(value)?);
                }
            }
            "validity" => {
                let list = read::array(&name, value, ACE_VALIDITIES_MAX)?.into_iter();
                entry.validity = list.map(Validity::read).collect::<Result<_, _>>()?;
            }
            _ => {}
        }
    }
    entry.subject = found.0.ok_or("an entry has no subject")?;
    entry.permission = found.1.ok_or("an entry has no permission")?;
    if entry.permission > permission::ALL {
        return Err("permission is more than 31".into());
    }
    Ok(entry)
}

fn subject(value: Value) -> Result<AceSubject, Fault> {
    let mut role: (Option<String>, String) = (None, String::new());
    let mut found = None;
    let mut kinds = 0;
    for (name, value) in body::properties(value)? {
        match &*name {
            "uuid" => found = Some(AceSubject::Uuid(read::uuid("subject.uuid", value)?)),
            "conntype" => {
                found = Some(AceSubject::Connection(match &*read::text("conntype", value)? {
                    "auth-crypt" => ConnectionType::AuthCrypt,
                    "anon-clear" => ConnectionType::AnonClear,
                    _ => return Err("conntype is neither auth-crypt nor anon-clear".into()),
                }));
            }
            "role" => role.0 = Some(Role::text("role", value)?),
            "authority" => {
                role.1 = Role::text("authority", value)?;
                continue;
            }
            _ => continue,
        }
        kinds += 1;
    }
    if let (Some(name), authority) = role {
        found = Some(AceSubject::Role(Role { name, authority }));
    }
    match (found, kinds) {
        (Some(subject), 1) => Ok(subject),
        _ => Err("subject has to be one of uuid, role and conntype".into()),
    }
}

/// A resource of an entry; none for one that names nothing.
fn resource(value: Value) -> Result<Option<AceResource>, Fault> {
    let mut found = None;
    for (name, value) in body::properties(value)? {
        let resource = match &*name {
            "href" => AceResource::Href(read::short_text(&name, value, HREF_BYTES_MAX)?),
            "wc" => AceResource::Wildcard(match &*read::text(&name, value)? {
                "+" => Wildcard::Secure,
                "-" => Wildcard::Clear,
                "*" => Wildcard::All,
                _ => return Err("wc is not one of +, - and *".into()),
            }),
            // `if`, `rt` and the like are left from OIC 1.x.
            _ => continue,
        };
        if found.replace(resource).is_some() {
            return Err("a resource has either href or wc".into());
        }
    }
    Ok(found)
}
