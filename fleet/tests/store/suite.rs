//! What every store must do. Scopes come from the console, as the first start has them.

use std::fmt::Write as _;

use freshen_fleet::access::{Scope, Tenant, console};
use freshen_fleet::store::*;
use roaring::RoaringBitmap;
use serde_json::json;

const AT: i64 = 1_700_000_000_000;

pub(crate) fn scope() -> Scope {
    console(1)
}

pub(crate) fn key(name: &str, version: &str) -> PackageKey {
    PackageKey { name: name.into(), version: version.into() }
}

fn batch(what: &'static str, subject: &str) -> Batch {
    Batch::new(&scope(), what, subject, AT)
}

pub(crate) async fn does(store: &Store, changes: Vec<Change>) -> Result<Committed, Failure> {
    let batch = batch("test.change", "it").telling("test.changed", json!({}));
    store.commit(changes.into_iter().fold(batch, Batch::with)).await
}

pub(crate) fn device(id: &str) -> Change {
    Change::AddDevice { id: id.into(), plan: None, about: About::default() }
}

pub(crate) async fn add_device(store: &Store, id: &str) -> Result<Committed, Failure> {
    does(store, vec![device(id)]).await
}

pub(crate) fn package(name: &str, version: &str) -> Change {
    Change::AddPackage { key: key(name, version), facts: PackageFacts::default() }
}

async fn refused(store: &Store, change: Change, why: Refused) {
    assert_eq!(does(store, vec![change]).await.unwrap_err(), Failure::Refused(why));
}

/// A bit of everything.
pub(crate) async fn populate(store: &Store) {
    does(
        store,
        vec![
            Change::AddPlan(Plan { name: "basic".into(), skip_oversize: true }),
            Change::AddCycle {
                plan: "basic".into(),
                cycle: Cycle { start: AT, pool: 1000, used: 0 },
            },
            Change::AddComponent { part: "P-1".into(), description: "a radio".into() },
            package("nav", "1.0"),
            package("nav", "2.0"),
            package("maps", "7"),
            Change::AddDependency { key: key("nav", "2.0"), needs: key("maps", "7") },
            Change::AddFilter { label: "all".into(), expression: "TRUE".into() },
            Change::Link { key: key("nav", "2.0"), label: "all".into() },
        ],
    )
    .await
    .unwrap();
    for n in 0..5 {
        let id = format!("V{n}");
        does(
            store,
            vec![
                Change::AddDevice {
                    id: id.clone(),
                    plan: Some("basic".into()),
                    about: About { tags: vec!["test".into()], created_at: AT, ..About::default() },
                },
                Change::Fit { device: id.clone(), part: "P-1".into() },
                Change::Install { device: id, key: key("nav", "1.0") },
            ],
        )
        .await
        .unwrap();
    }
    does(
        store,
        vec![
            Change::Traffic { device: "V1".into(), bytes: 10, at: AT },
            add_campaign("c1", 0..5),
            go("c1", 1, None, Stage::Notified),
            go("c1", 2, None, Stage::Notified),
            go("c1", 2, Some(Stage::Notified), Stage::Failed),
        ],
    )
    .await
    .unwrap();
}

fn add_campaign(id: &str, devices: std::ops::Range<u32>) -> Change {
    let devices: RoaringBitmap = devices.collect();
    let campaign = Campaign {
        id: id.into(),
        priority: 10,
        not_before: None,
        not_after: Some(AT + 1000),
        created_at: AT,
        rest: Rest::Pending,
        rest_at: None,
        tally: Tally { total: devices.len(), ..Tally::default() },
        order: Order { package: Some(key("nav", "2.0")), ..Order::default() },
        revision: 1,
    };
    Change::AddCampaign { campaign: campaign.into(), members: vec![Members { part: 0, devices }] }
}

