//! Names that come from outside: checked once, at the border, and from then on a type of their own.
//!
//! Every word is UTF-8 without control characters and neither `.` nor `..`, so that it can stand in a
//! path, a log line and a file's name. What else it may hold depends on the word; lengths count bytes.
//!
//! ```
//! use freshen_fleet::plan::words::{DeviceId, PartNumber};
//!
//! let id: DeviceId = "WVWZZZ1JZXW000001".parse()?;
//! assert_eq!(id.as_str(), "WVWZZZ1JZXW000001");
//! let refused = "left/door".parse::<PartNumber>().unwrap_err();
//! assert_eq!(refused.to_string(), "a part number has letters, digits and - . _ only, not '/'");
//! # Ok::<(), freshen_fleet::plan::words::WordError>(())
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// Shorter or longer than such a word may be.
    #[error("{what} has {least} to {most} bytes, not {length}")]
    Length {
        /// Which kind of word, with its article.
        what: &'static str,
        /// The fewest bytes it may have.
        least: usize,
        /// The most bytes it may have.
        most: usize,
        /// How many it has.
        length: usize,
    },
    /// A control character, which no word may hold.
    #[error("{what} has no control characters, but character {column} is {character:?}")]
    Control {
        /// Which kind of word, with its article.
        what: &'static str,
        /// The place of the character, counted from 1.
        column: usize,
        /// The character.
        character: char,
    },
    /// A character which this kind of word does not hold.
    #[error("{what} has {allowed} only, not {character:?}")]
    Character {
        /// Which kind of word, with its article.
        what: &'static str,
        /// What it may hold, in words.
        allowed: &'static str,
        /// The character.
        character: char,
    },
    /// `.` or `..`, which mean something else in a path.
    #[error("{what} cannot be {word:?}")]
    Dots {
        /// Which kind of word, with its article.
        what: &'static str,
        /// The word.
        word: String,
    },
    /// Bytes that are no text.
    #[error("{what} is UTF-8 text, and these bytes are not")]
    Encoding {
        /// Which kind of word, with its article.
        what: &'static str,
    },
}

/// What a kind of word may be.
struct Rule {
    what: &'static str,
    least: usize,
    most: usize,
    allowed: &'static str,
    allows: fn(char) -> bool,
}

impl Rule {
    fn check(&self, word: &str) -> Result<(), WordError> {
        let (what, least, most) = (self.what, self.least, self.most);
        let length = word.len();
        if !(least..=most).contains(&length) {
            return Err(WordError::Length { what, least, most, length });
        }
        if let Some((n, character)) = word.chars().enumerate().find(|(_, c)| c.is_control()) {
            return Err(WordError::Control { what, column: n + 1, character });
        }
        if let Some(character) = word.chars().find(|c| !(self.allows)(*c)) {
            return Err(WordError::Character { what, allowed: self.allowed, character });
        }
        if word == "." || word == ".." {
            return Err(WordError::Dots { what, word: word.to_owned() });
        }
        Ok(())
    }
}

