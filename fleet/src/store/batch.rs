//! Writes are values: a [`Batch`] holds its changes and what each expects, its author, its line of the
//! audit and its events. So the same batch runs on SQLite, on PostgreSQL and in memory, can be grouped
//! with others, refused alone, and tried again.

use roaring::RoaringBitmap;

use super::record::{
    About, Answered, Campaign, Cycle, Inventory, Members, PackageFacts, PackageKey, Plan, Rest,
    Stage, Update, Vendor,
};
use crate::access::{Credential, Digest, Scope, Tenant};

/// One change, with what it expects. An expectation that fails refuses the whole batch.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "what a variant says names its fields")]
pub enum Change {
    /// A new tenant. Expects that there is none of the name.
    AddTenant(String),
    /// A new token.
    AddToken(Digest, Credential),
    /// The end of a token. Expects it.
    DeleteToken(String),
    /// A new device. Expects that there is none with the id, and its plan if it has one.
    AddDevice { id: String, plan: Option<String>, about: About },
    /// Expects the device, the revision if one is given, and the plan.
    EditDevice { id: String, plan: Option<String>, about: About, revision: Option<i64> },
    /// Takes away the device and all that hangs on it. Expects it.
    DeleteDevice(String),
    /// The device was heard of.
    Seen { id: String, at: i64 },
    /// Somebody tried to wake the device, or it went away.
    Woken { number: u32, at: i64 },
    /// A new component. Expects that there is none with the part number.
    AddComponent { part: String, description: String },
    /// Expects it, and no device that has it.
    DeleteComponent(String),
    /// The device has the component. Expects both; nothing changes when it had it.
    Fit { device: String, part: String },
    /// Expects that it had it.
    Unfit { device: String, part: String },
    /// A new package. Expects that there is none, or a foreign one, which is no longer foreign then.
    AddPackage { key: PackageKey, facts: PackageFacts },
    /// Expects the package and its revision.
    EditPackage { key: PackageKey, facts: PackageFacts, revision: i64 },
    /// Expects the package.
    Blacklist { key: PackageKey, listed: Listed },
    /// The device has it installed. Expects both.
    Install { device: String, key: PackageKey },
    /// Expects that it had it installed.
    Uninstall { device: String, key: PackageKey },
    /// These are installed, in the place of other versions of the same names. Expects all of them.
    Replace { device: String, keys: Vec<PackageKey> },
    /// This and nothing else is installed; unknown packages become foreign ones. Expects the device.
    SetInstalled { device: String, keys: Vec<PackageKey> },
    /// A new filter. Expects that there is none with the label.
    AddFilter { label: String, expression: String },
    /// Expects the filter, and the revision if one is given.
    EditFilter { label: String, expression: String, revision: Option<i64> },
    /// Takes away the filter and its links. Expects it.
    DeleteFilter(String),
    /// Expects both.
    Link { key: PackageKey, label: String },
    /// Expects the link.
    Unlink { key: PackageKey, label: String },
    /// `key` needs `needs`. Expects both, and no way back from `needs` to `key`.
    AddDependency { key: PackageKey, needs: PackageKey },
    /// Expects both, and the dependency.
    DeleteDependency { key: PackageKey, needs: PackageKey },
    /// A vendor as it is from now on.
    PutVendor(Vendor),
    /// Expects that there is none with the name.
    AddPlan(Plan),
    /// Expects the plan, and no cycle that starts then.
    AddCycle { plan: String, cycle: Cycle },
    /// Bytes were sent to the device. Expects it.
    Traffic { device: String, bytes: u64, at: i64 },
    /// A new campaign. Expects its package neither blacklisted nor gone.
    AddCampaign { campaign: Box<Campaign>, members: Vec<Members> },
    /// What became of those who wait. Expects the campaign, and that they still wait.
    EndRest { campaign: String, rest: Rest, at: i64 },
    /// An update moves. `from` is `None` when it leaves `pending`. Expects that it stands there.
    Move { update: Update, from: Option<Stage> },
    /// A request for a list of what is installed. Expects the device.
    AddInventory(Inventory),
    /// Expects that it waits.
    EndInventory { id: String, ended: Stage },
}

