//! The transfer itself, step by step as IoTivity-Lite's onboarding tool does it: devices in the field
//! were certified against that order.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use ciborium::{Value, cbor};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::keyring::Device;
use super::place::Place;
use super::svr::{
    self, ACL, AEL, CRED, CSR, Conversation, DOXM, PSTAT, ROLES, SDI, SP, entry, href, optional,
    permission,
};
use super::transport::Client;
use super::{body, keys, links, text};
use crate::coap::Peer;
use crate::dtls::{
    Anchor, ClientPolicy, IdentityRule, OwnerTransfer, PreSharedKey, Suite, owner_psk, pin_psk,
};

/// What the two sides show each other.
pub(crate) enum Proof {
    Nothing,
    Pin(String),
    /// The roots to believe, as PEM.
    Manufacturer(Vec<u8>),
}

/// A device that is ours now.
pub(crate) struct Owned {
    pub(crate) device: Uuid,
    pub(crate) name: Option<String>,
    pub(crate) address: SocketAddr,
}

/// The PSK identity of a tool that knows the PIN (OCF Security 7.3.5).
const PIN_IDENTITY: &[u8] = b"oic.sec.doxm.rdp";

/// How the tool calls its security domain.
const DOMAIN: &str = "freshen";

/// The device manages itself, one request at a time (`om`, OCF Security 13.8).
const CLIENT_DIRECTED: u8 = 4;

/// Owns the device. If a step fails the device is told to forget what was done.
pub(crate) async fn run(
    client: &mut Client,
    place: &Place,
    transfer: OwnerTransfer,
    proof: Proof,
    temporary: Uuid,
    patience: Duration,
) -> anyhow::Result<Owned> {
    let own = client.keys.keyring.own_or_new()?;
    let address = place.secure().context("the device names no address for coaps in /oic/res")?;
    let policy = policy(&proof, temporary)?;
    let peer = client
        .connect(address, policy, patience)
        .await
        .with_context(|| format!("coaps://{address}{}", hint(&proof)))?;
    let mut steps = Steps {
        conversation: Conversation::new(client, peer, patience),
        own,
        device: temporary,
        place,
    };
    let done = steps.all(transfer, address).await;
    let device = steps.device;
    if let Err(error) = done {
        let reset = steps.conversation.go_to(svr::RESET).await;
        client.close(peer);
        // A device whose transfer breaks off resets itself, but not after the answer that was lost.
        if reset.is_err() && client.keys.keyring.device(device).is_some() {
            return Err(error.context(format!(
                "the device is silent, and may be ours or not; its key is kept. Ask it when it is \
                 back: `freshen reset {device}`, and if it does not know that name, with --forget"
            )));
        }
        client.keys.keyring.forget(device)?;
        return Err(error.context("not owned; the device has been told to reset"));
    }
    client.close(peer);
    let name = confirm(client, device, address, patience).await.context(
        "the device is ours, but a session with the new key did not work; `freshen reset` and own it \
         again if that stays so",
    )?;
    Ok(Owned { device, name, address })
}

struct Steps<'a> {
    conversation: Conversation<'a>,
    own: Uuid,
    /// By which the device goes: its own choice at first, ours later.
    device: Uuid,
    place: &'a Place,
}

