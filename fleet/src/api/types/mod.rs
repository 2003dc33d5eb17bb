//! What is sent and answered, one type each, also for the command line. Bodies refuse members that they
//! do not know.

mod campaigns;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use campaigns::*;

use crate::plan::words::{DeviceId, FilterLabel, PartNumber, PlanName};
use crate::server::{self, Found};
use crate::store::{self, Equipped, PackageKey};

/// Milliseconds since 1970 as text (RFC 3339, UTC).
pub fn time(millis: i64) -> String {
    let time = DateTime::<Utc>::from_timestamp_millis(millis).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn maybe_time(millis: Option<i64>) -> Option<String> {
    millis.map(time)
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    /// What stands in it.
    pub items: Vec<T>,
    /// The `cursor` of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many there are in all pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

impl<T> List<T> {
    /// A list of one page.
    pub fn whole(items: Vec<T>) -> Self {
        let total = Some(items.len() as u64);
        Self { items, next: None, total }
    }
}

/// A package's name and version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl From<PackageKey> for Key {
    fn from(key: PackageKey) -> Self {
        Self { name: key.name, version: key.version }
    }
}

/// A device to be added.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDevice {
    /// Its id, 1 to 64 bytes: a VIN, a UUID, a serial number.
    #[schema(value_type = String, min_length = 1, max_length = 64, example = "WVWZZZ1JZXW000001")]
    pub id: DeviceId,
    /// Seconds within which no second try is made to wake it.
    #[serde(default)]
    pub reconnect_interval_s: u32,
    /// Its data plan.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub plan: Option<PlanName>,
    /// Any JSON values under names, for filters.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub attributes: serde_json::Map<String, serde_json::Value>,
    /// Words, for filters.
    #[serde(default)]
    pub tags: Vec<String>,
}

impl From<NewDevice> for server::NewDevice {
    fn from(new: NewDevice) -> Self {
        let NewDevice { reconnect_interval_s, plan, attributes, tags, .. } = new;
        Self { reconnect_interval_s, plan, attributes, tags }
    }
}

/// What is told about a device.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AboutDevice {
    /// Seconds within which no second try is made to wake it.
    pub reconnect_interval_s: u32,
    /// Its data plan.
    #[schema(value_type = Option<String>)]
    pub plan: Option<PlanName>,
    /// Any JSON values under names, for filters.
    #[schema(value_type = Object)]
    pub attributes: serde_json::Map<String, serde_json::Value>,
    /// Words, for filters.
    pub tags: Vec<String>,
}

impl From<AboutDevice> for server::NewDevice {
    fn from(about: AboutDevice) -> Self {
        let AboutDevice { reconnect_interval_s, plan, attributes, tags } = about;
        Self { reconnect_interval_s, plan, attributes, tags }
    }
}

/// A device.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// Its id.
    pub id: String,
    /// Seconds within which no second try is made to wake it.
    pub reconnect_interval_s: u32,
    /// Its data plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Any JSON values under names.
    #[schema(value_type = Object)]
    pub attributes: serde_json::Map<String, serde_json::Value>,
    /// Words.
    pub tags: Vec<String>,
    /// When it was added.
    pub created_at: String,
    /// When it was last heard of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<String>,
    /// Counts edits.
    pub revision: i64,
    /// What is installed, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packages: Option<Vec<Key>>,
    /// Part numbers, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub components: Option<Vec<String>>,
}

impl From<Equipped> for Device {
    fn from(equipped: Equipped) -> Self {
        let Equipped { device, packages, components } = equipped;
        Self {
            id: device.id,
            reconnect_interval_s: device.about.reconnect_interval_s,
            plan: device.plan,
            attributes: device.about.attributes,
            tags: device.about.tags,
            created_at: time(device.about.created_at),
            seen_at: maybe_time(device.seen_at),
            revision: device.revision,
            packages: Some(packages.into_iter().map(Key::from).collect()),
            components: Some(components),
        }
    }
}

