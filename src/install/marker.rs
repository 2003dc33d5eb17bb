//! What a slot, or a file, is: written last, so that what has no marker is not whole.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use super::beneath::{Attributes, Beneath};
use crate::package::{Digest, Manifest};

/// What was installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// Digest of the manifest: the name of this version.
    pub(super) manifest: Digest,
    /// As the manifest calls it.
    pub(super) version: String,
    /// Its sequence number, in case all other records of it are lost.
    #[serde(default)]
    pub(super) sequence: Option<u64>,
    /// Digest of what was installed: of the listing of a slot, or of the one file.
    pub(super) content: Digest,
}

impl Marker {
    pub(super) fn of(manifest: &Manifest, content: Digest) -> Self {
        Self {
            manifest: manifest.digest,
            version: manifest.version.clone(),
            sequence: Some(manifest.sequence),
            content,
        }
    }

    /// The marker at `path`, if there is one and it is whole.
    pub(super) fn read(at: &Beneath, path: &Path) -> Result<Option<Self>, Error> {
        if at.look(path)?.is_none() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let read = at.open(path)?.take(MARKER_BYTES_MAX).read_to_end(&mut bytes);
        read.map_err(Error::disk(&at.path().join(path)))?;
        Ok(ciborium::from_reader(&*bytes).ok())
    }

    /// Puts the marker at `path`, whole or not at all, and safe when this returns.
    pub(super) fn write(&self, at: &Beneath, path: &Path) -> Result<(), Error> {
        let mut bytes = Vec::new();
        ciborium::into_writer(self, &mut bytes).expect("a vector takes all that is written");
        write_note(at, path, &bytes)
    }
}

/// Puts a small file at `path`, whole or not at all, and safe when this returns.
pub(super) fn write_note(at: &Beneath, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let new = with_suffix(path, ".new");
    at.remove(&new)?;
    let mut file = at.create(&new)?;
    file.write_all(bytes).map_err(Error::disk(&at.path().join(&new)))?;
    file.set(Attributes::of_mode(0o644))?;
    file.sync()?;
    at.rename(&new, path)?;
    at.sync_directory(path.parent().unwrap_or(Path::new("")))
}

/// The text of a small file, if there is one.
pub(super) fn read_note(at: &Beneath, path: &Path) -> Result<Option<String>, Error> {
    if at.look(path)?.is_none() {
        return Ok(None);
    }
    let mut text = Vec::new();
    let read = at.open(path)?.take(MARKER_BYTES_MAX).read_to_end(&mut text);
    read.map_err(Error::disk(&at.path().join(path)))?;
    Ok(String::from_utf8(text).ok())
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The longest marker, bytes: two digests and a version.
const MARKER_BYTES_MAX: u64 = 4096;
