//! Finds devices, and asks each what a person wants to know of it.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use super::transport::{Answer, Client, Event};
use super::{Error, body, links, request, text};
use crate::clock;
use crate::coap::{Call, Code, Peer, Request};
use crate::net::{COAP_PORT, GROUP_V4, GROUPS_V6};

/// Devices listed; a network with more is not looked through by hand.
pub const DEVICES_MAX: usize = 1000;

/// How long a device that was found may take to tell of itself, beyond the wait.
const DETAILS_WAIT: Duration = Duration::from_secs(4);

/// All CoAP Nodes, IPv6, link-local (RFC 7252 section 12.8): for devices that are not OCF's.
const ALL_COAP_NODES_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfd);

/// What is asked of everyone: OCF devices for their main resource, the others for anything.
const EVERYONE: [Question; 2] = [Question::Ocf, Question::Coap];
const OCF_QUESTION: &str = "/oic/res?rt=oic.wk.d";
const COAP_QUESTION: &str = "/.well-known/core";

/// A device that was found, as far as it told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its identifier; `None` for one that speaks CoAP but not OCF.
    pub di: Option<String>,
    /// How it calls itself.
    pub name: Option<String>,
    /// Where it answered, in clear.
    pub addresses: Vec<SocketAddr>,
    /// Whether somebody owns it.
    pub owned: Option<bool>,
    /// Whether it is this tool that owns it.
    pub ours: bool,
    /// The path of its software update resource.
    pub update: Option<String>,
    /// The version of its software.
    pub version: Option<String>,
    /// Whether its links were read, so that a missing resource is known to be missing.
    pub links_read: bool,
}

/// What an answer will be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// Is there an OCF device?
    Ocf,
    /// Is there any device?
    Coap,
    /// Which resources has it?
    Links,
    /// Its name and version (`/oic/d`).
    Description,
    /// Its version, where the description has none (`/oic/p`).
    Platform,
    /// Whether somebody owns it.
    Owner,
}

/// A search that goes on.
#[derive(Default)]
pub struct Search {
    /// How long it lasts, if not all those who were asked have answered before.
    wait: Duration,
    /// Whether it asks everyone, so that nobody knows when all have answered.
    groups: bool,
    questions: HashMap<Call, Question>,
    /// Answers still awaited from single devices.
    open: usize,
    /// By identifier, or by address for those that have none.
    found: BTreeMap<String, Found>,
    /// Which device is at an address.
    at: HashMap<SocketAddr, String>,
    /// Words for those who wonder why nobody was found.
    failures: Vec<String>,
}

impl Search {
    /// Asks everyone in the neighbourhood: by every network interface, or by one.
    ///
    /// # Errors
    ///
    /// Where there is no way to ask a group.
    pub fn everyone(
        client: &mut Client,
        interface: Option<&str>,
        wait: Duration,
    ) -> Result<Self, Error> {
        let mut search = Self { wait, groups: true, ..Self::default() };
        for (call, question) in ask_groups(client, wait, interface, &EVERYONE)? {
            search.questions.insert(call, question);
        }
        Ok(search)
    }

    /// Asks whoever is at these addresses.
    ///
    /// # Errors
    ///
    /// Where no way leads to one of them.
    pub fn at(
        client: &mut Client,
        addresses: &[SocketAddr],
        wait: Duration,
    ) -> Result<Self, Error> {
        let mut search = Self { wait, ..Self::default() };
        for remote in addresses {
            let peer = client.reach(*remote)?;
            for question in EVERYONE {
                search.ask(client, peer, question);
            }
        }
        Ok(search)
    }

    fn ask(&mut self, client: &mut Client, peer: Peer, question: Question) {
        let call = client.request(peer, request(question));
        self.questions.insert(call, question);
        self.open += 1;
    }

    /// Until the time has passed or, where single devices were asked, all have answered; tells how
    /// many were found so far. Can be dropped while it waits; what was found stays.
    pub async fn listen(&mut self, client: &mut Client, mut found: impl FnMut(usize)) {
        let begun = clock::now().mono;
        let mut deadline = begun + self.wait;
        loop {
            if self.open == 0 && (!self.groups || clock::now().mono >= begun + self.wait) {
                break;
            }
            if clock::now().mono >= deadline {
                if deadline > begun + self.wait {
                    break;
                }
                // Those found last may still tell of themselves.
                deadline = begun + self.wait + DETAILS_WAIT;
                continue;
            }
            if let Some(event) = client.event_until(deadline).await {
                self.heard(client, event);
            }
            found(self.found.len());
        }
    }

