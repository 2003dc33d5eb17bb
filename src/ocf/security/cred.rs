//! `oic.r.cred`: whom the device knows, and by what.

use ciborium::Value;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::step::{World, Write};
use super::validity::Period;
use super::{OnboardingState, Refusal, Role, Secret, Security, read};
use crate::coap::Request;
use crate::ocf::body::{self, Fault};
use crate::ocf::representation::{Names, common, uuid};
use crate::ocf::resource::Resource;

/// Credentials kept. A device has an owner, some clients and one or two chains.
pub(super) const CREDENTIALS_MAX: usize = 32;

/// Longest key or chain, bytes (the model).
const DATA_BYTES_MAX: usize = 3072;

/// Shortest and longest shared key, bytes. OCF's have 16.
const SHARED_KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

/// `credtype`: symmetric pair-wise key.
pub(super) const PAIRWISE: u16 = 1;
/// `credtype`: certificate.
pub(super) const CERTIFICATE: u16 = 8;

/// The durable part of cred.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// `rowneruuid`.
    pub owner: Uuid,
    /// `creds`.
    pub entries: Vec<Credential>,
}

/// One credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// `credid`, 1 or more.
    pub id: u32,
    /// `credtype`: 1, a shared key, or 8, a certificate.
    pub kind: u16,
    /// `subjectuuid`.
    pub subject: CredSubject,
    /// `credusage`, of a certificate.
    pub usage: Option<Usage>,
    /// `privatedata.data`: the shared key, or the key of a certificate that is not the device's own.
    pub private: Secret,
    /// `publicdata.data`: the chain, PEM, empty for a shared key.
    pub public: String,
    /// `roleid`: what the one with the shared key may be beside itself.
    pub role: Option<Role>,
    /// `period`: when it holds; always, if there is none.
    pub period: Option<Period>,
}

/// `subjectuuid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CredSubject {
    /// `*`.
    Any,
    /// This one.
    Uuid(Uuid),
}

/// `credusage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Usage {
    /// Vouches for others.
    TrustAnchor,
    /// Says who the device is.
    Identity,
    /// Says what the device may be.
    Role,
    /// Vouches for manufacturers.
    ManufacturerTrustAnchor,
    /// Says where the device comes from.
    Manufacturer,
}

impl Usage {
    const WORDS: [(Self, &'static str); 5] = [
        (Self::TrustAnchor, "oic.sec.cred.trustca"),
        (Self::Identity, "oic.sec.cred.cert"),
        (Self::Role, "oic.sec.cred.rolecert"),
        (Self::ManufacturerTrustAnchor, "oic.sec.cred.mfgtrustca"),
        (Self::Manufacturer, "oic.sec.cred.mfgcert"),
    ];

    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(usage, _)| *usage == self).map_or("", |(_, word)| word)
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, other)| *other == word).map(|(usage, _)| *usage)
    }

    /// Whether it needs a private key on the device.
    fn is_own(self) -> bool {
        matches!(self, Self::Identity | Self::Role | Self::Manufacturer)
    }
}

impl Credentials {
    /// Whether there is a credential for this one.
    pub(super) fn has_subject(&self, subject: Uuid) -> bool {
        self.entries.iter().any(|entry| entry.subject == CredSubject::Uuid(subject))
    }

    /// The credentials that hold now.
    pub fn holding(
        &self,
        wall: chrono::DateTime<chrono::Utc>,
    ) -> impl Iterator<Item = &Credential> {
        self.entries.iter().filter(move |entry| entry.holds(wall))
    }

    /// The shared keys that hold now: whose, and what.
    pub fn shared_keys(
        &self,
        wall: chrono::DateTime<chrono::Utc>,
    ) -> impl Iterator<Item = (Uuid, &Credential)> {
        self.holding(wall).filter_map(|entry| match entry.subject {
            CredSubject::Uuid(subject) if entry.kind == PAIRWISE => Some((subject, entry)),
            _ => None,
        })
    }

    /// The certificates with this usage that hold now.
    pub fn certificates(
        &self,
        usage: Usage,
        wall: chrono::DateTime<chrono::Utc>,
    ) -> impl Iterator<Item = &Credential> {
        self.holding(wall)
            .filter(move |entry| entry.kind == CERTIFICATE && entry.usage == Some(usage))
    }

    /// The roles that come with the shared keys of this one.
    pub(super) fn roles_of(
        &self,
        subject: Uuid,
        wall: chrono::DateTime<chrono::Utc>,
    ) -> impl Iterator<Item = &Role> {
        self.entries
            .iter()
            .filter(move |entry| {
                entry.kind == PAIRWISE
                    && entry.subject == CredSubject::Uuid(subject)
                    && entry.holds(wall)
            })
            .filter_map(|entry| entry.role.as_ref())
    }

