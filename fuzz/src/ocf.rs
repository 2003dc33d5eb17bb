//! What the fuzz target of the OCF room and of the engine does with its input. `cargo test` compiles and
//! runs it too.

use std::time::Duration;

use freshen::clock::{Instant, Now};
use freshen::coap::{Code, Reception, Request, Response, option};
use freshen::ocf::security::{self, Fresh, Method, Secret, Security, World};
use freshen::ocf::{About, Answer, Guard, Identified, Memo, NO_PROGRESS, Site, Subject, answer};
use freshen::update::{self, Failure, FailureKind, Report, State, WorkId};
use uuid::Uuid;

const PATHS: [&str; 16] = [
    "/softwareupdateResURI",
    "/oic/sec/pstat",
    "/oic/sec/doxm",
    "/oic/sec/cred",
    "/oic/sec/acl2",
    "/oic/sec/sp",
    "/oic/sec/csr",
    "/oic/sec/roles",
    "/oic/sec/sdi",
    "/oic/sec/ael",
    "/oic/res?if=oic.if.baseline",
    "/oic/d",
    "/oic/p",
    "/updatestatus",
    "/oc/wk/introspection",
    "/.well-known/core?rt=oic*",
];

/// The longest body that such a device has reason to send, bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The input as what happens to a device: requests of anybody, time, and reports of its work. No panic,
/// no answer that is none, and a state that reads back as it was written.
pub fn orders(input: &[u8]) {
    let mut device = Device::new();
    let mut input = input;
    while let [what, more, rest @ ..] = input {
        let length = usize::from(*more).min(rest.len());
        let (body, rest) = rest.split_at(length);
        input = rest;
        match what % 8 {
            0..=5 => device.asked(*what, body),
            6 => device.pass(*more),
            _ => device.reported(*more),
        }
        device.reads_back();
    }
}

struct Device {
    about: About,
    update: State,
    security: Security,
    rules: security::Rules,
    memo: Memo,
    step: u64,
    connected: bool,
    now: Now,
}

impl Device {
    fn new() -> Self {
        let manufactured = "2026-01-09T14:30:00Z".parse().expect("a time");
        let fresh = Fresh { device: Uuid::from_u128(7), key: Secret::new(vec![1; 32]) };
        let methods = vec![Method::JustWorks, Method::RandomPin];
        Self {
            about: About {
                device: Uuid::from_u128(1),
                protocol_independent: Uuid::from_u128(2),
                platform: Uuid::from_u128(3),
                name: "Camera".into(),
                manufacturer: "Example Ltd".into(),
                model: "cam-1".into(),
                manufactured,
                softwareupdate_href: PATHS[0].into(),
                purl_max: 64,
            },
            update: State::new("1.0.0", manufactured),
            security: Security::new(fresh),
            rules: security::Rules { methods },
            memo: Memo::default(),
            step: 0,
            connected: false,
            now: Now { wall: manufactured, mono: Instant::ZERO },
        }
    }

    fn site(&self) -> Site<'_> {
        let (state, rules) = (&self.security, &self.rules);
        let guard = Guard { state, rules, connected: self.connected, locked: false };
        Site {
            about: &self.about,
            state: &self.update,
            step: self.step,
            memo: &self.memo,
            progress: &NO_PROGRESS,
            endpoints: &[],
            guard: Some(guard),
            now: self.now,
        }
    }

    fn asked(&mut self, what: u8, body: &[u8]) {
        let (path, body) = body.split_first().map_or((0, body), |(path, body)| (*path, body));
        let method = [Code::GET, Code::POST, Code::POST, Code::DELETE][usize::from(what >> 3 & 3)];
        let mut request = Request::new(method, PATHS[usize::from(path % 16)]);
        if path & 16 != 0 {
            request.options.set_uint(option::CONTENT_FORMAT, 10000);
        }
        request.payload = body.to_vec();
        self.connected = what & 64 != 0;
        let uuid = Uuid::from_u128(u128::from(path >> 6));
        let subject = match what >> 5 & 3 {
            0 => Subject::Anonymous,
            1 => Subject::Known("client".into()),
            2 if self.connected => Subject::Onboarding,
            _ => Subject::Peer(Identified { uuid, by_key: true, roles: vec![] }),
        };
        let way = if path & 32 == 0 { Reception::Unicast } else { Reception::Multicast };
        let response = match answer(&self.site(), &subject, way, request) {
            Answer::Reply(response, _)
            | Answer::Denied(response, _)
            | Answer::Refused(response) => Some(response),
            Answer::Silence => None,
            Answer::Roles(_, pending) => Some(pending.written(&self.site(), None)),
            Answer::Write(write, pending) => {
                let refusal = self.secure(security::Input::Write(write)).err();
                Some(pending.written(&self.site(), refusal.as_ref()))
            }
            Answer::Order(command, pending) => {
                let refusal = self.step(update::Input::Command(command)).err();
                Some(pending.done(&self.site(), refusal.as_ref()))
            }
        };
        if let Some(Response { code, payload, .. }) = response {
            assert!(
                matches!(code.class(), 2 | 4 | 5) && payload.len() <= BODY_BYTES_MAX,
                "{code:?}"
            );
        }
    }

    fn secure(&mut self, input: security::Input) -> Result<(), security::Refusal> {
        let world = World {
            rules: &self.rules,
            owner_key: &|_, _| Some(Secret::new(vec![2; 16])),
            certificate: &|_, _| Ok(()),
            now: self.now,
        };
        self.security = security::step(&self.security, input, &world)?.next;
        Ok(())
    }

    fn step(&mut self, input: update::Input) -> Result<(), update::Refusal> {
        let rules = update::Rules::default();
        self.update = update::step(&self.update, input, &rules, self.now)?.next;
        self.step += 1;
        Ok(())
    }

    fn pass(&mut self, minutes: u8) {
        let time = Duration::from_secs(60 * u64::from(minutes));
        self.now = Now { wall: self.now.wall + time, mono: self.now.mono + time };
        let _ = self.step(update::Input::Tick);
    }

    fn reported(&mut self, more: u8) {
        let failed = || match more & 16 {
            0 => Ok(()),
            _ => Err(Failure::new(FailureKind::ConnectionLost, "gone")),
        };
        let report = match more % 7 {
            0 => Report::Checked(Err(Failure::new(FailureKind::Http(404), "no"))),
            1 => Report::Fetched(failed()),
            2 => Report::Installed(failed()),
            3 => Report::Switched(failed()),
            4 => Report::Tried(failed()),
            5 => Report::Confirmed(failed()),
            _ => Report::RolledBack(failed()),
        };
        for work in 0..8 {
            let report = report.clone();
            let _ = self.step(update::Input::Reported { work: WorkId(work), report });
        }
    }

    /// What is committed is what the next life finds.
    fn reads_back(&self) {
        let mut bytes = vec![];
        ciborium::into_writer(&self.update, &mut bytes).expect("a state can be written");
        let read: State = ciborium::from_reader(&*bytes).expect("and read");
        assert_eq!(read, self.update);
    }
}
