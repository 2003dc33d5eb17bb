//! keygen, pack, inspect, verify.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::{Ran, freshen};

pub(crate) const WHO: [&str; 4] = ["--vendor", "example.com", "--class", "cam-1"];

/// A directory with a key pair, a site to publish in and something to publish.
pub(crate) struct Workshop(TempDir);

impl Workshop {
    pub(crate) fn new() -> Self {
        let workshop = Self(TempDir::new().unwrap());
        fs::create_dir_all(workshop.path("site")).unwrap();
        fs::create_dir_all(workshop.path("build/bin")).unwrap();
        fs::write(workshop.path("build/bin/cam"), [7; 100_000]).unwrap();
        fs::write(workshop.path("build/readme"), "hello\n").unwrap();
        fs::set_permissions(workshop.path("build/bin/cam"), PermissionsExt::from_mode(0o755))
            .unwrap();
        symlink("bin/cam", workshop.path("build/cam")).unwrap();
        workshop.run(&["keygen", "--out", "vendor"]).done();
        workshop
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        freshen(self.0.path(), arguments)
    }

    pub(crate) fn pack(&self, arguments: &[&str]) -> Ran {
        let always = ["pack", "--key", "vendor.key.pem", "--version", "1.1.0"];
        self.run(&[&always[..], &WHO, &["--out", "site/cam.suit"], arguments].concat())
    }

    pub(crate) fn verify(&self, arguments: &[&str]) -> Ran {
        let always = ["verify", "--trust", "vendor.pub.pem", "site/cam.suit"];
        self.run(&[&always[..], &WHO, arguments].concat())
    }

    pub(crate) fn inspect(&self) -> Value {
        let json = self.run(&["inspect", "--json", "site/cam.suit"]).done();
        serde_json::from_str(&json).unwrap()
    }

    pub(crate) fn site(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("site")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn the_private_key_is_secret_from_its_first_moment_and_never_overwritten() {
    let workshop = Workshop::new();
    let mode = |name| fs::metadata(workshop.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("vendor.key.pem"), 0o600);
    let key = fs::read(workshop.path("vendor.key.pem")).unwrap();
    let refused = workshop.run(&["keygen", "--out", "vendor"]).refused();
    assert!(refused.contains("choose another --out"), "{refused}");
    fs::remove_file(workshop.path("vendor.pub.pem")).unwrap();
    workshop.run(&["keygen", "--out", "vendor"]).refused();
    assert_eq!(fs::read(workshop.path("vendor.key.pem")).unwrap(), key);
}

#[test]
fn what_is_packed_is_verified_with_both_kinds_of_keys() {
    let workshop = Workshop::new();
    workshop.run(&["keygen", "--ed25519", "--out", "other"]).done();
    for key in ["vendor", "other"] {
        let (private, public) = (format!("{key}.key.pem"), format!("{key}.pub.pem"));
        let pack = ["pack", "--key", &private, "--version", "1.1.0", "--out", "site/cam.suit"];
        workshop.run(&[&pack[..], &WHO, &["build/readme"]].concat()).done();
        let verify = ["verify", "--trust", &public, "site/cam.suit"];
        let words = workshop.run(&[&verify[..], &WHO].concat()).done();
        assert!(words.contains("matches"), "{words}");
    }
    let refused = workshop.verify(&[]).refused();
    assert!(refused.contains("no key that this device trusts"), "{refused}");
    workshop.verify(&["--trust", "other.pub.pem"]).done();
}

#[test]
fn a_directory_becomes_the_same_archive_every_time() {
    let workshop = Workshop::new();
    workshop.pack(&["--zstd", "build"]).done();
    let first = fs::read(workshop.path("site/cam-1.1.0.tar.zst")).unwrap();
    fs::write(workshop.path("build/readme"), "hello\n").unwrap();
    workshop.pack(&["--zstd", "build"]).done();
    assert_eq!(fs::read(workshop.path("site/cam-1.1.0.tar.zst")).unwrap(), first);

    // A device that unpacks it needs no more than 4 MiB for the window.
    let mut unzipped = zstd::Decoder::new(&first[..]).unwrap();
    unzipped.window_log_max(22).unwrap();
    let mut tar = Vec::new();
    unzipped.read_to_end(&mut tar).unwrap();
    let component = &workshop.inspect()["components"][0];
    assert_eq!(component["format"], "tar+zstd");
    assert_eq!(component["unpacked_bytes_max"], tar.len());
    assert_eq!(component["size"], first.len());
    let mut archive = tar::Archive::new(&tar[..]);
    let entries: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.mtime().unwrap()), (0, 0));
            (entry.path().unwrap().into_owned(), header.mode().unwrap() & 0o777)
        })
        .collect();
    let names: Vec<_> = entries.iter().map(|(path, _)| path.to_str().unwrap()).collect();
    assert_eq!(names, ["bin", "bin/cam", "cam", "readme"]);
    assert_eq!(entries[1].1, 0o755);
}

