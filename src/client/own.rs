//! Taking ownership of a device (OCF Security 7.3), step by step as IoTivity-Lite's onboarding tool
//! does it: devices in the field were certified against that order.
//!
//! [`offer`] asks what the device takes, [`select`] tells it what was chosen, [`claim`] writes our name
//! everywhere, and [`Claim::complete`] makes it ours. Between the last two the key can be put where it
//! is not lost. [`own`] does both, with the client's own keyring.

use std::net::SocketAddr;

use ciborium::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::error::Doing;
use super::keyring::DeviceKey;
use super::place::{LINKS, Place};
use super::svr::{
    self, ACL, AEL, CRED, CSR, Conversation, DOXM, PSTAT, ROLES, SDI, SP, entry, href, optional,
    permission,
};
use super::transport::Client;
use super::{Error, Failure, Patience, body, keys, links, text};
use crate::dtls::{
    Anchor, ClientPolicy, IdentityRule, OwnerTransfer, PreSharedKey, Suite, owner_psk, pin_psk,
};

/// How a device and its owner get to know each other (`oxms`, OCF Security 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Whoever comes first.
    JustWorks,
    /// Whoever knows the number that the device shows.
    RandomPin,
    /// The device proves who made it.
    ManufacturerCertificate,
}

impl Method {
    /// All of them, the simplest first.
    pub const ALL: [Self; 3] = [Self::JustWorks, Self::RandomPin, Self::ManufacturerCertificate];

    /// The number in `oxms` and `oxmsel`.
    pub fn number(self) -> u8 {
        match self {
            Self::JustWorks => 0,
            Self::RandomPin => 1,
            Self::ManufacturerCertificate => 2,
        }
    }

    /// A short name: jw, pin, mfgcert.
    pub fn name(self) -> &'static str {
        match self {
            Self::JustWorks => "jw",
            Self::RandomPin => "pin",
            Self::ManufacturerCertificate => "mfgcert",
        }
    }

    fn transfer(self) -> OwnerTransfer {
        match self {
            Self::JustWorks => OwnerTransfer::JustWorks,
            Self::RandomPin => OwnerTransfer::RandomPin,
            Self::ManufacturerCertificate => OwnerTransfer::ManufacturerCertificate,
        }
    }
}

/// What the two sides show each other.
pub enum Proof {
    /// Nothing.
    JustWorks,
    /// The number that the device shows.
    Pin(Zeroizing<String>),
    /// The manufacturers' roots to believe, as PEM.
    Manufacturer(Vec<u8>),
}

impl Proof {
    /// The method that it belongs to.
    pub fn method(&self) -> Method {
        match self {
            Self::JustWorks => Method::JustWorks,
            Self::Pin(_) => Method::RandomPin,
            Self::Manufacturer(_) => Method::ManufacturerCertificate,
        }
    }
}

/// What a device that nobody owns says of itself.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Its own choice of a name, until it is owned.
    pub device: Uuid,
    /// The methods it takes, of those that are known here.
    pub methods: Vec<Method>,
}

/// A device that is ours now.
#[derive(Clone, Debug)]
pub struct Owned {
    /// The name that we gave it.
    pub device: Uuid,
    /// How it calls itself.
    pub name: Option<String>,
    /// Where it takes sessions.
    pub address: SocketAddr,
}

/// The PSK identity of a tool that knows the PIN (OCF Security 7.3.5).
const PIN_IDENTITY: &[u8] = b"oic.sec.doxm.rdp";

/// How the tool calls its security domain.
const DOMAIN: &str = "freshen";

/// The device manages itself, one request at a time (`om`, OCF Security 13.8).
const CLIENT_DIRECTED: u8 = 4;

/// Asks a device how it can be owned.
///
/// # Errors
///
/// [`Error::AlreadyOwned`] where it cannot.
pub async fn offer(client: &mut Client, place: &Place, patience: Patience) -> Result<Offer, Error> {
    let known = place.device.and_then(|device| client.keys.keyring.device(device));
    let ours = known.is_some_and(|known| known.owner);
    let asked = Conversation::new(client, place.told_by, patience).get(DOXM).await;
    let doxm = match asked {
        // An owner closes the clear door to this resource.
        Err(error) if error.refusal().is_some() => return Err(Error::AlreadyOwned { ours }),
        other => other?,
    };
    if body::get(&doxm, "owned").and_then(Value::as_bool).unwrap_or(false) {
        return Err(Error::AlreadyOwned { ours });
    }
    let device = body::get_text(&doxm, "deviceuuid").and_then(uuid_of);
    let nameless = || Error::Unexpected("the device does not say who it is (deviceuuid)".into());
    let numbers = body::get(&doxm, "oxms").and_then(Value::as_array);
    let numbers: Vec<u64> = numbers
        .into_iter()
        .flatten()
        .filter_map(|number| number.as_integer()?.try_into().ok())
        .collect();
    let offered = |method: &Method| numbers.contains(&method.number().into());
    Ok(Offer {
        device: device.ok_or_else(nameless)?,
        methods: Method::ALL.into_iter().filter(offered).collect(),
    })
}

