//! Every change of the security state.

use uuid::Uuid;

use super::ael::{Category, Event};
use super::{
    Fresh, Method, OnboardingState, Refusal, Secret, Security, acl2, ael, cred, doxm, pstat, sdi,
    sp,
};
use crate::clock::Now;

/// What the configuration lets the device do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The ways in which it may be taken into ownership.
    pub methods: Vec<Method>,
}

/// What a step may ask of the world.
pub struct World<'a> {
    /// What the configuration lets the device do.
    pub rules: &'a Rules,
    /// The owner's key (OCF Security 7.3.2) from the onboarding connection, for an owner and a device;
    /// `None` where there is no such connection.
    pub owner_key: &'a dyn Fn(Uuid, Uuid) -> Option<Secret>,
    /// Whether a chain (PEM) can be read and, with a private key, whether the key belongs to it; in
    /// words, why not.
    #[expect(clippy::type_complexity, reason = "a name for it would hide what it takes")]
    pub certificate: &'a dyn Fn(&str, Option<&[u8]>) -> Result<(), String>,
    /// The time.
    pub now: Now,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A client writes. Whether it may is decided before, by [`super::permits`].
    Write(Write),
    /// The onboarding connection is gone.
    ConnectionLost,
    /// Somebody at the device wants it reset, and how they said so.
    Reset(&'static str),
    /// Everything else that a reset clears is clear: the device is new.
    ResetDone(Fresh),
    /// The owner may want to know of these later.
    Audit(Vec<Event>),
}

/// A write to a security resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Who writes, for the audit; never for a decision.
    pub asker: String,
    /// Whether it comes by the onboarding connection.
    pub onboarding: bool,
    /// What it says.
    pub change: Change,
}

impl Write {
    /// Whether somebody becomes the owner of the device by it, if it is taken.
    pub fn takes_ownership(&self, state: &Security) -> bool {
        let becomes = |update: &pstat::Update| update.state == Some(OnboardingState::Rfpro);
        state.onboarding == OnboardingState::Rfotm
            && matches!(&self.change, Change::Pstat(update) if becomes(update))
    }
}

/// What a write says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// POST doxm.
    Doxm(doxm::Update),
    /// POST pstat, but for the bits that start updates.
    Pstat(pstat::Update),
    /// POST cred.
    Cred(cred::Update),
    /// DELETE cred.
    DeleteCred(cred::Selection),
    /// POST acl2.
    Acl2(acl2::Update),
    /// DELETE acl2: this `aceid`, or all.
    DeleteAcl2(Option<u32>),
    /// POST sp.
    Sp(sp::Update),
    /// POST sdi.
    Sdi(sdi::Update),
    /// POST ael.
    Ael(ael::Update),
}

/// A transition: commit `next`, then adopt it, then carry out `effects` in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// The state after.
    pub next: Security,
    /// What to do once it is on disk.
    pub effects: Vec<Effect>,
}

/// Something to be done in the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Who may connect, and how, has changed.
    PolicyChanged,
    /// Make a PIN and show it.
    ShowPin,
    /// Show no PIN any more.
    HidePin,
    /// Who may do what has changed: those who watch what they may not see any more are told so.
    AccessChanged {
        /// Because the device is in another state.
        moved: bool,
    },
    /// `dos` or `isop` has changed: whoever watches pstat is told.
    StateChanged,
    /// End every session and every observation, and clear everything else that a reset clears; then
    /// come back with [`Input::ResetDone`].
    Reset,
}

/// What `input` changes.
///
/// # Errors
///
/// A [`Refusal`] says why it changes nothing.
pub fn step(state: &Security, input: Input, world: &World<'_>) -> Result<Step, Refusal> {
    let transfer = state.onboarding == OnboardingState::Rfotm;
    match input {
        Input::Write(_) if state.onboarding == OnboardingState::Reset => {
            Err(Refusal::Later("the device is resetting"))
        }
        Input::Write(write) => written(state, write, world),
        Input::ConnectionLost if transfer => Ok(reset(state, "onboarding broke off", world.now)),
        Input::ConnectionLost => Ok(still(state)),
        Input::Reset(how) => Ok(reset(state, how, world.now)),
        Input::ResetDone(fresh) if state.onboarding == OnboardingState::Reset => {
            let next = Security { ael: state.ael.clone(), ..Security::new(fresh) };
            Ok(Step { effects: effects(state, &next), next })
        }
        Input::ResetDone(_) => Err(Refusal::WrongState("the device is not resetting".into())),
        Input::Audit(events) => {
            let mut next = state.clone();
            events.into_iter().for_each(|event| next.ael.push(event));
            Ok(Step { next, effects: vec![] })
        }
    }
}

