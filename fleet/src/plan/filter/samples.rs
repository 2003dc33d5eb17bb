//! Random filters and devices, from words so few that they meet.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::{Age, Comparison, Facts, Filter, Pattern, Unit};
use crate::plan::time::Time;
use crate::plan::words::PackageId;

pub(crate) const NOW: Time = Time::from_secs(1_800_000_000);

/// Filters up to six levels deep.
pub(crate) fn filters() -> impl Strategy<Value = Filter> {
    leaves().prop_recursive(5, 32, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|filter| Filter::Not(Box::new(filter))),
            vec(inner.clone(), 2..4).prop_map(Filter::And),
            vec(inner, 2..4).prop_map(Filter::Or),
        ]
    })
}

fn leaves() -> impl Strategy<Value = Filter> {
    prop_oneof![
        Just(Filter::True),
        Just(Filter::False),
        Just(Filter::Online),
        patterns().prop_map(Filter::VinMatches),
        (patterns(), patterns()).prop_map(|(name, version)| Filter::HasPackage(name, version)),
        patterns().prop_map(Filter::HasComponent),
        ("[kl]", "[v\\\\€ ]{0,2}").prop_map(|(k, v)| Filter::Attribute(k.parse().unwrap(), v)),
        "[xyz]".prop_map(|tag| Filter::Tag(tag.parse().unwrap())),
        ("[ab]{1,2}", comparisons(0), "[0-2][.][0-2]").prop_map(|(p, c, v)| Filter::Runs(
            p.parse().unwrap(),
            c,
            v.parse().unwrap()
        )),
        (comparisons(2), 0_u32..5, select(Unit::ALL.to_vec()))
            .prop_map(|(c, number, (_, unit))| Filter::Seen(c, Age { number, unit })),
    ]
}

fn comparisons(from: usize) -> impl Strategy<Value = Comparison> {
    use Comparison::{AtLeast, AtMost, Equal, Greater, Less, Unequal};
    select([Equal, Unequal, Less, AtMost, Greater, AtLeast][from..].to_vec())
}

fn patterns() -> impl Strategy<Value = Pattern> {
    let known = [
        "",
        "^",
        "$",
        "^$",
        ".*",
        "a",
        "b",
        "ab",
        "^a",
        "^ab",
        "b$",
        "^ab$",
        "^a.*b$",
        "[ab]c?",
        "(a|b)1",
        "\\d",
        "^\\w$",
        "\\bb",
        "[[:digit:]]+",
        "a\\.",
        "^[^a]",
        "(?i)A",
        "€",
        "\\s",
        "^aa",
        "1$",
        "(?m)^b",
        "^(a|b)",
    ];
    prop_oneof![select(known.to_vec()).prop_map(str::to_owned), "\\^?[ab]{0,2}\\$?"]
        .prop_map(|source| Pattern::new(&source).unwrap())
}

/// A device whose id is one of a few dozen.
pub(crate) fn devices() -> impl Strategy<Value = Facts> {
    let package = ("[ab]{1,2}", "[0-2][.][0-2](-a)?");
    (
        "[ab€ ]{1,3}[0-3]{0,2}",
        btree_set(package.prop_map(|(n, v)| PackageId::new(&n, &v).unwrap()), 0..4),
        btree_set("[abc]{1,2}".prop_map(|part| part.parse().unwrap()), 0..4),
        btree_map("[kl]".prop_map(|key| key.parse().unwrap()), "[v\\\\€ ]{0,2}", 0..3),
        btree_set("[xyz]".prop_map(|tag| tag.parse().unwrap()), 0..3),
        proptest::option::of(-10_i64..4_000_000),
        any::<bool>(),
    )
        .prop_map(|(id, packages, components, attributes, tags, ago, online)| Facts {
            id: id.parse().unwrap(),
            packages,
            components,
            attributes,
            tags,
            seen: ago.map(|ago| Time::from_secs(NOW.as_secs() - ago)),
            online,
        })
}
