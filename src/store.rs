//! This room keeps one record across power cuts.
//!
//! On disk a record named `update` is two files, `update.0` and `update.1`, A/B like the software.
//! Each holds a header (magic, generation, form, length), the body, and a SHA-256 digest over
//! both. A commit overwrites the older file and syncs it, so that the newer one is whole at every
//! moment; loading takes the valid file with the higher generation.
//!
//! This room does not know what is in a record, but in which form it was written and who can read
//! that: an agent that was rolled back must not take for nothing what a newer one wrote.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Longest body of a record, bytes. The engine's state is below 4 KiB; more is a mistake.
pub const RECORD_BYTES_MAX: usize = 256 * 1024;

const MAGIC: [u8; 6] = *b"FRSHN2";
/// Files from before there were forms; they have the first one.
const MAGIC_WITHOUT_FORM: [u8; 6] = *b"FRSHN1";
const HEADER_BYTES: usize = MAGIC.len() + 8 + 2 + 2 + 4;
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

/// How the body of a record is to be read. A record's owner has one constant of these, and raises it
/// when what it writes changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Which form it is, from 1.
    pub number: u16,
    /// The oldest form whose readers can read this one too, and lose nothing that matters: equal to
    /// `number` when none can.
    pub since: u16,
}

impl Form {
    /// The first form of a record.
    pub const FIRST: Self = Self { number: 1, since: 1 };
}

/// What was found on disk.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// No record was ever kept here.
    Nothing,
    /// The newest whole record.
    Record(Vec<u8>),
    /// The newest record is whole, but in a form that whoever opens it here cannot read.
    Newer {
        /// The form that it is in.
        form: u16,
    },
    /// Files are there, but neither is whole: the disk lost what it had promised to keep.
    Damaged,
}

/// One record and its two files.
#[derive(Debug)]
pub struct Ledger {
    directory: PathBuf,
    files: [PathBuf; 2],
    form: Form,
    generation: u64,
    newest: usize,
}

/// A whole file.
#[derive(Debug, PartialEq, Eq)]
struct Side {
    generation: u64,
    form: Form,
    body: Vec<u8>,
}

impl Ledger {
    /// Opens the record `name` below `directory`, which is made if it is not there, and reads it.
    /// `form` is what the caller reads and writes.
    ///
    /// # Errors
    ///
    /// [`Error::Disk`] when the directory cannot be made or a file that is there cannot be read.
    pub fn open(directory: &Path, name: &str, form: Form) -> Result<(Self, Found), Error> {
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
            // The older side may be readable; it is not what the device knew last.
            Some(side) if side.form.since > form.number => Found::Newer { form: side.form.number },
            Some(side) => Found::Record(side.body),
            None if any => Found::Damaged,
            None => Found::Nothing,
        };
        Ok((Self { directory: directory.to_owned(), files, form, generation, newest }, found))
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
        if let Err(source) = self.write(path, &encode(generation, self.form, body)) {
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

fn generation(side: &Option<Side>) -> u64 {
    side.as_ref().map_or(0, |side| side.generation)
}

fn encode(generation: u64, form: Form, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("commit refuses what is longer");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len() + DIGEST_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&generation.to_be_bytes());
    bytes.extend_from_slice(&form.number.to_be_bytes());
    bytes.extend_from_slice(&form.since.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(body);
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(&digest);
    bytes
}

/// The file, if it is whole to the last byte.
fn decode(bytes: &[u8]) -> Option<Side> {
    let (signed, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_BYTES)?)?;
    let (magic, rest) = signed.split_first_chunk()?;
    let (generation, rest) = rest.split_first_chunk()?;
    let (form, rest) = match *magic {
        MAGIC => {
            let (number, rest) = rest.split_first_chunk()?;
            let (since, rest) = rest.split_first_chunk()?;
            let [number, since] = [number, since].map(|bytes| u16::from_be_bytes(*bytes));
            (Form { number, since }, rest)
        }
        MAGIC_WITHOUT_FORM => (Form::FIRST, rest),
        _ => return None,
    };
    let (length, body) = rest.split_first_chunk()?;
    let whole = u32::from_be_bytes(*length) as usize == body.len()
        && Sha256::digest(signed).as_slice() == digest;
    let generation = u64::from_be_bytes(*generation);
    whole.then(|| Side { generation, form, body: body.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path) -> (Ledger, Found) {
        Ledger::open(directory, "r", Form::FIRST).unwrap()
    }

    #[test]
    fn a_form_is_read_by_those_who_can_and_by_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let open = |form| Ledger::open(directory.path(), "r", form).unwrap();
        let [second, third] = [Form { number: 2, since: 2 }, Form { number: 3, since: 2 }];
        open(Form::FIRST).0.commit(b"one").unwrap();
        open(second).0.commit(b"two").unwrap();
        assert_eq!(open(second).1, Found::Record(b"two".to_vec()));
        // Not the older side, which it could read.
        assert_eq!(open(Form::FIRST).1, Found::Newer { form: 2 });
        open(third).0.commit(b"three").unwrap();
        assert_eq!(open(second).1, Found::Record(b"three".to_vec()));
        assert_eq!(open(Form::FIRST).1, Found::Newer { form: 3 });
        // Whoever begins anew on top of it is believed in the next life.
        let (mut ledger, _) = open(Form::FIRST);
        ledger.commit(b"anew").unwrap();
        assert_eq!(open(Form::FIRST).1, Found::Record(b"anew".to_vec()));
    }

    #[test]
    fn files_from_before_there_were_forms_have_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let mut bytes = b"FRSHN1\0\0\0\0\0\0\0\x05\0\0\0\x03old".to_vec();
        let digest = Sha256::digest(&bytes);
        bytes.extend_from_slice(&digest);
        fs::write(directory.path().join("r.0"), bytes).unwrap();
        let (mut ledger, found) = open(directory.path());
        assert_eq!(found, Found::Record(b"old".to_vec()));
        ledger.commit(b"new").unwrap();
        assert_eq!(open(directory.path()).1, Found::Record(b"new".to_vec()));
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
        let torn = encode(3, Form::FIRST, b"third");
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
        let whole = encode(9, Form::FIRST, b"a body");
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
