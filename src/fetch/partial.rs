//! A payload on its way to the disk: reserved first, hashed as it grows, complete or not there.
//!
//! While it grows it is called `<name>.part`; beside it `<name>.part.tag` says which digest it is for
//! and what the server called this version. Only a file whose digest is right gets its own name. What
//! an earlier life left is hashed again: a saved hash state could not be trusted, a file can.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use serde::{Deserialize, Serialize};

use super::Error;
use crate::package::Digest;
use crate::worker::{Cancel, Flushing, Hashing, Progress};

/// A payload that is not complete yet.
#[derive(Debug)]
pub(super) struct Partial {
    target: PathBuf,
    path: PathBuf,
    tag_path: PathBuf,
    file: File,
    hash: Hashing,
    flushing: Flushing,
    at: u64,
    signed: Signed,
    tag: Option<Tag>,
}

/// What the vendor signed about a payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed {
    /// `None` where only what it becomes has one: then its length is all that is compared here.
    pub(super) digest: Option<Digest>,
    pub(super) size: u64,
}

/// What a server called the version that the bytes are of (RFC 9110 section 8.8.3, RFC 7252
/// section 5.10.6). Only good for asking the same server to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tag {
    pub(super) url: String,
    pub(super) etag: String,
}

#[derive(Serialize, Deserialize)]
struct Note {
    digest: Option<Digest>,
    tag: Option<Tag>,
}

/// What [`open`] found.
#[derive(Debug)]
pub(super) enum Opened {
    /// The whole payload is there already.
    Complete,
    /// Some of it, or nothing yet.
    Partial(Box<Partial>),
}

