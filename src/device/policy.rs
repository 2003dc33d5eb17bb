//! Who may connect now, and how: from the state of ownership to a policy of `dtls`.

use std::collections::HashMap;

use uuid::Uuid;

use super::error::Error;
use super::proof::Entry;
use crate::clock::Now;
use crate::config::{Ca, Certified, Credentials, Update};
use crate::dtls::{
    self, Anchor, ClientCertificates, ClientPolicy, IdentityRule, OwnCertificate, Policy,
    PreSharedKey, Suite,
};
use crate::ocf::security::{Credential, Method, OnboardingState, Security, Usage};

/// What a client calls itself in a transfer by PIN, and the beginning of the device's hint
/// (OCF Security 7.3.5).
pub(super) const PIN_IDENTITY: &[u8] = b"oic.sec.doxm.rdp";

/// What the configuration gives: those whom it names, and the manufacturer's certificate.
pub(super) struct Configured {
    /// The policy while nobody owns the device.
    named: Policy,
    manufacturer: Option<OwnCertificate>,
}

impl Configured {
    pub(super) fn new(
        credentials: &Credentials,
        manufacturer: Option<&Certified>,
    ) -> Result<Self, Error> {
        let manufacturer = match manufacturer {
            None => None,
            Some(certified) => Some(certificate(certified).map_err(Error::Credentials)?.0),
        };
        Ok(Self { named: named(credentials)?, manufacturer })
    }

    /// Whether the configuration names this PSK identity.
    pub(super) fn knows(&self, identity: &[u8]) -> bool {
        self.named.psks.iter().any(|psk| psk.identity == identity)
    }

    /// Those whom the configuration names, and nobody else.
    pub(super) fn open(&self) -> Policy {
        self.named.clone()
    }

    /// Who may connect in this state, and who everybody is that does. `pin`: the PIN that is shown;
    /// `connected`: an onboarding connection stands.
    pub(super) fn policy(
        &self,
        security: &Security,
        pin: Option<&str>,
        connected: bool,
        now: Now,
    ) -> (Policy, Roster) {
        match security.onboarding {
            OnboardingState::Reset => (Policy::default(), Roster::Nobody),
            // One tool at a time.
            OnboardingState::Rfotm if connected => (Policy::default(), Roster::Nobody),
            OnboardingState::Rfotm => {
                (self.transfer(security, pin), Roster::Unowned(security.doxm.selected))
            }
            _ => owned(security, now),
        }
    }

    fn transfer(&self, security: &Security, pin: Option<&str>) -> Policy {
        let mut policy = self.named.clone();
        policy.keep_secrets = true;
        let device = security.doxm.device.as_bytes();
        match (security.doxm.selected, pin, &self.manufacturer) {
            (Some(Method::JustWorks), ..) => policy.suites.push(Suite::EcdhAnonAes128CbcSha256),
            (Some(Method::RandomPin), Some(pin), _) => {
                if !policy.suites.contains(&Suite::EcdhePskAes128CbcSha256) {
                    policy.suites.push(Suite::EcdhePskAes128CbcSha256);
                }
                let key = dtls::pin_psk(pin.as_bytes(), device);
                // Before any other that the configuration may have given this name.
                policy.psks.insert(0, PreSharedKey::guessable(PIN_IDENTITY, key.to_vec()));
                policy.identity_hint = [PIN_IDENTITY, b":", device].concat();
            }
            (Some(Method::ManufacturerCertificate), _, Some(manufacturer)) => {
                policy.certificate = Some(manufacturer.clone());
                policy.client_certificates = ClientCertificates::NotAsked;
                let missing = |suite: &Suite| !self.named.suites.contains(suite);
                policy.suites.extend(Suite::OCF_WITH_CERTIFICATES.into_iter().filter(missing));
            }
            _ => {}
        }
        policy
    }
}

/// Who everybody is that a policy lets in. It is made with the policy, so that what a peer is follows
/// from what verified it.
pub(super) enum Roster {
    /// Nobody is let in.
    Nobody,
    /// Those whom the configuration names.
    Configured,
    /// The same, and whoever onboards the device by this method.
    Unowned(Option<Method>),
    /// Those for whom the owner has provided.
    Owned {
        /// Whom a PSK identity stands for, and by which credential.
        keys: HashMap<Vec<u8>, (Uuid, Entry)>,
        /// The credential that each anchor comes from, in the policy's order.
        anchors: Vec<Entry>,
    },
}