/// Tells the device the method; one that shows a number does so now. Only in clear, and only before a
/// session.
///
/// # Errors
///
/// Where the device does not take it.
pub async fn select(
    client: &mut Client,
    place: &Place,
    method: Method,
    patience: Patience,
) -> Result<(), Error> {
    let body = svr::map([("oxmsel", method.number().into())]);
    Conversation::new(client, place.told_by, patience).post(DOXM, body).await.doing(
        "the device does not take the method; another tool may be about to own it: try again in a \
         minute",
    )
}

/// Takes ownership, and keeps the key in the client's keyring before the device can be ours.
///
/// # Errors
///
/// Where the device does not go along. It is told to forget what was done.
pub async fn own(
    client: &mut Client,
    place: &Place,
    offer: &Offer,
    proof: Proof,
    patience: Patience,
) -> Result<Owned, Error> {
    claim(client, place, offer, proof, patience).await?.complete().await
}

/// A device that has our name everywhere and is not owned yet. A device whose claim is dropped resets
/// itself when the session has been silent for a minute or so.
pub struct Claim<'a> {
    conversation: Conversation<'a>,
    own: Uuid,
    key: DeviceKey,
    address: SocketAddr,
    links: Vec<links::Link>,
    with_domain: bool,
    patience: Patience,
}

/// Writes our name everywhere and derives the owner's key.
///
/// # Errors
///
/// Where the device does not go along. It is told to forget what was done.
pub async fn claim<'a>(
    client: &'a mut Client,
    place: &Place,
    offer: &Offer,
    proof: Proof,
    patience: Patience,
) -> Result<Claim<'a>, Error> {
    let own = client.keys.keyring.own_or_new()?;
    let address = place.secure().ok_or_else(svr::no_coaps)?;
    let method = proof.method();
    let policy = policy(&proof, offer.device)?;
    let peer = client
        .connect(address, policy, patience)
        .await
        .map_err(|failure| Error::Unproved { remote: address, method, failure })?;
    let mut conversation = Conversation::new(client, peer, patience);
    match name_everything(&mut conversation, own, offer.device, method).await {
        Ok((device, key, with_domain)) => {
            let mut key = DeviceKey::new(device, &*key, true);
            key.clear = Some(place.told_by.remote);
            key.secure = Some(address);
            let links = place.links.clone();
            Ok(Claim { conversation, own, key, address, links, with_domain, patience })
        }
        Err(error) => {
            let _ = conversation.go_to(svr::RESET).await;
            conversation.client.close(peer);
            Err(error.doing("not owned; the device has been told to reset"))
        }
    }
}

impl Claim<'_> {
    /// The key of the device that it is going to be.
    pub fn key(&self) -> &DeviceKey {
        &self.key
    }

    /// Makes the device ours. The key goes into the client's keyring first: from then on it must not
    /// be lost.
    ///
    /// # Errors
    ///
    /// Where the device does not go along, or falls silent: then it may be ours or not, and
    /// [`resume`] finds out.
    pub async fn complete(mut self) -> Result<Owned, Error> {
        let device = self.key.device;
        let peer = self.conversation.peer;
        if let Err(error) = self.finish().await {
            let reset = self.conversation.go_to(svr::RESET).await;
            let client = self.conversation.client;
            client.close(peer);
            // A device whose transfer breaks off resets itself, but not after the answer that was lost.
            if reset.is_err() && client.keys.keyring.device(device).is_some() {
                return Err(error.doing(format!(
                    "the device is silent, and may be ours or not; its key is kept. When it is \
                     back, own it once more by its name, {device}, or at coaps://{}",
                    self.address
                )));
            }
            client.keys.keyring.forget(device)?;
            return Err(error.doing("not owned; the device has been told to reset"));
        }
        let client = self.conversation.client;
        client.close(peer);
        let name = confirm(client, device, self.address, self.patience).await.doing(
            "the device is ours, but a session with the new key did not work; give it up and own it \
             again if that stays so",
        )?;
        Ok(Owned { device, name, address: self.address })
    }

    async fn finish(&mut self) -> Result<(), Error> {
        let talk = &mut self.conversation;
        talk.client.keys.keyring.keep(self.key.clone())?;
        talk.post(DOXM, svr::map([("owned", true.into())])).await?;
        talk.go_to(svr::READY_FOR_PROVISIONING).await?;
        optional(talk.delete(ACL).await)?;
        talk.allow(first_entries(self.own, &self.links, self.with_domain)).await?;
        talk.go_to(svr::READY_FOR_NORMAL_OPERATION).await
    }
}

