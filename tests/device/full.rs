//! A disk that is full, under the whole agent: its records, the download, the slots.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench::{Device, Vendor};
use crate::lives::now;

/// A disk of a few MiB, in memory.
pub(crate) struct Disk(PathBuf);

impl Disk {
    pub(crate) fn mount(at: PathBuf) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m,mode=755", "tmpfs"]).arg(&at);
        mount.output().unwrap().status.success().then_some(Self(at))
    }

    fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Leaves so much space, and no more.
    pub(crate) fn leave(&self, bytes: u64) {
        let filler = self.0.join("filler");
        let _ = fs::remove_file(&filler);
        let fill = usize::try_from(self.free() - bytes).unwrap();
        fs::write(filler, vec![0; fill]).unwrap();
        assert_eq!(self.free(), bytes);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Bytes that each try has more than the one before. `STEP=4096 cargo test --release --test device
/// little_space` tries every page.
const STEP: u64 = 24 * 1024;

#[test]
fn however_little_space_is_left_the_old_software_runs_on_and_the_space_is_free_again() {
    let vendor = Vendor::new();
    let Some(disk) = Disk::mount(vendor.path("cam")) else {
        return harness::skipped("a full disk under the whole agent: mounting is not allowed here");
    };
    let step = std::env::var("STEP").map_or(STEP, |text| text.parse().unwrap());
    let first = vendor.publish("1.1.0", "exit 0", 100_000);
    let second = vendor.publish("1.2.0", "exit 0", 120_000);
    let device = Device::start(&vendor, "cam");
    device.order(&first, "upgrade", &now(0)).unwrap();
    assert_eq!(device.wait_until_idle()["swupdateresult"], 1, "{}", device.log());

    let (mut refused, mut failed) = (0, 0);
    for space in (0..).map(|n| n * step) {
        disk.leave(space);
        if device.order(&second, "upgrade", &now(0)).is_err() {
            // Not even the order could be kept: then it was not taken.
            refused += 1;
            continue;
        }
        let value = device.wait_until_idle();
        if value["swupdateresult"] == 1 {
            assert_eq!(device.running(), "1.2.0");
            break;
        }
        failed += 1;
        assert_eq!(value["swupdateresult"], 3, "{space}: {}", device.log());
        assert_eq!(device.running(), "1.1.0", "{space}");
        assert_eq!(names(&device.state.join("slots")), 1, "{space}: the spare slot is gone");
        assert_eq!(names(&device.state.join("stage")), 0, "{space}: the download is gone");
    }
    println!(
        "space from 0 in steps of {step} bytes: {refused} orders refused, {failed} ended with result 3"
    );
    assert!(failed > 3, "{failed}");
}

/// Space for the download is not enough: the new software is unpacked beside the old one.
#[test]
fn what_has_no_room_to_be_unpacked_is_not_downloaded() {
    let vendor = Vendor::new();
    let Some(disk) = Disk::mount(vendor.path("cam")) else {
        return eprintln!("SKIPPED: space before the download: mounting is not allowed here");
    };
    let url = vendor.publish("1.1.0", "exit 0", 1_000_000);
    let device = Device::start(&vendor, "cam");
    disk.leave(366 * 4096);
    device.order(&url, "upgrade", &now(0)).unwrap();
    let value = device.wait_until_idle();
    assert_eq!(value["swupdateresult"], 3, "{}", device.log());
    assert!(device.log().contains("there is no space for "), "{}", device.log());
    disk.leave(732 * 4096);
    device.order(&url, "upgrade", &now(0)).unwrap();
    assert_eq!(device.wait_until_idle()["swupdateresult"], 1, "{}", device.log());
    assert_eq!(device.running(), "1.1.0");
    // Two envelopes, and one payload: by the second order.
    let log = vendor.nginx.log_of(3);
    let sent = log.lines().filter_map(|line| line.split(' ').nth(1)?.parse::<u64>().ok());
    assert_eq!(sent.filter(|bytes| *bytes > 900_000).count(), 1, "{log}");
}

fn names(directory: &Path) -> usize {
    fs::read_dir(directory).map_or(0, Iterator::count)
}
