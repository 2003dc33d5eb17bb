//! The queue in memory: who is in which campaign, and who has left `pending`. A campaign of a million
//! devices is a few bitmaps here; what a device gets next is asked of them, not of the database.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use crate::plan::queue::{self as plan, Interval, Priority, Standing, Task};
use crate::plan::time::Time;
use crate::store::{Campaign, Inventory, Members, Part, Rest, Stage, Update};

/// All campaigns of a tenant.
#[derive(Debug, Default)]
pub(super) struct Queue {
    campaigns: BTreeMap<String, Entry>,
    /// Requests for inventories that wait.
    pub(super) inventories: Vec<Inventory>,
}

/// One campaign.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) campaign: Campaign,
    pub(super) members: Vec<Members>,
    /// Devices with a row of their own.
    pub(super) left: RoaringBitmap,
    /// Those of them that are under way.
    pub(super) in_flight: RoaringBitmap,
}

impl Entry {
    /// What a device gets, what is needed first; nothing if the campaign is not for it.
    pub(super) fn parts(&self, device: u32) -> Vec<&Part> {
        let mine = self.members.iter().filter(|members| members.devices.contains(device));
        mine.filter_map(|members| self.campaign.order.parts.get(members.part as usize)).collect()
    }

    /// All devices that the campaign was made for.
    pub(super) fn devices(&self) -> RoaringBitmap {
        self.members.last().map_or_else(RoaringBitmap::new, |members| members.devices.clone())
    }

    /// The devices without a row, whatever became of them.
    pub(super) fn rest(&self) -> RoaringBitmap {
        self.devices() - &self.left
    }

    /// The devices that wait, whatever the time.
    pub(super) fn waiting(&self) -> RoaringBitmap {
        if self.campaign.rest == Rest::Pending { self.rest() } else { RoaringBitmap::new() }
    }

    /// As the order of a queue is decided.
    fn place(&self, device: u32, standing: Standing) -> plan::Entry<Id> {
        let Campaign { priority, created_at, not_before, not_after, .. } = &self.campaign;
        let bytes = self.parts(device).iter().map(|part| part.bytes).sum();
        plan::Entry {
            id: Id::Campaign(uuid(&self.campaign.id)),
            priority: Priority::try_from(u64::from(*priority)).unwrap_or_default(),
            created: Time::from_millis(*created_at),
            interval: Interval {
                not_before: not_before.map(Time::from_millis),
                not_after: not_after.map(Time::from_millis),
            },
            standing,
            task: Task::Software { bytes },
        }
    }

    /// Whether this is the time for it.
    pub(super) fn is_open(&self, now: i64) -> bool {
        self.campaign.rest == Rest::Pending
            && self.campaign.not_before.is_none_or(|begin| begin <= now)
            && self.campaign.not_after.is_none_or(|end| now <= end)
    }
}

impl Queue {
    pub(super) fn knows(&self, campaign: &str) -> bool {
        self.campaigns.contains_key(campaign)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.campaigns.values()
    }

    pub(super) fn entry(&self, campaign: &str) -> Option<&Entry> {
        self.campaigns.get(campaign)
    }

    pub(super) fn add(&mut self, campaign: Campaign, members: Vec<Members>, updates: &[Update]) {
        let id = campaign.id.clone();
        let (left, in_flight) = Default::default();
        self.campaigns.insert(id, Entry { campaign, members, left, in_flight });
        self.moved(updates);
    }

    pub(super) fn campaign(&mut self, campaign: Campaign) {
        if let Some(entry) = self.campaigns.get_mut(&campaign.id) {
            entry.campaign = campaign;
        }
    }

    pub(super) fn moved(&mut self, updates: &[Update]) {
        for update in updates {
            if let Some(entry) = self.campaigns.get_mut(&update.campaign) {
                entry.left.insert(update.device);
                if update.stage.is_over() {
                    entry.in_flight.remove(update.device);
                } else {
                    entry.in_flight.insert(update.device);
                }
            }
        }
    }

    pub(super) fn remove(&mut self, device: u32) {
        for entry in self.campaigns.values_mut() {
            entry.left.remove(device);
            entry.in_flight.remove(device);
            for members in &mut entry.members {
                members.devices.remove(device);
            }
        }
    }

    /// Everything that is to be done on a device, for [`plan::next`].
    pub(super) fn of_device(&self, device: u32) -> Vec<plan::Entry<Id>> {
        let mut all = vec![];
        for entry in self.campaigns.values() {
            if entry.in_flight.contains(device) {
                all.push(entry.place(device, Standing::InFlight));
            } else if entry.campaign.rest == Rest::Pending
                && !entry.left.contains(device)
                && entry.members.last().is_some_and(|members| members.devices.contains(device))
            {
                all.push(entry.place(device, Standing::Ready));
            }
        }
        for one in self.inventories.iter().filter(|one| one.device == device) {
            all.push(plan::Entry {
                id: Id::Inventory(uuid(&one.id)),
                priority: Priority::try_from(u64::from(one.priority)).unwrap_or_default(),
                created: Time::from_millis(one.created_at),
                interval: Interval {
                    not_before: Some(Time::from_millis(one.not_before)),
                    not_after: Some(Time::from_millis(one.not_after)),
                },
                standing: Standing::Ready,
                task: Task::Inventory,
            });
        }
        all
    }
}

/// What stands in a device's queue, by its UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Id {
    /// An update.
    Campaign(u128),
    /// A request for the list of what is installed.
    Inventory(u128),
}

/// The number in a UUID's text.
fn uuid(text: &str) -> u128 {
    uuid::Uuid::parse_str(text).map_or(0, |uuid| uuid.as_u128())
}

/// The text of a UUID's number.
pub(super) fn uuid_text(number: u128) -> String {
    uuid::Uuid::from_u128(number).to_string()
}

/// The words for where an update stands.
pub(super) fn words(stage: Stage) -> (&'static str, Option<&'static str>) {
    match stage {
        Stage::Notified => ("in_flight", Some("notified")),
        Stage::Downloading => ("in_flight", Some("downloading")),
        Stage::Downloaded => ("in_flight", Some("downloaded")),
        Stage::Installing => ("in_flight", Some("installing")),
        Stage::Verifying => ("in_flight", Some("verifying")),
        Stage::Completed => ("completed", None),
        Stage::Failed => ("failed", None),
        Stage::Cancelled => ("cancelled", None),
    }
}
