//! What a device asks and says: what is next, that it starts or declines, how far it is, how it ended,
//! and what is installed. Every link to devices ends in these calls.

use serde_json::json;

use super::follow::poisoned;
use super::queue::{Id, uuid_text, words};
use super::{Refusal, Server, missing};
use crate::access::Scope;
use crate::plan::cycle::Allowance;
use crate::plan::queue::{Next as Order, next};
use crate::plan::time::Time;
use crate::plan::words::{DeviceId, FailureCode, PackageId};
use crate::store::{
    Batch, Change, Cycles, Device, Noun, PackageKey, Part, Plan, Stage, Update, UpdatesOfDevice,
};

/// Packages in a report or an inventory.
pub(crate) const RUNNING_MAX: usize = 4096;
/// Bytes of a report's text; the rest is cut off.
pub(crate) const TEXT_BYTES_MAX: usize = 4096;

/// What a device has to do.
#[derive(Clone, Debug)]
pub enum Next {
    /// Nothing.
    Nothing,
    /// An update.
    Update(Offer),
    /// To say what is installed; the request's id.
    Inventory(String),
}

/// An update for a device.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The campaign, which names the update.
    pub campaign: String,
    /// What is installed, what is needed first.
    pub parts: Vec<Part>,
    /// For people.
    pub description: String,
    /// Where it is, when it has begun.
    pub phase: Option<&'static str>,
}

/// What a device says of an update.
#[derive(Clone, Debug)]
pub enum Said {
    /// It goes on.
    Now(Stage),
    /// It is done, and after the restart this runs.
    Succeeded {
        /// What runs.
        running: Vec<PackageId>,
    },
    /// It did not work.
    Failed {
        /// One word.
        code: FailureCode,
        /// For people.
        text: String,
    },
    /// Whoever has the device in hand does not want it.
    Declined,
}

/// Where an update stands after a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// One of the five states.
    pub state: &'static str,
    /// Where it is, while it is in flight.
    pub phase: Option<&'static str>,
}

impl Server {
    /// What a device has to do: what is in flight, else what is first in its queue.
    ///
    /// # Errors
    ///
    /// The device is not there, or the next update is too large for what is left of the cycle.
    pub async fn next(&self, scope: &Scope, id: &DeviceId) -> Result<Next, Refusal> {
        let index = self.fleet(scope)?.index();
        let number = index.number(id).ok_or_else(|| missing(Noun::Device))?;
        let entries = {
            let fleet = self.fleet(scope)?;
            fleet.queue.read().map_err(poisoned)?.of_device(number)
        };
        if entries.is_empty() {
            return Ok(Next::Nothing);
        }
        let allowance = self.allowance(scope, id).await?;
        match next(&entries, allowance, Time::from_millis(self.now())) {
            Order::Nothing { .. } => Ok(Next::Nothing),
            Order::Oversize { bytes, left, .. } => Err(Refusal::Oversize { bytes, left }),
            Order::Continue(Id::Campaign(campaign)) | Order::Begin(Id::Campaign(campaign)) => {
                self.offer(scope, number, &uuid_text(campaign)).await.map(Next::Update)
            }
            Order::Continue(Id::Inventory(one)) | Order::Begin(Id::Inventory(one)) => {
                Ok(Next::Inventory(uuid_text(one)))
            }
        }
    }

    async fn offer(&self, scope: &Scope, number: u32, campaign: &str) -> Result<Offer, Refusal> {
        let (parts, description, under_way) = {
            let fleet = self.fleet(scope)?;
            let queue = fleet.queue.read().map_err(poisoned)?;
            let entry = queue.entry(campaign).ok_or_else(|| missing(Noun::Update))?;
            let parts: Vec<Part> = entry.parts(number).into_iter().cloned().collect();
            let under_way = entry.in_flight.contains(number);
            (parts, entry.campaign.order.description.clone(), under_way)
        };
        if parts.is_empty() {
            return Err(missing(Noun::Update));
        }
        let row = if under_way { self.row(scope, number, campaign).await? } else { None };
        let phase = row.and_then(|row| words(row.stage).1);
        Ok(Offer { campaign: campaign.to_owned(), parts, description, phase })
    }

    /// What the device's data plan lets it fetch now.
    async fn allowance(&self, scope: &Scope, id: &DeviceId) -> Result<Allowance, Refusal> {
        let Some(name) = self.device(scope, id).await?.device.plan else {
            return Ok(Allowance::Unlimited);
        };
        let plans = self.plans(scope).await?;
        let skips = plans
            .iter()
            .any(|Plan { name: known, skip_oversize }| *known == name && *skip_oversize);
        let cycles = Cycles { plan: name, from: i64::MIN, to: i64::MAX };
        let mut plan = crate::plan::cycle::Plan::default();
        plan.skip_oversize = skips;
        for cycle in self.store.ask(scope, cycles).await? {
            let start = Time::from_millis(cycle.start);
            // As they come from the store no two begin at one time.
            let _ = plan.add(start, cycle.pool);
            let _ = plan.count(start, cycle.used);
        }
        Ok(plan.allowance(Time::from_millis(self.now())))
    }

