//! The examples of draft-ietf-suit-manifest-37, appendix B, made again from a table, and installed as a
//! device does it: verified, judged, fetched, written, switched to.
//!
//! Their image digests are patterns that no image has. So each is compared with the draft as it is, by
//! the digest of the manifest that is printed there, and then gets the digest of an image of the same
//! length and a signature by another key. Nothing else is changed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::{fs, io, thread};

use ciborium::Value;
use freshen::fetch::{self, Fetcher};
use freshen::install::{self, Installer};
use freshen::package::{Algorithm, Digest, Identity, Refusal, verify};
use freshen::worker::{Cancel, Progress};
use url::Url;
use uuid::uuid;

use crate::draft::{
    Draft, INSTALL, OVERRIDE, TEXT, VALIDATE, array, bytes, commands, encode, int, map, text,
    wrapped,
};
use crate::keys::{ES256, Key};

const INVOKE: i64 = 9;

/// One of the draft's examples: what is special about it.
struct Example {
    sequence: i64,
    /// Length, pattern in the place of a digest, and URI of each component. Their identifiers count
    /// from 0.
    components: &'static [(usize, &'static str, &'static str)],
    reference: Option<&'static str>,
    /// Digest of the text section, which no device needs.
    text: Option<&'static str>,
    invokes: bool,
    severed: bool,
    /// SHA-256 of the manifest as the draft prints it.
    printed: &'static str,
}

const FIRST: &str = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210";
const SECOND: &str = "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff";

const EXAMPLES: [Example; 3] = [
    Example {
        sequence: 1,
        components: &[(34_768, FIRST, "http://example.com/file.bin")],
        reference: None,
        text: None,
        invokes: false,
        severed: false,
        printed: "1f2e7acca0dc2786f2fe4eb947f50873a6a3cfaa98866c5b02e621f42074daf2",
    },
    Example {
        sequence: 2,
        components: &[(34_768, FIRST, "http://example.com/very/long/path/to/file/file.bin")],
        reference: Some("https://git.io/JJYoj"),
        text: Some("302196d452bce5e8bfeaf71e395645ede6d365e63507a081379721eeecf00007"),
        invokes: true,
        severed: true,
        printed: "6a5197ed8f9dccf733d1c89a359441708e070b4c6dcb9a1c2c82c6165f609b90",
    },
    Example {
        sequence: 5,
        components: &[
            (34_768, FIRST, "http://example.com/file1.bin"),
            (76_834, SECOND, "http://example.com/file2.bin"),
        ],
        reference: None,
        text: None,
        invokes: true,
        severed: false,
        printed: "15ce60f77657e4531dc329155f8b0ed78f94bdc6d165b2665473693dcc34f470",
    },
];

/// For whose devices the examples are.
fn whose() -> Identity {
    Identity {
        vendor: uuid!("fa6b4a53-d5ad-5fdf-be9d-e663e4d41ffe"),
        class: uuid!("1492af14-2569-5e48-bf42-9b2d51f2ab45"),
    }
}

impl Example {
    /// With these digests of its images.
    fn draft(&self, digests: &[Digest]) -> Draft {
        let several = self.components.len() > 1;
        let choose = |n: usize| several.then_some((12, int(n as i64)));
        let (mut shared, mut install, mut validate) = (vec![], vec![], vec![]);
        for (n, ((size, _, uri), digest)) in self.components.iter().zip(digests).enumerate() {
            let payload = [(3, wrapped(&digest_of(digest))), (14, int(*size as i64))];
            let identity = whose();
            let ids =
                [(1, bytes(identity.vendor.as_bytes())), (2, bytes(identity.class.as_bytes()))];
            shared.extend(choose(n));
            if n == 0 {
                shared.push((OVERRIDE, map(ids.into_iter().chain(payload))));
                shared.extend([(1, int(15)), (2, int(15))]);
            } else {
                shared.push((OVERRIDE, map(payload)));
            }
            install.extend(choose(n));
            install.extend([(OVERRIDE, map([(21, text(uri))])), (21, int(2)), (3, int(15))]);
            validate.extend(choose(n));
            validate.push((3, int(15)));
        }
        let mut manifest = vec![(1, int(1)), (2, int(self.sequence))];
        manifest.extend(self.reference.map(|uri| (4, text(uri))));
        manifest.push((VALIDATE, wrapped(&commands(validate))));
        if self.invokes {
            let invoke = choose(0).into_iter().chain([(23, int(2))]);
            manifest.push((INVOKE, wrapped(&commands(invoke))));
        }
        manifest.extend(self.text.map(|digest| (TEXT, digest_of(&parsed(digest)))));
        let ids = (0..self.components.len()).map(|n| array([bytes([n as u8])]));
        Draft {
            manifest,
            components: array(ids),
            shared,
            install,
            severed: if self.severed { vec![INSTALL] } else { vec![] },
            more: vec![],
        }
    }

    /// As the draft prints it.
    fn as_printed(&self) -> Draft {
        let digests: Vec<_> = self.components.iter().map(|(_, digest, _)| parsed(digest)).collect();
        self.draft(&digests)
    }

