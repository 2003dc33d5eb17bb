//! What an installation is when nothing goes wrong, or when the new version is no good.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use super::*;
use crate::clock;

#[test]
fn a_first_and_a_second_version_are_written_switched_to_and_confirmed() {
    let dir = memory_dir();
    let mut installer = open(dir.path());
    assert_eq!(version(&installer), None);
    for n in 1..=3 {
        update(&mut installer, &small(n)).unwrap();
        assert_eq!(version(&installer), Some(format!("{n}.0.0")));
        let config = fs::read_to_string(dir.path().join("current/etc/link")).unwrap();
        assert_eq!(config, format!("version = {n}\n"));
        current_is_whole(dir.path()).unwrap();
    }
    let digest = installer.running().unwrap().unwrap().digest;
    assert_eq!(digest, small(3).manifest.digest);
    assert_eq!(version(&open(dir.path())), Some("3.0.0".into()), "another life sees the same");
    assert_eq!(names_in(dir.path()), ["current", "previous", "slots"]);
}

#[test]
fn a_bad_version_is_rolled_back_and_its_space_freed() {
    let dir = memory_dir();
    let mut installer = open(dir.path());
    let (good, bad) = (small(1), small(2));
    update(&mut installer, &good).unwrap();
    update(&mut installer, &bad).unwrap();
    for _ in 0..2 {
        installer.roll_back(&bad.manifest.digest, &Cancel::new()).unwrap();
        assert_eq!(version(&installer), Some("1.0.0".into()));
    }
    installer.discard().unwrap();
    assert_eq!(names_in(&dir.path().join("slots")).len(), 1);
    let again = installer.roll_back(&good.manifest.digest, &Cancel::new());
    assert!(matches!(again, Err(Error::NothingToRollBackTo)));
    assert_eq!(version(&installer), Some("1.0.0".into()));
}

#[test]
fn a_first_version_is_rolled_back_to_nothing() {
    let dir = memory_dir();
    let mut installer = open(dir.path());
    let bad = small(1);
    update(&mut installer, &bad).unwrap();
    installer.roll_back(&bad.manifest.digest, &Cancel::new()).unwrap();
    assert_eq!(version(&installer), None);
    installer.discard().unwrap();
    assert_eq!(names_in(&dir.path().join("slots")), [""; 0]);
    update(&mut installer, &small(2)).unwrap();
    assert_eq!(version(&installer), Some("2.0.0".into()));
}

#[test]
fn what_we_could_go_back_to_is_not_discarded() {
    let dir = memory_dir();
    let mut installer = open(dir.path());
    update(&mut installer, &small(1)).unwrap();
    update(&mut installer, &small(2)).unwrap();
    installer.discard().unwrap();
    installer.roll_back(&small(2).manifest.digest, &Cancel::new()).unwrap();
    assert_eq!(version(&installer), Some("1.0.0".into()));
}

#[test]
fn nothing_is_switched_to_that_was_not_written_or_has_changed_since() {
    let dir = memory_dir();
    let mut installer = open(dir.path());
    update(&mut installer, &small(1)).unwrap();
    let digest = small(2).manifest.digest;
    let cancel = Cancel::new();
    assert!(matches!(installer.switch(&digest, &cancel), Err(Error::NotWritten(_))));
    write(&mut installer, &small(2)).unwrap();
    fs::write(dir.path().join("slots/b/bin/app"), "something else").unwrap();
    let mut installer = open(dir.path());
    assert!(matches!(installer.switch(&digest, &cancel), Err(Error::NotWritten(_))));
    assert_eq!(version(&installer), Some("1.0.0".into()));
    update(&mut installer, &small(2)).unwrap();
    current_is_whole(dir.path()).unwrap();
}

