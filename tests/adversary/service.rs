//! Somebody has got into the process, or is another user of the machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::victim::Victim;

#[test]
fn other_users_cannot_look_into_the_state_of_a_device() {
    let victim = Victim::start("[onboarding]\nmethods = [\"rdp\"]\n");
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(victim.state()), 0o700);
    assert_eq!(victim.umask(), "0077");
    // The control: there is something to look at. Its files are not open to others either.
    let found = fs::read_dir(victim.state()).unwrap().map(|file| file.unwrap().path());
    let files: Vec<_> = found.filter(|path| path.is_file()).collect();
    assert!(files.len() > 2, "{files:?}");
    for file in files {
        assert_eq!(mode(file.clone()) & 0o077, 0, "{file:?}");
    }
    // A directory that is open to others is not closed behind their owner's back, but told of.
    fs::set_permissions(victim.state(), fs::Permissions::from_mode(0o755)).unwrap();
    let victim = victim.restart();
    assert!(victim.log().contains("chmod 700"), "{}", victim.log());
}

#[test]
fn the_unit_leaves_little_to_whoever_breaks_in() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/resources/systemd/freshen.service");
    let rate = |unit: &str| {
        Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=30", unit])
            .output()
    };
    let Ok(rated) = rate(unit) else {
        println!("skipped: systemd-analyze is not installed; tests/run installs it");
        return;
    };
    let words = String::from_utf8_lossy(&rated.stdout).into_owned();
    let overall = words.lines().find(|line| line.contains("Overall exposure")).unwrap();
    assert!(rated.status.success(), "worse than 3.0: {overall}");
    // The control: without its filters it is.
    let directory = tempfile::tempdir().unwrap();
    let open = directory.path().join("freshen.service");
    let text = fs::read_to_string(unit).unwrap();
    let rights = ["CapabilityBoundingSet", "SystemCallFilter", "Restrict", "Protect"];
    let kept = text.lines().filter(|line| !rights.iter().any(|right| line.starts_with(right)));
    fs::write(&open, kept.collect::<Vec<_>>().join("\n")).unwrap();
    assert!(!rate(open.to_str().unwrap()).unwrap().status.success());
}
