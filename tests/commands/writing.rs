//! What commands write, and what they never write over.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use serde_json::Value;

use super::packages::{WHO, Workshop};

impl Workshop {
    fn pack_to(&self, out: &str, arguments: &[&str]) -> super::Ran {
        let always = ["pack", "--key", "vendor.key.pem", "--version", "1.1.0", "--out", out];
        self.run(&[&always[..], &WHO, arguments].concat())
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(arguments).done()).unwrap()
    }
}

#[test]
fn a_key_is_not_overwritten_by_a_package_under_any_of_its_names() {
    let workshop = Workshop::new();
    let key = workshop.text("vendor.key.pem");
    symlink("vendor.key.pem", workshop.path("link")).unwrap();
    fs::hard_link(workshop.path("vendor.key.pem"), workshop.path("twin")).unwrap();
    symlink("..", workshop.path("site/up")).unwrap();
    for out in ["vendor.key.pem", "./vendor.key.pem", "link", "twin", "site/up/vendor.key.pem"] {
        for force in [&[][..], &["--force"]] {
            let refused = workshop.pack_to(out, &[force, &["build/readme"]].concat()).refused();
            assert!(refused.contains("which is read here"), "{out}: {refused}");
            assert!(refused.contains("name another file"), "{out}: {refused}");
        }
        assert_eq!(workshop.text("vendor.key.pem"), key, "{out}");
    }
    assert_eq!(workshop.site(), ["up"], "nothing is left behind");
    workshop.pack_to("site/cam.suit", &["build/readme"]).done();
}

#[test]
fn what_is_no_package_stays_unless_it_is_meant() {
    let workshop = Workshop::new();
    let refused = workshop.pack_to("vendor.pub.pem", &["build/readme"]).refused();
    assert!(refused.contains("is no package") && refused.contains("--force"), "{refused}");
    fs::write(workshop.path("notes"), "years of work").unwrap();
    workshop.pack_to("notes", &["build/readme"]).refused();
    assert_eq!(workshop.text("notes"), "years of work");
    workshop.pack_to("notes", &["--force", "build/readme"]).done();
    workshop.run(&["inspect", "notes"]).done();
    // Its own kind needs no force.
    workshop.pack_to("notes", &["build/readme"]).done();
}

#[test]
fn what_is_packed_is_not_overwritten_by_its_package() {
    let workshop = Workshop::new();
    let refused = workshop.pack_to("build/readme", &["--force", "build/readme"]).refused();
    assert!(refused.contains("which is read here"), "{refused}");
    assert_eq!(workshop.text("build/readme"), "hello\n");
    let refused = workshop.pack_to("build/bin/cam.suit", &["--force", "build"]).refused();
    assert!(refused.contains("all of which is read here"), "{refused}");
    let refused = workshop.pack_to("x.suit", &["--force", "--uri-name", "vendor.key.pem", "build"]);
    assert!(refused.refused().contains("which is read here"));
    // The name that was once that of the draft is that of a file like any other.
    fs::write(workshop.path("site/cam.suit.part"), "mine").unwrap();
    workshop.pack_to("site/cam.suit", &["site/cam.suit.part"]).done();
    assert_eq!(workshop.text("site/cam.suit.part"), "mine");
}

#[test]
fn a_payload_that_is_the_input_itself_stays_as_it_is() {
    let workshop = Workshop::new();
    fs::write(workshop.path("site/app.bin"), "software").unwrap();
    let refused = workshop.pack(&["--uri-name", "app.bin", "site/app.bin"]).refused();
    assert!(refused.contains("which is read here"), "{refused}");
    assert_eq!(workshop.text("site/app.bin"), "software");
}

#[test]
fn another_payload_is_replaced_only_where_it_is_meant() {
    let workshop = Workshop::new();
    workshop.pack(&["build/readme"]).done();
    let inode = || fs::metadata(workshop.path("site/cam-1.1.0.bin")).unwrap().ino();
    let first = inode();
    workshop.pack(&["build/readme"]).done();
    assert_eq!(inode(), first, "the same bytes are not written again");
    fs::write(workshop.path("build/readme"), "other\n").unwrap();
    let refused = workshop.pack(&["build/readme"]).refused();
    assert!(refused.contains("--force"), "{refused}");
    workshop.pack(&["--force", "build/readme"]).done();
    assert_eq!(workshop.text("site/cam-1.1.0.bin"), "other\n");
    workshop.verify(&[]).done();
}

#[test]
fn a_link_to_a_package_keeps_leading_to_it() {
    let workshop = Workshop::new();
    workshop.pack(&["build/readme"]).done();
    symlink("cam.suit", workshop.path("site/latest.suit")).unwrap();
    workshop.run(&["keygen", "--out", "second"]).done();
    workshop.run(&["sign", "--key", "second.key.pem", "site/latest.suit"]).done();
    assert!(fs::symlink_metadata(workshop.path("site/latest.suit")).unwrap().is_symlink());
    workshop.verify(&["--trust", "second.pub.pem"]).done();
    symlink("nowhere", workshop.path("site/broken.suit")).unwrap();
    let refused = workshop.pack_to("site/broken.suit", &["build/readme"]).refused();
    assert!(refused.contains("leads nowhere"), "{refused}");
}

