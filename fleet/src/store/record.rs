//! What the store keeps, in the words of the domain. Times are milliseconds since 1970 UTC, sizes are
//! bytes.

use serde::{Deserialize, Serialize};

use crate::access::{Credential, Tenant};

/// A device: number, id, and what was told about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Dense within the tenant, given once and never again.
    pub number: u32,
    /// What its owner calls it.
    pub id: String,
    /// Counts edits, for `If-Match`.
    pub revision: i64,
    /// The data plan that it uses.
    pub plan: Option<String>,
    /// When it was last heard of.
    pub seen_at: Option<i64>,
    /// When somebody last tried to wake it, or it went away.
    pub woken_at: Option<i64>,
    /// What was told about it.
    pub about: About,
}

/// What is told about a device when it is added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Seconds within which no second try is made to wake it.
    pub reconnect_interval_s: u32,
    /// Any JSON values under names, for filters.
    pub attributes: serde_json::Map<String, serde_json::Value>,
    /// Words, for filters.
    pub tags: Vec<String>,
    /// When it was added.
    pub created_at: i64,
}

/// A device with what is on it: what filters see.
#[derive(Clone, Debug, PartialEq)]
pub struct Equipped {
    /// The device.
    pub device: Device,
    /// What is installed, by name and version.
    pub packages: Vec<PackageKey>,
    /// The part numbers fitted.
    pub components: Vec<String>,
}

/// A package's name and version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PackageKey {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A package.
#[derive(Clone, Debug, PartialEq)]
pub struct Package {
    /// Dense within the tenant.
    pub number: u32,
    /// Name and version.
    pub key: PackageKey,
    /// Counts edits, for `If-Match`.
    pub revision: i64,
    /// Not to be given to any device.
    pub blacklisted: bool,
    /// What else is known.
    pub facts: PackageFacts,
}

/// What is known of a package beside its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PackageFacts {
    /// Who makes it.
    pub vendor: String,
    /// For people.
    pub description: String,
    /// When it was added.
    pub created_at: i64,
    /// Only devices have told of it: nobody added it here.
    pub foreign: bool,
    /// Its files, complete ones only.
    pub files: Vec<File>,
    /// What its envelope says, when it has one that was believed.
    pub envelope: Option<Envelope>,
}

impl PackageFacts {
    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// A file of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Relative to the package.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// SHA-1 in hexadecimal, where one was given with the upload.
    pub sha1: Option<String>,
    /// Where its bytes are.
    pub blob: String,
}

/// What a SUIT envelope says that was believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The path of the envelope among the files.
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

/// A part that devices can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its part number.
    pub part: String,
    /// For people.
    pub description: String,
}

/// A filter: a label and an expression that parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Its label.
    pub label: String,
    /// Its expression, as it was given.
    pub expression: String,
    /// Counts edits, for `If-Match`.
    pub revision: i64,
}

/// A vendor whose envelopes are believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vendor {
    /// The vendor's name, as its devices have it.
    pub name: String,
    /// Public keys, PEM.
    pub keys: Vec<String>,
    /// The classes of its devices.
    pub classes: Vec<String>,
}

/// A data plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Whether an update that is too large lets smaller ones pass.
    pub skip_oversize: bool,
}

/// A billing cycle of a plan: from its start until the next one's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// When it begins.
    pub start: i64,
    /// Bytes that may be sent.
    pub pool: u64,
    /// Bytes that were.
    pub used: u64,
}

/// What became of those devices of a campaign that never left `pending`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// They wait.
    Pending,
    /// The campaign was cancelled.
    Cancelled,
    /// Their time was over.
    Expired,
}

impl Rest {
    pub(crate) fn number(self) -> i64 {
        self as i64
    }

    pub(crate) fn from_number(number: i64) -> Self {
        match number {
            0 => Self::Pending,
            1 => Self::Cancelled,
            _ => Self::Expired,
        }
    }
}

/// A campaign: a package, for whom, when.
#[derive(Clone, Debug, PartialEq)]
pub struct Campaign {
    /// Its id, a UUID.
    pub id: String,
    /// 1 to 100, lower first.
    pub priority: u8,
    /// Nothing starts before.
    pub not_before: Option<i64>,
    /// What still waits then has failed with `expired`.
    pub not_after: Option<i64>,
    /// When it was made; orders what has one priority.
    pub created_at: i64,
    /// What became of those who never left `pending`, and when.
    pub rest: Rest,
    /// When `rest` changed.
    pub rest_at: Option<i64>,
    /// How many devices it has, and how many of them are in each state.
    pub tally: Tally,
    /// What else was ordered.
    pub order: Order,
    /// Counts changes of everything but the tally, for `If-Match`.
    pub revision: i64,
}

