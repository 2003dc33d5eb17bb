//! Seeded mutations of whole envelopes. Three in four are signed again afterwards, so that they reach
//! the code behind the signature.
//!
//! The short cut runs with every `cargo test`; the long one is
//! `FRESHEN_MUTATIONS=1000000 cargo test --test packages mutations -- --show-output`.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use freshen::package::{
    Algorithm, Coding, Digest, Encoding, Format, Identity, Manifest, Refusal, Source, inspect,
};

use crate::corpus::{Good, corpus};
use crate::draft::sign1;
use crate::keys::{ED25519, Key};
use crate::tree::Node;

const SEED: u64 = 0x5eed;
const SHORT: u64 = 20_000;

/// splitmix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

#[test]
fn no_mutation_is_wrongly_accepted_or_panics() {
    let count = match std::env::var("FRESHEN_MUTATIONS") {
        Ok(count) => count.parse().unwrap(),
        Err(_) => SHORT,
    };
    let key = Key::new(Algorithm::Ed25519, 7);
    let corpus: Vec<_> = corpus()
        .into_iter()
        .map(|good| (Node::read(&good.envelope), Good { key: key.clone(), ..good }))
        .map(|(tree, good)| (resigned(tree, &key), good))
        .map(|(tree, good)| {
            let manifest = good.verify(&tree.encode()).unwrap().clone();
            (tree, good, manifest)
        })
        .collect();
    let mut verdicts = BTreeMap::<String, u64>::new();
    for n in 0..count {
        let mut random = Random(SEED.wrapping_add(n));
        let (tree, good, original) = &corpus[random.below(corpus.len())];
        let resign = n % 4 != 0;
        let mut mutant = tree.clone();
        for _ in 0..=random.below(3) {
            mutate(&mut mutant, &mut random);
        }
        if resign {
            mutant = resigned(mutant, &key);
        }
        let bytes = mutant.encode();
        let verdict = catch_unwind(AssertUnwindSafe(|| good.verify(&bytes)));
        let verdict = verdict.unwrap_or_else(|_| panic!("mutation {n} of {}", good.name));
        match verdict {
            Ok(manifest) if resign => {
                check(&manifest, &good.identity, &bytes)
                    .unwrap_or_else(|why| panic!("mutation {n} of {}: {why}", good.name));
                count_verdict(&mut verdicts, "accepted, signed again");
            }
            // Nobody signed again: then nothing that counts has changed.
            Ok(manifest) => {
                assert_eq!(signed(&manifest), signed(original), "mutation {n} of {}", good.name);
                count_verdict(&mut verdicts, "accepted, nothing changed that is signed");
            }
            Err(refusal) => count_verdict(&mut verdicts, &kind(&refusal)),
        }
    }
    for (verdict, count) in &verdicts {
        println!("{count:>9}  {verdict}");
    }
    // The mutations reach all parts: nearly every kind of refusal was met.
    assert!(verdicts.len() >= 12, "{verdicts:?}");
}

/// What is signed. Whether a payload travels in the envelope or lies beside it is not: anyone may add
/// it under its URI or take it out again (draft 7.5); its digest and size are.
fn signed(manifest: &Manifest) -> Manifest {
    let mut signed = manifest.clone();
    for component in &mut signed.components {
        if !matches!(component.source, Source::Ways(_)) {
            component.source = Source::Integrated(vec![]);
        }
    }
    signed
}

fn count_verdict(verdicts: &mut BTreeMap<String, u64>, verdict: &str) {
    *verdicts.entry(verdict.to_owned()).or_default() += 1;
}

/// The name of the variant.
fn kind(refusal: &Refusal) -> String {
    let text = format!("{refusal:?}");
    let end = text.find([' ', '(', '{']).unwrap_or(text.len());
    text[..end].to_owned()
}

