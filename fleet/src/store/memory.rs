//! The store in memory: the oracle that the databases are compared with, and the store of the
//! simulator. It shares no code with them but the types.

use std::collections::{BTreeMap, BTreeSet};

use super::batch::{Batch, Change, Committed, Listed, Noun, Refused};
use super::chain;
use super::record::{
    Answered, Campaign, Component, Cycle, Device, Equipped, Event, Filter, Inventory, Line,
    Members, Package, PackageFacts, PackageKey, Plan, Rest, Stage, Tally, Update, Vendor,
};
use crate::access::{Credential, Digest, Role, Tenant};

/// Everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    pub(super) fleets: BTreeMap<Tenant, Fleet>,
    pub(super) tokens: BTreeMap<Digest, Credential>,
    pub(super) events: Vec<Event>,
}

/// What one tenant has.
#[derive(Clone, Debug, Default)]
pub(super) struct Fleet {
    pub(super) tenant: Tenant,
    pub(super) name: String,
    pub(super) next_device: u32,
    pub(super) next_package: u32,
    pub(super) devices: BTreeMap<u32, Equipped>,
    pub(super) components: BTreeMap<String, Component>,
    pub(super) packages: BTreeMap<PackageKey, Package>,
    pub(super) filters: BTreeMap<String, Filter>,
    pub(super) links: BTreeSet<(PackageKey, String)>,
    pub(super) dependencies: BTreeSet<(PackageKey, PackageKey)>,
    pub(super) vendors: BTreeMap<String, Vendor>,
    pub(super) plans: BTreeMap<String, Plan>,
    pub(super) cycles: BTreeMap<(String, i64), Cycle>,
    pub(super) campaigns: BTreeMap<String, (Campaign, Vec<Members>)>,
    pub(super) updates: BTreeMap<(String, u32), Update>,
    pub(super) inventories: BTreeMap<String, Inventory>,
    pub(super) lines: Vec<Line>,
    pub(super) answered: BTreeMap<String, Answered>,
}

impl Memory {
    /// Commits a batch, or leaves everything as it was.
    pub(super) fn commit(&mut self, batch: &Batch) -> Result<Committed, Refused> {
        let mut next = self.clone();
        let mut committed = Committed::default();
        if !next.fleets.contains_key(&batch.tenant) {
            return Err(Refused::Missing(Noun::Tenant));
        }
        if let Some(once) = &batch.once {
            let fleet = next.fleet(batch.tenant);
            if fleet.answered.insert(once.key.clone(), once.clone()).is_some() {
                return Err(Refused::Repeated);
            }
        }
        for change in &batch.changes {
            next.change(batch.tenant, change, &mut committed)?;
        }
        for (n, event) in batch.events.iter().enumerate() {
            next.events.push(Event {
                number: next.events.len() as i64 + 1,
                tenant: batch.tenant,
                at: batch.at,
                kind: event.kind.to_owned(),
                subject: event.subject.clone(),
                data: event.data.to_string(),
                touched: if n == 0 { committed.touched.clone() } else { Default::default() },
            });
        }
        committed.event = next.events.len() as i64;
        let fleet = next.fleet(batch.tenant);
        let mut line = Line {
            number: fleet.lines.len() as i64 + 1,
            at: batch.at,
            who: batch.who.clone(),
            action: batch.action.to_owned(),
            subject: batch.subject.clone(),
            hash: chain::BEGIN,
        };
        line.hash = chain::link(&fleet.lines.last().map_or(chain::BEGIN, |line| line.hash), &line);
        fleet.lines.push(line);
        *self = next;
        Ok(committed)
    }

    /// A first tenant, before there is anybody who could add one.
    pub(super) fn found(&mut self, name: &str) {
        let tenant = self.fleets.keys().max().map_or(1, |last| last + 1);
        self.fleets.insert(tenant, Fleet { tenant, name: name.into(), ..Fleet::default() });
    }

    fn fleet(&mut self, tenant: Tenant) -> &mut Fleet {
        self.fleets.entry(tenant).or_default()
    }