/// What a campaign ordered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The package.
    pub package: Option<PackageKey>,
    /// For people.
    pub description: String,
    /// Who made it.
    pub created_by: String,
    /// Labels of the filters that chose the devices.
    pub filters: Vec<String>,
    /// Devices that run the version already get it again.
    pub reinstall: bool,
    /// What is sent, what is needed first; the ordered package is the last. Who gets each is said by
    /// its [`Members`].
    pub parts: Vec<Part>,
    /// Reasons for which devices were left out, and how many each.
    pub excluded: Vec<(String, u64)>,
}

/// A package that a campaign sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Which.
    pub package: PackageKey,
    /// Its bytes.
    pub bytes: u64,
}

/// How many devices of a campaign are in each state. The rows are counted; those who never left
/// `pending` are what remains of the total, so that the five always add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All devices.
    pub total: u64,
    /// Rows under way.
    pub in_flight: u64,
    /// Rows that completed.
    pub completed: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows that were cancelled one by one.
    pub cancelled: u64,
}

impl Tally {
    /// Those without a row.
    pub fn rest(&self) -> u64 {
        self.total - self.in_flight - self.completed - self.failed - self.cancelled
    }
}

/// The five counts that people see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting.
    pub pending: u64,
    /// Under way.
    pub in_flight: u64,
    /// Seen to run it.
    pub completed: u64,
    /// Failed, or expired.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
}

impl Campaign {
    /// The five counts; they add up to the total.
    pub fn counts(&self) -> Counts {
        let Tally { in_flight, completed, failed, cancelled, .. } = self.tally;
        let mut counts = Counts { pending: 0, in_flight, completed, failed, cancelled };
        match self.rest {
            Rest::Pending => counts.pending += self.tally.rest(),
            Rest::Cancelled => counts.cancelled += self.tally.rest(),
            Rest::Expired => counts.failed += self.tally.rest(),
        }
        counts
    }
}

/// The devices that get one part of a campaign. Those of the last part are the campaign's.
#[derive(Clone, Debug, PartialEq)]
pub struct Members {
    /// Which of [`Order::parts`].
    pub part: u32,
    /// The devices' numbers.
    pub devices: roaring::RoaringBitmap,
}

/// Where an update stands, once it has left `pending`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The device has been told.
    Notified,
    /// Bytes are on their way.
    Downloading,
    /// They are there.
    Downloaded,
    /// The device is at it.
    Installing,
    /// It says it is done; it has not been seen to run the version.
    Verifying,
    /// It was seen to run the version.
    Completed,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Self; 8] = [
        Self::Notified,
        Self::Downloading,
        Self::Downloaded,
        Self::Installing,
        Self::Verifying,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    pub(crate) fn number(self) -> i64 {
        self as i64
    }

    pub(crate) fn from_number(number: i64) -> Self {
        let index = usize::try_from(number).unwrap_or(0).min(Self::ALL.len() - 1);
        Self::ALL[index]
    }

    /// Whether it is over.
    pub fn is_over(self) -> bool {
        self >= Self::Completed
    }
}

/// The update of one device by one campaign, once it has left `pending`.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The campaign.
    pub campaign: String,
    /// The device's number.
    pub device: u32,
    /// Where it stands.
    pub stage: Stage,
    /// Why it failed: one word.
    pub code: String,
    /// Why it failed, for people.
    pub text: String,
    /// When it left `pending`.
    pub started_at: i64,
    /// When it last changed; when it is over, when it ended.
    pub changed_at: i64,
}

/// A request for the list of what a device has installed.
#[derive(Clone, Debug, PartialEq)]
pub struct Inventory {
    /// Its id, a UUID.
    pub id: String,
    /// The device's number.
    pub device: u32,
    /// 1 to 100, lower first.
    pub priority: u8,
    /// Not before.
    pub not_before: i64,
    /// Not after.
    pub not_after: i64,
    /// When it was made.
    pub created_at: i64,
    /// `None` while it waits; how it ended: `Completed`, `Failed` (expired) or `Cancelled`.
    pub ended: Option<Stage>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number: in the order of the commits, without holes.
    pub number: i64,
    /// Whose.
    pub tenant: Tenant,
    /// When.
    pub at: i64,
    /// `noun.participle`.
    pub kind: String,
    /// What it happened to.
    pub subject: String,
    /// More, JSON.
    pub data: String,
    /// The devices whose index entries change by it.
    pub touched: roaring::RoaringBitmap,
}

/// A line of the audit.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// From 1, without holes, for each tenant.
    pub number: i64,
    /// When.
    pub at: i64,
    /// Who.
    pub who: String,
    /// What they did.
    pub action: String,
    /// To what.
    pub subject: String,
    /// SHA-256 over the line before and this one.
    pub hash: [u8; 32],
}

/// What was answered to a request with an `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The key.
    pub key: String,
    /// A digest of the request: another request may not use the key.
    pub request: String,
    /// The status.
    pub status: u16,
    /// The `Location`, when there was one.
    pub location: Option<String>,
    /// The body.
    pub body: String,
    /// When.
    pub at: i64,
}

/// A tenant's name and number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantName {
    /// The number.
    pub tenant: Tenant,
    /// The name.
    pub name: String,
}

/// A token in lists.
pub type Token = Credential;
