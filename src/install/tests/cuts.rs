//! The process dies, or the disk is full, before every single operation of an update.

use super::*;
use crate::install::beneath::fault;

/// Every operation of `work` on a device that runs version 1: `harm` is done at it, then `check` looks.
fn at_every_operation(
    work: impl Fn(&mut Installer) -> Result<(), Error>,
    harm: impl Fn(usize, &mut dyn FnMut() -> Result<(), Error>) -> Result<(), Error>,
    check: impl Fn(usize, &Path, Result<(), Error>),
) -> usize {
    at_every_operation_of(Settings::default(), work, harm, check)
}

fn at_every_operation_of(
    settings: Settings,
    work: impl Fn(&mut Installer) -> Result<(), Error>,
    harm: impl Fn(usize, &mut dyn FnMut() -> Result<(), Error>) -> Result<(), Error>,
    check: impl Fn(usize, &Path, Result<(), Error>),
) -> usize {
    let open = |state: &Path| Installer::open(settings.clone(), state).unwrap();
    let device = || {
        let dir = memory_dir();
        update(&mut open(dir.path()), &small(1)).unwrap();
        dir
    };
    let dir = device();
    let (operations, result) = fault::count(|| work(&mut open(dir.path())));
    result.unwrap();
    for n in 0..operations {
        let dir = device();
        let result = harm(n, &mut || {
            let mut installer = Installer::open(settings.clone(), dir.path())?;
            work(&mut installer)
        });
        check(n, dir.path(), result);
    }
    operations
}

fn good_update(installer: &mut Installer) -> Result<(), Error> {
    update(installer, &small(2))
}

fn bad_update(installer: &mut Installer) -> Result<(), Error> {
    update(installer, &small(2))?;
    installer.roll_back(&small(2).manifest.digest, &Cancel::new())?;
    installer.discard()
}

#[test]
fn a_process_that_dies_anywhere_in_an_update_leaves_the_old_or_the_new_and_goes_on() {
    let operations = at_every_operation(
        good_update,
        |n, work| fault::dies_before(n, work),
        |n, state, result| {
            assert!(result.is_err(), "{n}");
            let mut installer = open(state);
            let running = version(&installer).unwrap();
            assert!(["1.0.0", "2.0.0"].contains(&&*running), "{n}: {running}");
            current_is_whole(state).unwrap();
            update(&mut installer, &small(2)).unwrap();
            assert_eq!(version(&installer).unwrap(), "2.0.0");
            current_is_whole(state).unwrap();
            installer.roll_back(&small(2).manifest.digest, &Cancel::new()).unwrap();
            assert_eq!(version(&installer).unwrap(), "1.0.0", "{n}: the way back is still open");
            current_is_whole(state).unwrap();
        },
    );
    assert!(operations > 30, "{operations} operations were tried");
}

/// A new agent that nobody counts could crash for ever.
#[test]
fn a_new_agent_is_counted_from_before_it_can_be_started_until_it_stays() {
    let settings = Settings { agent: Some("bin/app".into()), ..Settings::default() };
    let uncounted = std::cell::Cell::new(0);
    at_every_operation_of(
        settings.clone(),
        good_update,
        |n, work| fault::dies_before(n, work),
        |n, state, _| {
            let slot = fs::read_link(state.join("current")).unwrap();
            let count = fs::read_to_string(state.join("trial")).ok();
            let counted = count.as_deref() == Some(&format!("{} 3\n", slot.display()));
            let mut installer = Installer::open(settings.clone(), state).unwrap();
            if version(&installer).unwrap() == "2.0.0" && !counted {
                uncounted.set(uncounted.get() + 1);
            }
            update(&mut installer, &small(2)).unwrap();
            assert!(!state.join("trial").exists(), "{n}: what stays is not counted");
        },
    );
    // Only after the count was removed on purpose: before that is waited for, and before the end.
    assert!(uncounted.get() <= 2, "{}", uncounted.get());
}

