//! The tool's own directory: who we are to devices, a key for each of them, and the authority that
//! signs the certificates we hand out.
//!
//! ```text
//! identity.json        the uuid that devices know us by
//! devices/<uuid>.json  the key that we share with a device, and where it was seen
//! cert.pem key.pem roots.pem   our certificate, its key, and whom we believe
//! ca.pem ca.key.pem    our own authority
//! ```
//!
//! Every file is readable by its owner alone, and replaced in one step.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::authority::Authority;
use super::body;
use crate::dtls::{Anchor, OwnCertificate, PreSharedKey};

/// The directory, as far as it was read.
pub(crate) struct Keyring {
    directory: PathBuf,
    own: Option<Uuid>,
    devices: Vec<Device>,
}

/// A device that we share a key with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) device: Uuid,
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Whether we own it, or somebody gave us this key.
    pub(crate) owner: bool,
    /// Sixteen bytes as hexadecimal digits.
    key: Zeroizing<String>,
    /// Where it was last seen in clear.
    #[serde(default)]
    pub(crate) clear: Option<SocketAddr>,
    /// Where it last took a session.
    #[serde(default)]
    pub(crate) secure: Option<SocketAddr>,
}

#[derive(Serialize, Deserialize)]
struct Identity {
    uuid: Uuid,
}

impl Device {
    pub(crate) fn new(device: Uuid, key: &[u8], owner: bool) -> Self {
        let key = Zeroizing::new(body::hex(key));
        Self { device, name: None, owner, key, clear: None, secure: None }
    }

    fn key(&self) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        body::from_hex(&self.key)
            .map(Zeroizing::new)
            .map_err(|why| anyhow::anyhow!("the key of device {}: {why}", self.device))
    }
}

impl Keyring {
    /// `~/.local/share/freshen`, or where the user keeps such things.
    pub(crate) fn default_directory() -> anyhow::Result<PathBuf> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(data) = set("XDG_DATA_HOME") {
            return Ok(PathBuf::from(data).join("freshen"));
        }
        let home = set("HOME").context("there is no HOME; say --credentials DIR")?;
        Ok(PathBuf::from(home).join(".local/share/freshen"))
    }

    /// Reads a directory; one that does not exist is empty.
    pub(crate) fn open(directory: PathBuf) -> anyhow::Result<Self> {
        let own: Option<Identity> = read_json(&directory.join(IDENTITY))?;
        let mut devices = Vec::new();
        let listed = match fs::read_dir(directory.join(DEVICES)) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            listed => Some(listed.with_context(|| format!("cannot read {}", directory.display()))?),
        };
        for entry in listed.into_iter().flatten() {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                devices.extend(read_json::<Device>(&path)?);
            }
        }
        devices.sort_by_key(|device| device.device);
        Ok(Self { directory, own: own.map(|own| own.uuid), devices })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn devices(&self) -> &[Device] {
        &self.devices
    }

    pub(crate) fn device(&self, device: Uuid) -> Option<&Device> {
        self.devices.iter().find(|known| known.device == device)
    }

    /// Who we are, if that was ever decided.
    pub(crate) fn own(&self) -> Option<Uuid> {
        self.own
    }

    /// Who we are; decided now if never before.
    pub(crate) fn own_or_new(&mut self) -> anyhow::Result<Uuid> {
        if let Some(own) = self.own {
            return Ok(own);
        }
        self.belong_to(Uuid::new_v4())
    }

    /// Makes a new directory that of this client.
    pub(crate) fn belong_to(&mut self, own: Uuid) -> anyhow::Result<Uuid> {
        if let Some(known) = self.own {
            let directory = self.directory.display();
            anyhow::ensure!(known == own, "{directory} is the directory of client {known}");
        }
        self.write_json(IDENTITY, &Identity { uuid: own })?;
        self.own = Some(own);
        Ok(own)
    }

    /// What we answer a device that wants to know our key for it.
    pub(crate) fn psk(&self, device: &Device) -> anyhow::Result<PreSharedKey> {
        let own =
            self.own.context("identity.json is missing; the keys are of no use without it")?;
        Ok(PreSharedKey::new(own.as_bytes(), device.key()?.as_slice()))
    }

    /// Keeps what is known of a device, in place of what was.
    pub(crate) fn keep(&mut self, device: Device) -> anyhow::Result<()> {
        self.write_json(&file_of(device.device), &device)?;
        self.devices.retain(|known| known.device != device.device);
        self.devices.push(device);
        Ok(())
    }

    pub(crate) fn forget(&mut self, device: Uuid) -> anyhow::Result<()> {
        self.devices.retain(|known| known.device != device);
        let path = self.directory.join(file_of(device));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Our certificate, and whom we believe.
    pub(crate) fn certificate(&self) -> anyhow::Result<Option<(OwnCertificate, Vec<Anchor>)>> {
        let Some(chain) = read(&self.directory.join(CERTIFICATE))? else { return Ok(None) };
        let part = |name: &str| {
            let path = self.directory.join(name);
            read(&path)?.with_context(|| format!("{} is missing", path.display()))
        };
        let own = OwnCertificate::from_pem(chain.as_bytes(), part(CERTIFICATE_KEY)?.as_bytes())?;
        Ok(Some((own, Anchor::from_pem(part(ROOTS)?.as_bytes())?)))
    }

    pub(crate) fn keep_certificate(
        &self,
        chain: &str,
        key: &str,
        roots: &str,
    ) -> anyhow::Result<()> {
        self.write(ROOTS, roots.as_bytes())?;
        self.write(CERTIFICATE_KEY, key.as_bytes())?;
        self.write(CERTIFICATE, chain.as_bytes())
    }

    /// The authority that signs certificates for our devices and clients; made when first needed.
    pub(crate) fn authority(&self) -> anyhow::Result<Authority> {
        let (certificate, key) = (self.directory.join(CA), self.directory.join(CA_KEY));
        if let (Some(certificate), Some(key)) = (read(&certificate)?, read(&key)?) {
            return Authority::from_pem(&certificate, &key);
        }
        let authority = Authority::new()?;
        self.write(CA_KEY, authority.key_pem().as_bytes())?;
        self.write(CA, authority.certificate_pem().as_bytes())?;
        Ok(authority)
    }

    fn write_json(&self, name: &str, value: &impl Serialize) -> anyhow::Result<()> {
        let text = Zeroizing::new(serde_json::to_string_pretty(value)?);
        self.write(name, text.as_bytes())
    }

    /// Replaces a file in one step.
    fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.directory.join(name);
        let written = || -> std::io::Result<()> {
            let parent = path.parent().unwrap_or(&self.directory);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
            let new = path.with_extension(format!("new-{}", std::process::id()));
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(parent)?.sync_all()
        };
        written().with_context(|| format!("cannot write {}", path.display()))
    }
}

