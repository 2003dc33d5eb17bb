//! Somebody puts the clock back, so that what has ended holds again.

use std::path::Path;

use ciborium::{Value, cbor};
use freshen::dtls::ClientPolicy;

use crate::owner::{Authority, CLIENT, CRED, OWNER, Owner, SWU, psk};
use crate::rolled_back::rewrite;
use crate::victim::Victim;

/// A past in which the device knew that this year had begun. Its clock still shows today: it was put back.
fn has_lived_in(year: &[u8; 4], state: &Path) {
    let name = b"time_floor";
    let files = ["update.0", "update.1"].map(|side| state.join(side));
    for file in files.iter().filter(|file| file.exists()) {
        rewrite(file, |bytes| {
            let at = bytes.windows(name.len()).position(|piece| piece == name).unwrap();
            // A text of twenty bytes: 2026-01-09T14:30:00Z.
            let time = &mut bytes[at + name.len()..];
            assert_eq!((time[0], time[5]), (0x74, b'-'), "{:?}", time.get(..21));
            time[1..5].copy_from_slice(year);
        });
    }
}

#[test]
fn a_certificate_that_has_ended_opens_nothing_after_the_clock_is_put_back() {
    let [devices, clients] = ["Devices", "Clients"].map(Authority::new);
    let victim = Victim::start("");
    let mut owner = Owner::take(&victim);
    owner.trust(10, &devices);
    owner.trust(11, &clients);
    owner.name_device(&devices);
    owner.allow();
    let end = rcgen::date_time_ymd(2035, 1, 1);
    let policy = || clients.client(&|parameters| parameters.not_after = end, &devices);
    opens_nothing_after_2035(victim, &owner, policy);
}

#[test]
fn a_key_that_has_ended_opens_nothing_after_the_clock_is_put_back() {
    let victim = Victim::start("");
    let mut owner = Owner::take(&victim);
    let data = cbor!({"encoding" => "oic.sec.encoding.raw", "data" => Value::Bytes(vec![7; 16])});
    let body = cbor!({"creds" => [{
        "credid" => 7, "credtype" => 1, "subjectuuid" => CLIENT.to_string(),
        "period" => "20260101T000000Z/20350101T000000Z", "privatedata" => data.unwrap(),
    }]});
    owner.provide(CRED, body.unwrap());
    owner.allow();
    opens_nothing_after_2035(victim, &owner, || psk(CLIENT.as_bytes(), &[7; 16]));
}

fn opens_nothing_after_2035(victim: Victim, owner: &Owner, policy: impl Fn() -> ClientPolicy) {
    let serves = |victim: &Victim| {
        let served = victim.connect(policy()).is_ok_and(|mut client| client.get(SWU).is_ok());
        assert!(served, "{}", victim.log());
    };
    // The control: as far as the device knows, it holds.
    serves(&victim);
    let victim = after(victim, b"2034");
    serves(&victim);
    let victim = after(victim, b"2036");
    assert!(victim.connect(policy()).is_err(), "it ended in 2035: {}", victim.log());
    // What has no end still opens.
    assert!(victim.connect(psk(OWNER.as_bytes(), &owner.key)).is_ok(), "{}", victim.log());
}

fn after(victim: Victim, year: &[u8; 4]) -> Victim {
    let directory = victim.end();
    has_lived_in(year, &directory.path().join("state"));
    Victim::live(directory)
}
