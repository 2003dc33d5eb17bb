//! What is transferred in the place of a payload: a patch, or the payload compressed or encrypted.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Cursor, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::payload::{self, Payload};
use crate::install;
use crate::package::{Coding, Digest, Encoding, Format, Image, Recipient, encrypt};

/// How hard zstd tries on a patch: it is small, and every device saves what it saves.
const PATCH_ZSTD_LEVEL: i32 = 19;

/// The same for the whole, as for archives.
const WHOLE_ZSTD_LEVEL: i32 = 9;

/// Writes a patch from `old` to the payload at `image`, and tells what it is for: a file, or the
/// contents of a directory as devices have them.
pub(super) fn patch(old: &Path, payload: &Payload, image: &Path, patch: &Path) -> Result<Encoding> {
    let from = || format!("--delta-from {}", old.display());
    let precursor = match payload.format {
        Format::Raw => {
            ensure!(old.is_file(), "{} is no file, but the new software is one", from());
            fs::read(old).with_context(from)?
        }
        Format::Tar | Format::TarZstd { .. } => {
            ensure!(
                old.is_dir(),
                "{} is no directory: give the one whose contents the devices have now",
                from()
            );
            let mut archive = vec![];
            install::canonical_archive(old, &mut archive).with_context(from)?;
            archive
        }
    };
    let new = fs::read(image).context("cannot read the payload again")?;
    let cannot = || format!("cannot write {}", patch.display());
    let file = BufWriter::new(File::create(patch).with_context(cannot)?);
    let mut zstd = payload::compressing(file, PATCH_ZSTD_LEVEL)?;
    bidiff::simple_diff(&precursor, &new, &mut zstd).with_context(cannot)?;
    zstd.finish().and_then(|mut file| file.flush()).with_context(cannot)?;
    let encoding = Encoding::Delta { precursor: Digest::of(&precursor) };
    try_out(encoding, payload, patch, precursor)?;
    Ok(encoding)
}

/// Applies a patch as a device will.
fn try_out(encoding: Encoding, payload: &Payload, patch: &Path, precursor: Vec<u8>) -> Result<()> {
    let (size, digest) = payload::measure(patch)?;
    let coding = Coding { digest: Some(digest), size, encryption: None, encoding };
    let image = Image { digest: payload.digest, size: payload.size };
    let patch = File::open(patch).context("cannot read the patch again")?;
    coding
        .decode(image, None, patch, &mut Cursor::new(precursor), &mut io::sink())
        .context("no device could apply the patch; leave out --delta-from")
}

/// Compresses all of `from`.
pub(super) fn compress(from: &Path, to: &Path) -> Result<Encoding> {
    let cannot = || format!("cannot write {}", to.display());
    let mut zstd = payload::compressing(File::create(to).with_context(cannot)?, WHOLE_ZSTD_LEVEL)?;
    io::copy(&mut open(from)?, &mut zstd).with_context(cannot)?;
    zstd.finish().with_context(cannot)?;
    Ok(Encoding::Zstd)
}

/// Writes what is transferred: `from` as it is, or encrypted. `None` where that is the payload itself.
pub(super) fn publishable(
    from: &Path,
    encoding: Encoding,
    recipients: &[Recipient],
    to: &Path,
) -> Result<Option<Coding>> {
    let cannot = || format!("cannot write {}", to.display());
    let mut file = BufWriter::new(File::create(to).with_context(cannot)?);
    let encryption = if recipients.is_empty() {
        io::copy(&mut open(from)?, &mut file).with_context(cannot)?;
        None
    } else {
        Some(encrypt(recipients, open(from)?, &mut file).with_context(cannot)?)
    };
    let file = file.into_inner().map_err(io::IntoInnerError::into_error).with_context(cannot)?;
    file.sync_all().with_context(cannot)?;
    if encryption.is_none() && encoding == Encoding::Identity {
        return Ok(None);
    }
    let (size, digest) = payload::measure(to)?;
    Ok(Some(Coding { digest: Some(digest), size, encryption, encoding }))
}

fn open(path: &Path) -> Result<impl Read> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(BufReader::with_capacity(1 << 16, file))
}
