//! What runs, as patches are made for it.
//!
//! A file is itself. A slot is the canonical archive of its files: the same on the vendor's machine,
//! where a directory is packed, and on each device, whatever it made of owners and times.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::listing::{BUFFER_BYTES, RESERVED};
use super::{Error, Settings, fit};
use crate::package::{Component, Digest, Format};
use crate::worker::Cancel;

/// Opens the precursor of a component in what runs at `path`, and says its digest. An archive is
/// written to `scratch` first. `None` where there is no such thing.
pub(super) fn open(
    path: &Path,
    component: &Component,
    settings: &Settings,
    scratch: &Path,
    cancel: &Cancel,
) -> Result<Option<(Digest, File)>, Error> {
    let file = match component.format {
        _ if path.is_file() => File::open(path).map_err(Error::disk(path))?,
        Format::Raw => {
            let path = path.join(fit::path_of(component, settings)?);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_file() => {
                    File::open(&path).map_err(Error::disk(&path))?
                }
                _ => return Ok(None),
            }
        }
        Format::Tar | Format::TarZstd { .. } => {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(true);
            let file = options.open(scratch).map_err(Error::disk(scratch))?;
            let mut sink = io::BufWriter::with_capacity(BUFFER_BYTES, &file);
            canonical_archive(path, &mut sink)
                .and_then(|()| sink.flush())
                .map_err(Error::disk(scratch))?;
            drop(sink);
            file
        }
    };
    let digest = digest(&file, cancel)?;
    Ok(Some((digest, file)))
}

fn digest(mut file: &File, cancel: &Cancel) -> Result<Digest, Error> {
    let here = Path::new("what runs");
    file.seek(SeekFrom::Start(0)).map_err(Error::disk(here))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        match file.read(&mut buffer).map_err(Error::disk(here))? {
            0 => break,
            count => hash.update(buffer.get(..count).unwrap_or_default()),
        }
    }
    file.seek(SeekFrom::Start(0)).map_err(Error::disk(here))?;
    Ok(Digest(hash.finalize().into()))
}

/// Writes the canonical archive of a directory: sorted by name; owner, times and all permissions but
/// "may be run" left out.
///
/// # Errors
///
/// What reading and writing say.
pub fn canonical_archive(directory: &Path, sink: impl Write) -> io::Result<()> {
    let mut tar = Builder::new(sink);
    add_directory(&mut tar, directory, Path::new(""))?;
    tar.into_inner()?.flush()
}

fn add_directory(tar: &mut Builder<impl Write>, root: &Path, below: &Path) -> io::Result<()> {
    let mut names = fs::read_dir(root.join(below))?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    for name in names {
        let path = below.join(name);
        // What the installer keeps beside the software.
        if path != Path::new(RESERVED) {
            let metadata = fs::symlink_metadata(root.join(&path))?;
            add(tar, root, &path, &metadata)?;
        }
    }
    Ok(())
}

fn add(
    tar: &mut Builder<impl Write>,
    root: &Path,
    path: &Path,
    metadata: &Metadata,
) -> io::Result<()> {
    let from = root.join(path);
    let mut header = Header::new_gnu();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header.set_mode(0o755);
    if metadata.is_dir() {
        header.set_entry_type(EntryType::Directory);
        tar.append_data(&mut header, path, io::empty())?;
        add_directory(tar, root, path)
    } else if metadata.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        tar.append_link(&mut header, path, fs::read_link(&from)?)
    } else if metadata.is_file() {
        let may_be_run = metadata.permissions().mode() & 0o100 != 0;
        header.set_mode(if may_be_run { 0o755 } else { 0o644 });
        header.set_entry_type(EntryType::Regular);
        header.set_size(metadata.len());
        tar.append_data(&mut header, path, File::open(&from)?.take(metadata.len()))
    } else {
        Err(io::Error::other(format!("{} is no file, directory or link", from.display())))
    }
}
