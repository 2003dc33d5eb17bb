//! The loop's part in ownership and access: carries out what the security state wants done.

use std::time::Duration;

use super::engine::Declined;
use super::identity::fresh;
use super::keeper::Rejected;
use super::policy;
use super::run::Device;
use crate::clock::{Instant, Now};
use crate::coap::{Code, Notify, Peer, Response};
use crate::dtls;
use crate::ocf::security::{
    Category, Effect, Event, Input, OnboardingState, Refusal, RoleChange, World, Write,
};
use crate::ocf::{self, Pending, Resource, Subject, TOPICS};
use crate::store;
use crate::update::{Command, Phase};

/// How long to wait before a reset that could not be kept, or that waits for the old software, goes
/// on.
const RESET_AGAIN: Duration = Duration::from_secs(1);

/// Auditable events that wait to be kept; more are not kept. Strangers must not wear out the disk.
const EVENTS_WAITING_MAX: usize = 16;

/// How often they are kept.
const EVENTS_EVERY: Duration = Duration::from_secs(60);

/// The same where one of them is an order to update: who gave it has to be known after a power cut.
const ORDERS_EVERY: Duration = Duration::from_secs(1);

/// Why somebody who watches is told no more.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lost {
    /// The device is in another state.
    State,
    /// He may not, or is nobody any more.
    Access,
}

/// What waits for its time.
#[derive(Default)]
pub(super) struct Waiting {
    events: Vec<Event>,
    orders: Vec<Event>,
    events_kept: Option<Instant>,
    /// The engine has forgotten its orders, in the reset that is under way.
    engine_is_clear: bool,
    reset_again: Option<Instant>,
}

impl Waiting {
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.events_due(), self.reset_again].into_iter().flatten().min()
    }

    /// When the events that wait may be kept; at once, if none ever were.
    fn events_due(&self) -> Option<Instant> {
        let every = match (self.orders.is_empty(), self.events.is_empty()) {
            (false, _) => ORDERS_EVERY,
            (true, false) => EVENTS_EVERY,
            (true, true) => return None,
        };
        Some(self.events_kept.map_or(Instant::ZERO, |at| at + every))
    }
}

impl Device {
    /// A client writes to a security resource.
    pub(super) fn write(
        &mut self,
        write: Write,
        pending: &Pending,
        peer: Peer,
        now: Now,
    ) -> Response {
        let asker = write.asker.clone();
        let takes = |security| write.takes_ownership(security);
        if self.records.security().is_some_and(takes) {
            // First this: a power cut in between undoes the transfer.
            if let Err(declined) = self.records.engine.command(Command::Reset, now) {
                tracing::error!("{declined}");
                return Pending::not_durable();
            }
        }
        let result = self.take_security(Input::Write(write), now);
        let site = self.records.site(&[], self.secure.is_onboarding(), now);
        match result {
            Ok(()) => pending.written(&site, None),
            Err(Rejected::Refused(refusal)) => {
                if self.secure.said.may_say("is refused", now.mono) {
                    tracing::info!("{asker} at {} is refused: {refusal}", peer.remote);
                }
                pending.written(&site, Some(&refusal))
            }
            Err(rejected @ Rejected::NotDurable(_)) => {
                tracing::error!("{rejected}");
                Pending::not_durable()
            }
        }
    }

    /// A client says what it may be.
    pub(super) fn change_roles(
        &mut self,
        change: RoleChange,
        pending: &Pending,
        peer: Peer,
        now: Now,
    ) -> Response {
        let Some(security) = self.records.security() else {
            return Response::new(Code::NOT_FOUND);
        };
        let refusal =
            self.secure.change_roles(peer, change, security, self.records.judged(now)).err();
        if let Some(refusal) = &refusal {
            let about = format!("{refusal} ({})", peer.remote);
            self.note(Event::new(
                Category::Authentication,
                2,
                now.wall,
                "a role is refused",
                about,
            ));
        }
        let refusal = refusal.map(Refusal::Malformed);
        pending.written(&self.records.site(&[], false, now), refusal.as_ref())
    }

    /// Somebody may not do what they asked for.
    pub(super) fn denied(&mut self, resource: Resource, subject: &Subject, peer: Peer, now: Now) {
        if self.secure.said.may_say("is denied", now.mono) {
            tracing::info!("{subject} at {} is denied {resource:?}", peer.remote);
            if resource == Resource::SoftwareUpdate && matches!(subject, Subject::Peer(_)) {
                let href = &self.records.about.softwareupdate_href;
                tracing::info!("an ACE has to name {href}; wildcards do not cover it");
            }
        }
        let about = format!("{subject} at {}, {resource:?}", peer.remote);
        self.note(Event::new(Category::Access, 2, now.wall, "Access Denied", about));
    }

