//! From settings to machines.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::error::{self, Error};
use super::identity::{Identity, fresh};
use super::keeper::decode;
use super::pin::Pin;
use super::policy::{self, Configured};
use super::secure::Secure;
use super::trust::Trusted;
use super::workshop::Bench;
use crate::coap;
use crate::config::{self, Settings};
use crate::fetch::{self, Fetcher, Roots};
use crate::install::{self, Installer};
use crate::net::{self, Service, Sockets};
use crate::ocf::About;
use crate::ocf::security::{self, Fresh, Secret, Security};
use crate::package::{self, DecryptionKey, KeyError, Trust};
use crate::store::{Form, Found, Ledger};
use crate::update::{self, Failure, FailureKind, Floor, Outcome, Rules, State};

/// Longest body that a device takes in blocks, bytes: a certificate chain and its frame.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// The engine's record, and the form in which it is read and written. The first form had one order for
/// all doors; it is still read.
const UPDATE: &str = "update";
pub(super) const UPDATE_FORM: Form = Form { number: 2, since: 2 };

/// The form in which the record of ownership is read and written.
const SECURITY_FORM: Form = Form::FIRST;

/// Over how long answers to a group are spread. Onboarding tools search for little longer:
/// IoTivity-Lite's own devices answer within this time.
const LEISURE: Duration = Duration::from_secs(2);

/// Critical options of OCF: the versions of the content format asked for and sent.
const OCF_OPTIONS: [u16; 2] = [2049, 2053];

/// In the environment of an agent that `freshen launch` has started: which one that is.
pub const LAUNCHED: &str = "FRESHEN_LAUNCHED";

/// What `freshen device` prints when it can be used.
#[derive(Debug, Serialize)]
pub struct Ready {
    /// Always `ready`.
    pub event: &'static str,
    /// The device's identifier.
    pub di: Uuid,
    /// Addresses served in clear.
    pub coap: Vec<String>,
    /// Addresses served over DTLS.
    pub coaps: Vec<String>,
    /// Whether an onboarding tool owns it.
    pub owned: bool,
    /// Whether it cannot tell who owns it, and serves nobody until it is reset by hand.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub locked: bool,
}

/// What the last life left of ownership.
pub(super) struct Opened {
    pub(super) ledger: Ledger,
    /// None where it cannot be told: the device is locked.
    pub(super) state: Option<Security>,
    pub(super) rules: security::Rules,
}

/// Everything that the loop owns, before it runs.
pub(super) struct Parts {
    pub(super) about: About,
    pub(super) rules: Rules,
    pub(super) ready: Ready,
    pub(super) ledger: Ledger,
    pub(super) state: State,
    /// None while everything is open to everyone.
    pub(super) ownership: Option<Opened>,
    pub(super) sockets: Sockets,
    pub(super) coap: coap::Endpoint,
    pub(super) secure: Secure,
    pub(super) bench: Bench,
}

impl Parts {
    /// Reads what is kept below `directory`, opens the sockets, and builds the machines.
    pub(super) fn make(settings: Settings, directory: &Path) -> Result<Self, Error> {
        let bench = bench(&settings, directory)?;
        let (ledger, state) = state(&settings, directory, &bench)?;
        let identity = Identity::load(directory)?;
        let (sockets, ready) = sockets(&settings, &identity)?;
        let coap = coap::Endpoint::new(coap_config(&settings.listen), seed()?);
        let rules = Rules {
            builtin_url: settings.update.builtin_url.clone(),
            sources: bench.fetcher.sources(),
            source_chars_max: settings.update.purl_max,
            lateness_max: settings.update.lateness_max,
            tries: settings.install.tries,
            window: settings.update.window,
            ..Rules::default()
        };
        let ownership = match settings.listen.insecure {
            true => None,
            false => Some(ownership(&settings, directory, &identity)?),
        };
        let onboarding = &settings.onboarding;
        let configured = Configured::new(&settings.credentials, onboarding.manufacturer.as_ref())?;
        let pin = Pin::new(directory.join("pin"), onboarding.pin_command.clone());
        let secure = Secure::new(configured, pin, seed()?);
        Ok(Self {
            about: about(settings, identity),
            rules,
            ready,
            ledger,
            state,
            ownership,
            sockets,
            coap,
            secure,
            bench,
        })
    }
}

