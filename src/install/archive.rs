//! From a payload to entries that may be unpacked: every name and every link judged before anything is
//! written.
//!
//! The tar crate finds the entries; the names, which it would let pass, are judged here, and so are the
//! lengths of what it would read into memory.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, EntryType, Header, PaxExtensions};
use zstd::stream::read::Decoder;

use super::Error;
use super::beneath::Attributes;
use super::listing::RESERVED;
use crate::package::{Format, ZSTD_WINDOW_LOG_MAX};

/// One thing to unpack. Its name and target stay inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Directory(PathBuf, Attributes),
    /// With its length, bytes.
    File(PathBuf, Attributes, u64),
    /// With what the link says.
    Link(PathBuf, PathBuf),
}

/// Reads an archive to its end and checks that a device would unpack it; how many names are in it.
///
/// # Errors
///
/// The first reason not to.
pub fn check(format: Format, payload: impl Read) -> Result<usize, Error> {
    // For each name whether it is a directory, which may come again and have others below it.
    let mut names = HashMap::new();
    each(format, payload, &mut |entry, bytes| {
        let (path, directory, size) = match entry {
            Entry::Directory(path, _) => (path, true, 0),
            Entry::File(path, _, size) => (path, false, size),
            Entry::Link(path, _) => (path, false, 0),
        };
        let no = |why| bad(path.as_os_str().as_encoded_bytes(), why);
        if path.ancestors().skip(1).any(|above| names.get(above) == Some(&false)) {
            return Err(no("is below something that is not a directory"));
        }
        if io::copy(bytes, &mut io::sink()).map_err(unreadable)? != size {
            return Err(no("ends early"));
        }
        match names.get(&path) {
            Some(before) if !(*before && directory) => Err(no("comes twice")),
            _ => {
                names.extend(path.ancestors().skip(1).map(|above| (above.to_owned(), true)));
                names.insert(path, directory);
                Ok(())
            }
        }
    })?;
    Ok(names.len())
}

/// Visits every entry of an archive, and reads it to its end. Formats that are not archives have none.
pub(super) fn each(
    format: Format,
    mut payload: impl Read,
    visit: &mut dyn FnMut(Entry, &mut dyn Read) -> Result<(), Error>,
) -> Result<(), Error> {
    match format {
        Format::Raw => Ok(()),
        Format::Tar => each_of_tar(&mut payload, visit),
        Format::TarZstd { unpacked_bytes_max } => {
            let mut decoder = Decoder::new(payload).map_err(unreadable)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(unreadable)?;
            each_of_tar(&mut Bounded { decoder, left: unpacked_bytes_max }, visit)
        }
    }
}

fn each_of_tar(
    reader: &mut dyn Read,
    visit: &mut dyn FnMut(Entry, &mut dyn Read) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut archive = Archive::new(&mut *reader);
    let mut said = Said::default();
    let mut count = 0;
    for entry in archive.entries().map_err(unreadable)?.raw(true) {
        let mut entry = entry.map_err(unreadable)?;
        count += 1;
        if count > ENTRIES_MAX {
            return Err(bad(b"", "is one of too many"));
        }
        let header = entry.header().clone();
        match header.entry_type() {
            EntryType::GNULongName => said.name = Some(read_text(&mut entry)?),
            EntryType::GNULongLink => said.link = Some(read_text(&mut entry)?),
            EntryType::XHeader => said.take_pax(&read_bounded(&mut entry)?)?,
            // Applies to all entries; what matters is said by each of them as well.
            EntryType::XGlobalHeader => drop(read_bounded(&mut entry)?),
            _ => {
                let judged = std::mem::take(&mut said).judge(&header)?;
                visit(judged, &mut entry)?;
            }
        }
    }
    // Whatever follows the archive is still part of what was signed.
    io::copy(reader, &mut io::sink()).map_err(unreadable)?;
    Ok(())
}

/// What the entries before an entry said about it.
#[derive(Default)]
struct Said {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    owner: (Option<u32>, Option<u32>),
    mtime: Option<i64>,
    size: Option<u64>,
}

