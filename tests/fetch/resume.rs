//! Cut at every byte: the line breaks, the process dies, another life goes on.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use freshen::fetch::{Error, Fetcher, Limits, Settings};
use freshen::worker::{Cancel, Progress};

use crate::faulty::{Faulty, serve_well};
use crate::{bytes, component, settings};

/// The first connection of each life ends after so many bytes; counts what it sent.
struct Line {
    server: Faulty,
    cut: Arc<Mutex<Option<usize>>>,
    sent: Arc<AtomicU64>,
}

impl Line {
    fn new(body: &[u8]) -> Self {
        let (cut, sent) = (Arc::new(Mutex::new(None)), Arc::new(AtomicU64::new(0)));
        let (served, counted, cuts) = (body.to_vec(), sent.clone(), cut.clone());
        let server = Faulty::start(move |request, stream| {
            let most = cuts.lock().unwrap().take().unwrap_or(usize::MAX);
            let rest = served.len() - request.range_from.unwrap_or(0);
            counted.fetch_add(rest.min(most) as u64, Ordering::SeqCst);
            serve_well(&served, request, stream, most)
        });
        Self { server, cut, sent }
    }

    /// Fetches with the line cut at `offset`, after which the process ends, and another one goes on
    /// with what is on the disk.
    fn cut_at(&self, offset: usize, body: &[u8], in_memory: &std::path::Path) {
        let limits = Limits { attempts: 1, ..Limits::default() };
        let settings = Settings { limits, ..settings(&self.server.certs.ca) };
        let component = component(body, "x");
        let into = in_memory.join("0");
        self.sent.store(0, Ordering::SeqCst);
        *self.cut.lock().unwrap() = Some(offset);
        let life = || {
            let fetcher = Fetcher::new(settings.clone()).unwrap();
            let progress = Progress::new(component.size);
            fetcher.payload(&self.server.base, &component, &into, &progress, &Cancel::new())
        };
        let first = life();
        if offset < body.len() {
            assert!(matches!(first, Err(Error::ConnectionLost { .. })), "{offset}: {first:?}");
            assert!(!into.exists());
            life().unwrap();
        } else {
            first.unwrap();
        }
        assert_eq!(fs::read(&into).unwrap(), body, "{offset}");
        let sent = self.sent.load(Ordering::SeqCst);
        assert!(sent <= body.len() as u64 + 65_536, "{offset}: {sent} bytes were sent");
        fs::remove_file(into).unwrap();
    }
}

fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn cut_small(offsets: impl Iterator<Item = usize>) {
    let body = bytes(65_536, 1);
    let (line, dir) = (Line::new(&body), memory_dir());
    let mut count = 0;
    for offset in offsets {
        line.cut_at(offset, &body, dir.path());
        count += 1;
    }
    println!("64 KiB over https, cut at {count} offsets: the same file, at most 64 KiB sent twice");
}

#[test]
fn a_small_payload_survives_a_cut_at_any_offset() {
    cut_small((0..=65_536).step_by(1489).chain([1, 16_383, 16_384, 16_385, 65_535, 65_536]));
}

/// `cargo test --release --test fetch resume -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes; the command is above"]
fn a_small_payload_survives_a_cut_at_each_of_its_65537_offsets() {
    cut_small(0..=65_536);
}

/// `cargo test --release --test fetch resume -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes; the command is above"]
fn a_large_payload_survives_a_cut_at_1000_random_offsets() {
    let body = bytes(64 << 20, 2);
    let (line, dir) = (Line::new(&body), memory_dir());
    for seed in 1..=1000u64 {
        let chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        line.cut_at(chance as usize % (body.len() + 1), &body, dir.path());
        if seed.is_multiple_of(100) {
            println!("64 MiB over https, cut at {seed} offsets so far: the same file each time");
        }
    }
    println!("64 MiB over https, cut at 1000 offsets: the same file");
}