/// Goes on with a transfer that broke off after the device had become ours and before it was told what
/// we may do, so that it tells nobody else anything. `place` was found over a session
/// ([`super::locate::find_silent`]).
///
/// # Errors
///
/// [`Error::AlreadyOwned`] where nothing is missing.
pub async fn resume(
    client: &mut Client,
    place: &Place,
    patience: Patience,
) -> Result<Owned, Error> {
    let address = place.secure().ok_or_else(svr::no_coaps)?;
    let own = client.keys.keyring.own_or_new()?;
    let (mut talk, device) = Conversation::as_owner(client, place, patience).await?;
    let entries = talk.get(ACL).await?;
    if is_complete(&entries, own) {
        return Err(Error::AlreadyOwned { ours: true });
    }
    let state = talk.get(PSTAT).await?;
    let state = body::get(&state, "dos").and_then(|dos| body::get_number(dos, "s"));
    if state != Some(svr::READY_FOR_PROVISIONING.into()) {
        talk.go_to(svr::READY_FOR_PROVISIONING).await?;
    }
    optional(talk.delete(ACL).await)?;
    let domain = svr::map([
        ("uuid", own.to_string().into()),
        ("name", DOMAIN.into()),
        ("priv", false.into()),
    ]);
    let with_domain = optional(talk.post(SDI, domain).await)?;
    talk.allow(vec![entry(svr::uuid_subject(own), vec![href(LINKS)], permission::RETRIEVE)])
        .await?;
    talk.go_to(svr::READY_FOR_NORMAL_OPERATION).await?;
    // Only now does it tell us what it serves.
    let served = links::links(&talk.get(LINKS).await?);
    talk.open().await?;
    let done = talk.allow(first_entries(own, &served, with_domain)).await;
    talk.close(done).await?;
    let description = talk.get("/oic/d").await?;
    let peer = talk.peer;
    client.close(peer);
    let keyring = &mut client.keys.keyring;
    let name = keep_name(&description);
    if let Some(known) = keyring.device(device) {
        let mut known = known.clone();
        (known.name, known.secure) = (name.clone(), Some(address));
        keyring.keep(known)?;
    }
    Ok(Owned { device, name, address })
}

/// Whether an access control list lets `subject` do everything somewhere, as its first entries do.
fn is_complete(list: &Value, subject: Uuid) -> bool {
    let entries = body::get(list, "aclist2").and_then(Value::as_array);
    entries.into_iter().flatten().any(|entry| {
        let uuid = body::get(entry, "subject").and_then(|it| body::get_text(it, "uuid"));
        uuid.and_then(uuid_of) == Some(subject)
            && body::get_number(entry, "permission") == Some(permission::ALL.into())
    })
}

/// Writes our name everywhere; by which name the device goes then, the owner's key, and whether the
/// device takes part in security domains at all.
async fn name_everything(
    talk: &mut Conversation<'_>,
    own: Uuid,
    temporary: Uuid,
    method: Method,
) -> Result<(Uuid, Zeroizing<[u8; 16]>, bool), Error> {
    let name = || Value::from(own.to_string());
    // Some devices know no other mode, and refuse to be told.
    optional(talk.post(PSTAT, svr::map([("om", CLIENT_DIRECTED.into())])).await)?;
    talk.post(DOXM, svr::map([("devowneruuid", name())])).await?;
    let new = Uuid::new_v4();
    let renamed = svr::map([("deviceuuid", new.to_string().into())]);
    // One that keeps its own choice goes by that.
    let device = if optional(talk.post(DOXM, renamed).await)? { new } else { temporary };
    for resource in [DOXM, ACL, PSTAT] {
        talk.post(resource, svr::map([("rowneruuid", name())])).await?;
    }
    let derive = Value::Array(vec![svr::shared_key(own, &[])]);
    talk.post(CRED, svr::map([("creds", derive), ("rowneruuid", name())])).await?;
    let secrets = talk.client.secrets(talk.peer);
    let secrets = secrets.ok_or_else(|| Error::Exchange {
        whom: talk.peer.remote.to_string(),
        failure: Failure::Call(crate::coap::CallError::SessionEnded),
    })?;
    let key = owner_psk(&secrets, method.transfer(), own.as_bytes(), device.as_bytes());
    let key = key.ok_or_else(|| {
        let words = "OCF has no owner's key for the cipher suite that the device chose";
        Error::Unexpected(words.into())
    })?;
    let domain = svr::map([("uuid", name()), ("name", DOMAIN.into()), ("priv", false.into())]);
    let with_domain = optional(talk.post(SDI, domain).await)?;
    Ok((device, key, with_domain))
}