impl Said {
    fn take_pax(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for extension in PaxExtensions::new(bytes) {
            let extension = extension.map_err(unreadable)?;
            let value = extension.value_bytes();
            let number = || str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
            match extension.key_bytes() {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"uid" => self.owner.0 = number().and_then(|id| id.try_into().ok()),
                b"gid" => self.owner.1 = number().and_then(|id| id.try_into().ok()),
                b"size" => self.size = number(),
                b"mtime" => {
                    let text = str::from_utf8(value).unwrap_or_default();
                    self.mtime = text.split('.').next().and_then(|seconds| seconds.parse().ok());
                }
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(bad(key, "describes a file with holes; pack it without --sparse"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn judge(self, header: &Header) -> Result<Entry, Error> {
        let name = self.name.unwrap_or_else(|| header.path_bytes().into_owned());
        let path = inside(&name).map_err(|why| bad(&name, why))?;
        let no = |why| bad(&name, why);
        let size = header.entry_size().map_err(unreadable)?;
        if self.size.is_some_and(|other| other != size) {
            return Err(no("has two different lengths"));
        }
        let attributes = Attributes {
            mode: header.mode().map_err(unreadable)? & 0o7777,
            owner: self
                .owner
                .0
                .or(header.uid().ok().and_then(|id| id.try_into().ok()))
                .zip(self.owner.1.or(header.gid().ok().and_then(|id| id.try_into().ok()))),
            mtime: self.mtime.or(header.mtime().ok().and_then(|time| time.try_into().ok())),
        };
        match header.entry_type() {
            EntryType::Directory => Ok(Entry::Directory(path, attributes)),
            _ if path.as_os_str().is_empty() => Err(no("has no name")),
            EntryType::Regular | EntryType::Continuous => Ok(Entry::File(path, attributes, size)),
            EntryType::Symlink => {
                let target = self.link.or_else(|| header.link_name_bytes().map(Into::into));
                let target = link_inside(&path, &target.unwrap_or_default()).map_err(no)?;
                Ok(Entry::Link(path, target))
            }
            EntryType::Link => Err(no("is a hard link; pack it with --hard-dereference")),
            EntryType::Char | EntryType::Block => Err(no("is a device node")),
            EntryType::Fifo => Err(no("is a named pipe")),
            EntryType::GNUSparse => Err(no("has holes; pack it without --sparse")),
            _ => Err(no("is of a kind that is not known")),
        }
    }
}

/// A name that stays where it is unpacked; empty for that place itself.
pub(super) fn inside(name: &[u8]) -> Result<PathBuf, &'static str> {
    let text = str::from_utf8(name).map_err(|_| "has a name that is not UTF-8")?;
    if text.chars().any(char::is_control) {
        return Err("has a control character in its name");
    }
    let mut path = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(name) if name.len() > NAME_BYTES_MAX => {
                return Err("has a name that is too long");
            }
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir => return Err("climbs out with `..`"),
            Component::RootDir | Component::Prefix(_) => return Err("has an absolute name"),
        }
    }
    if path.as_os_str().len() > PATH_BYTES_MAX || path.components().count() > DEPTH_MAX {
        return Err("has a name that is too long");
    }
    if path.starts_with(RESERVED) {
        return Err("has a name that is kept for freshen");
    }
    Ok(path)
}

/// A link may go up first and then down, and never above the top. Where `..` follows a name, it would
/// depend on what that name links to; so it may not.
fn link_inside(path: &Path, target: &[u8]) -> Result<PathBuf, &'static str> {
    let text = str::from_utf8(target).map_err(|_| "links to a name that is not UTF-8")?;
    let depth = path.components().count() - 1;
    let up = Path::new(text).components().take_while(|part| *part == Component::ParentDir).count();
    let down: PathBuf = Path::new(text).components().skip(up).collect();
    let too_far = "links to something outside";
    if text.is_empty() || up > depth {
        return Err(too_far);
    }
    inside(down.as_os_str().as_encoded_bytes()).map_err(|_| too_far)?;
    Ok(text.into())
}

fn read_text(entry: &mut impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = read_bounded(entry)?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(bytes)
}

fn read_bounded(entry: &mut impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    entry.take(HEADER_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > HEADER_BYTES_MAX {
        return Err(bad(b"", "has a header that is too long"));
    }
    Ok(bytes)
}

/// Ends with an error where more comes out than was signed.
struct Bounded<R> {
    decoder: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer)?;
        let left = self.left.checked_sub(read as u64);
        self.left = left.ok_or_else(|| io::Error::other("it unpacks to more than was signed"))?;
        Ok(read)
    }
}

fn bad(name: &[u8], why: &'static str) -> Error {
    let entry = String::from_utf8_lossy(name).chars().take(NAME_SHOWN_MAX).collect();
    Error::BadArchive { entry, why }
}

fn unreadable(error: io::Error) -> Error {
    let text = error.to_string();
    // The decoder has no other way to say it.
    if text.contains("too much memory") { Error::NoMemory } else { Error::Unreadable(text) }
}

/// Entries in one archive. A root file system has 10,000 to 100,000.
const ENTRIES_MAX: u64 = 1 << 20;