    /// Somebody could not connect.
    pub(super) fn stranger(&mut self, path: dtls::Path, reason: &dtls::Error, now: Now) {
        let about = format!("{}: {reason}", path.remote);
        self.note(Event::new(
            Category::Authentication,
            2,
            now.wall,
            "Authentication failed",
            about,
        ));
    }

    /// Somebody asks for an update. What is taken is in the engine's own record, from the step that
    /// takes it; what is not, or what only changes what is shown, has no other place than this.
    pub(super) fn audit_order(&mut self, command: &Command, declined: Option<&Declined>, now: Now) {
        match declined {
            Some(declined) => self.audit_declined(command, declined, now),
            None if matches!(command, Command::Order(_)) => {}
            None => {
                let about = asked(command);
                let event = Event::new(Category::Device, 3, now.wall, "an order was taken", about);
                self.note_order(event);
            }
        }
    }

    /// Somebody asks for an update, and does not get it.
    pub(super) fn audit_declined(&mut self, command: &Command, declined: &Declined, now: Now) {
        if self.secure.said.may_say("refused", now.mono) {
            tracing::info!("refused: {declined}");
        }
        let message = format!("an order was refused: {declined}");
        self.note_order(Event::new(Category::Device, 3, now.wall, message, asked(command)));
    }

    /// Somebody asks for an update in a way that means nothing, or when there is none to be had.
    pub(super) fn refused(&mut self, response: &Response, who: &Subject, peer: Peer, now: Now) {
        let why = String::from_utf8_lossy(&response.payload);
        let message = format!("an order was refused: {}", why.escape_debug());
        let about = format!("{who} at {}", peer.remote);
        if self.secure.said.may_say("an order was refused", now.mono) {
            tracing::info!("{about}: {message}");
        }
        self.note_order(Event::new(Category::Device, 3, now.wall, message, about));
    }

    /// Keeps an event for the owner, soon.
    fn note(&mut self, event: Event) {
        if self.records.ownership.is_some() && self.waiting.events.len() < EVENTS_WAITING_MAX {
            self.waiting.events.push(event);
        }
    }

    /// The same for one that strangers cannot cause; they cannot crowd it out either.
    fn note_order(&mut self, event: Event) {
        if self.records.ownership.is_some() && self.waiting.orders.len() < EVENTS_WAITING_MAX {
            self.waiting.orders.push(event);
        }
    }

    /// Keeps the events that wait, if it is time, or if this is the last chance.
    pub(super) fn keep_events(&mut self, at_once: bool, now: Now) {
        if !self.waiting.events_due().is_some_and(|at| at_once || at <= now.mono) {
            return;
        }
        self.waiting.events_kept = Some(now.mono);
        let mut events = std::mem::take(&mut self.waiting.events);
        events.append(&mut self.waiting.orders);
        events.sort_by_key(|event| event.at);
        if let Err(rejected) = self.take_security(Input::Audit(events), now) {
            tracing::error!("auditable events are lost: {rejected}");
        }
    }

    /// Somebody at the device wants it reset.
    pub(super) fn reset_by_hand(&mut self, how: &'static str, now: Now) {
        tracing::warn!("reset by {how}");
        if self.records.ownership.is_none() {
            if let Err(declined) = self.records.engine.command(Command::Reset, now) {
                tracing::error!("cannot reset: {declined}");
            }
            return self.follow(now);
        }
        let locked = self.records.ownership.as_mut().filter(|ownership| ownership.locked);
        let reset = match locked {
            Some(ownership) => ownership.unlock(how, now),
            None => self.take_security(Input::Reset(how), now).map(|()| vec![]),
        };
        match reset {
            Ok(effects) => self.carry_out_security(effects, now),
            Err(rejected) => tracing::error!("cannot reset: {rejected}"),
        }
    }

    /// The onboarding tool is gone.
    pub(super) fn onboarding_lost(&mut self, now: Now) {
        if let Err(rejected) = self.take_security(Input::ConnectionLost, now) {
            // At the next start at the latest, what it wrote is undone.
            tracing::error!("{rejected}");
        }
        if let Some(security) = self.records.security() {
            self.secure.adopt(security, self.records.judged(now));
        }
    }

