//! This room turns the configuration file into checked settings.
//!
//! Three stages: text to the shapes of [`raw`], which knows every key and refuses others; from there,
//! in [`check`], to plain values that are known to make sense; last, what the command line says. It
//! reads the files that the configuration names, so that nobody later finds them missing. It does not
//! know what the values are for. `resources/device.toml` explains every key.

mod check;
mod raw;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use url::Url;
use zeroize::Zeroizing;

use crate::install;
use crate::ocf::security::{Method, Secret};
use crate::update::Window;

/// The longest file read, here and for each key or certificate, bytes. The public roots of a
/// browser are a quarter of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who the device is.
    pub device: Device,
    /// Where it listens.
    pub listen: Listen,
    /// How it may be taken into ownership.
    pub onboarding: Onboarding,
    /// Whom it knows before it has an owner.
    pub credentials: Credentials,
    /// What it may update from.
    pub update: Update,
    /// How it installs.
    pub install: Install,
}

/// Who the device is.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its name (`n`), at most 64 characters.
    pub name: String,
    /// Who made it (`mnmn`), at most 64 characters.
    pub manufacturer: String,
    /// The domain from which the SUIT vendor id is made.
    pub vendor: String,
    /// The class name from which the SUIT class id is made.
    pub class: String,
    /// The version that runs before the first update, at most 64 characters.
    pub version: String,
    /// When it was made; `lastupdate` until there was one.
    pub manufactured: DateTime<Utc>,
}

/// Where the device listens.
#[derive(Clone, Debug)]
pub struct Listen {
    /// In clear.
    pub coap: Vec<SocketAddr>,
    /// Over DTLS.
    pub coaps: Vec<SocketAddr>,
    /// Whether it can be discovered by multicast.
    pub multicast: bool,
    /// Whether it serves everyone without asking who they are. All addresses are loopback ones then.
    pub insecure: bool,
}

/// How the device may be taken into ownership.
#[derive(Clone, Debug)]
pub struct Onboarding {
    /// The methods it offers.
    pub methods: Vec<Method>,
    /// The program and arguments that show a PIN, which they read from their standard input; empty:
    /// none.
    pub pin_command: Vec<String>,
    /// What it shows for [`Method::ManufacturerCertificate`].
    pub manufacturer: Option<Certified>,
}

/// A certificate, its key, and whom to believe.
#[derive(Clone, Debug)]
pub struct Certified {
    /// The chain, PEM, own certificate first.
    pub chain: String,
    /// The private key, PEM.
    pub key: Secret,
    /// The roots that a peer's chain must end in, PEM.
    pub roots: Vec<String>,
}

/// Whom the device knows before it has an owner.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Keys shared with clients.
    pub psk: Vec<PreSharedKey>,
    /// For sessions with certificates.
    pub certificate: Option<Certified>,
}

/// A key shared with one client, or with a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreSharedKey {
    /// What the client calls itself.
    pub identity: String,
    /// 16 to 64 bytes.
    pub key: Secret,
}

/// What the device may update from.
#[derive(Clone, Debug)]
pub struct Update {
    /// The path of the software update resource.
    pub href: String,
    /// The URL that an empty `purl` stands for.
    pub builtin_url: Option<String>,
    /// The longest `purl`, characters.
    pub purl_max: usize,
    /// The keys that may sign packages, PEM.
    pub trust: Vec<String>,
    /// Where newer trust sets are, seen from the envelope; the number of the set is appended.
    pub trust_sets: Option<String>,
    /// The private key for payloads that are encrypted for this device, PEM.
    pub decryption_key: Option<Secret>,
    /// Whom https and coaps servers must be certified by.
    pub ca: Ca,
    /// The key shared with coaps servers.
    pub coaps_psk: Option<PreSharedKey>,
    /// Hosts that may be asked; empty: the one of [`Self::builtin_url`].
    pub allow_hosts: Vec<String>,
    /// Schemes that may be used.
    pub allow_schemes: Vec<String>,
    /// Ports that may be asked; empty: all.
    pub allow_ports: Vec<u16>,
    /// Whether names may lead to private addresses.
    pub allow_private: bool,
    /// Whether names may lead to this machine.
    pub allow_loopback: bool,
    /// The most that is taken from the network, bytes a second; 0: no limit.
    pub bandwidth_max: u64,
    /// Blocks asked for at once over CoAP (RFC 9177 section 7.2), 1 to 32.
    pub max_payloads: u32,
    /// Other places with the same files, each ending in `/`.
    pub mirrors: Vec<Url>,
    /// When software may be installed, every day; always where there is none.
    pub window: Option<Window>,
    /// How long an order whose time has come waits for the device to be free.
    pub lateness_max: Duration,
    /// The program and arguments that may put an installation off; empty: none.
    pub veto: Vec<String>,
}

