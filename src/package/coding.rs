//! From what was transferred to the image that was signed: decrypted, patched, unpacked, as a stream.
//!
//! Nothing of an encrypted payload is decrypted before all of it was authenticated, and nothing that
//! comes out is believed before its digest is: whoever calls throws away what was written where this
//! fails. Memory does not depend on the size of anything: a zstd window, and buffers.

use std::io::{self, Read, Seek, SeekFrom, Write};

use sha2::{Digest as _, Sha256};
use zstd::stream::read::Decoder;

use super::encryption::{EncryptionInfo, Recipient};
use super::gcm::ContentKey;
use super::{Coding, DecryptionKey, Digest, Encoding, KeyError, Refusal, ZSTD_WINDOW_LOG_MAX};

const BUFFER_BYTES: usize = 64 * 1024;

/// Why no image came out.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// This package, or what was transferred, does not give it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The image could not be written.
    #[error("the image cannot be written: {0}")]
    Output(io::Error),
    /// What was transferred could not be read from where it is kept.
    #[error("the payload cannot be read: {0}")]
    Input(io::Error),
}

/// What a package says that the image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// SHA-256.
    pub digest: Digest,
    /// Its length, bytes.
    pub size: u64,
}

/// Something that can be read twice.
pub trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

impl Coding {
    /// Writes the image to `sink`. `transferred` has the length and the digest that the coding says;
    /// `precursor` is what [`Encoding::Delta`] asks for, or anything else where it does not.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]; what was written then is of no use.
    pub fn decode(
        &self,
        image: Image,
        key: Option<&DecryptionKey>,
        mut transferred: impl Read + Seek,
        precursor: &mut dyn Source,
        sink: &mut dyn Write,
    ) -> Result<(), DecodeError> {
        let Some(info) = &self.encryption else {
            return self.unpack(image, transferred, precursor, sink);
        };
        let content = info.open(key.ok_or(Refusal::NoDecryptionKey)?)?;
        if !content.authenticate(&mut transferred, self.size).map_err(DecodeError::Input)? {
            return Err(Refusal::Digest { of: "an encrypted payload" }.into());
        }
        transferred.seek(SeekFrom::Start(0)).map_err(DecodeError::Input)?;
        self.unpack(image, content.decrypt(transferred, self.size), precursor, sink)
    }

    fn unpack(
        &self,
        image: Image,
        clear: impl Read,
        precursor: &mut dyn Source,
        sink: &mut dyn Write,
    ) -> Result<(), DecodeError> {
        match self.encoding {
            Encoding::Identity => copy(image, clear, sink),
            Encoding::Zstd => copy(image, unzipped(clear)?, sink),
            Encoding::Delta { .. } => {
                // A patch may say nothing at great length; an honest one is not longer than this.
                let limit = image.size.saturating_mul(2).saturating_add(PATCH_BYTES_MORE);
                let patch = unzipped(clear)?.take(limit);
                let patched = bipatch::Reader::new(patch, precursor).map_err(|_| unreadable())?;
                copy(image, patched, sink)
            }
        }
    }
}

/// What a patch may be longer than twice its image: the head, and small images that are all control.
const PATCH_BYTES_MORE: u64 = 64 * 1024;

fn unzipped<R: Read>(from: R) -> Result<Decoder<'static, io::BufReader<R>>, DecodeError> {
    let mut decoder = Decoder::new(from).map_err(|_| unreadable())?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| unreadable())?;
    Ok(decoder)
}

/// Writes no more than the image has, and says whether that is it.
fn copy(image: Image, mut from: impl Read, sink: &mut dyn Write) -> Result<(), DecodeError> {
    let mut hash = Sha256::new();
    let mut left = image.size;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).map_err(|_| unreadable())?;
        let piece = buffer.get(..count).unwrap_or_default();
        left = left.checked_sub(count as u64).ok_or(Refusal::Coding("is longer than signed"))?;
        if count == 0 {
            break;
        }
        hash.update(piece);
        sink.write_all(piece).map_err(DecodeError::Output)?;
    }
    if left > 0 {
        return Err(Refusal::Coding("is shorter than signed").into());
    }
    if Digest(hash.finalize().into()) != image.digest {
        return Err(Refusal::Digest { of: "an unpacked payload" }.into());
    }
    Ok(())
}

fn unreadable() -> DecodeError {
    Refusal::Coding("cannot be read").into()
}

/// Encrypts all of `from` for these devices.
///
/// # Errors
///
/// A key that is of no use, or what reading and writing say.
pub fn encrypt(
    recipients: &[Recipient],
    from: impl Read,
    to: impl Write,
) -> Result<EncryptionInfo, EncryptError> {
    let (info, content): (EncryptionInfo, ContentKey) = EncryptionInfo::seal(recipients)?;
    content.encrypt(from, to)?;
    Ok(info)
}

/// Why nothing was encrypted.
#[derive(Debug, thiserror::Error)]
pub enum EncryptError {
    /// A key is of no use.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What reading and writing say.
    #[error("cannot encrypt: {0}")]
    Io(#[from] io::Error),
}
