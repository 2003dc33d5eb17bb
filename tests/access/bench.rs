//! A device without sockets: requests in, answers out, steps in between.

use ciborium::Value;
use freshen::clock::{Instant, Now};
use freshen::coap::{Code, Reception, Request, Response, option};
use freshen::ocf::security::{
    self, Effect, Fresh, Input, Method, OnboardingState, Secret, Security, Step, World,
};
use freshen::ocf::{About, Answer, Guard, Identified, Memo, NO_PROGRESS, Site, Subject, answer};
use freshen::update::{self, State};
use uuid::Uuid;

use crate::encoder::Cbor;

pub(crate) const SWU: &str = "/softwareupdateResURI";

/// What the onboarding connection of the bench derives.
pub(crate) const DERIVED: &[u8; 16] = b"derived by a DOC";

pub(crate) struct Bench {
    pub(crate) about: About,
    pub(crate) update: State,
    pub(crate) security: Security,
    pub(crate) rules: security::Rules,
    /// An onboarding connection stands.
    pub(crate) connected: bool,
    /// What the steps wanted done, the oldest first.
    pub(crate) effects: Vec<Effect>,
    memo: Memo,
    step: u64,
    born: u128,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let about = About {
            device: Uuid::from_u128(1),
            protocol_independent: Uuid::from_u128(2),
            platform: Uuid::from_u128(3),
            name: "Camera".into(),
            manufacturer: "Example Ltd".into(),
            model: "cam-1".into(),
            manufactured: "2026-01-09T14:30:00Z".parse().unwrap(),
            softwareupdate_href: SWU.into(),
            purl_max: 64,
        };
        let methods = vec![Method::JustWorks, Method::RandomPin, Method::ManufacturerCertificate];
        Self {
            update: State::new("1.0.0", about.manufactured),
            about,
            security: Security::new(fresh(100)),
            rules: security::Rules { methods },
            connected: false,
            effects: vec![],
            memo: Memo::default(),
            step: 0,
            born: 100,
        }
    }

    pub(crate) fn now() -> Now {
        Now { wall: "2026-02-01T00:00:00Z".parse().unwrap(), mono: Instant::ZERO }
    }

    fn site<'a>(&'a self, endpoints: &'a [String]) -> Site<'a> {
        let (state, rules, connected) = (&self.security, &self.rules, self.connected);
        let guard = Guard { state, rules, connected, locked: false };
        Site {
            about: &self.about,
            state: &self.update,
            step: self.step,
            memo: &self.memo,
            progress: &NO_PROGRESS,
            endpoints,
            guard: Some(guard),
            now: Self::now(),
        }
    }

    /// One input to the security state, as the device's loop carries it out.
    pub(crate) fn input(&mut self, input: Input) -> Result<(), security::Refusal> {
        let connected = self.connected;
        let world = World {
            rules: &self.rules,
            owner_key: &|_, _| connected.then(|| Secret::new(DERIVED.to_vec())),
            certificate: &|_, _| Ok(()),
            now: Self::now(),
        };
        let Step { next, effects } = security::step(&self.security, input, &world)?;
        self.security = next;
        self.effects.extend(effects);
        Ok(())
    }

    /// Ends a reset.
    pub(crate) fn finish_reset(&mut self) {
        self.born += 1;
        self.connected = false;
        self.input(Input::ResetDone(fresh(self.born))).unwrap();
    }

    /// The input that a request becomes.
    pub(crate) fn input_of(&self, subject: &Subject, request: Request) -> Input {
        match answer(&self.site(&[]), subject, Reception::Unicast, request) {
            Answer::Write(write, _) => Input::Write(write),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn ask_by(
        &mut self,
        reception: Reception,
        subject: &Subject,
        request: Request,
    ) -> Option<Response> {
        let endpoints = ["coap://192.0.2.1:5683".to_owned(), "coaps://192.0.2.1:5684".to_owned()];
        match answer(&self.site(&endpoints), subject, reception, request) {
            Answer::Reply(response, _)
            | Answer::Denied(response, _)
            | Answer::Refused(response) => Some(response),
            Answer::Silence => None,
            Answer::Write(write, pending) => {
                let refusal = self.input(Input::Write(write)).err();
                Some(pending.written(&self.site(&[]), refusal.as_ref()))
            }
            Answer::Roles(_, pending) => Some(pending.written(&self.site(&[]), None)),
            Answer::Order(command, pending) => {
                let input = update::Input::Command(command);
                let rules = update::Rules::default();
                let refusal = match update::step(&self.update, input, &rules, Self::now()) {
                    Ok(step) => {
                        self.update = step.next;
                        self.step += 1;
                        None
                    }
                    Err(refusal) => Some(refusal),
                };
                Some(pending.done(&self.site(&[]), refusal.as_ref()))
            }
        }
    }

    pub(crate) fn ask(&mut self, subject: &Subject, request: Request) -> Response {
        self.ask_by(Reception::Unicast, subject, request).unwrap()
    }

    pub(crate) fn get(&mut self, subject: &Subject, path: &str) -> Result<Value, Code> {
        let mut request = Request::new(Code::GET, path);
        request.options.set_uint(option::ACCEPT, 10000);
        request.options.set_uint(2049, 2048);
        let response = self.ask(subject, request);
        match response.code {
            Code::CONTENT => Ok(ciborium::from_reader(&*response.payload).unwrap()),
            code => Err(code),
        }
    }

    pub(crate) fn post(&mut self, subject: &Subject, path: &str, body: &Cbor) -> Code {
        self.ask(subject, posting(path, body)).code
    }

    pub(crate) fn delete(&mut self, subject: &Subject, path: &str) -> Code {
        self.ask(subject, Request::new(Code::DELETE, path)).code
    }

    pub(crate) fn state(&self) -> OnboardingState {
        self.security.onboarding
    }
}

/// A POST as IoTivity-Lite sends it.
pub(crate) fn posting(path: &str, body: &Cbor) -> Request {
    let mut request = Request::new(Code::POST, path);
    request.options.set_uint(option::ACCEPT, 10000);
    request.options.set_uint(option::CONTENT_FORMAT, 10000);
    request.options.set_uint(2049, 2048);
    request.options.set_uint(2053, 2048);
    request.payload = body.encode();
    request
}

/// A secure session by a shared key.
pub(crate) fn peer(uuid: Uuid) -> Subject {
    Subject::Peer(Identified { uuid, by_key: true, roles: vec![] })
}

pub(crate) fn fresh(number: u128) -> Fresh {
    let key = rcgen::KeyPair::generate().unwrap();
    Fresh { device: Uuid::from_u128(number), key: Secret::new(key.serialize_der()) }
}

/// A member of a map, by its path.
pub(crate) fn member<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, name| match value {
        Value::Array(values) => &values[name.parse::<usize>().unwrap()],
        Value::Map(members) => {
            let found = members.iter().find(|(key, _)| key.as_text() == Some(name));
            &found.unwrap_or_else(|| panic!("{path} in {value:?}")).1
        }
        other => panic!("{path} in {other:?}"),
    })
}
