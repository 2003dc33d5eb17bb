//! Payloads that travel as patches, encrypted, or from another server.

use std::fs;
use std::path::Path;

use chrono::SecondsFormat;
use freshen::package::{Description, Manifest, SigningKey, Source, inspect};
use serde_json::Value;

use crate::bench::{Device, Vendor};

/// A directory of a version: most of it stays the same from one to the next.
fn tree(vendor: &Vendor, version: &str) -> String {
    let tree = vendor.path(&format!("tree-{version}"));
    fs::create_dir_all(tree.join("lib")).unwrap();
    fs::write(tree.join("version"), version).unwrap();
    fs::write(tree.join("run"), format!("#!/bin/sh\necho {version}\n")).unwrap();
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut library: Vec<u8> = (0..2_000_000).map(|_| next()).collect();
    library.splice(5_000..5_000, version.bytes());
    fs::write(tree.join("lib/library"), library).unwrap();
    std::os::unix::fs::symlink("library", tree.join("lib/library.so")).unwrap();
    tree.to_str().unwrap().to_owned()
}

fn pack(vendor: &Vendor, version: &str, sequence: &str, more: &[&str]) -> String {
    let out = vendor.path("out");
    fs::create_dir_all(&out).unwrap();
    let envelope = out.join(format!("{version}.suit"));
    let identity = ["--vendor", "example.com", "--class", "cam-1", "--version", version];
    let files = ["--key", "vendor.key.pem", "--out", envelope.to_str().unwrap()];
    vendor.freshen(&[&["pack", "--sequence", sequence], &identity[..], &files[..], more].concat());
    vendor.url(version)
}

/// Puts what was packed on the server.
fn serve(vendor: &Vendor) {
    for file in fs::read_dir(vendor.path("out")).unwrap() {
        let file = file.unwrap();
        vendor.nginx.put(file.file_name().to_str().unwrap(), &fs::read(file.path()).unwrap());
    }
}

fn upgrade(device: &Device, url: &str) -> Value {
    let now = freshen::clock::now().wall.to_rfc3339_opts(SecondsFormat::Secs, true);
    device.order(url, "upgrade", &now).unwrap();
    device.wait_until_idle()["swupdateresult"].clone()
}

fn start(vendor: &Vendor, name: &str, more: &str) -> Device {
    let configuration = vendor.configuration();
    let (before, _) = configuration.split_once("[install]").unwrap();
    let configuration = before.replace("[update]", &format!("[update]\n{more}"));
    Device::start_with(vendor, name, &configuration, &["--insecure"])
}

/// Bytes that the server has sent, all in all.
fn sent(vendor: &Vendor, requests: usize) -> u64 {
    let log = vendor.nginx.log_of(requests);
    log.lines().filter_map(|line| line.split(' ').nth(1)?.parse::<u64>().ok()).sum()
}

fn same(a: &Path, b: &Path) -> bool {
    ["version", "run", "lib/library"]
        .iter()
        .all(|name| fs::read(a.join(name)).unwrap() == fs::read(b.join(name)).unwrap())
}

#[test]
fn a_patch_is_taken_where_it_fits_and_the_whole_where_it_does_not() {
    let vendor = Vendor::new();
    let (old, new) = (tree(&vendor, "1.1.0"), tree(&vendor, "1.2.0"));
    let first = pack(&vendor, "1.1.0", "1", &["--zstd", &old]);
    let second = pack(&vendor, "1.2.0", "2", &["--zstd", "--delta-from", &old, &new]);
    serve(&vendor);
    let device = start(&vendor, "cam", "");
    assert_eq!(upgrade(&device, &first), 1, "{}", device.log());
    let before = sent(&vendor, 2);
    assert!(before > 2_000_000, "{before}");
    assert_eq!(upgrade(&device, &second), 1, "{}", device.log());
    let patched = sent(&vendor, 4) - before;
    assert!(patched < 20_000, "{patched}: {}", device.log());
    assert!(same(&device.state.join("current"), Path::new(&new)));
    assert!(device.state.join("current/lib/library.so").is_symlink());

    // A device that has something else fetches the whole, and does not even ask for the patch; so does
    // one that has nothing.
    let between = tree(&vendor, "1.1.5");
    let third = pack(&vendor, "1.1.5", "1", &["--zstd", &between]);
    serve(&vendor);
    let other = start(&vendor, "other", "");
    assert_eq!(upgrade(&other, &third), 1, "{}", other.log());
    let nothing = start(&vendor, "nothing", "");
    for (device, requests) in [(other, 8), (nothing, 10)] {
        assert_eq!(upgrade(&device, &second), 1, "{}", device.log());
        assert!(device.log().contains("is a patch for something else"), "{}", device.log());
        assert!(same(&device.state.join("current"), Path::new(&new)));
        let log = vendor.nginx.log_of(requests);
        assert_eq!(log.lines().count(), requests, "manifest and payload: {log}");
    }
}

