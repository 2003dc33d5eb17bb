//! This room keeps one record across power cuts.
//!
//! On disk a record named `update` is two files, `update.0` and `update.1`, A/B like the software.
//! Each holds a header (magic, format, generation, length), the body, and a SHA-256 digest over
//! both. A commit overwrites the older file and syncs it, so that the newer one is whole at every
//! moment; loading takes the valid file with the higher generation.
//!
//! This room does not know what is in a record.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Longest body of a record, bytes. The engine's state is below 4 KiB; more is a mistake.
pub const RECORD_BYTES_MAX: usize = 256 * 1024;

const MAGIC: [u8; 6] = *b"FRSHN1";
const HEADER_BYTES: usize = MAGIC.len() + 8 + 4;
const DIGEST_BYTES: usize = 32;

/// Why a record could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk refused.
    #[error("cannot {verb} {path}: {source}; check the disk and its permissions", path = path.display())]
    Disk {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The record is longer than [`RECORD_BYTES_MAX`].
    #[error("a record of {0} bytes is longer than {RECORD_BYTES_MAX}")]
    TooLong(usize),
}

/// What was found on disk.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// No record was ever kept here.
    Nothing,
    /// The newest whole record.
    Record(Vec<u8>),
    /// Files are there, but neither is whole: the disk lost what it had promised to keep.
    Damaged,
}

/// One record and its two files.
#[derive(Debug)]
pub struct Ledger {
    directory: PathBuf,
    files: [PathBuf; 2],
    generation: u64,
    newest: usize,
}

impl Ledger {
    /// Opens the record `name` below `directory`, which is made if it is not there, and reads it.
    ///
    /// # Errors
    ///
    /// [`Error::Disk`] when the directory cannot be made or a file that is there cannot be read.
    pub fn open(directory: &Path, name: &str) -> Result<(Self, Found), Error> {
        let refused = |verb, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Disk { verb, path, source }
        };
        fs::create_dir_all(directory).map_err(refused("create", directory))?;
        let files = [0, 1].map(|side| directory.join(format!("{name}.{side}")));
        let mut sides = [None, None];
        let mut any = false;
        for (side, path) in sides.iter_mut().zip(&files) {
            let bytes = read(path).map_err(refused("read", path))?;
            any |= bytes.is_some();
            *side = bytes.as_deref().and_then(decode);
        }
        let newest = usize::from(generation(&sides[1]) > generation(&sides[0]));
        let generation = generation(&sides[newest]);
        let found = match sides[newest].take() {
            Some((_, body)) => Found::Record(body),
            None if any => Found::Damaged,
            None => Found::Nothing,
        };
        Ok((Self { directory: directory.to_owned(), files, generation, newest }, found))
    }

    /// Keeps a new body. When this returns, it outlives a power cut.
    ///
    /// # Errors
    ///
    /// [`Error::Disk`] or [`Error::TooLong`]; then the former record is still the one that is kept.
    pub fn commit(&mut self, body: &[u8]) -> Result<(), Error> {
        if body.len() > RECORD_BYTES_MAX {
            return Err(Error::TooLong(body.len()));
        }
        let older = 1 - self.newest;
        let path = &self.files[older];
        let generation = self.generation + 1;
        if let Err(source) = self.write(path, &encode(generation, body)) {
            // A file that may or may not have reached the disk must not win after the next start.
            let _ = fs::remove_file(path);
            return Err(Error::Disk { verb: "write", path: path.clone(), source });
        }
        self.newest = older;
        self.generation = generation;
        Ok(())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = !path.exists();
        // Records may hold what only the device should read.
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        if new { File::open(&self.directory)?.sync_all() } else { Ok(()) }
    }
}

/// Writes a whole file that outlives a power cut, or leaves none of that name changed. Folders above
/// it are made.
///
/// # Errors
///
/// What the disk said.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    if !directory.is_dir() {
        fs::create_dir_all(directory)?;
        // The new name must be as durable as what is below it.
        if let Some(above) = directory.parent() {
            File::open(above)?.sync_all()?;
        }
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let mut file = File::create(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(directory)?.sync_all()
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let limit = HEADER_BYTES + RECORD_BYTES_MAX + DIGEST_BYTES + 1;
    let mut bytes = Vec::new();
    file.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn generation(side: &Option<(u64, Vec<u8>)>) -> u64 {
    side.as_ref().map_or(0, |(generation, _)| *generation)
}

fn encode(generation: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("commit refuses what is longer");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len() + DIGEST_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&generation.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(body);
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(&digest);
    bytes
}

/// Generation and body, if the file is whole to the last byte.
fn decode(bytes: &[u8]) -> Option<(u64, Vec<u8>)> {
    let (signed, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_BYTES)?)?;
    let rest = signed.strip_prefix(&MAGIC)?;
    let (generation, rest) = rest.split_first_chunk()?;
    let (length, body) = rest.split_first_chunk()?;
    let whole = u32::from_be_bytes(*length) as usize == body.len()
        && Sha256::digest(signed).as_slice() == digest;
    whole.then(|| (u64::from_be_bytes(*generation), body.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path) -> (Ledger, Found) {
        Ledger::open(directory, "r").unwrap()
    }

    #[test]
    fn the_last_commit_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let (mut ledger, found) = open(directory.path());
        assert_eq!(found, Found::Nothing);
        for n in 0..7_u8 {
            ledger.commit(&[n; 100]).unwrap();
            assert_eq!(open(directory.path()).1, Found::Record(vec![n; 100]));
        }
    }

    #[test]
    fn a_commit_cut_at_any_byte_leaves_the_record_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let (mut ledger, _) = open(directory.path());
        ledger.commit(b"first").unwrap();
        ledger.commit(b"second").unwrap();
        let older = directory.path().join("r.1");
        let whole = fs::read(directory.path().join("r.0")).unwrap();
        let torn = encode(3, b"third");
        assert!(whole != torn);
        for length in 0..torn.len() {
            fs::write(&older, &torn[..length]).unwrap();
            assert_eq!(open(directory.path()).1, Found::Record(b"second".to_vec()), "{length}");
        }
        fs::write(&older, &torn).unwrap();
        assert_eq!(open(directory.path()).1, Found::Record(b"third".to_vec()));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let whole = encode(9, b"a body");
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn two_broken_files_are_told_apart_from_none() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("r.0"), b"FRSHN1").unwrap();
        assert_eq!(open(directory.path()).1, Found::Damaged);
    }

    #[test]
    fn a_disk_that_refuses_leaves_the_record_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let (mut ledger, _) = open(directory.path());
        ledger.commit(b"kept").unwrap();
        // A directory where the file should be: the disk refuses even root.
        fs::remove_file(directory.path().join("r.0")).ok();
        fs::create_dir(directory.path().join("r.0")).unwrap();
        assert!(matches!(ledger.commit(b"lost"), Err(Error::Disk { .. })));
        fs::remove_dir(directory.path().join("r.0")).unwrap();
        assert_eq!(open(directory.path()).1, Found::Record(b"kept".to_vec()));
        ledger.commit(b"later").unwrap();
        assert_eq!(open(directory.path()).1, Found::Record(b"later".to_vec()));
    }
}
