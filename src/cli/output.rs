//! Where commands write: looked at before anything is made, and replaced in one step.
//!
//! A name typed wrongly must not cost anyone a key. So no command writes over a file that it does not
//! recognise as its own kind of output, and never over one that it reads: two names of one file are
//! told by device and inode, whatever links lead there.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use uuid::Uuid;

use super::inspect::read_envelope;
use super::payload;
use crate::package;

/// What a command makes, and so what it may replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A package's envelope; an earlier one is replaced.
    Envelope,
    /// A trust set that gets one more signature.
    TrustSet,
    /// A payload; one that is there already, byte for byte, stays as it is.
    Payload,
    /// Something that is never made twice: a key, a trust set that others may have signed.
    New,
}

/// Whether a person means what a command would not do by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Force {
    /// Nothing was said.
    No,
    /// `--force`: a file that is not recognised may go. One that the command reads may not.
    Yes,
}

impl From<bool> for Force {
    fn from(given: bool) -> Self {
        if given { Self::Yes } else { Self::No }
    }
}

/// A file under a name of its own, in the directory where it may belong. Gone when it is not kept.
#[derive(Debug)]
pub(super) struct Draft(PathBuf);

/// A file that is to be, and the place where it goes.
#[derive(Debug)]
pub(super) struct Output {
    /// As the person wrote it.
    path: PathBuf,
    /// Where that leads.
    target: PathBuf,
    kind: Kind,
    force: Force,
    /// What the command reads: files, and directories with all that is below them.
    inputs: Vec<PathBuf>,
    draft: Draft,
}

impl Draft {
    /// An empty file in this directory.
    pub(super) fn within(directory: &Path, mode: u32) -> Result<Self> {
        let path = directory.join(format!(".freshen-{}.part", Uuid::new_v4().simple()));
        // Nobody's file has this name, and a link that has it is not followed.
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .with_context(|| format!("cannot write in {}", directory.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // There is nothing left to remove when all went well.
        let _ = fs::remove_file(&self.0);
    }
}

impl Output {
    /// Looks at the place, and begins a draft beside it that others may read.
    pub(super) fn new(path: &Path, kind: Kind, force: Force, inputs: &[&Path]) -> Result<Self> {
        Self::with_mode(path, kind, force, inputs, PUBLIC)
    }

    /// As [`Self::new`], with other permissions from its first moment.
    pub(super) fn with_mode(
        path: &Path,
        kind: Kind,
        force: Force,
        inputs: &[&Path],
        mode: u32,
    ) -> Result<Self> {
        let target = led_to(path)?;
        look(path, &target, kind, force, inputs)?;
        Ok(Self {
            path: path.to_owned(),
            draft: Draft::within(directory(&target), mode)?,
            target,
            kind,
            force,
            inputs: inputs.iter().map(|&input| input.to_owned()).collect(),
        })
    }

    /// Where it is written until it is whole.
    pub(super) fn part(&self) -> &Path {
        self.draft.path()
    }

    /// The place, as the person wrote it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of it, and gives it its name.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<()> {
        OpenOptions::new()
            .write(true)
            .open(self.part())
            .and_then(|mut file| file.write_all(bytes))
            .with_context(|| cannot_write(&self.path))?;
        self.keep()
    }

    /// Gives the draft its name: what has that name is the old file or the whole new one, also after a
    /// power cut.
    pub(super) fn keep(&self) -> Result<()> {
        let Self { path, target, kind, force, inputs, .. } = self;
        let cannot = || cannot_write(path);
        let draft = File::open(self.part()).with_context(cannot)?;
        draft.sync_all().with_context(cannot)?;
        // Time has passed since the first look.
        let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
        let there = look(path, target, *kind, *force, &inputs)?;
        match &there {
            Some(_) if *kind == Kind::Payload => {
                if payload::measure(target)? == payload::measure(self.part())? {
                    return Ok(());
                }
                ensure!(
                    *force == Force::Yes,
                    "{} exists with other contents, which devices may still be fetching: give \
                     another --version or --uri-name, remove it, or add --force if it is meant",
                    path.display()
                );
            }
            _ => {}
        }
        if let Some(there) = &there {
            // Whoever could read the old one can read the new one.
            draft.set_permissions(there.permissions()).with_context(cannot)?;
        }
        rename(self.part(), target, there.is_some()).with_context(cannot)?;
        File::open(directory(target)).and_then(|it| it.sync_all()).with_context(cannot)
    }
}

/// Looks at a place where this kind of file is to go, beside what the command reads. What is there
/// now, if it may be replaced.
fn look(
    path: &Path,
    target: &Path,
    kind: Kind,
    force: Force,
    inputs: &[&Path],
) -> Result<Option<Metadata>> {
    let shown = path.display();
    let there = match fs::metadata(target) {
        Ok(there) => Some(there),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| cannot_write(path)),
    };
    for input in inputs {
        clash(path, target, there.as_ref(), input)?;
    }
    let Some(there) = there else { return Ok(None) };
    ensure!(!there.is_dir(), "{shown} is a directory: name a file in it, such as cam.suit");
    ensure!(there.is_file(), "{shown} is no regular file, and is not replaced: name another");
    match kind {
        Kind::New => bail!("{shown} exists and is not overwritten: choose another --out"),
        Kind::Payload => {}
        Kind::Envelope | Kind::TrustSet if force == Force::Yes => {}
        Kind::Envelope => ensure!(
            read_envelope(target).is_ok_and(|bytes| package::inspect(&bytes).is_ok()),
            "{shown} exists and is no package, so it is not overwritten: name another file, or add \
             --force if it is meant"
        ),
        Kind::TrustSet => ensure!(
            fs::read(target).is_ok_and(|bytes| package::TrustSet::read(&bytes).is_ok()),
            "{shown} exists and is no trust set, so it is not overwritten: name another file"
        ),
    }
    Ok(Some(there))
}