fn go(campaign: &str, device: u32, from: Option<Stage>, stage: Stage) -> Change {
    let update = Update {
        campaign: campaign.into(),
        device,
        stage,
        code: if stage == Stage::Failed { "install_failed".into() } else { String::new() },
        text: String::new(),
        started_at: AT,
        changed_at: AT + 1,
    };
    Change::Move { update, from }
}

/// Everything that the store can be asked for, as text: what two stores are compared by.
pub(crate) async fn everything(store: &Store) -> String {
    let scope = scope();
    let mut text = String::new();
    macro_rules! ask {
        ($question:expr) => {{
            let answer = store.ask(&scope, $question).await.unwrap();
            writeln!(text, "{}: {answer:#?}", stringify!($question)).unwrap();
            answer
        }};
    }
    let devices = ask!(DevicesAfter { after: None, limit: 1000 });
    ask!(Components {});
    for component in store.ask(&scope, Components {}).await.unwrap() {
        ask!(DevicesWithPart { part: component.part.clone() });
    }
    for package in ask!(Packages {}) {
        ask!(DevicesWithPackage { key: package.key.clone() });
        ask!(PackageByKey { key: package.key.clone() });
    }
    ask!(Filters {});
    ask!(Links {});
    ask!(Dependencies {});
    ask!(Vendors {});
    for plan in ask!(Plans {}) {
        ask!(Cycles { plan: plan.name.clone(), from: i64::MIN, to: i64::MAX });
    }
    for campaign in ask!(Campaigns {}) {
        ask!(CampaignById { id: campaign.id.clone() });
        ask!(MembersOf { id: campaign.id.clone() });
        ask!(UpdatesOfCampaign { id: campaign.id.clone(), after: None, limit: 1000 });
        recount(store, &campaign).await;
    }
    ask!(Inventories { device: None });
    for one in &devices {
        ask!(DeviceById { id: one.device.id.clone() });
        ask!(UpdatesOfDevice { device: one.device.number });
        ask!(Inventories { device: Some(one.device.number) });
    }
    let numbers: RoaringBitmap = devices.iter().map(|one| one.device.number).step_by(2).collect();
    ask!(DevicesByNumber { numbers: numbers.clone() });
    ask!(Tokens {});
    ask!(AuditHead {});
    let lines = ask!(Lines { after: 0, limit: 100_000 });
    chain::check(0, chain::BEGIN, &lines).unwrap();
    let events = store.events_after(0, 100_000).await.unwrap();
    writeln!(text, "{events:#?} {:#?}", store.tenants().await.unwrap()).unwrap();
    text
}

/// The counters of a campaign are what counting anew gives.
async fn recount(store: &Store, campaign: &Campaign) {
    let scope = scope();
    let all = UpdatesOfCampaign { id: campaign.id.clone(), after: None, limit: u32::MAX };
    let updates = store.ask(&scope, all).await.unwrap();
    let members = store.ask(&scope, MembersOf { id: campaign.id.clone() }).await.unwrap();
    let mut tally =
        Tally { total: members.last().map_or(0, |one| one.devices.len()), ..Tally::default() };
    for update in updates {
        match update.stage {
            Stage::Completed => tally.completed += 1,
            Stage::Failed => tally.failed += 1,
            Stage::Cancelled => tally.cancelled += 1,
            _ => tally.in_flight += 1,
        }
    }
    assert_eq!(tally, campaign.tally, "{}", campaign.id);
    let Counts { pending, in_flight, completed, failed, cancelled } = campaign.counts();
    assert_eq!(pending + in_flight + completed + failed + cancelled, tally.total);
}