#[test]
fn several_files_become_one_package() {
    let workshop = Workshop::new();
    workshop.pack(&["bin/cam=build/bin/cam", "build/readme"]).done();
    let manifest = workshop.inspect();
    assert_eq!(manifest["components"][0]["id"], serde_json::json!(["bin", "cam"]));
    assert_eq!(manifest["components"][1]["id"], serde_json::json!(["readme"]));
    workshop.verify(&[]).done();
    assert_eq!(workshop.site(), ["cam-1.1.0-bin-cam.bin", "cam-1.1.0-readme.bin", "cam.suit"]);
}

#[test]
fn small_payloads_travel_in_the_envelope() {
    let workshop = Workshop::new();
    workshop.pack(&["--integrated", "build/readme"]).done();
    assert_eq!(workshop.site(), ["cam.suit"]);
    assert!(workshop.verify(&[]).done().contains("in the envelope"));
    let refused = workshop.pack(&["--integrated", "build/bin/cam"]).refused();
    assert!(refused.contains("leave out --integrated"), "{refused}");
}

#[test]
fn an_archive_that_is_there_already_is_taken_as_it_is() {
    let workshop = Workshop::new();
    workshop.pack(&["--zstd", "build"]).done();
    let made = workshop.path("site/cam-1.1.0.tar.zst");
    let packed = fs::read(&made).unwrap();
    fs::rename(&made, workshop.path("ready.tar.zst")).unwrap();
    let first = workshop.inspect()["components"][0].clone();
    workshop.pack(&["--tar", "--zstd", "ready.tar.zst"]).done();
    let second = workshop.inspect()["components"][0].clone();
    assert_eq!(fs::read(&made).unwrap(), packed);
    assert_eq!(first["sha256"], second["sha256"]);
    assert_eq!(first["unpacked_bytes_max"], second["unpacked_bytes_max"]);
}

#[test]
fn what_would_leave_the_slot_is_not_packed() {
    let workshop = Workshop::new();
    symlink("../../etc/passwd", workshop.path("build/bin/out")).unwrap();
    let refused = workshop.pack(&["build"]).refused();
    assert!(refused.contains("`bin/out`") && refused.contains("outside"), "{refused}");
    fs::remove_file(workshop.path("build/bin/out")).unwrap();
    let _socket = UnixListener::bind(workshop.path("build/socket")).unwrap();
    let refused = workshop.pack(&["build"]).refused();
    assert!(refused.contains("build/socket"), "{refused}");

    use tar::EntryType::{Block, Fifo, GNUSparse, Link, Regular, Symlink};
    for (path, kind, link, why) in [
        ("../x", Regular, "", "climbs out"),
        ("/x", Regular, "", "absolute"),
        ("l", Symlink, "../x", "outside"),
        ("l", Symlink, "/x", "outside"),
        ("l", Link, "x", "hard link"),
        ("s", GNUSparse, "", "holes"),
        ("b", Block, "", "device node"),
        ("f", Fifo, "", "named pipe"),
        (".freshen/slot", Regular, "", "kept for freshen"),
    ] {
        write_hostile_archive(&workshop.path("hostile.tar"), path, kind, link);
        let refused = workshop.pack(&["--tar", "hostile.tar"]).refused();
        assert!(refused.contains(why), "{path}: {refused}");
    }
    assert_eq!(workshop.site(), [""; 0], "nothing is left behind");
}

/// An archive with one entry whose name no library would write.
fn write_hostile_archive(file: &Path, path: &str, kind: tar::EntryType, link: &str) {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    archive.resize(archive.len() + 1024, 0);
    fs::write(file, archive).unwrap();
}

#[test]
fn a_published_payload_is_never_replaced_by_another_one() {
    let workshop = Workshop::new();
    workshop.pack(&["build/readme"]).done();
    let envelope = fs::read(workshop.path("site/cam.suit")).unwrap();
    fs::write(workshop.path("build/readme"), "other\n").unwrap();
    let refused = workshop.pack(&["build/readme"]).refused();
    assert!(refused.contains("give another --version"), "{refused}");
    assert_eq!(fs::read(workshop.path("site/cam.suit")).unwrap(), envelope);
    workshop.verify(&[]).done();
    workshop.pack(&["--uri-name", "a b.bin", "build/readme"]).done();
    assert_eq!(workshop.inspect()["components"][0]["uri"], "a%20b.bin");
    assert!(workshop.verify(&[]).done().contains("matches"));
}

