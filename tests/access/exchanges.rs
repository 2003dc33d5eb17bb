//! Whole exchanges as tools send them, byte for byte: IoTivity-Lite's order and plgd's.

use ciborium::Value;
use freshen::coap::{Code, Reception, Request};
use freshen::ocf::Subject;
use freshen::ocf::security::{
    AceSubject, CredSubject, Effect, Input, Method, OnboardingState, Usage,
};
use uuid::Uuid;

use crate::bench::{Bench, DERIVED, SWU, member, peer};
use crate::encoder::{Cbor, map};

const DOXM: &str = "/oic/sec/doxm";
const PSTAT: &str = "/oic/sec/pstat";
const CRED: &str = "/oic/sec/cred";
const ACL2: &str = "/oic/sec/acl2";

pub(crate) const TOOL: Uuid = Uuid::from_u128(0xb566_b283_ef1a_46ef_791d_9b90_68a9_1386);
const DEVICE: Uuid = Uuid::from_u128(0x6e0e_35f3_6281_4ff8_6a5b_4a8b_0d8d_ca21);
const CLIENT: Uuid = Uuid::from_u128(0x1111_2222_3333_4444_5555_6666_7777_8888);

const DOC: Subject = Subject::Onboarding;
const CLEAR: Subject = Subject::Anonymous;

fn dos(state: i64) -> Cbor {
    map! { "dos" => map! { "s" => state } }
}

fn raw_key(data: &[u8]) -> Cbor {
    map! { "encoding" => "oic.sec.encoding.raw", "data" => Cbor::Bytes(data.to_vec()) }
}