fn bench(settings: &Settings, directory: &Path) -> Result<Bench, Error> {
    let update = &settings.update;
    let trust = Trusted::open(trust(&update.trust)?, update.trust_sets.clone(), directory)?;
    let fetcher = Fetcher::new(fetch::Settings {
        allow_hosts: update.allow_hosts.clone(),
        allow_schemes: update.allow_schemes.clone(),
        allow_ports: update.allow_ports.clone(),
        builtin_url: update.builtin_url.clone().unwrap_or_default(),
        roots: match &update.ca {
            config::Ca::WebPki => Roots::WebPki,
            config::Ca::Pem(text) => Roots::Pem(text.clone()),
        },
        coaps: policy::of_downloads(update, &settings.credentials)?,
        bandwidth_max: update.bandwidth_max,
        max_payloads: update.max_payloads,
        mirrors: update.mirrors.clone(),
        private_addresses: update.allow_private,
        loopback_addresses: update.allow_loopback,
        limits: fetch::Limits::default(),
    })?;
    let key = update.decryption_key.as_ref().map(decryption_key).transpose()?;
    Ok(Bench {
        fetcher,
        key,
        installer: installer(&settings.install, directory)?,
        trust,
        names: package::Names {
            vendor: settings.device.vendor.clone(),
            class: settings.device.class.clone(),
        },
        stage: directory.join("stage"),
        confirm_timeout: settings.install.confirm_timeout,
        veto: update.veto.clone(),
        launched: std::env::var_os(LAUNCHED).map(PathBuf::from),
    })
}

fn decryption_key(pem: &Secret) -> Result<DecryptionKey, Error> {
    let wrong = || Error::DecryptionKey(KeyError::NoDecryptionKey);
    let pem = std::str::from_utf8(pem.expose()).map_err(|_| wrong())?;
    DecryptionKey::from_pem(pem).map_err(Error::DecryptionKey)
}

/// A device without keys serves everything and installs nothing.
fn trust(pems: &[String]) -> Result<Trust, Error> {
    if pems.is_empty() {
        tracing::warn!("update.trust is empty: no package will be believed");
        return Ok(Trust::default());
    }
    Trust::from_pem(pems).map_err(|error| Error::Trust(error.to_string()))
}

/// What the last life left, or the state of a new device.
fn state(settings: &Settings, directory: &Path, bench: &Bench) -> Result<(Ledger, State), Error> {
    let (ledger, found) = Ledger::open(directory, UPDATE, UPDATE_FORM)?;
    let device = &settings.device;
    let mut state = State::new(&device.version, device.manufactured);
    match found {
        Found::Nothing => return Ok((ledger, state)),
        Found::Record(body) => {
            return decode(&body).map(|kept| (ledger, kept)).ok_or(Error::nonsense(UPDATE));
        }
        Found::Newer { form } => return Err(Error::newer(UPDATE, form, UPDATE_FORM)),
        Found::Damaged => {}
    }
    // Both copies are gone: the slot still says what runs, and everyone is told.
    let detail = "the stored state was damaged and has been made anew from what is installed";
    tracing::error!("{detail}");
    if let Some(running) = bench.installer.running()? {
        let package = running.digest;
        let epoch = bench.trust.epoch();
        state.floor = running.sequence.map(|sequence| Floor { epoch, sequence, package });
        state.running = update::Running { version: running.version, package: Some(package) };
    }
    state.outcome = Outcome::Failed(Failure::new(FailureKind::Storage, detail));
    Ok((ledger, state))
}