/// The owner may do everything; everybody may see that the device is there. No wildcard reaches the
/// software update resource, so what the device serves is named one by one.
fn first_entries(own: Uuid, served: &[links::Link], with_domain: bool) -> Vec<Value> {
    let owner = || svr::uuid_subject(own);
    let mut mine: Vec<Value> = served
        .iter()
        .filter(|link| links::is_of_application(&link.href))
        .map(|link| href(&link.href))
        .collect();
    mine.truncate(HREFS_MAX);
    mine.push(svr::wildcard("*"));
    let mut seen = vec![href("/oic/res"), href("/oic/d"), href("/oic/p")];
    if with_domain {
        seen.push(href(SDI));
    }
    use permission::{ALL, DELETE, RETRIEVE, UPDATE};
    vec![
        entry(owner(), mine, ALL),
        entry(owner(), vec![href(SP), href(ROLES), href(AEL)], RETRIEVE | UPDATE | DELETE),
        entry(owner(), vec![href(CSR)], RETRIEVE),
        entry(svr::connection_subject("anon-clear"), seen, RETRIEVE),
    ]
}

/// Resources named for the owner: the entry has to fit into the memory of a small device.
const HREFS_MAX: usize = 16;

/// A session with the owner's key; the device's name.
async fn confirm(
    client: &mut Client,
    device: Uuid,
    address: SocketAddr,
    patience: Patience,
) -> Result<Option<String>, Error> {
    let keyring = &client.keys.keyring;
    let known = keyring.device(device);
    let mut known = known.ok_or(Error::NoKey { directory: keyring.name() })?.clone();
    let policy = keys::with_key(keyring.psk(&known)?);
    let connected = client.connect(address, policy, patience).await;
    let peer = connected
        .map_err(|failure| Error::Exchange { whom: format!("coaps://{address}"), failure })?;
    let description = Conversation::new(client, peer, patience).get("/oic/d").await?;
    client.close(peer);
    known.name = keep_name(&description);
    let name = known.name.clone();
    client.keys.keyring.keep(known)?;
    Ok(name)
}

/// How a device calls itself, fit to be shown.
fn keep_name(description: &Value) -> Option<String> {
    body::get_text(description, "n").filter(|name| !name.is_empty()).map(text::printable)
}

fn policy(proof: &Proof, temporary: Uuid) -> Result<ClientPolicy, Error> {
    let mut policy = ClientPolicy { keep_secrets: true, ..ClientPolicy::default() };
    match proof {
        Proof::JustWorks => policy.suites = vec![Suite::EcdhAnonAes128CbcSha256],
        Proof::Pin(pin) => {
            let key = pin_psk(pin.as_bytes(), temporary.as_bytes());
            policy.suites = vec![Suite::EcdhePskAes128CbcSha256];
            policy.psk = Some(PreSharedKey::new(PIN_IDENTITY, *key));
        }
        Proof::Manufacturer(roots) => {
            // Those for which OCF says how the owner's key is made.
            policy.suites = Suite::OCF_WITH_CERTIFICATES.to_vec();
            policy.anchors = Anchor::from_pem(roots).map_err(|error| {
                Error::Invalid(format!("the manufacturers' root certificates: {error}"))
            })?;
            policy.server_identity = IdentityRule::ChainOnly;
        }
    }
    Ok(policy)
}

/// A uuid as others write it: a zero or more may follow.
fn uuid_of(text: &str) -> Option<Uuid> {
    text.get(..36)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_allowed_what_the_device_serves_and_everybody_sees_it() {
        let link =
            |path: &str| svr::map([("href", path.into()), ("rt", Value::Array(vec!["x".into()]))]);
        let links = ["/oic/res", "/oic/sec/doxm", "/softwareupdateResURI"].map(link);
        let served = links::links(&Value::Array(links.to_vec()));
        let entries = first_entries(Uuid::from_u128(1), &served, false);
        let text = body::line(&Value::Array(entries));
        assert!(
            text.contains(r#"[{"href": "/softwareupdateResURI"}, {"wc": "*"}], "permission": 31"#),
            "{text}"
        );
        assert!(!text.contains("doxm") && !text.contains(SDI), "{text}");
        assert!(text.contains(
            r#""anon-clear"}, "resources": [{"href": "/oic/res"}, {"href": "/oic/d"}, {"href": "/oic/p"}], "permission": 2"#
        ), "{text}");
    }
}
