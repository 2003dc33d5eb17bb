//! Versions, as numbers on the wire and as text for people.
//!
//! SUIT writes a version as a list of integers whose order is the order of releases: `1.2.3-rc.1` is
//! `[1, 2, 3, -1, 1]` (draft-ietf-suit-update-management, suit-parameter-version).

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Refusal;

/// What `nv` can show (OCF `oic.r.softwareupdate`), characters.
pub const VERSION_CHARS_MAX: usize = 64;

/// A version has at most this many numbers: three of the release, one that names the kind of
/// pre-release, four to count within it.
const NUMBERS_MAX: usize = 8;

/// Kinds of pre-release, by their number.
const PRE_RELEASES: [(i64, &str); 3] = [(-1, "rc"), (-2, "beta"), (-3, "alpha")];

/// From numbers to text.
pub(super) fn to_text(numbers: &[i64]) -> Result<String, Refusal> {
    let refusal = || Refusal::Version(format!("{numbers:?}"));
    let mut pre_release = false;
    let mut text = String::new();
    for (n, number) in numbers.iter().enumerate() {
        let kind = PRE_RELEASES.iter().find(|(code, _)| code == number);
        match kind {
            Some((_, name)) if n > 0 && !pre_release => {
                pre_release = true;
                text.push_str(&format!("-{name}"));
            }
            None if *number >= 0 => {
                let dot = if n > 0 { "." } else { "" };
                text.push_str(&format!("{dot}{number}"));
            }
            _ => return Err(refusal()),
        }
    }
    let fits = !text.is_empty() && text.len() <= VERSION_CHARS_MAX && numbers.len() <= NUMBERS_MAX;
    if fits { Ok(text) } else { Err(refusal()) }
}

/// From text to numbers. The only text accepted is the one that [`to_text`] gives back.
pub(super) fn from_text(text: &str) -> Result<Vec<i64>, Refusal> {
    let refusal = || Refusal::Version(text.to_owned());
    let number = |part: &str| part.parse::<i64>().map_err(|_| refusal());
    let (release, pre_release) = match text.split_once('-') {
        Some((release, pre_release)) => (release, Some(pre_release)),
        None => (text, None),
    };
    let mut numbers = release.split('.').map(number).collect::<Result<Vec<_>, _>>()?;
    if let Some(pre_release) = pre_release {
        let mut parts = pre_release.split('.');
        let name = parts.next().unwrap_or_default();
        let kind = PRE_RELEASES.iter().find(|(_, known)| *known == name).ok_or_else(refusal)?;
        numbers.push(kind.0);
        for part in parts {
            numbers.push(number(part)?);
        }
    }
    if to_text(&numbers).is_ok_and(|back| back == text) { Ok(numbers) } else { Err(refusal()) }
}

/// What a package asks of the version that runs (suit-parameter-version).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionMatch {
    comparison: Comparison,
    numbers: Vec<i64>,
}

/// Numbers of draft-ietf-suit-update-management.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Comparison {
    Greater = 1,
    GreaterOrEqual = 2,
    Equal = 3,
    LesserOrEqual = 4,
    Lesser = 5,
}

/// With the signs of suit-text-version-required; the longer ones first, as they are looked for.
const COMPARISONS: [(Comparison, &str); 5] = [
    (Comparison::GreaterOrEqual, ">="),
    (Comparison::LesserOrEqual, "<="),
    (Comparison::Greater, ">"),
    (Comparison::Equal, "="),
    (Comparison::Lesser, "<"),
];

impl VersionMatch {
    /// From text like `>=1.2`.
    ///
    /// # Errors
    ///
    /// No comparison in front, or no version behind it.
    pub fn from_text(text: &str) -> Result<Self, Refusal> {
        let (comparison, version) = COMPARISONS
            .iter()
            .find_map(|(comparison, sign)| Some((*comparison, text.strip_prefix(sign)?)))
            .ok_or_else(|| Refusal::Version(text.to_owned()))?;
        Ok(Self { comparison, numbers: from_text(version)? })
    }

    pub(super) fn from_numbers(comparison: i64, numbers: Vec<i64>) -> Result<Self, Refusal> {
        to_text(&numbers)?;
        let known = COMPARISONS.iter().find(|(known, _)| *known as i64 == comparison);
        let (comparison, _) = known.ok_or_else(|| Refusal::Version(format!("{numbers:?}")))?;
        Ok(Self { comparison: *comparison, numbers })
    }

    pub(super) fn numbers(&self) -> (i64, &[i64]) {
        (self.comparison as i64, &self.numbers)
    }

    /// Whether a device that runs this version meets it: number by number, as far as the package gives
    /// them. A version that is not written as SUIT writes versions meets nothing.
    pub fn holds(&self, running: &str) -> bool {
        let Ok(running) = from_text(running) else { return false };
        let running = running.iter().copied().chain(std::iter::repeat(0));
        let ordering = running.take(self.numbers.len()).cmp(self.numbers.iter().copied());
        match self.comparison {
            Comparison::Greater => ordering == Ordering::Greater,
            Comparison::GreaterOrEqual => ordering != Ordering::Less,
            Comparison::Equal => ordering == Ordering::Equal,
            Comparison::LesserOrEqual => ordering != Ordering::Greater,
            Comparison::Lesser => ordering == Ordering::Less,
        }
    }
}

impl fmt::Display for VersionMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = COMPARISONS.iter().find(|(known, _)| *known == self.comparison);
        let sign = known.map_or("", |(_, sign)| sign);
        write!(f, "{sign}{}", to_text(&self.numbers).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drafts_examples_are_shown_as_the_draft_shows_them() {
        for (text, numbers) in [
            ("1.2.3", &[1, 2, 3][..]),
            ("1.2-rc.3", &[1, 2, -1, 3]),
            ("1.2-beta", &[1, 2, -2]),
            ("1.2-alpha", &[1, 2, -3]),
            ("1.2.3-alpha.4", &[1, 2, 3, -3, 4]),
            ("2025.12.6", &[2025, 12, 6]),
        ] {
            assert_eq!(to_text(numbers).unwrap(), text);
            assert_eq!(from_text(text).unwrap(), numbers);
        }
    }

    #[test]
    fn a_running_version_is_compared_as_far_as_the_package_says() {
        for (wanted, running, holds) in [
            ("=1", "1.7.3", true),
            ("=1.2", "1.3", false),
            (">=1.0", "1.0.9", true),
            (">=1.2.0", "1.2", true),
            (">=1.2", "1.2-rc.1", true),
            (">1.2.0-rc.1", "1.2.0", true),
            (">=2.0.0", "2.0-rc.1", false),
            ("<1.10", "1.9.9", true),
            ("<1.10", "1.10", false),
            ("<=1.10", "1.10.5", true),
            (">1.2", "1.2.9", false),
            (">=0", "unknown", false),
        ] {
            let wanted = VersionMatch::from_text(wanted).unwrap();
            assert_eq!(wanted.holds(running), holds, "{wanted} {running}");
        }
        for text in ["1.2", "~1.2", ">=", ">= 1.2", "=>1"] {
            VersionMatch::from_text(text).unwrap_err();
        }
    }

    #[test]
    fn what_cannot_be_ordered_is_refused() {
        for text in
            ["", "1..2", "v1", "1.02", "+1", "1.2-gamma", "1.2-", "-rc.1", "1-rc-rc", "1-rc.beta"]
        {
            from_text(text).unwrap_err();
        }
        for numbers in [&[][..], &[-1], &[1, -4], &[1, -1, -2], &[0; 9], &[i64::MAX; 8]] {
            to_text(numbers).unwrap_err();
        }
    }
}
