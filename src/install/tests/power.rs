//! Power cuts on a real file system: ext4 in a file, mounted through a loop device. Before each
//! operation the file behind the mount is copied, which is what the disk would hold if the power went
//! now; the copy is mounted, its journal replayed, and the device has to run whole software from it.
//!
//! Another process syncs a file of its own all the time, so that the file system commits names whose
//! bytes are still on their way. That is what makes a missing wait visible.

use std::cell::RefCell;
use std::process::{Command, Stdio};
use std::rc::Rc;

use super::*;
use crate::install::beneath::fault;

/// A mounted image, unmounted when dropped.
struct Mounted {
    at: TempDir,
}

impl Mounted {
    fn new(image: &Path) -> Option<Self> {
        let at = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop,noatime"]).arg(image).arg(at.path());
        run(&mut mount).then_some(Self { at })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A child of another test may hold a copy of our files between its fork and its exec.
        let unmounted = (0..100).any(|_| {
            run(Command::new("umount").arg(self.at.path())) || {
                std::thread::sleep(std::time::Duration::from_millis(20));
                false
            }
        });
        assert!(
            unmounted || std::thread::panicking(),
            "{} stays mounted",
            self.at.path().display()
        );
    }
}

fn run(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What the cuts left.
#[derive(Debug, Default)]
struct Tally {
    cuts: usize,
    old: usize,
    new: usize,
    bricks: Vec<String>,
}

/// Updates again and again, with a cut before every operation, until there were enough. `None` where
/// this machine cannot do it.
fn cut_power(cuts: usize, never_waits: bool) -> Option<Tally> {
    let dir = memory_dir();
    let image = dir.path().join("disk");
    fs::File::create(&image).unwrap().set_len(IMAGE_BYTES).unwrap();
    let mkfs = ["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
    let made = run(Command::new("mkfs.ext4").args(mkfs).arg(&image));
    let mounted = made.then(|| Mounted::new(&image)).flatten()?;
    let state = mounted.at.path().join("state");
    update(&mut open(&state), &small(1)).unwrap();
    let tally = Rc::new(RefCell::new(Tally::default()));
    let mut version = 2;
    while tally.borrow().cuts < cuts {
        let (counted, image) = (tally.clone(), image.clone());
        let other = mounted.at.path().join("other");
        let cut = move |n| {
            sync_something_else(&other, n);
            look(&image, version, n, &mut counted.borrow_mut());
        };
        fault::watched(never_waits, cut, || {
            let mut installer = open(&state);
            update(&mut installer, &small(version))?;
            if version % 3 == 0 {
                installer.roll_back(&small(version).manifest.digest, &Cancel::new())?;
                installer.discard()?;
                update(&mut installer, &small(version))?;
            }
            Ok::<(), Error>(())
        })
        .unwrap();
        // What was confirmed is there after a cut right now.
        confirmed(&dir.path().join("disk"), version, &mut tally.borrow_mut());
        version += 1;
    }
    drop(mounted);
    Rc::into_inner(tally).map(RefCell::into_inner)
}

fn look(image: &Path, version: u64, n: usize, tally: &mut Tally) {
    tally.cuts += 1;
    match running_on(image) {
        Ok(running) if running == format!("{version}.0.0") => tally.new += 1,
        Ok(running) if running == format!("{}.0.0", version - 1) => tally.old += 1,
        Ok(running) => tally.bricks.push(format!("{version}, operation {n}: {running} runs")),
        Err(error) => tally.bricks.push(format!("{version}, operation {n}: {error}")),
    }
}

fn confirmed(image: &Path, version: u64, tally: &mut Tally) {
    tally.cuts += 1;
    match running_on(image) {
        Ok(running) if running == format!("{version}.0.0") => tally.new += 1,
        other => tally.bricks.push(format!("{version} was confirmed, now {other:?}")),
    }
}

/// Which version would run from this disk if the power went now; an error where none does.
fn running_on(image: &Path) -> Result<String, String> {
    // A new file each time: a loop device that is still going away would show what the last one held.
    let dir = memory_dir();
    let copy = dir.path().join("copy");
    fs::copy(image, &copy).unwrap();
    let mounted = Mounted::new(&copy).ok_or("it cannot be mounted")?;
    let state = mounted.at.path().join("state");
    let text = |error: Error| error.to_string();
    let installer = Installer::open(Settings::default(), &state).map_err(text)?;
    let running = installer.running().map_err(text)?.ok_or("nothing runs")?.version;
    current_is_whole(&state).map_err(text)?;
    Ok(running)
}

fn sync_something_else(path: &Path, n: usize) {
    let mut file = fs::File::create(path).unwrap();
    std::io::Write::write_all(&mut file, n.to_string().as_bytes()).unwrap();
    file.sync_all().unwrap();
}

fn cuts_leave_no_brick(cuts: usize) {
    let Some(tally) = cut_power(cuts, false) else {
        return harness::skipped(NO_DEVICE);
    };
    let Tally { cuts, old, new, bricks } = tally;
    println!(
        "{cuts} power cuts on ext4: {old} run the old, {new} the new, {} bricks",
        bricks.len()
    );
    assert_eq!(bricks, [""; 0]);
    assert!(old > 0 && new > 0);
}

#[test]
fn power_cuts_on_ext4_leave_the_old_or_the_new() {
    cuts_leave_no_brick(60);
}

#[test]
fn without_waiting_for_the_disk_power_cuts_on_ext4_make_bricks() {
    let Some(tally) = cut_power(60, true) else {
        return harness::skipped(NO_DEVICE);
    };
    println!(
        "without waits: {} of {} power cuts on ext4 make bricks",
        tally.bricks.len(),
        tally.cuts
    );
    assert!(!tally.bricks.is_empty());
}

/// `cargo test --release --lib install::tests::power -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes; the command is above"]
fn ten_thousand_power_cuts() {
    cuts_leave_no_brick(10_000);
}

const NO_DEVICE: &str = "power cuts on ext4: this machine gives us no loop device";

/// The smallest that ext4 makes a journal for, and room for two slots.
const IMAGE_BYTES: u64 = 8 << 20;
