//! Whether a package can be installed here, judged before the first byte of it is fetched: do its
//! components have a place, and is there the space that fetching and unpacking need?

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Error, Kind, Settings};
use crate::package::{Component, Format, Manifest, Source, is_opaque};

/// Where a component that is one file belongs in a slot: where the configuration says, or where its
/// identifier does.
pub(super) fn path_of(component: &Component, settings: &Settings) -> Result<PathBuf, Error> {
    let id = component.id.join("/");
    if let Some(path) = settings.components.get(&id) {
        return Ok(path.clone());
    }
    if component.id.iter().any(|name| is_opaque(name)) {
        return Err(Error::Unfit(format!(
            "its component {id} has no name on this device; give it one in [install.components]"
        )));
    }
    Ok(component.id.iter().collect())
}

/// Whether every component has a place of its own.
pub(super) fn judge(manifest: &Manifest, settings: &Settings) -> Result<(), Error> {
    match &settings.kind {
        Kind::File(_) => one_file(manifest).map(|_| ()),
        // What becomes of its payloads, the program says.
        Kind::Program(_) => Ok(()),
        Kind::Slots => {
            let files = manifest.components.iter().filter(|it| it.format == Format::Raw);
            let paths = files
                .map(|component| path_of(component, settings))
                .collect::<Result<Vec<_>, _>>()?;
            // The package room has seen to identifiers; the configuration may give two one place.
            let overlaps = |n: usize, path: &PathBuf| {
                paths.iter().enumerate().any(|(m, other)| n != m && other.starts_with(path))
            };
            match paths.iter().enumerate().find(|(n, path)| overlaps(*n, path)) {
                None => Ok(()),
                Some((_, path)) => Err(Error::Unfit(format!(
                    "two of its components belong at {}; see [install.components]",
                    path.display()
                ))),
            }
        }
    }
}

/// The component of a package that is one file.
pub(super) fn one_file(manifest: &Manifest) -> Result<&Component, Error> {
    let unfit = |why: &str| Err(Error::Unfit(why.to_owned()));
    match &*manifest.components {
        [component] if component.format == Format::Raw => Ok(component),
        [_] => unfit("it takes a single file, and the package has an archive"),
        _ => unfit("it takes one component, and the package has several"),
    }
}

/// What unpacking takes, beside what is fetched.
pub(super) struct Unpacking {
    /// Where.
    pub(super) place: PathBuf,
    /// Bytes.
    pub(super) needed: u64,
    /// Bytes that what is replaced there gives back.
    pub(super) freed: u64,
}

/// Whether there is the space for all of it. `folder` is where it is fetched to, with what an earlier
/// life has left there.
pub(super) fn room(
    manifest: &Manifest,
    folder: &Path,
    unpacking: Option<&Unpacking>,
) -> Result<(), Error> {
    let fetched = to_fetch(manifest).saturating_sub(held(folder));
    let stage = Volume::of(folder)?;
    if stage.free < fetched {
        return Err(Error::NoSpace { path: folder.to_owned(), needed: fetched });
    }
    let Some(Unpacking { place, needed, freed }) = unpacking else { return Ok(()) };
    let there = Volume::of(place)?;
    let beside = if there.device == stage.device { fetched } else { 0 };
    let needed = needed.saturating_add(beside);
    if there.free.saturating_add(*freed) < needed {
        return Err(Error::NoSpace { path: place.clone(), needed });
    }
    Ok(())
}

/// Bytes of all images, and of the one thing that an image is made of while it is made. Of several ways
/// the smallest counts: what cannot be brought in one way may be in another.
fn to_fetch(manifest: &Manifest) -> u64 {
    let transferred = manifest.components.iter().map(|component| match &component.source {
        Source::Integrated(_) | Source::Uri(_) => 0,
        Source::Ways(ways) => {
            let coded = ways.iter().map(|way| way.coding.as_ref().map_or(0, |it| it.size));
            coded.min().unwrap_or(0)
        }
    });
    let images = manifest.components.iter().map(|component| component.size);
    images.fold(transferred.max().unwrap_or(0), u64::saturating_add)
}

/// Bytes that files in a folder take on the disk.
fn held(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let blocks = files.filter_map(|file| Some(file.metadata().ok()?.blocks()));
    blocks.fold(0, u64::saturating_add).saturating_mul(STAT_BLOCK_BYTES)
}

/// Bytes that everything below a directory takes on the disk.
pub(super) fn held_below(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => held_below(&entry.path()),
            // One with another name stays when this one goes.
            Ok(metadata) if metadata.is_file() && metadata.nlink() == 1 => {
                metadata.blocks().saturating_mul(STAT_BLOCK_BYTES)
            }
            _ => 0,
        })
        .fold(0, u64::saturating_add)
}

/// A file system, and what is free there.
struct Volume {
    device: u64,
    free: u64,
}

impl Volume {
    fn of(path: &Path) -> Result<Self, Error> {
        let device = fs::metadata(path).map_err(Error::disk(path))?.dev();
        let stat = rustix::fs::statvfs(path).map_err(Error::disk(path))?;
        Ok(Self { device, free: stat.f_bavail.saturating_mul(stat.f_frsize) })
    }
}

/// What `st_blocks` counts, whatever the file system (stat(2)).
const STAT_BLOCK_BYTES: u64 = 512;
