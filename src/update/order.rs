//! What any front door may ask for, already checked for form.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Failure, FailureKind, JobId, Offer};
use crate::package::Digest;

/// How far a piece of work is meant to go. Each stage includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stage {
    /// Find out whether newer software exists, without downloading it.
    Check,
    /// Download it and see whether it is valid.
    Validate,
    /// Install it.
    Upgrade,
}

/// A way in which orders come, by its name. The engine knows no list of them: it keeps their orders
/// apart, and remembers at most [`super::State::DOORS_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Door(Cow<'static, str>);

/// Whose order it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The door that it came by.
    #[serde(default = "Door::of_old_records")]
    pub door: Door,
    /// Who gave it, as the door has proved it. Two orders of one door with the same principal are the
    /// same person's.
    #[serde(alias = "asker")]
    pub principal: String,
    /// What the door itself knows the order by: the identifier of a command, the address that it came
    /// from. The engine keeps it and does not read it.
    #[serde(default)]
    pub reference: String,
}

/// What the package has to be, beside what its signature says. Whoever orders may leave either open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// Its version, in the vendor's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The SHA-256 of the file that the source names: the envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// An order: software from a source, so far, at that time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whose.
    pub origin: Origin,
    /// A URL, or empty for the built-in one.
    pub source: String,
    /// How far to go.
    pub stage: Stage,
    /// When. `None` is now, and leaves what waits at this door waiting; a time takes the place of what
    /// waits there.
    pub at: Option<DateTime<Utc>>,
    /// What the package has to be.
    pub expected: Expected,
    /// Whose waiting order may lose its place for this one.
    pub replaces: Replaces,
    /// What becomes of it if its source cannot be used.
    pub unusable: Unusable,
}

/// Whose waiting order may lose its place at a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaces {
    /// Only one of the same principal.
    Own,
    /// Anybody's: the device's owner says so, or somebody who knows what waits.
    Anyones,
}

/// What becomes of an order whose source cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is refused.
    Refuse,
    /// It is taken, and fails when it begins: the door's protocol tells sources by the result.
    Fail,
}

/// Who no longer wants what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// Who says so.
    pub origin: Origin,
    /// Only this order; `None` for all that the door has.
    pub job: Option<JobId>,
    /// What the door shows from now on.
    pub draft: Option<Draft>,
}

/// A source and a time that a door keeps and shows without ordering anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// A URL, or empty for the built-in one.
    pub source: String,
    /// A time.
    pub at: DateTime<Utc>,
}

/// What a door asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Do this.
    Order(Order),
    /// Stop what is under way and forget what waits, as far as it is the door's own.
    Cancel(Cancel),
    /// Free the package that rests on the device, found or downloaded, where no job goes on with it.
    Discard(Origin),
    /// Forget every order of every door and stop what can be stopped: the device goes back to its
    /// defaults.
    Reset,
}

impl Door {
    /// A door by its name: a word, the same in every release, because records have it.
    pub const fn named(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// Records of 0.1 have no other door than this one, and call it by its two resources.
    fn of_old_records() -> Self {
        Self::named("ocf")
    }
}

impl From<String> for Door {
    fn from(name: String) -> Self {
        match &*name {
            "SoftwareUpdate" | "ProvisioningStatus" => Self::of_old_records(),
            _ => Self(Cow::Owned(name)),
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Origin {
    /// Longest principal and reference kept, bytes: they stand in each record of an order.
    pub const TEXT_BYTES_MAX: usize = 128;

    /// Whose order it is; texts are cut to [`Self::TEXT_BYTES_MAX`].
    pub fn new(door: Door, principal: impl Into<String>, reference: impl Into<String>) -> Self {
        let cut = |mut text: String| {
            text.truncate(text.floor_char_boundary(Self::TEXT_BYTES_MAX));
            text
        };
        Self { door, principal: cut(principal.into()), reference: cut(reference.into()) }
    }

    /// Whether the same person gave both, by the same door.
    pub fn is_same_person(&self, other: &Self) -> bool {
        self.door == other.door && self.principal == other.principal
    }
}

/// For the log and the audit. What a client wrote cannot forge a line there.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.principal.escape_debug())?;
        if !self.reference.is_empty() {
            write!(f, " ({})", self.reference.escape_debug())?;
        }
        write!(f, " by {}", self.door)
    }
}

impl Expected {
    /// Whether this is the package that is meant.
    pub(super) fn holds(&self, offer: &Offer) -> bool {
        self.unmet(offer).is_none()
    }

    /// Why this is not the package that is meant.
    pub(super) fn unmet(&self, offer: &Offer) -> Option<Failure> {
        let found = &offer.version;
        if let Some(version) = self.version.as_ref().filter(|version| *version != found) {
            let detail = format!("version {version} was ordered, and {found} is what is there");
            return Some(Failure::new(FailureKind::OtherVersion, detail));
        }
        if let Some(digest) = self.digest.filter(|digest| offer.envelope != Some(*digest)) {
            let detail = format!("the package's SHA-256 is not {digest}, which was ordered");
            return Some(Failure::new(FailureKind::Digest, detail));
        }
        None
    }
}

impl Stage {
    /// What a person calls it.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Validate => "validate",
            Self::Upgrade => "upgrade",
        }
    }
}

impl Command {
    /// The order came from this address, and its door knows it by nothing else.
    pub fn came_from(&mut self, address: &impl fmt::Display) {
        let (Self::Order(Order { origin, .. })
        | Self::Cancel(Cancel { origin, .. })
        | Self::Discard(origin)) = self
        else {
            return;
        };
        origin.reference = address.to_string();
    }

    /// Who asks; nobody where the device itself goes back to its defaults.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Order(order) => Some(&order.origin),
            Self::Cancel(cancel) => Some(&cancel.origin),
            Self::Discard(origin) => Some(origin),
            Self::Reset => None,
        }
    }
}

/// For the log and the audit.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(Order { source, stage, at, .. }) => {
                write!(f, "{} from '{}'", stage.verb(), source.escape_debug())?;
                match at {
                    Some(at) => write!(f, " at {}", at.format("%Y-%m-%dT%H:%M:%SZ")),
                    None => f.write_str(" now"),
                }
            }
            Self::Cancel(Cancel { draft: None, .. }) => f.write_str("cancel"),
            Self::Cancel(Cancel { draft: Some(draft), .. }) => {
                write!(f, "cancel, and later from '{}'", draft.source.escape_debug())
            }
            Self::Discard(_) => f.write_str("discard what was found"),
            Self::Reset => f.write_str("forget all orders"),
        }
    }
}
