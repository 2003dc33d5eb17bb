//! What an answer may depend on: the device, its state, who asks.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::memo::Memo;
use super::resource::Resource;
use super::security::{self, Role, Security};
use crate::clock::Now;
use crate::update::State;

/// What a device is, whatever runs on it.
#[derive(Clone, Debug)]
pub struct About {
    /// `di`.
    pub device: Uuid,
    /// `piid`: stays when the device is reset.
    pub protocol_independent: Uuid,
    /// `pi`.
    pub platform: Uuid,
    /// `n`.
    pub name: String,
    /// `mnmn`.
    pub manufacturer: String,
    /// `mnmo`, `dmno`.
    pub model: String,
    /// `mndt`.
    pub manufactured: DateTime<Utc>,
    /// Where the software update resource is.
    pub softwareupdate_href: String,
    /// Longest `purl` taken, characters.
    pub purl_max: usize,
}

/// How far the work under way is. Not durable: it is of this life only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes done.
    pub done: u64,
    /// Bytes expected.
    pub expected: u64,
    /// Bytes a second.
    pub rate: u64,
    /// Which attempt, from 1; 0 when nothing is under way.
    pub attempt: u32,
    /// What went wrong last that the work tries to get over, in words.
    pub trouble: Option<String>,
    /// What the work, or the start of it, is put off for, in words.
    pub deferred: Option<String>,
}

/// Nothing is under way.
pub static NO_PROGRESS: Progress =
    Progress { done: 0, expected: 0, rate: 0, attempt: 0, trouble: None, deferred: None };

/// Who asks, as the session proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Nobody in particular: in clear.
    Anonymous,
    /// Somebody whom the configuration names, while nobody owns the device; the name is for the log.
    Known(String),
    /// The onboarding connection of a device that is being taken into ownership.
    Onboarding,
    /// Somebody for whom the owner has provided.
    Peer(Identified),
}

/// A peer with a secure session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// Who.
    pub uuid: Uuid,
    /// Whether it has proved that by a shared key: the key's roles are its own then.
    pub by_key: bool,
    /// The roles that it has proved by certificates in this session.
    pub roles: Vec<Role>,
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anyone in clear"),
            Self::Known(name) => f.write_str(name),
            Self::Onboarding => f.write_str("the onboarding tool"),
            Self::Peer(peer) => write!(f, "{}", peer.uuid),
        }
    }
}

/// Ownership and access, as an answer may depend on them.
#[derive(Clone, Copy, Debug)]
pub struct Guard<'a> {
    /// What is on disk.
    pub state: &'a Security,
    /// What the configuration lets the device do.
    pub rules: &'a security::Rules,
    /// Whether an onboarding connection stands.
    pub connected: bool,
    /// Whether the device cannot tell who owns it; then it serves nobody.
    pub locked: bool,
}

/// What an answer may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// What the device is.
    pub about: &'a About,
    /// What the engine has on disk.
    pub state: &'a State,
    /// The number of the step that made it; another number for another state.
    pub step: u64,
    /// What was shown of the state last.
    pub memo: &'a Memo,
    /// How far the work is.
    pub progress: &'a Progress,
    /// Every endpoint that the asker could use, such as `coap://127.0.0.1:5683`.
    pub endpoints: &'a [String],
    /// Who owns the device and who may do what; none where everything is served to everyone in clear
    /// (`insecure`).
    pub guard: Option<Guard<'a>>,
    /// The time.
    pub now: Now,
}

impl Site<'_> {
    /// `di`: what the owner calls the device, once there is one.
    pub(super) fn device(&self) -> Uuid {
        self.guard.map_or(self.about.device, |guard| guard.state.doxm.device)
    }

    /// Whether there is this resource.
    pub(super) fn has(&self, resource: Resource) -> bool {
        let guarded = resource.is_security() && resource != Resource::ProvisioningStatus;
        self.guard.is_some() || !guarded
    }
}
