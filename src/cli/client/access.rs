//! Which keys a command uses for secure sessions.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use uuid::Uuid;

use super::body;
use super::keyring::Keyring;
use crate::dtls::{
    Anchor, ClientPolicy, HintedKey, IdentityRule, OwnCertificate, PreSharedKey, Suite,
};

/// Where this tool keeps its keys.
#[derive(clap::Args)]
pub(super) struct Directory {
    /// The directory with this tool's own keys [default: ~/.local/share/freshen]
    #[arg(long, global = true, value_name = "DIR")]
    credentials: Option<PathBuf>,
}

/// The options of every command that can open a secure session.
#[derive(clap::Args)]
#[command(next_help_heading = "Keys for coaps")]
pub(super) struct Access {
    #[command(flatten)]
    directory: Directory,
    /// A shared key instead; the identity is text, or 0x and hexadecimal digits
    #[arg(long, value_name = "IDENTITY:KEYHEX", value_parser = psk, conflicts_with = "cert")]
    psk: Option<PreSharedKey>,
    /// A certificate instead, as PEM: our own first, then what leads to a root
    #[arg(long, value_name = "FILE", requires_all = ["key", "roots"])]
    cert: Option<PathBuf>,
    /// The private key of --cert, as PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Who may vouch for the device's certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    roots: Option<PathBuf>,
}

/// Keys for secure sessions with any device.
pub(super) struct Keys {
    pub(super) keyring: Keyring,
    given: Option<Given>,
}

/// What the command line said.
enum Given {
    Psk(PreSharedKey),
    Certificate(OwnCertificate, Vec<Anchor>),
}

impl Directory {
    /// Reads it.
    pub(super) fn keys(&self) -> anyhow::Result<Keys> {
        let directory = match &self.credentials {
            Some(directory) => directory.clone(),
            None => Keyring::default_directory()?,
        };
        Ok(Keys { keyring: Keyring::open(directory)?, given: None })
    }
}

impl Access {
    /// Reads what the options name.
    pub(super) fn keys(&self) -> anyhow::Result<Keys> {
        let given = match (&self.psk, &self.cert, &self.key, &self.roots) {
            (Some(psk), ..) => Some(Given::Psk(psk.clone())),
            (None, Some(cert), Some(key), Some(roots)) => {
                let own = OwnCertificate::from_pem(&file(cert)?, &file(key)?)?;
                Some(Given::Certificate(own, Anchor::from_pem(&file(roots)?)?))
            }
            _ => None,
        };
        Ok(Keys { given, ..self.directory.keys()? })
    }
}

impl Keys {
    /// What to offer the server at that address; `device` where it is known which one it is.
    pub(super) fn policy(
        &self,
        remote: SocketAddr,
        device: Option<Uuid>,
    ) -> anyhow::Result<ClientPolicy> {
        match &self.given {
            Some(Given::Psk(psk)) => Ok(with_key(psk.clone())),
            Some(Given::Certificate(own, anchors)) => {
                let rule = device.map_or(IdentityRule::ChainOnly, IdentityRule::OcfDevice);
                Ok(with_certificate(own.clone(), anchors.clone(), rule))
            }
            None => self.kept(remote, device),
        }
    }

    /// From the directory: the key for the device, or for whichever device it turns out to be.
    fn kept(&self, remote: SocketAddr, device: Option<Uuid>) -> anyhow::Result<ClientPolicy> {
        if let Some(known) = device.and_then(|device| self.keyring.device(device)) {
            return Ok(with_key(self.keyring.psk(known)?));
        }
        let mut policy = ClientPolicy::default();
        if device.is_none() {
            let devices = self.keyring.devices();
            for known in devices {
                let hint = known.device.as_bytes().to_vec();
                policy.psks_by_hint.push(HintedKey { hint, psk: self.keyring.psk(known)? });
            }
            // For servers that do not say who they are.
            let seen = devices.iter().find(|known| known.secure == Some(remote));
            let only = devices.first().filter(|_| devices.len() == 1);
            policy.psk = seen.or(only).map(|known| self.keyring.psk(known)).transpose()?;
            if !devices.is_empty() {
                policy.suites.extend(Suite::WITH_KEYS);
            }
        }
        if let Some((own, anchors)) = self.keyring.certificate()? {
            policy.suites.extend(Suite::WITH_CERTIFICATES);
            policy.certificate = Some(own);
            policy.anchors = anchors;
            policy.server_identity = device.map_or(IdentityRule::Ocf, IdentityRule::OcfDevice);
        }
        let directory = self.keyring.directory().display();
        anyhow::ensure!(
            !policy.suites.is_empty(),
            "there is no key for it in {directory}; own the device first (`freshen own`), have its \
             owner make you its client (`freshen provision client`), or say --psk or --cert"
        );
        Ok(policy)
    }
}