/// What holds for everything that is accepted, whoever signed it.
fn check(manifest: &Manifest, identity: &Identity, envelope: &[u8]) -> Result<(), String> {
    let demand = |holds: bool, what: &str| holds.then_some(()).ok_or_else(|| what.to_owned());
    let tree = Node::read(envelope);
    demand(has_opaque(&tree) || tree.encode() == envelope, "it is canonical")?;
    demand(manifest.identity == *identity, "it is for this device")?;
    demand((1..=64).contains(&manifest.version.len()), "its version can be shown")?;
    demand((1..=16).contains(&manifest.components.len()), "it has components")?;
    for component in &manifest.components {
        let safe = |name: &String| {
            !name.is_empty()
                && name != "."
                && name != ".."
                && !name.contains(|c: char| c == '/' || c.is_control())
        };
        demand(!component.id.is_empty() && component.id.iter().all(safe), "its paths are safe")?;
        match &component.source {
            Source::Integrated(payload) => {
                let matches = payload.len() as u64 == component.size
                    && Digest::of(payload) == component.digest;
                demand(matches, "its integrated payloads match")?;
            }
            Source::Uri(uri) => demand(is_uri(uri), "its URIs are URIs")?,
            Source::Ways(ways) => {
                demand((1..=8).contains(&ways.len()), "its ways are counted")?;
                demand(ways.iter().all(|way| is_uri(&way.uri)), "its URIs are URIs")?;
                let odd = |coding: &Coding| {
                    coding.encryption.is_none() && coding.encoding == Encoding::Identity
                };
                let odd = ways.iter().any(|way| way.coding.as_ref().is_some_and(odd));
                demand(!odd, "its codings change something")?;
            }
        }
        let bounded = !matches!(component.format, Format::TarZstd { .. })
            || String::from_utf8_lossy(envelope).contains("tar+zstd");
        demand(bounded, "its formats were signed")?;
    }
    demand(inspect(envelope).is_ok_and(|seen| seen.manifest == *manifest), "inspect agrees")
}

fn is_uri(uri: &str) -> bool {
    uri.bytes().all(|byte| byte.is_ascii_graphic()) && !uri.is_empty() && !uri.starts_with('#')
}

/// Whether it has a text section or an inventory: signed, but never read by a device.
fn has_opaque(tree: &Node) -> bool {
    let entries = |(key, _): &(Node, Node)| [Node::Uint(14), Node::Uint(23)].contains(key);
    let here = matches!(tree, Node::Map(members) if members.iter().any(entries));
    here || tree.children().any(has_opaque)
}