#[test]
fn a_flipped_byte_is_found_in_the_envelope_and_in_the_payload() {
    let workshop = Workshop::new();
    workshop.pack(&["build/bin/cam"]).done();
    flip(&workshop.path("site/cam-1.1.0.bin"), 5_000);
    let refused = workshop.verify(&[]).refused();
    assert!(refused.contains("cam-1.1.0.bin was changed after signing"), "{refused}");
    flip(&workshop.path("site/cam-1.1.0.bin"), 5_000);
    workshop.verify(&[]).done();
    flip(&workshop.path("site/cam.suit"), 250);
    let refused = workshop.verify(&[]).refused();
    assert!(refused.contains("site/cam.suit is refused"), "{refused}");
    let truncated = fs::read(workshop.path("site/cam-1.1.0.bin")).unwrap();
    flip(&workshop.path("site/cam.suit"), 250);
    fs::write(workshop.path("site/cam-1.1.0.bin"), &truncated[1..]).unwrap();
    let refused = workshop.verify(&[]).refused();
    assert!(refused.contains("has 99999 bytes, but 100000 were signed"), "{refused}");
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_package_for_another_class_is_refused() {
    let workshop = Workshop::new();
    workshop.pack(&["build/readme"]).done();
    let verify = ["verify", "--trust", "vendor.pub.pem", "site/cam.suit"];
    let other = ["--vendor", "example.com", "--class", "cam-2"];
    let refused = workshop.run(&[&verify[..], &other].concat()).refused();
    let words = "it is for cam-1 of example.com; this device is cam-2 of example.com";
    assert!(refused.contains(words), "{refused}");
    let inspected = workshop.inspect();
    assert_eq!(
        (&inspected["vendor"], &inspected["class"]),
        (&"example.com".into(), &"cam-1".into())
    );
}

#[test]
fn an_expired_package_is_not_packed_and_a_later_one_says_when_it_expires() {
    let workshop = Workshop::new();
    let refused = workshop.pack(&["--use-before", "2001-02-03", "build/readme"]).refused();
    assert!(refused.contains("in the past"), "{refused}");
    workshop.pack(&["--use-before", "2999-01-31", "build/readme"]).done();
    assert_eq!(workshop.inspect()["use_before"], "2999-01-31T00:00:00Z");
    assert!(workshop.verify(&[]).done().contains("2999-01-31"));
}

#[test]
fn a_sequence_number_far_in_the_future_takes_a_word_that_it_is_meant() {
    let workshop = Workshop::new();
    let far = ["--sequence", "9000000000000000000", "build/readme"];
    let refused = workshop.pack(&far).refused();
    assert!(refused.contains("add --far-sequence if it is meant"), "{refused}");
    workshop.pack(&[&["--far-sequence"], &far[..]].concat()).done();
}

#[test]
fn a_patch_and_the_whole_are_packed_for_those_who_may_read_them() {
    let workshop = Workshop::new();
    workshop.run(&["keygen", "--device", "--out", "camera"]).done();
    let old = workshop.path("old");
    fs::create_dir(&old).unwrap();
    fs::copy(workshop.path("build/bin/cam"), old.join("cam")).unwrap();
    let inputs = ["--zstd", "--delta-from", "old", "--encrypt-to", "camera.pub.pem", "build"];
    workshop.pack(&inputs).done();
    assert_eq!(workshop.site(), ["cam-1.1.0.tar.delta.enc", "cam-1.1.0.tar.zst.enc", "cam.suit"]);
    let ways = &workshop.inspect()["components"][0]["ways"];
    let words = |way: usize| (ways[way]["encoding"].clone(), ways[way]["encrypted"].clone());
    assert_eq!(words(0), ("delta".into(), true.into()), "{ways}");
    assert_eq!(words(1), ("zstd".into(), true.into()), "{ways}");
    assert!(workshop.verify(&[]).done().contains("matches"));
    for payload in ["site/cam-1.1.0.tar.delta.enc", "site/cam-1.1.0.tar.zst.enc"] {
        flip(&workshop.path(payload), 50);
        let refused = workshop.verify(&[]).refused();
        assert!(refused.contains("was changed after signing"), "{refused}");
        flip(&workshop.path(payload), 50);
    }
    let says = |inputs: &[&str], words: &str| {
        let refused = workshop.pack(inputs).refused();
        assert!(refused.contains(words), "{refused}");
    };
    says(&["--delta-from", "build/readme", "build"], "is no directory");
    says(&["--delta-from", "old", "build/readme"], "is no file");
    says(&["--delta-from", "nothing", "build"], "is no directory");
    says(&["--encrypt-to", "camera.key.pem", "build"], "this is a private key");
    symlink("../../etc/passwd", workshop.path("build/bin/out")).unwrap();
    says(&["--encrypt-to", "camera.pub.pem", "build"], "outside");
}

#[test]
fn mistakes_are_answered_with_what_to_do() {
    let workshop = Workshop::new();
    let says = |ran: Ran, words: &str| {
        let refused = ran.refused();
        assert!(refused.contains(words), "{refused}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
    };
    says(workshop.pack(&["nothing"]), "there is no file or directory nothing");
    says(workshop.pack(&["--zstd", "build/readme"]), "only archives are compressed");
    says(workshop.pack(&["a/../b=build/readme"]), "is not a safe path");
    says(workshop.pack(&["--tar", "build/readme"]), "the archive cannot be read");
    says(workshop.run(&["inspect", "build/readme"]), "it is not a SUIT envelope");
    says(workshop.run(&["inspect", "build/bin/cam"]), "more than the 65536");
    says(workshop.run(&["inspect", "nothing"]), "cannot read nothing");
    let pack = |key, version, out| {
        let pack = ["pack", "--key", key, "--version", version, "--out", out, "build/readme"];
        workshop.run(&[&pack[..], &WHO].concat())
    };
    says(pack("vendor.pub.pem", "1.0", "site/x.suit"), "signing needs the private one");
    says(pack("vendor.key.pem", "v1", "site/x.suit"), "write it like 1.2.3");
    says(pack("vendor.key.pem", "1.0", "nowhere/x.suit"), "create it first");
    says(pack("vendor.key.pem", "1.0", "site"), "is a directory");
    says(pack("build/readme", "1.0", "site/x.suit"), "freshen keygen");
    assert_eq!(workshop.site(), [""; 0], "nothing is left behind");
}

#[test]
fn wrong_usage_has_an_exit_code_of_its_own() {
    let workshop = Workshop::new();
    for arguments in [&["pack"][..], &["verify", "x"], &["inspect"], &["keygen", "--no-such"]] {
        assert_eq!(workshop.run(arguments).0.status.code(), Some(2));
    }
}

#[test]
fn every_command_has_an_example_in_its_help() {
    let workshop = Workshop::new();
    for command in [
        "keygen",
        "pack",
        "sign",
        "inspect",
        "verify",
        "trust",
        "trust new",
        "trust sign",
        "trust check",
    ] {
        let words: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let help = workshop.run(&words).done();
        assert!(
            help.contains("Example") && help.contains(&format!("freshen {command} ")),
            "{help}"
        );
        if command != "trust" {
            assert!(help.contains("--json"), "{help}");
        }
    }
}

#[test]
fn nothing_is_coloured_where_nobody_looks() {
    let workshop = Workshop::new();
    let packed = workshop.pack(&["--zstd", "build"]).done();
    let inspected = workshop.run(&["inspect", "site/cam.suit"]).done();
    for text in [packed, inspected, workshop.verify(&[]).done()] {
        assert!(!text.contains('\x1b'), "{text}");
    }
}

#[test]
fn two_people_sign_a_trust_set_and_a_package() {
    let workshop = Workshop::new();
    for name in ["a", "b", "c"] {
        workshop.run(&["keygen", "--ed25519", "--out", name]).done();
    }
    let new = "trust new --number 1 --root a.pub.pem --root b.pub.pem --roots 2 \
               --package b.pub.pem --package c.pub.pem --packages 2 --out trust.1";
    workshop.run(&new.split_whitespace().collect::<Vec<_>>()).done();
    let check = || workshop.run(&["trust", "check", "--trust", "vendor.pub.pem", "trust.1"]);
    let sign = |key| workshop.run(&["trust", "sign", "--key", key, "trust.1"]).done();
    assert!(check().refused().contains("it is not signed"));
    sign("vendor.key.pem");
    sign("a.key.pem");
    assert!(check().refused().contains("but 2 have to"));
    sign("b.key.pem");
    assert!(check().done().contains("2 of 2 sign a package"));

    let pack = ["pack", "--key", "b.key.pem", "--version", "1.1.0", "--out", "site/cam.suit"];
    workshop.run(&[&pack[..], &WHO, &["build/readme"]].concat()).done();
    let refused = workshop.verify(&["--trust-set", "trust.1"]).refused();
    assert!(refused.contains("1 of the keys") && refused.contains("but 2 have to"), "{refused}");
    let signed = workshop.run(&["sign", "--key", "c.key.pem", "site/cam.suit"]).done();
    assert!(signed.contains("signatures  2"), "{signed}");
    workshop.verify(&["--trust-set", "trust.1"]).done();
    workshop.run(&new.split_whitespace().collect::<Vec<_>>()).refused();
}