    /// Adds an entry, or replaces the one that it stands for.
    fn put(&mut self, mut entry: Credential) -> Result<(), Refusal> {
        if entry.id == 0 {
            // A new shared key for the same peer takes the place of the old one; a certificate that
            // is here already is not kept twice.
            let known = self.entries.iter().find(|other| {
                other.kind == entry.kind
                    && other.subject == entry.subject
                    && other.usage == entry.usage
                    && other.public == entry.public
            });
            let used = |id: u32| self.entries.iter().any(|other| other.id == id);
            let free = || (1..).find(|id| !used(*id)).expect("there are more numbers than entries");
            entry.id = known.map_or_else(free, |known| known.id);
        }
        let count = self.entries.len();
        match self.entries.iter_mut().find(|other| other.id == entry.id) {
            Some(known) => *known = entry,
            None if count >= CREDENTIALS_MAX => {
                return Err(Refusal::Full { what: "credentials", max: CREDENTIALS_MAX });
            }
            None => self.entries.push(entry),
        }
        Ok(())
    }

    /// Removes what is selected.
    pub(super) fn remove(&mut self, selection: Selection) -> Result<(), Refusal> {
        let before = self.entries.len();
        self.entries.retain(|entry| !selection.has(entry));
        let none = self.entries.len() == before && selection != Selection::default();
        if none { Err(Refusal::Absent) } else { Ok(()) }
    }
}

impl Credential {
    fn holds(&self, wall: chrono::DateTime<chrono::Utc>) -> bool {
        self.period.as_ref().is_none_or(|period| period.contains(wall))
    }
}

/// Which entries a request is about: those that fit all that it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    id: Option<u32>,
    subject: Option<CredSubject>,
}

impl Selection {
    pub(super) fn read(request: &Request) -> Result<Self, Fault> {
        let mut selection = Self::default();
        for (name, value) in request.queries().flatten().filter_map(|text| text.split_once('=')) {
            match name {
                "credid" => {
                    selection.id = Some(value.parse().map_err(|_| "credid is not a number")?);
                }
                "subjectuuid" => selection.subject = Some(subject(value.into())?),
                _ => {}
            }
        }
        Ok(selection)
    }

    fn has(self, entry: &Credential) -> bool {
        self.id.is_none_or(|id| entry.id == id)
            && self.subject.is_none_or(|subject| entry.subject == subject)
    }
}

// ── representation ────────────────────────────────────────────────────────────────────────────────

#[derive(Serialize)]
pub(super) struct Representation<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    rt: Names,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#if: Names,
    creds: Vec<Shown<'a>>,
    #[serde(rename = "rowneruuid", serialize_with = "uuid")]
    owner: Uuid,
}

#[derive(Serialize)]
struct Shown<'a> {
    credid: u32,
    credtype: u16,
    subjectuuid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    credusage: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    privatedata: Option<Data<'static>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    publicdata: Option<Data<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roleid: Option<&'a Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<&'a Period>,
}

#[derive(Serialize)]
struct Data<'a> {
    data: &'a str,
    encoding: &'static str,
}

/// A private key is never shown; that there is one is.
const HIDDEN: Data<'static> = Data { data: "", encoding: RAW };
const RAW: &str = "oic.sec.encoding.raw";
const PEM: &str = "oic.sec.encoding.pem";

impl<'a> Representation<'a> {
    pub(super) fn new(cred: &'a Credentials, wanted: Selection, baseline: bool) -> Self {
        let (rt, r#if) = common(Resource::Credentials, baseline);
        let shown = cred.entries.iter().filter(|entry| wanted.has(entry)).map(Shown::new);
        Self { rt, r#if, creds: shown.collect(), owner: cred.owner }
    }
}

impl<'a> Shown<'a> {
    fn new(entry: &'a Credential) -> Self {
        let public = (!entry.public.is_empty()).then_some(&*entry.public);
        Self {
            credid: entry.id,
            credtype: entry.kind,
            subjectuuid: match entry.subject {
                CredSubject::Any => "*".into(),
                CredSubject::Uuid(uuid) => uuid.to_string(),
            },
            credusage: entry.usage.map(Usage::word),
            privatedata: (!entry.private.is_empty()).then_some(HIDDEN),
            publicdata: public.map(|data| Data { data, encoding: PEM }),
            roleid: entry.role.as_ref(),
            period: entry.period.as_ref(),
        }
    }
}

// ── changes ───────────────────────────────────────────────────────────────────────────────────────

/// What a POST changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    owner: Option<Uuid>,
    /// Entries; those without an id (0) get one.
    entries: Option<Vec<Credential>>,
}

impl Update {
    pub(super) fn read(body: &[u8]) -> Result<Self, Fault> {
        let mut update = Self::default();
        for (name, value) in body::members(body)? {
            match &*name {
                "rowneruuid" => update.owner = Some(read::uuid(&name, value)?),
                "creds" => {
                    let entries = read::array(&name, value, CREDENTIALS_MAX)?;
                    let entries = entries.into_iter().map(credential);
                    update.entries = Some(entries.collect::<Result<_, _>>()?);
                }
                name if read::is_common(name) => {}
                name => return Err(read::unknown(name)),
            }
        }
        Ok(update)
    }

