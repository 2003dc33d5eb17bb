//! From a payload to files in a slot, believed no further than its digest.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::archive::{self, Entry};
use super::beneath::{Attributes, Beneath};
use super::listing::{BUFFER_BYTES, Listing};
use super::{Error, Settings, fit};
use crate::package::{Component, Digest, Format};
use crate::worker::{Cancel, Hashing, Progress};

/// Unpacks one component into the slot, and checks on the way that the payload is what was signed:
/// the file lay on the disk since it was downloaded.
pub(super) fn component(
    slot: &Beneath,
    listing: &mut Listing,
    component: &Component,
    payload: &Path,
    settings: &Settings,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<(), Error> {
    let mut source = Source::open(payload, progress, cancel)?;
    let unpacked = match component.format {
        Format::Raw => raw(slot, listing, component, &mut source, settings),
        Format::Tar | Format::TarZstd { .. } => {
            archive::each(component.format, &mut source, &mut |entry, bytes| {
                unpack(slot, listing, entry, bytes, settings)
            })
        }
    };
    // What went wrong in the source comes back as a damaged archive.
    if let Some(error) = source.trouble.take() {
        return Err(error);
    }
    let whole = source.size == component.size && source.digest() == component.digest;
    // A payload that is not what was signed explains every other trouble with it, if it was read.
    if unpacked.is_ok() && !whole {
        return Err(Error::PayloadChanged { path: payload.to_owned() });
    }
    unpacked
}

fn raw(
    slot: &Beneath,
    listing: &mut Listing,
    component: &Component,
    source: &mut Source<'_>,
    settings: &Settings,
) -> Result<(), Error> {
    let name = fit::path_of(component, settings)?;
    let no = |why| Error::BadArchive { entry: name.display().to_string(), why };
    let path = archive::inside(name.as_os_str().as_encoded_bytes()).map_err(no)?;
    if path.as_os_str().is_empty() {
        return Err(no("has no name"));
    }
    make_parents(slot, listing, &path)?;
    let attributes = Attributes::of_mode(RAW_MODE);
    write_file(slot, listing, path, attributes, component.size, source)
}

fn unpack(
    slot: &Beneath,
    listing: &mut Listing,
    entry: Entry,
    bytes: &mut dyn Read,
    settings: &Settings,
) -> Result<(), Error> {
    match entry {
        Entry::Directory(path, attributes) if path.as_os_str().is_empty() => {
            // The slot itself: it is ours.
            let _ = attributes;
            Ok(())
        }
        Entry::Directory(path, attributes) => {
            make_parents(slot, listing, &path)?;
            slot.make_directory(&path, allowed(attributes, settings))?;
            listing.directory(&path)
        }
        Entry::File(path, attributes, size) => {
            make_parents(slot, listing, &path)?;
            write_file(slot, listing, path, allowed(attributes, settings), size, bytes)
        }
        Entry::Link(path, target) => {
            make_parents(slot, listing, &path)?;
            new(slot, &path)?;
            slot.make_link(&target, &path)?;
            listing.link(&path, &target)
        }
    }
}

/// Archives need not name the directories that their files are in.
fn make_parents(slot: &Beneath, listing: &mut Listing, path: &Path) -> Result<(), Error> {
    let parents: Vec<&Path> =
        path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
    for parent in parents.into_iter().rev() {
        if slot.look(parent)?.is_none() {
            slot.make_directory(parent, Attributes::of_mode(0o755))?;
            listing.directory(parent)?;
        }
    }
    Ok(())
}

fn write_file(
    slot: &Beneath,
    listing: &mut Listing,
    path: PathBuf,
    attributes: Attributes,
    size: u64,
    bytes: &mut dyn Read,
) -> Result<(), Error> {
    new(slot, &path)?;
    let mut file = slot.create(&path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut written = 0;
    loop {
        match bytes.read(&mut buffer).map_err(|error| Error::Unreadable(error.to_string()))? {
            0 => break,
            n => {
                file.write_all(&buffer[..n]).map_err(Error::disk(file.path()))?;
                listing.wrote(n as u64).map_err(Error::disk(file.path()))?;
                hash.update(&buffer[..n]);
                written += n as u64;
            }
        }
    }
    if written != size {
        return Err(Error::Unreadable(format!("`{}` ends early", path.display())));
    }
    file.set(attributes)?;
    listing.file(&path, size, Digest(hash.finalize().into()))
}

fn new(slot: &Beneath, path: &Path) -> Result<(), Error> {
    match slot.look(path)? {
        None => Ok(()),
        Some(_) => {
            let entry = path.display().to_string();
            Err(Error::BadArchive { entry, why: "comes twice" })
        }
    }
}

/// What of an archive's wishes is granted.
fn allowed(attributes: Attributes, settings: &Settings) -> Attributes {
    let owners = settings.keep_owners && rustix::process::geteuid().is_root();
    let mode =
        if settings.keep_setuid { attributes.mode } else { attributes.mode & !SETUID_SETGID };
    Attributes { mode, owner: attributes.owner.filter(|_| owners), ..attributes }
}

/// A payload being read: hashed, counted, and stopped on request.
struct Source<'a> {
    path: &'a Path,
    file: File,
    hash: Hashing,
    size: u64,
    trouble: RefCell<Option<Error>>,
    progress: &'a Progress,
    cancel: &'a Cancel,
}

impl<'a> Source<'a> {
    fn open(path: &'a Path, progress: &'a Progress, cancel: &'a Cancel) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::disk(path))?;
        let (hash, trouble) = (Hashing::new(), RefCell::default());
        Ok(Self { path, file, hash, size: 0, trouble, progress, cancel })
    }

    fn digest(self) -> Digest {
        Digest(self.hash.finish())
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            *self.trouble.get_mut() = Some(Error::Cancelled);
            return Err(io::Error::other("stopped"));
        }
        match self.file.read(buffer) {
            Ok(read) => {
                self.hash.update(buffer.get(..read).unwrap_or_default());
                self.size += read as u64;
                self.progress.add(read as u64);
                Ok(read)
            }
            Err(error) => {
                *self.trouble.get_mut() = Some(Error::disk(self.path)(error));
                Err(io::Error::other("not readable"))
            }
        }
    }
}

/// A single file may be a program; its manifest has no word for that.
const RAW_MODE: u32 = 0o755;

const SETUID_SETGID: u32 = 0o6000;
