//! Every cell of `tests/vectors/access.txt`: resource, property, state, subject, connection.

use std::collections::BTreeMap;

use freshen::coap::Code;
use freshen::ocf::security::{
    Ace, AceResource, AceSubject, CredSubject, Credential, Method, OnboardingState, Role, Secret,
    Wildcard,
};
use freshen::ocf::{Identified, Subject};
use uuid::Uuid;

use crate::bench::{Bench, SWU, peer};
use crate::encoder::{Cbor, map};

const TABLE: &str = include_str!("../vectors/access.txt");

const STATES: [OnboardingState; 5] = OnboardingState::ALL;

const SUBJECTS: [&str; 10] =
    ["clear", "shut", "doc", "owner", "granted", "role", "wild", "reader", "stranger", "known"];

const OWNER: Uuid = Uuid::from_u128(0xA);
const GRANTED: Uuid = Uuid::from_u128(0xB);
const WILD: Uuid = Uuid::from_u128(0xC);
const READER: Uuid = Uuid::from_u128(0xD);
const OTHER: Uuid = Uuid::from_u128(0xE);

/// The names of the table, and where the resources are.
const PATHS: [(&str, &str); 17] = [
    ("res", "/oic/res"),
    ("d", "/oic/d"),
    ("p", "/oic/p"),
    ("core", "/.well-known/core"),
    ("doxm", "/oic/sec/doxm"),
    ("pstat", "/oic/sec/pstat"),
    ("cred", "/oic/sec/cred"),
    ("acl2", "/oic/sec/acl2"),
    ("sp", "/oic/sec/sp"),
    ("csr", "/oic/sec/csr"),
    ("roles", "/oic/sec/roles"),
    ("sdi", "/oic/sec/sdi"),
    ("ael", "/oic/sec/ael"),
    ("swu", SWU),
    ("introspection", "/oc/wk/introspection"),
    ("data", "/oc/introspection"),
    ("status", "/updatestatus"),
];

fn path(name: &str) -> &'static str {
    PATHS.iter().find(|(other, _)| *other == name).unwrap_or_else(|| panic!("{name}")).1
}

/// A device in this state, and the subject.
fn place(state: OnboardingState, subject: &str) -> (Bench, Subject) {
    let mut bench = Bench::new();
    let security = &mut bench.security;
    security.onboarding = state;
    if state != OnboardingState::Rfotm {
        security.doxm.selected = Some(Method::JustWorks);
        security.doxm.owned = true;
        security.doxm.owner = OWNER;
        security.doxm.resource_owner = OWNER;
        security.pstat_owner = OWNER;
        security.cred.owner = OWNER;
        security.acl2.owner = OWNER;
        security.cred.entries.push(Credential {
            id: 1,
            kind: 1,
            subject: CredSubject::Uuid(OWNER),
            usage: None,
            private: Secret::new(vec![7; 16]),
            public: String::new(),
            role: None,
            period: None,
        });
        let hrefs = || PATHS.iter().map(|(_, href)| AceResource::Href((*href).into())).collect();
        let role = Role { name: "fixer".into(), authority: String::new() };
        let entries: [(AceSubject, Vec<AceResource>, u8); 4] = [
            (AceSubject::Uuid(GRANTED), hrefs(), 31),
            (AceSubject::Role(role), hrefs(), 31),
            (AceSubject::Uuid(WILD), vec![AceResource::Wildcard(Wildcard::All)], 31),
            (AceSubject::Uuid(READER), hrefs(), 2),
        ];
        for (id, (subject, resources, permission)) in (1..).zip(entries) {
            security.acl2.entries.push(Ace {
                id,
                subject,
                resources,
                permission,
                validity: vec![],
            });
        }
    }
    bench.connected = matches!(subject, "shut" | "doc");
    let subject = match subject {
        "clear" | "shut" => Subject::Anonymous,
        "doc" => Subject::Onboarding,
        "owner" => peer(OWNER),
        "granted" => peer(GRANTED),
        "wild" => peer(WILD),
        "reader" => peer(READER),
        "stranger" => peer(OTHER),
        "known" => Subject::Known("client-1".into()),
        "role" => Subject::Peer(Identified {
            uuid: OTHER,
            by_key: false,
            roles: vec![Role { name: "fixer".into(), authority: String::new() }],
        }),
        other => panic!("{other}"),
    };
    (bench, subject)
}