#[test]
fn a_patch_that_is_gone_or_damaged_is_replaced_by_the_whole() {
    let vendor = Vendor::new();
    let (old, new) = (tree(&vendor, "1.1.0"), tree(&vendor, "1.2.0"));
    let first = pack(&vendor, "1.1.0", "1", &["--zstd", &old]);
    let second = pack(&vendor, "1.2.0", "2", &["--delta-from", &old, &new]);
    serve(&vendor);
    let patch = "1.2.0-1.2.0.tar.delta";
    let good = fs::read(vendor.nginx.path(patch)).unwrap();
    let mut damaged = good.clone();
    damaged[100] ^= 1;
    for (name, patch_now) in [("gone", None), ("damaged", Some(damaged))] {
        match patch_now {
            None => fs::remove_file(vendor.nginx.path(patch)).unwrap(),
            Some(bytes) => vendor.nginx.put(patch, &bytes),
        }
        let device = start(&vendor, name, "");
        assert_eq!(upgrade(&device, &first), 1, "{}", device.log());
        assert_eq!(upgrade(&device, &second), 1, "{name}: {}", device.log());
        assert!(device.log().contains("a way to"), "{}", device.log());
        assert!(same(&device.state.join("current"), Path::new(&new)));
        // Nothing is left behind, once the workshop has tidied up.
        let stage = || fs::read_dir(device.state.join("stage")).into_iter().flatten().count();
        harness::until(format_args!("{name}: the workshop tidies up"), || stage() == 0);
    }
}

#[test]
fn an_encrypted_package_is_for_its_device_alone() {
    let vendor = Vendor::new();
    for name in ["mine", "theirs"] {
        vendor.freshen(&["keygen", "--device", "--out", name]);
    }
    let (old, new) = (tree(&vendor, "1.1.0"), tree(&vendor, "1.2.0"));
    let secret = ["--encrypt-to", "mine.pub.pem"];
    let first = pack(&vendor, "1.1.0", "1", &[&secret[..], &[&*old]].concat());
    let second =
        pack(&vendor, "1.2.0", "2", &[&secret[..], &["--delta-from", &old, &new]].concat());
    serve(&vendor);
    // What travels has no word of what is in it.
    let word = b"#!/bin/sh\necho 1.1.0";
    for file in fs::read_dir(vendor.path("out")).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(word.len()).any(|window| window == word));
    }
    let mine = start(&vendor, "mine-cam", "decryption_key = \"mine.key.pem\"");
    assert_eq!(upgrade(&mine, &first), 1, "{}", mine.log());
    let before = sent(&vendor, 2);
    assert_eq!(upgrade(&mine, &second), 1, "{}", mine.log());
    assert!(sent(&vendor, 4) - before < 20_000);
    assert!(same(&mine.state.join("current"), Path::new(&new)));
    for (name, key, words) in [
        ("none-cam", "", "this device has no key"),
        ("theirs-cam", "decryption_key = \"theirs.key.pem\"", "is not encrypted for this device"),
    ] {
        let device = start(&vendor, name, key);
        assert_eq!(upgrade(&device, &first), 5, "{}", device.log());
        assert!(device.log().contains(words), "{}", device.log());
    }
}

/// Signs the packed envelope anew without our parameters, as firmware-encryption has it.
fn without_our_parameters(vendor: &Vendor, version: &str) {
    let file = vendor.path("out").join(format!("{version}.suit"));
    let Manifest {
        sequence,
        version,
        identity,
        names,
        use_before,
        requires,
        needs_approval,
        mut components,
        ..
    } = inspect(&fs::read(&file).unwrap()).unwrap().manifest;
    for component in &mut components {
        let Source::Ways(ways) = &mut component.source else { panic!("{component:?}") };
        ways.iter_mut().filter_map(|way| way.coding.as_mut()).for_each(|it| it.digest = None);
    }
    let description = Description {
        sequence,
        version,
        identity,
        names,
        use_before,
        requires,
        needs_approval,
        components,
    };
    let key = fs::read_to_string(vendor.path("vendor.key.pem")).unwrap();
    let envelope = description.sign(&SigningKey::from_pem(&key).unwrap()).unwrap();
    fs::write(file, envelope).unwrap();
}

