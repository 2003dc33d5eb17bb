//! Which keys are used for secure sessions.

use std::net::SocketAddr;

use uuid::Uuid;

use super::Error;
use super::keyring::Keyring;
use crate::dtls::{
    Anchor, ClientPolicy, HintedKey, IdentityRule, OwnCertificate, PreSharedKey, Suite,
};

/// Keys for secure sessions with any device.
pub struct Keys {
    /// Our own.
    pub keyring: Keyring,
    /// What is used instead of them.
    pub given: Option<Given>,
}

/// A key or a certificate for whoever is asked.
pub enum Given {
    /// A shared key.
    Psk(PreSharedKey),
    /// Our certificate, and who may vouch for the device's.
    Certificate(OwnCertificate, Vec<Anchor>),
}

impl From<Keyring> for Keys {
    fn from(keyring: Keyring) -> Self {
        Self { keyring, given: None }
    }
}

impl Keys {
    /// What to offer the server at that address; `device` where it is known which one it is.
    pub(super) fn policy(
        &self,
        remote: SocketAddr,
        device: Option<Uuid>,
    ) -> Result<ClientPolicy, Error> {
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
    fn kept(&self, remote: SocketAddr, device: Option<Uuid>) -> Result<ClientPolicy, Error> {
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
        if policy.suites.is_empty() {
            return Err(Error::NoKey { directory: self.keyring.name() });
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::keyring::DeviceKey;

    #[test]
    fn the_key_fits_the_device_and_without_one_there_is_advice() {
        let directory = tempfile::tempdir().unwrap();
        let mut keyring = Keyring::open(directory.path().into()).unwrap();
        let own = keyring.own_or_new().unwrap();
        let mut keys = Keys { keyring, given: None };
        let remote: SocketAddr = "192.0.2.1:5684".parse().unwrap();
        let advice = keys.policy(remote, None).unwrap_err().to_string();
        assert!(advice.contains("there is no key"), "{advice}");
        for n in [1, 2] {
            let mut device = DeviceKey::new(Uuid::from_u128(n), &[n as u8; 16], true);
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
