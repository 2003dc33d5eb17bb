//! A model of sessions: owners who give, replace and take back, clients who knock, stall and stay, time
//! that passes, resets, all in any order; and after each event the one question whether anybody is
//! served by proof that does not hold.
//!
//! It drives the real [`Secure`] and real DTLS clients. What holds is judged apart from it, by what each
//! caller was given and by what the state of ownership says now, key by key.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use uuid::Uuid;

use super::*;
use crate::config::{self, Credentials};
use crate::dtls::{
    Anchor, ClientPolicy, IdentityRule, OwnCertificate, PreSharedKey, SessionInfo, pin_psk,
};
use crate::ocf::security::{CredSubject, Credential, Fresh, Usage};

const EVENTS: usize = 400;
const FITTER_KEY: &[u8] = b"abcdefghijklmnop";

/// What a caller has, and comes with.
#[derive(Clone, Debug)]
enum Has {
    /// A key: whose, and which.
    Key(Uuid, [u8; 16]),
    /// A certificate of this authority, until then.
    Certificate { authority: usize, until: DateTime<Utc> },
    /// The PIN that was shown when it came.
    Pin(String),
    /// What the configuration names.
    Fitter,
    /// Nothing.
    Nothing,
}

/// Somebody with one handshake, and perhaps one session.
struct Caller {
    has: Has,
    dtls: Endpoint,
    /// What is on its way to the device.
    out: VecDeque<Vec<u8>>,
    connected: bool,
}

struct Authority {
    pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

/// What takes long to make: authorities, a certificate of each that ends soon and one that does not, and
/// the device's own.
struct Props {
    authorities: Vec<Authority>,
    clients: Vec<(usize, DateTime<Utc>, OwnCertificate)>,
    device: (String, Vec<u8>),
    client: Uuid,
}

struct Model<'a> {
    props: &'a Props,
    rng: ChaCha20Rng,
    secure: Secure,
    security: Security,
    now: Now,
    callers: HashMap<u16, Caller>,
    ports: u16,
    _directory: tempfile::TempDir,
    /// How often somebody was served, by what.
    served: HashMap<&'static str, usize>,
    /// Sessions that were served once and are not any more.
    cut_off: usize,
    was_served: std::collections::HashSet<u64>,
}

fn begin() -> DateTime<Utc> {
    "2030-01-09T14:30:00Z".parse().unwrap()
}

impl Props {
    fn new() -> Self {
        let authority = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut parameters = rcgen::CertificateParams::default();
            parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
            let pem = parameters.self_signed(&key).unwrap().pem();
            Authority { pem, issuer: rcgen::Issuer::new(parameters, key) }
        };
        let authorities = vec![authority("one"), authority("other")];
        let client = Uuid::from_u128(77);
        let mut clients = vec![];
        for (n, authority) in authorities.iter().enumerate() {
            for seconds in [400, 1_000_000] {
                let until = begin() + Duration::from_secs(seconds);
                let (pem, key) = authority.issue(client, until);
                let certificate = OwnCertificate::from_pem_and_der(pem.as_bytes(), &key).unwrap();
                clients.push((n, until, certificate));
            }
        }
        let device =
            authorities[0].issue(Uuid::from_u128(1), begin() + Duration::from_secs(1_000_000));
        Self { authorities, clients, device, client }
    }
}

impl Authority {
    fn issue(&self, who: Uuid, until: DateTime<Utc>) -> (String, Vec<u8>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, format!("uuid:{who}"));
        let identity = rcgen::ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 4, 1, 44924, 1, 6]);
        parameters.extended_key_usages = vec![identity];
        let seconds = Duration::from_secs(until.timestamp().unsigned_abs());
        parameters.not_after = rcgen::date_time_ymd(1970, 1, 1) + seconds;
        (parameters.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_der())
    }
}

