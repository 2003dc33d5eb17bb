//! What any front door may ask for, already checked for form.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

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

/// Which way an order came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Door {
    /// The software update resource: `swupdateaction` at `updatetime`.
    SoftwareUpdate,
    /// The provisioning status resource: the `tm` bits.
    ProvisioningStatus,
}

/// An order from a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Which door.
    pub door: Door,
    /// Who asked, as the door knows them; for the log and the audit, never for a decision.
    pub asker: String,
    /// What is asked.
    pub ask: Ask,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Take this source, and go to this stage at this time; without a stage only take the source and
    /// cancel what was scheduled.
    Schedule {
        /// A URL, or empty for the built-in one.
        source: String,
        /// How far to go.
        stage: Option<Stage>,
        /// When.
        at: DateTime<Utc>,
    },
    /// Go to this stage now, with the source that was set last.
    Start(Stage),
    /// Forget every order and stop what can be stopped: the device goes back to its defaults.
    Reset,
}

impl Stage {
    fn verb(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Validate => "validate",
            Self::Upgrade => "upgrade",
        }
    }
}

/// For the log and the audit. What a client wrote cannot forge a line there.
impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schedule { source, stage, at } => {
                let source = source.escape_debug();
                match stage {
                    Some(stage) => {
                        let at = at.format("%Y-%m-%dT%H:%M:%SZ");
                        write!(f, "{} from '{source}' at {at}", stage.verb())
                    }
                    None => write!(f, "nothing, but later from '{source}'"),
                }
            }
            Self::Start(stage) => write!(f, "{} now", stage.verb()),
            Self::Reset => f.write_str("forget all orders"),
        }
    }
}