    fn heard(&mut self, client: &mut Client, event: Event) {
        let Some(question) = self.questions.get(&event.call).copied() else { return };
        match event.outcome {
            Ok(answer) => {
                if !answer.more {
                    self.open = self.open.saturating_sub(1);
                }
                self.learn(client, question, &answer);
            }
            Err(failure) => {
                self.open = self.open.saturating_sub(1);
                self.failures.push(failure.to_string());
            }
        }
    }

    fn learn(&mut self, client: &mut Client, question: Question, answer: &Answer) {
        let value = request::cbor(&answer.response).filter(|_| answer.response.code.is_success());
        match question {
            Question::Ocf => {
                let links = value.as_ref().map(links::links).unwrap_or_default();
                let Some(di) = links.iter().find_map(|link| link.device.clone()) else { return };
                if self.place(answer.peer.remote, Some(di)) {
                    for next in [Question::Links, Question::Description, Question::Owner] {
                        self.ask(client, answer.peer, next);
                    }
                }
            }
            Question::Coap if answer.response.code.is_success() => {
                self.place(answer.peer.remote, None);
            }
            Question::Coap => {}
            _ => {
                let key = self.at.get(&answer.peer.remote);
                let Some(device) = key.and_then(|key| self.found.get_mut(key)) else { return };
                if let Some(value) = value {
                    device.learn(question, &value);
                }
                if question == Question::Description && device.version.is_none() {
                    self.ask(client, answer.peer, Question::Platform);
                }
            }
        }
    }

    /// Notes that a device is at that address; whether it was unknown before.
    fn place(&mut self, address: SocketAddr, di: Option<String>) -> bool {
        let known = self.at.get(&address).cloned();
        let Some(di) = di else {
            if known.is_none() && self.found.len() < DEVICES_MAX {
                let key = format!("~{address}");
                let device = Found { addresses: vec![address], ..Found::default() };
                self.found.insert(key.clone(), device);
                self.at.insert(address, key);
            }
            return false;
        };
        if known.as_ref() == Some(&di) {
            return false;
        }
        // It was taken for a plain device, because that answer came first.
        if let Some(key) = known.filter(|key| key.starts_with('~')) {
            self.found.remove(&key);
        }
        if self.found.len() >= DEVICES_MAX && !self.found.contains_key(&di) {
            return false;
        }
        let new = !self.found.contains_key(&di);
        let device = self.found.entry(di.clone()).or_default();
        device.di = Some(di.clone());
        if !device.addresses.contains(&address) {
            device.addresses.push(address);
            device.addresses.sort();
        }
        self.at.insert(address, di);
        new
    }

    /// Who was found; OCF devices first, by name.
    pub fn devices(&self) -> Vec<Found> {
        let mut devices: Vec<Found> = self.found.values().cloned().collect();
        devices.sort_by(|a, b| (a.di.is_none(), &a.name).cmp(&(b.di.is_none(), &b.name)));
        devices
    }

    /// Why an address was of no use, for those who wonder that nobody was found.
    pub fn failure(&self) -> Option<&str> {
        self.failures.first().map(String::as_str)
    }
}

impl Found {
    fn learn(&mut self, question: Question, value: &ciborium::Value) {
        let text = |key| body::get_text(value, key).filter(|text| !text.is_empty());
        match question {
            Question::Description => {
                self.name = text("n").map(text::printable);
                self.version = text("sv").map(text::printable);
            }
            Question::Platform => self.version = text("mnfv").map(text::printable),
            Question::Owner => {
                self.owned = body::get(value, "owned").and_then(ciborium::Value::as_bool);
            }
            Question::Links => {
                let links = links::links(value);
                self.links_read = true;
                let update = links.iter().find(|link| link.has_type(links::SOFTWARE_UPDATE));
                self.update = update.map(|link| text::printable(&link.href));
                // An owner closes the clear door to the security resources (OCF Security 13.16).
                let doxm = links.iter().find(|link| link.has_type(links::DOXM));
                if self.owned.is_none() && doxm.is_some_and(|link| !link.is_clear()) {
                    self.owned = Some(true);
                }
            }
            Question::Ocf | Question::Coap => {}
        }
    }
}

/// Asks every OCF device in the neighbourhood who it is; its links come as answers.
pub(super) fn ask_everyone(client: &mut Client, wait: Duration) -> Result<(), Error> {
    ask_groups(client, wait, None, &[Question::Ocf]).map(drop)
}

