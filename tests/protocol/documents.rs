//! The documents say what the tests show, and nothing that they do not.

use std::collections::BTreeSet;
use std::fs;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What stands between single backquotes.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn names_of_tests() -> BTreeSet<String> {
    let files = fs::read_dir(format!("{ROOT}/tests/protocol")).unwrap();
    let sources = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    sources
        .flat_map(|source| {
            let functions = source.split("#[test]\nfn ").skip(1);
            functions.map(|rest| rest.split('(').next().unwrap().to_owned()).collect::<Vec<_>>()
        })
        .collect()
}

/// The part of a document under this heading.
fn section(document: &str, heading: &str) -> String {
    let text = fs::read_to_string(format!("{ROOT}/docs/{document}")).unwrap();
    let after = text.split(&format!("\n## {heading}")).nth(1).expect("the section is there");
    after.split("\n## ").next().unwrap().to_owned()
}

#[test]
fn every_requirement_names_a_test_that_exists() {
    let (tests, section) = (names_of_tests(), section("conformance.md", "CoAP"));
    let requirements = section.split("### Exceptions").next().unwrap();
    let rows = requirements.lines().filter(|line| line.starts_with("| ") && !line.contains("---"));
    let mut count = 0;
    for row in rows.filter(|row| !row.ends_with("| Test |")) {
        let shown = row.rsplit("| ").next().unwrap();
        let names: Vec<&str> =
            quoted(shown).into_iter().filter(|name| !name.contains('.')).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            assert!(tests.contains(name), "no such test: {name}");
        }
        count += 1;
    }
    assert!(count > 50, "{count} rows were found");
}

#[test]
fn every_limit_is_listed_with_the_test_that_fills_it() {
    let (tests, section) = (names_of_tests(), section("limits.md", "CoAP"));
    let listed = quoted(&section);
    for file in fs::read_dir(format!("{ROOT}/src/coap")).unwrap() {
        let path = file.unwrap().path();
        let Ok(source) = fs::read_to_string(&path) else { continue };
        if path.ends_with("message.rs") {
            continue;
        }
        for line in source.lines().filter_map(|line| line.strip_prefix("pub const ")) {
            let name = line.split(':').next().unwrap();
            assert!(listed.contains(name), "{name} of {} is not listed", path.display());
        }
    }
    only_tests_that_exist(&listed, &tests);
}

#[test]
fn every_limit_of_the_sockets_is_listed() {
    let mut tests = BTreeSet::new();
    let section = section("limits.md", "Datagrams");
    let listed = quoted(&section);
    for file in fs::read_dir(format!("{ROOT}/src/net")).unwrap() {
        let path = file.unwrap().path();
        let source = fs::read_to_string(&path).unwrap();
        let names = source.split("fn ").skip(1).map(|rest| rest.split('(').next().unwrap());
        tests.extend(names.map(str::to_owned));
        for line in source.lines() {
            let line = line.strip_prefix("pub ").unwrap_or(line);
            let Some(name) = line.strip_prefix("const ").and_then(|it| it.split(':').next()) else {
                continue;
            };
            let is_limit =
                name.ends_with("_MAX") || name.ends_with("BUFFER_BYTES") || name == "BATCH";
            assert!(!is_limit || listed.contains(name), "{name} of {} is missing", path.display());
        }
    }
    let table = section.lines().filter(|line| line.starts_with("| "));
    table.for_each(|row| only_tests_that_exist(&quoted(row), &tests));
}

fn only_tests_that_exist(listed: &BTreeSet<&str>, tests: &BTreeSet<String>) {
    let shown = |name: &&&str| name.starts_with(|first: char| first.is_lowercase());
    for name in listed.iter().filter(shown).filter(|name| !name.contains(['/', ':'])) {
        assert!(tests.contains(*name), "no such test: {name}");
    }
}
