//! Parameters: what the commands of a manifest say about one component.

use uuid::Uuid;

use super::cbor::{Key, Reader};
use super::codes::{URI_BYTES_MAX, format, parameter};
use super::envelope::read_digest;
use super::refusal::Fault;
use super::{Digest, Format, Refusal, VersionMatch};

/// The parameters of one component, or those of one command.
#[derive(Default)]
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
    uri: Option<String>,
    format: Option<PayloadFormat>,
    unpacked_bytes_max: Option<u64>,
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
                parameter::URI => read.uri = Some(read_uri(value)?),
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
        add(&mut self.uri, &other.uri, "the URI of a payload")?;
        add(&mut self.format, &other.format, "the format of a payload")?;
        add(&mut self.unpacked_bytes_max, &other.unpacked_bytes_max, "the unpacked size")
    }

    /// What a fetch needs to know.
    pub(super) fn payload(&self) -> Result<(Digest, u64, String), Refusal> {
        Ok((
            self.digest.ok_or(Refusal::Missing("the digest of a payload"))?,
            self.size.ok_or(Refusal::Missing("the size of a payload"))?,
            self.uri.clone().ok_or(Refusal::Missing("the URI of a payload"))?,
        ))
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