pub(crate) async fn a_device_is_added_once_and_its_end_takes_all_that_hangs_on_it(store: &Store) {
    populate(store).await;
    refused(store, device("V1"), Refused::Exists(Noun::Device)).await;
    let counts = |campaign: Option<Campaign>| campaign.unwrap().counts();
    let ask = CampaignById { id: "c1".into() };
    let before = counts(store.ask(&scope(), ask.clone()).await.unwrap());
    assert_eq!((before.pending, before.in_flight, before.failed), (3, 1, 1));
    for id in ["V1", "V2", "V3"] {
        does(store, vec![Change::DeleteDevice(id.into())]).await.unwrap();
    }
    let after = counts(store.ask(&scope(), ask).await.unwrap());
    assert_eq!((after.pending, after.in_flight, after.failed), (2, 0, 0));
    refused(store, Change::DeleteDevice("V1".into()), Refused::Missing(Noun::Device)).await;
    add_device(store, "V1").await.unwrap();
    let again = store.ask(&scope(), DeviceById { id: "V1".into() }).await.unwrap().unwrap();
    assert!(again.packages.is_empty() && again.components.is_empty());
    assert_eq!(again.device.number, 5, "a number is never given twice");
    everything(store).await;
}

pub(crate) async fn a_refused_batch_leaves_nothing_behind(store: &Store) {
    populate(store).await;
    let before = everything(store).await;
    let missing = [
        (Change::Fit { device: "V0".into(), part: "no".into() }, Noun::Component),
        (Change::Fit { device: "no".into(), part: "P-1".into() }, Noun::Device),
        (Change::Unfit { device: "V0".into(), part: "no".into() }, Noun::Fitting),
        (Change::Install { device: "V0".into(), key: key("no", "1") }, Noun::Package),
        (Change::Uninstall { device: "V0".into(), key: key("maps", "7") }, Noun::Installation),
        (Change::Uninstall { device: "V0".into(), key: key("no", "7") }, Noun::Installation),
        (Change::Link { key: key("nav", "1.0"), label: "no".into() }, Noun::Filter),
        (Change::Unlink { key: key("nav", "1.0"), label: "all".into() }, Noun::Link),
        (Change::DeleteFilter("no".into()), Noun::Filter),
        (Change::AddDependency { key: key("nav", "1.0"), needs: key("no", "1") }, Noun::Needed),
        (Change::DeleteDependency { key: key("no", "1"), needs: key("maps", "7") }, Noun::Package),
        (Change::DeleteDependency { key: key("maps", "7"), needs: key("no", "7") }, Noun::Needed),
        (
            Change::DeleteDependency { key: key("maps", "7"), needs: key("nav", "1.0") },
            Noun::Dependency,
        ),
        (Change::Traffic { device: "no".into(), bytes: 1, at: 0 }, Noun::Device),
        (
            Change::AddCycle { plan: "no".into(), cycle: Cycle { start: 0, pool: 1, used: 0 } },
            Noun::Plan,
        ),
        (Change::DeleteToken("no".into()), Noun::Token),
        (Change::DeleteComponent("no".into()), Noun::Component),
    ];
    for (change, noun) in missing {
        let both = vec![device("NEW"), change.clone()];
        let refused = does(store, both).await.unwrap_err();
        assert_eq!(refused, Failure::Refused(Refused::Missing(noun)), "{change:?}");
    }
    let exists = [
        (Change::AddComponent { part: "P-1".into(), description: String::new() }, Noun::Component),
        (package("nav", "1.0"), Noun::Package),
        (Change::AddFilter { label: "all".into(), expression: "FALSE".into() }, Noun::Filter),
        (Change::AddPlan(Plan { name: "basic".into(), skip_oversize: false }), Noun::Plan),
        (
            Change::AddCycle { plan: "basic".into(), cycle: Cycle { start: AT, pool: 1, used: 0 } },
            Noun::Cycle,
        ),
        (add_campaign("c1", 0..1), Noun::Campaign),
        (Change::AddTenant("default".into()), Noun::Tenant),
    ];
    for (change, noun) in exists {
        refused(store, change, Refused::Exists(noun)).await;
    }
    refused(store, Change::DeleteComponent("P-1".into()), Refused::InUse(Noun::Component)).await;
    assert_eq!(everything(store).await, before);
}

