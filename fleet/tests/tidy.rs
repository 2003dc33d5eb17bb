//! House rules that a compiler cannot check inside one package: which room may know which, and which
//! words have no place in a room that decides.

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
const PURE: &[&str] =
    &["tokio", "std::fs", "std::env", "std::thread", "std::net", "async fn", "axum", "rusqlite"];

const RULES: &[Rule] = &[
    Rule { room: "plan", may_know: &[], never: PURE },
    Rule { room: "index", may_know: &["plan"], never: PURE },
    Rule { room: "clock", may_know: &[], never: &["tokio"] },
    Rule { room: "access", may_know: &["plan"], never: PURE },
    Rule { room: "blob", may_know: &[], never: &["axum", "rusqlite"] },
    Rule {
        room: "server",
        may_know: &["access", "blob", "clock", "index", "plan", "store"],
        never: &["axum", "rusqlite", "tokio_postgres"],
    },
    Rule { room: "api", may_know: &["access", "plan", "server", "store"], never: &["rusqlite"] },
    Rule {
        room: "cli",
        may_know: &["access", "api", "blob", "clock", "plan", "server", "store"],
        never: &["rusqlite"],
    },
    Rule { room: "store", may_know: &["access", "plan"], never: &["axum", "object_store"] },
];

/// A file longer than this is two rooms sharing a door.
const LINES_MAX: usize = 700;

#[test]
fn rooms_know_only_the_rooms_they_may() {
    let files = rust_files(Path::new("src"));
    assert!(files.len() >= RULES.len(), "the rooms were found");
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

/// A use case without a test is a hope: what the page names in backticks as a test is one.
#[test]
fn every_test_that_the_page_of_use_cases_names_exists() {
    let text = fs::read_to_string("../docs/conformance-fleet.md").unwrap();
    let code: String = rust_files(Path::new("tests"))
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| {
            let number = line.strip_prefix("| ").and_then(|rest| rest.split_once(' '));
            number.is_some_and(|(number, _)| number.parse::<u32>().is_ok())
        })
        .collect();
    assert_eq!(rows.len(), 43, "one row for each use case");
    for row in rows {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty() || tests.contains("not built"), "no test:\n{row}");
        for name in names {
            assert!(code.contains(&format!("fn {name}(")), "{name} is no test:\n{row}");
        }
    }
    let words = text.split('`').skip(1).step_by(2).filter(|word| word.matches('_').count() > 3);
    for name in words.filter(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')) {
        let found = code.contains(&format!("fn {name}(")) || code.contains(&format!(" {name}\n"));
        assert!(found, "{name} is no test");
    }
}
