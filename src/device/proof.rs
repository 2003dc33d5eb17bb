//! What a session rests on: the very credential that proved who is at the other end.
//!
//! A name is not enough: the owner may replace a key, or take back the word of an authority, and the
//! name stays the same. So a session knows the entry and what it said, and asks each time whether it
//! still says so.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::Now;
use crate::ocf::security::{CredSubject, Credential, OnboardingState, Role, Security};
use crate::ocf::{Identified, Subject};

/// One entry of cred, as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    id: u32,
    digest: [u8; 32],
}

impl Entry {
    pub(super) fn of(credential: &Credential) -> Self {
        Self { id: credential.id, digest: digest(credential) }
    }

    /// Whether it is still there, says the same, and has not ended.
    fn holds(&self, security: &Security, now: Now) -> bool {
        security
            .cred
            .holding(now.wall)
            .any(|credential| credential.id == self.id && digest(credential) == self.digest)
    }
}

/// Over everything that proves something; not over how long it holds, nor over the roles that come with
/// it, which are looked up when they matter.
fn digest(credential: &Credential) -> [u8; 32] {
    let mut hash = Sha256::new();
    let subject = match &credential.subject {
        CredSubject::Any => [0; 16],
        CredSubject::Uuid(uuid) => *uuid.as_bytes(),
    };
    let usage = format!("{} {:?}", credential.kind, credential.usage);
    let pieces = [&subject[..], usage.as_bytes(), credential.private.expose()];
    for piece in pieces.into_iter().chain([credential.public.as_bytes()]) {
        hash.update((piece.len() as u64).to_be_bytes());
        hash.update(piece);
    }
    hash.finalize().into()
}

/// What a peer has proved.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    /// To be one of those whom the configuration names, by something that may have an end.
    Configured { name: String, until: Option<DateTime<Utc>> },
    /// Nothing, or what the chosen transfer asks for: it onboards the device.
    Onboarding,
    /// To be the owner that it made itself, for which there is this credential.
    Owner { uuid: Uuid, entry: Entry },
    /// That it has this key.
    Key { uuid: Uuid, entry: Entry },
    /// That it has the key of this certificate (DER).
    Certificate { uuid: Uuid, leaf: Vec<u8>, anchor: Entry, until: DateTime<Utc> },
    /// Nothing any more: what it proved is gone.
    Void,
}

/// A role that was proved by a certificate, for as long as that holds.
#[derive(Clone, Debug)]
pub(super) struct Asserted {
    pub(super) role: Role,
    pub(super) anchor: Entry,
    pub(super) until: DateTime<Utc>,
}

impl Asserted {
    fn holds(&self, security: &Security, now: Now) -> bool {
        now.wall <= self.until && self.anchor.holds(security, now)
    }
}

impl Proof {
    /// Whether it still proves what it proved. `security`: none where everything is open to everyone.
    pub(super) fn holds(&self, security: Option<&Security>, now: Now) -> bool {
        use OnboardingState::{Rfotm, Rfpro};
        match (self, security) {
            (Self::Configured { until, .. }, security) => {
                until.is_none_or(|until| now.wall <= until)
                    && security.is_none_or(|it| it.onboarding == Rfotm && !it.doxm.owned)
            }
            (Self::Onboarding, Some(security)) => matches!(security.onboarding, Rfotm | Rfpro),
            (Self::Owner { uuid, entry }, Some(security)) => {
                security.doxm.owner == *uuid && entry.holds(security, now)
            }
            (Self::Key { entry, .. }, Some(security)) => entry.holds(security, now),
            (Self::Certificate { anchor, until, .. }, Some(security)) => {
                now.wall <= *until && anchor.holds(security, now)
            }
            (Self::Void, _) | (_, None) => false,
        }
    }

    /// When it ends by itself, if that can be told.
    pub(super) fn until(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Configured { until, .. } => *until,
            Self::Certificate { until, .. } => Some(*until),
            Self::Onboarding | Self::Owner { .. } | Self::Key { .. } | Self::Void => None,
        }
    }

    /// What is left of the onboarding connection when the transfer is over: the owner that it made,
    /// for as long as there is the credential that it left for it.
    pub(super) fn settled(self, security: &Security, now: Now) -> Self {
        use OnboardingState::{Rfotm, Rfpro};
        if !matches!(self, Self::Onboarding) || matches!(security.onboarding, Rfotm | Rfpro) {
            return self;
        }
        let uuid = security.doxm.owner;
        let is_its = |credential: &&Credential| credential.subject == CredSubject::Uuid(uuid);
        match security.cred.holding(now.wall).find(is_its) {
            Some(credential) => Self::Owner { uuid, entry: Entry::of(credential) },
            None => Self::Void,
        }
    }

    /// Who that is now; `roles`: what it has proved besides.
    pub(super) fn subject(
        &self,
        roles: &[Asserted],
        security: Option<&Security>,
        now: Now,
    ) -> Subject {
        if !self.holds(security, now) {
            return Subject::Anonymous;
        }
        let identified = |uuid: &Uuid, by_key| {
            let holds = |role: &&Asserted| security.is_some_and(|it| role.holds(it, now));
            let roles = roles.iter().filter(holds).map(|one| one.role.clone()).collect();
            Subject::Peer(Identified { uuid: *uuid, by_key, roles })
        };
        match self {
            Self::Configured { name, .. } => Subject::Known(name.clone()),
            Self::Onboarding => Subject::Onboarding,
            Self::Owner { uuid, .. } | Self::Certificate { uuid, .. } => identified(uuid, false),
            Self::Key { uuid, .. } => identified(uuid, true),
            Self::Void => Subject::Anonymous,
        }
    }
}