#[test]
fn a_payload_that_changed_since_its_download_is_not_installed() {
    let dir = memory_dir();
    let mut installer = open(dir.path());
    update(&mut installer, &small(1)).unwrap();
    for n in 0..2 {
        let release = small(2);
        let path = release.payloads.path().join(n.to_string());
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = write(&mut installer, &release).unwrap_err();
        assert!(
            matches!(error, Error::PayloadChanged { .. } | Error::Unreadable(_)),
            "{n}: {error:?}"
        );
        assert_eq!(names_in(&dir.path().join("slots")), ["a"], "nothing of it is left");
    }
}

#[test]
fn modes_times_and_owners_are_kept_but_not_the_power_to_become_another() {
    let dir = memory_dir();
    let mut program = entry("app", tar::EntryType::Regular, b"x");
    program.header.set_mode(0o6755);
    program.header.set_uid(1234);
    program.header.set_gid(5678);
    let archive = tar(&[program]);
    let release = release(1, &[(&["rootfs"], Format::Tar, &archive)]);
    let mut installer = open(dir.path());
    update(&mut installer, &release).unwrap();
    let metadata = fs::metadata(dir.path().join("current/app")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o755);
    assert_eq!(metadata.mtime(), 1_700_000_000);
    let root = rustix::process::geteuid().is_root();
    assert_eq!(metadata.uid() == 1234 && metadata.gid() == 5678, root);

    let other = memory_dir();
    let settings = Settings { keep_setuid: true, keep_owners: false, ..Settings::default() };
    let mut installer = Installer::open(settings, other.path()).unwrap();
    update(&mut installer, &release).unwrap();
    let metadata = fs::metadata(other.path().join("current/app")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o6755);
    assert_eq!(metadata.uid(), rustix::process::geteuid().as_raw());
}

#[test]
fn a_package_that_is_too_big_is_refused_before_it_is_written() {
    let dir = memory_dir();
    let mut installer = open(dir.path());
    let mut release = small(1);
    let huge = Format::TarZstd { unpacked_bytes_max: 1 << 60 };
    release.manifest.components[1].format = huge;
    let error = write(&mut installer, &release).unwrap_err();
    assert!(matches!(error, Error::NoSpace { needed, .. } if needed > 1 << 59), "{error:?}");
}

#[test]
fn somebody_who_asks_to_stop_is_heard() {
    let dir = memory_dir();
    let mut installer = open(dir.path());
    let (release, cancel) = (small(1), Cancel::new());
    cancel.cancel();
    let payloads = release.payloads.path();
    let error = installer
        .write_manifest(&release.manifest, payloads, &Progress::new(0), &cancel)
        .unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    assert_eq!(names_in(&dir.path().join("slots")), [""; 0]);
}

#[test]
fn a_state_directory_that_is_not_ours_is_refused() {
    let dir = memory_dir();
    std::os::unix::fs::symlink("/etc", dir.path().join("current")).unwrap();
    let error = Installer::open(Settings::default(), dir.path()).unwrap_err();
    assert!(matches!(error, Error::Settings(_)), "{error:?}");
}

fn argv(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).into()
}

fn soon(seconds: f64) -> clock::Instant {
    clock::now().mono + Duration::from_secs_f64(seconds)
}

#[test]
fn health_and_activate_see_the_version_that_runs() {
    let dir = memory_dir();
    let (activated, checked) = (dir.path().join("activated"), dir.path().join("checked"));
    let settings = Settings {
        activate: argv(&format!("echo $FRESHEN_VERSION >> {}", activated.display())),
        health: argv(&format!(
            "cat $FRESHEN_PATH/etc/config > {}; test $FRESHEN_DIGEST = {}",
            checked.display(),
            small(2).manifest.digest
        )),
        ..Settings::default()
    };
    let mut installer = Installer::open(settings, &dir.path().join("state")).unwrap();
    update(&mut installer, &small(1)).unwrap();
    update(&mut installer, &small(2)).unwrap();
    installer.health(soon(30.), &Cancel::new()).unwrap();
    assert_eq!(fs::read_to_string(checked).unwrap(), "version = 2\n");
    installer.roll_back(&small(2).manifest.digest, &Cancel::new()).unwrap();
    assert_eq!(fs::read_to_string(activated).unwrap(), "1.0.0\n2.0.0\n1.0.0\n");
}