pub(crate) async fn packages_need_each_other_without_circles(store: &Store) {
    does(store, ["a", "b", "c", "d"].map(|name| package(name, "1")).into()).await.unwrap();
    let need = |a: &str, b: &str| Change::AddDependency { key: key(a, "1"), needs: key(b, "1") };
    does(store, vec![need("a", "b"), need("b", "c"), need("a", "c"), need("c", "d")])
        .await
        .unwrap();
    for (a, b) in [("a", "a"), ("b", "a"), ("c", "a"), ("d", "a"), ("d", "c")] {
        refused(store, need(a, b), Refused::Circle).await;
    }
    assert_eq!(store.ask(&scope(), Dependencies {}).await.unwrap().len(), 4);
    does(store, vec![need("a", "b")]).await.unwrap();
    assert_eq!(store.ask(&scope(), Dependencies {}).await.unwrap().len(), 4, "said twice");
}

pub(crate) async fn traffic_is_counted_in_the_cycle_of_its_time_and_none_is_lost(store: &Store) {
    populate(store).await;
    let cycle = Cycle { start: AT + 100, pool: 5000, used: 0 };
    does(store, vec![Change::AddCycle { plan: "basic".into(), cycle }]).await.unwrap();
    let count = |at: i64| Change::Traffic { device: "V0".into(), bytes: 7, at };
    let before = does(store, vec![count(AT - 1)]).await.unwrap();
    assert_eq!(before.cycle, None, "before the first cycle");
    let now = does(store, vec![count(AT + 99)]).await.unwrap().cycle.unwrap();
    assert_eq!(now, ("basic".into(), Cycle { start: AT, pool: 1000, used: 17 }));
    let adds = (0..100).map(|_| does(store, vec![count(AT + 100)]));
    for added in futures_util::future::join_all(adds).await {
        added.unwrap();
    }
    let ask = Cycles { plan: "basic".into(), from: AT + 100, to: AT + 100 };
    assert_eq!(store.ask(&scope(), ask).await.unwrap()[0].used, 700);
    add_device(store, "poor").await.unwrap();
    let none = does(store, vec![Change::Traffic { device: "poor".into(), bytes: 7, at: AT }]).await;
    assert_eq!(none.unwrap().cycle, None, "no plan");
}

pub(crate) async fn a_campaigns_five_counts_add_up_through_every_move(store: &Store) {
    populate(store).await;
    does(store, vec![add_campaign("c2", 0..5)]).await.unwrap();
    let stale = || Refused::Stale(Noun::Update);
    does(store, vec![go("c2", 0, None, Stage::Notified)]).await.unwrap();
    refused(store, go("c2", 0, None, Stage::Notified), stale()).await;
    refused(store, go("c2", 0, Some(Stage::Installing), Stage::Verifying), stale()).await;
    refused(store, go("c2", 77, None, Stage::Notified), stale()).await;
    does(store, vec![go("c2", 0, Some(Stage::Notified), Stage::Verifying)]).await.unwrap();
    does(store, vec![go("c2", 0, Some(Stage::Verifying), Stage::Completed)]).await.unwrap();
    does(store, vec![go("c2", 1, None, Stage::Cancelled)]).await.unwrap();
    let end = |rest| Change::EndRest { campaign: "c2".into(), rest, at: AT };
    does(store, vec![end(Rest::Cancelled)]).await.unwrap();
    refused(store, end(Rest::Expired), Refused::Stale(Noun::Campaign)).await;
    refused(store, go("c2", 3, None, Stage::Notified), stale()).await;
    let ask = CampaignById { id: "c2".into() };
    let counts = store.ask(&scope(), ask).await.unwrap().unwrap().counts();
    assert_eq!((counts.completed, counts.cancelled, counts.pending), (1, 4, 0));
    let listed = Change::Blacklist { key: key("nav", "2.0"), listed: Listed::On };
    does(store, vec![listed]).await.unwrap();
    refused(store, add_campaign("c3", 0..1), Refused::Blacklisted).await;
    everything(store).await;
}

