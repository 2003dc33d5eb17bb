use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::plan::filter::samples::{NOW, devices, filters};
use crate::plan::filter::{Filter, Pattern};

/// What happens to a fleet, and the fleet as a plain map.
#[derive(Default)]
struct Fleet {
    live: Live,
    model: BTreeMap<u32, Facts>,
}

impl Fleet {
    fn apply(&mut self, change: Change) -> Vec<Crossing> {
        match &change {
            Change::Put(number, facts) => {
                // A store knows an id once.
                if self.model.iter().any(|(n, known)| n != number && known.id == facts.id) {
                    return vec![];
                }
                self.model.insert(*number, facts.clone());
            }
            Change::Remove(number) => {
                self.model.remove(number);
            }
            Change::Seen(number, at) => {
                self.model.entry(*number).and_modify(|facts| facts.seen = Some(*at));
            }
            Change::Connected(number) => {
                self.model.entry(*number).and_modify(|facts| facts.online = true);
            }
            Change::Disconnected(number) => {
                self.model.entry(*number).and_modify(|facts| facts.online = false);
            }
        }
        self.live.apply(change, NOW)
    }

    fn meant(&self, filter: &Filter) -> RoaringBitmap {
        let meant = self.model.iter().filter(|(_, facts)| filter.matches(facts, NOW));
        meant.map(|(number, _)| *number).collect()
    }
}

