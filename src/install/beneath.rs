//! All that this room does to the disk, each operation beneath one directory that it never leaves.
//!
//! Names are walked without following symbolic links, so nothing that an archive or somebody else has
//! planted can lead elsewhere (draft-ietf-suit-update-management: "descriptor-relative or
//! non-following operations"). And since it is all in one place, tests can let the process die, or
//! the disk fill up, before any operation, and can replay what a power cut would have left.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    self, AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;

use super::Error;
use crate::worker::Flushing;

#[cfg(test)]
pub(super) mod fault;

/// A directory that operations stay beneath. Paths are relative to it and have plain names only; the
/// empty one is the directory itself.
#[derive(Debug)]
pub(super) struct Beneath {
    path: PathBuf,
    root: OwnedFd,
}

/// A new file that is being written.
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    file: File,
}

/// Who owns a file and what may be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    /// Permission bits.
    pub(super) mode: u32,
    /// User and group, where they are to be set.
    pub(super) owner: Option<(u32, u32)>,
    /// Modification time, seconds since 1970, where it is to be set.
    pub(super) mtime: Option<i64>,
}

impl Attributes {
    pub(super) fn of_mode(mode: u32) -> Self {
        Self { mode, owner: None, mtime: None }
    }
}

impl Beneath {
    /// Stays beneath the directory `path`, which is made if it is not there.
    pub(super) fn open_or_make(path: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(path).map_err(Error::disk(path))?;
        let root = fs::open(path, DIRECTORY, Mode::empty()).map_err(Error::disk(path))?;
        Ok(Self { path: path.to_owned(), root })
    }

    /// Stays beneath one of its directories.
    pub(super) fn enter(&self, path: &Path) -> Result<Self, Error> {
        Ok(Self { path: self.path.join(path), root: self.directory(path)? })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    // What only looks.

    pub(super) fn open(&self, path: &Path) -> Result<File, Error> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(parent, name, flags, Mode::empty()).map_err(self.disk(path))?;
        Ok(File::from(fd))
    }

    /// What a symbolic link says; `None` where there is no such link.
    pub(super) fn read_link(&self, path: &Path) -> Option<PathBuf> {
        let (parent, name) = self.parent(path).ok()?;
        let target = fs::readlinkat(parent, name, Vec::new()).ok()?;
        Some(OsStr::from_bytes(target.as_bytes()).into())
    }

    /// Kind and permission bits of what is there, links not followed.
    pub(super) fn look(&self, path: &Path) -> Result<Option<(FileType, u32)>, Error> {
        let (parent, name) = match self.parent(path) {
            Err(Error::Disk { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            other => other?,
        };
        match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let mode = stat.st_mode;
                Ok(Some((FileType::from_raw_mode(mode), mode & PERMISSIONS)))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.disk(path)(error)),
        }
    }

