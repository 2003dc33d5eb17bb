//! What can be true of a device, as one text: a letter for the kind, then its words. NUL stands
//! between them, which no word holds; an attribute's value, which may hold anything, comes last.

use std::borrow::Cow;

use crate::plan::filter::{Facts, Filter};
use crate::plan::version;
use crate::plan::words::PackageId;

/// One thing that can be true of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Term<'a> {
    Package(&'a str, &'a str),
    Component(&'a str),
    Attribute(&'a str, &'a str),
    Tag(&'a str),
}

impl<'a> Term<'a> {
    /// With what every package's text begins.
    pub(super) const PACKAGES: &'static str = "p";
    /// With what every component's text begins.
    pub(super) const COMPONENTS: &'static str = "c";

    pub(super) fn package(package: &'a PackageId) -> Self {
        Self::Package(package.name.as_str(), package.version.as_str())
    }

    pub(super) fn of(facts: &'a Facts) -> impl Iterator<Item = Self> {
        let packages = facts.packages.iter().map(Self::package);
        let components = facts.components.iter().map(|part| Self::Component(part.as_str()));
        let attributes = facts.attributes.iter().map(|(k, v)| Self::Attribute(k.as_str(), v));
        let tags = facts.tags.iter().map(|tag| Self::Tag(tag.as_str()));
        packages.chain(components).chain(attributes).chain(tags)
    }

    pub(super) fn encode(&self) -> String {
        match self {
            Self::Package(name, version) => format!("p{name}\0{version}"),
            Self::Component(part) => format!("c{part}"),
            Self::Attribute(key, value) => format!("a{key}\0{value}"),
            Self::Tag(tag) => format!("t{tag}"),
        }
    }

    /// With what the texts of all versions of a package begin.
    pub(super) fn versions_of(name: &str) -> String {
        format!("p{name}\0")
    }

    pub(super) fn decode(text: &'a str) -> Option<Self> {
        let (kind, rest) = text.split_at_checked(1)?;
        let pair = || rest.split_once('\0');
        Some(match kind {
            "p" => pair().map(|(name, version)| Self::Package(name, version))?,
            "c" => Self::Component(rest),
            "a" => pair().map(|(key, value)| Self::Attribute(key, value))?,
            "t" => Self::Tag(rest),
            _ => return None,
        })
    }

    /// Whether this being true of a device makes the leaf true for it.
    pub(super) fn satisfies(&self, leaf: &Filter) -> bool {
        match (leaf, self) {
            (Filter::HasPackage(name, version), Self::Package(n, v)) => {
                name.is_match(n) && version.is_match(v)
            }
            (Filter::HasComponent(part), Self::Component(number)) => part.is_match(number),
            (Filter::Attribute(key, value), Self::Attribute(k, v)) => {
                key.as_str() == *k && value == v
            }
            (Filter::Tag(tag), Self::Tag(t)) => tag.as_str() == *t,
            (Filter::Runs(name, comparison, wanted), Self::Package(n, v)) => {
                name.as_str() == *n && comparison.holds(version::compare(v, wanted.as_str()))
            }
            _ => false,
        }
    }

    pub(super) fn add_to(&self, facts: &mut Facts) {
        // What stands in the index was checked when it came in as facts.
        match self {
            Self::Package(name, version) => {
                facts.packages.extend(PackageId::new(name, version));
            }
            Self::Component(part) => facts.components.extend(part.parse()),
            Self::Attribute(key, value) => {
                facts.attributes.extend(key.parse().map(|key| (key, (*value).to_owned())));
            }
            Self::Tag(tag) => facts.tags.extend(tag.parse()),
        }
    }
}

/// With what the text of every term begins that can satisfy the leaf, and whether that is all of it;
/// nothing for a leaf that is not about terms.
pub(super) fn candidates(leaf: &Filter) -> Option<(Cow<'static, str>, Extent)> {
    Some(match leaf {
        Filter::HasPackage(..) => (Term::PACKAGES.into(), Extent::Range),
        Filter::HasComponent(_) => (Term::COMPONENTS.into(), Extent::Range),
        Filter::Runs(name, ..) => (Term::versions_of(name.as_str()).into(), Extent::Range),
        Filter::Attribute(key, value) => {
            (Term::Attribute(key.as_str(), value).encode().into(), Extent::One)
        }
        Filter::Tag(tag) => (Term::Tag(tag.as_str()).encode().into(), Extent::One),
        _ => return None,
    })
}

/// How many terms can satisfy a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    One,
    Range,
}
