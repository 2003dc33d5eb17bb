//! Devices: added, found, changed, taken away, and what is on them.

use roaring::RoaringBitmap;
use serde_json::json;

use super::queue::words;
use super::{Once, Outcome, Refusal, Server, missing};
use crate::access::Scope;
use crate::plan::filter::{Filter, Pattern};
use crate::plan::time::Time;
use crate::plan::words::{AttributeKey, DeviceId, PackageId, PartNumber, PlanName, Tag};
use crate::store::{
    About, Batch, Change, Cycle, Cycles, Device, DeviceById, DevicesByNumber, Equipped,
    Inventories, Inventory, Noun, PackageKey, Rest, UpdatesOfDevice,
};

/// The longest interval between two tries to wake a device: a year.
pub(crate) const RECONNECT_S_MAX: u32 = 366 * 24 * 3600;
/// Bytes of the attributes of a device, as JSON.
pub(crate) const ATTRIBUTES_BYTES_MAX: usize = 16 * 1024;
/// Tags of a device.
pub(crate) const TAGS_MAX: usize = 64;

/// What is told about a device.
#[derive(Clone, Debug, Default)]
pub struct NewDevice {
    /// Seconds within which no second try is made to wake it.
    pub reconnect_interval_s: u32,
    /// Its data plan.
    pub plan: Option<PlanName>,
    /// Any JSON values under names.
    pub attributes: serde_json::Map<String, serde_json::Value>,
    /// Words.
    pub tags: Vec<String>,
}

impl NewDevice {
    pub(super) fn about(&self, created_at: i64) -> Result<About, Refusal> {
        let senseless = |what: String| Err(Refusal::Senseless(what));
        if self.reconnect_interval_s > RECONNECT_S_MAX {
            return senseless(format!(
                "reconnect_interval_s is at most {RECONNECT_S_MAX} (a year), not {}",
                self.reconnect_interval_s
            ));
        }
        if self.tags.len() > TAGS_MAX {
            return senseless(format!("a device has at most {TAGS_MAX} tags"));
        }
        for tag in &self.tags {
            tag.parse::<Tag>()?;
        }
        for key in self.attributes.keys() {
            key.parse::<AttributeKey>()?;
        }
        let attributes = serde_json::Value::Object(self.attributes.clone()).to_string();
        if attributes.len() > ATTRIBUTES_BYTES_MAX {
            return senseless(format!("attributes have at most {ATTRIBUTES_BYTES_MAX} bytes"));
        }
        let mut tags = self.tags.clone();
        tags.sort();
        tags.dedup();
        Ok(About {
            reconnect_interval_s: self.reconnect_interval_s,
            attributes: self.attributes.clone(),
            tags,
            created_at,
        })
    }
}

/// Which devices are looked for.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Whose id matches.
    pub regex: Option<Pattern>,
    /// That a filter means.
    pub filter: Option<Filter>,
    /// Only these.
    pub among: Option<RoaringBitmap>,
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What stands in it.
    pub items: Vec<T>,
    /// Where the next one begins.
    pub next: Option<String>,
    /// How many there are in all.
    pub total: u64,
}

/// An update of a device, or a request for its inventory, as its history has it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The campaign, or the inventory request.
    pub id: String,
    /// `update` or `inventory`.
    pub kind: &'static str,
    /// What is installed by it, what is needed first.
    pub packages: Vec<PackageKey>,
    /// One of the five states.
    pub state: &'static str,
    /// Where it is, while it is in flight.
    pub phase: Option<&'static str>,
    /// Why it failed: one word.
    pub code: String,
    /// Why it failed, for people.
    pub text: String,
    /// When it was ordered.
    pub created_at: i64,
    /// When it left `pending`.
    pub started_at: Option<i64>,
    /// When it ended.
    pub ended_at: Option<i64>,
}

impl Server {
    /// Adds a device.
    ///
    /// # Errors
    ///
    /// It is there already, its plan is not, or what is told makes no sense.
    pub async fn add_device(
        &self,
        scope: &Scope,
        id: &DeviceId,
        new: &NewDevice,
        once: Option<Once>,
    ) -> Result<Outcome, Refusal> {
        let now = self.now();
        let change = Change::AddDevice {
            id: id.as_str().into(),
            plan: new.plan.as_ref().map(|plan| plan.as_str().to_owned()),
            about: new.about(now)?,
        };
        let batch = Batch::new(scope, "device.add", id.as_str(), now)
            .with(change)
            .telling("device.added", json!({}));
        self.write_once(scope, batch, once, id.as_str()).await
    }

