//! From a plain description to a signed envelope: the vendor's side.

use chrono::{DateTime, Utc};

use super::cbor::Writer;
use super::codes::{
    MANIFEST_VERSION, REPORT_ALL, SHA_256, TAG_ENVELOPE, command, common, encoding, format,
    manifest, member, parameter,
};
use super::envelope::Envelope;
use super::signature::{self, NO_ADDITIONAL_DATA};
use super::{
    Coding, Component, Digest, Encoding, Format, Identity, KeyError, Names, Refusal, SigningKey,
    Source, VersionMatch, Way, component, inspect, verify, version,
};

/// What a vendor wants to say in a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Grows with every release.
    pub sequence: u64,
    /// Like `1.2.3` or `1.2.3-rc.1`.
    pub version: String,
    /// Which devices it is for.
    pub identity: Identity,
    /// What people call those devices; their identifiers are made of these words.
    pub names: Option<Names>,
    /// After this moment no device installs it; whole seconds.
    pub use_before: Option<DateTime<Utc>>,
    /// What must run on a device for it to be installed.
    pub requires: Vec<VersionMatch>,
    /// Whether somebody has to approve of this very package.
    pub needs_approval: bool,
    /// What is installed, in this order. 1 to 16.
    pub components: Vec<Component>,
}

/// Why no package was made.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SignError {
    /// A device would refuse it, for this reason.
    #[error("no device would accept this package")]
    Refused(#[from] Refusal),
    /// The key did not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A device would read something else than was meant.
    #[error(
        "a device would not read this package as it is meant: use-before must be whole seconds, and \
         each version match be given once"
    )]
    Misread,
}

/// Adds a signature to a package, for devices that want several or that trust another key. What is
/// signed already stays as it is: all of it, where this very key has signed it, since a key counts once.
///
/// # Errors
///
/// An envelope that no device would accept, whoever signed it.
pub fn add_signature(envelope: &[u8], key: &SigningKey) -> Result<Vec<u8>, SignError> {
    // What is signed is looked at first: nobody should sign what no device installs.
    inspect(envelope)?;
    let read = Envelope::read(envelope)?;
    if signature::check(&read.signatures, &key.trust(), read.signed, NO_ADDITIONAL_DATA).is_ok() {
        return Ok(envelope.to_vec());
    }
    let envelope = read;
    let signature = signature::sign(envelope.signed, NO_ADDITIONAL_DATA, key)?;
    let envelope = envelope.with_signature(&signature);
    inspect(&envelope)?;
    Ok(envelope)
}

impl Description {
    /// Signs the package and returns its envelope, after verifying it as a device will.
    ///
    /// # Errors
    ///
    /// Everything for which a device refuses packages.
    pub fn sign(&self, key: &SigningKey) -> Result<Vec<u8>, SignError> {
        let envelope = self.envelope(key)?;
        let read = verify(&envelope, &key.trust(), &self.identity)?;
        let Self {
            sequence,
            version,
            identity,
            names,
            use_before,
            requires,
            needs_approval,
            components,
        } = self;
        let as_meant = read.sequence == *sequence
            && read.version == *version
            && read.identity == *identity
            && read.names == *names
            && read.use_before == *use_before
            && read.requires == *requires
            && read.needs_approval == *needs_approval
            && read.components == *components;
        if as_meant { Ok(envelope) } else { Err(SignError::Misread) }
    }

    fn envelope(&self, key: &SigningKey) -> Result<Vec<u8>, SignError> {
        let manifest = Writer::default().bytes(&self.manifest()?).done();
        let digest = digest(Digest::of(&manifest));
        let authentication = Writer::default()
            .array(2)
            .bytes(&digest)
            .bytes(&signature::sign(&digest, NO_ADDITIONAL_DATA, key)?)
            .done();
        let mut payloads: Vec<_> = self
            .components
            .iter()
            .enumerate()
            .filter_map(|(index, component)| match &component.source {
                Source::Integrated(payload) => {
                    Some((Writer::default().text(&integrated(index)).done(), payload))
                }
                Source::Uri(_) | Source::Ways(_) => None,
            })
            .collect();
        payloads.sort();
        let envelope = Writer::default()
            .tag(TAG_ENVELOPE)
            .map(2 + payloads.len())
            .int(member::AUTHENTICATION)
            .bytes(&authentication)
            .int(member::MANIFEST)
            .raw(&manifest);
        Ok(payloads.iter().fold(envelope, |e, (uri, payload)| e.raw(uri).bytes(payload)).done())
    }