fn changes() -> impl Strategy<Value = Change> {
    let number = || prop_oneof![0_u32..12, 65_530_u32..65_540];
    prop_oneof![
        6 => (number(), devices()).prop_map(|(number, facts)| Change::Put(number, facts)),
        2 => number().prop_map(Change::Remove),
        1 => (number(), 0_i64..4_000_000)
            .prop_map(|(number, ago)| Change::Seen(number, Time::from_secs(NOW.as_secs() - ago))),
        1 => number().prop_map(Change::Connected),
        1 => number().prop_map(Change::Disconnected),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_fleet_gives_what_each_device_gives_alone(
        changes in vec(changes(), 0..60), filters in vec(filters(), 1..6),
    ) {
        let mut fleet = Fleet::default();
        for change in changes {
            fleet.apply(change);
        }
        let index = fleet.live.snapshot();
        for filter in &filters {
            let found = index.select(filter, NOW);
            prop_assert_eq!(&found, &fleet.meant(filter), "{}", filter);
            let odd: RoaringBitmap = (0..70_000_u32).filter(|n| n % 2 == 1).collect();
            prop_assert_eq!(index.select_within(&odd, filter, NOW), found & odd, "{}", filter);
        }
        for number in (0..12).chain(65_530..65_540) {
            prop_assert_eq!(index.facts(number), fleet.model.get(&number).cloned());
        }
        let mut ids: Vec<_> = fleet.model.values().map(|facts| facts.id.clone()).collect();
        ids.sort();
        prop_assert!(index.in_order(None).eq(ids.iter().map(|id| index.number(id).unwrap())));
    }

    #[test]
    fn who_watches_is_told_exactly_who_crosses(
        changes in vec(changes(), 0..40), filters in vec(filters(), 1..8), late in filters(),
    ) {
        let mut fleet = Fleet::default();
        let mut watched: BTreeMap<FilterKey, Filter> = BTreeMap::new();
        for (n, filter) in filters.iter().enumerate() {
            fleet.live.watch(FilterKey(n as u64), filter);
            watched.insert(FilterKey(n as u64), filter.clone());
        }
        let half = changes.len() / 2;
        for (n, change) in changes.into_iter().enumerate() {
            if n == half {
                fleet.live.unwatch(FilterKey(0));
                fleet.live.watch(FilterKey(1), &late);
                watched.remove(&FilterKey(0));
                watched.insert(FilterKey(1), late.clone());
            }
            let before: Vec<_> = watched.values().map(|filter| fleet.meant(filter)).collect();
            let told = fleet.apply(change);
            let mut expected = vec![];
            for ((key, filter), before) in watched.iter().zip(&before) {
                let after = fleet.meant(filter);
                let crossing = |way| move |device| Crossing { filter: *key, device, way };
                expected.extend((&after - before).iter().map(crossing(Way::In)));
                expected.extend((before - &after).iter().map(crossing(Way::Out)));
            }
            prop_assert_eq!(told, expected);
        }
    }

    #[test]
    fn a_snapshot_stays_as_it_was(
        first in vec(changes(), 0..30), then in vec(changes(), 1..30), filter in filters(),
    ) {
        let mut fleet = Fleet::default();
        for change in first {
            fleet.apply(change);
        }
        let (snapshot, model) = (fleet.live.snapshot(), fleet.model.clone());
        for change in then {
            fleet.apply(change);
        }
        for number in (0..12).chain(65_530..65_540) {
            prop_assert_eq!(snapshot.facts(number), model.get(&number).cloned());
        }
        fleet.model = model;
        prop_assert_eq!(snapshot.select(&filter, NOW), fleet.meant(&filter));
    }

    #[test]
    fn a_search_by_name_is_a_scan_of_all_names(
        ids in proptest::collection::btree_set("[ab]{1,3}[01]{0,2}", 0..40),
        source in prop_oneof![
            proptest::sample::select(vec!["[ab]+|1$", "\\bb", "^\\w{2}$", "(?i)AB", "a.*1", "b$|^$"])
                .prop_map(str::to_owned),
            "\\^?[ab.]{0,3}[$]?",
        ],
    ) {
        let Ok(pattern) = Pattern::new(&source) else { return Ok(()) };
        let mut live = Live::default();
        for (n, id) in ids.iter().enumerate() {
            live.apply(Change::Put(n as u32, Facts::new(id.parse().unwrap())), NOW);
        }
        let plain = regex::Regex::new(&source).unwrap();
        let expected: RoaringBitmap =
            (0_u32..).zip(&ids).filter(|(_, id)| plain.is_match(id)).map(|(n, _)| n).collect();
        prop_assert_eq!(live.index().matching(&pattern), expected, "{}", source);
    }
}

#[test]
fn an_attribute_that_changes_with_each_report_does_not_fill_the_memory() {
    let mut live = Live::default();
    let mut facts = Facts::new("V".parse().unwrap());
    for n in 0..10_000 {
        facts.attributes.insert("uptime".parse().unwrap(), n.to_string());
        live.apply(Change::Put(7, facts.clone()), NOW);
    }
    assert_eq!(live.index().terms.after(None).count(), 1);
    assert!(live.next_term() <= 2, "numbers of terms are used again");
    live.apply(Change::Remove(7), NOW);
    assert_eq!(live.index().terms.after(None).count(), 0);
    assert!(live.index().is_empty());
}

#[test]
fn a_number_that_is_used_again_keeps_nothing_of_the_one_before() {
    let mut live = Live::default();
    let mut facts = Facts::new("old".parse().unwrap());
    facts.tags.insert("x".parse().unwrap());
    facts.seen = Some(NOW);
    facts.online = true;
    live.apply(Change::Put(3, facts), NOW);
    live.apply(Change::Remove(3), NOW);
    assert_eq!(live.index().facts(3), None);
    let new = Facts::new("new".parse().unwrap());
    live.apply(Change::Put(3, new.clone()), NOW);
    assert_eq!(live.index().facts(3), Some(new));
    assert_eq!(live.index().number(&"old".parse().unwrap()), None);
}

#[test]
fn what_is_installed_where_can_be_asked_by_name() {
    let mut live = Live::default();
    let package = PackageId::new("ivi", "1.2").unwrap();
    for n in 0..3 {
        let mut facts = Facts::new(format!("V{n}").parse().unwrap());
        facts.packages.insert(package.clone());
        facts.components.extend((n == 1).then(|| "screen".parse().unwrap()));
        live.apply(Change::Put(n, facts), NOW);
    }
    let index = live.index();
    assert_eq!(index.with_package(&package).len(), 3);
    assert_eq!(index.with_package(&PackageId::new("ivi", "1").unwrap()).len(), 0);
    assert_eq!(index.with_component(&"screen".parse().unwrap()), RoaringBitmap::from([1]));
    assert!(index.packages().eq([(package, 3)]));
}