/// On the blacklist, or off it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// On.
    On,
    /// Off.
    Off,
}

/// An event before it has a number.
#[derive(Clone, Debug)]
pub struct Happened {
    /// `noun.participle`.
    pub kind: &'static str,
    /// What it happened to.
    pub subject: String,
    /// More, JSON.
    pub data: serde_json::Value,
}

/// Changes that happen together or not at all.
#[derive(Clone, Debug)]
pub struct Batch {
    pub(super) tenant: Tenant,
    pub(super) who: String,
    pub(super) at: i64,
    pub(super) action: &'static str,
    pub(super) subject: String,
    pub(super) changes: Vec<Change>,
    pub(super) events: Vec<Happened>,
    pub(super) once: Option<Answered>,
}

impl Batch {
    /// An empty batch: who does what to whom, and when.
    pub fn new(scope: &Scope, action: &'static str, subject: impl Into<String>, at: i64) -> Self {
        Self {
            tenant: scope.tenant(),
            who: scope.who().to_owned(),
            at,
            action,
            subject: subject.into(),
            changes: vec![],
            events: vec![],
            once: None,
        }
    }

    /// With one more change.
    #[must_use]
    pub fn with(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }

    /// With one more event about the batch's subject.
    #[must_use]
    pub fn telling(mut self, kind: &'static str, data: serde_json::Value) -> Self {
        self.events.push(Happened { kind, subject: self.subject.clone(), data });
        self
    }

    /// With the answer that a repetition of the request gets. Expects that the key is new.
    #[must_use]
    pub fn once(mut self, answered: Option<Answered>) -> Self {
        self.once = answered;
        self
    }
}

/// What a committed batch brought about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Committed {
    /// The number of its last event; the index has to be as far to see it.
    pub event: i64,
    /// The devices it touched.
    pub touched: RoaringBitmap,
    /// The cycle that traffic was counted in: plan and cycle.
    pub cycle: Option<(String, Cycle)>,
    /// The new revision of what was edited.
    pub revision: i64,
}

/// A noun of the domain, for errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noun {
    /// A tenant.
    Tenant,
    /// A token.
    Token,
    /// A device.
    Device,
    /// A component.
    Component,
    /// A package.
    Package,
    /// The package that another needs.
    Needed,
    /// That a package is installed on a device.
    Installation,
    /// That a component is fitted to a device.
    Fitting,
    /// A filter.
    Filter,
    /// That a filter belongs to a package.
    Link,
    /// That a package needs another.
    Dependency,
    /// A data plan.
    Plan,
    /// A billing cycle.
    Cycle,
    /// A campaign.
    Campaign,
    /// An inventory request.
    Inventory,
    /// An update.
    Update,
    /// A file of a package.
    File,
    /// A vendor.
    Vendor,
}

impl Noun {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Token => "token",
            Self::Device => "device",
            Self::Component => "component",
            Self::Package => "package",
            Self::Needed => "needed package",
            Self::Installation => "installation",
            Self::Fitting => "fitting",
            Self::Filter => "filter",
            Self::Link => "filter link",
            Self::Dependency => "dependency",
            Self::Plan => "plan",
            Self::Cycle => "billing cycle",
            Self::Campaign => "campaign",
            Self::Inventory => "inventory request",
            Self::Update => "update",
            Self::File => "file",
            Self::Vendor => "vendor",
        }
    }
}

/// Why nothing of a batch happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is there already.
    #[error("this {} exists already", .0.word())]
    Exists(Noun),
    /// It is not there.
    #[error("there is no such {}", .0.word())]
    Missing(Noun),
    /// It is in use.
    #[error("this {} is in use", .0.word())]
    InUse(Noun),
    /// The dependency would lead back to where it began.
    #[error("the dependency would close a circle")]
    Circle,
    /// The package is on the blacklist.
    #[error("the package is on the blacklist; take it off, or order another")]
    Blacklisted,
    /// Somebody else was faster: read again.
    #[error("this {} has changed since it was read", .0.word())]
    Stale(Noun),
    /// The key was used before.
    #[error("this Idempotency-Key was used before")]
    Repeated,
}