/// A body that is right, but for who sends it when.
fn body(property: &str, state: OnboardingState) -> Cbor {
    let key = map! { "encoding" => "oic.sec.encoding.raw", "data" => Cbor::Bytes(vec![1; 16]) };
    let credential = map! { "credtype" => 1, "subjectuuid" => OTHER, "privatedata" => key };
    let ace = map! {
        "subject" => map! { "uuid" => OTHER },
        "resources" => [map! { "href" => SWU }],
        "permission" => 2,
    };
    match property {
        "doxm.oxms" => map! { "oxms" => [Cbor::Int(0)] },
        "doxm.sct" => map! { "sct" => 9 },
        "doxm.oxmsel" => map! { "oxmsel" => 0 },
        "doxm.owned" => map! { "owned" => true },
        "doxm.deviceuuid" => map! { "deviceuuid" => OTHER },
        "doxm.devowneruuid" => map! { "devowneruuid" => OTHER },
        "pstat.dos" => map! { "dos" => map! { "s" => state.number() } },
        "pstat.isop" => map! { "isop" => true },
        "pstat.cm" => map! { "cm" => 0 },
        "pstat.tm" => map! { "tm" => 0 },
        "pstat.tm=64" => map! { "tm" => 64 },
        "pstat.om" => map! { "om" => 4 },
        "pstat.sm" => map! { "sm" => 4 },
        "cred.creds" => map! { "creds" => [credential] },
        "acl2.aclist2" => map! { "aclist2" => [ace] },
        "sp.currentprofile" => map! { "currentprofile" => "1.3.6.1.4.1.51414.0.0.1.0" },
        "sp.supportedprofiles" => map! { "supportedprofiles" => ["1.3".into()] },
        "sdi.uuid" => map! { "uuid" => OTHER },
        "sdi.name" => map! { "name" => "home" },
        "sdi.priv" => map! { "priv" => true },
        "ael.categoryfilter" => map! { "categoryfilter" => 31 },
        "ael.priorityfilter" => map! { "priorityfilter" => 2 },
        "ael.events" => Cbor::Map(vec![("events", Cbor::Array(vec![]))]),
        "csr.csr" => map! { "csr" => "x" },
        "roles.roles" => Cbor::Map(vec![("roles", Cbor::Array(vec![]))]),
        "swu.*" => map! {
            "purl" => "https://v/a",
            "swupdateaction" => "idle",
            "updatetime" => "2030-01-01T00:00:00Z",
        },
        name if name.ends_with(".rowneruuid") => map! { "rowneruuid" => OTHER },
        other => panic!("{other}"),
    }
}

/// Operation, resource, subject, and one letter for each state.
type Access = BTreeMap<(String, String, String), Vec<String>>;

fn access() -> Access {
    let mut access = Access::new();
    for row in section("[access]") {
        let [operation, resources, subjects, letters @ ..] = row.as_slice() else {
            panic!("{row:?}")
        };
        for resource in resources.split(',') {
            for subject in subjects.split(',') {
                assert!(SUBJECTS.contains(&subject), "{row:?}");
                let key = (operation.clone(), resource.to_owned(), subject.to_owned());
                assert!(access.insert(key, letters.to_vec()).is_none(), "twice: {row:?}");
            }
        }
    }
    access
}