/// One step of a transfer on the onboarding connection: a POST and what is expected of it.
pub(crate) type Exchange = (&'static str, Cbor, Code);

/// Steps 7 to 15 of IoTivity-Lite's tool.
pub(crate) fn transfer() -> Vec<Exchange> {
    let owner_key = map! { "credtype" => 1, "subjectuuid" => TOOL, "privatedata" => raw_key(b"") };
    vec![
        (PSTAT, map! { "om" => 4 }, Code::CHANGED),
        (DOXM, map! { "devowneruuid" => TOOL }, Code::CHANGED),
        (DOXM, map! { "deviceuuid" => DEVICE }, Code::CHANGED),
        (DOXM, map! { "rowneruuid" => TOOL }, Code::CHANGED),
        (ACL2, map! { "rowneruuid" => TOOL }, Code::CHANGED),
        (PSTAT, map! { "rowneruuid" => TOOL }, Code::CHANGED),
        (CRED, map! { "creds" => [owner_key], "rowneruuid" => TOOL }, Code::CHANGED),
        (
            "/oic/sec/sdi",
            map! { "uuid" => Uuid::from_u128(9), "name" => "OBT", "priv" => false },
            Code::CHANGED,
        ),
        (DOXM, map! { "owned" => true }, Code::CHANGED),
    ]
}

/// The entries of step 18.
pub(crate) fn bootstrap() -> Cbor {
    let href = |href: &'static str| map! { "href" => href };
    map! { "aclist2" => [
        map! { "subject" => map! { "uuid" => TOOL }, "resources" => [href("/oic/sec/sp")], "permission" => 14 },
        map! { "subject" => map! { "uuid" => TOOL }, "resources" => [href("/oic/sec/csr")], "permission" => 2 },
        map! {
            "subject" => map! { "conntype" => "anon-clear" },
            "resources" => [href("/oic/d"), href("/oic/p"), href("/oic/res"), href("/oic/sec/sdi")],
            "permission" => 2,
        },
    ] }
}

/// IoTivity-Lite's onboarding from discovery to RFNOP, by this method.
fn onboard(bench: &mut Bench, method: i64) {
    let search = Request::new(Code::GET, "/oic/sec/doxm?owned=FALSE");
    let found = bench.ask_by(Reception::Multicast, &CLEAR, search).expect("an unowned device");
    let found: Value = ciborium::from_reader(&*found.payload).unwrap();
    assert_eq!(member(&found, "oxmsel"), &4.into());
    assert_eq!(member(&found, "oxms"), &Value::from(vec![Value::from(0), 1.into(), 2.into()]));
    assert_eq!(member(&found, "owned"), &false.into());
    assert_eq!(member(&found, "devowneruuid"), &Uuid::nil().to_string().into());
    let temporary = member(&found, "deviceuuid").clone();
    assert_eq!(link(bench, &CLEAR).1, ["coap://192.0.2.1:5683", "coaps://192.0.2.1:5684"]);
    assert_eq!(member(&bench.get(&CLEAR, "/oic/d").unwrap(), "di"), &temporary);
    bench.get(&CLEAR, DOXM).unwrap();
    assert_eq!(bench.post(&CLEAR, DOXM, &map! { "oxmsel" => method }), Code::CHANGED);
    assert_eq!(bench.effects.contains(&Effect::ShowPin), method == 1);
    // The handshake.
    bench.connected = true;
    assert_eq!(bench.get(&CLEAR, DOXM), Err(Code::UNAUTHORIZED), "others wait");
    for (path, body, expected) in transfer() {
        assert_eq!(bench.post(&DOC, path, &body), expected, "{path} {body:?}");
    }
    assert_eq!(member(&bench.get(&DOC, "/oic/d").unwrap(), "di"), &DEVICE.to_string().into());
    assert_eq!(bench.post(&DOC, PSTAT, &dos(2)), Code::CHANGED);
    assert_eq!(bench.delete(&DOC, ACL2), Code::DELETED);
    assert_eq!(bench.post(&DOC, ACL2, &bootstrap()), Code::CHANGED);
    assert_eq!(bench.post(&DOC, PSTAT, &dos(3)), Code::CHANGED);
    bench.connected = false;
    bench.input(Input::ConnectionLost).unwrap();
    assert_eq!(bench.state(), OnboardingState::Rfnop);
}

/// Anchor and endpoints of the link to doxm.
fn link(bench: &mut Bench, subject: &Subject) -> (String, Vec<String>) {
    let links = bench.get(subject, "/oic/res?rt=oic.r.doxm").unwrap();
    assert_eq!(links.as_array().unwrap().len(), 1);
    assert_eq!(member(&links, "0.p.bm"), &1.into());
    let endpoints = member(&links, "0.eps").as_array().unwrap().iter();
    let endpoints = endpoints.map(|ep| member(ep, "ep").as_text().unwrap().to_owned()).collect();
    (member(&links, "0.anchor").as_text().unwrap().to_owned(), endpoints)
}

#[test]
fn iotivity_lites_tool_owns_the_device_by_each_method() {
    for (number, method) in
        [(0, Method::JustWorks), (1, Method::RandomPin), (2, Method::ManufacturerCertificate)]
    {
        let mut bench = Bench::new();
        onboard(&mut bench, number);
        let security = &bench.security;
        assert_eq!(security.doxm.selected, Some(method));
        assert_eq!((security.doxm.owner, security.doxm.device), (TOOL, DEVICE));
        let key = &security.cred.entries[0];
        assert_eq!(key.subject, CredSubject::Uuid(TOOL));
        assert_eq!(key.private.expose(), DERIVED, "the key was derived");
        assert_eq!(security.acl2.entries.iter().map(|ace| ace.id).collect::<Vec<_>>(), [1, 2, 3]);
    }
}

#[test]
fn an_owned_device_is_found_by_its_links_and_by_nothing_else() {
    let mut bench = Bench::new();
    onboard(&mut bench, 0);
    for owned in ["TRUE", "FALSE", "true", "maybe"] {
        let search = Request::new(Code::GET, &format!("/oic/sec/doxm?owned={owned}"));
        assert!(bench.ask_by(Reception::Multicast, &CLEAR, search.clone()).is_none());
        assert_eq!(bench.ask(&CLEAR, search).code, Code::UNAUTHORIZED);
    }
    let (anchor, endpoints) = link(&mut bench, &CLEAR);
    assert_eq!(anchor, format!("ocf://{DEVICE}"));
    assert_eq!(endpoints, ["coaps://192.0.2.1:5684"]);
    bench.get(&CLEAR, "/oic/d").unwrap();
    // The tool's entry for sdi does not open it in clear.
    assert_eq!(bench.get(&CLEAR, "/oic/sec/sdi"), Err(Code::UNAUTHORIZED));
    let whole = bench.get(&CLEAR, "/oic/res?if=oic.if.baseline").unwrap();
    assert_eq!(member(&whole, "0.sdname"), &"OBT".into());
    let domain = Uuid::from_u128(9);
    assert!(bench.get(&CLEAR, &format!("/oic/res?sduuid={domain}")).is_ok());
    let search = Request::new(Code::GET, &format!("/oic/res?sduuid={CLIENT}"));
    assert!(bench.ask_by(Reception::Multicast, &CLEAR, search).is_none());
}

#[test]
fn unowned_devices_answer_the_search_for_unowned_ones_only() {
    let mut bench = Bench::new();
    for (query, answers) in
        [("", true), ("?owned=false", true), ("?owned=TRUE", false), ("?owned=x", false)]
    {
        let search = Request::new(Code::GET, &format!("{DOXM}{query}"));
        let answer = bench.ask_by(Reception::Multicast, &CLEAR, search.clone());
        assert_eq!(answer.is_some(), answers, "{query}");
        let code = if answers { Code::CONTENT } else { Code::BAD_REQUEST };
        assert_eq!(bench.ask(&CLEAR, search).code, code);
    }
    let post = crate::bench::posting(DOXM, &map! { "oxmsel" => 0 });
    assert!(bench.ask_by(Reception::Multicast, &CLEAR, post).is_none());
    assert_eq!(bench.security.doxm.selected, None, "a group request changes nothing");
}

#[test]
fn the_owner_provides_for_a_client_who_then_may_what_it_may() {
    let mut bench = Bench::new();
    onboard(&mut bench, 0);
    let (owner, client) = (peer(TOOL), peer(CLIENT));
    let key = map! {
        "creds" => [map! {
            "credtype" => 1,
            "subjectuuid" => CLIENT,
            // Members in the other order.
            "privatedata" => map! { "data" => Cbor::Bytes(vec![5; 16]), "encoding" => "oic.sec.encoding.raw" },
        }],
    };
    // As IoTivity-Lite's menu sends it: 36 characters and a NUL.
    let subject = format!("{CLIENT}\0");
    let ace = |permission: i64| {
        map! { "aclist2" => [map! {
            "subject" => map! { "uuid" => &*subject },
            "resources" => [map! { "href" => SWU }],
            "permission" => permission,
        }] }
    };
    assert_eq!(bench.post(&owner, CRED, &key), Code::BAD_REQUEST, "not in RFNOP");
    assert_eq!(bench.post(&owner, ACL2, &ace(22)), Code::BAD_REQUEST, "not in RFNOP");
    assert_eq!(bench.post(&owner, PSTAT, &dos(2)), Code::CHANGED);
    assert_eq!(bench.post(&owner, CRED, &key), Code::CHANGED);
    assert_eq!(bench.post(&owner, ACL2, &ace(2)), Code::CHANGED);
    assert_eq!(bench.post(&owner, PSTAT, &dos(3)), Code::CHANGED);
    assert_eq!(bench.security.acl2.entries[3].subject, AceSubject::Uuid(CLIENT));

    let order = map! {
        "purl" => "https://v/a", "swupdateaction" => "idle", "updatetime" => "2030-01-01T00:00:00Z",
    };
    assert!(bench.get(&client, SWU).is_ok());
    assert_eq!(bench.post(&client, SWU, &order), Code::UNAUTHORIZED, "it may only read");
    assert_eq!(bench.get(&client, ACL2), Err(Code::UNAUTHORIZED));
    assert_eq!(bench.get(&owner, SWU), Err(Code::UNAUTHORIZED), "owning pstat is no way in");
    assert_eq!(bench.post(&owner, PSTAT, &map! { "tm" => 256 }), Code::CHANGED, "tm is");

    bench.post(&owner, PSTAT, &dos(2));
    assert_eq!(bench.post(&owner, ACL2, &ace(22)), Code::CHANGED);
    assert_eq!(bench.security.acl2.entries.len(), 4, "the same entry with more permissions");
    bench.post(&owner, PSTAT, &dos(3));
    assert_eq!(bench.post(&client, SWU, &order), Code::CHANGED);
    // Keys are never shown.
    let shown = format!("{:?}", bench.get(&owner, CRED).unwrap());
    assert!(shown.contains(&CLIENT.to_string()) && !shown.contains("5, 5"), "{shown}");
    assert!(!format!("{:?}", bench.security).contains("5, 5"));
    // The client is forgotten again.
    bench.post(&owner, PSTAT, &dos(2));
    assert_eq!(bench.delete(&owner, "/oic/sec/acl2?aceid=4"), Code::DELETED);
    assert_eq!(bench.delete(&owner, "/oic/sec/acl2?aceid=4"), Code::NOT_FOUND);
    assert_eq!(bench.delete(&owner, &format!("{CRED}?subjectuuid={CLIENT}")), Code::DELETED);
    bench.post(&owner, PSTAT, &dos(3));
    assert_eq!(bench.get(&client, SWU), Err(Code::UNAUTHORIZED));
}

#[test]
fn plgds_order_works_too() {
    let mut bench = Bench::new();
    let pstat = bench.get(&CLEAR, PSTAT).unwrap();
    assert_eq!(member(&pstat, "dos.s"), &1.into());
    assert_eq!(member(&pstat, "dos.p"), &false.into());
    assert_eq!((member(&pstat, "sm"), member(&pstat, "cm")), (&4.into(), &2.into()));
    assert_eq!(bench.post(&CLEAR, DOXM, &map! { "oxmsel" => 0 }), Code::CHANGED);
    bench.connected = true;
    assert_eq!(bench.post(&DOC, PSTAT, &map! { "om" => 4 }), Code::CHANGED);
    bench.get(&DOC, DOXM).unwrap();
    let csr = bench.get(&DOC, "/oic/sec/csr").unwrap();
    let pem = member(&csr, "csr").as_text().unwrap().to_owned();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE REQUEST-----"), "{pem}");
    let pem_data = |data: &str| map! { "data" => data, "encoding" => "oic.sec.encoding.pem" };
    let body = map! {
        "rowneruuid" => TOOL,
        "creds" => [
            map! { "subjectuuid" => TOOL, "credtype" => 1, "privatedata" => raw_key(&[9; 16]) },
            map! {
                "subjectuuid" => DEVICE, "credtype" => 8, "credusage" => "oic.sec.cred.cert",
                "publicdata" => pem_data("chain"),
            },
            map! {
                "subjectuuid" => "*", "credtype" => 8, "credusage" => "oic.sec.cred.trustca",
                "publicdata" => pem_data("root"), "tag" => "x",
            },
        ],
    };
    assert_eq!(bench.post(&DOC, CRED, &body), Code::CHANGED);
    assert_eq!(bench.post(&DOC, DOXM, &map! { "devowneruuid" => TOOL }), Code::CHANGED);
    bench.get(&DOC, DOXM).unwrap();
    for path in [PSTAT, ACL2] {
        assert_eq!(bench.post(&DOC, path, &map! { "rowneruuid" => TOOL }), Code::CHANGED);
    }
    let both = map! { "rowneruuid" => TOOL, "owned" => true };
    assert_eq!(bench.post(&DOC, DOXM, &both), Code::CHANGED);
    assert_eq!(bench.post(&DOC, PSTAT, &dos(2)), Code::CHANGED);
    // A new session, with the owner's key.
    bench.connected = false;
    bench.input(Input::ConnectionLost).unwrap();
    assert_eq!(bench.state(), OnboardingState::Rfpro, "it is owned by now");
    assert_eq!(bench.security.cred.entries[0].private.expose(), [9; 16], "taken as it was sent");
    assert_eq!(bench.security.cred.entries[1].usage, Some(Usage::Identity));
    let owner = peer(TOOL);
    assert_eq!(bench.delete(&owner, ACL2), Code::DELETED);
    let every = |href: &'static str| map! { "href" => href, "if" => ["*".into()] };
    let aces = map! { "aclist2" => [
        map! {
            "subject" => map! { "uuid" => TOOL }, "permission" => 31, "tag" => "plgd",
            "resources" => [map! { "wc" => "*", "if" => ["*".into()] }],
        },
        map! {
            "subject" => map! { "uuid" => TOOL }, "permission" => 31,
            "resources" => [every(SWU), every("/oic/mnt")],
        },
        map! {
            "subject" => map! { "conntype" => "anon-clear" }, "permission" => 2,
            "resources" => [every("/oic/res"), every("/oic/d"), every("/oic/p")],
        },
    ] };
    assert_eq!(bench.post(&owner, ACL2, &aces), Code::CHANGED);
    assert_eq!(bench.post(&owner, PSTAT, &dos(3)), Code::CHANGED);
    for path in [SWU, "/updatestatus", "/oc/wk/introspection", "/oic/res"] {
        assert!(bench.get(&owner, path).is_ok(), "{path}");
    }
    let pstat = bench.get(&owner, PSTAT).unwrap();
    assert_eq!((member(&pstat, "isop"), member(&pstat, "cm")), (&true.into(), &0.into()));
}

#[test]
fn what_broke_off_is_undone_at_every_step() {
    for steps in 0..=transfer().len() {
        let mut bench = Bench::new();
        let before = bench.security.clone();
        bench.post(&CLEAR, DOXM, &map! { "oxmsel" => 0 });
        bench.connected = true;
        for (path, body, expected) in transfer().into_iter().take(steps) {
            assert_eq!(bench.post(&DOC, path, &body), expected);
        }
        bench.input(Input::ConnectionLost).unwrap();
        assert_eq!(bench.state(), OnboardingState::Reset);
        assert!(bench.effects.contains(&Effect::Reset));
        bench.finish_reset();
        assert_eq!(bench.state(), OnboardingState::Rfotm);
        let after = &bench.security;
        assert!(!after.doxm.owned && after.doxm.owner.is_nil() && after.doxm.selected.is_none());
        assert!(after.cred.entries.is_empty() && after.acl2.entries.is_empty());
        assert_ne!(after.doxm.device, before.doxm.device);
        assert_ne!(after.key, before.key, "a new key");
    }
}

#[test]
fn nothing_is_owned_before_all_of_it_is() {
    for missing in 1..transfer().len() {
        let mut bench = Bench::new();
        bench.post(&CLEAR, DOXM, &map! { "oxmsel" => 0 });
        bench.connected = true;
        for (n, (path, body, _)) in transfer().into_iter().enumerate() {
            if n != missing {
                bench.post(&DOC, path, &body);
            }
        }
        // A new deviceuuid and a security domain are the tool's wish, not a need.
        let needed = ![2, 7].contains(&missing);
        let expected = if needed { Code::BAD_REQUEST } else { Code::CHANGED };
        assert_eq!(bench.post(&DOC, PSTAT, &dos(2)), expected, "without step {missing}");
        assert_eq!(bench.post(&DOC, PSTAT, &dos(3)), {
            if needed { Code::BAD_REQUEST } else { Code::CHANGED }
        });
    }
}

#[test]
fn a_hard_reset_takes_everything_and_the_device_can_be_owned_again() {
    let mut bench = Bench::new();
    for _ in 0..2 {
        onboard(&mut bench, 0);
        assert_eq!(bench.post(&peer(CLIENT), PSTAT, &dos(0)), Code::UNAUTHORIZED);
        assert_eq!(bench.post(&peer(TOOL), PSTAT, &dos(0)), Code::CHANGED);
        assert_eq!(bench.state(), OnboardingState::Reset);
        assert_eq!(bench.get(&CLEAR, "/oic/d"), Err(Code::SERVICE_UNAVAILABLE));
        let search = Request::new(Code::GET, "/oic/res");
        assert!(bench.ask_by(Reception::Multicast, &CLEAR, search).is_none());
        bench.finish_reset();
        bench.effects.clear();
    }
}

#[test]
fn the_tool_may_not_lie_about_what_an_empty_key_is_for() {
    let mut bench = Bench::new();
    bench.post(&CLEAR, DOXM, &map! { "oxmsel" => 0 });
    bench.connected = true;
    let empty = |subject: Uuid| {
        let entry =
            map! { "credtype" => 1, "subjectuuid" => subject, "privatedata" => raw_key(b"") };
        map! { "creds" => [entry] }
    };
    assert_eq!(bench.post(&DOC, CRED, &empty(TOOL)), Code::BAD_REQUEST, "nobody owns it yet");
    bench.post(&DOC, DOXM, &map! { "devowneruuid" => TOOL });
    assert_eq!(bench.post(&DOC, CRED, &empty(CLIENT)), Code::BAD_REQUEST);
    assert_eq!(bench.post(&DOC, CRED, &empty(TOOL)), Code::CHANGED);
}

#[test]
fn an_entry_for_anyone_opens_nothing_that_is_secured() {
    let mut bench = Bench::new();
    onboard(&mut bench, 0);
    let owner = peer(TOOL);
    bench.post(&owner, PSTAT, &dos(2));
    let hrefs = || {
        let paths = [SWU, "/updatestatus", ACL2, "/oic/sec/sdi", "/oc/wk/introspection"];
        Cbor::Array(paths.into_iter().map(|href| map! { "href" => href }).collect())
    };
    for kind in ["anon-clear", "auth-crypt"] {
        let body = map! { "aclist2" => [map! {
            "subject" => map! { "conntype" => kind }, "resources" => hrefs(), "permission" => 31,
        }] };
        assert_eq!(bench.post(&owner, ACL2, &body), Code::CHANGED);
    }
    bench.post(&owner, PSTAT, &dos(3));
    let denied = Err(Code::UNAUTHORIZED);
    for path in [SWU, "/updatestatus", ACL2, "/oic/sec/sdi"] {
        assert_eq!(bench.get(&CLEAR, path), denied, "{path} in clear");
    }
    assert!(bench.get(&CLEAR, "/oc/wk/introspection").is_ok());
    let client = peer(CLIENT);
    for path in [SWU, "/updatestatus", "/oc/wk/introspection"] {
        assert!(bench.get(&client, path).is_ok(), "{path} in a secure session");
    }
    for path in [ACL2, "/oic/sec/sdi"] {
        assert_eq!(bench.get(&client, path), denied, "{path}: no way to a security resource");
    }
}

#[test]
fn an_entry_holds_in_its_time_only() {
    let mut bench = Bench::new();
    onboard(&mut bench, 0);
    let owner = peer(TOOL);
    bench.post(&owner, PSTAT, &dos(2));
    // The bench's clock says 2026-02-01T00:00:00Z.
    for (n, period, holds) in [
        (1, "20260101T000000Z/20260301T000000Z", true),
        (2, "20260101T000000Z/P1W", false),
        (3, "20270101T000000Z/P1W", false),
    ] {
        let who = Uuid::from_u128(n);
        let body = map! { "aclist2" => [map! {
            "subject" => map! { "uuid" => who },
            "resources" => [map! { "href" => SWU }],
            "permission" => 2,
            "validity" => [map! { "period" => period }],
        }] };
        assert_eq!(bench.post(&owner, ACL2, &body), Code::CHANGED);
        assert_eq!(bench.get(&peer(who), SWU).is_ok(), holds, "{period}");
    }
    // The clock was put back: this device was updated in April.
    bench.update.time_floor = "2026-04-01T00:00:00Z".parse().unwrap();
    assert!(bench.get(&peer(Uuid::from_u128(1)), SWU).is_err(), "what has ended stays ended");
}

#[test]
fn bodies_that_mean_nothing_are_refused_and_change_nothing() {
    let mut bench = Bench::new();
    onboard(&mut bench, 0);
    let owner = peer(TOOL);
    bench.post(&owner, PSTAT, &dos(2));
    let ace = |subject: Cbor, resources: Cbor, permission: i64| {
        map! { "aclist2" => [map! {
            "subject" => subject, "resources" => resources, "permission" => permission,
        }] }
    };
    let uuid = || map! { "uuid" => CLIENT };
    let href = || Cbor::from([map! { "href" => SWU }]);
    let before = bench.security.clone();
    for (path, body) in [
        (ACL2, ace(map! { "uuid" => "*" }, href(), 2)),
        (ACL2, ace(map! { "uuid" => CLIENT, "role" => "x" }, href(), 2)),
        (ACL2, ace(map! { "conntype" => "anon" }, href(), 2)),
        (ACL2, ace(map! {}, href(), 2)),
        (ACL2, ace(uuid(), href(), 32)),
        (ACL2, ace(uuid(), href(), -1)),
        (ACL2, ace(uuid(), [map! { "wc" => "?" }].into(), 2)),
        (ACL2, ace(uuid(), [map! { "wc" => "*", "href" => SWU }].into(), 2)),
        (ACL2, ace(uuid(), [map! { "href" => &*"x".repeat(257) }].into(), 2)),
        (ACL2, map! { "aclist2" => [Cbor::Int(1)] }),
        (ACL2, map! { "aclist2" => 1 }),
        (ACL2, map! { "colour" => 1 }),
        (CRED, map! { "creds" => [map! { "credtype" => 1, "subjectuuid" => CLIENT }] }),
        (
            CRED,
            map! { "creds" => [map! {
            "credtype" => 1, "subjectuuid" => CLIENT, "privatedata" => raw_key(&[1; 15]) }] },
        ),
        (
            CRED,
            map! { "creds" => [map! {
            "credtype" => 1, "subjectuuid" => "*", "privatedata" => raw_key(&[1; 16]) }] },
        ),
        (
            CRED,
            map! { "creds" => [map! {
            "credtype" => 2, "subjectuuid" => CLIENT, "privatedata" => raw_key(&[1; 16]) }] },
        ),
        (CRED, map! { "creds" => [map! { "credtype" => 8, "subjectuuid" => "*" }] }),
        (PSTAT, map! { "dos" => map! { "s" => 5 } }),
        (PSTAT, map! { "dos" => map! { "s" => 3, "p" => false } }),
        (PSTAT, map! { "dos" => map! { "s" => 3 }, "tm" => 64 }),
        (PSTAT, map! { "tm" => 1 }),
        (DOXM, map! { "owned" => false }),
        (DOXM, map! { "oxmsel" => 0 }),
    ] {
        assert_eq!(bench.post(&owner, path, &body), Code::BAD_REQUEST, "{path} {body:?}");
        assert_eq!(bench.security, before, "{path} {body:?}");
    }
    // The certification tool's entry without resources is no error, and gives nothing.
    let nothing = map! { "aclist2" => [map! { "subject" => uuid(), "permission" => 31 }] };
    assert_eq!(bench.post(&owner, ACL2, &nothing), Code::CHANGED);
}

#[test]
fn tables_have_ends_and_an_overfull_body_changes_nothing() {
    let mut bench = Bench::new();
    onboard(&mut bench, 0);
    let owner = peer(TOOL);
    bench.post(&owner, PSTAT, &dos(2));
    let ace = |n: u128| {
        map! { "aclist2" => [map! {
            "subject" => map! { "uuid" => Uuid::from_u128(n + 1) },
            "resources" => [map! { "href" => SWU }],
            "permission" => 2,
        }] }
    };
    let codes: Vec<Code> = (0..70).map(|n| bench.post(&owner, ACL2, &ace(n))).collect();
    assert_eq!(codes.iter().filter(|code| **code == Code::CHANGED).count(), 61, "3 were there");
    assert_eq!(codes[69], Code::REQUEST_ENTITY_TOO_LARGE);
    let key = |n: u128| {
        map! { "creds" => [map! {
            "credtype" => 1, "subjectuuid" => Uuid::from_u128(n + 1), "privatedata" => raw_key(&[1; 16]),
        }] }
    };
    let codes: Vec<Code> = (0..40).map(|n| bench.post(&owner, CRED, &key(n))).collect();
    assert_eq!(codes.iter().filter(|code| **code == Code::CHANGED).count(), 31, "1 was there");
    assert_eq!(bench.post(&owner, CRED, &key(3)), Code::CHANGED, "a new key for a known peer");
}