    pub(super) fn apply(
        self,
        next: &mut Security,
        write: &Write,
        world: &World<'_>,
    ) -> Result<(), Refusal> {
        if let Some(owner) = self.owner {
            next.resource_owner_is_writable(write)?;
            next.cred.owner = owner;
        }
        let Some(entries) = self.entries else { return Ok(()) };
        if !next.onboarding.is_provisioning() {
            let text = "creds are written in RFOTM, RFPRO and SRESET";
            return Err(Refusal::WrongState(text.into()));
        }
        for mut entry in entries {
            if entry.kind == PAIRWISE {
                complete_shared_key(&mut entry, next, write, world)?;
            } else {
                check_certificate(&entry, next, world)?;
            }
            next.cred.put(entry)?;
        }
        Ok(())
    }
}

/// An empty key means: derive the owner's key from this session (OCF Security 7.3.2).
fn complete_shared_key(
    entry: &mut Credential,
    next: &Security,
    write: &Write,
    world: &World<'_>,
) -> Result<(), Refusal> {
    let malformed = |text: &str| Err(Refusal::Malformed(text.into()));
    let CredSubject::Uuid(subject) = entry.subject else {
        return malformed("a shared key needs a subjectuuid");
    };
    if entry.private.is_empty() {
        let transfer = next.onboarding == OnboardingState::Rfotm && write.onboarding;
        if !transfer || subject.is_nil() || subject != next.doxm.owner {
            return malformed(
                "an empty key is derived in RFOTM only, for devowneruuid, inside the secure session",
            );
        }
        entry.private = (world.owner_key)(subject, next.doxm.device)
            .ok_or_else(|| Refusal::WrongState("no key can be derived from this session".into()))?;
    }
    if !SHARED_KEY_BYTES.contains(&entry.private.expose().len()) {
        return malformed("a shared key has 16 to 64 bytes");
    }
    Ok(())
}

fn check_certificate(
    entry: &Credential,
    next: &Security,
    world: &World<'_>,
) -> Result<(), Refusal> {
    let malformed = |text: &str| Err(Refusal::Malformed(text.into()));
    let Some(usage) = entry.usage else { return malformed("a certificate needs a credusage") };
    if entry.public.is_empty() {
        return malformed("a certificate needs publicdata");
    }
    let key = if entry.private.is_empty() { &next.key } else { &entry.private };
    let key = usage.is_own().then(|| key.expose());
    (world.certificate)(&entry.public, key).map_err(Refusal::Malformed)
}

/// One credential. Members that are not known are passed over.
fn credential(value: Value) -> Result<Credential, Fault> {
    let mut kind = None;
    let mut subject_of = None;
    let mut entry = Credential {
        id: 0,
        kind: 0,
        subject: CredSubject::Any,
        usage: None,
        private: Secret::default(),
        public: String::new(),
        role: None,
        period: None,
    };
    for (name, value) in body::properties(value)? {
        match &*name {
            "credid" => entry.id = read::number(&name, &value)?,
            "credtype" => kind = Some(read::number(&name, &value)?),
            "subjectuuid" => subject_of = Some(subject(read::text(&name, value)?)?),
            "credusage" => entry.usage = Usage::from_word(&read::text(&name, value)?),
            "privatedata" => entry.private = Secret::new(data("privatedata", value)?),
            "publicdata" => {
                entry.public = String::from_utf8(data("publicdata", value)?)
                    .map_err(|_| "publicdata is not PEM")?;
            }
            "roleid" => entry.role = Some(Role::read(value)?),
            "period" => entry.period = Some(Period::read(&read::text(&name, value)?)?),
            _ => {}
        }
    }
    entry.kind = match kind.ok_or("a credential has no credtype")? {
        kind @ (PAIRWISE | CERTIFICATE) => kind,
        other => return Err(format!("credtype {other} is none of those in doxm.sct")),
    };
    entry.subject = subject_of.ok_or("a credential has no subjectuuid")?;
    if entry.kind == PAIRWISE {
        entry.usage = None;
        entry.public.clear();
    }
    Ok(entry)
}

fn subject(text: String) -> Result<CredSubject, Fault> {
    if text == "*" {
        return Ok(CredSubject::Any);
    }
    read::uuid("subjectuuid", Value::Text(text)).map(CredSubject::Uuid)
}

/// `data` of privatedata or publicdata, whatever member comes first. Keys are raw, chains PEM.
fn data(name: &str, value: Value) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    for (member, value) in body::properties(value)? {
        match (&*member, value) {
            ("data", Value::Bytes(data)) => bytes = data,
            ("data", Value::Text(mut data)) => {
                data.truncate(data.trim_end_matches('\0').len());
                bytes = data.into_bytes();
            }
            ("data", _) => return Err(format!("{name}.data is neither a text nor bytes")),
            ("encoding", Value::Text(word))
                if [RAW, PEM].contains(&word.trim_end_matches('\0')) => {}
            ("encoding", _) => {
                return Err(format!("{name}.encoding has to be {RAW} or {PEM}"));
            }
            _ => {}
        }
    }
    if bytes.len() > DATA_BYTES_MAX {
        return Err(format!("{name}.data is longer than {DATA_BYTES_MAX} bytes"));
    }
    Ok(bytes)
}
