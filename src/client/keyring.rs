//! A directory of keys: who we are to devices, a key for each of them, and the authority that
//! signs the certificates we hand out.
//!
//! ```text
//! identity.json        the uuid that devices know us by
//! devices/<uuid>.json  the key that we share with a device, and where it was seen
//! cert.pem key.pem roots.pem   our certificate, its key, and whom we believe
//! ca.pem ca.key.pem    our own authority
//! ```
//!
//! Every file is readable by its owner alone, and replaced in one step. A server that keeps its keys
//! elsewhere has a keyring in memory, and takes what is new from it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::authority::Authority;
use super::error::system;
use super::{Error, body};
use crate::dtls::{self, Anchor, OwnCertificate, PreSharedKey};

/// The keys of one owner or client.
pub struct Keyring {
    /// Where they are kept; `None` in memory.
    directory: Option<PathBuf>,
    own: Option<Uuid>,
    devices: Vec<DeviceKey>,
}

/// A device that we share a key with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceKey {
    /// Which device.
    pub device: Uuid,
    #[serde(default)]
    /// How it calls itself.
    pub name: Option<String>,
    /// Whether we own it, or somebody gave us this key.
    pub owner: bool,
    /// Sixteen bytes as hexadecimal digits.
    key: Zeroizing<String>,
    /// Where it was last seen in clear.
    #[serde(default)]
    pub clear: Option<SocketAddr>,
    /// Where it last took a session.
    #[serde(default)]
    pub secure: Option<SocketAddr>,
}

#[derive(Serialize, Deserialize)]
struct Identity {
    uuid: Uuid,
}

impl DeviceKey {
    /// A key of 16 bytes.
    pub fn new(device: Uuid, key: &[u8], owner: bool) -> Self {
        let key = Zeroizing::new(body::hex(key));
        Self { device, name: None, owner, key, clear: None, secure: None }
    }

    /// The key itself.
    ///
    /// # Errors
    ///
    /// Where its file says something that is no key.
    pub fn key(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        body::from_hex(&self.key)
            .map(Zeroizing::new)
            .map_err(|why| Error::Invalid(format!("the key of device {}: {why}", self.device)))
    }
}

impl Keyring {
    /// Of the client `own`, kept by nobody but the caller.
    pub fn in_memory(own: Uuid, devices: Vec<DeviceKey>) -> Self {
        Self { directory: None, own: Some(own), devices }
    }

