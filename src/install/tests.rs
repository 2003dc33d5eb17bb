//! Whole installations into real directories, and everything that can go wrong with them.

mod attacks;
mod cuts;
mod life;
mod model;
mod power;
mod programs;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::beneath::Beneath;
use super::marker::Marker;
use super::{Error, Installer, Kind, Settings, listing};
use crate::package::{Component, Digest, Format, Identity, Manifest, Source};
use crate::worker::{Cancel, Progress};

/// A release, and its payloads as they lie after the download.
struct Release {
    manifest: Manifest,
    payloads: TempDir,
}

fn release(version: u64, payloads: &[(&[&str], Format, &[u8])]) -> Release {
    let dir = memory_dir();
    let component = |(n, (id, format, bytes)): (usize, &(&[&str], Format, &[u8]))| {
        fs::write(dir.path().join(n.to_string()), bytes).unwrap();
        Component {
            id: id.iter().map(|name| name.to_string()).collect(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            format: *format,
            source: Source::Uri("x".into()),
        }
    };
    let components = payloads.iter().enumerate().map(component).collect();
    let manifest = Manifest {
        digest: Digest::of(&version.to_be_bytes()),
        sequence: version,
        version: format!("{version}.0.0"),
        names: None,
        identity: Identity::new("example.com", "cam-1"),
        use_before: None,
        requires: vec![],
        needs_approval: false,
        components,
    };
    Release { manifest, payloads: dir }
}

/// A program, a configuration in an archive: a small release whose content says its version.
fn small(version: u64) -> Release {
    let program = format!("program {version}").repeat(50);
    let config = format!("version = {version}\n");
    let archive = tar(&[
        entry("etc/", tar::EntryType::Directory, b""),
        entry("etc/config", tar::EntryType::Regular, config.as_bytes()),
        link("etc/link", "config"),
    ]);
    let packed = zstd::encode_all(&*archive, 3).unwrap();
    let format = Format::TarZstd { unpacked_bytes_max: archive.len() as u64 };
    release(
        version,
        &[(&["bin", "app"], Format::Raw, program.as_bytes()), (&["etc"], format, &packed)],
    )
}

/// One entry with any name at all.
struct TarEntry {
    header: tar::Header,
    bytes: Vec<u8>,
}

fn entry(name: &str, kind: tar::EntryType, bytes: &[u8]) -> TarEntry {
    let mut header = tar::Header::new_gnu();
    let field = &mut header.as_gnu_mut().unwrap().name;
    field[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_size(bytes.len() as u64);
    TarEntry { header, bytes: bytes.to_vec() }
}

fn link(name: &str, target: &str) -> TarEntry {
    let mut link = entry(name, tar::EntryType::Symlink, b"");
    let field = &mut link.header.as_gnu_mut().unwrap().linkname;
    field[..target.len()].copy_from_slice(target.as_bytes());
    link
}

fn tar(entries: &[TarEntry]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for TarEntry { header, bytes } in entries {
        let mut header = header.clone();
        header.set_cksum();
        archive.append(&header, &**bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

fn open(state: &Path) -> Installer {
    Installer::open(Settings::default(), state).unwrap()
}

fn open_file(state: &Path, path: PathBuf) -> Installer {
    Installer::open(Settings { kind: Kind::File(path), ..Settings::default() }, state).unwrap()
}

fn write(installer: &mut Installer, release: &Release) -> Result<(), Error> {
    let (progress, cancel) = (Progress::new(0), Cancel::new());
    installer.write_manifest(&release.manifest, release.payloads.path(), &progress, &cancel)
}

fn update(installer: &mut Installer, release: &Release) -> Result<(), Error> {
    write(installer, release)?;
    installer.switch(&release.manifest.digest, &Cancel::new())?;
    installer.confirm(&release.manifest.digest)
}

fn version(installer: &Installer) -> Option<String> {
    installer.running().unwrap().map(|running| running.version)
}

/// Whether what `current` leads to is whole, byte by byte.
fn current_is_whole(state: &Path) -> Result<(), Error> {
    let slot = Beneath::open_or_make(&state.join(fs::read_link(state.join("current")).unwrap()))?;
    let marker = Marker::read(&slot, Path::new(".freshen/slot"))?.expect("it has a marker");
    listing::verify(&slot, marker.content, &Cancel::new())
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .map(|entries| entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

/// In memory where the system has such a place: these tests wait for the disk thousands of times.
fn memory_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}
