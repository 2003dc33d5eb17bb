//! Use cases 6 to 8, 29 to 32: packages, their bytes, and what they need.

use freshen::package::{Component, Description, Digest, Format, Identity, SigningKey, Source};
use serde_json::json;

use crate::fleet::Fleet;

const BYTES: [(&str, &str); 1] = [("content-type", "application/octet-stream")];
/// SHA-256 and SHA-1 of `hello`.
const SHA256: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const SHA1: &str = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";

pub(crate) fn a_package_is_kept_with_its_bytes_and_digests(fleet: &Fleet) {
    let all = &fleet.operator;
    let path =
        format!("/packages/nav/1.0?vendor=Acme&description=maps&sha256={SHA256}&sha1={SHA1}");
    let added = all.send("PUT", &path, &BYTES, Some(b"hello")).is(201).json();
    assert_eq!((&added["vendor"], &added["size"]), (&json!("Acme"), &json!(5)));
    assert_eq!(added["files"][0]["sha256"], SHA256);
    assert_eq!(added["files"][0]["sha1"], SHA1);
    assert_eq!(all.get("/packages/nav/1.0/files/nav").is(200).bytes, b"hello");
    for (range, status, expected) in [
        ("bytes=1-3", 206, "ell"),
        ("bytes=-2", 206, "lo"),
        ("bytes=3-", 206, "lo"),
        ("bytes=9-", 200, "hello"),
    ] {
        let answer =
            all.send("GET", "/packages/nav/1.0/files/nav", &[("range", range)], None).is(status);
        assert_eq!(answer.bytes, expected.as_bytes(), "{range}");
    }
    all.send("PUT", &path, &BYTES, Some(b"hello")).refuses(409, "conflicting_entity");
    all.json("PUT", "/packages/nav/1.0", json!({})).refuses(409, "conflicting_entity");
}

pub(crate) fn what_broke_its_promise_is_not_kept(fleet: &Fleet) {
    let all = &fleet.operator;
    for promise in [format!("sha256={SHA256}"), format!("sha1={SHA1}")] {
        let path = format!("/packages/nav/1.0?{promise}");
        all.send("PUT", &path, &BYTES, Some(b"hellp")).refuses(422, "wrong_digest");
        all.get("/packages/nav/1.0").refuses(404, "missing_package");
    }
    all.send("PUT", "/packages/nav/1.0?sha256=12", &BYTES, Some(b"x"))
        .refuses(400, "invalid_entity");
    all.json("PUT", "/packages/nav/1.0", json!({})).is(201);
    let path = format!("/packages/nav/1.0/files/a%2Fb?sha256={SHA256}");
    all.send("PUT", &path, &BYTES, Some(b"hellp")).refuses(422, "wrong_digest");
    all.get("/packages/nav/1.0/files/a%2Fb").refuses(404, "missing_entity");
    all.send("PUT", &path, &BYTES, Some(b"hello")).is(201);
    for path in ["..%2Fx", "%2Fetc", "a%2F..%2Fb", "a%00b", "a%2F%2Fb"] {
        let answer =
            all.send("PUT", &format!("/packages/nav/1.0/files/{path}"), &BYTES, Some(b"x"));
        answer.refuses(400, "invalid_entity");
    }
}

pub(crate) fn an_upload_goes_on_where_it_was_left(fleet: &Fleet) {
    let all = &fleet.operator;
    all.json("PUT", "/packages/nav/1.0", json!({})).is(201);
    let path = "/packages/nav/1.0/files/image";
    let begun = all.send("PUT", path, &[("upload-complete", "?0")], Some(b"he")).is(202);
    assert_eq!(begun.header("upload-offset"), "2");
    let far = all.send("HEAD", path, &[], None).is(204);
    assert_eq!((far.header("upload-offset"), far.header("upload-complete")), ("2", "?0"));
    let more = |offset: &str, complete: &str, bytes: &[u8]| {
        let headers = [("upload-offset", offset), ("upload-complete", complete)];
        all.send("PATCH", &format!("{path}?sha256={SHA256}"), &headers, Some(bytes))
    };
    let wrong = more("0", "?1", b"hello").refuses(409, "wrong_offset");
    assert_eq!(wrong["offset"], 2);
    assert_eq!(more("2", "?0", b"ll").is(202).header("upload-offset"), "4");
    assert_eq!(all.get("/packages/nav/1.0").json()["files"], json!([]));
    more("4", "?1", b"o").is(201);
    assert_eq!(all.send("HEAD", path, &[], None).is(204).header("upload-complete"), "?1");
    assert_eq!(all.get(path).is(200).bytes, b"hello");
    more("5", "?1", b"!").refuses(409, "conflicting_entity");
    all.send("PATCH", path, &[], Some(b"x")).refuses(400, "invalid_entity");
    // Larger than one piece of anything on the way.
    let large = vec![7; 3 << 20];
    all.send("PUT", "/packages/nav/1.0/files/large", &BYTES, Some(&large)).is(201);
    assert_eq!(all.get("/packages/nav/1.0/files/large").is(200).bytes, large);
}