fn anything(_: char) -> bool {
    true
}

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')
}

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $what:literal, $least:literal..=$most:literal, $allowed:literal, $allows:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The most bytes that it may have.
            pub const BYTES_MAX: usize = $most;

            const RULE: Rule = Rule {
                what: $what,
                least: $least,
                most: $most,
                allowed: $allowed,
                allows: $allows,
            };

            /// Takes bytes whose encoding nobody has looked at yet.
            ///
            /// # Errors
            ///
            /// A [`WordError`], also when they are not UTF-8.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, WordError> {
                std::str::from_utf8(bytes)
                    .map_err(|_| WordError::Encoding { what: Self::RULE.what })?
                    .parse()
            }

            /// The word as it came.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = WordError;

            fn from_str(word: &str) -> Result<Self, WordError> {
                Self::RULE.check(word)?;
                Ok(Self(word.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = WordError;

            fn try_from(word: String) -> Result<Self, WordError> {
                word.parse()
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.0.as_ref().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

word! {
    /// What a device is called: a VIN, a UUID, a serial number. Opaque and case-sensitive.
    DeviceId, "a device's id", 1..=64, "anything", anything
}
word! {
    /// The part number of a component.
    PartNumber, "a part number", 1..=64, "letters, digits and - . _", plain
}
word! {
    /// What a filter is called.
    FilterLabel, "a filter's label", 2..=100, "letters, digits and - . _", plain
}
word! {
    /// What a data plan is called.
    PlanName, "a plan's name", 1..=100, "letters, digits and - . _", plain
}
word! {
    /// What a package is called, without its version.
    PackageName, "a package's name", 1..=100, "letters, digits and - + . _",
    |c| plain(c) || c == '+'
}
word! {
    /// Which version of a package. [`super::version::compare`] says which of two is newer.
    PackageVersion, "a package's version", 1..=100, "anything", anything
}
word! {
    /// A mark that people put on devices. It can be asked for in a filter, so it holds no `"`.
    Tag, "a tag", 1..=64, "letters, digits and - . _ : / =",
    |c| plain(c) || matches!(c, ':' | '/' | '=')
}
word! {
    /// The name of an attribute. It can be asked for in a filter, so it holds no `"`.
    AttributeKey, "an attribute's name", 1..=64, "anything but a quote", |c| c != '"'
}
word! {
    /// Why an update failed, as a word that programs compare: `disk_full`, `rolled_back`.
    FailureCode, "a failure's code", 1..=64, "lower-case letters, digits and _",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

/// One version of one package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageId {
    /// What it is called.
    pub name: PackageName,
    /// Which version of it.
    pub version: PackageVersion,
}

impl PackageId {
    /// Checks both words.
    ///
    /// # Errors
    ///
    /// A [`WordError`] about the first of them that is not as it has to be.
    pub fn new(name: &str, version: &str) -> Result<Self, WordError> {
        Ok(Self { name: name.parse()?, version: version.parse()? })
    }
}

impl fmt::Display for PackageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_devices_id_has_1_to_64_bytes() {
        for (length, good) in [(0, false), (1, true), (64, true), (65, false)] {
            assert_eq!("x".repeat(length).parse::<DeviceId>().is_ok(), good, "{length}");
        }
        // Bytes, not characters: 22 of these are 66 bytes.
        assert!("€".repeat(21).parse::<DeviceId>().is_ok());
        let refused = "€".repeat(22).parse::<DeviceId>().unwrap_err();
        assert_eq!(refused.to_string(), "a device's id has 1 to 64 bytes, not 66");
    }

    #[test]
    fn what_could_leave_a_path_or_break_a_line_is_refused_in_every_word() {
        fn all(word: &str) -> Vec<bool> {
            vec![
                word.parse::<DeviceId>().is_ok(),
                word.parse::<PartNumber>().is_ok(),
                word.parse::<FilterLabel>().is_ok(),
                word.parse::<PlanName>().is_ok(),
                word.parse::<PackageName>().is_ok(),
                word.parse::<PackageVersion>().is_ok(),
                word.parse::<Tag>().is_ok(),
                word.parse::<AttributeKey>().is_ok(),
            ]
        }
        assert!(all("ab").iter().all(|ok| *ok), "the control: a harmless word is every word");
        for word in ["", "..", "a\0b", "a\nb", "a\u{7f}", "a\u{85}b", "\u{1b}[31m"] {
            assert!(all(word).iter().all(|ok| !ok), "{word:?}");
        }
        assert!(".".parse::<DeviceId>().is_err());
        assert!("...".parse::<DeviceId>().is_ok());
    }

    #[test]
    fn a_slash_is_a_devices_own_affair_but_not_a_part_numbers() {
        assert!("../etc/passwd".parse::<DeviceId>().is_ok(), "percent-encoded in paths");
        assert!("../etc".parse::<PartNumber>().is_err());
        assert!("../etc".parse::<PackageName>().is_err());
        assert!("a b".parse::<FilterLabel>().is_err());
        assert!("ä".repeat(2).parse::<FilterLabel>().is_err());
        assert!("g++_12.3".parse::<PackageName>().is_ok());
    }

    #[test]
    fn labels_and_names_end_at_100_bytes() {
        for (length, label, name) in
            [(1, false, true), (2, true, true), (100, true, true), (101, false, false)]
        {
            let word = "x".repeat(length);
            assert_eq!(word.parse::<FilterLabel>().is_ok(), label, "{length}");
            assert_eq!(word.parse::<PackageName>().is_ok(), name, "{length}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_in_words() {
        let refused = DeviceId::from_bytes(&[0x66, 0xff]).unwrap_err();
        assert_eq!(refused.to_string(), "a device's id is UTF-8 text, and these bytes are not");
        assert!(DeviceId::from_bytes("Ω".as_bytes()).is_ok());
    }

    #[test]
    fn words_are_checked_when_they_come_as_json() {
        let id: DeviceId = serde_json::from_str("\"V1\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"V1\"");
        assert!(serde_json::from_str::<DeviceId>("\"\"").is_err());
        assert!(serde_json::from_str::<PackageId>(r#"{"name":"a","version":"1","x":1}"#).is_err());
    }
}
