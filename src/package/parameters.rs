//! Parameters: what the commands of a manifest say about one component.

use uuid::Uuid;

use super::cbor::{Key, Reader};
use super::codes::{URI_BYTES_MAX, encoding, format, parameter};
use super::envelope::read_digest;
use super::gcm::TAG_BYTES;
use super::refusal::Fault;
use super::{Coding, Digest, Encoding, EncryptionInfo, Format, Refusal, VersionMatch, Way};

/// The parameters of one component, or those of one command.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) vendor: Option<Uuid>,
    pub(super) class: Option<Uuid>,
    /// Seconds since 1970.
    pub(super) use_before: Option<u64>,
    /// Bytes.
    pub(super) size: Option<u64>,
    /// What the next version condition asks for.
    pub(super) version: Option<VersionMatch>,
    priority: Option<i64>,
    digest: Option<Digest>,
    format: Option<PayloadFormat>,
    unpacked_bytes_max: Option<u64>,
    /// How it is brought, which may differ between alternatives.
    way: WayParameters,
}

#[derive(Clone, Default, PartialEq, Eq)]
struct WayParameters {
    uri: Option<String>,
    encryption: Option<EncryptionInfo>,
    digest: Option<Digest>,
    size: Option<u64>,
    encoding: Option<PayloadEncoding>,
    precursor: Option<Digest>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PayloadEncoding {
    Zstd,
    Delta,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PayloadFormat {
    Raw,
    Tar,
    TarZstd,
}

impl Parameters {
    /// The argument of override-parameters (draft 8.4.8).
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Refusal> {
        let mut read = Self::default();
        reader.map(|key, value| {
            let Key::Int(code) = key else {
                return Err(value.fault(Fault::WrongType));
            };
            match code {
                parameter::VENDOR_IDENTIFIER => read.vendor = Some(read_uuid(value)?),
                parameter::CLASS_IDENTIFIER => read.class = Some(read_uuid(value)?),
                parameter::IMAGE_DIGEST => {
                    read.digest =
                        Some(Reader::all("an image digest", value.bytes()?, read_digest)?);
                }
                parameter::USE_BEFORE => read.use_before = Some(value.uint()?),
                parameter::IMAGE_SIZE => read.size = Some(value.uint()?),
                parameter::URI => read.way.uri = Some(read_uri(value)?),
                parameter::ENCRYPTION_INFO => {
                    read.way.encryption = Some(EncryptionInfo::read(value.bytes()?)?);
                }
                parameter::TRANSFER_DIGEST => {
                    read.way.digest =
                        Some(Reader::all("a transfer digest", value.bytes()?, read_digest)?);
                }
                parameter::TRANSFER_SIZE => read.way.size = Some(value.uint()?),
                parameter::ENCODING => read.way.encoding = Some(PayloadEncoding::read(value)?),
                parameter::PRECURSOR_DIGEST => {
                    read.way.precursor =
                        Some(Reader::all("a precursor digest", value.bytes()?, read_digest)?);
                }
                parameter::UPDATE_PRIORITY => read.priority = Some(value.int()?),
                parameter::VERSION => {
                    read.version =
                        Some(Reader::all("a version match", value.bytes()?, read_version_match)?);
                }
                parameter::PAYLOAD_FORMAT => read.format = Some(PayloadFormat::read(value)?),
                parameter::UNPACKED_BYTES_MAX => read.unpacked_bytes_max = Some(value.uint()?),
                code => return Err(value.unsupported("parameter", code)),
            }
            Ok(())
        })?;
        Ok(read)
    }

    /// Adds what a command says. The draft lets a later command replace what an earlier one said;
    /// that only serves manifests with alternatives in them, and here a second value is refused.
    pub(super) fn add(&mut self, other: &Self) -> Result<(), Refusal> {
        add(&mut self.vendor, &other.vendor, "the vendor id")?;
        add(&mut self.class, &other.class, "the class id")?;
        add(&mut self.use_before, &other.use_before, "the use-before parameter")?;
        add(&mut self.priority, &other.priority, "the priority of the update")?;
        // One parameter makes one comparison; a range takes two, one after the other.
        add(&mut self.version, &other.version, "the version match before its check")?;
        add(&mut self.size, &other.size, "the size of a payload")?;
        add(&mut self.digest, &other.digest, "the digest of a payload")?;
        self.way.add(&other.way)?;
        add(&mut self.format, &other.format, "the format of a payload")?;
        add(&mut self.unpacked_bytes_max, &other.unpacked_bytes_max, "the unpacked size")
    }

    /// What is known before the first byte is asked for.
    pub(super) fn payload(&self) -> Result<(Digest, u64), Refusal> {
        Ok((
            self.digest.ok_or(Refusal::Missing("the digest of a payload"))?,
            self.size.ok_or(Refusal::Missing("the size of a payload"))?,
        ))
    }

    /// How it is fetched with these parameters.
    pub(super) fn way(&self) -> Result<Way, Refusal> {
        let WayParameters { uri, encryption, digest, size, encoding, precursor } = self.way.clone();
        let uri = uri.ok_or(Refusal::Missing("the URI of a payload"))?;
        let encoding = match (encoding, precursor) {
            (None, None) => Encoding::Identity,
            (Some(PayloadEncoding::Zstd), None) => Encoding::Zstd,
            (Some(PayloadEncoding::Delta), Some(precursor)) => Encoding::Delta { precursor },
            (Some(PayloadEncoding::Delta), None) => {
                return Err(Refusal::Missing("the digest that a patch is for"));
            }
            (_, Some(_)) => return Err(Refusal::Contradiction("the encoding of a payload")),
        };
        let is_plain = encryption.is_none() && encoding == Encoding::Identity;
        let coding = match (digest, size) {
            (None, None) if is_plain => None,
            (Some(_), _) | (_, Some(_)) if is_plain => {
                return Err(Refusal::Contradiction("the encoding of a payload"));
            }
            (Some(digest), Some(size)) => {
                Some(Coding { digest: Some(digest), size, encryption, encoding })
            }
            // As firmware-encryption has it: no word about the ciphertext, whose length is known all the
            // same. What comes out has the signed digest, or is thrown away.
            (None, None) if encryption.is_some() && encoding == Encoding::Identity => {
                let image = self.size.ok_or(Refusal::Missing("the size of a payload"))?;
                let size = image.saturating_add(TAG_BYTES as u64);
                Some(Coding { digest: None, size, encryption, encoding })
            }
            _ => return Err(Refusal::Missing("the digest or size of what is transferred")),
        };
        Ok(Way { uri, coding })
    }

    /// Whether they say the same about everything but the way.
    pub(super) fn same_payload(&self, other: &Self) -> bool {
        let way = WayParameters::default;
        Self { way: way(), ..self.clone() } == Self { way: way(), ..other.clone() }
    }

    /// How the payload becomes files.
    pub(super) fn format(&self) -> Result<Format, Refusal> {
        match (self.format.unwrap_or(PayloadFormat::Raw), self.unpacked_bytes_max) {
            (PayloadFormat::Raw, None) => Ok(Format::Raw),
            (PayloadFormat::Tar, None) => Ok(Format::Tar),
            (PayloadFormat::TarZstd, Some(unpacked_bytes_max)) => {
                Ok(Format::TarZstd { unpacked_bytes_max })
            }
            (PayloadFormat::TarZstd, None) => {
                Err(Refusal::Missing("the unpacked size of a compressed payload"))
            }
            (_, Some(_)) => Err(Refusal::Contradiction("the format of a payload")),
        }
    }
}

impl WayParameters {
    fn add(&mut self, other: &Self) -> Result<(), Refusal> {
        add(&mut self.uri, &other.uri, "the URI of a payload")?;
        add(&mut self.encryption, &other.encryption, "the encryption of a payload")?;
        add(&mut self.digest, &other.digest, "the digest of what is transferred")?;
        add(&mut self.size, &other.size, "the size of what is transferred")?;
        add(&mut self.encoding, &other.encoding, "the encoding of a payload")?;
        add(&mut self.precursor, &other.precursor, "the digest that a patch is for")
    }
}

impl PayloadEncoding {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Refusal> {
        match reader.text()? {
            encoding::ZSTD => Ok(Self::Zstd),
            encoding::DELTA => Ok(Self::Delta),
            _ => Err(reader.fault(Fault::WrongValue)),
        }
    }
}

fn add<T: Clone + PartialEq>(
    place: &mut Option<T>,
    value: &Option<T>,
    what: &'static str,
) -> Result<(), Refusal> {
    match (&place, value) {
        (Some(old), Some(new)) if old != new => return Err(Refusal::Contradiction(what)),
        (None, Some(_)) => place.clone_from(value),
        _ => {}
    }
    Ok(())
}

impl PayloadFormat {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Refusal> {
        match reader.text()? {
            format::RAW => Ok(Self::Raw),
            format::TAR => Ok(Self::Tar),
            format::TAR_ZSTD => Ok(Self::TarZstd),
            _ => Err(reader.fault(Fault::WrongValue)),
        }
    }
}

/// `SUIT_Parameter_Version_Match`.
fn read_version_match(reader: &mut Reader<'_>) -> Result<VersionMatch, Refusal> {
    if reader.array()? != 2 {
        return Err(reader.fault(Fault::WrongValue));
    }
    let comparison = reader.int()?;
    let count = reader.array()?;
    let numbers = (0..count).map(|_| reader.int()).collect::<Result<Vec<_>, _>>()?;
    VersionMatch::from_numbers(comparison, numbers)
}

fn read_uuid(reader: &mut Reader<'_>) -> Result<Uuid, Refusal> {
    let bytes = reader.bytes()?;
    Uuid::from_slice(bytes).map_err(|_| reader.fault(Fault::WrongValue))
}

fn read_uri(reader: &mut Reader<'_>) -> Result<String, Refusal> {
    let uri = reader.text()?;
    let visible = uri.bytes().all(|byte| byte.is_ascii_graphic());
    if visible && (1..=URI_BYTES_MAX).contains(&uri.len()) {
        Ok(uri.to_owned())
    } else {
        Err(Refusal::Uri(uri.chars().take(80).flat_map(char::escape_default).collect()))
    }
}