pub(crate) fn metadata_alone_cannot_be_ordered(fleet: &Fleet) {
    let all = &fleet.operator;
    all.add_device("V1");
    all.json("PUT", "/packages/nav/1.0", json!({ "vendor": "Acme" })).is(201);
    let order = json!({ "package": { "name": "nav", "version": "1.0" } });
    all.post("/campaigns", order.clone()).refuses(412, "package_not_ready");
    all.send("PUT", "/packages/nav/1.0/files/nav.swu", &BYTES, Some(b"x")).is(201);
    all.post("/campaigns", order).is(201);
}

pub(crate) fn packages_are_searched_by_name_and_version(fleet: &Fleet) {
    let all = &fleet.operator;
    for (name, version) in [("maps", "7"), ("nav", "1.0"), ("nav", "2.0"), ("navi", "2.1")] {
        all.json("PUT", &format!("/packages/{name}/{version}"), json!({ "vendor": "Acme" }))
            .is(201);
    }
    assert_eq!(all.ids("/packages?regex=^nav$", "version"), ["1.0", "2.0"]);
    assert_eq!(all.ids("/packages?regex=nav&version_regex=^2", "version"), ["2.0", "2.1"]);
    let first = all.get("/packages?limit=3").is(200).json();
    let next = first["next"].as_str().unwrap();
    assert_eq!(all.ids(&format!("/packages?limit=3&cursor={next}"), "name"), ["navi"]);
    all.get("/packages?regex=%5B").refuses(400, "invalid_entity");
}

pub(crate) fn dependencies_are_edges_and_never_circles(fleet: &Fleet) {
    let all = &fleet.operator;
    for name in ["A1", "B1", "B2", "C1", "D1", "D2"] {
        all.json("PUT", &format!("/packages/{name}/1"), json!({})).is(201);
    }
    let edge = |a: &str, b: &str| format!("/packages/{a}/1/dependencies/{b}/1");
    // The example of the first design: A1 { B1, B2 { C1 { D1, D2 } } }.
    for (a, b) in [("A1", "B1"), ("A1", "B2"), ("B2", "C1"), ("C1", "D1"), ("C1", "D2")] {
        all.put(&edge(a, b)).is(204);
        all.put(&edge(a, b)).is(204);
    }
    let edges = |path: &str| {
        let list = all.get(path).is(200).json();
        let edge = |e: &serde_json::Value| {
            format!(
                "{} -> {}",
                e["needed"]["name"].as_str().unwrap(),
                e["dependent"]["name"].as_str().unwrap()
            )
        };
        list["items"].as_array().unwrap().iter().map(edge).collect::<Vec<_>>()
    };
    let deep = edges("/packages/A1/1/dependencies?recursive=true");
    assert_eq!(deep, ["B1 -> A1", "B2 -> A1", "C1 -> B2", "D1 -> C1", "D2 -> C1"]);
    assert_eq!(edges("/packages/A1/1/dependencies"), ["B1 -> A1", "B2 -> A1"]);
    for (a, b) in [("A1", "A1"), ("B1", "A1"), ("D2", "A1"), ("D1", "B2")] {
        all.put(&edge(a, b)).refuses(409, "dependency_circle");
    }
    // A diamond is listed once.
    all.put(&edge("B1", "C1")).is(204);
    assert_eq!(edges("/packages/A1/1/dependencies?recursive=true").len(), 6);
    all.put(&edge("X", "B1")).refuses(404, "missing_package");
    all.put(&edge("A1", "X")).refuses(404, "missing_needed_package");
    all.delete(&edge("X", "B1")).refuses(404, "missing_package");
    all.delete(&edge("A1", "X")).refuses(404, "missing_needed_package");
    all.delete(&edge("A1", "D1")).refuses(404, "missing_dependency");
    all.delete(&edge("A1", "B1")).is(204);
    assert_eq!(edges("/packages/A1/1/dependencies"), ["B2 -> A1"]);
    all.get("/packages/X/1/dependencies").refuses(404, "missing_package");
}