    fn manifest(&self) -> Result<Vec<u8>, Refusal> {
        let numbers = version::from_text(&self.version)?;
        let version =
            numbers.iter().fold(Writer::default().array(numbers.len()), |w, n| w.int(*n)).done();
        let about = self.components.first().map(|component| &*component.id);
        let text = self.names.as_ref().zip(about).map(|(names, id)| names.section(id));
        let manifest = Writer::default()
            .map(6 + usize::from(text.is_some()))
            .int(manifest::VERSION)
            .uint(MANIFEST_VERSION)
            .int(manifest::SEQUENCE_NUMBER)
            .uint(self.sequence)
            .int(manifest::COMMON)
            .bytes(&self.common())
            .int(manifest::SET_VERSION)
            .bytes(&version)
            .int(manifest::VALIDATE)
            .bytes(&self.validate())
            .int(member::INSTALL)
            .bytes(&self.install());
        let manifest = match text {
            Some(text) => manifest.int(member::TEXT).bytes(&text),
            None => manifest,
        };
        Ok(manifest.done())
    }

    fn common(&self) -> Vec<u8> {
        let components = Writer::default().array(self.components.len());
        let components = self.components.iter().fold(components, |w, component| {
            component
                .id
                .iter()
                .fold(w.array(component.id.len()), |w, name| w.bytes(&component::bytes(name)))
        });
        Writer::default()
            .map(2)
            .int(common::COMPONENTS)
            .raw(&components.done())
            .int(common::SHARED_SEQUENCE)
            .bytes(&self.shared())
            .done()
    }

    /// Who it is for and until when, then what each payload is (draft 7.1, 7.3).
    fn shared(&self) -> Vec<u8> {
        let mut commands = Commands::new(self.components.len());
        commands.choose_all();
        let identity = Writer::default()
            .map(2 + usize::from(self.use_before.is_some()))
            .int(parameter::VENDOR_IDENTIFIER)
            .bytes(self.identity.vendor.as_bytes())
            .int(parameter::CLASS_IDENTIFIER)
            .bytes(self.identity.class.as_bytes());
        let identity = match self.use_before {
            Some(moment) => identity.int(parameter::USE_BEFORE).int(moment.timestamp()),
            None => identity,
        };
        commands.set(identity);
        commands.act(command::VENDOR_IDENTIFIER);
        commands.act(command::CLASS_IDENTIFIER);
        if self.use_before.is_some() {
            commands.act(command::USE_BEFORE);
        }
        for wanted in &self.requires {
            let (comparison, numbers) = wanted.numbers();
            let list = Writer::default().array(2).int(comparison).array(numbers.len());
            let list = numbers.iter().fold(list, |list, number| list.int(*number)).done();
            commands.set(Writer::default().map(1).int(parameter::VERSION).bytes(&list));
            commands.act(command::VERSION);
        }
        if self.needs_approval {
            commands.act(command::UPDATE_AUTHORIZED);
        }
        for (index, component) in self.components.iter().enumerate() {
            commands.choose(index);
            commands.set(payload(component));
        }
        commands.done()
    }

    fn install(&self) -> Vec<u8> {
        let mut commands = Commands::new(self.components.len());
        for (index, component) in self.components.iter().enumerate() {
            commands.choose(index);
            let ways = match &component.source {
                Source::Uri(uri) => vec![Way { uri: uri.clone(), coding: None }],
                Source::Integrated(_) => vec![Way { uri: integrated(index), coding: None }],
                Source::Ways(ways) => ways.clone(),
            };
            match &*ways {
                [way] => commands.fetch(way),
                ways => commands.try_each(ways),
            }
        }
        commands.done()
    }

    fn validate(&self) -> Vec<u8> {
        let mut commands = Commands::new(self.components.len());
        commands.choose_all();
        commands.act(command::IMAGE_MATCH);
        commands.done()
    }
}