impl Steps<'_> {
    async fn all(&mut self, transfer: OwnerTransfer, address: SocketAddr) -> anyhow::Result<()> {
        self.claim().await?;
        let key = self.owner_key(transfer)?;
        let with_domain = self.name_domain().await?;
        // From here on the key must not be lost: the device could be ours with the next answer.
        let mut device = Device::new(self.device, &*key, true);
        device.clear = Some(self.place.told_by.remote);
        device.secure = Some(address);
        self.conversation.client.keys.keyring.keep(device)?;
        let talk = &mut self.conversation;
        talk.post(DOXM, cbor!({"owned" => true})?).await?;
        talk.go_to(svr::READY_FOR_PROVISIONING).await?;
        optional(talk.delete(ACL).await)?;
        talk.allow(first_entries(self.own, self.place, with_domain)).await?;
        talk.go_to(svr::READY_FOR_NORMAL_OPERATION).await
    }

    /// Writes our name everywhere.
    async fn claim(&mut self) -> anyhow::Result<()> {
        let talk = &mut self.conversation;
        let own = self.own.to_string();
        // Some devices know no other mode, and refuse to be told.
        optional(talk.post(PSTAT, cbor!({"om" => CLIENT_DIRECTED})?).await)?;
        talk.post(DOXM, cbor!({"devowneruuid" => own})?).await?;
        let new = Uuid::new_v4();
        if optional(talk.post(DOXM, cbor!({"deviceuuid" => new.to_string()})?).await)? {
            self.device = new;
        }
        talk.post(DOXM, cbor!({"rowneruuid" => own})?).await?;
        talk.post(ACL, cbor!({"rowneruuid" => own})?).await?;
        talk.post(PSTAT, cbor!({"rowneruuid" => own})?).await?;
        let derive = svr::shared_key(self.own, &[]);
        talk.post(CRED, cbor!({"creds" => [derive], "rowneruuid" => own})?).await
    }

    fn owner_key(&mut self, transfer: OwnerTransfer) -> anyhow::Result<Zeroizing<[u8; 16]>> {
        let peer = self.conversation.peer;
        let secrets = self.conversation.client.secrets(peer).context("the session has ended")?;
        owner_psk(&secrets, transfer, self.own.as_bytes(), self.device.as_bytes())
            .context("OCF has no owner's key for the cipher suite that the device chose")
    }

    /// Whether the device takes part in security domains at all.
    async fn name_domain(&mut self) -> anyhow::Result<bool> {
        let own = self.own.to_string();
        let domain = cbor!({"uuid" => own, "name" => DOMAIN, "priv" => false})?;
        optional(self.conversation.post(SDI, domain).await)
    }
}

/// The owner may do everything; everybody may see that the device is there. No wildcard reaches the
/// software update resource, so what the device serves is named one by one.
fn first_entries(own: Uuid, place: &Place, with_domain: bool) -> Vec<Value> {
    let owner = || svr::uuid_subject(own);
    let mut mine: Vec<Value> = place
        .links
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
    patience: Duration,
) -> anyhow::Result<Option<String>> {
    let keyring = &client.keys.keyring;
    let mut known = keyring.device(device).context("its key is not there")?.clone();
    let policy = keys::with_key(keyring.psk(&known)?);
    let peer: Peer = client.connect(address, policy, patience).await?;
    let description = Conversation::new(client, peer, patience).get("/oic/d").await?;
    client.close(peer);
    let name = body::get_text(&description, "n").filter(|name| !name.is_empty());
    known.name = name.map(text::printable);
    let name = known.name.clone();
    client.keys.keyring.keep(known)?;
    Ok(name)
}

fn policy(proof: &Proof, temporary: Uuid) -> anyhow::Result<ClientPolicy> {
    let mut policy = ClientPolicy { keep_secrets: true, ..ClientPolicy::default() };
    match proof {
        Proof::Nothing => policy.suites = vec![Suite::EcdhAnonAes128CbcSha256],
        Proof::Pin(pin) => {
            let key = pin_psk(pin.as_bytes(), temporary.as_bytes());
            policy.suites = vec![Suite::EcdhePskAes128CbcSha256];
            policy.psk = Some(PreSharedKey::new(PIN_IDENTITY, *key));
        }
        Proof::Manufacturer(roots) => {
            // Those for which OCF says how the owner's key is made.
            policy.suites = Suite::OCF_WITH_CERTIFICATES.to_vec();
            policy.anchors = Anchor::from_pem(roots).context("--mfg-roots")?;
            policy.server_identity = IdentityRule::ChainOnly;
        }
    }
    Ok(policy)
}

fn hint(proof: &Proof) -> &'static str {
    match proof {
        Proof::Nothing => "",
        Proof::Pin(_) => " (is the number right? the device may show another one by now)",
        Proof::Manufacturer(_) => " (is --mfg-roots that of its manufacturer?)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_allowed_what_the_device_serves_and_everybody_sees_it() {
        let link =
            |path: &str| svr::map([("href", path.into()), ("rt", Value::Array(vec!["x".into()]))]);
        let links = ["/oic/res", "/oic/sec/doxm", "/softwareupdateResURI"].map(link);
        let place = Place {
            device: None,
            told_by: Peer { remote: ([192, 0, 2, 1], 1).into(), socket: 0, session: 0 },
            links: links::links(&Value::Array(links.to_vec())),
        };
        let entries = first_entries(Uuid::from_u128(1), &place, false);
        let text = body::text(&Value::Array(entries), body::Layout::Line);
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