/// The data plan of a device.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanOf {
    /// The plan's name.
    #[schema(value_type = String)]
    pub plan: PlanName,
}

/// Bytes that were sent to a device.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTraffic {
    /// How many.
    pub bytes: u64,
    /// When; now, unless said.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<DateTime<Utc>>,
}

/// Where bytes were counted; nothing where there is no plan or no cycle yet.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// The plan.
    pub plan: Option<String>,
    /// When the cycle began.
    pub start: Option<String>,
    /// Bytes that may be sent in it.
    pub pool: Option<u64>,
    /// Bytes that were.
    pub used: Option<u64>,
}

/// What was, is and is to be done on a device.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Past {
    /// The campaign, or the inventory request.
    pub id: String,
    /// `update` or `inventory`.
    pub kind: String,
    /// What is installed by it, what is needed first.
    pub packages: Vec<Key>,
    /// `pending`, `in_flight`, `completed`, `failed` or `cancelled`.
    pub state: String,
    /// Where it is, while it is in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Why it failed: one word.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub code: String,
    /// Why it failed, for people.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub text: String,
    /// When it was ordered.
    pub created_at: String,
    /// When it left `pending`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

impl From<Found> for Past {
    fn from(found: Found) -> Self {
        Self {
            id: found.id,
            kind: found.kind.into(),
            packages: found.packages.into_iter().map(Key::from).collect(),
            state: found.state.into(),
            phase: found.phase.map(str::to_owned),
            code: found.code,
            text: found.text,
            created_at: time(found.created_at),
            started_at: maybe_time(found.started_at),
            ended_at: maybe_time(found.ended_at),
        }
    }
}

/// A component.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Its part number: 1 to 64 of letters, digits, `- . _`.
    #[schema(value_type = String, min_length = 1, max_length = 64)]
    pub part: PartNumber,
    /// For people.
    #[serde(default)]
    pub description: String,
}

/// A filter.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Its label: 2 to 100 of letters, digits, `- . _`.
    #[schema(value_type = String, min_length = 2, max_length = 100)]
    pub label: FilterLabel,
    /// Which devices it means.
    #[schema(example = "vin_matches \"^WVW\" AND NOT has_package \"nav\" \"^2\\.\"")]
    pub expression: String,
}

/// An expression to be tried.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Expression {
    /// Which devices it means.
    pub expression: String,
    /// Whether to count them.
    #[serde(default)]
    pub count: bool,
}

/// An expression that was tried.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Valid {
    /// The expression in the one form that the server writes.
    pub expression: String,
    /// How many devices it means now, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// A data plan.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Its name.
    #[schema(value_type = String)]
    pub name: PlanName,
    /// Whether an update that is too large for a cycle lets smaller ones pass.
    #[serde(default)]
    pub skip_oversize: bool,
}

/// A billing cycle to be added.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCycle {
    /// When it begins. It ends when the next one begins.
    #[schema(value_type = String, format = DateTime)]
    pub start: DateTime<Utc>,
    /// Bytes that may be sent in it.
    pub pool: u64,
}

/// A billing cycle.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Cycle {
    /// When it begins.
    pub start: String,
    /// Bytes that may be sent in it.
    pub pool: u64,
    /// Bytes that were.
    pub used: u64,
}

impl From<store::Cycle> for Cycle {
    fn from(cycle: store::Cycle) -> Self {
        Self { start: time(cycle.start), pool: cycle.pool, used: cycle.used }
    }
}

/// A package to be added.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewPackage {
    /// Who makes it.
    pub vendor: String,
    /// For people.
    pub description: String,
}

/// A package.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Who makes it.
    pub vendor: String,
    /// For people.
    pub description: String,
    /// Bytes of all its files.
    pub size: u64,
    /// Not to be ordered for anybody.
    pub blacklisted: bool,
    /// Only devices have told of it.
    pub foreign: bool,
    /// When it was added.
    pub created_at: String,
    /// Counts edits.
    pub revision: i64,
    /// Its files, complete ones only.
    pub files: Vec<File>,
    /// What its envelope says, if it has one that was believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envelope: Option<Envelope>,
}