const IDENTITY: &str = "identity.json";
const DEVICES: &str = "devices";
const CERTIFICATE: &str = "cert.pem";
const CERTIFICATE_KEY: &str = "key.pem";
const ROOTS: &str = "roots.pem";
const CA: &str = "ca.pem";
const CA_KEY: &str = "ca.key.pem";

fn file_of(device: Uuid) -> String {
    format!("{DEVICES}/{device}.json")
}

fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> anyhow::Result<Option<T>> {
    let Some(text) = read(path)? else { return Ok(None) };
    let value = serde_json::from_str(&text);
    value.map(Some).with_context(|| format!("cannot understand {}", path.display()))
}

/// A file that nobody else may read; `None` if there is none.
fn read(path: &Path) -> anyhow::Result<Option<Zeroizing<String>>> {
    let shown = path.display();
    let mode = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("cannot read {shown}"))?.permissions().mode(),
    };
    anyhow::ensure!(mode & 0o077 == 0, "others may read {shown}; run: chmod 600 {shown}");
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    Ok(Some(Zeroizing::new(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_there_again_and_nobody_else_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/freshen");
        let mut keyring = Keyring::open(path.clone()).unwrap();
        assert!(keyring.own().is_none() && keyring.devices().is_empty());
        let own = keyring.own_or_new().unwrap();
        let di = Uuid::from_u128(7);
        keyring.keep(Device::new(di, &[0xab; 16], true)).unwrap();
        let mut again = Keyring::open(path.clone()).unwrap();
        assert_eq!(again.own(), Some(own));
        let device = again.device(di).unwrap();
        assert!(device.owner);
        let psk = again.psk(device).unwrap();
        assert_eq!((&*psk.identity, &**psk.key), (&own.as_bytes()[..], &[0xab; 16][..]));
        let file = path.join(file_of(di));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let refusal = Keyring::open(path.clone()).err().unwrap().to_string();
        assert!(refusal.contains("chmod 600"), "{refusal}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        again.forget(di).unwrap();
        again.forget(di).unwrap();
        assert!(Keyring::open(path).unwrap().devices().is_empty());
    }

    #[test]
    fn a_directory_belongs_to_one_client() {
        let directory = tempfile::tempdir().unwrap();
        let mut keyring = Keyring::open(directory.path().into()).unwrap();
        keyring.belong_to(Uuid::from_u128(1)).unwrap();
        assert!(keyring.belong_to(Uuid::from_u128(2)).is_err());
        assert_eq!(keyring.own_or_new().unwrap(), Uuid::from_u128(1));
    }

    #[test]
    fn a_key_does_not_show() {
        let shown = format!("{:?}", Device::new(Uuid::from_u128(7), &[0xab; 16], true));
        assert!(!shown.contains("abab"), "{shown}");
    }

    #[test]
    fn the_authority_stays_the_same_and_its_certificates_are_taken() {
        let directory = tempfile::tempdir().unwrap();
        let keyring = Keyring::open(directory.path().into()).unwrap();
        let authority = keyring.authority().unwrap();
        let again = keyring.authority().unwrap();
        assert_eq!(authority.certificate_pem(), again.certificate_pem());
        assert!(keyring.certificate().unwrap().is_none());
        let (chain, key) = again.issue(Uuid::from_u128(9)).unwrap();
        keyring.keep_certificate(&chain, &key, authority.certificate_pem()).unwrap();
        assert!(keyring.certificate().unwrap().is_some());
    }
}