/// Looks at what is there, and reserves the space for the rest before the first byte.
pub(super) fn open(
    target: &Path,
    signed: Signed,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Opened, Error> {
    if is_complete(target, signed, cancel)? {
        progress.add(signed.size);
        return Ok(Opened::Complete);
    }
    let path = suffixed(target, ".part");
    let tag_path = suffixed(target, ".part.tag");
    let note = read_note(&tag_path).filter(|note| note.digest == signed.digest);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(note.is_none());
    let file = options.open(&path).map_err(Error::disk(&path, signed.size))?;
    let tag = note.and_then(|note| note.tag);
    let target = target.to_owned();
    let written = file.try_clone().map_err(Error::disk(&path, signed.size))?;
    let flushing = Flushing::new(move || written.sync_data());
    let hash = Hashing::new();
    let mut partial = Partial { target, path, tag_path, file, hash, flushing, at: 0, signed, tag };
    if let Err(error) = partial.reserve().and_then(|()| partial.write_note()) {
        partial.remove();
        return Err(error);
    }
    partial.take_up(cancel)?;
    progress.add(partial.at);
    Ok(Opened::Partial(Box::new(partial)))
}

impl Partial {
    /// Bytes that are there.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes that there have to be.
    pub(super) fn size(&self) -> u64 {
        self.signed.size
    }

    /// What the server at `url` called the version that the bytes are of.
    pub(super) fn etag_of(&self, url: &str) -> Option<&str> {
        self.tag.as_ref().filter(|tag| tag.url == url).map(|tag| tag.etag.as_str())
    }

    /// Remembers what the server calls the version that the next bytes are of.
    pub(super) fn set_tag(&mut self, tag: Option<Tag>) -> Result<(), Error> {
        if self.tag == tag {
            return Ok(());
        }
        self.tag = tag;
        self.write_note()
    }

    /// The next bytes. What goes beyond the signed size is not written.
    pub(super) fn append(&mut self, bytes: &[u8], progress: &Progress) -> Result<(), Error> {
        let room = self.signed.size - self.at;
        if bytes.len() as u64 > room {
            let got = self.at + bytes.len() as u64;
            return Err(Error::SizeMismatch { signed: self.signed.size, got });
        }
        self.file.write_all(bytes).map_err(Error::disk(&self.path, room))?;
        self.flushing.wrote(bytes.len() as u64).map_err(Error::disk(&self.path, room))?;
        self.hash.update(bytes);
        self.at += bytes.len() as u64;
        progress.add(bytes.len() as u64);
        Ok(())
    }

    /// Begins again with nothing.
    pub(super) fn restart(&mut self, progress: &Progress) -> Result<(), Error> {
        progress.take_back(self.at);
        self.clear()?;
        self.reserve()
    }

    /// Gives the file its name, once it is what the vendor signed and is safe on the disk.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        if self.at != self.signed.size {
            return Err(Error::SizeMismatch { signed: self.signed.size, got: self.at });
        }
        let got = Digest(std::mem::take(&mut self.hash).finish());
        if let Some(signed) = self.signed.digest.filter(|signed| *signed != got) {
            return Err(Error::DigestMismatch { signed, got });
        }
        let disk = || Error::disk(&self.path, self.signed.size);
        self.flushing.settle().and_then(|()| self.file.sync_all()).map_err(disk())?;
        fs::rename(&self.path, &self.target).map_err(disk())?;
        sync_directory_of(&self.target).map_err(disk())?;
        let _ = fs::remove_file(&self.tag_path);
        Ok(())
    }

    /// Leaves nothing behind.
    pub(super) fn remove(self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(&self.tag_path);
    }

    /// Asks for the space before the first byte, so that a full disk is known now and not at the end.
    fn reserve(&self) -> Result<(), Error> {
        let no_space = || Error::NoSpace { path: self.path.clone(), needed: self.signed.size };
        let disk = || Error::disk(&self.path, self.signed.size);
        let held = rustix::fs::fstat(&self.file).map_err(io::Error::from).map_err(disk())?;
        let held = u64::try_from(held.st_blocks).unwrap_or(0) * STAT_BLOCK_BYTES;
        let free = fstatvfs(&self.file).map_err(io::Error::from).map_err(disk())?;
        let free = free.f_bavail.saturating_mul(free.f_frsize).saturating_add(held);
        if free < self.signed.size {
            return Err(no_space());
        }
        if self.signed.size == 0 {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, self.signed.size) {
            // A file system without reservations; the look at the free space has to do.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            Err(error) => Err(disk()(error.into())),
        }
    }

    /// Takes up what an earlier life left.
    fn take_up(&mut self, cancel: &Cancel) -> Result<(), Error> {
        let left = self.file.metadata().map_err(Error::disk(&self.path, self.signed.size))?.len();
        if left > self.signed.size {
            return self.clear();
        }
        self.at = hash_all(&mut self.file, &mut self.hash, &self.path, cancel)?;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Error> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(Error::disk(&self.path, self.signed.size))?;
        self.hash = Hashing::new();
        self.at = 0;
        self.set_tag(None)
    }

    /// Not synced: after a power cut a broken note only costs a fresh start.
    fn write_note(&self) -> Result<(), Error> {
        let note = Note { digest: self.signed.digest, tag: self.tag.clone() };
        let mut bytes = Vec::new();
        ciborium::into_writer(&note, &mut bytes).expect("a vector takes all that is written");
        let new = suffixed(&self.target, ".part.tag.new");
        fs::write(&new, bytes)
            .and_then(|()| fs::rename(&new, &self.tag_path))
            .map_err(Error::disk(&self.tag_path, self.signed.size))
    }
}

fn is_complete(target: &Path, signed: Signed, cancel: &Cancel) -> Result<bool, Error> {
    let disk = || Error::disk(target, signed.size);
    let mut file = match File::open(target) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(disk()(error)),
    };
    if file.metadata().map_err(disk())?.len() == signed.size {
        let mut hash = Hashing::new();
        hash_all(&mut file, &mut hash, target, cancel)?;
        let got = Digest(hash.finish());
        if signed.digest.is_none_or(|digest| digest == got) {
            return Ok(true);
        }
    }
    fs::remove_file(target).map_err(disk())?;
    Ok(false)
}

fn hash_all(
    file: &mut File,
    hash: &mut Hashing,
    path: &Path,
    cancel: &Cancel,
) -> Result<u64, Error> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut total = 0;
    loop {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        match file.read(&mut buffer).map_err(Error::disk(path, 0))? {
            0 => return Ok(total),
            n => {
                hash.update(&buffer[..n]);
                total += n as u64;
            }
        }
    }
}