/// A file of a package.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct File {
    /// Relative to the package.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// SHA-1, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha1: Option<String>,
}

/// What a SUIT envelope says that was believed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Envelope {
    /// Which of the files it is.
    pub path: String,
    /// Its sequence number.
    pub sequence: u64,
    /// The version text in it.
    pub version: String,
    /// The vendor's UUID.
    pub vendor: String,
    /// The class's UUID.
    pub class: String,
}

impl From<store::File> for File {
    fn from(file: store::File) -> Self {
        Self { path: file.path, size: file.size, sha256: file.sha256, sha1: file.sha1 }
    }
}

impl From<store::Package> for Package {
    fn from(package: store::Package) -> Self {
        let store::Package { key, revision, blacklisted, facts, .. } = package;
        let size = facts.size();
        let envelope = facts.envelope.map(|envelope| {
            let store::Envelope { path, sequence, version, vendor, class } = envelope;
            Envelope { path, sequence, version, vendor, class }
        });
        Self {
            name: key.name,
            version: key.version,
            vendor: facts.vendor,
            description: facts.description,
            size,
            blacklisted,
            foreign: facts.foreign,
            created_at: time(facts.created_at),
            revision,
            files: facts.files.into_iter().map(File::from).collect(),
            envelope,
        }
    }
}

/// One package needs another.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Edge {
    /// What is needed.
    pub needed: Key,
    /// What needs it.
    pub dependent: Key,
}

/// A vendor whose envelopes are believed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Vendor {
    /// Public keys, PEM.
    pub keys: Vec<String>,
    /// The classes of its devices.
    pub classes: Vec<String>,
}

/// A token to be made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Who holds it, as the audit names them.
    pub name: String,
    /// `viewer`, `operator`, `approver`, `admin` or `device`.
    pub role: String,
    /// With `device`: which.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub device: Option<DeviceId>,
    /// When it ends.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_after: Option<DateTime<Utc>>,
}

/// What is known of a token.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Names it.
    pub id: String,
    /// Who holds it.
    pub name: String,
    /// What it is for.
    pub role: String,
    /// Which device, where it is one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// The token: this one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl From<store::Token> for Token {
    fn from(token: store::Token) -> Self {
        let device = match &token.role {
            crate::access::Role::Device(id) => Some(id.clone()),
            _ => None,
        };
        Self {
            id: token.id,
            name: token.name,
            role: token.role.word().into(),
            device,
            created_at: time(token.created_at),
            not_after: maybe_time(token.not_after),
            token: None,
        }
    }
}

/// A tenant to be made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// Its name: 2 to 100 of letters, digits, `- . _`.
    pub name: String,
}

/// A line of the audit.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditLine {
    /// Its number.
    pub number: i64,
    /// When.
    pub at: String,
    /// Who.
    pub who: String,
    /// What they did.
    pub action: String,
    /// To what.
    pub subject: String,
    /// SHA-256 over the line before and this one.
    pub hash: String,
}

impl From<store::Line> for AuditLine {
    fn from(line: store::Line) -> Self {
        Self {
            number: line.number,
            at: time(line.at),
            who: line.who,
            action: line.action,
            subject: line.subject,
            hash: line.hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// What the check of the audit found.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditState {
    /// Lines that were read.
    pub lines: i64,
    /// Whether the chain is whole.
    pub whole: bool,
    /// Where it is broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
}

/// How many.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct Count {
    /// How many.
    pub count: u64,
}

/// What names something that was made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Made {
    /// Its id.
    pub id: String,
}

/// What became of an import.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Imported {
    /// Devices that were added.
    pub added: u64,
    /// Lines that were refused.
    pub refused: u64,
    /// The first thousand of them.
    pub errors: Vec<RefusedLine>,
}

/// A line that was refused.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RefusedLine {
    /// Its number, from 1.
    pub line: u64,
    /// Why: one word.
    pub code: String,
    /// Why, for people.
    pub description: String,
}
