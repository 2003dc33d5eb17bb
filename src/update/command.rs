//! What any front door may ask for, already checked for form.

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
