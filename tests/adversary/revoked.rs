//! What a credential opened, after the credential has gone.

use std::time::Duration;

use freshen::clock;
use freshen::coap::Code;
use freshen::dtls::ClientPolicy;

use crate::owner::{Authority, CLIENT, Owner, SWU, psk};
use crate::tool::Tool;
use crate::victim::Victim;

/// A client that may see and order updates, and watches them: it is told of what the owner does.
struct Scene {
    victim: Victim,
    owner: Owner,
    client: Tool,
}

impl Scene {
    fn new(provide: impl FnOnce(&mut Owner) -> ClientPolicy) -> Self {
        let victim = Victim::start("");
        let mut owner = Owner::take(&victim);
        let policy = provide(&mut owner);
        owner.allow();
        let mut client = victim.connect(policy).unwrap();
        let watched = client.watch(SWU);
        assert_eq!(client.told(watched), Code::CONTENT, "{}", victim.log());
        // The control: as long as the credential is there, it is served and told.
        owner.order("https://example.com/one");
        assert_eq!(client.told(watched), Code::CONTENT);
        assert_eq!(client.get(SWU).unwrap()["purl"], "https://example.com/one");
        Self { victim, owner, client }
    }

    /// The session ends, and of what happened meanwhile its end has heard nothing.
    fn nothing_more_is_told(mut self) {
        self.owner.order("https://example.com/two");
        self.client.wait_until_closed();
        let told = self.client.payloads();
        let secret = told.iter().any(|payload| {
            payload.windows(b"example.com/two".len()).any(|piece| piece == b"example.com/two")
        });
        assert!(!secret, "{}", self.victim.log());
    }
}

#[test]
fn a_session_ends_when_its_key_is_replaced() {
    let mut scene = Scene::new(|owner| {
        owner.give_key(7, &[7; 16]);
        psk(CLIENT.as_bytes(), &[7; 16])
    });
    scene.owner.give_key(7, &[8; 16]);
    assert!(scene.victim.connect(psk(CLIENT.as_bytes(), &[7; 16])).is_err());
    assert!(scene.victim.connect(psk(CLIENT.as_bytes(), &[8; 16])).is_ok());
    scene.nothing_more_is_told();
}

#[test]
fn a_session_ends_when_its_key_goes() {
    let mut scene = Scene::new(|owner| {
        owner.give_key(7, &[7; 16]);
        psk(CLIENT.as_bytes(), &[7; 16])
    });
    scene.owner.forget(7);
    scene.nothing_more_is_told();
}

/// Another anchor is still there; it never vouched for this client.
#[test]
fn a_session_ends_when_the_anchor_of_its_certificate_goes() {
    let [devices, clients] = ["Devices", "Clients"].map(Authority::new);
    let mut scene = Scene::new(|owner| {
        owner.trust(10, &devices);
        owner.trust(11, &clients);
        owner.name_device(&devices);
        clients.client(&|_| {}, &devices)
    });
    scene.owner.forget(11);
    scene.nothing_more_is_told();
}

#[test]
fn a_session_ends_with_its_certificate() {
    let [devices, clients] = ["Devices", "Clients"].map(Authority::new);
    let end = clock::now().wall.timestamp() + 20;
    let mut scene = Scene::new(|owner| {
        owner.trust(10, &devices);
        owner.trust(11, &clients);
        owner.name_device(&devices);
        let end = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(end.unsigned_abs());
        clients.client(&|parameters| parameters.not_after = end, &devices)
    });
    scene.client.wait_until_closed();
    let ended = clock::now().wall.timestamp();
    assert!((end..end + 10).contains(&ended), "{}: {}", ended - end, scene.victim.log());
}