    /// Reads a directory; one that does not exist is empty.
    ///
    /// # Errors
    ///
    /// Where it cannot be read or understood, or others may read it too.
    pub fn open(directory: PathBuf) -> Result<Self, Error> {
        let own: Option<Identity> = read_json(&directory.join(IDENTITY))?;
        let mut devices = Vec::new();
        let cannot = || format!("cannot read {}", directory.display());
        let listed = match fs::read_dir(directory.join(DEVICES)) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            listed => Some(listed.map_err(system(cannot()))?),
        };
        for entry in listed.into_iter().flatten() {
            let path = entry.map_err(system(cannot()))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                devices.extend(read_json::<DeviceKey>(&path)?);
            }
        }
        devices.sort_by_key(|device| device.device);
        Ok(Self { directory: Some(directory), own: own.map(|own| own.uuid), devices })
    }

    /// Where it is, in words.
    pub fn name(&self) -> String {
        let directory = self.directory.as_ref();
        directory.map_or("memory".into(), |directory| directory.display().to_string())
    }

    /// All devices that there is a key for.
    pub fn devices(&self) -> &[DeviceKey] {
        &self.devices
    }

    /// The key for a device.
    pub fn device(&self, device: Uuid) -> Option<&DeviceKey> {
        self.devices.iter().find(|known| known.device == device)
    }

    /// Who we are, if that was ever decided.
    pub fn own(&self) -> Option<Uuid> {
        self.own
    }

    /// Who we are; decided now if never before.
    ///
    /// # Errors
    ///
    /// Where that cannot be written down.
    pub fn own_or_new(&mut self) -> Result<Uuid, Error> {
        if let Some(own) = self.own {
            return Ok(own);
        }
        self.belong_to(Uuid::new_v4())
    }

    /// Makes a new directory that of this client.
    ///
    /// # Errors
    ///
    /// Where it is another's, or that cannot be written down.
    pub fn belong_to(&mut self, own: Uuid) -> Result<Uuid, Error> {
        if let Some(known) = self.own.filter(|known| *known != own) {
            let name = self.name();
            return Err(Error::Invalid(format!("{name} is the directory of client {known}")));
        }
        self.write_json(IDENTITY, &Identity { uuid: own })?;
        self.own = Some(own);
        Ok(own)
    }

    /// What we answer a device that wants to know our key for it.
    ///
    /// # Errors
    ///
    /// Where nobody knows who we are, or the key is none.
    pub fn psk(&self, device: &DeviceKey) -> Result<PreSharedKey, Error> {
        let unknown = "identity.json is missing; the keys are of no use without it";
        let own = self.own.ok_or_else(|| Error::Invalid(unknown.into()))?;
        Ok(PreSharedKey::new(own.as_bytes(), device.key()?.as_slice()))
    }

    /// Keeps what is known of a device, in place of what was.
    ///
    /// # Errors
    ///
    /// Where it cannot be written down; nothing is kept then.
    pub fn keep(&mut self, device: DeviceKey) -> Result<(), Error> {
        self.write_json(&file_of(device.device), &device)?;
        self.devices.retain(|known| known.device != device.device);
        self.devices.push(device);
        Ok(())
    }

    /// Forgets what is known of a device, if anything is.
    ///
    /// # Errors
    ///
    /// Where its file cannot be removed.
    pub fn forget(&mut self, device: Uuid) -> Result<(), Error> {
        self.devices.retain(|known| known.device != device);
        let Some(directory) = &self.directory else { return Ok(()) };
        let path = directory.join(file_of(device));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(system(format!("cannot remove {}", path.display()))(error))
            }
            _ => Ok(()),
        }
    }

    /// Our certificate, and whom we believe.
    ///
    /// # Errors
    ///
    /// Where a file is missing or damaged.
    pub fn certificate(&self) -> Result<Option<(OwnCertificate, Vec<Anchor>)>, Error> {
        let Some(directory) = &self.directory else { return Ok(None) };
        let Some(chain) = read(&directory.join(CERTIFICATE))? else { return Ok(None) };
        let part = |name: &str| {
            let path = directory.join(name);
            read(&path)?.ok_or_else(|| Error::Invalid(format!("{} is missing", path.display())))
        };
        let (key, roots) = (part(CERTIFICATE_KEY)?, part(ROOTS)?);
        let damaged = |error: dtls::Error| {
            Error::Invalid(format!("the certificate in {}: {error}", directory.display()))
        };
        let own = OwnCertificate::from_pem(chain.as_bytes(), key.as_bytes()).map_err(damaged)?;
        Ok(Some((own, Anchor::from_pem(roots.as_bytes()).map_err(damaged)?)))
    }

    /// Keeps our certificate, and whom we believe.
    ///
    /// # Errors
    ///
    /// Where they cannot be written down.
    pub fn keep_certificate(&self, chain: &str, key: &str, roots: &str) -> Result<(), Error> {
        self.write(ROOTS, roots.as_bytes())?;
        self.write(CERTIFICATE_KEY, key.as_bytes())?;
        self.write(CERTIFICATE, chain.as_bytes())
    }

    /// The authority that signs certificates for our devices and clients; made when first needed.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, made or written down.
    pub fn authority(&self) -> Result<Authority, Error> {
        let nowhere = || Error::Invalid("a keyring in memory has no authority of its own".into());
        let directory = self.directory.as_ref().ok_or_else(nowhere)?;
        let (certificate, key) = (directory.join(CA), directory.join(CA_KEY));
        if let (Some(certificate), Some(key)) = (read(&certificate)?, read(&key)?) {
            return Authority::from_pem(&certificate, &key);
        }
        let authority = Authority::new()?;
        self.write(CA_KEY, authority.key_pem().as_bytes())?;
        self.write(CA, authority.certificate_pem().as_bytes())?;
        Ok(authority)
    }

    fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(value);
        let text = Zeroizing::new(text.expect("names and keys are texts"));
        self.write(name, text.as_bytes())
    }

    /// Replaces a file in one step.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let path = directory.join(name);
        let written = || -> std::io::Result<()> {
            let parent = path.parent().unwrap_or(directory);
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
        written().map_err(system(format!("cannot write {}", path.display())))
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

fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>, Error> {
    let Some(text) = read(path)? else { return Ok(None) };
    let value = serde_json::from_str(&text);
    value
        .map(Some)
        .map_err(|error| Error::Invalid(format!("cannot understand {}: {error}", path.display())))
}

/// A file that nobody else may read; `None` if there is none.
fn read(path: &Path) -> Result<Option<Zeroizing<String>>, Error> {
    let shown = path.display();
    let mode = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(system(format!("cannot read {shown}")))?.permissions().mode(),
    };
    if mode & 0o077 != 0 {
        let words = format!("others may read {shown}; run: chmod 600 {shown}");
        return Err(Error::Invalid(words));
    }
    let text = fs::read_to_string(path).map_err(system(format!("cannot read {shown}")))?;
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
        keyring.keep(DeviceKey::new(di, &[0xab; 16], true)).unwrap();
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
        let shown = format!("{:?}", DeviceKey::new(Uuid::from_u128(7), &[0xab; 16], true));
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