    fn images(&self) -> Vec<Vec<u8>> {
        let image = |(n, (size, _, _)): (usize, &(usize, _, _))| vec![b'1' + n as u8; *size];
        self.components.iter().enumerate().map(image).collect()
    }
}

fn digest_of(digest: &Digest) -> Value {
    array([int(-16), bytes(digest.0)])
}

fn parsed(hex: &str) -> Digest {
    let byte = |n: usize| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap();
    Digest(std::array::from_fn(byte))
}

fn key() -> Key {
    Key::new(Algorithm::P256, 5)
}

#[test]
fn the_examples_are_those_of_the_draft() {
    for example in &EXAMPLES {
        example.as_printed().authenticate(|signed| {
            assert_eq!(
                signed,
                encode(&digest_of(&parsed(example.printed))),
                "{}",
                example.sequence
            );
            vec![]
        });
        // Nothing keeps them out but that they are signed by somebody else.
        let envelope = example.as_printed().sign(&[(&key(), ES256)]);
        verify(&envelope, &key().trust(), &whose()).unwrap();
    }
}

/// Where example.com is, for this test.
static PORT: AtomicU16 = AtomicU16::new(0);

fn lookup(host: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
    assert_eq!(host, "example.com");
    Ok(vec![([127, 0, 0, 1], PORT.load(Ordering::SeqCst)).into()])
}

/// A web server with these files, for as long as this process lives.
fn serve(files: BTreeMap<String, Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    PORT.store(listener.local_addr().unwrap().port(), Ordering::SeqCst);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let head: Vec<_> = stream
                .by_ref()
                .lines()
                .map_while(Result::ok)
                .take_while(|it| !it.is_empty())
                .collect();
            let path = head[0].split(' ').nth(1).unwrap();
            let (status, body) = match files.get(path) {
                Some(body) => ("200 OK", &body[..]),
                None => ("404 Not Found", &b""[..]),
            };
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
            let stream = stream.get_mut();
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
}

fn installer(state: &Path, components: &[(&str, &str)]) -> Installer {
    let components = components.iter().map(|(id, path)| ((*id).to_owned(), path.into())).collect();
    let settings = install::Settings { components, ..install::Settings::default() };
    Installer::open(settings, state).unwrap()
}

#[test]
fn the_drafts_examples_install_signed_again_and_otherwise_unchanged() {
    let mut files = BTreeMap::new();
    for example in &EXAMPLES {
        for ((_, _, uri), image) in example.components.iter().zip(example.images()) {
            files.insert(Url::parse(uri).unwrap().path().to_owned(), image);
        }
    }
    serve(files);
    let settings = fetch::Settings {
        allow_hosts: vec!["example.com".into()],
        allow_schemes: vec!["http".into()],
        loopback_addresses: true,
        ..fetch::Settings::default()
    };
    let fetcher = Fetcher::with_lookup(settings, lookup).unwrap();
    let base = Url::parse("http://example.com/example.suit").unwrap();
    for example in &EXAMPLES {
        let state = tempfile::tempdir().unwrap();
        let digests: Vec<_> = example.images().iter().map(|image| Digest::of(image)).collect();
        let envelope = example.draft(&digests).sign(&[(&key(), ES256)]);
        let manifest = verify(&envelope, &key().trust(), &whose()).unwrap();

        let nameless = installer(state.path(), &[]);
        let unfit = nameless.judge(&manifest).unwrap_err().to_string();
        assert!(unfit.contains("h'00'") && unfit.contains("[install.components]"), "{unfit}");
        drop(nameless);

        let places = [("h'00'", "firmware.bin"), ("h'01'", "radio/firmware.bin")];
        let mut installer = installer(state.path(), &places);
        let stage = state.path().join("stage");
        fs::create_dir(&stage).unwrap();
        let (progress, cancel) = (Progress::new(0), Cancel::new());
        installer.judge(&manifest).unwrap();
        installer.has_room(&manifest, &stage).unwrap();
        for (n, component) in manifest.components.iter().enumerate() {
            let into = stage.join(n.to_string());
            fetcher.payload(&base, component, &into, &progress, &cancel).unwrap();
        }
        installer.write(&manifest, &stage, &progress, &cancel).unwrap();
        installer.switch(&manifest.digest, &cancel).unwrap();
        installer.confirm(&manifest.digest).unwrap();
        for ((_, place), image) in places.iter().zip(example.images()) {
            let installed = fs::read(state.path().join("current").join(place)).unwrap();
            assert!(installed == image, "example {}: {place}", example.sequence);
        }
        assert_eq!(installer.running().unwrap().unwrap().digest, manifest.digest);
    }
}

/// Example 0 only checks and starts what is there already. That is what happens at every start anyway.
#[test]
fn what_fetches_nothing_is_no_update() {
    let mut draft = EXAMPLES[0].as_printed();
    draft.install.clear();
    let draft = draft.set(INVOKE, wrapped(&commands([(23, int(2))])));
    let refusal = verify(&draft.sign(&[(&key(), ES256)]), &key().trust(), &whose()).unwrap_err();
    let words = "the fetching of a component before its check";
    assert_eq!(refusal, Refusal::Missing(words));
}
