//! Campaigns: planned over the index, committed as one batch, and told about from the queue in memory.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;
use serde_json::json;

use super::devices::{Page, rest};
use super::follow::poisoned;
use super::queue::words;
use super::{Once, Outcome, Refusal, Server, missing, new_id};
use crate::access::Scope;
use crate::plan::bundle::{BundleError, Catalogue, Dependency};
use crate::plan::filter::Filter as Expression;
use crate::plan::queue::{Interval, Priority};
use crate::plan::resolve::{Reinstall, Resolution, ResolveError, resolve};
use crate::plan::time::Time;
use crate::plan::words::{DeviceId, FilterLabel, PackageId};
use crate::store::{
    Batch, Campaign, CampaignById, Change, Dependencies, Inventory, Links, Members, Noun, Order,
    PackageKey, Part, Refused, Rest, Stage, Tally, Update, UpdatesOfCampaign, UpdatesOfDevice,
};

/// How long a request for an inventory is good for: a day.
const INVENTORY_MS: i64 = 24 * 3600 * 1000;
/// Examples in the answer to a dry run.
pub(crate) const EXAMPLES_MAX: usize = 100;
/// How often a campaign is planned anew when what it rests on changed meanwhile.
const PLANS_MAX: usize = 3;

/// What a campaign is to be.
#[derive(Clone, Debug)]
pub struct NewCampaign {
    /// What is ordered.
    pub package: PackageId,
    /// Lower first.
    pub priority: Priority,
    /// When it may begin and must have begun.
    pub interval: Interval,
    /// For people.
    pub description: String,
    /// These filters instead of those that are linked to the package.
    pub filters: Option<Vec<FilterLabel>>,
    /// Only devices that this means, too.
    pub expression: Option<Expression>,
    /// Whether devices that run the version get it again.
    pub reinstall: Reinstall,
}

/// Who would get what.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Sets of devices.
    pub resolution: Resolution,
    /// Labels of the filters that chose.
    pub filters: Vec<String>,
    /// Ids of the examples, and why each is left out.
    pub examples: Vec<(String, Option<String>)>,
}

/// A device of a campaign and where it stands.
#[derive(Clone, Debug)]
pub struct Where {
    /// The device's id.
    pub device: String,
    /// One of the five states.
    pub state: &'static str,
    /// Where it is, while it is in flight.
    pub phase: Option<&'static str>,
    /// Why it failed: one word.
    pub code: String,
    /// Why it failed, for people.
    pub text: String,
    /// When it left `pending`.
    pub started_at: Option<i64>,
    /// When it last changed.
    pub changed_at: Option<i64>,
}

impl Server {
    /// Says who would get what, and changes nothing.
    ///
    /// # Errors
    ///
    /// Something that it names is not there, or cannot be ordered.
    pub async fn dry_run(&self, scope: &Scope, new: &NewCampaign) -> Result<Planned, Refusal> {
        let (resolution, filters) = self.resolve(scope, new).await?;
        let index = self.fleet(scope)?.index();
        let examples = resolution.examples(EXAMPLES_MAX).into_iter().filter_map(|example| {
            let reason = example.reason.map(ToString::to_string);
            Some((index.id(example.device)?.as_str().to_owned(), reason))
        });
        let examples = examples.collect();
        Ok(Planned { resolution, filters, examples })
    }

    /// Says for the first hundred devices what each would get.
    ///
    /// # Errors
    ///
    /// Something that it names is not there, or cannot be ordered.
    pub async fn bundles(
        &self,
        scope: &Scope,
        new: &NewCampaign,
    ) -> Result<Vec<(String, Vec<PackageId>)>, Refusal> {
        let (resolution, _) = self.resolve(scope, new).await?;
        let index = self.fleet(scope)?.index();
        let devices = resolution.devices.iter().take(EXAMPLES_MAX);
        let bundles = devices.filter_map(|device| {
            let packages = resolution.bundle_of(device).map(|member| member.package.clone());
            Some((index.id(device)?.as_str().to_owned(), packages.collect()))
        });
        Ok(bundles.collect())
    }