pub(super) fn with_key(psk: PreSharedKey) -> ClientPolicy {
    ClientPolicy { suites: Suite::WITH_KEYS.to_vec(), psk: Some(psk), ..ClientPolicy::default() }
}

fn with_certificate(
    own: OwnCertificate,
    anchors: Vec<Anchor>,
    server_identity: IdentityRule,
) -> ClientPolicy {
    ClientPolicy {
        suites: Suite::WITH_CERTIFICATES.to_vec(),
        certificate: Some(own),
        anchors,
        server_identity,
        ..ClientPolicy::default()
    }
}

fn file(path: &std::path::Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// `IDENTITY:KEYHEX`. The key is after the last colon: an identity may have some.
fn psk(text: &str) -> Result<PreSharedKey, String> {
    let (identity, key) = text.rsplit_once(':').ok_or("write it as IDENTITY:KEYHEX")?;
    let key = body::from_hex(key).map_err(|why| format!("the key: {why}"))?;
    if identity.is_empty() || key.is_empty() {
        return Err("neither the identity nor the key may be empty".into());
    }
    let identity = match identity.strip_prefix("0x") {
        Some(digits) => body::from_hex(digits).map_err(|why| format!("the identity: {why}"))?,
        None => identity.as_bytes().to_vec(),
    };
    Ok(PreSharedKey::new(identity, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::keyring::Device;

    #[test]
    fn keys_are_read_from_the_command_line() {
        let read = |text| psk(text).unwrap();
        assert_eq!(read("client-1:00ff"), PreSharedKey::new(*b"client-1", [0, 0xff]));
        assert_eq!(read("a:b:01"), PreSharedKey::new(*b"a:b", [1]));
        assert_eq!(read("0x0001:01"), PreSharedKey::new([0, 1], [1]));
        for text in ["", "x", ":00", "x:", "x:0", "x:zz", "0xz:00"] {
            assert!(psk(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_key_fits_the_device_and_without_one_there_is_advice() {
        let directory = tempfile::tempdir().unwrap();
        let mut keyring = Keyring::open(directory.path().into()).unwrap();
        let own = keyring.own_or_new().unwrap();
        let mut keys = Keys { keyring, given: None };
        let remote: SocketAddr = "192.0.2.1:5684".parse().unwrap();
        let advice = keys.policy(remote, None).unwrap_err().to_string();
        assert!(advice.contains("freshen own"), "{advice}");
        for n in [1, 2] {
            let mut device = Device::new(Uuid::from_u128(n), &[n as u8; 16], true);
            device.secure = (n == 2).then_some(remote);
            keys.keyring.keep(device).unwrap();
        }
        let policy = keys.policy(remote, Some(Uuid::from_u128(1))).unwrap();
        assert_eq!(policy.psk, Some(PreSharedKey::new(own.as_bytes(), [1; 16])));
        let policy = keys.policy(remote, None).unwrap();
        assert_eq!(policy.psks_by_hint.len(), 2);
        assert_eq!(policy.psk, Some(PreSharedKey::new(own.as_bytes(), [2; 16])));
        let policy = keys.policy("192.0.2.1:1".parse().unwrap(), None).unwrap();
        assert_eq!(policy.psk, None);
        assert!(keys.policy(remote, Some(Uuid::from_u128(3))).is_err());
    }
}