/// Those for whom the owner has provided.
fn owned(security: &Security, now: Now) -> (Policy, Roster) {
    let cred = &security.cred;
    let (entries, anchors) = anchors(security, now).into_iter().unzip();
    let mut policy = Policy {
        identity_hint: security.doxm.device.as_bytes().to_vec(),
        client_certificates: ClientCertificates::Required,
        client_identity: IdentityRule::Ocf,
        anchors,
        certificate: identity(security, now),
        ..Policy::default()
    };
    let mut keys = HashMap::new();
    for (subject, entry) in cred.shared_keys(now.wall) {
        // OCF's identity is 16 raw bytes, which plain CoAP tools cannot be told; so the text is
        // taken too.
        let names = [subject.as_bytes().to_vec(), subject.to_string().into_bytes()];
        for name in names {
            // The first one counts, as it does for the policy.
            keys.entry(name.clone()).or_insert_with(|| (subject, Entry::of(entry)));
            policy.psks.push(PreSharedKey::new(name, entry.private.expose()));
        }
    }
    policy.suites.push(Suite::EcdhePskAes128CbcSha256);
    if policy.certificate.is_some() {
        policy.suites.extend(Suite::OCF_WITH_CERTIFICATES);
    }
    policy.suites.push(Suite::PskAes128Ccm8);
    (policy, Roster::Owned { keys, anchors: entries })
}

/// The device's identity certificate: the one that was provided last.
fn identity(security: &Security, now: Now) -> Option<OwnCertificate> {
    let entries: Vec<&Credential> = security.cred.certificates(Usage::Identity, now.wall).collect();
    entries.into_iter().rev().find_map(|entry| {
        let own = if entry.private.is_empty() { &security.key } else { &entry.private };
        match own_certificate(&entry.public, own.expose()) {
            Ok(certificate) => Some(certificate),
            Err(error) => {
                tracing::warn!("credential {} cannot be used: {error}", entry.id);
                None
            }
        }
    })
}

/// Who may vouch for others, and the credential that says so.
pub(super) fn anchors(security: &Security, now: Now) -> Vec<(Entry, Anchor)> {
    let entries = security.cred.certificates(Usage::TrustAnchor, now.wall);
    entries
        .flat_map(|entry| {
            let anchors = Anchor::from_pem(entry.public.as_bytes()).unwrap_or_default();
            anchors.into_iter().map(|anchor| (Entry::of(entry), anchor))
        })
        .collect()
}

/// Whether a chain can be used, with this private key where it needs one.
pub(super) fn check_certificate(chain: &str, key: Option<&[u8]>) -> Result<(), String> {
    let fits = match key {
        Some(key) => own_certificate(chain, key).map(drop),
        None => match Anchor::from_pem(chain.as_bytes()) {
            Ok(anchors) if anchors.is_empty() => return Err("publicdata has no certificate".into()),
            other => other.map(drop),
        },
    };
    fits.map_err(|error| error.to_string())
}

/// A key is DER, or PEM where a tool sent it so.
fn own_certificate(chain: &str, key: &[u8]) -> Result<OwnCertificate, dtls::Error> {
    if key.starts_with(b"-----") {
        return OwnCertificate::from_pem(chain.as_bytes(), key);
    }
    OwnCertificate::from_pem_and_der(chain.as_bytes(), key)
}

fn named(credentials: &Credentials) -> Result<Policy, Error> {
    let mut policy = Policy::default();
    if !credentials.psk.is_empty() {
        policy.suites.extend(Suite::WITH_KEYS);
    }
    policy.psks = credentials
        .psk
        .iter()
        .map(|psk| PreSharedKey::new(psk.identity.as_bytes(), psk.key.expose()))
        .collect();
    if let Some(certified) = &credentials.certificate {
        let (own, anchors) = certificate(certified).map_err(Error::Credentials)?;
        policy.certificate = Some(own);
        policy.anchors = anchors;
        policy.client_certificates = ClientCertificates::Required;
        policy.client_identity = IdentityRule::ChainOnly;
        policy.suites.extend(Suite::WITH_CERTIFICATES);
    }
    Ok(policy)
}

/// What a coaps server is offered when software is fetched from it.
pub(super) fn of_downloads(
    update: &Update,
    credentials: &Credentials,
) -> Result<ClientPolicy, Error> {
    let mut policy = ClientPolicy::default();
    if let Ca::Pem(pem) = &update.ca {
        policy.anchors = Anchor::from_pem(pem.as_bytes()).map_err(Error::Credentials)?;
        policy.suites.extend(Suite::WITH_CERTIFICATES);
        if let Some(certified) = &credentials.certificate {
            policy.certificate = Some(certificate(certified).map_err(Error::Credentials)?.0);
        }
    }
    if let Some(psk) = &update.coaps_psk {
        policy.psk = Some(PreSharedKey::new(psk.identity.as_bytes(), psk.key.expose()));
        policy.suites.extend(Suite::WITH_KEYS);
    }
    Ok(policy)
}

fn certificate(certified: &Certified) -> Result<(OwnCertificate, Vec<Anchor>), dtls::Error> {
    let own = OwnCertificate::from_pem(certified.chain.as_bytes(), certified.key.expose())?;
    let mut anchors = Vec::new();
    for roots in &certified.roots {
        anchors.extend(Anchor::from_pem(roots.as_bytes())?);
    }
    Ok((own, anchors))
}
