//! A disk that is full, and a payload far larger than the memory.

use std::fs;
use std::process::Command;

use freshen::fetch::{Error, Fetcher};
use freshen::worker::{Cancel, Progress};

use crate::{bytes, component, fetch, settings};
use harness::nginx::Nginx;

/// A small file system of its own; `None` where we may not make one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(kib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={kib}k");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path());
        mount.status().is_ok_and(|status| status.success()).then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_known_before_the_first_byte_and_nothing_is_left() {
    let Some(disk) = SmallDisk::new(512) else {
        return harness::skipped("a full disk: we may not mount a small file system here");
    };
    let nginx = Nginx::start("");
    let (fits, body) = (bytes(100_000, 2), bytes(1_000_000, 1));
    nginx.put("release.bin", &body);
    nginx.put("small.bin", &fits);
    let fetcher = Fetcher::new(settings(&nginx.certs.ca)).unwrap();
    let into = disk.0.path().join("0");
    let error = fetch(&fetcher, &nginx.base, &component(&body, "release.bin"), &into).unwrap_err();
    assert!(matches!(error, Error::NoSpace { needed: 1_000_000, .. }), "{error:?}");
    assert_eq!(fs::read_dir(disk.0.path()).unwrap().count(), 0);
    fetch(&fetcher, &nginx.base, &component(&fits, "small.bin"), &into).unwrap();
    assert_eq!(nginx.log_of(1).lines().count(), 1, "the large one was not asked for");
}

/// `cargo test --release --test fetch a_gigabyte -- --ignored --nocapture`
#[test]
#[ignore = "writes 2 GiB; the command is above"]
fn a_gigabyte_needs_no_more_memory_than_a_megabyte() {
    let nginx = Nginx::start("");
    let part = bytes(1 << 20, 3);
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    {
        use std::io::Write;
        let mut file = fs::File::create(&source).unwrap();
        (0..1024).for_each(|_| file.write_all(&part).unwrap());
    }
    nginx.put_file("large.bin", &source);
    let digest = Command::new("sha256sum").arg(nginx.path("large.bin")).output().unwrap().stdout;
    let mut component = component(&part, "large.bin");
    component.size = 1 << 30;
    for (n, byte) in component.digest.0.iter_mut().enumerate() {
        *byte = u8::from_str_radix(str::from_utf8(&digest[2 * n..2 * n + 2]).unwrap(), 16).unwrap();
    }
    drop(part);
    let fetcher = Fetcher::new(settings(&nginx.certs.ca)).unwrap();
    let (progress, cancel) = (Progress::new(1 << 30), Cancel::new());
    // Peak memory counts from here on.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS:");
    let begun = freshen::clock::now().mono;
    fetcher.payload(&nginx.base, &component, &dir.path().join("0"), &progress, &cancel).unwrap();
    let took = (freshen::clock::now().mono - begun).as_secs_f64();
    let grew = memory("VmHWM:") - before;
    println!(
        "1 GiB over https in {took:.1} s; the process grew by {grew} KiB, to {}",
        memory("VmHWM:")
    );
    assert!(grew < 8 * 1024, "{grew} KiB");
}

/// A line of /proc/self/status, KiB.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