impl<'a> Model<'a> {
    fn new(props: &'a Props, seed: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let psk = config::PreSharedKey {
            identity: "fitter".into(),
            key: Secret::new(FITTER_KEY.to_vec()),
        };
        let credentials = Credentials { psk: vec![psk], certificate: None };
        let configured = Configured::new(&credentials, None).unwrap();
        let pin = Pin::new(directory.path().join("pin"), vec![]);
        let mut model = Self {
            props,
            rng: ChaCha20Rng::seed_from_u64(seed),
            secure: Secure::new(configured, pin, [seed.to_le_bytes()[0]; 32]),
            security: Security::new(Fresh { device: Uuid::from_u128(1), key: Secret::default() }),
            now: Now { wall: begin(), mono: Instant::at(Duration::from_secs(1000)) },
            callers: HashMap::new(),
            ports: 1,
            _directory: directory,
            served: HashMap::new(),
            cut_off: 0,
            was_served: Default::default(),
        };
        model.secure.adopt(&model.security, model.now);
        model
    }

    fn pick(&mut self, below: usize) -> usize {
        (self.rng.next_u32() as usize) % below
    }

    // ── what can happen ───────────────────────────────────────────────────────────────────────

    fn event(&mut self) {
        match self.pick(100) {
            0..=14 => self.knock(),
            15..=59 => self.deliver(),
            60..=66 => self.hurry(),
            67..=74 => self.pass(),
            75..=77 => self.select(),
            78..=81 => self.own(),
            82..=85 => self.give_key(),
            86..=87 => self.take_key(),
            88..=91 => self.trust(),
            92..=93 => self.distrust(),
            94..=95 => self.limit(),
            96 => self.repair(),
            97 => self.reset(),
            _ => self.leave(),
        }
    }

    /// Somebody new comes, with whatever there was to be had.
    fn knock(&mut self) {
        let uuid = Uuid::from_u128(10 + self.pick(3) as u128);
        let owner = self.security.cred.shared_keys(self.now.wall).map(|(uuid, entry)| {
            let key = entry.private.expose().try_into().unwrap_or([0; 16]);
            Has::Key(uuid, key)
        });
        let known: Vec<Has> = owner.collect();
        let has = match self.pick(8) {
            0 | 1 if !known.is_empty() => known[self.pick(known.len())].clone(),
            0 | 1 => Has::Key(uuid, [1; 16]),
            2 | 3 => {
                let (authority, until, _) = self.props.clients[self.pick(4)];
                Has::Certificate { authority, until }
            }
            4 => Has::Fitter,
            5 => Has::Pin(self.secure.pin.digits().unwrap_or("00000000").to_owned()),
            _ => Has::Nothing,
        };
        let mut policy = ClientPolicy {
            suites: vec![Suite::EcdhePskAes128CbcSha256],
            server_identity: IdentityRule::Ocf,
            ..ClientPolicy::default()
        };
        match &has {
            Has::Key(uuid, key) => policy.psk = Some(PreSharedKey::new(uuid.as_bytes(), *key)),
            Has::Fitter => policy.psk = Some(PreSharedKey::new(*b"fitter", FITTER_KEY)),
            Has::Pin(digits) => {
                let key = pin_psk(digits.as_bytes(), self.security.doxm.device.as_bytes());
                policy.psk = Some(PreSharedKey::new(PIN_IDENTITY, *key));
            }
            Has::Nothing => policy.suites = vec![Suite::EcdhAnonAes128CbcSha256],
            Has::Certificate { authority, until } => {
                let is_it = |(a, u, _): &&(usize, _, _)| a == authority && u == until;
                let (.., certificate) = self.props.clients.iter().find(is_it).unwrap();
                policy.suites = vec![Suite::EcdheEcdsaAes128Ccm8];
                policy.certificate = Some(certificate.clone());
                policy.anchors =
                    Anchor::from_pem(self.props.authorities[0].pem.as_bytes()).unwrap();
            }
        }
        self.ports += 1;
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let mut caller = Caller {
            has,
            dtls: Endpoint::new(Config::default(), seed),
            out: VecDeque::new(),
            connected: false,
        };
        caller.dtls.connect(path(5684), policy, self.now).unwrap();
        caller.listen();
        self.callers.insert(self.ports, caller);
    }

    /// The next datagram of somebody arrives, and whatever is the answer to it.
    fn deliver(&mut self) {
        let mut ready: Vec<u16> =
            self.callers.iter().filter(|(_, one)| !one.out.is_empty()).map(|(at, _)| *at).collect();
        ready.sort_unstable();
        if ready.is_empty() {
            return;
        }
        let port = ready[self.pick(ready.len())];
        let Some(bytes) = self.callers.get_mut(&port).and_then(|one| one.out.pop_front()) else {
            return;
        };
        self.secure.handle_datagram(path(port), &bytes, self.now);
        self.drain();
    }

    /// Somebody finishes his handshake without a break.
    fn hurry(&mut self) {
        self.knock();
        let port = self.ports;
        while let Some(bytes) = self.callers.get_mut(&port).and_then(|one| one.out.pop_front()) {
            self.secure.handle_datagram(path(port), &bytes, self.now);
            self.drain();
        }
    }

    fn pass(&mut self) {
        let seconds = [1, 3, 12, 45, 70][self.pick(5)];
        self.now.wall += Duration::from_secs(seconds);
        self.now.mono = self.now.mono + Duration::from_secs(seconds);
        // What holds has to be right before the device has looked at its clock as well.
        self.judge();
        self.secure.handle_timeout(Some(&self.security), self.now);
        for caller in self.callers.values_mut() {
            caller.dtls.handle_timeout(self.now);
            caller.listen();
        }
        self.drain();
    }

    fn select(&mut self) {
        if self.security.onboarding != OnboardingState::Rfotm || self.secure.is_onboarding() {
            return;
        }
        let methods = [Method::JustWorks, Method::RandomPin];
        self.security.doxm.selected = Some(methods[self.pick(2)]);
        self.adopt();
        match self.security.doxm.selected {
            Some(Method::RandomPin) => self.secure.want_pin(self.now.mono),
            _ => self.secure.put_pin_aside(),
        }
        self.secure.handle_timeout(Some(&self.security), self.now);
        self.drain();
    }

    /// Whoever onboards the device becomes its owner.
    fn own(&mut self) {
        if self.security.onboarding != OnboardingState::Rfotm || !self.secure.is_onboarding() {
            return;
        }
        let owner = Uuid::from_u128(10);
        let key = self.secure.owner_key(owner, self.security.doxm.device).unwrap();
        let doxm = &mut self.security.doxm;
        (doxm.owned, doxm.owner) = (true, owner);
        self.adopt();
        self.put(credential(1, CredSubject::Uuid(owner), 1, key));
        let (chain, private) = self.props.device.clone();
        let mut own = credential(2, CredSubject::Any, 8, Secret::new(private));
        (own.usage, own.public) = (Some(Usage::Identity), chain);
        self.put(own);
        for state in [OnboardingState::Rfpro, OnboardingState::Rfnop] {
            self.security.onboarding = state;
            self.adopt();
            self.judge();
        }
    }

    fn give_key(&mut self) {
        if !self.security.doxm.owned {
            return;
        }
        let who = self.pick(3) as u32;
        let id = if who == 0 { 1 } else { 10 + who };
        let key = Secret::new(vec![1 + self.pick(3) as u8; 16]);
        let subject = CredSubject::Uuid(Uuid::from_u128(10 + u128::from(who)));
        self.put(credential(id, subject, 1, key));
        self.adopt();
    }

    fn take_key(&mut self) {
        self.remove(|entry| entry.kind == 1);
    }

    fn trust(&mut self) {
        if !self.security.doxm.owned {
            return;
        }
        // Under a number that may be another authority's.
        let (id, authority) = (20 + self.pick(2) as u32, self.pick(2));
        let mut anchor = credential(id, CredSubject::Any, 8, Secret::default());
        anchor.usage = Some(Usage::TrustAnchor);
        anchor.public = self.props.authorities[authority].pem.clone();
        self.put(anchor);
        self.adopt();
    }

    fn distrust(&mut self) {
        self.remove(|entry| entry.usage == Some(Usage::TrustAnchor));
    }

    /// Some credential holds for half a minute more.
    fn limit(&mut self) {
        let count = self.security.cred.entries.len();
        if count == 0 {
            return;
        }
        let at = self.pick(count);
        let end = self.now.wall + Duration::from_secs(30);
        let period = format!("20200101T000000Z/{}", end.format("%Y%m%dT%H%M%SZ"));
        self.security.cred.entries[at].period = Some(period.try_into().unwrap());
        self.adopt();
    }

    /// The owner repairs the device, or provisions it again.
    fn repair(&mut self) {
        if self.security.doxm.owned {
            let states = [OnboardingState::Rfpro, OnboardingState::Rfnop, OnboardingState::Sreset];
            self.security.onboarding = states[self.pick(3)];
            self.adopt();
        }
    }

    fn reset(&mut self) {
        self.security = Security::resetting();
        self.adopt();
        self.secure.dismiss_all(self.now.mono);
        self.judge();
        let device = Uuid::from_u128(1000 + u128::from(self.ports));
        self.security = Security::new(Fresh { device, key: Secret::default() });
        self.adopt();
        self.drain();
    }

    fn leave(&mut self) {
        let mut ports: Vec<u16> = self.callers.keys().copied().collect();
        ports.sort_unstable();
        if !ports.is_empty() {
            let port = ports[self.pick(ports.len())];
            self.callers.remove(&port);
        }
    }

    // ── its parts ─────────────────────────────────────────────────────────────────────────────

    fn put(&mut self, entry: Credential) {
        self.security.cred.entries.retain(|other| other.id != entry.id);
        self.security.cred.entries.push(entry);
    }

    fn remove(&mut self, is_one: impl Fn(&Credential) -> bool) {
        let ids: Vec<u32> =
            self.security.cred.entries.iter().filter(|one| is_one(one)).map(|one| one.id).collect();
        if !ids.is_empty() {
            let id = ids[self.pick(ids.len())];
            self.security.cred.entries.retain(|entry| entry.id != id);
            self.adopt();
        }
    }

    /// As the loop does after each commit that changes who may connect.
    fn adopt(&mut self) {
        self.secure.adopt(&self.security, self.now);
        self.drain();
    }

    /// Takes what the machine has to say, as the loop does.
    fn drain(&mut self) {
        while let Some(event) = self.secure.poll_event(Some(&self.security), self.now) {
            match event {
                Event::Datagram { path, bytes } => {
                    if let Some(caller) = self.callers.get_mut(&path.remote.port()) {
                        caller.dtls.handle_datagram(self::path(5684), &bytes, self.now);
                        caller.listen();
                    }
                }
                Event::Ended { onboarding: true, .. }
                    if self.security.onboarding == OnboardingState::Rfotm =>
                {
                    self.reset();
                }
                _ => {}
            }
            self.judge();
        }
    }

    // ── the question ──────────────────────────────────────────────────────────────────────────

    fn judge(&mut self) {
        let numbers: Vec<(u64, Peer)> =
            self.secure.sessions.iter().map(|(number, one)| (*number, one.peer)).collect();
        for (number, peer) in numbers {
            let subject = self.secure.subject(peer, Some(&self.security), self.now);
            let Some(caller) = self.callers.get(&peer.remote.port()) else { continue };
            if subject == Subject::Anonymous {
                self.cut_off += usize::from(self.was_served.remove(&number));
                continue;
            }
            let by = self.right(&caller.has, &subject);
            let by = by.unwrap_or_else(|| {
                panic!("{subject} is served, who has {:?}: {:?}", caller.has, self.security)
            });
            *self.served.entry(by).or_default() += 1;
            self.was_served.insert(number);
        }
    }

    /// By what somebody with this is rightly served as that; none if it is wrong.
    fn right(&self, has: &Has, subject: &Subject) -> Option<&'static str> {
        let (security, wall) = (&self.security, self.now.wall);
        let holds = |is_it: &dyn Fn(&Credential) -> bool| security.cred.holding(wall).any(is_it);
        let state = security.onboarding;
        let unowned = state == OnboardingState::Rfotm;
        match (has, subject) {
            (Has::Key(uuid, key), Subject::Peer(peer)) => {
                let is_it = |one: &Credential| {
                    one.kind == 1
                        && one.subject == CredSubject::Uuid(*uuid)
                        && one.private.expose() == key
                };
                (peer.uuid == *uuid && peer.by_key && holds(&is_it)).then_some("a key")
            }
            (Has::Certificate { authority, until }, Subject::Peer(peer)) => {
                let pem = &self.props.authorities[*authority].pem;
                let is_it =
                    |one: &Credential| one.usage == Some(Usage::TrustAnchor) && one.public == *pem;
                let right = peer.uuid == self.props.client && wall <= *until && holds(&is_it);
                right.then_some("a certificate")
            }
            (Has::Fitter, Subject::Known(_)) => {
                (unowned && !security.doxm.owned).then_some("the configuration")
            }
            (Has::Nothing | Has::Pin(_), Subject::Onboarding) => {
                let open = unowned || state == OnboardingState::Rfpro;
                open.then_some("the transfer")
            }
            // The owner that it made itself, as long as there is a credential for it.
            (Has::Nothing | Has::Pin(_), Subject::Peer(peer)) => {
                let is_it = |one: &Credential| one.subject == CredSubject::Uuid(peer.uuid);
                let right = peer.uuid == security.doxm.owner && !unowned && holds(&is_it);
                right.then_some("the transfer, later")
            }
            _ => None,
        }
    }
}