fn read_note(path: &Path) -> Option<Note> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(NOTE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    ciborium::from_reader(&*bytes).ok()
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// One buffer for reading, bytes: several TLS records, little beside the rest of the process.
pub(super) const BUFFER_BYTES: usize = 64 * 1024;

/// The longest note, bytes: a URL and an entity tag, both bounded by a response header.
const NOTE_BYTES_MAX: u64 = 128 * 1024;

/// The unit of `st_blocks`, bytes, whatever the file system's own is.
const STAT_BLOCK_BYTES: u64 = 512;

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    const BODY: &[u8] = b"the payload";

    fn signed() -> Signed {
        Signed { digest: Some(Digest(Sha256::digest(BODY).into())), size: BODY.len() as u64 }
    }

    fn open_partial(target: &Path) -> (Box<Partial>, Progress) {
        let progress = Progress::new(BODY.len() as u64);
        match open(target, signed(), &progress, &Cancel::new()).unwrap() {
            Opened::Partial(partial) => (partial, progress),
            Opened::Complete => panic!("it is not complete"),
        }
    }

    #[test]
    fn a_second_life_goes_on_where_the_first_ended() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("0");
        for end in 1..=BODY.len() {
            let (mut partial, progress) = open_partial(&target);
            assert_eq!(partial.at(), end as u64 - 1);
            partial.append(&BODY[end - 1..end], &progress).unwrap();
            assert_eq!(progress.done(), end as u64);
        }
        let (mut partial, _) = open_partial(&target);
        partial.finish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), BODY);
        let names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["0"], "nothing else is left");
        let again = open(&target, signed(), &Progress::new(0), &Cancel::new()).unwrap();
        assert!(matches!(again, Opened::Complete));
    }

    #[test]
    fn bytes_beyond_the_signed_size_are_refused_and_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let (mut partial, progress) = open_partial(&dir.path().join("0"));
        let error = partial.append(&[0; 12], &progress).unwrap_err();
        assert!(matches!(error, Error::SizeMismatch { signed: 11, got: 12 }));
        assert_eq!(partial.at(), 0);
    }

    #[test]
    fn another_digest_a_longer_file_or_a_torn_note_begin_again() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("0");
        let (mut partial, progress) = open_partial(&target);
        partial.append(b"the", &progress).unwrap();
        fs::write(dir.path().join("0.part.tag"), b"torn").unwrap();
        assert_eq!(open_partial(&target).0.at(), 0);
        fs::write(dir.path().join("0.part"), [0; 100]).unwrap();
        assert_eq!(open_partial(&target).0.at(), 0);
        let (mut partial, progress) = open_partial(&target);
        partial.append(b"the", &progress).unwrap();
        let other = Signed { digest: Some(Digest([7; 32])), size: 11 };
        let Opened::Partial(partial) = open(&target, other, &progress, &Cancel::new()).unwrap()
        else {
            panic!("not complete")
        };
        assert_eq!(partial.at(), 0);
    }

    #[test]
    fn a_wrong_file_never_gets_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("0");
        let (mut partial, progress) = open_partial(&target);
        partial.append(b"the pAyload", &progress).unwrap();
        assert!(matches!(partial.finish(), Err(Error::DigestMismatch { .. })));
        assert!(!target.exists());
        fs::write(&target, b"the pAyload").unwrap();
        open_partial(&target);
        assert!(!target.exists(), "a wrong complete file is removed");
    }

    #[test]
    fn a_size_that_no_disk_has_is_refused_before_the_first_byte() {
        let dir = tempfile::tempdir().unwrap();
        let huge = Signed { digest: Some(Digest([0; 32])), size: 1 << 60 };
        let error =
            open(&dir.path().join("0"), huge, &Progress::new(0), &Cancel::new()).unwrap_err();
        assert!(matches!(error, Error::NoSpace { needed, .. } if needed == 1 << 60));
    }
}
