//! A real process that installs signed packages, and is killed while it does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use freshen::install::{Error, Installer, Settings};
use freshen::package::{
    Component, Description, Digest, Format, Identity, Manifest, SigningKey, Source, Verified,
    verify,
};
use freshen::worker::{Cancel, Progress};
use rcgen::KeyPair;

/// Where the child works; also tells it that it is the child.
const DIR: &str = "FRESHEN_TEST_DIR";

/// The child: version after version, until it is killed. Every third is no good and is rolled back.
#[test]
#[ignore = "started by the other tests"]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let state = dir.join("state");
    let mut installer = Installer::open(Settings::default(), &state).unwrap();
    let mut next = told(dir).max(1);
    loop {
        match live(&mut installer, dir, next) {
            Ok(()) => next += 1,
            Err(error) => {
                eprintln!("{next}: {error}");
                std::process::exit(3);
            }
        }
    }
}

fn live(installer: &mut Installer, dir: &Path, version: u64) -> Result<(), Error> {
    let (manifest, payloads) = release(dir, version);
    let (progress, cancel) = (Progress::new(0), Cancel::new());
    installer.write(&manifest, &payloads, &progress, &cancel)?;
    installer.switch(&manifest.digest, &cancel)?;
    if version.is_multiple_of(3) {
        installer.roll_back(&manifest.digest, &cancel)?;
        installer.discard()?;
    } else {
        installer.confirm(&manifest.digest)?;
    }
    tell(dir, version + 1);
    fs::remove_dir_all(payloads).unwrap();
    Ok(())
}

/// Which version is next, as the child last said: safe against SIGKILL, which keeps the page cache.
fn told(dir: &Path) -> u64 {
    fs::read_to_string(dir.join("next")).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn tell(dir: &Path, next: u64) {
    fs::write(dir.join("next.new"), next.to_string()).unwrap();
    fs::rename(dir.join("next.new"), dir.join("next")).unwrap();
}

/// A signed release whose every file says its version.
fn release(dir: &Path, version: u64) -> (Verified<Manifest>, std::path::PathBuf) {
    let program = format!("version {version}\n").repeat(3000);
    let mut archive = tar::Builder::new(Vec::new());
    for n in 0..20 {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(program.len() as u64);
        archive.append_data(&mut header, format!("lib/{n}"), program.as_bytes()).unwrap();
    }
    let archive = archive.into_inner().unwrap();
    let payloads = dir.join("payloads").join(version.to_string());
    fs::create_dir_all(&payloads).unwrap();
    let component = |n: usize, id: &str, format, bytes: &[u8]| {
        fs::write(payloads.join(n.to_string()), bytes).unwrap();
        Component {
            id: vec![id.into()],
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            format,
            source: Source::Uri("x".into()),
        }
    };
    let components = vec![
        component(0, "app", Format::Raw, program.as_bytes()),
        component(1, "rootfs", Format::Tar, &archive),
    ];
    let identity = Identity::new("example.com", "cam-1");
    let description = Description {
        sequence: version,
        version: format!("{version}.0.0"),
        identity,
        names: None,
        use_before: None,
        requires: vec![],
        needs_approval: false,
        components,
    };
    let key = key(dir);
    let envelope = description.sign(&key).unwrap();
    (verify(&envelope, &key.trust(), &identity).unwrap(), payloads)
}

fn key(dir: &Path) -> SigningKey {
    let path = dir.join("key.pem");
    if !path.exists() {
        fs::write(&path, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    }
    SigningKey::from_pem(&fs::read_to_string(path).unwrap()).unwrap()
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--test-threads", "1"])
        .env(DIR, dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the child at a random moment, again and again, and looks at what runs.
fn kill(times: u64) {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    key(dir.path());
    let (mut last, mut idle) = (0, 0_u32);
    for n in 1..=times {
        let mut child = start(dir.path());
        let chance = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        // A machine that is busy with other things needs longer to get anywhere.
        let patience = 1 << (idle / 5).min(6);
        std::thread::sleep(Duration::from_micros(3_000 + chance % 60_000) * patience);
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), None, "it ended by itself");
        let next = told(dir.path());
        assert!(next >= last, "an outcome was lost");
        idle = if next == last { idle + 1 } else { 0 };
        last = next;
        look(dir.path(), next);
    }
    println!("{times} kills, {last} versions: each time whole software runs, no outcome lost");
    assert!(last > 3, "it got somewhere: {last}");
}

/// What runs is what was told, or what the child was at when it was killed; and all its files agree.
fn look(dir: &Path, next: u64) {
    let state = dir.join("state");
    let installer = Installer::open(Settings::default(), &state).unwrap();
    let Some(running) = installer.running().unwrap() else {
        assert!(next <= 1, "nothing runs after version {next} was told");
        return;
    };
    let version: u64 = running.version.split('.').next().unwrap().parse().unwrap();
    let before = (1..next).rev().find(|version| version % 3 != 0);
    assert!(version == next.max(1) || Some(version) == before, "{version} runs, next is {next}");
    let expected = format!("version {version}\n").repeat(3000);
    assert_eq!(fs::read_to_string(state.join("current/app")).unwrap(), expected);
    for n in 0..20 {
        let file = state.join(format!("current/lib/{n}"));
        assert_eq!(fs::read_to_string(file).unwrap(), expected);
    }
}

#[test]
fn a_process_that_is_killed_at_any_moment_leaves_whole_software() {
    kill(60);
}

/// `cargo test --release --test install -- --ignored ten_thousand --nocapture`
#[test]
#[ignore = "takes minutes; the command is above"]
fn ten_thousand_kills_leave_whole_software() {
    kill(10_000);
}