    /// A device with what is on it.
    ///
    /// # Errors
    ///
    /// There is none.
    pub async fn device(&self, scope: &Scope, id: &DeviceId) -> Result<Equipped, Refusal> {
        let asked = DeviceById { id: id.as_str().into() };
        self.store.ask(scope, asked).await?.ok_or_else(|| missing(Noun::Device))
    }

    /// Says anew what is told about a device. With a revision: only if nobody else did since.
    ///
    /// # Errors
    ///
    /// There is none, its plan is not there, or somebody else was faster.
    pub async fn edit_device(
        &self,
        scope: &Scope,
        id: &DeviceId,
        new: &NewDevice,
        revision: Option<i64>,
    ) -> Result<(), Refusal> {
        let known = self.device(scope, id).await?.device;
        let change = Change::EditDevice {
            id: id.as_str().into(),
            plan: new.plan.as_ref().map(|plan| plan.as_str().to_owned()),
            about: new.about(known.about.created_at)?,
            revision,
        };
        self.change_device(scope, "device.edit", id, change, "device.edited").await
    }

    /// Gives a device a data plan, in the place of an earlier one.
    ///
    /// # Errors
    ///
    /// One of them is not there.
    pub async fn set_plan(
        &self,
        scope: &Scope,
        id: &DeviceId,
        plan: &PlanName,
    ) -> Result<(), Refusal> {
        let Device { about, revision, .. } = self.device(scope, id).await?.device;
        let (id_text, plan) = (id.as_str().to_owned(), Some(plan.as_str().to_owned()));
        let change = Change::EditDevice { id: id_text, plan, about, revision: Some(revision) };
        self.change_device(scope, "device.set-plan", id, change, "device.edited").await
    }

    /// Takes a device away, with all that hangs on it.
    ///
    /// # Errors
    ///
    /// There is none.
    pub async fn delete_device(&self, scope: &Scope, id: &DeviceId) -> Result<(), Refusal> {
        let change = Change::DeleteDevice(id.as_str().into());
        self.change_device(scope, "device.delete", id, change, "device.deleted").await
    }

    /// Says that a component is in a device, or no longer.
    ///
    /// # Errors
    ///
    /// One of them is not there.
    pub async fn fit(
        &self,
        scope: &Scope,
        id: &DeviceId,
        part: &PartNumber,
    ) -> Result<(), Refusal> {
        let change = Change::Fit { device: id.as_str().into(), part: part.as_str().into() };
        self.change_device(scope, "device.fit", id, change, "device.fitted").await
    }

    /// Says that a component is no longer in a device.
    ///
    /// # Errors
    ///
    /// It was not.
    pub async fn unfit(
        &self,
        scope: &Scope,
        id: &DeviceId,
        part: &PartNumber,
    ) -> Result<(), Refusal> {
        let change = Change::Unfit { device: id.as_str().into(), part: part.as_str().into() };
        self.change_device(scope, "device.unfit", id, change, "device.fitted").await
    }

    /// Says that a package is installed on a device.
    ///
    /// # Errors
    ///
    /// One of them is not there.
    pub async fn install(
        &self,
        scope: &Scope,
        id: &DeviceId,
        key: &PackageId,
    ) -> Result<(), Refusal> {
        let change = Change::Install { device: id.as_str().into(), key: key.into() };
        self.change_device(scope, "device.install", id, change, "device.installed").await
    }

    /// Says that a package is no longer installed on a device.
    ///
    /// # Errors
    ///
    /// It was not.
    pub async fn uninstall(
        &self,
        scope: &Scope,
        id: &DeviceId,
        key: &PackageId,
    ) -> Result<(), Refusal> {
        let change = Change::Uninstall { device: id.as_str().into(), key: key.into() };
        self.change_device(scope, "device.uninstall", id, change, "device.installed").await
    }

    async fn change_device(
        &self,
        scope: &Scope,
        action: &'static str,
        id: &DeviceId,
        change: Change,
        told: &'static str,
    ) -> Result<(), Refusal> {
        let batch = Batch::new(scope, action, id.as_str(), self.now()).with(change);
        self.write(batch.telling(told, json!({}))).await.map(|_| ())
    }

