//! What a slot holds, written down while it is unpacked and read back from the disk afterwards: one
//! line a name, its digest last signed for by the slot's marker.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustix::fs::{Advice, FileType, fadvise};
use sha2::{Digest as _, Sha256};

use super::Error;
use super::beneath::{Attributes, Beneath, NewFile};
use crate::package::Digest;
use crate::worker::{Cancel, Flushing};

/// The directory in a slot that is freshen's own.
pub(super) const RESERVED: &str = ".freshen";

/// Where the listing is in a slot.
const LISTING: &str = ".freshen/files";

/// A listing that is being written.
#[derive(Debug)]
pub(super) struct Listing {
    file: BufWriter<NewFile>,
    hash: Sha256,
    flushing: Flushing,
}

impl Listing {
    /// Begins the listing of an empty slot.
    pub(super) fn begin(slot: &Beneath) -> Result<Self, Error> {
        slot.make_directory(Path::new(RESERVED), Attributes::of_mode(0o755))?;
        let file = BufWriter::new(slot.create(Path::new(LISTING))?);
        Ok(Self { file, hash: Sha256::new(), flushing: slot.flushing()? })
    }

    /// So many bytes more are in files of the slot.
    pub(super) fn wrote(&mut self, bytes: u64) -> io::Result<()> {
        self.flushing.wrote(bytes)
    }

    pub(super) fn directory(&mut self, path: &Path) -> Result<(), Error> {
        self.line(&format!("dir\t{}", path.display()))
    }

    pub(super) fn file(&mut self, path: &Path, size: u64, digest: Digest) -> Result<(), Error> {
        self.line(&format!("file\t{size}\t{digest}\t{}", path.display()))
    }

    pub(super) fn link(&mut self, path: &Path, target: &Path) -> Result<(), Error> {
        self.line(&format!("link\t{}\t{}", target.display(), path.display()))
    }

    /// Ends the listing and says what its digest is.
    pub(super) fn end(self) -> Result<Digest, Error> {
        let Self { file, hash, mut flushing } = self;
        let path = file.get_ref().path().to_owned();
        flushing.settle().map_err(Error::disk(&path))?;
        let mut file =
            file.into_inner().map_err(|error| error.into_error()).map_err(Error::disk(&path))?;
        file.set(Attributes::of_mode(0o644))?;
        file.sync()?;
        Ok(Digest(hash.finalize().into()))
    }

    /// Names have no control characters in them, so tabs and ends of lines are ours.
    fn line(&mut self, line: &str) -> Result<(), Error> {
        let line = format!("{line}\n");
        self.hash.update(&line);
        let written = self.file.write_all(line.as_bytes());
        written.map_err(Error::disk(self.file.get_ref().path()))
    }
}

/// Reads back everything that is listed, from the disk and not from memory where the system lets us.
pub(super) fn verify(slot: &Beneath, listing: Digest, cancel: &Cancel) -> Result<(), Error> {
    let (sender, lines) = sync_channel::<String>(LINES_WAITING_MAX);
    let lines = Mutex::new(lines);
    let next = || lines.lock().unwrap_or_else(PoisonError::into_inner).recv();
    let read_back = || -> Result<(), Error> {
        let mut read = Ok(());
        // After an error the lines are still taken, or whoever hands them out would wait for ever.
        while let Ok(line) = next() {
            if read.is_ok() {
                read = verify_line(slot, &line, cancel);
            }
        }
        read
    };
    let got = thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(read_back)).collect();
        let got = hand_out(slot, sender);
        let read = readers
            .into_iter()
            .map(|reader| reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        read.collect::<Result<(), Error>>().and(got)
    })?;
    let damaged = || Error::Damaged { path: slot.path().join(LISTING) };
    if got == listing { Ok(()) } else { Err(damaged()) }
}

/// Gives each line to whoever reads back, and says what the digest of all is.
fn hand_out(slot: &Beneath, readers: SyncSender<String>) -> Result<Digest, Error> {
    let mut lines =
        BufReader::new(Hashing { file: slot.open(Path::new(LISTING))?, hash: Sha256::new() });
    loop {
        let mut line = String::new();
        let read = (&mut lines).take(LINE_BYTES_MAX).read_line(&mut line);
        let read = read.map_err(Error::disk(&slot.path().join(LISTING)))?;
        if read == 0 || readers.send(line).is_err() {
            return Ok(Digest(lines.into_inner().hash.finalize().into()));
        }
    }
}

fn verify_line(slot: &Beneath, line: &str, cancel: &Cancel) -> Result<(), Error> {
    let mut fields = line.trim_end_matches('\n').split('\t');
    let mut next = || fields.next().unwrap_or_default();
    let (as_listed, path) = match next() {
        "dir" => {
            let path = next();
            let found = slot.look(Path::new(path))?;
            (matches!(found, Some((FileType::Directory, _))), path)
        }
        "link" => {
            let (target, path) = (next(), next());
            (slot.read_link(Path::new(path)) == Some(PathBuf::from(target)), path)
        }
        "file" => {
            let (size, digest, path) = (next(), next(), next());
            let mut file = slot.open(Path::new(path))?;
            // Only what is not waiting to be written can be forgotten; by now all is written.
            let _ = fadvise(&file, 0, None, Advice::DontNeed);
            let (got_size, got) = digest_of(&mut file, &slot.path().join(path), cancel)?;
            (got_size.to_string() == size && got.to_string() == digest, path)
        }
        _ => (false, LISTING),
    };
    if as_listed { Ok(()) } else { Err(Error::Damaged { path: slot.path().join(path) }) }
}

/// Length and digest of a file.
pub(super) fn digest_of(
    file: &mut File,
    path: &Path,
    cancel: &Cancel,
) -> Result<(u64, Digest), Error> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut size = 0;
    loop {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        match file.read(&mut buffer).map_err(Error::disk(path))? {
            0 => return Ok((size, Digest(hash.finalize().into()))),
            n => {
                hash.update(&buffer[..n]);
                size += n as u64;
            }
        }
    }
}

/// Permission bits of an open file.
pub(super) fn mode_of(file: &File, path: &Path) -> Result<u32, Error> {
    Ok(file.metadata().map_err(Error::disk(path))?.permissions().mode() & 0o7777)
}

struct Hashing {
    file: File,
    hash: Sha256,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hash.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// Files read back at the same time: one is hashed while another comes from the disk.
const READERS: usize = 2;

/// Lines that wait for a reader.
const LINES_WAITING_MAX: usize = 64;

/// Bytes read or written at once.
pub(super) const BUFFER_BYTES: usize = 64 * 1024;

/// The longest line, bytes: two paths and some numbers.
const LINE_BYTES_MAX: u64 = 8 * 1024;
