//! The one follower of a node: reads the events in the order of their numbers, brings the memory up to
//! date, then tells the readers. This node's own commits take this road too.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::fleet::{Feed, Fleet, Told};
use super::{Refusal, Server, missing};
use crate::access::{Scope, Tenant, housekeeping};
use crate::store::{
    CampaignById, Campaigns, DevicesAfter, DevicesByNumber, Event, Inventories, MembersOf, Noun,
    UpdatesOfCampaign, UpdatesOfDevice,
};

/// Devices that are read at once when a node begins.
const PAGE: u32 = 4096;
/// Events that are read at once.
const EVENTS: u32 = 1000;
/// How often the events of other nodes are looked for.
const ELSEWHERE: Duration = Duration::from_millis(200);
/// How long a follower waits for a database that is away.
const AWAY: Duration = Duration::from_millis(500);

/// Follows until the server is gone.
pub(super) async fn follow(server: Weak<Server>) {
    let Some(mut committed) = server.upgrade().map(|server| server.store.committed()) else {
        return;
    };
    loop {
        let Some(this) = server.upgrade() else { return };
        let shared = this.store.is_shared();
        let caught_up = this.catch_up().await;
        let applied = *this.applied.borrow();
        drop(this);
        if let Err(refusal) = caught_up {
            tracing::warn!("events cannot be read: {refusal}");
            tokio::time::sleep(AWAY).await;
            continue;
        }
        if *committed.borrow_and_update() > applied {
            continue;
        }
        let changed = tokio::time::timeout(ELSEWHERE, committed.changed()).await;
        match changed {
            // The writer is gone, and with it the server.
            Ok(Err(_)) => return,
            Ok(Ok(())) => {}
            Err(_) if shared => {}
            // Looks now and then whether the server is still there.
            Err(_) => {}
        }
    }
}

impl Server {
    /// Everything into memory, from what is stored.
    pub(super) async fn load(self: &Arc<Self>) -> Result<(), Refusal> {
        // What happens while this reads is read again by the follower.
        let head = self.store.event_head().await?;
        for name in self.store.tenants().await? {
            let fleet = Arc::new(Fleet::new());
            let scope = housekeeping(name.tenant);
            let mut after = None;
            loop {
                let page = self.store.ask(&scope, DevicesAfter { after, limit: PAGE }).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.device.number);
                for equipped in &page {
                    fleet.put(equipped, self.now());
                }
            }
            for campaign in self.store.ask(&scope, Campaigns {}).await? {
                self.load_campaign(&scope, &fleet, &campaign.id).await?;
            }
            let waiting = self.store.ask(&scope, Inventories { device: None }).await?;
            fleet.queue.write().map_err(poisoned)?.inventories = waiting;
            self.fleets.write().map_err(poisoned)?.insert(name.tenant, fleet);
        }
        self.applied.send_replace(head);
        Ok(())
    }

    async fn load_campaign(&self, scope: &Scope, fleet: &Fleet, id: &str) -> Result<(), Refusal> {
        let asked = CampaignById { id: id.to_owned() };
        let Some(campaign) = self.store.ask(scope, asked).await? else { return Ok(()) };
        let known = fleet.queue.read().map_err(poisoned)?.knows(id);
        if known {
            fleet.queue.write().map_err(poisoned)?.campaign(campaign);
            return Ok(());
        }
        let members = self.store.ask(scope, MembersOf { id: id.to_owned() }).await?;
        let mut updates = vec![];
        loop {
            let after = updates.last().map(|update: &crate::store::Update| update.device);
            let asked = UpdatesOfCampaign { id: id.to_owned(), after, limit: PAGE };
            let page = self.store.ask(scope, asked).await?;
            if page.is_empty() {
                break;
            }
            updates.extend(page);
        }
        fleet.queue.write().map_err(poisoned)?.add(campaign, members, &updates);
        Ok(())
    }

    async fn catch_up(self: &Arc<Self>) -> Result<(), Refusal> {
        loop {
            let applied = *self.applied.borrow();
            let events = self.store.events_after(applied, EVENTS).await?;
            let Some(last) = events.last() else { return Ok(()) };
            let last = last.number;
            let tenants: BTreeSet<Tenant> = events.iter().map(|event| event.tenant).collect();
            for tenant in tenants {
                let mine: Vec<&Event> =
                    events.iter().filter(|event| event.tenant == tenant).collect();
                self.apply(tenant, &mine).await?;
            }
            self.applied.send_replace(last);
            if events.len() < EVENTS as usize {
                return Ok(());
            }
        }
    }

    /// Brings one tenant's memory up to date.
    async fn apply(self: &Arc<Self>, tenant: Tenant, events: &[&Event]) -> Result<(), Refusal> {
        let fleet = match self.fleet_of(tenant) {
            Some(fleet) => fleet,
            None => {
                let fleet = Arc::new(Fleet::new());
                self.fleets.write().map_err(poisoned)?.insert(tenant, fleet.clone());
                fleet
            }
        };
        let scope = housekeeping(tenant);
        let mut touched = roaring::RoaringBitmap::new();
        for event in events {
            touched |= &event.touched;
        }
        let mut gone = touched.clone();
        let asked = DevicesByNumber { numbers: touched.clone() };
        for equipped in self.store.ask(&scope, asked).await? {
            gone.remove(equipped.device.number);
            fleet.put(&equipped, self.now());
        }
        for number in &gone {
            fleet.remove(number, self.now());
            fleet.queue.write().map_err(poisoned)?.remove(number);
        }
        let of = |noun: &str| {
            let mine = events.iter().filter(|event| event.kind.starts_with(noun));
            mine.map(|event| event.subject.clone()).collect::<BTreeSet<String>>()
        };
        for campaign in of("campaign.") {
            self.load_campaign(&scope, &fleet, &campaign).await?;
        }
        let moved = events.iter().filter(|event| event.kind.starts_with("update."));
        for number in moved.flat_map(|event| &event.touched).collect::<BTreeSet<u32>>() {
            let updates = self.store.ask(&scope, UpdatesOfDevice { device: number }).await?;
            fleet.queue.write().map_err(poisoned)?.moved(&updates);
        }
        if events.iter().any(|event| event.kind.starts_with("inventory.")) || !gone.is_empty() {
            let waiting = self.store.ask(&scope, Inventories { device: None }).await?;
            fleet.queue.write().map_err(poisoned)?.inventories = waiting;
        }
        for event in events {
            fleet.tell(Told::from(*event));
        }
        Ok(())
    }

    /// The tenant's events after a number, and then as they come.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn listen(&self, scope: &Scope, after: Option<i64>) -> Result<Feed, Refusal> {
        let fleet = self.fleet_of(scope.tenant()).ok_or_else(|| missing(Noun::Tenant))?;
        // First listen, then read: nothing falls between.
        let coming = fleet.listen();
        let head = *self.applied.borrow();
        let mut last = after.unwrap_or(head).clamp(0, head);
        let mut stored = std::collections::VecDeque::new();
        let begin = last;
        while last < head {
            let events = self.store.events_after(last, EVENTS).await?;
            let Some(newest) = events.last() else { break };
            last = newest.number;
            let mine = events.iter().filter(|event| event.tenant == scope.tenant());
            stored.extend(mine.map(Told::from));
        }
        Ok(Feed { stored, coming, last: begin })
    }
}

pub(super) fn poisoned<T>(_: std::sync::PoisonError<T>) -> Refusal {
    crate::store::Failure::Broken("a thread of this server has panicked".into()).into()
}
