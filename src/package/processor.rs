//! The manifest processor: from an authentic manifest to what it orders.
//!
//! SUIT's commands are a small program. Ours is run once, without side effects, and leaves behind
//! what the device has to do: fetch these payloads, check these digests. What the program cannot say
//! in that form is refused (draft-ietf-suit-manifest 6.1: unsupported command, parameter, component).

use chrono::{DateTime, Utc};

use super::cbor::{Key, Next, Reader};
use super::codes::{MANIFEST_VERSION, URI_BYTES_MAX, common, manifest as key, member};
use super::component::{read_components, read_id};
use super::envelope::{Envelope, read_digest};
use super::refusal::Fault;
use super::sequence::{Order, Processor, Sequence};
use super::{Component, Digest, Identity, Manifest, Names, Refusal, Source, Way, version};

/// Reads the manifest of an envelope. With a device's identity, refuses one for another device.
pub(super) fn process(
    envelope: &Envelope<'_>,
    device: Option<&Identity>,
) -> Result<Manifest, Refusal> {
    let members = Members::read(envelope.manifest.content)?;
    let common = Common::read(members.common)?;
    let fetch = members.severable(envelope, member::PAYLOAD_FETCH)?;
    let install = members.severable(envelope, member::INSTALL)?;
    // For people, and nobody may change them either.
    let text = members.severable(envelope, member::TEXT)?;
    members.severable(envelope, member::COSWID)?;

    let mut processor = Processor::new(common.components);
    processor.run(Sequence::Shared, common.shared_sequence)?;
    // Whose package it is comes before anything else in it: what another device's package says may
    // be unknown here for good reasons.
    let names = match (processor.identity(None), text) {
        (Ok(identity), Some(text)) => Names::read(text, &identity),
        _ => None,
    };
    let identity = processor.identity(device).map_err(|refusal| refusal.of(names.clone()))?;
    for (sequence, commands) in [
        (Sequence::PayloadFetch, fetch),
        (Sequence::Install, install),
        (Sequence::Validate, members.validate),
        (Sequence::Invoke, members.invoke),
    ] {
        if let Some(commands) = commands {
            processor.run(sequence, commands)?;
        }
    }
    let (conditions, orders) = processor.finish(device)?;
    Ok(Manifest {
        digest: envelope.digest,
        sequence: members.sequence,
        version: members.version.unwrap_or_else(|| members.sequence.to_string()),
        identity,
        names,
        use_before: conditions.use_before.map(moment).transpose()?,
        requires: conditions.requires,
        needs_approval: conditions.needs_approval,
        components: with_integrated_payloads(orders, &envelope.integrated)?,
    })
}

/// `SUIT_Manifest` (draft 8.4).
struct Members<'a> {
    sequence: u64,
    version: Option<String>,
    common: &'a [u8],
    validate: Option<&'a [u8]>,
    invoke: Option<&'a [u8]>,
    severable: Vec<(i64, Severable<'a>)>,
}

/// A member that may travel outside the manifest.
enum Severable<'a> {
    Here(&'a [u8]),
    Outside(Digest),
}

impl<'a> Members<'a> {
    fn read(manifest: &'a [u8]) -> Result<Self, Refusal> {
        let (mut manifest_version, mut sequence, mut common) = (None, None, None);
        let (mut version, mut validate, mut invoke, mut severable) = (None, None, None, vec![]);
        Reader::all("the manifest", manifest, |reader| {
            reader.map(|member, value| {
                match member {
                    Key::Int(key::VERSION) => manifest_version = Some(value.uint()?),
                    Key::Int(key::SEQUENCE_NUMBER) => sequence = Some(value.uint()?),
                    Key::Int(key::COMMON) => common = Some(value.bytes()?),
                    // Where the original is. The device was told where to look; it does not hop on.
                    Key::Int(key::REFERENCE_URI) => {
                        if value.text()?.len() > URI_BYTES_MAX {
                            return Err(value.fault(Fault::WrongValue));
                        }
                    }
                    // Under which name others would keep this manifest. There are no others here.
                    Key::Int(key::COMPONENT_ID) => drop(read_id(value)?),
                    Key::Int(key::SET_VERSION) => version = Some(read_version(value.bytes()?)?),
                    Key::Int(key::VALIDATE) => validate = Some(value.bytes()?),
                    Key::Int(key::INVOKE) => invoke = Some(value.bytes()?),
                    Key::Int(
                        number @ (member::COSWID
                        | member::PAYLOAD_FETCH
                        | member::INSTALL
                        | member::TEXT),
                    ) => severable.push((number, Severable::read(value)?)),
                    Key::Int(number) => return Err(value.unsupported("member", number)),
                    Key::Text(_) => return Err(value.fault(Fault::WrongType)),
                }
                Ok(())
            })
        })?;
        match manifest_version.ok_or(Refusal::Missing("the manifest's version"))? {
            MANIFEST_VERSION => {}
            code => {
                let code = i64::try_from(code).unwrap_or(i64::MAX);
                return Err(Refusal::Unsupported {
                    part: "the manifest",
                    what: "format version",
                    code,
                });
            }
        }
        Ok(Self {
            sequence: sequence.ok_or(Refusal::Missing("the sequence number"))?,
            version,
            common: common.ok_or(Refusal::Missing("the common section"))?,
            validate,
            invoke,
            severable,
        })
    }