impl Caller {
    fn listen(&mut self) {
        while let Some(output) = self.dtls.poll_output() {
            match output {
                Output::Datagram { bytes, .. } => self.out.push_back(bytes),
                Output::Connected { info: SessionInfo { .. }, .. } => self.connected = true,
                _ => {}
            }
        }
    }
}

fn credential(id: u32, subject: CredSubject, kind: u16, private: Secret) -> Credential {
    Credential {
        id,
        kind,
        subject,
        usage: None,
        private,
        public: String::new(),
        role: None,
        period: None,
    }
}

fn path(port: u16) -> Path {
    Path { remote: ([192, 0, 2, 1], port).into(), socket: 0 }
}

/// `SEEDS=1000 cargo test --release --lib nobody_is_served` goes on for longer.
#[test]
fn nobody_is_served_by_proof_that_does_not_hold() {
    let seeds = std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(64);
    let props = Props::new();
    let mut served = HashMap::<&str, usize>::new();
    let (mut cut_off, mut connected) = (0, 0);
    for seed in 0..seeds {
        let mut model = Model::new(&props, seed);
        for n in 0..EVENTS {
            model.event();
            model.judge();
            assert!(model.secure.sessions.len() <= 256, "seed {seed}, event {n}");
        }
        model.served.iter().for_each(|(by, count)| *served.entry(by).or_default() += count);
        cut_off += model.cut_off;
        connected += model.callers.values().filter(|one| one.connected).count();
    }
    println!("{seeds} seeds: served {served:?}; {cut_off} cut off; {connected} callers connected");
    // The control: each kind of proof did open the door, and was taken back.
    for by in ["a key", "a certificate", "the configuration", "the transfer", "the transfer, later"]
    {
        assert!(served.get(by).is_some_and(|count| *count > 10), "{by}: {served:?}");
    }
    assert!(cut_off > 10, "{cut_off}");
}