    fn change(
        &mut self,
        tenant: Tenant,
        change: &Change,
        committed: &mut Committed,
    ) -> Result<(), Refused> {
        match change {
            Change::AddTenant(name) => {
                if self.fleets.values().any(|fleet| fleet.name == *name) {
                    return Err(Refused::Exists(Noun::Tenant));
                }
                self.found(name);
                Ok(())
            }
            Change::AddToken(digest, token) => {
                if let Role::Device(id) = &token.role {
                    self.fleet(tenant).known(id)?;
                }
                if self.tokens.values().any(|other| other.id == token.id) {
                    return Err(Refused::Exists(Noun::Token));
                }
                let token = Credential { tenant, ..token.clone() };
                match self.tokens.insert(*digest, token) {
                    Some(_) => Err(Refused::Exists(Noun::Token)),
                    None => Ok(()),
                }
            }
            Change::DeleteToken(id) => {
                let before = self.tokens.len();
                self.tokens.retain(|_, token| token.tenant != tenant || token.id != *id);
                if before == self.tokens.len() {
                    return Err(Refused::Missing(Noun::Token));
                }
                Ok(())
            }
            Change::DeleteDevice(id) => {
                self.tokens.retain(|_, token| {
                    token.tenant != tenant || token.role != Role::Device(id.clone())
                });
                self.fleet(tenant).delete_device(id, committed)
            }
            other => self.fleet(tenant).change(other, committed),
        }
    }
}

impl Fleet {
    pub(super) fn device(&self, id: &str) -> Option<&Equipped> {
        self.devices.values().find(|one| one.device.id == id)
    }

    fn known(&mut self, id: &str) -> Result<&mut Equipped, Refused> {
        let found = self.devices.values_mut().find(|one| one.device.id == id);
        found.ok_or(Refused::Missing(Noun::Device))
    }

    fn package(&mut self, key: &PackageKey, noun: Noun) -> Result<&mut Package, Refused> {
        self.packages.get_mut(key).ok_or(Refused::Missing(noun))
    }