#[test]
fn an_encrypted_package_needs_no_word_about_what_is_transferred() {
    let vendor = Vendor::new();
    vendor.freshen(&["keygen", "--device", "--out", "mine"]);
    let new = tree(&vendor, "1.1.0");
    let url = pack(&vendor, "1.1.0", "1", &["--encrypt-to", "mine.pub.pem", &new]);
    without_our_parameters(&vendor, "1.1.0");
    serve(&vendor);
    let payload = "1.1.0-1.1.0.tar.enc";
    let good = fs::read(vendor.nginx.path(payload)).unwrap();
    let device = start(&vendor, "cam", "decryption_key = \"mine.key.pem\"");
    let mut flipped = good.clone();
    flipped[1_000_000] ^= 1;
    let longer = [&good[..], &[0]].concat();
    for (name, bytes) in [("flipped", flipped), ("longer", longer), ("shorter", good[1..].to_vec())]
    {
        vendor.nginx.put(payload, &bytes);
        assert_eq!(upgrade(&device, &url), 5, "{name}: {}", device.log());
        assert!(!device.state.join("current").exists(), "{name}");
    }
    vendor.nginx.put(payload, &good);
    assert_eq!(upgrade(&device, &url), 1, "{}", device.log());
    assert!(same(&device.state.join("current"), Path::new(&new)));
}

#[test]
fn a_component_without_a_name_goes_where_the_configuration_says() {
    let vendor = Vendor::new();
    fs::write(vendor.path("image"), "the firmware").unwrap();
    let input = format!("h'00'={}", vendor.path("image").display());
    let url = pack(&vendor, "1.1.0", "1", &[&*input]);
    serve(&vendor);
    let configuration = vendor.configuration();
    let (before, _) = configuration.split_once("[install]").unwrap();
    let nameless = Device::start_with(&vendor, "nameless", before, &["--insecure"]);
    assert_eq!(upgrade(&nameless, &url), 8, "{}", nameless.log());
    assert!(nameless.log().contains("its component h'00' has no name"), "{}", nameless.log());
    assert_eq!(
        vendor.nginx.log_of(1).lines().count(),
        1,
        "no more than the envelope was asked for"
    );
    let named = format!("{before}[install]\ncomponents = {{ \"h'00'\" = \"bin/firmware\" }}\n");
    let device = Device::start_with(&vendor, "cam", &named, &["--insecure"]);
    assert_eq!(upgrade(&device, &url), 1, "{}", device.log());
    let installed = fs::read(device.state.join("current/bin/firmware")).unwrap();
    assert_eq!(installed, b"the firmware");
}

#[test]
fn a_payload_comes_from_a_mirror_when_it_is_not_beside_its_envelope() {
    let vendor = Vendor::new();
    let tree = tree(&vendor, "1.1.0");
    let mirror = vendor.nginx.base.join("mirror/").unwrap().to_string();
    let url = pack(&vendor, "1.1.0", "1", &["--mirror", &mirror, &tree]);
    serve(&vendor);
    let payload = "1.1.0-1.1.0.tar";
    fs::create_dir(vendor.nginx.path("mirror")).unwrap();
    fs::rename(vendor.nginx.path(payload), vendor.nginx.path(&format!("mirror/{payload}")))
        .unwrap();
    let device = start(&vendor, "cam", "");
    assert_eq!(upgrade(&device, &url), 1, "{}", device.log());
    assert_eq!(device.running(), "1.1.0");
}

/// `FRESHEN_OLD=DIR FRESHEN_NEW=DIR cargo test --test device -- --ignored --nocapture two_real`
/// says what the step from one to the other costs.
#[test]
#[ignore = "wants two versions of something real"]
fn two_real_versions() {
    let [old, new] = ["FRESHEN_OLD", "FRESHEN_NEW"].map(|name| {
        std::env::var(name).unwrap_or_else(|_| panic!("{name} has to name a directory; see above"))
    });
    let vendor = Vendor::new();
    let first = pack(&vendor, "1.1.0", "1", &["--zstd", &old]);
    let second = pack(&vendor, "1.2.0", "2", &["--zstd", "--delta-from", &old, &new]);
    serve(&vendor);
    let size = |name: &str| fs::metadata(vendor.nginx.path(name)).unwrap().len();
    let device = start(&vendor, "cam", "");
    assert_eq!(upgrade(&device, &first), 1, "{}", device.log());
    let before = sent(&vendor, 2);
    assert_eq!(upgrade(&device, &second), 1, "{}", device.log());
    let patched = sent(&vendor, 4) - before;
    let whole = size("1.2.0-1.2.0.tar.zst");
    println!("{patched} bytes sent, of {whole} as zstd: {:.1} %", ratio(patched, whole));
    let mut archive = vec![];
    freshen::install::canonical_archive(Path::new(&new), &mut archive).unwrap();
    let archive = archive.len() as u64;
    println!("{archive} bytes unpacked: {:.1} %", ratio(patched, archive));
    let mut installed = vec![];
    let current = fs::canonicalize(device.state.join("current")).unwrap();
    freshen::install::canonical_archive(&current, &mut installed).unwrap();
    assert_eq!(installed.len() as u64, archive);
}

fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole as f64
}
