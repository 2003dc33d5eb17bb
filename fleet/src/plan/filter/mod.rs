//! The language in which people say which devices they mean.
//!
//! ```text
//! vin_matches "^WVW" AND (runs "ivi" >= "1.2" OR has_component "screen") AND NOT tag "museum"
//! ```
//!
//! | Leaf | is true for a device |
//! |---|---|
//! | `TRUE`, `FALSE` | always, never |
//! | `vin_matches "R"` | whose id has a part that matches |
//! | `has_package "R" "S"` | with an installed package whose name matches R and whose version matches S |
//! | `has_component "R"` | with a component whose part number matches |
//! | `attr "k" = "v"` | whose attribute k is v (what is not a string is compared as its JSON text) |
//! | `tag "x"` | that carries the tag |
//! | `runs "p" >= "1.2"` | with a version of p installed that compares so (`=` `!=` `<` `<=` `>` `>=`), see [`super::version`] |
//! | `seen < 7d` | last seen less than that ago (`<` `<=` `>` `>=`; s, m, h, d, w); false if it was never seen |
//! | `online` | that is connected now |
//!
//! `NOT` binds more closely than `AND`, `AND` more closely than `OR`; parentheses group. Keywords are
//! case-sensitive. A string runs from `"` to the next `"`; nothing is escaped in it, so a backslash
//! reaches the regular expression as it is. Regular expressions are those of the `regex` crate: not
//! anchored, and linear in time whatever they say.

use std::fmt;
use std::time::Duration;

pub use naive::Facts;
pub use parse::{Expected, FilterError};
pub use pattern::{Pattern, Shape};

use super::words::{AttributeKey, PackageName, PackageVersion, Tag};

mod naive;
mod parse;
mod pattern;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

/// The most bytes that an expression may have.
pub const EXPRESSION_BYTES_MAX: usize = 64 * 1024;

/// How deep parentheses and `NOT` may be nested.
pub const DEPTH_MAX: usize = 100;

/// The most regular expressions that one filter may hold.
pub const PATTERNS_MAX: usize = 1_000;

/// How many of them may be large once they are compiled.
pub const LARGE_PATTERNS_MAX: usize = 16;

/// A filter, parsed: whom it means can be asked of one device's [`Facts`], or of a whole fleet's index.
///
/// It prints itself in the one form which, when parsed, gives the same filter again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// Every device.
    True,
    /// No device.
    False,
    /// The id matches.
    VinMatches(Pattern),
    /// A package whose name and version match is installed.
    HasPackage(Pattern, Pattern),
    /// A component whose part number matches is there.
    HasComponent(Pattern),
    /// The attribute has this value.
    Attribute(AttributeKey, String),
    /// The device carries the tag.
    Tag(Tag),
    /// A version of the package is installed that compares so.
    Runs(PackageName, Comparison, PackageVersion),
    /// When the device was last seen, as a time before now that compares so.
    Seen(Comparison, Age),
    /// The device is connected.
    Online,
    /// Not so.
    Not(Box<Self>),
    /// All of these; two at least.
    And(Vec<Self>),
    /// One of these at least; two at least.
    Or(Vec<Self>),
}

/// How two things are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

impl Comparison {
    /// Whether something that stands so to the other satisfies the comparison.
    pub fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Unequal => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
        }
    }
}

/// A length of time as people write it: a number and a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Age {
    number: u32,
    unit: Unit,
}

impl Age {
    /// How long it is.
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.number) * self.unit.seconds())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
}

impl Unit {
    const ALL: [(&'static str, Self); 5] = [
        ("s", Self::Second),
        ("m", Self::Minute),
        ("h", Self::Hour),
        ("d", Self::Day),
        ("w", Self::Week),
    ];

    fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 604_800,
        }
    }
}

impl Filter {
    /// Whether the answer for a device can change although nothing about the device does: time passes.
    pub fn depends_on_time(&self) -> bool {
        match self {
            Self::Seen(..) => true,
            Self::Not(inner) => inner.depends_on_time(),
            Self::And(parts) | Self::Or(parts) => parts.iter().any(Self::depends_on_time),
            _ => false,
        }
    }

    /// All of these filters at once: what is linked to a package. None means every device.
    pub fn all(filters: impl IntoIterator<Item = Self>) -> Self {
        let mut parts: Vec<Self> = filters.into_iter().collect();
        match parts.len() {
            0 => Self::True,
            1 => parts.remove(0),
            _ => Self::And(parts),
        }
    }

    fn strength(&self) -> Strength {
        match self {
            Self::Or(_) => Strength::Or,
            Self::And(_) => Strength::And,
            _ => Strength::Not,
        }
    }

    /// Prints it as a part of something that binds like `outside`.
    fn print_in(&self, outside: Strength, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.strength() > outside { write!(f, "{self}") } else { write!(f, "({self})") }
    }
}

/// How closely something binds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    Or,
    And,
    Not,
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::True => f.write_str("TRUE"),
            Self::False => f.write_str("FALSE"),
            Self::VinMatches(id) => write!(f, "vin_matches {id}"),
            Self::HasPackage(name, version) => write!(f, "has_package {name} {version}"),
            Self::HasComponent(part) => write!(f, "has_component {part}"),
            Self::Attribute(key, value) => write!(f, "attr \"{key}\" = \"{value}\""),
            Self::Tag(tag) => write!(f, "tag \"{tag}\""),
            Self::Runs(name, comparison, version) => {
                write!(f, "runs \"{name}\" {comparison} \"{version}\"")
            }
            Self::Seen(comparison, age) => write!(f, "seen {comparison} {age}"),
            Self::Online => f.write_str("online"),
            Self::Not(inner) => {
                f.write_str("NOT ")?;
                match **inner {
                    Self::And(_) | Self::Or(_) => write!(f, "({inner})"),
                    _ => write!(f, "{inner}"),
                }
            }
            Self::And(parts) => print_joined(parts, " AND ", Strength::And, f),
            Self::Or(parts) => print_joined(parts, " OR ", Strength::Or, f),
        }
    }
}

fn print_joined(
    parts: &[Filter],
    joint: &str,
    outside: Strength,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            f.write_str(joint)?;
        }
        part.print_in(outside, f)?;
    }
    Ok(())
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        })
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit =
            Unit::ALL.iter().find(|(_, unit)| *unit == self.unit).map_or("", |(sign, _)| sign);
        write!(f, "{}{unit}", self.number)
    }
}