/// The longest name of a file, bytes (Linux NAME_MAX).
const NAME_BYTES_MAX: usize = 255;

/// The longest path in an archive, bytes: leaves room in PATH_MAX for where the slot is.
const PATH_BYTES_MAX: usize = 2048;

/// The deepest path in an archive, names. Clearing a slot recurses as deep.
const DEPTH_MAX: usize = 64;

/// The longest extended header, bytes: two paths and some numbers.
const HEADER_BYTES_MAX: u64 = 64 * 1024;

/// How much of a bad name is shown, characters.
const NAME_SHOWN_MAX: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        for (name, path) in
            [("a", "a"), ("./a/./b/", "a/b"), (".", ""), ("./", ""), ("a//b", "a/b")]
        {
            assert_eq!(inside(name.as_bytes()), Ok(PathBuf::from(path)), "{name}");
        }
        for name in ["..", "a/..", "a/../b", "../a", "/", "/a", "a\nb", "a\0b", "a\x1b[2Jb"] {
            assert!(inside(name.as_bytes()).is_err(), "{name:?}");
        }
        assert!(inside(b"\xff").is_err());
        assert!(inside(RESERVED.as_bytes()).is_err());
        assert!(inside(format!("./{RESERVED}/x").as_bytes()).is_err());
        assert!(inside(&[b'a'; 256]).is_err());
        assert!(inside("a/".repeat(65).as_bytes()).is_err());
    }

    #[test]
    fn links_stay_inside_whatever_other_links_there_are() {
        let link = |path: &str, target: &str| link_inside(Path::new(path), target.as_bytes());
        for (path, target) in [("a", "b"), ("a/b", "../c"), ("a/b/c", "../../x/y"), ("a", "b/c")] {
            link(path, target).unwrap();
        }
        for (path, target) in [
            ("a", ""),
            ("a", "../b"),
            ("a", "/etc"),
            ("a/b", "../../c"),
            ("a/b", "c/../../.."),
            ("a", "b/.."),
            ("a", "./../b"),
            ("a", RESERVED),
            ("a/b", "../.freshen/slot"),
        ] {
            assert!(link(path, target).is_err(), "{path} -> {target}");
        }
    }

    #[test]
    fn names_that_cannot_be_side_by_side_are_refused_before_there_is_a_disk() {
        let check = |entries: &[(&str, EntryType)]| {
            let mut builder = tar::Builder::new(vec![]);
            for (name, kind) in entries {
                let mut header = Header::new_gnu();
                header.set_entry_type(*kind);
                header.set_size(0);
                header.set_mode(0o755);
                if *kind == EntryType::Symlink {
                    header.set_link_name("x").unwrap();
                }
                builder.append_data(&mut header, name, io::empty()).unwrap();
            }
            check(Format::Tar, &*builder.into_inner().unwrap())
        };
        let (file, link, dir) = (EntryType::Regular, EntryType::Symlink, EntryType::Directory);
        check(&[("a", dir), ("a/b", file), ("a", dir), ("c/d/e", file), ("c/d", dir)]).unwrap();
        for entries in [
            [("a", file), ("a", file)],
            [("a", link), ("./a", file)],
            [("a", file), ("a", dir)],
            [("a", dir), ("a", link)],
            [("a/b", file), ("a", file)],
            [("a", link), ("a/b", file)],
            [("a", file), ("a/b/c", file)],
        ] {
            assert!(matches!(check(&entries), Err(Error::BadArchive { .. })), "{entries:?}");
        }
        assert!(check(&[("a", EntryType::Link)]).is_err());
        assert!(check(&[("a", EntryType::GNUSparse)]).is_err());
    }

    #[test]
    fn what_unpacks_to_more_than_signed_is_refused() {
        let tar = vec![0; 10_240];
        let packed = zstd::encode_all(&*tar, 3).unwrap();
        check(Format::TarZstd { unpacked_bytes_max: 10_240 }, &*packed).unwrap();
        let error = check(Format::TarZstd { unpacked_bytes_max: 10_239 }, &*packed).unwrap_err();
        assert!(error.to_string().contains("more than was signed"), "{error}");
    }

    #[test]
    fn a_window_that_needs_too_much_memory_is_told_apart() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(24).unwrap();
        encoder.include_contentsize(false).unwrap();
        io::copy(&mut io::repeat(0).take(20 << 20), &mut encoder).unwrap();
        let packed = encoder.finish().unwrap();
        let error = check(Format::TarZstd { unpacked_bytes_max: 1 << 30 }, &*packed).unwrap_err();
        assert!(matches!(error, Error::NoMemory), "{error}");
    }
}