pub(crate) async fn of_many_adds_of_one_id_one_is_first(store: &Store) {
    let adds = (0..1000).map(|_| add_device(store, "SAME"));
    let answers = futures_util::future::join_all(adds).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    let exists = Failure::Refused(Refused::Exists(Noun::Device));
    assert_eq!(answers.iter().filter(|answer| answer.as_ref().err() == Some(&exists)).count(), 999);
    let all = store.ask(&scope(), DevicesAfter { after: None, limit: 10 }).await.unwrap();
    assert_eq!(all.len(), 1);
}

pub(crate) async fn event_numbers_have_no_holes_and_the_audit_is_a_chain(store: &Store) {
    let ids: Vec<String> = (0..200).map(|n| format!("V{n}")).collect();
    let adds = ids.iter().map(|id| add_device(store, id));
    let mut told: Vec<i64> = vec![];
    for answer in futures_util::future::join_all(adds).await {
        told.push(answer.unwrap().event);
    }
    told.sort_unstable();
    assert_eq!(told, (1..=200).collect::<Vec<i64>>());
    let events = store.events_after(0, 1000).await.unwrap();
    assert!(events.iter().map(|event| event.number).eq(1..=200));
    assert!(events.iter().all(|event| event.touched.len() == 1));
    assert_eq!(store.events_after(190, 5).await.unwrap().len(), 5);
    assert_eq!(*store.committed().borrow(), 200);
    let lines = store.ask(&scope(), Lines { after: 0, limit: 1000 }).await.unwrap();
    let head = store.ask(&scope(), AuditHead {}).await.unwrap();
    assert_eq!(chain::check(0, chain::BEGIN, &lines).unwrap(), head);
}

pub(crate) async fn tenants_do_not_see_each_other(store: &Store) {
    populate(store).await;
    let before = everything(store).await;
    does(store, vec![Change::AddTenant("other".into())]).await.unwrap();
    let other: Tenant = store.tenants().await.unwrap()[1].tenant;
    let scope = console(other);
    let add = Batch::new(&scope, "device.add", "V1", AT).with(device("V1")).with(device("V2"));
    store.commit(add).await.unwrap();
    let fit = Batch::new(&scope, "device.fit", "V1", AT)
        .with(Change::Fit { device: "V1".into(), part: "P-1".into() });
    let refused = store.commit(fit).await.unwrap_err();
    assert_eq!(refused, Failure::Refused(Refused::Missing(Noun::Component)));
    let end = Change::EndRest { campaign: "c1".into(), rest: Rest::Cancelled, at: AT };
    assert!(store.commit(Batch::new(&scope, "c", "c1", AT).with(end)).await.is_err());
    let delete = Change::DeleteDevice("V1".into());
    store.commit(Batch::new(&scope, "device.delete", "V1", AT).with(delete)).await.unwrap();
    assert_eq!(store.ask(&scope, Packages {}).await.unwrap(), vec![]);
    assert_eq!(store.ask(&scope, Lines { after: 0, limit: 9 }).await.unwrap().len(), 2);
    // What the first tenant has is as before, but for the line that made the other tenant.
    let cut = |text: &str| text.split("AuditHead").next().unwrap().to_owned();
    assert_eq!(cut(&everything(store).await), cut(&before));
}

pub(crate) async fn revisions_keep_two_editors_apart(store: &Store) {
    populate(store).await;
    let edit = |expression: &str, revision| Change::EditFilter {
        label: "all".into(),
        expression: expression.into(),
        revision,
    };
    assert_eq!(does(store, vec![edit("FALSE", Some(1))]).await.unwrap().revision, 2);
    refused(store, edit("NOT TRUE", Some(1)), Refused::Stale(Noun::Filter)).await;
    does(store, vec![edit("TRUE", None)]).await.unwrap();
    let edit = |revision| Change::EditDevice {
        id: "V1".into(),
        plan: None,
        about: About::default(),
        revision,
    };
    assert_eq!(does(store, vec![edit(Some(1))]).await.unwrap().revision, 2);
    refused(store, edit(Some(1)), Refused::Stale(Noun::Device)).await;
    let edit =
        Change::EditPackage { key: key("nav", "1.0"), facts: PackageFacts::default(), revision: 9 };
    refused(store, edit, Refused::Stale(Noun::Package)).await;
}