#[test]
fn a_slot_that_the_launcher_has_given_up_is_not_switched_to_again() {
    let settings = Settings { agent: Some("bin/app".into()), ..Settings::default() };
    let dir = memory_dir();
    let mut installer = Installer::open(settings.clone(), dir.path()).unwrap();
    update(&mut installer, &small(1)).unwrap();
    write(&mut installer, &small(2)).unwrap();
    fs::write(dir.path().join("trial"), "slots/b 0\n").unwrap();
    let two = small(2).manifest.digest;
    assert!(matches!(installer.switch(&two, &Cancel::new()), Err(Error::TriesSpent(_))));
    installer.roll_back(&two, &Cancel::new()).unwrap();
    installer.discard().unwrap();
    assert_eq!(version(&installer).unwrap(), "1.0.0");
    update(&mut installer, &small(3)).unwrap();
    assert_eq!(version(&installer).unwrap(), "3.0.0");
}

#[test]
fn a_process_that_dies_anywhere_in_a_rollback_ends_in_the_old() {
    at_every_operation(
        bad_update,
        |n, work| fault::dies_before(n, work),
        |n, state, _| {
            let mut installer = open(state);
            current_is_whole(state).unwrap();
            installer.roll_back(&small(2).manifest.digest, &Cancel::new()).unwrap();
            installer.discard().unwrap();
            assert_eq!(version(&installer).unwrap(), "1.0.0", "{n}");
            current_is_whole(state).unwrap();
            assert_eq!(names_in(&state.join("slots")).len(), 1, "{n}: the space is free");
            update(&mut installer, &small(3)).unwrap();
        },
    );
}

#[test]
fn a_disk_that_is_full_at_any_operation_changes_nothing_and_nothing_is_left() {
    at_every_operation(
        good_update,
        |n, work| fault::full_at(n, work),
        |n, state, result| {
            let mut installer = open(state);
            current_is_whole(state).unwrap();
            match result {
                Ok(()) => assert_eq!(version(&installer).unwrap(), "2.0.0", "{n}"),
                Err(error) => {
                    assert!(matches!(error, Error::NoSpace { .. }), "{n}: {error:?}");
                    installer.roll_back(&small(2).manifest.digest, &Cancel::new()).unwrap();
                    installer.discard().unwrap();
                    assert_eq!(version(&installer).unwrap(), "1.0.0", "{n}");
                    assert_eq!(names_in(&state.join("slots")).len(), 1, "{n}: the space is free");
                }
            }
            update(&mut installer, &small(2)).unwrap();
            current_is_whole(state).unwrap();
        },
    );
}

#[test]
fn one_file_survives_death_at_any_operation() {
    let one = |n: u64| release(n, &[(&["app"], Format::Raw, format!("program {n}").as_bytes())]);
    let device = || {
        let dir = memory_dir();
        let path = dir.path().join("app");
        fs::write(&path, "factory").unwrap();
        update(&mut open_file(&dir.path().join("state"), path.clone()), &one(1)).unwrap();
        (dir, path)
    };
    let (dir, path) = device();
    let work = |dir: &Path, path: &Path| {
        let settings = Settings { kind: Kind::File(path.to_owned()), ..Settings::default() };
        let mut installer = Installer::open(settings, &dir.join("state"))?;
        update(&mut installer, &one(2))?;
        installer.roll_back(&one(2).manifest.digest, &Cancel::new())?;
        update(&mut installer, &one(3))
    };
    let (operations, result) = fault::count(|| work(dir.path(), &path));
    result.unwrap();
    for n in 0..operations {
        let (dir, path) = device();
        assert!(fault::dies_before(n, || work(dir.path(), &path)).is_err());
        let content = fs::read_to_string(&path).unwrap();
        assert!(["program 1", "program 2", "program 3"].contains(&&*content), "{n}: {content}");
        let mut installer = open_file(&dir.path().join("state"), path.clone());
        let running = version(&installer).unwrap();
        assert_eq!(content, format!("program {}", &running[..1]), "{n}");
        update(&mut installer, &one(3)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "program 3");
    }
}