    /// Whether a device has something to do now.
    pub(super) async fn has_work(&self, scope: &Scope, device: &Device) -> Result<bool, Refusal> {
        let Ok(id) = device.id.parse() else { return Ok(false) };
        match self.next(scope, &id).await {
            Ok(Next::Nothing) | Err(Refusal::Oversize { .. }) => Ok(false),
            Ok(_) => Ok(true),
            Err(refusal) => Err(refusal),
        }
    }

    async fn row(
        &self,
        scope: &Scope,
        device: u32,
        campaign: &str,
    ) -> Result<Option<Update>, Refusal> {
        let rows = self.store.ask(scope, UpdatesOfDevice { device }).await?;
        Ok(rows.into_iter().find(|row| row.campaign == campaign))
    }

    /// The device begins, or goes on after it was interrupted.
    ///
    /// # Errors
    ///
    /// The update is not the device's, is over, or may not begin yet.
    pub async fn begin(
        &self,
        scope: &Scope,
        id: &DeviceId,
        campaign: &str,
    ) -> Result<Offer, Refusal> {
        let number = self.device(scope, id).await?.device.number;
        if let Some(row) = self.row(scope, number, campaign).await? {
            if row.stage.is_over() {
                let state = words(row.stage).0.to_owned();
                return Err(Refusal::WrongState { state, what: "it cannot be started" });
            }
            return self.offer(scope, number, campaign).await;
        }
        self.must_be_open(scope, number, campaign)?;
        // Only what stands first begins: priority and data plans would mean nothing otherwise.
        match self.next(scope, id).await? {
            Next::Update(offer) if offer.campaign == campaign => {}
            _ => {
                let what = "something else is before it in the device's queue";
                return Err(Refusal::WrongState { state: "pending".into(), what });
            }
        }
        let moved = self.moved(number, campaign, None, Stage::Downloading);
        let batch = Batch::new(scope, "update.start", campaign, self.now())
            .with(Change::Seen { id: id.as_str().into(), at: self.now() })
            .with(moved)
            .telling("update.started", json!({ "device": id.as_str() }));
        self.write(batch).await?;
        self.offer(scope, number, campaign).await
    }

    fn must_be_open(&self, scope: &Scope, number: u32, campaign: &str) -> Result<(), Refusal> {
        let fleet = self.fleet(scope)?;
        let queue = fleet.queue.read().map_err(poisoned)?;
        let entry = queue.entry(campaign).filter(|entry| entry.devices().contains(number));
        let entry = entry.ok_or_else(|| missing(Noun::Update))?;
        let (state, _) = super::devices::rest(entry.campaign.rest);
        if state != "pending" {
            return Err(Refusal::WrongState { state: state.into(), what: "it cannot be started" });
        }
        if !entry.is_open(self.now()) {
            let what = "this is not the time for it";
            return Err(Refusal::WrongState { state: state.into(), what });
        }
        Ok(())
    }

    fn moved(&self, device: u32, campaign: &str, row: Option<&Update>, stage: Stage) -> Change {
        let now = self.now();
        let update = Update {
            campaign: campaign.to_owned(),
            device,
            stage,
            code: String::new(),
            text: String::new(),
            started_at: row.map_or(now, |row| row.started_at),
            changed_at: now,
        };
        Change::Move { update, from: row.map(|row| row.stage) }
    }

