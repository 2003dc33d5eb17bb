//! Tar archives: the same directory always gives the same bytes, and nothing in one leaves the place
//! where it is unpacked.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use tar::{Archive, Builder, EntryType, Header};

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
        check_link(path, &target)?;
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

/// Checks an archive that somebody else made, as the device will.
pub(super) fn check(source: impl Read) -> Result<()> {
    let mut archive = Archive::new(source);
    for entry in archive.entries().context("this is not a tar archive")? {
        let entry = entry.context("this is not a whole tar archive")?;
        let path = entry.path()?.into_owned();
        check_entry(&path, entry.header().entry_type(), entry.link_name()?.as_deref())
            .with_context(|| format!("the archive's entry {}", path.display()))?;
    }
    Ok(())
}

fn check_entry(path: &Path, kind: EntryType, link: Option<&Path>) -> Result<()> {
    check_inside(path)?;
    match (kind, link) {
        (EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse, _) => Ok(()),
        (EntryType::Directory | EntryType::XGlobalHeader, _) => Ok(()),
        (EntryType::Symlink, Some(target)) => check_link(path, target),
        (EntryType::Link, Some(target)) => check_inside(target),
        _ => bail!("is neither a file, a directory nor a link, and no device unpacks it"),
    }
}

fn check_inside(path: &Path) -> Result<()> {
    let inside = path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    if inside { Ok(()) } else { bail!("is absolute or contains `..`, and no device unpacks it") }
}

/// A link may go up first and then down, and never above the top. `..` after a name would depend on
/// what that name links to.
fn check_link(path: &Path, target: &Path) -> Result<()> {
    let depth = path.parent().unwrap_or(Path::new("")).components().count();
    let up = target.components().take_while(|c| *c == Component::ParentDir).count();
    let down: PathBuf = target.components().skip(up).collect();
    if up <= depth && check_inside(&down).is_ok() {
        return Ok(());
    }
    bail!("links to {}, which is outside of what is packed", target.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_may_not_leave() {
        let check = |path: &str, target: &str| check_link(Path::new(path), Path::new(target));
        for (path, target) in [("a", "b"), ("a/b", "../c"), ("a/b/c", "../../x/y"), ("a", "b/c")] {
            check(path, target).unwrap();
        }
        for (path, target) in
            [("a", "../b"), ("a", "/etc"), ("a/b", "../../c"), ("a/b", "c/../../.."), ("a", "b/..")]
        {
            check(path, target).unwrap_err();
        }
    }
}