pub(crate) fn devices_are_found_by_what_is_installed(fleet: &Fleet) {
    let all = &fleet.operator;
    all.json("PUT", "/packages/nav/1.0", json!({})).is(201);
    for id in ["V1", "V2", "V3"] {
        all.add_device(id);
    }
    all.put("/devices/V1/packages/nav/1.0").is(204);
    all.put("/devices/V3/packages/nav/1.0").is(204);
    assert_eq!(all.ids("/packages/nav/1.0/devices", "id"), ["V1", "V3"]);
    all.get("/packages/nav/9/devices").refuses(404, "missing_package");
}

fn envelope(key: &SigningKey, class: &str) -> Vec<u8> {
    let description = Description {
        sequence: 3,
        version: "1.0.0".into(),
        identity: Identity::new("example.com", class),
        names: None,
        use_before: None,
        requires: vec![],
        needs_approval: false,
        components: vec![Component {
            id: vec!["image".into()],
            digest: Digest::of(b"hello"),
            size: 5,
            format: Format::Raw,
            source: Source::Uri("image.bin".into()),
        }],
    };
    description.sign(key).unwrap()
}

pub(crate) fn envelopes_are_believed_when_a_device_of_the_class_would(fleet: &Fleet) {
    let all = &fleet.operator;
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let key = SigningKey::from_pem(&pair.serialize_pem()).unwrap();
    let stranger = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let stranger = SigningKey::from_pem(&stranger.serialize_pem()).unwrap();
    all.add_device("V1");
    all.json("PUT", "/packages/cam/1.0.0", json!({ "vendor": "example.com" })).is(201);
    let upload =
        |bytes: &[u8]| all.send("PUT", "/packages/cam/1.0.0/files/cam.suit", &BYTES, Some(bytes));
    upload(&envelope(&key, "cam-1")).refuses(422, "envelope_refused");
    let vendor = json!({ "keys": [pair.public_key_pem()], "classes": ["cam-1"] });
    all.json("PUT", "/vendors/example.com", vendor.clone()).refuses(403, "forbidden");
    fleet
        .admin
        .json("PUT", "/vendors/example.com", json!({ "keys": ["x"], "classes": [] }))
        .refuses(400, "invalid_entity");
    fleet.admin.json("PUT", "/vendors/example.com", vendor).is(204);
    upload(&envelope(&stranger, "cam-1")).refuses(422, "envelope_refused");
    upload(&envelope(&key, "cam-2")).refuses(422, "envelope_refused");
    let mut bent = envelope(&key, "cam-1");
    let last = bent.len() - 1;
    bent[last] ^= 1;
    upload(&bent).refuses(422, "envelope_refused");
    upload(b"no envelope").refuses(422, "envelope_refused");
    assert_eq!(all.get("/packages/cam/1.0.0").json()["files"], json!([]));
    upload(&envelope(&key, "cam-1")).is(201);
    let shown = all.get("/packages/cam/1.0.0").json();
    assert_eq!(
        (&shown["envelope"]["sequence"], &shown["envelope"]["version"]),
        (&json!(3), &json!("1.0.0"))
    );
    // It names a payload that is not there yet.
    let order = json!({ "package": { "name": "cam", "version": "1.0.0" } });
    let refused = all.post("/campaigns", order.clone()).refuses(412, "package_not_ready");
    assert!(refused["detail"].as_str().unwrap().contains("image.bin"), "{refused}");
    all.send("PUT", "/packages/cam/1.0.0/files/image.bin", &BYTES, Some(b"hello")).is(201);
    all.post("/campaigns", order).is(201);
}