fn payload(component: &Component) -> Writer {
    let format = match component.format {
        Format::Raw => None,
        Format::Tar => Some((format::TAR, None)),
        Format::TarZstd { unpacked_bytes_max } => {
            Some((format::TAR_ZSTD, Some(unpacked_bytes_max)))
        }
    };
    let private = match format {
        None => 0,
        Some((_, None)) => 1,
        Some((_, Some(_))) => 2,
    };
    let mut parameters = Writer::default()
        .map(2 + private)
        .int(parameter::IMAGE_DIGEST)
        .bytes(&digest(component.digest))
        .int(parameter::IMAGE_SIZE)
        .uint(component.size);
    if let Some((name, unpacked_bytes_max)) = format {
        parameters = parameters.int(parameter::PAYLOAD_FORMAT).text(name);
        if let Some(bytes) = unpacked_bytes_max {
            parameters = parameters.int(parameter::UNPACKED_BYTES_MAX).uint(bytes);
        }
    }
    parameters
}

/// An integrated payload is named after the index of its component.
fn integrated(index: usize) -> String {
    format!("#{index}")
}

fn way(way: &Way) -> Writer {
    let Some(Coding { digest: transferred, size, encryption, encoding }) = &way.coding else {
        return Writer::default().map(1).int(parameter::URI).text(&way.uri);
    };
    let (name, precursor) = match encoding {
        Encoding::Identity => (None, None),
        Encoding::Zstd => (Some(encoding::ZSTD), None),
        Encoding::Delta { precursor } => (Some(encoding::DELTA), Some(precursor)),
    };
    let mut count = 1;
    for given in [encryption.is_some(), name.is_some(), precursor.is_some()] {
        count += usize::from(given);
    }
    count += if transferred.is_some() { 2 } else { 0 };
    let mut parameters = Writer::default().map(count);
    if let Some(info) = encryption {
        parameters = parameters.int(parameter::ENCRYPTION_INFO).bytes(info.encoded());
    }
    parameters = parameters.int(parameter::URI).text(&way.uri);
    if let Some(transferred) = transferred {
        parameters = parameters
            .int(parameter::TRANSFER_DIGEST)
            .bytes(&digest(*transferred))
            .int(parameter::TRANSFER_SIZE)
            .uint(*size);
    }
    if let Some(name) = name {
        parameters = parameters.int(parameter::ENCODING).text(name);
    }
    if let Some(precursor) = precursor {
        parameters = parameters.int(parameter::PRECURSOR_DIGEST).bytes(&digest(*precursor));
    }
    parameters
}

/// `SUIT_Digest`.
fn digest(digest: Digest) -> Vec<u8> {
    Writer::default().array(2).int(SHA_256).bytes(&digest.0).done()
}

/// A command sequence being written. With one component the choice of it is left out: it is the
/// first from the start.
struct Commands {
    components: usize,
    count: usize,
    body: Writer,
}

impl Commands {
    fn new(components: usize) -> Self {
        Self { components, count: 0, body: Writer::default() }
    }

    fn choose(&mut self, index: usize) {
        if self.components > 1 {
            self.add(command::SET_COMPONENT_INDEX, Writer::default().uint(index as u64));
        }
    }

    fn choose_all(&mut self) {
        if self.components > 1 {
            self.add(command::SET_COMPONENT_INDEX, Writer::default().true_());
        }
    }

    fn fetch(&mut self, by: &Way) {
        self.set(way(by));
        self.act(command::FETCH);
        self.act(command::IMAGE_MATCH);
    }

    fn try_each(&mut self, ways: &[Way]) {
        let alternatives = ways.iter().fold(Writer::default().array(ways.len()), |list, way| {
            let mut alternative = Self::new(1);
            alternative.fetch(way);
            list.bytes(&alternative.done())
        });
        self.add(command::TRY_EACH, alternatives);
    }

    fn set(&mut self, parameters: Writer) {
        self.add(command::OVERRIDE_PARAMETERS, parameters);
    }

    fn act(&mut self, code: i64) {
        self.add(code, Writer::default().uint(REPORT_ALL));
    }

    fn add(&mut self, code: i64, argument: Writer) {
        self.count += 2;
        self.body = std::mem::take(&mut self.body).int(code).raw(&argument.done());
    }

    fn done(self) -> Vec<u8> {
        Writer::default().array(self.count).raw(&self.body.done()).done()
    }
}