pub(crate) async fn texts_are_ordered_by_their_bytes(store: &Store) {
    let parts = ["b", "a", "B", "a-b", "a.b", "ab", "_", "10", "9", "ä"];
    for part in parts {
        let add = Change::AddComponent { part: part.into(), description: String::new() };
        does(store, vec![add]).await.unwrap();
    }
    let mut sorted = parts.to_vec();
    sorted.sort_unstable();
    let all = store.ask(&scope(), Components {}).await.unwrap();
    assert!(all.iter().map(|component| component.part.as_str()).eq(sorted));
    for id in ["ä", "Ä", "a ", "a"] {
        add_device(store, id).await.unwrap();
    }
}

pub(crate) async fn a_key_is_answered_once(store: &Store) {
    let answered = Answered {
        key: "k".into(),
        request: "r".into(),
        status: 201,
        location: Some("/x".into()),
        body: "{}".into(),
        at: AT,
    };
    let once = |id: &str| batch("device.add", id).with(device(id)).once(Some(answered.clone()));
    store.commit(once("V1")).await.unwrap();
    let again = store.commit(once("V2")).await.unwrap_err();
    assert_eq!(again, Failure::Refused(Refused::Repeated));
    assert_eq!(store.ask(&scope(), AnsweredTo { key: "k".into() }).await.unwrap(), Some(answered));
    assert_eq!(store.ask(&scope(), AnsweredTo { key: "l".into() }).await.unwrap(), None);
    assert_eq!(store.ask(&scope(), DeviceById { id: "V2".into() }).await.unwrap(), None);
}

pub(crate) async fn what_a_device_reports_is_what_is_installed(store: &Store) {
    populate(store).await;
    let keys = vec![key("nav", "2.0"), key("vendor's own", "0")];
    let set = Change::SetInstalled { device: "V1".into(), keys: keys.clone() };
    does(store, vec![set]).await.unwrap();
    let v1 = store.ask(&scope(), DeviceById { id: "V1".into() }).await.unwrap().unwrap();
    assert_eq!(v1.packages, keys);
    let own = PackageByKey { key: keys[1].clone() };
    assert!(store.ask(&scope(), own.clone()).await.unwrap().unwrap().facts.foreign);
    // Somebody adds it properly: it is foreign no longer, and still installed.
    does(store, vec![package("vendor's own", "0")]).await.unwrap();
    assert!(!store.ask(&scope(), own).await.unwrap().unwrap().facts.foreign);
    let replace = Change::Replace { device: "V1".into(), keys: vec![key("nav", "1.0")] };
    does(store, vec![replace]).await.unwrap();
    let v1 = store.ask(&scope(), DeviceById { id: "V1".into() }).await.unwrap().unwrap();
    assert_eq!(v1.packages, vec![key("nav", "1.0"), key("vendor's own", "0")]);
}

/// Two nodes write at once.
pub(crate) async fn write_from_both(one: &Store, two: &Store) {
    let ids: Vec<String> = (0..200).map(|n| format!("V{n}")).collect();
    let adds = ids.iter().enumerate().map(|(n, id)| add_device([one, two][n % 2], id));
    for answer in futures_util::future::join_all(adds).await {
        answer.unwrap();
    }
    let events = two.events_after(0, 1000).await.unwrap();
    assert!(events.iter().map(|event| event.number).eq(1..=200));
    assert_eq!(everything(one).await, everything(two).await);
    let same = (0..100).map(|n| add_device([one, two][n % 2], "SAME"));
    let answers = futures_util::future::join_all(same).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
}
