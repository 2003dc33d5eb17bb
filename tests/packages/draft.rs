//! Envelopes assembled part by part from another CBOR library than ours, so that each part can be
//! made wrong.

use ciborium::Value;
use freshen::package::{Digest, Identity};

use crate::keys::Key;

pub(crate) const PAYLOAD: &[u8] = b"the new software";

pub(crate) fn identity() -> Identity {
    Identity::new("example.com", "cam-1")
}

/// CBOR of a value. Maps keep their order, numbers are as short as they can be.
pub(crate) fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = vec![];
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

pub(crate) fn bytes(bytes: impl AsRef<[u8]>) -> Value {
    Value::Bytes(bytes.as_ref().to_vec())
}

pub(crate) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub(crate) fn int(number: i64) -> Value {
    Value::Integer(number.into())
}

/// CBOR in a byte string.
pub(crate) fn wrapped(value: &Value) -> Value {
    bytes(encode(value))
}

pub(crate) fn array(items: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(items.into_iter().collect())
}

pub(crate) fn map(entries: impl IntoIterator<Item = (i64, Value)>) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (int(key), value)).collect())
}

pub(crate) fn tag(number: u64, value: Value) -> Value {
    Value::Tag(number, Box::new(value))
}

/// `SUIT_Digest` with SHA-256.
pub(crate) fn digest(of: &[u8]) -> Value {
    array([int(-16), bytes(Digest::of(of).0)])
}

/// Commands as they follow each other.
pub(crate) fn commands(commands: impl IntoIterator<Item = (i64, Value)>) -> Value {
    Value::Array(commands.into_iter().flat_map(|(code, argument)| [int(code), argument]).collect())
}

/// A package in pieces. Change one, then sign.
#[derive(Clone)]
pub(crate) struct Draft {
    /// Members of the manifest by number; `common` is made of the two below.
    pub(crate) manifest: Vec<(i64, Value)>,
    pub(crate) components: Value,
    pub(crate) shared: Vec<(i64, Value)>,
    pub(crate) install: Vec<(i64, Value)>,
    /// Members of the manifest that travel in the envelope.
    pub(crate) severed: Vec<i64>,
    /// More members of the envelope, after all others.
    pub(crate) more: Vec<(Value, Value)>,
}

pub(crate) const VALIDATE: i64 = 7;
pub(crate) const FETCH: i64 = 16;
pub(crate) const INSTALL: i64 = 20;
pub(crate) const TEXT: i64 = 23;
pub(crate) const OVERRIDE: i64 = 20;

impl Draft {
    /// One component, fetched while it is installed: the draft's example 1 with our path.
    pub(crate) fn new() -> Self {
        let identity = identity();
        Self {
            manifest: vec![
                (1, int(1)),
                (2, int(7)),
                (6, wrapped(&array([int(1), int(2), int(3)]))),
                (VALIDATE, wrapped(&commands([(3, int(15))]))),
            ],
            components: array([array([bytes("app")])]),
            shared: vec![
                (
                    OVERRIDE,
                    map([
                        (1, bytes(identity.vendor.as_bytes())),
                        (2, bytes(identity.class.as_bytes())),
                        (3, wrapped(&digest(PAYLOAD))),
                        (14, int(PAYLOAD.len() as i64)),
                    ]),
                ),
                (1, int(15)),
                (2, int(15)),
            ],
            install: vec![(OVERRIDE, map([(21, text("app.bin"))])), (21, int(2)), (3, int(15))],
            severed: vec![],
            more: vec![],
        }
    }

    /// Replaces or adds a member of the manifest.
    pub(crate) fn set(mut self, member: i64, value: Value) -> Self {
        self.manifest.retain(|(number, _)| *number != member);
        self.manifest.push((member, value));
        self.manifest.sort_by_key(|(number, _)| *number);
        self
    }

    /// Replaces a parameter in the first command of the shared sequence.
    pub(crate) fn parameter(mut self, number: i64, value: Option<Value>) -> Self {
        let Value::Map(parameters) = &mut self.shared[0].1 else { panic!("the parameters") };
        parameters.retain(|(key, _)| *key != int(number));
        if let Some(value) = value {
            parameters.push((int(number), value));
            parameters.sort_by_key(|(key, _)| encode(key));
        }
        self
    }

    pub(crate) fn common(&self) -> Value {
        map([(2, self.components.clone()), (4, wrapped(&commands(self.shared.clone())))])
    }

    /// The manifest's members, and those that were cut out of it.
    fn members(&self) -> (Value, Vec<(Value, Value)>) {
        let mut members = self.manifest.clone();
        if !members.iter().any(|(number, _)| *number == 3) {
            members.push((3, wrapped(&self.common())));
        }
        if !members.iter().any(|(number, _)| *number == INSTALL) && !self.install.is_empty() {
            members.push((INSTALL, wrapped(&commands(self.install.clone()))));
        }
        members.sort_by_key(|(number, _)| *number);
        let mut severed = vec![];
        for (number, value) in &mut members {
            if self.severed.contains(number) {
                severed.push((int(*number), value.clone()));
                *value = digest(&encode(value));
            }
        }
        (map(members), severed)
    }

    /// The envelope, signed by each of these keys with each algorithm.
    pub(crate) fn sign(&self, signers: &[(&Key, i64)]) -> Vec<u8> {
        self.authenticate(|digest| {
            signers.iter().map(|(key, algorithm)| sign1(key, *algorithm, digest)).collect()
        })
    }

    /// The envelope, with authentication blocks made of the encoded digest.
    pub(crate) fn authenticate(&self, blocks: impl FnOnce(&[u8]) -> Vec<Vec<u8>>) -> Vec<u8> {
        let (manifest, severed) = self.members();
        let manifest = wrapped(&manifest);
        let digest = encode(&digest(&encode(&manifest)));
        let blocks = blocks(&digest).into_iter().map(bytes);
        let authentication = array([bytes(&digest)].into_iter().chain(blocks));
        let mut members = vec![(int(2), wrapped(&authentication)), (int(3), manifest)];
        members.extend(severed);
        members.extend(self.more.clone());
        encode(&tag(107, Value::Map(members)))
    }
}

/// `COSE_Sign1_Tagged` with a detached payload.
pub(crate) fn sign1(key: &Key, algorithm: i64, payload: &[u8]) -> Vec<u8> {
    sign1_with(key, map([(1, int(algorithm))]), map([]), Value::Null, payload)
}

/// The same, with everything in it free to choose.
pub(crate) fn sign1_with(
    key: &Key,
    protected: Value,
    unprotected: Value,
    attached: Value,
    payload: &[u8],
) -> Vec<u8> {
    let protected = bytes(encode(&protected));
    let to_sign = array([text("Signature1"), protected.clone(), bytes([]), bytes(payload)]);
    let signature = bytes(key.sign(&encode(&to_sign)));
    encode(&tag(18, array([protected, unprotected, attached, signature])))
}
