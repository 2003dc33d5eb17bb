//! Tar archives: the same directory always gives the same bytes.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use tar::{Builder, EntryType, Header};

/// Permission bits that an archive keeps.
const MODE: u32 = 0o7777;

/// Adds everything below `directory`, sorted by name, owned by root, with one time for all.
pub(super) fn write(directory: &Path, sink: impl Write, mtime: u64) -> Result<()> {
    let mut tar = Builder::new(sink);
    add_directory(&mut tar, directory, Path::new(""), mtime)?;
    tar.into_inner().and_then(|mut sink| sink.flush()).context("cannot write the archive")
}

fn add_directory(
    tar: &mut Builder<impl Write>,
    root: &Path,
    below: &Path,
    mtime: u64,
) -> Result<()> {
    let directory = root.join(below);
    let cannot = || format!("cannot read the directory {}", directory.display());
    let mut names = fs::read_dir(&directory)
        .with_context(cannot)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<Vec<_>>>()
        .with_context(cannot)?;
    names.sort();
    for name in names {
        let path = below.join(name);
        add(tar, root, &path, mtime)?;
    }
    Ok(())
}

fn add(tar: &mut Builder<impl Write>, root: &Path, path: &Path, mtime: u64) -> Result<()> {
    let from = root.join(path);
    let metadata = fs::symlink_metadata(&from).with_context(|| from.display().to_string())?;
    let mut header = Header::new_gnu();
    header.set_mtime(mtime);
    header.set_mode(metadata.permissions().mode() & MODE);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    if metadata.is_dir() {
        header.set_entry_type(EntryType::Directory);
        tar.append_data(&mut header, path, io::empty()).context("cannot write the archive")?;
        return add_directory(tar, root, path, mtime);
    }
    add_leaf(tar, &mut header, &metadata, &from, path).with_context(|| from.display().to_string())
}

fn add_leaf(
    tar: &mut Builder<impl Write>,
    header: &mut Header,
    metadata: &Metadata,
    from: &Path,
    path: &Path,
) -> Result<()> {
    if metadata.is_symlink() {
        let target = fs::read_link(from)?;
        header.set_entry_type(EntryType::Symlink);
        tar.append_link(header, path, target)?;
    } else if metadata.is_file() {
        header.set_entry_type(EntryType::Regular);
        header.set_size(metadata.len());
        let mut file = Exactly { rest: metadata.len(), file: File::open(from)? };
        tar.append_data(header, path, &mut file)?;
    } else {
        bail!("is neither a file, a directory nor a symbolic link, and cannot be packed");
    }
    Ok(())
}

/// A file that changes its length while it is read would shift everything after it.
struct Exactly {
    rest: u64,
    file: File,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let read = (&mut self.file).take(self.rest).read(buffer)?;
        if read == 0 {
            return Err(io::Error::other("became shorter while it was read; try again"));
        }
        self.rest -= read as u64;
        Ok(read)
    }
}

/// Bytes of all files below `directory`: about the size of its archive, for a progress bar.
pub(super) fn size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) if metadata.is_file() => metadata.len(),
            _ => 0,
        })
        .sum()
}