    /// A severable member, wherever it is (draft 8.5). What lies in the envelope was not signed: its
    /// digest was.
    fn severable(&self, envelope: &Envelope<'a>, number: i64) -> Result<Option<&'a [u8]>, Refusal> {
        let inside = self.severable.iter().find(|(n, _)| *n == number).map(|(_, member)| member);
        let outside = envelope.severed.iter().find(|(n, _)| *n == number).map(|(_, member)| member);
        match (inside, outside) {
            (None, None) => Ok(None),
            (Some(Severable::Here(content)), None) => Ok(Some(content)),
            (Some(Severable::Outside(digest)), Some(member)) => {
                if Digest::of(member.encoded) == *digest {
                    Ok(Some(member.content))
                } else {
                    Err(Refusal::Digest { of: name(number) })
                }
            }
            // Only what no device needs may have been cut off.
            (Some(Severable::Outside(_)), None) => match number {
                member::TEXT | member::COSWID => Ok(None),
                _ => Err(Refusal::Missing(name(number))),
            },
            (None | Some(Severable::Here(_)), Some(_)) => Err(Refusal::Unsupported {
                part: "the envelope",
                what: "unsigned member",
                code: number,
            }),
        }
    }
}

impl<'a> Severable<'a> {
    fn read(value: &mut Reader<'a>) -> Result<Self, Refusal> {
        match value.next() {
            Next::Array => read_digest(value).map(Self::Outside),
            _ => value.bytes().map(Self::Here),
        }
    }
}

/// What a person calls a severable member.
pub(super) fn name(number: i64) -> &'static str {
    match number {
        member::COSWID => "the software inventory (CoSWID)",
        member::PAYLOAD_FETCH => "the payload-fetch sequence",
        member::INSTALL => "the install sequence",
        member::TEXT => "the text section",
        _ => "a severed member",
    }
}

/// `SUIT_Common` (draft 8.4.5).
struct Common<'a> {
    components: Vec<Vec<String>>,
    shared_sequence: &'a [u8],
}

impl<'a> Common<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let (mut components, mut shared_sequence) = (None, None);
        Reader::all("the common section", bytes, |reader| {
            reader.map(|member, value| {
                match member {
                    Key::Int(common::COMPONENTS) => components = Some(read_components(value)?),
                    Key::Int(common::SHARED_SEQUENCE) => shared_sequence = Some(value.bytes()?),
                    Key::Int(number) => return Err(value.unsupported("member", number)),
                    Key::Text(_) => return Err(value.fault(Fault::WrongType)),
                }
                Ok(())
            })
        })?;
        Ok(Self {
            components: components.ok_or(Refusal::Missing("the list of components"))?,
            shared_sequence: shared_sequence.ok_or(Refusal::Missing("the shared sequence"))?,
        })
    }
}

fn read_version(bytes: &[u8]) -> Result<String, Refusal> {
    let numbers = Reader::all("the version", bytes, |reader| {
        let count = reader.array()?;
        (0..count).map(|_| reader.int()).collect::<Result<Vec<_>, _>>()
    })?;
    version::to_text(&numbers)
}

/// `use-before` counts seconds from 1970; chrono ends in the year 262142.
fn moment(seconds: u64) -> Result<DateTime<Utc>, Refusal> {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .ok_or(Refusal::Malformed { part: "the use-before parameter", fault: Fault::WrongValue })
}

/// Takes the payloads that are in the envelope, checked; what nobody ordered is not signed by anyone.
fn with_integrated_payloads(
    orders: Vec<Order>,
    integrated: &[(&str, &[u8])],
) -> Result<Vec<Component>, Refusal> {
    let plain = |order: &Order| match &*order.ways {
        [Way { uri, coding: None }] => Some(uri.clone()),
        _ => None,
    };
    let wanted: Vec<_> = orders.iter().filter_map(plain).collect();
    if integrated.iter().any(|(uri, _)| !wanted.iter().any(|wanted| wanted == uri)) {
        return Err(Refusal::UnsignedPayload);
    }
    orders.into_iter().map(|order| with_integrated_payload(order, integrated)).collect()
}

fn with_integrated_payload(
    order: Order,
    integrated: &[(&str, &[u8])],
) -> Result<Component, Refusal> {
    let Order { id, digest, size, format, ways } = order;
    let source = match &*ways {
        [Way { uri, coding: None }] => match integrated.iter().find(|(name, _)| name == uri) {
            Some((_, payload)) => integrated_payload(payload, digest, size)?,
            None => Source::Uri(uri.clone()),
        },
        _ => Source::Ways(ways.clone()),
    };
    // A payload that is somewhere in the envelope, and is not: nobody can fetch it.
    let lost = ways.iter().any(|way| way.uri.starts_with('#'));
    if lost && !matches!(source, Source::Integrated(_)) {
        return Err(Refusal::Missing("an integrated payload"));
    }
    Ok(Component { id, digest, size, format, source })
}

fn integrated_payload(payload: &[u8], digest: Digest, signed: u64) -> Result<Source, Refusal> {
    let actual = payload.len() as u64;
    if actual != signed {
        return Err(Refusal::Size { signed, actual });
    }
    if Digest::of(payload) != digest {
        return Err(Refusal::Digest { of: "an integrated payload" });
    }
    Ok(Source::Integrated(payload.to_vec()))
}
