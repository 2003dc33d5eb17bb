//! From a file or directory to a payload: copied, archived or compressed in one pass, hashed on the way.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use sha2::{Digest as _, Sha256};

use super::archive;
use crate::package::{Digest, Format, ZSTD_WINDOW_LOG_MAX};

/// How hard zstd tries: close to the best it can, at some 60 MB/s on one core.
const ZSTD_LEVEL: i32 = 9;

/// Devices take 8 MiB, and hold the window in memory. Half of that keeps an update below 16 MiB, and
/// costs little: the libraries of a Debian system, 693 MB, become 1.0 % longer.
const ZSTD_WINDOW_LOG: u32 = 22;

/// Bytes at the start of every zstd frame (RFC 8878, 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What the manifest says about a payload.
pub(super) struct Payload {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) format: Format,
}

/// What is to become of the input.
#[derive(Clone, Copy)]
pub(super) struct Treatment {
    /// A file is a tar archive, not the file to install.
    pub(super) tar: bool,
    /// Compress archives.
    pub(super) zstd: bool,
    /// The time of all files in an archive made here, seconds since 1970.
    pub(super) mtime: u64,
}

/// Writes the payload made of `input` to `sink`.
pub(super) fn make(input: &Path, treatment: Treatment, sink: impl Write) -> Result<Payload> {
    let mut sink = Hashing::new(sink);
    let format = if input.is_dir() {
        let progress = progress(archive::size(input));
        archived(treatment, &mut sink, |sink| {
            archive::write(input, progress.wrap_write(sink), treatment.mtime)
        })?
    } else if treatment.tar {
        from_archive(input, treatment, &mut sink)?
    } else if treatment.zstd {
        bail!(
            "only archives are compressed: pack a directory, or a tar archive with --tar, \
             instead of the file {}",
            input.display()
        );
    } else {
        copy(&mut open(input)?, &mut sink)?;
        Format::Raw
    };
    sink.inner.flush().context("cannot write the payload")?;
    Ok(Payload { digest: Digest(sink.sha256.finalize().into()), size: sink.bytes, format })
}

/// An archive that is there already, perhaps compressed already.
fn from_archive(input: &Path, treatment: Treatment, sink: &mut impl Write) -> Result<Format> {
    let cannot = || format!("{}", input.display());
    let mut magic = [0; ZSTD_MAGIC.len()];
    let compressed = open(input)?.read_exact(&mut magic).is_ok() && magic == ZSTD_MAGIC;
    if !compressed {
        return archived(treatment, sink, |mut sink| copy(&mut open(input)?, &mut sink));
    }
    let mut unzipped = zstd::Decoder::new(open(input)?).with_context(cannot)?;
    unzipped.window_log_max(ZSTD_WINDOW_LOG_MAX).with_context(cannot)?;
    let unpacked_bytes_max = io::copy(&mut unzipped, &mut io::sink()).with_context(cannot)?;
    copy(&mut open(input)?, sink)?;
    Ok(Format::TarZstd { unpacked_bytes_max })
}

/// Compresses what `write` writes, or does not.
fn archived(
    treatment: Treatment,
    sink: &mut impl Write,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<Format> {
    if !treatment.zstd {
        write(sink)?;
        return Ok(Format::Tar);
    }
    let zstd = compressing(sink, ZSTD_LEVEL)?;
    let mut counting = Counting { inner: zstd, bytes: 0 };
    write(&mut counting)?;
    counting.inner.finish().context("cannot compress the payload")?;
    Ok(Format::TarZstd { unpacked_bytes_max: counting.bytes })
}

/// As zstd, with a window that devices have the memory for.
pub(super) fn compressing<W: Write>(to: W, level: i32) -> Result<zstd::Encoder<'static, W>> {
    let mut zstd = zstd::Encoder::new(to, level)?;
    zstd.window_log(ZSTD_WINDOW_LOG)?;
    zstd.include_checksum(true)?;
    Ok(zstd)
}

fn open(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(BufReader::with_capacity(1 << 16, file))
}

fn copy(from: &mut BufReader<File>, to: &mut (impl Write + ?Sized)) -> Result<()> {
    let length = from.get_ref().metadata().map_or(0, |metadata| metadata.len());
    io::copy(&mut progress(length).wrap_read(from), to).context("cannot write the payload")?;
    Ok(())
}

/// A bar on a terminal, nothing elsewhere. Short work is over before it is drawn.
fn progress(bytes: u64) -> ProgressBar {
    let template = "  {bar:32.cyan/dim} {decimal_bytes} of {decimal_total_bytes}, {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style).with_finish(ProgressFinish::AndClear)
}

/// Hashes and counts what passes.
struct Hashing<W> {
    inner: W,
    sha256: Sha256,
    bytes: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, sha256: Sha256::new(), bytes: 0 }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.sha256.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Counts what passes.
struct Counting<T> {
    inner: T,
    bytes: u64,
}

impl<T: Write> Write for Counting<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Size and digest of a file, to compare with a manifest.
pub(super) fn measure(path: &Path) -> Result<(u64, Digest)> {
    let mut sink = Hashing::new(io::sink());
    copy(&mut open(path)?, &mut sink)?;
    Ok((sink.bytes, Digest(sink.sha256.finalize().into())))
}