#[test]
fn signing_twice_with_one_key_signs_once() {
    let workshop = Workshop::new();
    workshop.pack(&["build/readme"]).done();
    workshop.run(&["keygen", "--out", "second"]).done();
    let sign = ["sign", "--json", "--key", "second.key.pem", "site/cam.suit"];
    let said = workshop.json(&sign);
    assert_eq!((&said["signatures"], &said["added"]), (&2.into(), &true.into()), "{said}");
    let once = fs::read(workshop.path("site/cam.suit")).unwrap();
    let said = workshop.json(&sign);
    assert_eq!((&said["signatures"], &said["added"]), (&2.into(), &false.into()), "{said}");
    let words = workshop.run(&["sign", "--key", "vendor.key.pem", "site/cam.suit"]).done();
    assert!(words.contains("had signed it already"), "{words}");
    assert_eq!(fs::read(workshop.path("site/cam.suit")).unwrap(), once);
}

#[test]
fn trust_sets_and_keys_are_made_once_and_told_as_json() {
    let workshop = Workshop::new();
    let new = |out: &str| {
        let words = "trust new --json --number 1 --root vendor.pub.pem --package vendor.pub.pem";
        let words = [&words.split(' ').collect::<Vec<_>>()[..], &["--out", out]].concat();
        workshop.run(&words)
    };
    new("vendor.pub.pem").refused();
    let made: Value = serde_json::from_str(&new("trust.1").done()).unwrap();
    assert_eq!(made["number"], 1);
    assert!(new("trust.1").refused().contains("choose another --out"));
    let signed = workshop.json(&["trust", "sign", "--json", "--key", "vendor.key.pem", "trust.1"]);
    assert_eq!(signed["packages"]["threshold"], 1);
    let once = fs::read(workshop.path("trust.1")).unwrap();
    workshop.run(&["trust", "sign", "--key", "vendor.key.pem", "trust.1"]).done();
    assert_eq!(fs::read(workshop.path("trust.1")).unwrap(), once);
    workshop.json(&["trust", "check", "--json", "--trust", "vendor.pub.pem", "trust.1"]);
    // Half a pair is not made.
    fs::write(workshop.path("half.pub.pem"), "").unwrap();
    workshop.run(&["keygen", "--out", "half"]).refused();
    assert!(!workshop.path("half.key.pem").exists());
}

#[test]
fn each_file_to_upload_is_listed_and_a_missing_one_is_found() {
    let workshop = Workshop::new();
    let old = workshop.path("old");
    fs::create_dir(&old).unwrap();
    fs::copy(workshop.path("build/bin/cam"), old.join("cam")).unwrap();
    let inputs = ["--zstd", "--delta-from", "old", "build"];
    let text = workshop.pack(&inputs).done();
    let json: Value =
        serde_json::from_str(&workshop.pack(&[&["--json"], &inputs[..]].concat()).done()).unwrap();
    let mut listed: Vec<_> = json["upload"].as_array().unwrap().iter().collect();
    listed.sort_by_key(|path| path.as_str());
    let there: Vec<Value> = workshop.site().iter().map(|it| format!("site/{it}").into()).collect();
    assert_eq!(listed, there.iter().collect::<Vec<_>>());
    assert_eq!(there.len(), 3);
    for file in &there {
        assert!(text.contains(file.as_str().unwrap()), "{file} is not in\n{text}");
    }
    assert_eq!(json["payloads"].as_array().unwrap().len(), 2, "{json}");

    // Uploaded one by one: nothing but all of them will do.
    workshop.verify(&[]).done();
    for payload in ["site/cam-1.1.0.tar.delta", "site/cam-1.1.0.tar.zst"] {
        fs::rename(workshop.path(payload), workshop.path("elsewhere")).unwrap();
        let refused = workshop.verify(&[]).refused();
        assert!(refused.contains(&format!("{payload} is missing")), "{refused}");
        assert!(refused.contains("--envelope-only"), "{refused}");
        assert!(workshop.verify(&["--envelope-only"]).done().contains("not checked"));
        fs::rename(workshop.path("elsewhere"), workshop.path(payload)).unwrap();
    }
    workshop.verify(&[]).done();
}

#[test]
fn mirrors_are_other_places_for_what_is_here() {
    let workshop = Workshop::new();
    workshop.pack(&["--mirror", "https://mirror.example.com/cam/", "build/readme"]).done();
    workshop.verify(&[]).done();
    fs::remove_file(workshop.path("site/cam-1.1.0.bin")).unwrap();
    assert!(workshop.verify(&[]).refused().contains("is missing"));
}

#[test]
fn an_empty_package_is_refused_with_words() {
    let workshop = Workshop::new();
    fs::create_dir(workshop.path("void")).unwrap();
    fs::write(workshop.path("zero"), "").unwrap();
    for input in [&["void"][..], &["--zstd", "void"], &["zero"], &["--integrated", "zero"]] {
        let refused = workshop.pack(input).refused();
        assert!(refused.contains("there is nothing in"), "{refused}");
    }
    assert_eq!(workshop.site(), [""; 0], "nothing is left behind");
    // An empty file beside others may be meant.
    workshop.pack(&["zero", "build/readme"]).done();
}

#[test]
fn two_packages_of_one_second_have_different_sequence_numbers() {
    let workshop = Workshop::new();
    let sequence = |out: &str| {
        let packed = workshop.pack_to(out, &["--json", "build/readme"]).done();
        serde_json::from_str::<Value>(&packed).unwrap()["sequence"].as_u64().unwrap()
    };
    // Three of them do not take three seconds: at least two are of one.
    let made = ["site/a.suit", "site/b.suit", "site/c.suit"].map(sequence);
    assert!(made.is_sorted_by(|a, b| a < b), "{made:?}");
}