fn section(name: &str) -> Vec<Vec<String>> {
    let text = TABLE.split(name).nth(1).unwrap();
    let lines = text.lines().take_while(|line| !line.starts_with('['));
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

fn column(letters: &[String], state: OnboardingState) -> &str {
    assert_eq!(letters.len(), STATES.len(), "{letters:?}");
    &letters[usize::try_from(state.number()).unwrap()]
}

#[test]
fn every_read_is_answered_as_the_table_has_it() {
    let mut cells = 0;
    for ((operation, resource, name), letters) in access() {
        for state in STATES.into_iter().filter(|_| operation == "read") {
            let expected = match column(&letters, state) {
                "-" if state == OnboardingState::Reset => Code::SERVICE_UNAVAILABLE,
                "y" => Code::CONTENT,
                "n" => Code::UNAUTHORIZED,
                _ => continue,
            };
            let (mut bench, subject) = place(state, &name);
            let request = freshen::coap::Request::new(Code::GET, path(&resource));
            let code = bench.ask(&subject, request).code;
            assert_eq!(code, expected, "{name} reads {resource} in {state:?}");
            cells += 1;
        }
    }
    println!("{cells} reads");
    assert!(cells > 500, "{cells}");
}

#[test]
fn every_write_and_removal_is_answered_as_the_table_has_it() {
    let access = access();
    let states = section("[state]");
    let mut cells = 0;
    for row in &states {
        let (name, only) = row[0].split_once('@').unwrap_or((&row[0], ""));
        let resource = name.split('.').next().unwrap();
        let deletes = !name.contains('.');
        let operation = if deletes { "delete" } else { "write" };
        for subject in SUBJECTS.iter().filter(|subject| only.is_empty() || **subject == only) {
            let special = format!("{name}@{subject}");
            if only.is_empty() && states.iter().any(|row| row[0] == special) {
                continue;
            }
            let key = (operation.to_owned(), resource.to_owned(), (*subject).to_owned());
            let letters = &access.get(&key).unwrap_or_else(|| panic!("no row for {key:?}"));
            for state in STATES {
                let expected = match column(letters, state) {
                    "-" if state == OnboardingState::Reset => Code::SERVICE_UNAVAILABLE,
                    "n" => Code::UNAUTHORIZED,
                    "y" => taken(column(&row[1..], state), subject, deletes),
                    _ => continue,
                };
                let (mut bench, asker) = place(state, subject);
                let before = bench.security.clone();
                let code = match deletes {
                    true => bench.delete(&asker, path(resource)),
                    false => bench.post(&asker, path(resource), &body(name, state)),
                };
                assert_eq!(code, expected, "{subject} writes {name} in {state:?}");
                assert!(code.is_success() || bench.security == before, "{name} changed something");
                cells += 1;
            }
        }
    }
    println!("{cells} writes and removals");
    assert!(cells > 800, "{cells}");
}

fn taken(rule: &str, subject: &str, deletes: bool) -> Code {
    let done = if deletes { Code::DELETED } else { Code::CHANGED };
    match rule {
        "w" => done,
        "c" if subject == "clear" => done,
        "s" if subject == "doc" => done,
        "r" | "c" | "s" => Code::BAD_REQUEST,
        "403" => Code::FORBIDDEN,
        "405" => Code::METHOD_NOT_ALLOWED,
        other => panic!("{other}"),
    }
}

#[test]
fn the_table_has_a_row_for_every_resource_and_subject() {
    let access = access();
    for (resource, _) in PATHS {
        for subject in SUBJECTS {
            let key = ("read".to_owned(), resource.to_owned(), subject.to_owned());
            assert!(access.contains_key(&key), "{key:?}");
        }
    }
}

#[test]
fn only_the_transitions_of_the_table_are_taken() {
    use OnboardingState as S;
    let allowed = [
        (S::Rfpro, S::Rfnop),
        (S::Rfnop, S::Rfpro),
        (S::Rfpro, S::Sreset),
        (S::Rfnop, S::Sreset),
        (S::Sreset, S::Rfpro),
    ];
    for from in [S::Rfpro, S::Rfnop, S::Sreset] {
        for to in STATES {
            let (mut bench, owner) = place(from, "owner");
            let body = map! { "dos" => map! { "s" => to.number() } };
            let code = bench.post(&owner, "/oic/sec/pstat", &body);
            let takes = from == to || to == S::Reset || allowed.contains(&(from, to));
            let expected = if takes { Code::CHANGED } else { Code::BAD_REQUEST };
            assert_eq!(code, expected, "{from:?} to {to:?}");
            assert_eq!(bench.state(), if takes { to } else { from });
        }
    }
}
