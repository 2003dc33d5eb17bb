//! House rules that a compiler cannot check inside one package: who may know whom, and which words
//! have no place in a room that decides.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};

/// A room, the rooms it may name, and the words that have no place in it.
struct Rule {
    room: &'static str,
    may_know: &'static [&'static str],
    never: &'static [&'static str],
}

/// Rooms that decide have no hands.
const PURE: &[&str] = &["tokio", "std::fs", "std::env", "std::thread", "UdpSocket", "async fn"];

const RULES: &[Rule] = &[
    Rule { room: "clock", may_know: &[], never: &["tokio"] },
    Rule { room: "package", may_know: &[], never: PURE },
    Rule { room: "source", may_know: &[], never: PURE },
    Rule { room: "update", may_know: &["clock", "package", "source"], never: PURE },
    Rule { room: "coap", may_know: &["clock"], never: PURE },
    Rule { room: "dtls", may_know: &["clock"], never: PURE },
    Rule { room: "coaps", may_know: &["clock", "coap", "dtls"], never: PURE },
    Rule { room: "ocf", may_know: &["clock", "coap", "update", "package"], never: PURE },
    Rule { room: "store", may_know: &[], never: &["tokio"] },
    Rule { room: "net", may_know: &[], never: &[] },
    Rule { room: "worker", may_know: &[], never: &["tokio"] },
    Rule {
        room: "fetch",
        may_know: &["clock", "coap", "coaps", "dtls", "net", "package", "source", "worker"],
        never: &["tokio"],
    },
    Rule { room: "install", may_know: &["clock", "package", "worker"], never: &["tokio"] },
    Rule {
        room: "config",
        may_know: &["coap", "dtls", "fetch", "install", "ocf", "package", "update"],
        never: &["tokio"],
    },
    Rule {
        room: "device",
        may_know: &[
            "clock", "coap", "config", "dtls", "fetch", "install", "net", "ocf", "package",
            "store", "update", "worker",
        ],
        never: &[],
    },
    Rule {
        room: "client",
        may_know: &["clock", "coap", "coaps", "dtls", "net"],
        never: &["anyhow", "clap", "indicatif", "println!", "print!", "ExitCode", "std::thread"],
    },
    Rule {
        room: "cli",
        may_know: &[
            "client", "clock", "coap", "config", "device", "dtls", "fetch", "install", "net",
            "ocf", "package", "update", "worker",
        ],
        never: &[],
    },
];

/// A file longer than this is two rooms sharing a door.
const LINES_MAX: usize = 700;

#[test]
fn rooms_know_only_the_rooms_they_may() {
    let files = rust_files(Path::new("src"));
    assert!(files.len() > RULES.len(), "the rooms were found");
    let faults: Vec<String> = files.iter().flat_map(|file| check(file)).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn check(file: &Path) -> Vec<String> {
    let room = room(file);
    if ["lib", "main"].contains(&&*room) {
        return vec![];
    }
    let Some(rule) = RULES.iter().find(|rule| rule.room == room) else {
        return vec![format!("{}: room `{room}` has no rule", file.display())];
    };
    let text = fs::read_to_string(file).unwrap();
    let mut faults = vec![];
    if text.lines().count() > LINES_MAX {
        faults.push(format!("{}: longer than {LINES_MAX} lines", file.display()));
    }
    // Tests beside the code may use what they like.
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let tests_file = file.file_name().is_some_and(|name| name == "tests.rs");
    for (n, line) in code.lines().enumerate().filter(|_| !tests_file) {
        let mut fault = |what: String| faults.push(format!("{}:{}: {what}", file.display(), n + 1));
        let code = line.split("//").next().unwrap();
        for path in code.split("crate::").skip(1) {
            let other: String =
                path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if other.is_empty() {
                fault("one `use crate::room` per room, no groups".into());
            } else if other != room && !rule.may_know.contains(&&*other) {
                fault(format!("`{room}` must not know `{other}`"));
            }
        }
        for word in rule.never.iter().chain(&["super::super"]).filter(|word| code.contains(**word))
        {
            fault(format!("`{word}` has no place in `{room}`"));
        }
    }
    faults
}

fn room(file: &Path) -> String {
    let first = file.strip_prefix("src").unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// CoAP over TCP has no kinds, ids or duplicates: what it will use must not know of them.
#[test]
fn requests_know_nothing_of_messages() {
    let files = [
        "server",
        "client",
        "notify",
        "observe",
        "block",
        "transfer",
        "quick_server",
        "quick_client",
        "stranger",
    ];
    let apart = ["Kind", "Message", "duplicates", "endpoint", "frame"];
    for file in files {
        let text = fs::read_to_string(format!("src/coap/{file}.rs")).unwrap();
        for line in text.lines() {
            let code = line.split("//").next().unwrap();
            let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            let found = words.into_iter().find(|word| apart.contains(word));
            assert_eq!(found, None, "src/coap/{file}.rs: {line}");
        }
    }
}

/// A threat without a test is a hope: every name in the last column of a table there is that of a test.
#[test]
fn every_test_that_the_list_of_threats_names_exists() {
    let text = fs::read_to_string("docs/threats.md").unwrap();
    let folders = ["src", "tests", "fleet/src", "fleet/tests"];
    let sources = folders.iter().flat_map(|folder| rust_files(Path::new(folder)));
    let code: String = sources.map(|file| fs::read_to_string(file).unwrap()).collect();
    let mut names = 0;
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for name in tests.split('`').skip(1).step_by(2) {
            names += 1;
            let is_test = code.contains(&format!("fn {name}("));
            assert!(is_test, "{name} is no test, but the list of threats says so:\n{row}");
        }
    }
    assert!(names > 60, "{names}");
}