    /// Bytes that could still be written here.
    pub(super) fn free_bytes(&self) -> Result<u64, Error> {
        let stat = fs::fstatvfs(&self.root).map_err(self.disk(Path::new("")))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    // What changes the disk.

    /// Makes a directory; one that is there already will do.
    pub(super) fn make_directory(&self, path: &Path, attributes: Attributes) -> Result<(), Error> {
        let (parent, name) = self.parent(path)?;
        self.step(|| Op::MakeDirectory(path.into()), path)?;
        match fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) if self.is_directory(path)? => {}
            Err(error) => return Err(self.disk(path)(error)),
        }
        // The owner keeps the right to go in: we still have to write there, and to clear it one day.
        let mode = attributes.mode | 0o700;
        let directory = self.directory(path)?;
        set_attributes(&directory, Attributes { mode, ..attributes }).map_err(self.disk(path))
    }

    /// Begins a file that must not be there yet.
    pub(super) fn create(&self, path: &Path) -> Result<NewFile, Error> {
        let (parent, name) = self.parent(path)?;
        self.step(|| Op::Create(path.into()), path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let fd = fs::openat(parent, name, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o600))
            .map_err(self.disk(path))?;
        Ok(NewFile { path: self.path.join(path), file: File::from(fd) })
    }

    /// Makes a symbolic link that must not be there yet.
    pub(super) fn make_link(&self, target: &Path, path: &Path) -> Result<(), Error> {
        let (parent, name) = self.parent(path)?;
        self.step(|| Op::MakeLink(target.into(), path.into()), path)?;
        fs::symlinkat(target, parent, name).map_err(self.disk(path))
    }

    /// Gives what is at `from` the name `to`, in one step; what had that name is gone.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        let ((from_parent, from_name), (to_parent, to_name)) =
            (self.parent(from)?, self.parent(to)?);
        self.step(|| Op::Rename(from.into(), to.into()), to)?;
        fs::renameat(from_parent, from_name, to_parent, to_name).map_err(self.disk(to))
    }

    /// Gives the file at `from` a second name.
    pub(super) fn link(&self, from: &Path, to: &Path) -> Result<(), Error> {
        let ((from_parent, from_name), (to_parent, to_name)) =
            (self.parent(from)?, self.parent(to)?);
        self.step(|| Op::Link(from.into(), to.into()), to)?;
        fs::linkat(from_parent, from_name, to_parent, to_name, AtFlags::empty())
            .map_err(self.disk(to))
    }

    /// Removes a file or a link; one that is not there will do.
    pub(super) fn remove(&self, path: &Path) -> Result<(), Error> {
        let (parent, name) = self.parent(path)?;
        self.step(|| Op::Remove(path.into()), path)?;
        match fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.disk(path)(error)),
        }
    }

    /// Removes a directory and all that is in it; one that is not there will do.
    pub(super) fn remove_tree(&self, path: &Path) -> Result<(), Error> {
        match self.look(path)? {
            None => return Ok(()),
            Some((FileType::Directory, _)) => {}
            Some(_) => return self.remove(path),
        }
        let directory = self.directory(path)?;
        // A directory that nobody may write to cannot be emptied either, except by root.
        let _ = fs::fchmod(&directory, Mode::from_raw_mode(0o700));
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).map_err(self.disk(path))? {
            let entry = entry.map_err(self.disk(path))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push((path.join(name), entry.file_type()));
            }
        }
        drop(directory);
        for (name, kind) in names {
            match kind {
                FileType::Directory | FileType::Unknown => self.remove_tree(&name)?,
                _ => self.remove(&name)?,
            }
        }
        let (parent, name) = self.parent(path)?;
        self.step(|| Op::RemoveDirectory(path.into()), path)?;
        fs::unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(self.disk(path))
    }

    /// Waits until the names in this directory are safe.
    pub(super) fn sync_directory(&self, path: &Path) -> Result<(), Error> {
        let directory = self.directory(path)?;
        self.step(|| Op::SyncDirectory(path.into()), path)?;
        synced(|| fs::fsync(&directory)).map_err(self.disk(path))
    }

    /// Waits until all that was written to this file system is safe.
    pub(super) fn sync_all(&self) -> Result<(), Error> {
        self.step(|| Op::SyncAll, Path::new(""))?;
        synced(|| fs::syncfs(&self.root)).map_err(self.disk(Path::new("")))
    }

    /// Begins to wait now and then, as [`Self::sync_all`] does at the end.
    pub(super) fn flushing(&self) -> Result<Flushing, Error> {
        let root = self.root.try_clone().map_err(self.disk(Path::new("")))?;
        Ok(Flushing::new(move || fs::syncfs(&root).map_err(io::Error::from)))
    }

    fn is_directory(&self, path: &Path) -> Result<bool, Error> {
        Ok(matches!(self.look(path)?, Some((FileType::Directory, _))))
    }

    fn parent<'a>(&self, path: &'a Path) -> Result<(OwnedFd, &'a OsStr), Error> {
        let name = path.file_name().ok_or(Errno::INVAL).map_err(self.disk(path))?;
        Ok((self.directory(path.parent().unwrap_or(Path::new("")))?, name))
    }

    fn directory(&self, path: &Path) -> Result<OwnedFd, Error> {
        if path.as_os_str().is_empty() {
            return self.root.try_clone().map_err(self.disk(path));
        }
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match fs::openat2(&self.root, path, DIRECTORY, Mode::empty(), resolve) {
            // A kernel before 5.6, or a sandbox that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => self.walk(path).map_err(self.disk(path)),
            result => result.map_err(self.disk(path)),
        }
    }

    /// As the kernel does it: name by name, each one a directory and none of them a link.
    fn walk(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let mut at = self.root.try_clone().map_err(|_| Errno::MFILE)?;
        for component in path.components() {
            let Component::Normal(name) = component else { return Err(Errno::XDEV) };
            at = fs::openat(&at, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok(at)
    }

    fn disk<E: Into<io::Error>>(&self, path: &Path) -> impl FnOnce(E) -> Error {
        let path = self.path.join(path);
        move |error| Error::disk(&path)(error)
    }

    /// Every change announces itself here; in the product nobody listens.
    fn step(&self, op: impl FnOnce() -> Op, path: &Path) -> Result<(), Error> {
        step(&self.path, op).map_err(self.disk(path))
    }
}

impl NewFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Sets owner, permissions and time, in the order that keeps them.
    pub(super) fn set(&mut self, attributes: Attributes) -> Result<(), Error> {
        set_attributes(&self.file, attributes).map_err(Error::disk(&self.path))
    }

    /// Waits until the file's bytes are safe.
    pub(super) fn sync(self) -> Result<(), Error> {
        step(Path::new(""), || Op::SyncFile(self.path.clone())).map_err(Error::disk(&self.path))?;
        synced(|| fs::fsync(&self.file)).map_err(Error::disk(&self.path))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        step(Path::new(""), || Op::Append(self.path.clone(), bytes.into()))?;
        self.file.write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn set_attributes(fd: impl AsFd, attributes: Attributes) -> rustix::io::Result<()> {
    if let Some((user, group)) = attributes.owner {
        fs::fchown(&fd, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
    }
    // After the owner: changing that clears the set-user-id bit.
    fs::fchmod(&fd, Mode::from_raw_mode(attributes.mode))?;
    if let Some(tv_sec) = attributes.mtime {
        let time = Timespec { tv_sec, tv_nsec: 0 };
        fs::futimens(fd, &Timestamps { last_access: time, last_modification: time })?;
    }
    Ok(())
}

/// One change to the disk, as a model of it needs to know it. Paths of files are absolute, others
/// relative to the directory that the operation stays beneath.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    MakeDirectory(PathBuf),
    Create(PathBuf),
    Append(PathBuf, Vec<u8>),
    MakeLink(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    RemoveDirectory(PathBuf),
    SyncFile(PathBuf),
    SyncDirectory(PathBuf),
    SyncAll,
}

#[cfg(not(test))]
#[inline]
fn step(_: &Path, _: impl FnOnce() -> Op) -> io::Result<()> {
    Ok(())
}

#[cfg(not(test))]
#[inline]
fn synced(sync: impl FnOnce() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
    sync()
}

#[cfg(test)]
use fault::{step, synced};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The bits of a mode that are permissions.
const PERMISSIONS: u32 = 0o7777;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_with_or_without_the_kernels_help() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("root/in")).unwrap();
        std::fs::create_dir_all(dir.path().join("out")).unwrap();
        let root = Beneath::open_or_make(&dir.path().join("root")).unwrap();
        root.make_link(Path::new("../out"), Path::new("up")).unwrap();
        root.make_link(Path::new("in"), Path::new("sideways")).unwrap();
        root.make_link(&dir.path().join("out"), Path::new("absolute")).unwrap();
        for name in ["up", "sideways", "absolute", "..", "in/../..", "/", "/tmp"] {
            assert!(root.directory(Path::new(name)).is_err(), "{name}");
            assert!(root.walk(Path::new(name)).is_err(), "{name}");
            assert!(root.create(&Path::new(name).join("x")).is_err(), "{name}");
        }
        assert!(root.walk(Path::new("in")).is_ok());
        assert!(root.create(Path::new("in/x")).is_ok());
        assert!(root.create(Path::new("in/x")).is_err(), "never over something");
        assert_eq!(std::fs::read_dir(dir.path().join("out")).unwrap().count(), 0);
    }

    #[test]
    fn a_tree_is_removed_without_following_its_links() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("root/tree/deep")).unwrap();
        std::fs::write(dir.path().join("precious"), "x").unwrap();
        std::os::unix::fs::symlink("../../precious", dir.path().join("root/tree/link")).unwrap();
        std::os::unix::fs::symlink("../../..", dir.path().join("root/tree/deep/up")).unwrap();
        let root = Beneath::open_or_make(&dir.path().join("root")).unwrap();
        root.remove_tree(Path::new("tree")).unwrap();
        root.remove_tree(Path::new("tree")).unwrap();
        assert!(dir.path().join("precious").exists());
        assert!(!dir.path().join("root/tree").exists());
    }
}