/// Nothing changes.
pub(super) fn still(state: &Security) -> Step {
    Step { next: state.clone(), effects: vec![] }
}

/// RESET: all defaults at once; the device is ready for a new owner when the rest is clear too.
pub(super) fn reset(state: &Security, how: &str, now: Now) -> Step {
    if state.onboarding == OnboardingState::Reset {
        // It has been asked for already; the effects are safe to repeat.
        return Step { next: state.clone(), effects: vec![Effect::Reset] };
    }
    let next = Security::reset_by(how, now);
    let mut effects = effects(state, &next);
    effects.push(Effect::Reset);
    Step { next, effects }
}

fn written(state: &Security, write: Write, world: &World<'_>) -> Result<Step, Refusal> {
    let mut next = state.clone();
    let shows_pin = matches!(&write.change, Change::Doxm(update) if update.selects());
    let name = match write.change.clone() {
        Change::Pstat(update) if update.state == Some(OnboardingState::Reset) => {
            return Ok(reset(state, &write.asker, world.now));
        }
        Change::Pstat(update) => update.apply(&mut next, &write).map(|()| "pstat")?,
        Change::Doxm(update) => update.apply(&mut next, &write, world.rules).map(|()| "doxm")?,
        Change::Cred(update) => update.apply(&mut next, &write, world).map(|()| "cred")?,
        Change::DeleteCred(selection) => {
            acl2::may_remove(next.onboarding)?;
            next.cred.remove(selection).map(|()| "cred")?
        }
        Change::Acl2(update) => update.apply(&mut next, &write).map(|()| "acl2")?,
        Change::DeleteAcl2(id) => {
            acl2::may_remove(next.onboarding)?;
            next.acl2.remove(id).map(|()| "acl2")?
        }
        Change::Sp(update) => update.apply(&next).map(|()| "sp")?,
        Change::Sdi(update) => update.apply(&mut next).map(|()| "sdi")?,
        Change::Ael(update) => update.apply(&mut next).map(|()| "ael")?,
    };
    let mut effects = effects(state, &next);
    if shows_pin && next.doxm.selected == Some(Method::RandomPin) {
        effects.push(Effect::ShowPin);
    }
    if next.kept() != state.kept() {
        audit(state, &mut next, &write.asker, name, world.now);
    }
    Ok(Step { next, effects })
}

fn audit(before: &Security, next: &mut Security, asker: &str, name: &str, now: Now) {
    let event = |category, text: String| Event::new(category, 3, now.wall, text, asker);
    if before.onboarding != next.onboarding {
        let (from, to) = (before.onboarding.number(), next.onboarding.number());
        next.ael.push(event(Category::Onboarding, format!("dos.s went from {from} to {to}")));
    }
    next.ael.push(event(Category::Modification, format!("{name} was changed")));
}

/// What follows from the difference, but for what only the input tells.
fn effects(before: &Security, after: &Security) -> Vec<Effect> {
    let mut effects = Vec::new();
    let moved = before.onboarding != after.onboarding;
    if moved || before.doxm != after.doxm || before.cred != after.cred || before.key != after.key {
        effects.push(Effect::PolicyChanged);
    }
    let pin = |state: &Security| {
        state.onboarding == OnboardingState::Rfotm && state.doxm.selected == Some(Method::RandomPin)
    };
    if pin(before) && !pin(after) {
        effects.push(Effect::HidePin);
    }
    if moved
        || before.acl2 != after.acl2
        || before.pstat_owner != after.pstat_owner
        || before.doxm.resource_owner != after.doxm.resource_owner
        || before.cred != after.cred
    {
        effects.push(Effect::AccessChanged { moved });
    }
    if moved || before.pstat_owner != after.pstat_owner {
        effects.push(Effect::StateChanged);
    }
    effects
}