    /// Counts bytes that were sent to a device in the billing cycle of their time; gives the plan and
    /// the cycle, if there are any.
    ///
    /// # Errors
    ///
    /// The device is not there.
    pub async fn add_traffic(
        &self,
        scope: &Scope,
        id: &DeviceId,
        bytes: u64,
        at: Option<i64>,
        once: Option<Once>,
    ) -> Result<Option<(String, Cycle)>, Refusal> {
        if i64::try_from(bytes).is_err() {
            return Err(Refusal::Senseless("bytes is at most 9223372036854775807".into()));
        }
        let at = at.unwrap_or_else(|| self.now());
        let change = Change::Traffic { device: id.as_str().into(), bytes, at };
        let batch = Batch::new(scope, "device.traffic", id.as_str(), self.now())
            .with(change)
            .telling("device.sent", json!({ "bytes": bytes }));
        match self.write_once(scope, batch, once, id.as_str()).await? {
            Outcome::Done(committed) => Ok(committed.cycle),
            Outcome::Again(_) => {
                let plan = self.device(scope, id).await?.device.plan;
                let Some(plan) = plan else { return Ok(None) };
                let asked = Cycles { plan: plan.clone(), from: i64::MIN, to: at };
                let cycle = self.store.ask(scope, asked).await?.pop();
                Ok(cycle.map(|cycle| (plan, cycle)))
            }
        }
    }

    /// How many devices are looked for.
    ///
    /// # Errors
    ///
    /// The tenant is gone.
    pub fn count(&self, scope: &Scope, search: &Search) -> Result<u64, Refusal> {
        Ok(self.select(scope, search)?.len())
    }

    fn select(&self, scope: &Scope, search: &Search) -> Result<RoaringBitmap, Refusal> {
        let index = self.fleet(scope)?.index();
        let mut found = search.among.clone().unwrap_or_else(|| index.all().clone());
        if let Some(filter) = &search.filter {
            found = index.select_within(&found, filter, Time::from_millis(self.now()));
        }
        if let Some(pattern) = &search.regex {
            found &= index.matching(pattern);
        }
        Ok(found)
    }

    /// A page of the devices that are looked for, in the order of their ids.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn search(
        &self,
        scope: &Scope,
        search: &Search,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Page<Equipped>, Refusal> {
        let found = self.select(scope, search)?;
        let index = self.fleet(scope)?.index();
        let mut order = vec![];
        let mut more = false;
        for number in index.in_order(after).filter(|number| found.contains(*number)) {
            if order.len() == limit {
                more = true;
                break;
            }
            order.push(number);
        }
        let numbers: RoaringBitmap = order.iter().copied().collect();
        let mut items = self.store.ask(scope, DevicesByNumber { numbers }).await?;
        items.sort_by(|a, b| a.device.id.cmp(&b.device.id));
        let last = order.last().filter(|_| more).and_then(|number| index.id(*number));
        let next = last.map(|id| id.as_str().to_owned());
        Ok(Page { items, next, total: found.len() })
    }

    /// All that was and is to be done on a device, the oldest first.
    ///
    /// # Errors
    ///
    /// The device is not there.
    pub async fn history(&self, scope: &Scope, id: &DeviceId) -> Result<Vec<Found>, Refusal> {
        let device = self.device(scope, id).await?.device.number;
        let rows = self.store.ask(scope, UpdatesOfDevice { device }).await?;
        let inventories = self.store.ask(scope, Inventories { device: Some(device) }).await?;
        let fleet = self.fleet(scope)?;
        let queue = fleet.queue.read().map_err(super::follow::poisoned)?;
        let mut all: Vec<Found> = inventories.iter().map(inventory).collect();
        for entry in queue.entries() {
            let mut found = Found {
                id: entry.campaign.id.clone(),
                kind: "update",
                packages: entry.parts(device).iter().map(|part| part.package.clone()).collect(),
                state: "pending",
                phase: None,
                code: String::new(),
                text: String::new(),
                created_at: entry.campaign.created_at,
                started_at: None,
                ended_at: None,
            };
            if let Some(row) = rows.iter().find(|row| row.campaign == entry.campaign.id) {
                (found.state, found.phase) = words(row.stage);
                (found.code, found.text) = (row.code.clone(), row.text.clone());
                found.started_at = Some(row.started_at);
                found.ended_at = row.stage.is_over().then_some(row.changed_at);
            } else if entry.devices().contains(device) {
                found.ended_at = entry.campaign.rest_at;
                (found.state, found.code) = rest(entry.campaign.rest);
            } else {
                continue;
            }
            all.push(found);
        }
        all.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(all)
    }
}

/// The state of those who never left `pending`, and the code of it.
pub(super) fn rest(rest: Rest) -> (&'static str, String) {
    match rest {
        Rest::Pending => ("pending", String::new()),
        Rest::Cancelled => ("cancelled", String::new()),
        Rest::Expired => ("failed", "expired".into()),
    }
}

fn inventory(one: &Inventory) -> Found {
    let (state, phase) = one.ended.map_or(("pending", None), words);
    Found {
        id: one.id.clone(),
        kind: "inventory",
        packages: vec![],
        state,
        phase,
        code: if state == "failed" { "expired".into() } else { String::new() },
        text: String::new(),
        created_at: one.created_at,
        started_at: None,
        ended_at: None,
    }
}