/// Refuses a place that is one of the inputs, or inside one.
fn clash(path: &Path, target: &Path, there: Option<&Metadata>, input: &Path) -> Result<()> {
    let Ok(read) = fs::metadata(input) else { return Ok(()) };
    let same = there.is_some_and(|it| (it.dev(), it.ino()) == (read.dev(), read.ino()));
    ensure!(
        !same || read.is_dir(),
        "{} is {}, which is read here: writing there would destroy it, so name another file",
        path.display(),
        input.display()
    );
    let inside = || {
        let (directory, input) = (fs::canonicalize(directory(target)), fs::canonicalize(input));
        directory.is_ok_and(|directory| input.is_ok_and(|input| directory.starts_with(input)))
    };
    ensure!(
        !(read.is_dir() && inside()),
        "{} is inside {}, all of which is read here: choose a place outside it",
        path.display(),
        input.display()
    );
    Ok(())
}

/// Where a path leads: a link keeps its name, and what it leads to is replaced.
fn led_to(path: &Path) -> Result<PathBuf> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => fs::canonicalize(path).with_context(|| {
            format!("{} is a link that leads nowhere: name another file", path.display())
        }),
        _ => Ok(path.to_owned()),
    }
}

/// The directory that a file is in.
fn directory(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent.as_os_str() != OsStr::new("") => parent,
        _ => Path::new("."),
    }
}

/// Renames; over something only where that was looked at.
fn rename(from: &Path, to: &Path, replace: bool) -> std::io::Result<()> {
    if replace {
        return fs::rename(from, to);
    }
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems cannot; there nobody has come in between, as far as we can see.
        Err(Errno::INVAL | Errno::NOSYS) if !to.exists() => fs::rename(from, to),
        done => Ok(done?),
    }
}

pub(super) fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

/// Before the process's mask is applied.
const PUBLIC: u32 = 0o666;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_comes_in_between_is_not_replaced() {
        let here = tempfile::tempdir().unwrap();
        let place = here.path().join("new");
        let output = Output::new(&place, Kind::New, Force::No, &[]).unwrap();
        fs::write(&place, "somebody else's").unwrap();
        output.write(b"ours").unwrap_err();
        rename(output.part(), &place, false).unwrap_err();
        assert_eq!(fs::read(&place).unwrap(), b"somebody else's");
        drop(output);
        assert_eq!(fs::read_dir(here.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn permissions_are_those_of_the_file_before() {
        let here = tempfile::tempdir().unwrap();
        let place = here.path().join("payload");
        fs::write(&place, "old").unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o640)).unwrap();
        Output::new(&place, Kind::Payload, Force::Yes, &[]).unwrap().write(b"new").unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"new");
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o640);
    }
}
