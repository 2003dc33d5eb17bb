//! Campaigns, and what devices are told and say of them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Key, maybe_time, time};
use crate::plan::words::FilterLabel;
use crate::server::{Offer, Where};
use crate::store;

/// A campaign to be made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCampaign {
    /// What is ordered.
    pub package: Key,
    /// 1 (first) to 100 (last).
    #[serde(default = "ten")]
    #[schema(minimum = 1, maximum = 100, default = 10)]
    pub priority: u64,
    /// Nothing starts before.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<DateTime<Utc>>,
    /// What still waits then has failed with `expired`.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_after: Option<DateTime<Utc>>,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Labels of filters, instead of those that are linked to the package. All must mean a device.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub filters: Option<Vec<FilterLabel>>,
    /// An expression that must mean a device, too.
    #[serde(default)]
    pub expression: Option<String>,
    /// Whether devices that run the version get it again.
    #[serde(default)]
    pub reinstall: bool,
}

fn ten() -> u64 {
    10
}

/// The five counts of a campaign. They add up to the total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// All devices.
    pub total: u64,
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

/// A campaign.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Campaign {
    /// Its id.
    pub id: String,
    /// What was ordered.
    pub package: Option<Key>,
    /// 1 (first) to 100 (last).
    pub priority: u8,
    /// `running`, `finished`, `cancelled` or `expired`.
    pub state: String,
    /// Nothing starts before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// What still waits then has failed with `expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// For people.
    pub description: String,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: String,
    /// Labels of the filters that chose.
    pub filters: Vec<String>,
    /// What is sent, what is needed first.
    pub packages: Vec<Key>,
    /// How many devices were left out, by reason.
    pub excluded: std::collections::BTreeMap<String, u64>,
    /// How many devices are where.
    pub counts: Counts,
    /// Counts edits.
    pub revision: i64,
}

impl From<store::Campaign> for Campaign {
    fn from(campaign: store::Campaign) -> Self {
        let store::Counts { pending, in_flight, completed, failed, cancelled } = campaign.counts();
        let total = campaign.tally.total;
        let counts = Counts { total, pending, in_flight, completed, failed, cancelled };
        let state = match campaign.rest {
            store::Rest::Cancelled => "cancelled",
            store::Rest::Expired => "expired",
            store::Rest::Pending if pending + in_flight == 0 => "finished",
            store::Rest::Pending => "running",
        };
        let order = campaign.order;
        Self {
            id: campaign.id,
            package: order.package.map(Key::from),
            priority: campaign.priority,
            state: state.into(),
            not_before: maybe_time(campaign.not_before),
            not_after: maybe_time(campaign.not_after),
            description: order.description,
            created_by: order.created_by,
            created_at: time(campaign.created_at),
            filters: order.filters,
            packages: order.parts.into_iter().map(|part| part.package.into()).collect(),
            excluded: order.excluded.into_iter().collect(),
            counts,
            revision: campaign.revision,
        }
    }
}

/// Who would get what: nothing changed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DryRun {
    /// Devices that would get it.
    pub total: u64,
    /// What would be sent, what is needed first, and to how many devices.
    pub packages: Vec<Planned>,
    /// Labels of the filters that chose.
    pub filters: Vec<String>,
    /// How many devices would be left out, by reason.
    pub excluded: Vec<Excluded>,
    /// Bytes to be sent in all.
    pub bytes: u64,
    /// At most a hundred devices.
    pub examples: Vec<Example>,
}

/// A package that would be sent.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its bytes.
    pub bytes: u64,
    /// How many devices would get it.
    pub devices: u64,
}

/// Devices that would be left out.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Excluded {
    /// Why: one word.
    pub code: String,
    /// Why, for people.
    pub reason: String,
    /// How many.
    pub devices: u64,
}

/// What would happen to a device.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Example {
    /// The device.
    pub device: String,
    /// Why it would be left out; nothing where it would not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excluded: Option<String>,
}

/// A device of a campaign.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// The device.
    pub device: String,
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
    /// When it left `pending`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<String>,
}

impl From<Where> for Member {
    fn from(stands: Where) -> Self {
        Self {
            device: stands.device,
            state: stands.state.into(),
            phase: stands.phase.map(str::to_owned),
            code: stands.code,
            text: stands.text,
            started_at: maybe_time(stands.started_at),
            changed_at: maybe_time(stands.changed_at),
        }
    }
}

/// What a device has to do next.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// `update` or `inventory`.
    pub kind: String,
    /// Names the update or the request.
    pub id: String,
    /// What is installed, what is needed first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub packages: Vec<Sent>,
    /// Bytes in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub description: String,
    /// Where it is, when it has begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
}

/// A package that is sent.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Sent {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its bytes.
    pub size: u64,
}

impl From<Offer> for Task {
    fn from(offer: Offer) -> Self {
        let sent = |part: &store::Part| Sent {
            name: part.package.name.clone(),
            version: part.package.version.clone(),
            size: part.bytes,
        };
        Self {
            kind: "update".into(),
            id: offer.campaign,
            size: Some(offer.parts.iter().map(|part| part.bytes).sum()),
            packages: offer.parts.iter().map(sent).collect(),
            description: offer.description,
            phase: offer.phase.map(str::to_owned),
        }
    }
}

/// What a device says of an update: one of `phase` and `result`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewReport {
    /// `notified`, `downloading`, `downloaded`, `installing` or `verifying`.
    pub phase: Option<String>,
    /// `success` or `failure`.
    pub result: Option<String>,
    /// With `success`: what runs after the restart.
    pub running: Vec<Key>,
    /// With `failure`: one word, lower-case letters, digits and `_`.
    pub code: Option<String>,
    /// With `failure`: for people.
    pub text: String,
}

/// Where an update stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Standing {
    /// `pending`, `in_flight`, `completed`, `failed` or `cancelled`.
    pub state: String,
    /// Where it is, while it is in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
}

/// What a device has installed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// Everything, and nothing else.
    pub packages: Vec<Key>,
}