    async fn resolve(
        &self,
        scope: &Scope,
        new: &NewCampaign,
    ) -> Result<(Resolution, Vec<String>), Refusal> {
        let package = self.package(scope, &new.package).await?;
        if package.blacklisted {
            return Err(Refused::Blacklisted.into());
        }
        self.ready(&package).await?;
        let filters = match &new.filters {
            Some(labels) => labels.iter().map(|label| label.as_str().to_owned()).collect(),
            None => {
                let links = self.store.ask(scope, Links {}).await?.into_iter();
                links.filter(|link| link.0 == package.key).map(|link| link.1).collect::<Vec<_>>()
            }
        };
        let known = self.filters(scope).await?;
        let index = self.fleet(scope)?.index();
        let now = Time::from_millis(self.now());
        let mut candidates = index.all().clone();
        for label in &filters {
            let filter = known.iter().find(|filter| filter.label == *label);
            let filter = filter.ok_or_else(|| missing(Noun::Filter))?;
            candidates = index.select_within(&candidates, &filter.expression.parse()?, now);
        }
        if let Some(expression) = &new.expression {
            candidates = index.select_within(&candidates, expression, now);
        }
        let catalogue = self.package_catalogue(scope).await?;
        let installed = |id: &PackageId| index.with_package(id);
        let resolution = resolve(&catalogue, &installed, &candidates, &new.package, new.reinstall)?;
        Ok((resolution, filters))
    }

    /// Packages and what they need, as plans are made from it.
    async fn package_catalogue(&self, scope: &Scope) -> Result<Catalogue, Refusal> {
        let mut catalogue = Catalogue::default();
        for package in self.packages(scope).await? {
            let id = PackageId::new(&package.key.name, &package.key.version)?;
            let bytes = (!package.facts.files.is_empty()).then(|| package.facts.size());
            catalogue.put(id, bytes, package.blacklisted);
        }
        for (dependent, needed) in self.store.ask(scope, Dependencies {}).await? {
            let id = |key: &PackageKey| PackageId::new(&key.name, &key.version);
            let (needed, dependent) = (id(&needed)?, id(&dependent)?);
            catalogue.add_dependency(&Dependency { needed, dependent })?;
        }
        Ok(catalogue)
    }