/// What the last life left of ownership, or that of a new device.
fn ownership(settings: &Settings, directory: &Path, identity: &Identity) -> Result<Opened, Error> {
    let rules = security::Rules { methods: settings.onboarding.methods.clone() };
    let (ledger, found) = Ledger::open(directory, "security", SECURITY_FORM)?;
    let state = match found {
        Found::Nothing => {
            let fresh = fresh().map_err(Error::Start)?;
            Some(Security::new(Fresh { device: identity.device, ..fresh }))
        }
        Found::Record(body) => decode(&body).or_else(|| locked(error::NONSENSE)),
        Found::Newer { form } => locked(&error::newer(form, SECURITY_FORM)),
        Found::Damaged => locked("is damaged in both of its copies"),
    };
    Ok(Opened { ledger, state, rules })
}

/// There is an owner, perhaps, and nobody here knows who: whoever can damage a record, or bring back an
/// older agent, must not get a device that waits for its first owner.
fn locked<T>(why: &str) -> Option<T> {
    tracing::error!(
        "the device is locked: the record of who owns it {why}. It serves nobody. If there is an \
         agent that can read the record, start that one; else reset the device by hand, with the \
         button (SIGUSR1) or with a file `reset` in the state directory before the start"
    );
    None
}

fn sockets(settings: &Settings, identity: &Identity) -> Result<(Sockets, Ready), Error> {
    let mut sockets = Sockets::new();
    let listen = &settings.listen;
    let mut open = |addresses: &[std::net::SocketAddr], service| {
        addresses
            .iter()
            .map(|address| Ok(sockets.listen(*address, service)?.to_string()))
            .collect::<Result<Vec<_>, net::Error>>()
    };
    let coap = open(&listen.coap, Service::Clear)?;
    let coaps = open(&listen.coaps, Service::Secure)?;
    if listen.multicast
        && let Err(error) = sockets.join_groups()
    {
        tracing::warn!("{error}");
    }
    let di = identity.device;
    let ready = Ready { event: "ready", di, coap, coaps, owned: false, locked: false };
    Ok((sockets, ready))
}

fn about(settings: Settings, identity: Identity) -> About {
    let device = settings.device;
    About {
        device: identity.device,
        protocol_independent: identity.protocol_independent,
        platform: identity.platform,
        name: device.name,
        manufacturer: device.manufacturer,
        model: device.class,
        manufactured: device.manufactured,
        softwareupdate_href: settings.update.href,
        purl_max: settings.update.purl_max,
    }
}

/// Where everything is open, only this machine can ask, and nobody's address can be borrowed.
/// Before a change no challenge is asked for: the only one in clear is to choose how the device is
/// taken into ownership, and IoTivity-Lite's tool cannot answer one.
fn coap_config(listen: &config::Listen) -> coap::Config {
    coap::Config {
        echo_before_long_answers: !listen.insecure,
        options_known: OCF_OPTIONS.to_vec(),
        body_bytes_max: BODY_BYTES_MAX,
        leisure: LEISURE,
        ..coap::Config::default()
    }
}

fn seed() -> Result<[u8; 32], Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Error::Start(error.to_string()))?;
    Ok(seed)
}

fn installer(install: &config::Install, directory: &Path) -> Result<Installer, Error> {
    let kind = match &install.kind {
        config::InstallKind::Slots => install::Kind::Slots,
        config::InstallKind::File(path) => install::Kind::File(PathBuf::clone(path)),
        config::InstallKind::Program(program) => install::Kind::Program((**program).clone()),
    };
    let settings = install::Settings {
        kind,
        activate: install.activate.clone(),
        activate_timeout: install.activate_timeout,
        agent: install.agent.clone(),
        tries: install.tries,
        health: install.health.clone(),
        health_timeout: install.health_timeout,
        components: install.components.clone(),
        ..install::Settings::default()
    };
    Ok(Installer::open(settings, directory)?)
}