/// Asks the groups by every interface, or by one.
fn ask_groups(
    client: &mut Client,
    wait: Duration,
    only: Option<&str>,
    questions: &[Question],
) -> Result<Vec<(Call, Question)>, Error> {
    let v4 = client
        .groups((Ipv4Addr::UNSPECIFIED, 0).into())
        .map_err(|failure| Error::Exchange { whom: "everyone".into(), failure })?;
    // A machine can be without IPv6.
    let v6 = client.groups((Ipv6Addr::UNSPECIFIED, 0).into()).ok();
    let interfaces: Vec<(u32, bool, bool)> = client
        .sockets
        .interfaces()
        .iter()
        .filter(|interface| interface.multicast)
        .filter(|interface| only.is_none_or(|name| *name == interface.name))
        .map(|interface| {
            let has = |v4| interface.addresses.iter().any(|address| address.is_ipv4() == v4);
            (interface.index, has(true), has(false))
        })
        .collect();
    if let Some(name) = only.filter(|_| interfaces.is_empty()) {
        return Err(Error::Invalid(format!("no interface {name} is up and takes multicast")));
    }
    let mut calls = Vec::new();
    for (index, has_v4, has_v6) in interfaces {
        let families = [Some(v4).filter(|_| has_v4), v6.filter(|_| has_v6)];
        for path in families.into_iter().flatten() {
            let Some(through) = client.sockets.through(path, index) else { continue };
            for question in questions {
                let groups: Vec<SocketAddr> = match (path == v4, question) {
                    (true, _) => vec![(GROUP_V4, COAP_PORT).into()],
                    // The wider ones reach past the link where routers forward them.
                    (false, Question::Ocf) => GROUPS_V6.map(|it| group_v6(it, index)).into(),
                    (false, _) => vec![group_v6(ALL_COAP_NODES_V6, index)],
                };
                for remote in groups {
                    let group = Peer { remote, socket: through.0, session: 0 };
                    let call = client.request_group(group, request(*question), wait);
                    calls.push((call, *question));
                }
            }
        }
    }
    Ok(calls)
}

fn group_v6(group: Ipv6Addr, interface: u32) -> SocketAddr {
    SocketAddrV6::new(group, COAP_PORT, 0, interface).into()
}

fn request(question: Question) -> Request {
    match question {
        Question::Ocf => request::get(OCF_QUESTION),
        Question::Coap => Request::new(Code::GET, COAP_QUESTION),
        Question::Links => request::get("/oic/res"),
        Question::Description => request::get("/oic/d"),
        Question::Platform => request::get("/oic/p"),
        Question::Owner => request::get("/oic/sec/doxm"),
    }
}

#[cfg(test)]
mod tests {
    use ciborium::cbor;

    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_device_at_several_addresses_is_listed_once() {
        let mut search = Search::default();
        assert!(search.place(at("10.0.0.1:1"), Some("a".into())));
        assert!(!search.place(at("[fe80::1%2]:1"), Some("a".into())));
        assert!(!search.place(at("10.0.0.1:1"), Some("a".into())));
        assert!(!search.place(at("10.0.0.1:1"), None));
        let devices = search.devices();
        assert_eq!(devices.len(), 1);
        assert_eq!(devices[0].addresses, [at("10.0.0.1:1"), at("[fe80::1%2]:1")]);
    }

    #[test]
    fn a_device_that_first_looked_plain_becomes_an_ocf_one() {
        let mut search = Search::default();
        search.place(at("10.0.0.1:1"), None);
        search.place(at("10.0.0.2:1"), None);
        assert!(search.place(at("10.0.0.1:1"), Some("a".into())));
        let devices = search.devices();
        assert_eq!(
            devices.iter().map(|device| device.di.as_deref()).collect::<Vec<_>>(),
            [Some("a"), None]
        );
    }

    #[test]
    fn a_hostile_network_does_not_fill_the_memory() {
        let mut search = Search::default();
        for n in 0..5000u32 {
            search.place(SocketAddr::from((n.to_be_bytes(), 1)), Some(n.to_string()));
            search.place(SocketAddr::from((n.to_be_bytes(), 2)), None);
        }
        assert_eq!(search.found.len(), DEVICES_MAX);
    }

    #[test]
    fn ownership_is_told_by_the_device_or_by_its_closed_door() {
        let mut device = Found::default();
        let closed = cbor!([{"href" => "/oic/sec/doxm", "rt" => [links::DOXM],
                             "eps" => [{"ep" => "coaps://10.0.0.1:2"}]}])
        .unwrap();
        device.learn(Question::Links, &closed);
        assert_eq!(device.owned, Some(true));
        device.learn(Question::Owner, &cbor!({"owned" => false}).unwrap());
        assert_eq!(device.owned, Some(false));
    }
}