/// Changes one node in one way.
fn mutate(tree: &mut Node, random: &mut Random) {
    let nodes = tree.count();
    let donor = tree.nth(&mut random.below(nodes)).cloned().unwrap_or(Node::Simple(22));
    let Some(node) = tree.nth(&mut random.below(nodes)) else { return };
    let replacement = match (random.below(12), &mut *node) {
        (0..=3, Node::Uint(value)) => Node::Uint(number(*value, random)),
        (0..=1, Node::Nint(value)) => Node::Nint(number(*value, random)),
        (0..=2, Node::Bytes(bytes)) => Node::Bytes(string(bytes, random)),
        (0..=2, Node::Text(bytes)) => Node::Text(string(bytes, random)),
        (0..=4, Node::Array(items)) => return shuffle(items, donor, random),
        (0..=4, Node::Map(entries)) => return shuffle(entries, (Node::Uint(99), donor), random),
        (0, Node::Wrapped(inner)) => return **inner = donor,
        (0, Node::Tag(tag, _)) => return *tag = number(*tag, random),
        (5, node) => Node::Wrapped(Box::new(node.clone())),
        (6, node) => Node::Raw(not_shortest(&node.encode())),
        (7, node) => Node::Raw(indefinite(node)),
        (8, _) => Node::Simple(random.below(32) as u8),
        (9, _) => random.pick(&[
            Node::Uint(u64::MAX),
            Node::Nint(u64::MAX),
            Node::Bytes(vec![]),
            Node::Text(vec![]),
            Node::Array(vec![]),
            Node::Map(vec![]),
            Node::Raw(vec![]),
            Node::Raw(vec![0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Node::Raw(vec![0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Node::Raw(vec![0x81; 5_000]),
        ]),
        (10, _) => donor,
        (_, node) => {
            let mut bytes = node.encode();
            let at = random.below(bytes.len());
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
            Node::Raw(bytes)
        }
    };
    *node = replacement;
}

/// Codes of commands, parameters and members, limits and their neighbours.
fn number(value: u64, random: &mut Random) -> u64 {
    let near = [value.wrapping_add(1), value.wrapping_sub(1), value << 1, value >> 1, !value];
    let known = [
        0,
        1,
        2,
        3,
        4,
        7,
        12,
        14,
        15,
        16,
        17,
        19,
        20,
        21,
        23,
        24,
        27,
        28,
        32,
        96,
        255,
        256,
        257,
        258,
        259,
        260,
        512,
        1 << 32,
    ];
    if random.below(2) == 0 { random.pick(&near) } else { random.pick(&known) }
}

fn string(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    match random.below(5) {
        0 => bytes.truncate(random.below(bytes.len() + 1)),
        1 => bytes.push(random.next() as u8),
        2 => bytes = random.pick(&[b"..".to_vec(), b"/".to_vec(), b"a\0".to_vec(), vec![0xff]]),
        3 => bytes = vec![b'a'; random.below(3_000)],
        _ => {
            let at = random.below(bytes.len());
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.next() as u8;
            }
        }
    }
    bytes
}

fn shuffle<T: Clone>(items: &mut Vec<T>, new: T, random: &mut Random) {
    let (a, b) = (random.below(items.len()), random.below(items.len()));
    match random.below(5) {
        0 if !items.is_empty() => items.swap(a, b),
        1 if !items.is_empty() => drop(items.remove(a)),
        2 if !items.is_empty() => items.insert(b, items[a].clone()),
        3 => items.truncate(a),
        _ => items.insert(a.min(items.len()), new),
    }
}

/// The same item with a head that is longer than it needs to be.
fn not_shortest(bytes: &[u8]) -> Vec<u8> {
    match bytes.split_first() {
        Some((first, rest)) if first & 0x1f < 24 => {
            [&[first & 0xe0 | 24, first & 0x1f], rest].concat()
        }
        _ => bytes.to_vec(),
    }
}

/// The same item without its length.
fn indefinite(node: &Node) -> Vec<u8> {
    match node {
        Node::Array(items) => {
            let items: Vec<_> = items.iter().flat_map(Node::encode).collect();
            [&[0x9f], &items[..], &[0xff]].concat()
        }
        Node::Map(entries) => {
            let entry = |(key, value): &(Node, Node)| [key.encode(), value.encode()].concat();
            [&[0xbf], &entries.iter().flat_map(entry).collect::<Vec<_>>()[..], &[0xff]].concat()
        }
        Node::Bytes(_) | Node::Wrapped(_) => [&[0x5f], &node.encode()[..], &[0xff]].concat(),
        _ => node.encode(),
    }
}

/// The same tree with a digest and a signature that fit its manifest, where it still has one.
fn resigned(mut tree: Node, key: &Key) -> Node {
    let Node::Tag(_, envelope) = &mut tree else { return tree };
    let Node::Map(members) = &mut **envelope else { return tree };
    let Some(manifest) = member(members, 3) else { return tree };
    let digest = digest(&manifest.encode()).encode();
    let signature = sign1(key, ED25519, &digest);
    let authentication = Node::Array(vec![Node::Bytes(digest), Node::Bytes(signature)]);
    if let Some(old) = member(members, 2) {
        *old = Node::Wrapped(Box::new(authentication));
    }
    tree
}

fn member(members: &mut [(Node, Node)], number: u64) -> Option<&mut Node> {
    members.iter_mut().find(|(key, _)| *key == Node::Uint(number)).map(|(_, value)| value)
}

fn digest(of: &[u8]) -> Node {
    Node::Array(vec![Node::Nint(15), Node::Bytes(Digest::of(of).0.to_vec())])
}