    /// What a device says of an update. Said twice, it changes nothing.
    ///
    /// # Errors
    ///
    /// The update is not the device's, or was never begun.
    pub async fn report(
        &self,
        scope: &Scope,
        id: &DeviceId,
        campaign: &str,
        said: Said,
    ) -> Result<Report, Refusal> {
        let number = self.device(scope, id).await?.device.number;
        let row = self.row(scope, number, campaign).await?;
        let parts = self.offer(scope, number, campaign).await?.parts;
        let Some(part) = parts.last() else { return Err(missing(Noun::Update)) };
        if row.is_none() {
            self.must_be_open(scope, number, campaign)?;
            if !matches!(said, Said::Declined) {
                let what = "it was not started; start it first";
                return Err(Refusal::WrongState { state: "pending".into(), what });
            }
        }
        let from = row.as_ref().map(|row| row.stage);
        let Some((stage, code, text)) = judge(from, said, &part.package) else {
            let (state, phase) = from.map_or(("pending", None), words);
            return Ok(Report { state, phase });
        };
        let Change::Move { mut update, from } = self.moved(number, campaign, row.as_ref(), stage)
        else {
            unreachable!("a move is a move");
        };
        (update.code, update.text) = (code, text);
        let told = match stage {
            Stage::Completed => "update.completed",
            Stage::Failed => "update.failed",
            _ => "update.moved",
        };
        let data = json!({ "device": id.as_str(), "phase": words(stage).1, "code": update.code });
        let mut batch = Batch::new(scope, "update.report", campaign, self.now())
            .with(Change::Seen { id: id.as_str().into(), at: self.now() })
            .with(Change::Move { update, from });
        if stage == Stage::Completed {
            let keys = parts.iter().map(|part| part.package.clone()).collect();
            batch = batch.with(Change::Replace { device: id.as_str().into(), keys });
        }
        match self.write(batch.telling(told, data)).await {
            // Another copy of this report was faster.
            Err(Refusal::Store(crate::store::Failure::Refused(crate::store::Refused::Stale(
                _,
            )))) => {
                let row = self.row(scope, number, campaign).await?;
                let (state, phase) = row.map_or(("pending", None), |row| words(row.stage));
                Ok(Report { state, phase })
            }
            written => written.map(|_| {
                let (state, phase) = words(stage);
                Report { state, phase }
            }),
        }
    }

    /// What a device has installed: this and nothing else. Ends requests for it, and shows whether
    /// what it said of its updates is so.
    ///
    /// # Errors
    ///
    /// The device is not there, or names too many packages.
    pub async fn inventory(
        &self,
        scope: &Scope,
        id: &DeviceId,
        running: &[PackageId],
    ) -> Result<(), Refusal> {
        if running.len() > RUNNING_MAX {
            let what = format!("an inventory has at most {RUNNING_MAX} packages");
            return Err(Refusal::Senseless(what));
        }
        let number = self.device(scope, id).await?.device.number;
        let mut keys: Vec<PackageKey> = running.iter().map(PackageKey::from).collect();
        keys.sort();
        keys.dedup();
        let now = self.now();
        let mut batch = Batch::new(scope, "device.inventory", id.as_str(), now)
            .with(Change::Seen { id: id.as_str().into(), at: now })
            .with(Change::SetInstalled { device: id.as_str().into(), keys });
        let requests = {
            let fleet = self.fleet(scope)?;
            let queue = fleet.queue.read().map_err(poisoned)?;
            let mine = queue.inventories.iter().filter(|one| one.device == number);
            mine.map(|one| one.id.clone()).collect::<Vec<_>>()
        };
        batch = batch.telling("device.installed", json!({}));
        for request in &requests {
            let ended = Stage::Completed;
            batch = batch.with(Change::EndInventory { id: request.clone(), ended });
        }
        if !requests.is_empty() {
            batch = batch.telling("inventory.completed", json!({ "requests": requests }));
        }
        self.write(batch).await?;
        for row in self.store.ask(scope, UpdatesOfDevice { device: number }).await? {
            if row.stage == Stage::Verifying {
                let running = running.to_vec();
                self.report(scope, id, &row.campaign, Said::Succeeded { running }).await?;
            }
        }
        Ok(())
    }
}

/// Where an update goes from where it stands, with code and text; `None` when nothing changes.
fn judge(from: Option<Stage>, said: Said, ordered: &PackageKey) -> Option<(Stage, String, String)> {
    let words = |stage| Some((stage, String::new(), String::new()));
    match (from, said) {
        // It has ended; what a device says of what was taken from it by force is still heard.
        (Some(Stage::Completed | Stage::Failed), _) => None,
        (Some(Stage::Cancelled), Said::Now(_) | Said::Declined) => None,
        // Forward only: what was said late, or twice, takes nothing back.
        (from, Said::Now(stage)) => {
            if from.is_some_and(|from| from < stage) && !stage.is_over() {
                words(stage)
            } else {
                None
            }
        }
        (_, Said::Declined) => {
            let text = "whoever has the device in hand declined it";
            Some((Stage::Failed, "user_declined".into(), text.into()))
        }
        (_, Said::Failed { code, text }) => {
            let mut text = text.replace('\0', "\u{fffd}");
            let mut end = text.len().min(TEXT_BYTES_MAX);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            Some((Stage::Failed, code.as_str().into(), text))
        }
        (from, Said::Succeeded { running }) => {
            let same_name = |id: &&PackageId| id.name.as_str() == ordered.name;
            let mut mine = running.iter().filter(same_name);
            if mine.clone().any(|id| id.version.as_str() == ordered.version) {
                words(Stage::Completed)
            } else if let Some(other) = mine.next() {
                let text = format!("after the restart {other} runs");
                Some((Stage::Failed, "rolled_back".into(), text))
            } else if from == Some(Stage::Verifying) {
                None
            } else {
                words(Stage::Verifying)
            }
        }
    }
}