#[test]
fn a_health_command_that_fails_hangs_or_is_missing_is_told_in_words() {
    let dir = memory_dir();
    let health = |script: Vec<String>, timeout| {
        let health_timeout = Duration::from_millis(timeout);
        let settings = Settings { health: script, health_timeout, ..Settings::default() };
        let installer = Installer::open(settings, dir.path()).unwrap();
        installer.health(soon(0.3), &Cancel::new()).unwrap_err().to_string()
    };
    let words = health(argv("echo no picture >&2; exit 3"), 30_000);
    assert_eq!(words, "the health command ended with exit code 3: no picture");
    assert!(health(argv("sleep 100"), 50).contains("was still running"));
    assert!(health(vec!["/none/health".into()], 50).contains("could not be started"));
}

#[test]
fn a_version_that_needs_a_moment_is_given_one() {
    let dir = memory_dir();
    let file = dir.path().join("tries");
    let health = argv(&format!("echo x >> {0}; test $(wc -l < {0}) -ge 2", file.display()));
    let settings = Settings { health, ..Settings::default() };
    let installer = Installer::open(settings, dir.path()).unwrap();
    installer.health(soon(30.), &Cancel::new()).unwrap();
    assert_eq!(fs::read_to_string(file).unwrap().lines().count(), 2);
}

#[test]
fn an_activate_command_that_fails_is_told_and_the_way_back_is_open() {
    let dir = memory_dir();
    update(&mut open(dir.path()), &small(1)).unwrap();
    let activate = argv("test $FRESHEN_VERSION != 2.0.0");
    let mut installer =
        Installer::open(Settings { activate, ..Settings::default() }, dir.path()).unwrap();
    write(&mut installer, &small(2)).unwrap();
    let error = installer.switch(&small(2).manifest.digest, &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::ActivateFailed(_)), "{error:?}");
    installer.roll_back(&small(2).manifest.digest, &Cancel::new()).unwrap();
    assert_eq!(version(&installer), Some("1.0.0".into()));
}

fn one_file(n: u64) -> Release {
    release(n, &[(&["app"], Format::Raw, format!("program {n}").as_bytes())])
}

#[test]
fn one_file_is_replaced_and_brought_back() {
    let dir = memory_dir();
    let path = dir.path().join("usr/bin/app");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "factory").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o751)).unwrap();
    let mut installer = open_file(&dir.path().join("state"), path.clone());
    assert_eq!(version(&installer), None);
    let read = || fs::read_to_string(&path).unwrap();
    for n in 1..=3 {
        write(&mut installer, &one_file(n)).unwrap();
        assert_eq!(version(&installer).is_some(), n > 1, "what runs is known while the next waits");
        update(&mut installer, &one_file(n)).unwrap();
        assert_eq!(
            (version(&installer), read()),
            (Some(format!("{n}.0.0")), format!("program {n}"))
        );
        installer.roll_back(&one_file(n).manifest.digest, &Cancel::new()).unwrap();
        assert_eq!(read() == "factory", n == 1);
        update(&mut installer, &one_file(n)).unwrap();
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o751);
    write(&mut installer, &one_file(9)).unwrap();
    installer.discard().unwrap();
    assert_eq!(names_in(path.parent().unwrap()), ["app", "app.freshen-old"]);
}

#[test]
fn a_first_file_is_rolled_back_to_nothing_and_archives_do_not_fit() {
    let dir = memory_dir();
    let path = dir.path().join("app");
    let mut installer = open_file(&dir.path().join("state"), path.clone());
    update(&mut installer, &one_file(1)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
    installer.roll_back(&one_file(1).manifest.digest, &Cancel::new()).unwrap();
    assert!(!path.exists());
    assert!(matches!(write(&mut installer, &small(1)), Err(Error::Unfit(_))));
}