/// Whom https servers must be certified by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ca {
    /// The public authorities that browsers believe.
    WebPki,
    /// These certificates, PEM.
    Pem(String),
}

/// How the device installs.
#[derive(Clone, Debug)]
pub struct Install {
    /// Where the new software goes.
    pub kind: InstallKind,
    /// The agent in a slot, relative to it, where `freshen launch` starts it from there.
    pub agent: Option<PathBuf>,
    /// The program and arguments run after the switch; empty: none.
    pub activate: Vec<String>,
    /// How long [`Self::activate`] may take.
    pub activate_timeout: Duration,
    /// The program and arguments that say whether the new software is well; empty: none.
    pub health: Vec<String>,
    /// How long [`Self::health`] may take.
    pub health_timeout: Duration,
    /// How long new software has to prove itself.
    pub confirm_timeout: Duration,
    /// How many times new software may be started before it has proved itself, 1 to 10.
    pub tries: u8,
    /// Where in a slot components go, by their identifiers. At most [`COMPONENTS_MAX`].
    pub components: BTreeMap<String, PathBuf>,
}

/// Components that a configuration may give a place: as many as one package may have, a few times.
pub const COMPONENTS_MAX: usize = 64;

/// Where the new software goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstallKind {
    /// Into the slot that does not run.
    Slots,
    /// In the place of one file.
    File(PathBuf),
    /// Wherever a program of the system puts it.
    Program(Box<install::Program>),
}

/// What the command line says about the configuration; it wins over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// In the place of `listen.coap`, unless empty.
    pub coap: Vec<SocketAddr>,
    /// In the place of `listen.coaps`, unless empty.
    pub coaps: Vec<SocketAddr>,
    /// As if `listen.insecure` were set.
    pub insecure: bool,
}

/// What is wrong with a configuration. No message repeats a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not TOML, or has a key or a type that does not belong there.
    #[error("{}, line {line}: {message}", .path.display())]
    Shape {
        /// Which file.
        path: PathBuf,
        /// Where in it, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A value makes no sense.
    #[error("{key} = {value}: expected {expected}")]
    Value {
        /// Which key, such as `update.purl_max`.
        key: String,
        /// What it says.
        value: String,
        /// What it should say.
        expected: String,
    },
    /// A file that the configuration names cannot be read.
    #[error("{key} = \"{}\": {source}", .path.display())]
    Named {
        /// Which key.
        key: String,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The device would serve strangers.
    #[error(
        "insecure mode serves everyone who can reach the device, so it takes loopback addresses \
         only, and {0} is not one: use 127.0.0.1:PORT or [::1]:PORT, or leave insecure mode"
    )]
    Insecure(SocketAddr),
}

impl Settings {
    /// Reads and checks a configuration file; without one, the defaults. Paths in the file are
    /// relative to it.
    pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Self, Error> {
        let Some(path) = path else {
            return check::settings(raw::File::default(), Path::new("."), overrides);
        };
        let text = Zeroizing::new(
            read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?,
        );
        let file = raw::parse(&text).map_err(|(line, message)| Error::Shape {
            path: path.to_owned(),
            line,
            message,
        })?;
        check::settings(file, path.parent().unwrap_or(Path::new(".")), overrides)
    }
}

/// A text file of at most [`FILE_BYTES_MAX`].
fn read(path: &Path) -> io::Result<String> {
    use io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}
