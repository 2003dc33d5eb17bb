//! Random sessions: the same changes to a database and to the memory, well formed and not. Each is
//! accepted by both or refused by both for the same reason, and in the end both say the same.

use freshen_fleet::store::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::suite::{does, everything, key};

fn id() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["V0", "V1", "V2", "V3"]).prop_map(str::to_owned)
}

fn package() -> impl Strategy<Value = PackageKey> {
    let all = [("nav", "1"), ("nav", "2"), ("maps", "1"), ("maps", "2"), ("none", "1")];
    prop::sample::select(all.to_vec()).prop_map(|(name, version)| key(name, version))
}

fn label() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["red", "blue"]).prop_map(str::to_owned)
}

fn stage() -> impl Strategy<Value = Stage> {
    prop::sample::select(Stage::ALL.to_vec())
}

fn campaign(id: String, key: PackageKey, devices: Vec<u32>) -> Change {
    let devices: roaring::RoaringBitmap = devices.into_iter().collect();
    let campaign = Campaign {
        id,
        priority: 1,
        not_before: None,
        not_after: None,
        created_at: 5,
        rest: Rest::Pending,
        rest_at: None,
        tally: Tally { total: devices.len(), ..Tally::default() },
        order: Order { package: Some(key), ..Order::default() },
        revision: 1,
    };
    Change::AddCampaign { campaign: campaign.into(), members: vec![Members { part: 0, devices }] }
}

fn change() -> impl Strategy<Value = Change> {
    let about = About::default;
    let fleet = prop_oneof![
        6 => (id(), prop::option::of(label())).prop_map(move |(id, plan)| Change::AddDevice { id, plan, about: about() }),
        1 => id().prop_map(Change::DeleteDevice),
        2 => (id(), prop::option::of(label()), prop::option::of(1..4i64)).prop_map(
            move |(id, plan, revision)| Change::EditDevice { id, plan, about: about(), revision }),
        2 => label().prop_map(|part| Change::AddComponent { part, description: String::new() }),
        1 => label().prop_map(Change::DeleteComponent),
        4 => (id(), label()).prop_map(|(device, part)| Change::Fit { device, part }),
        2 => (id(), label()).prop_map(|(device, part)| Change::Unfit { device, part }),
        4 => (id(), package()).prop_map(|(device, key)| Change::Install { device, key }),
        2 => (id(), package()).prop_map(|(device, key)| Change::Uninstall { device, key }),
        2 => (id(), prop::collection::vec(package(), 0..3))
            .prop_map(|(device, keys)| Change::SetInstalled { device, keys }),
        2 => (id(), prop::collection::vec(package(), 0..3))
            .prop_map(|(device, keys)| Change::Replace { device, keys }),
        1 => (id(), 0..9i64).prop_map(|(id, at)| Change::Seen { id, at }),
    ];
    let catalogue = prop_oneof![
        5 => package().prop_map(|key| Change::AddPackage { key, facts: PackageFacts::default() }),
        1 => (package(), any::<bool>()).prop_map(|(key, on)| Change::Blacklist {
            key, listed: if on { Listed::On } else { Listed::Off } }),
        1 => (package(), 1..3i64).prop_map(|(key, revision)| Change::EditPackage {
            key, facts: PackageFacts::default(), revision }),
        3 => label().prop_map(|label| Change::AddFilter { label, expression: "TRUE".into() }),
        1 => (label(), prop::option::of(1..3i64)).prop_map(|(label, revision)| Change::EditFilter {
            label, expression: "FALSE".into(), revision }),
        1 => label().prop_map(Change::DeleteFilter),
        2 => (package(), label()).prop_map(|(key, label)| Change::Link { key, label }),
        1 => (package(), label()).prop_map(|(key, label)| Change::Unlink { key, label }),
        3 => (package(), package()).prop_map(|(key, needs)| Change::AddDependency { key, needs }),
        1 => (package(), package()).prop_map(|(key, needs)| Change::DeleteDependency { key, needs }),
        3 => label().prop_map(|name| Change::AddPlan(Plan { name, skip_oversize: false })),
        3 => (label(), 0..9i64, 0..99u64).prop_map(|(plan, start, pool)| Change::AddCycle {
            plan, cycle: Cycle { start, pool, used: 0 } }),
        3 => (id(), 0..99u64, 0..9i64)
            .prop_map(|(device, bytes, at)| Change::Traffic { device, bytes, at }),
    ];
    let queue = prop_oneof![
        3 => (label(), package(), prop::collection::vec(0..6u32, 0..6))
            .prop_map(|(id, key, devices)| campaign(id, key, devices)),
        1 => (label(), any::<bool>()).prop_map(|(campaign, end)| Change::EndRest {
            campaign, rest: if end { Rest::Cancelled } else { Rest::Expired }, at: 7 }),
        9 => (label(), 0..6u32, prop::option::of(stage()), stage()).prop_map(
            |(campaign, device, from, stage)| Change::Move { from, update: Update {
                campaign, device, stage, code: "c".into(), text: "t".into(),
                started_at: 1, changed_at: 2 } }),
        2 => (label(), 0..6u32).prop_map(|(id, device)| Change::AddInventory(Inventory {
            id, device, priority: 10, not_before: 0, not_after: 9, created_at: 1, ended: None })),
        1 => label().prop_map(|id| Change::EndInventory { id, ended: Stage::Completed }),
    ];
    prop_oneof![4 => fleet, 4 => catalogue, 3 => queue]
}

/// Moves of updates of devices that are no members are the caller's mistake, not the store's: they
/// are not part of a session.
fn sensible(store_members: &std::collections::BTreeMap<String, Vec<u32>>, change: &Change) -> bool {
    match change {
        Change::Move { update, .. } => store_members
            .get(&update.campaign)
            .is_some_and(|devices| devices.contains(&update.device)),
        _ => true,
    }
}

fn compare(sessions: u32, open: impl AsyncFn() -> (Store, Option<tempfile::TempDir>)) {
    let config = Config { cases: sessions, failure_persistence: None, ..Config::default() };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let sessions = prop::collection::vec(prop::collection::vec(change(), 1..3), 1..60);
    TestRunner::new(config)
        .run(&sessions, |session| {
            runtime.block_on(async {
                let memory = Store::memory().await.unwrap();
                let (store, _dir) = open().await;
                let mut members = std::collections::BTreeMap::new();
                for changes in session {
                    if !changes.iter().all(|change| sensible(&members, change)) {
                        continue;
                    }
                    let expected = does(&memory, changes.clone()).await;
                    let got = does(&store, changes.clone()).await;
                    prop_assert_eq!(&got, &expected, "{:?}", changes);
                    for change in changes {
                        if let (Ok(_), Change::AddCampaign { campaign, members: new }) =
                            (&got, change)
                        {
                            members.insert(campaign.id, new[0].devices.iter().collect());
                        }
                    }
                }
                prop_assert_eq!(everything(&store).await, everything(&memory).await);
                Ok(())
            })
        })
        .unwrap();
}

fn sessions(ordinary: u32) -> u32 {
    std::env::var("SESSIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(ordinary)
}

#[test]
fn random_sessions_over_sqlite_are_those_in_memory() {
    compare(sessions(60), async || {
        let (store, dir) = crate::sqlite().await;
        (store, Some(dir))
    });
}

#[test]
fn random_sessions_over_postgresql_are_those_in_memory() {
    if crate::postgres::database().is_none() {
        return;
    }
    compare(sessions(15), async || {
        let address = crate::postgres::database().expect("it was there a moment ago");
        (Store::postgres(&address).await.unwrap(), None)
    });
}