    /// Makes a campaign. Gives its id.
    ///
    /// # Errors
    ///
    /// Something that it names is not there, or cannot be ordered.
    pub async fn add_campaign(
        &self,
        scope: &Scope,
        new: &NewCampaign,
        once: Option<Once>,
    ) -> Result<String, Refusal> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (resolution, filters) = self.resolve(scope, new).await?;
            let id = new_id()?;
            let campaign = self.campaign_of(scope, &id, new, &resolution, filters);
            let total = campaign.tally.total;
            let members = (0..).zip(resolution.members);
            let members =
                members.map(|(part, member)| Members { part, devices: member.devices }).collect();
            let batch = Batch::new(scope, "campaign.add", &id, self.now())
                .with(Change::AddCampaign { campaign: Box::new(campaign), members })
                .telling("campaign.added", json!({ "total": total }));
            match self.write_once(scope, batch, once.clone(), &id).await {
                Ok(Outcome::Done(_)) => return Ok(id),
                Ok(Outcome::Again(id)) => return Ok(id),
                Err(Refusal::Store(crate::store::Failure::Refused(Refused::Stale(_))))
                    if tries < PLANS_MAX => {}
                Err(refusal) => return Err(refusal),
            }
        }
    }

    fn campaign_of(
        &self,
        scope: &Scope,
        id: &str,
        new: &NewCampaign,
        resolution: &Resolution,
        filters: Vec<String>,
    ) -> Campaign {
        let part = |member: &crate::plan::resolve::Member| Part {
            package: (&member.package).into(),
            bytes: member.bytes,
        };
        let mut excluded = BTreeMap::<String, u64>::new();
        for (reason, devices) in &resolution.excluded {
            *excluded.entry(reason.code().to_owned()).or_default() += devices.len();
        }
        Campaign {
            id: id.to_owned(),
            priority: u8::try_from(u64::from(new.priority)).unwrap_or(u8::MAX),
            not_before: new.interval.not_before.map(Time::as_millis),
            not_after: new.interval.not_after.map(Time::as_millis),
            created_at: self.now(),
            rest: Rest::Pending,
            rest_at: None,
            tally: Tally { total: resolution.devices.len(), ..Tally::default() },
            order: Order {
                package: Some((&new.package).into()),
                description: new.description.clone(),
                created_by: scope.who().to_owned(),
                filters,
                reinstall: new.reinstall == Reinstall::Yes,
                parts: resolution.members.iter().map(part).collect(),
                excluded: excluded.into_iter().collect(),
            },
            revision: 1,
        }
    }

    /// A campaign.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub async fn campaign(&self, scope: &Scope, id: &str) -> Result<Campaign, Refusal> {
        let asked = CampaignById { id: id.to_owned() };
        self.store.ask(scope, asked).await?.ok_or_else(|| missing(Noun::Campaign))
    }

    /// All campaigns, the oldest first.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn campaigns(&self, scope: &Scope) -> Result<Vec<Campaign>, Refusal> {
        Ok(self.store.ask(scope, crate::store::Campaigns {}).await?)
    }

    /// Cancels what waits; what is in flight goes on. Cancelling twice changes nothing.
    ///
    /// # Errors
    ///
    /// The campaign is not there.
    pub async fn cancel_campaign(&self, scope: &Scope, id: &str) -> Result<(), Refusal> {
        self.campaign(scope, id).await?;
        match self.end_rest(scope, "campaign.cancel", id, Rest::Cancelled).await {
            Err(Refusal::Store(crate::store::Failure::Refused(Refused::Stale(_)))) => Ok(()),
            ended => ended,
        }
    }

    async fn end_rest(
        &self,
        scope: &Scope,
        action: &'static str,
        id: &str,
        rest: Rest,
    ) -> Result<(), Refusal> {
        let told = if rest == Rest::Expired { "campaign.expired" } else { "campaign.cancelled" };
        let at = self.now();
        let batch = Batch::new(scope, action, id, at)
            .with(Change::EndRest { campaign: id.to_owned(), rest, at })
            .telling(told, json!({}));
        self.write(batch).await.map(|_| ())
    }

    /// What waits and whose time is over has failed with `expired`. How many that were.
    ///
    /// # Errors
    ///
    /// The store cannot be read or written.
    pub async fn purge(&self, scope: &Scope) -> Result<u64, Refusal> {
        let now = self.now();
        let mut purged = 0;
        for campaign in self.campaigns(scope).await? {
            let over = campaign.not_after.is_some_and(|end| end < now);
            if campaign.rest != Rest::Pending || !over {
                continue;
            }
            match self.end_rest(scope, "queue.purge", &campaign.id, Rest::Expired).await {
                // What was still waiting when it ended, not when this round began.
                Ok(()) => purged += self.campaign(scope, &campaign.id).await?.tally.rest(),
                // Somebody cancelled it a moment ago, or another node purged it.
                Err(Refusal::Store(crate::store::Failure::Refused(_))) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        let waiting = {
            let fleet = self.fleet(scope)?;
            fleet.queue.read().map_err(poisoned)?.inventories.clone()
        };
        for one in waiting.into_iter().filter(|one| one.not_after < now) {
            let batch = Batch::new(scope, "queue.purge", &one.id, now)
                .with(Change::EndInventory { id: one.id.clone(), ended: Stage::Failed })
                .telling("inventory.expired", json!({}));
            match self.write(batch).await {
                Ok(_) => purged += 1,
                Err(Refusal::Store(crate::store::Failure::Refused(_))) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(purged)
    }

    /// A page of the devices of a campaign, by number, in one state or in all.
    ///
    /// # Errors
    ///
    /// The campaign is not there.
    pub async fn campaign_devices(
        &self,
        scope: &Scope,
        id: &str,
        state: Option<&str>,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Page<Where>, Refusal> {
        let campaign = self.campaign(scope, id).await?;
        let (without_row, left) = {
            let fleet = self.fleet(scope)?;
            let queue = fleet.queue.read().map_err(poisoned)?;
            let entry = queue.entry(id).ok_or_else(|| missing(Noun::Campaign))?;
            (entry.rest(), entry.left.clone())
        };
        let (rest_state, rest_code) = rest(campaign.rest);
        let from = after.map_or(0, |after| after.saturating_add(1));
        let mut found: BTreeMap<u32, Option<Update>> = BTreeMap::new();
        if state.is_none_or(|state| state == rest_state) {
            let waiting = without_row.range(from..).take(limit + 1);
            found.extend(waiting.map(|number| (number, None)));
        }
        if state.is_none_or(|state| state != "pending") && !left.is_empty() {
            let mut after = after;
            loop {
                let asked = UpdatesOfCampaign { id: id.to_owned(), after, limit: 1000 };
                let rows = self.store.ask(scope, asked).await?;
                let Some(last) = rows.last() else { break };
                after = Some(last.device);
                let wanted = rows
                    .into_iter()
                    .filter(|row| state.is_none_or(|state| words(row.stage).0 == state));
                found.extend(wanted.map(|row| (row.device, Some(row))));
                if found.len() > 2 * (limit + 1) {
                    break;
                }
            }
        }
        let more = found.len() > limit;
        let found: Vec<(u32, Option<Update>)> = found.into_iter().take(limit).collect();
        let numbers: RoaringBitmap = found.iter().map(|(number, _)| *number).collect();
        let index = self.fleet(scope)?.index();
        let next = found.last().filter(|_| more).map(|(number, _)| number.to_string());
        let total = numbers.len();
        let items = found.into_iter().filter_map(|(number, row)| {
            let device = index.id(number)?.as_str().to_owned();
            Some(match row {
                None => Where {
                    device,
                    state: rest_state,
                    phase: None,
                    code: rest_code.clone(),
                    text: String::new(),
                    started_at: None,
                    changed_at: campaign.rest_at,
                },
                Some(row) => Where {
                    device,
                    state: words(row.stage).0,
                    phase: words(row.stage).1,
                    code: row.code,
                    text: row.text,
                    started_at: Some(row.started_at),
                    changed_at: Some(row.changed_at),
                },
            })
        });
        Ok(Page { items: items.collect(), next, total })
    }

    /// Cancels one device's update by force: also when it is in flight.
    ///
    /// # Errors
    ///
    /// The device or the update is not there, or it is over.
    pub async fn cancel_update(
        &self,
        scope: &Scope,
        device: &DeviceId,
        campaign: &str,
    ) -> Result<(), Refusal> {
        let number = self.device(scope, device).await?.device.number;
        let rows = self.store.ask(scope, UpdatesOfDevice { device: number }).await?;
        let row = rows.into_iter().find(|row| row.campaign == campaign);
        let from = row.as_ref().map(|row| row.stage);
        if from.is_none() {
            let fleet = self.fleet(scope)?;
            let queue = fleet.queue.read().map_err(poisoned)?;
            let entry = queue.entry(campaign).filter(|entry| entry.devices().contains(number));
            entry.ok_or_else(|| missing(Noun::Update))?;
        }
        if let Some(stage) = from.filter(|stage| stage.is_over()) {
            if stage == Stage::Cancelled {
                return Ok(());
            }
            let state = words(stage).0.to_owned();
            return Err(Refusal::WrongState { state, what: "only what is open can be cancelled" });
        }
        let now = self.now();
        let update = Update {
            campaign: campaign.to_owned(),
            device: number,
            stage: Stage::Cancelled,
            code: String::new(),
            text: String::new(),
            started_at: row.map_or(now, |row| row.started_at),
            changed_at: now,
        };
        let batch = Batch::new(scope, "update.cancel", campaign, now)
            .with(Change::Move { update, from })
            .telling("update.cancelled", json!({ "device": device.as_str() }));
        self.write(batch).await.map(|_| ())
    }

    /// Asks for the list of what a device has installed. Gives the request's id.
    ///
    /// # Errors
    ///
    /// The device is not there.
    pub async fn ask_inventory(
        &self,
        scope: &Scope,
        device: &DeviceId,
        once: Option<Once>,
    ) -> Result<String, Refusal> {
        let number = self.device(scope, device).await?.device.number;
        let (id, now) = (new_id()?, self.now());
        let inventory = Inventory {
            id: id.clone(),
            device: number,
            priority: u8::try_from(u64::from(Priority::default())).unwrap_or(u8::MAX),
            not_before: now,
            not_after: now.saturating_add(INVENTORY_MS),
            created_at: now,
            ended: None,
        };
        let batch = Batch::new(scope, "inventory.ask", &id, now)
            .with(Change::AddInventory(inventory))
            .telling("inventory.requested", json!({ "device": device.as_str() }));
        Ok(match self.write_once(scope, batch, once, &id).await? {
            Outcome::Done(_) => id,
            Outcome::Again(id) => id,
        })
    }
}

impl From<BundleError> for Refusal {
    fn from(error: BundleError) -> Self {
        Self::NotReady(error.to_string())
    }
}

impl From<ResolveError> for Refusal {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Blacklisted(_) => Refused::Blacklisted.into(),
            other => Self::NotReady(other.to_string()),
        }
    }
}