    /// Decide, commit, adopt; then let it be seen.
    pub(super) fn take_security(
        &mut self,
        input: Input,
        now: Now,
    ) -> Result<(), Rejected<Refusal>> {
        // What a locked device cannot read, it does not write over either.
        let judged = self.records.judged(now);
        let ownership = self.records.ownership.as_mut().filter(|ownership| !ownership.locked);
        let Some(ownership) = ownership else { return Ok(()) };
        let secure = &self.secure;
        let world = World {
            rules: &ownership.rules,
            owner_key: &|owner, device| secure.owner_key(owner, device),
            certificate: &policy::check_certificate,
            now: judged,
        };
        let effects = ownership.keeper.take(input, &world)?;
        self.carry_out_security(effects, now);
        Ok(())
    }

    pub(super) fn carry_out_security(&mut self, effects: Vec<Effect>, now: Now) {
        for effect in effects {
            match effect {
                Effect::PolicyChanged => {
                    if let Some(security) = self.records.security() {
                        self.secure.adopt(security, self.records.judged(now));
                    }
                }
                Effect::ShowPin => self.secure.want_pin(now.mono),
                Effect::HidePin => self.secure.put_pin_aside(),
                Effect::AccessChanged { moved } => {
                    if let Some(security) = self.records.security().filter(|_| moved) {
                        tracing::info!("the device is in {:?}", security.onboarding);
                    }
                    self.end_observations(if moved { Lost::State } else { Lost::Access }, now);
                }
                Effect::StateChanged => {
                    self.tell(Resource::ProvisioningStatus, Notify::Confirmable, now);
                }
                Effect::Reset => {
                    // What the old owner could have read is not for the next one.
                    self.waiting.events.clear();
                    self.waiting.orders.clear();
                    self.waiting.engine_is_clear = false;
                    self.waiting.reset_again = Some(now.mono);
                    self.end_observations(Lost::State, now);
                    self.secure.dismiss_all(now.mono);
                }
            }
        }
    }

    /// Those who watch what they may not see any more are told so.
    pub(super) fn end_observations(&mut self, lost: Lost, now: Now) {
        if self.records.ownership.is_none() {
            return;
        }
        let error = match lost {
            Lost::State => {
                Response::diagnostic(Code::SERVICE_UNAVAILABLE, "the device has changed state")
            }
            Lost::Access => {
                Response::diagnostic(Code::UNAUTHORIZED, "this is not for you any more")
            }
        };
        let site = self.records.site(&[], self.secure.is_onboarding(), now);
        let (secure, security) = (&self.secure, self.records.security());
        let judged = self.records.judged(now);
        self.coap.end_observations(&error, now.mono, |topic, watcher| {
            let resource = usize::try_from(topic.0).ok().and_then(|n| TOPICS.get(n).copied());
            let subject = secure.subject(watcher.peer, security, judged);
            !resource.is_some_and(|resource| ocf::readable(&site, &subject, resource))
        });
    }

    /// Goes on with a reset: first the engine forgets, then, when the device is at rest, it is new.
    pub(super) fn finish_reset(&mut self, now: Now) {
        let resetting = self.records.ownership.as_ref().is_some_and(|ownership| {
            !ownership.locked && ownership.keeper.state().onboarding == OnboardingState::Reset
        });
        if !resetting {
            self.waiting.reset_again = None;
            return;
        }
        if self.waiting.reset_again.is_some_and(|at| at > now.mono) {
            return;
        }
        self.waiting.reset_again = Some(now.mono + RESET_AGAIN);
        if !self.waiting.engine_is_clear {
            if let Err(declined) = self.records.engine.command(Command::Reset, now) {
                return tracing::error!("the reset has to wait: {declined}");
            }
            self.follow(now);
            self.waiting.engine_is_clear = true;
        }
        // Software that is being tried goes back first: the new owner gets a device at rest.
        if self.records.engine.state().phase != Phase::Idle {
            return;
        }
        let done = fresh().map(Input::ResetDone);
        match done.map(|input| self.take_security(input, now)) {
            Ok(Ok(())) => self.waiting.reset_again = None,
            Ok(Err(rejected)) => tracing::error!("the reset has to wait: {rejected}"),
            Err(error) => tracing::error!("the reset has to wait: {error}"),
        }
    }
}

/// An order and who asks, for the audit.
fn asked(command: &Command) -> String {
    let who = command.origin().map_or_else(String::new, ToString::to_string);
    format!("{who} asks: {command}")
}

/// Whether a reset is asked for by a file in the state directory; the file is removed.
///
/// # Errors
///
/// The file cannot be removed: the device would be reset at every start.
pub(super) fn reset_file(directory: &std::path::Path) -> Result<bool, store::Error> {
    take_file(directory.join("reset"))
}

/// Removes the file with which a person asks for something; whether it was there.
pub(super) fn take_file(path: std::path::PathBuf) -> Result<bool, store::Error> {
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(store::Error::Disk { verb: "remove", path, source }),
    }
}