    fn plan(&self, plan: Option<&String>) -> Result<(), Refused> {
        match plan {
            Some(plan) if !self.plans.contains_key(plan) => Err(Refused::Missing(Noun::Plan)),
            _ => Ok(()),
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each change, as the databases have")]
    fn change(&mut self, change: &Change, committed: &mut Committed) -> Result<(), Refused> {
        match change {
            Change::AddDevice { id, plan, about } => {
                self.plan(plan.as_ref())?;
                if self.device(id).is_some() {
                    return Err(Refused::Exists(Noun::Device));
                }
                let number = self.next_device;
                self.next_device += 1;
                let device = Device {
                    number,
                    id: id.clone(),
                    revision: 1,
                    plan: plan.clone(),
                    seen_at: None,
                    woken_at: None,
                    about: about.clone(),
                };
                let equipped = Equipped { device, packages: vec![], components: vec![] };
                self.devices.insert(number, equipped);
                committed.touched.insert(number);
            }
            Change::EditDevice { id, plan, about, revision } => {
                self.known(id)?;
                self.plan(plan.as_ref())?;
                let device = &mut self.known(id)?.device;
                current(Noun::Device, *revision, device.revision)?;
                device.plan.clone_from(plan);
                device.about = about.clone();
                device.revision += 1;
                committed.revision = device.revision;
                committed.touched.insert(device.number);
            }
            Change::Seen { id, at } => {
                let device = &mut self.known(id)?.device;
                device.seen_at = Some(*at);
                committed.touched.insert(device.number);
            }
            Change::Woken { number, at } => {
                if let Some(one) = self.devices.get_mut(number) {
                    one.device.woken_at = Some(*at);
                }
            }
            Change::AddComponent { part, description } => {
                let component = Component { part: part.clone(), description: description.clone() };
                if self.components.contains_key(part) {
                    return Err(Refused::Exists(Noun::Component));
                }
                self.components.insert(part.clone(), component);
            }
            Change::DeleteComponent(part) => {
                if self.devices.values().any(|one| one.components.contains(part)) {
                    return Err(Refused::InUse(Noun::Component));
                }
                self.components.remove(part).ok_or(Refused::Missing(Noun::Component))?;
            }
            Change::Fit { device, part } => {
                self.known(device)?;
                if !self.components.contains_key(part) {
                    return Err(Refused::Missing(Noun::Component));
                }
                let one = self.known(device)?;
                put(&mut one.components, part);
                committed.touched.insert(one.device.number);
            }
            Change::Unfit { device, part } => {
                let one = self.known(device)?;
                committed.touched.insert(one.device.number);
                take(&mut one.components, part, Noun::Fitting)?;
            }
            Change::AddPackage { key, facts } => self.add_package(key, facts)?,
            Change::EditPackage { key, facts, revision } => {
                let package = self.package(key, Noun::Package)?;
                current(Noun::Package, Some(*revision), package.revision)?;
                package.facts = facts.clone();
                package.revision += 1;
                committed.revision = package.revision;
            }
            Change::Blacklist { key, listed } => {
                let package = self.package(key, Noun::Package)?;
                package.blacklisted = *listed == Listed::On;
                package.revision += 1;
            }
            Change::Install { device, key } => {
                self.known(device)?;
                self.package(key, Noun::Package)?;
                let one = self.known(device)?;
                put(&mut one.packages, key);
                committed.touched.insert(one.device.number);
            }
            Change::Uninstall { device, key } => {
                let one = self.known(device)?;
                committed.touched.insert(one.device.number);
                take(&mut one.packages, key, Noun::Installation)?;
            }
            Change::Replace { device, keys } => {
                self.known(device)?;
                for key in keys {
                    self.package(key, Noun::Package)?;
                    let one = self.known(device)?;
                    one.packages.retain(|other| other.name != key.name);
                    put(&mut one.packages, key);
                    committed.touched.insert(one.device.number);
                }
            }
            Change::SetInstalled { device, keys } => {
                self.known(device)?.packages.clear();
                for key in keys {
                    if !self.packages.contains_key(key) {
                        let facts = PackageFacts { foreign: true, ..PackageFacts::default() };
                        self.add_package(key, &facts)?;
                    }
                    put(&mut self.known(device)?.packages, key);
                }
                committed.touched.insert(self.known(device)?.device.number);
            }
            Change::AddFilter { label, expression } => {
                if self.filters.contains_key(label) {
                    return Err(Refused::Exists(Noun::Filter));
                }
                let filter =
                    Filter { label: label.clone(), expression: expression.clone(), revision: 1 };
                self.filters.insert(label.clone(), filter);
            }
            Change::EditFilter { label, expression, revision } => {
                let filter = self.filters.get_mut(label).ok_or(Refused::Missing(Noun::Filter))?;
                current(Noun::Filter, *revision, filter.revision)?;
                filter.expression.clone_from(expression);
                filter.revision += 1;
                committed.revision = filter.revision;
            }
            Change::DeleteFilter(label) => {
                self.filters.remove(label).ok_or(Refused::Missing(Noun::Filter))?;
                self.links.retain(|(_, other)| other != label);
            }
            Change::Link { key, label } => {
                self.package(key, Noun::Package)?;
                if !self.filters.contains_key(label) {
                    return Err(Refused::Missing(Noun::Filter));
                }
                self.links.insert((key.clone(), label.clone()));
            }
            Change::Unlink { key, label } => {
                self.package(key, Noun::Package)?;
                if !self.links.remove(&(key.clone(), label.clone())) {
                    return Err(Refused::Missing(Noun::Link));
                }
            }
            Change::AddDependency { key, needs } => {
                self.package(key, Noun::Package)?;
                self.package(needs, Noun::Needed)?;
                if self.leads(needs, key) {
                    return Err(Refused::Circle);
                }
                self.dependencies.insert((key.clone(), needs.clone()));
            }
            Change::DeleteDependency { key, needs } => {
                self.package(key, Noun::Package)?;
                self.package(needs, Noun::Needed)?;
                if !self.dependencies.remove(&(key.clone(), needs.clone())) {
                    return Err(Refused::Missing(Noun::Dependency));
                }
            }
            Change::PutVendor(vendor) => {
                self.vendors.insert(vendor.name.clone(), vendor.clone());
            }
            Change::AddPlan(plan) => {
                if self.plans.contains_key(&plan.name) {
                    return Err(Refused::Exists(Noun::Plan));
                }
                self.plans.insert(plan.name.clone(), plan.clone());
            }
            Change::AddCycle { plan, cycle } => {
                self.plan(Some(plan))?;
                let place = (plan.clone(), cycle.start);
                if self.cycles.contains_key(&place) {
                    return Err(Refused::Exists(Noun::Cycle));
                }
                self.cycles.insert(place, cycle.clone());
            }
            Change::Traffic { device, bytes, at } => {
                let Some(plan) = self.known(device)?.device.plan.clone() else { return Ok(()) };
                let range = (plan.clone(), i64::MIN)..=(plan.clone(), *at);
                if let Some((_, cycle)) = self.cycles.range_mut(range).next_back() {
                    cycle.used += bytes;
                    committed.cycle = Some((plan, cycle.clone()));
                }
            }
            Change::AddCampaign { campaign, members } => {
                if let Some(key) = &campaign.order.package
                    && self.package(key, Noun::Package)?.blacklisted
                {
                    return Err(Refused::Blacklisted);
                }
                if self.campaigns.contains_key(&campaign.id) {
                    return Err(Refused::Exists(Noun::Campaign));
                }
                let campaign = Campaign { revision: 1, ..(**campaign).clone() };
                self.campaigns.insert(campaign.id.clone(), (campaign, members.clone()));
            }
            Change::EndRest { campaign, rest, at } => {
                let found = self.campaigns.get_mut(campaign);
                let (campaign, _) = found.ok_or(Refused::Stale(Noun::Campaign))?;
                if campaign.rest != Rest::Pending {
                    return Err(Refused::Stale(Noun::Campaign));
                }
                (campaign.rest, campaign.rest_at) = (*rest, Some(*at));
                campaign.revision += 1;
            }
            Change::Move { update, from } => {
                self.move_update(update, *from)?;
                committed.touched.insert(update.device);
            }
            Change::AddInventory(inventory) => {
                if !self.devices.contains_key(&inventory.device) {
                    return Err(Refused::Missing(Noun::Device));
                }
                if self.inventories.contains_key(&inventory.id) {
                    return Err(Refused::Exists(Noun::Inventory));
                }
                self.inventories.insert(inventory.id.clone(), inventory.clone());
            }
            Change::EndInventory { id, ended } => {
                let waiting = self.inventories.get_mut(id).filter(|one| one.ended.is_none());
                waiting.ok_or(Refused::Missing(Noun::Inventory))?.ended = Some(*ended);
            }
            Change::AddTenant(_)
            | Change::AddToken(..)
            | Change::DeleteToken(_)
            | Change::DeleteDevice(_) => unreachable!("these are not one fleet's alone"),
        }
        Ok(())
    }

    fn add_package(&mut self, key: &PackageKey, facts: &PackageFacts) -> Result<(), Refused> {
        if let Some(found) = self.packages.get_mut(key) {
            if !found.facts.foreign {
                return Err(Refused::Exists(Noun::Package));
            }
            found.facts = facts.clone();
            found.revision += 1;
            return Ok(());
        }
        let number = self.next_package;
        self.next_package += 1;
        let (key, facts) = (key.clone(), facts.clone());
        let package = Package { number, key: key.clone(), revision: 1, blacklisted: false, facts };
        self.packages.insert(key, package);
        Ok(())
    }

    /// Whether `from` is `to`, or needs it, at once or through others.
    fn leads(&self, from: &PackageKey, to: &PackageKey) -> bool {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(key) = next.pop() {
            if key == to {
                return true;
            }
            if seen.insert(key) {
                next.extend(self.dependencies.iter().filter(|edge| edge.0 == *key).map(|e| &e.1));
            }
        }
        false
    }

    fn delete_device(&mut self, id: &str, committed: &mut Committed) -> Result<(), Refused> {
        let number = self.known(id)?.device.number;
        for (campaign, members) in self.campaigns.values_mut() {
            let mut was_member = false;
            for members in members {
                was_member |= members.devices.remove(number);
            }
            if was_member {
                campaign.tally.total -= 1;
            }
            if let Some(update) = self.updates.remove(&(campaign.id.clone(), number)) {
                *count(&mut campaign.tally, update.stage) -= 1;
            }
        }
        self.inventories.retain(|_, one| one.device != number);
        self.devices.remove(&number);
        committed.touched.insert(number);
        Ok(())
    }

    fn move_update(&mut self, to: &Update, from: Option<Stage>) -> Result<(), Refused> {
        let stale = Refused::Stale(Noun::Update);
        let (campaign, _) = self.campaigns.get_mut(&to.campaign).ok_or(stale.clone())?;
        let place = (to.campaign.clone(), to.device);
        match (from, self.updates.get_mut(&place)) {
            (Some(from), Some(update)) if update.stage == from => {
                *count(&mut campaign.tally, from) -= 1;
                update.stage = to.stage;
                update.code.clone_from(&to.code);
                update.text.clone_from(&to.text);
                update.changed_at = to.changed_at;
            }
            (None, None)
                if campaign.rest == Rest::Pending && self.devices.contains_key(&to.device) =>
            {
                self.updates.insert(place, to.clone());
            }
            _ => return Err(stale),
        }
        *count(&mut campaign.tally, to.stage) += 1;
        Ok(())
    }
}

fn count(tally: &mut Tally, stage: Stage) -> &mut u64 {
    match stage {
        Stage::Completed => &mut tally.completed,
        Stage::Failed => &mut tally.failed,
        Stage::Cancelled => &mut tally.cancelled,
        _ => &mut tally.in_flight,
    }
}

fn current(noun: Noun, expected: Option<i64>, found: i64) -> Result<(), Refused> {
    match expected {
        Some(expected) if expected != found => Err(Refused::Stale(noun)),
        _ => Ok(()),
    }
}

/// Puts something into a sorted list once.
fn put<T: Ord + Clone>(list: &mut Vec<T>, item: &T) {
    if let Err(place) = list.binary_search(item) {
        list.insert(place, item.clone());
    }
}

fn take<T: Ord>(list: &mut Vec<T>, item: &T, noun: Noun) -> Result<(), Refused> {
    let place = list.binary_search(item).map_err(|_| Refused::Missing(noun))?;
    list.remove(place);
    Ok(())
}
