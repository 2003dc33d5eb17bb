use proptest::prelude::*;

use super::samples::{NOW, devices, filters};
use super::*;

fn parse(text: &str) -> Filter {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn error(text: &str) -> String {
    text.parse::<Filter>().unwrap_err().to_string()
}

fn device() -> Facts {
    let mut device = Facts::new("WVW0001".parse().unwrap());
    device.packages.insert(super::super::words::PackageId::new("ivi", "1.10").unwrap());
    device.components.insert("screen-2".parse().unwrap());
    device.attributes.insert("site".parse().unwrap(), "Linz".into());
    device.attributes.insert("slots".parse().unwrap(), "2".into());
    device.tags.insert("lab".parse().unwrap());
    device
}

fn holds(text: &str) -> bool {
    parse(text).matches(&device(), NOW)
}

#[test]
fn not_binds_before_and_and_before_or() {
    assert_eq!(parse("TRUE OR FALSE AND NOT TRUE"), parse("TRUE OR (FALSE AND (NOT TRUE))"));
    assert_ne!(parse("(TRUE OR FALSE) AND TRUE"), parse("TRUE OR FALSE AND TRUE"));
    assert!(holds("TRUE OR TRUE AND FALSE"));
    assert!(!holds("(TRUE OR TRUE) AND FALSE"));
    assert!(!holds("NOT TRUE OR FALSE"));
    assert!(holds("NOT NOT TRUE"));
}

#[test]
fn each_leaf_asks_for_what_its_name_says() {
    for text in [
        "vin_matches \"^WVW\"",
        "vin_matches \"W0\"",
        "has_package \"iv\" \"^1\"",
        "has_component \"een-[0-9]\"",
        "attr \"site\" = \"Linz\"",
        "attr \"slots\" = \"2\"",
        "tag \"lab\"",
        "runs \"ivi\" >= \"1.2\"",
        "runs \"ivi\" != \"1.1\"",
        "runs \"ivi\" = \"1.10\"",
        "runs \"ivi\" < \"1.11\"",
    ] {
        assert!(holds(text), "{text}");
        assert!(!holds(&format!("NOT {text}")), "{text}");
    }
    for text in [
        "vin_matches \"^0\"",
        "vin_matches \"wvw\"",
        "has_package \"ivi\" \"^2\"",
        "has_component \"^een\"",
        "attr \"site\" = \"Lin\"",
        "attr \"other\" = \"\"",
        "tag \"la\"",
        "runs \"iv\" >= \"1.2\"",
        "runs \"ivi\" < \"1.9\"",
        "online",
        "seen < 400w",
        "seen > 1s",
    ] {
        assert!(!holds(text), "{text}");
    }
}

#[test]
fn a_device_without_packages_has_none_whatever_is_asked() {
    let bare = Facts::new("V".parse().unwrap());
    for text in ["has_package \".*\" \".*\"", "has_component \"\"", "runs \"a\" != \"1\""] {
        assert!(!parse(text).matches(&bare, NOW), "{text}");
    }
}

#[test]
fn name_and_version_have_to_match_in_the_same_package() {
    let mut two = device();
    two.packages.insert(super::super::words::PackageId::new("map", "7").unwrap());
    assert!(parse("has_package \"map\" \"7\"").matches(&two, NOW));
    assert!(!parse("has_package \"map\" \"1.10\"").matches(&two, NOW));
}

#[test]
fn when_a_device_was_seen_is_compared_with_now() {
    let mut seen = device();
    seen.seen = Some(super::super::time::Time::from_secs(NOW.as_secs() - 7 * 86_400));
    for (text, expected) in [
        ("seen < 7d", false),
        ("seen <= 7d", true),
        ("seen >= 1w", true),
        ("seen > 1w", false),
        ("seen < 169h", true),
        ("seen > 10079m", true),
        ("seen > 604799s", true),
        ("seen < 0s", false),
    ] {
        assert_eq!(parse(text).matches(&seen, NOW), expected, "{text}");
    }
    // A clock that was set back does not make a device unseen.
    seen.seen = Some(super::super::time::Time::NEVER);
    assert!(parse("seen <= 0s").matches(&seen, NOW));
}

#[test]
fn an_error_says_where_and_what_was_expected() {
    let condition = "a condition (vin_matches, has_package, has_component, attr, tag, runs, seen, online, \
                     TRUE, FALSE), NOT or (";
    for (text, expected) in [
        ("", format!("column 1: expected {condition}, found the end")),
        ("   ", format!("column 4: expected {condition}, found the end")),
        ("TRUE AND", format!("column 9: expected {condition}, found the end")),
        ("OR TRUE", format!("column 1: expected {condition}, found OR")),
        ("TRUE FALSE", "column 6: expected AND, OR or the end, found FALSE".into()),
        ("(TRUE", "column 6: expected AND, OR or ), found the end".into()),
        ("TRUE)", "column 5: expected AND, OR or the end, found \")\"".into()),
        ("true", format!("column 1: expected {condition}, found true")),
        ("tag \"é\" OR tag x", "column 5: a tag has letters, digits and - . _ : / = only, not 'é'".into()),
        ("attr \"é\" = \"é\" OR tag x", "column 23: expected a string in quotes, found x".into()),
        ("has_package \"cepa\" OR", "column 20: expected a string in quotes, found OR".into()),
        ("has_package \"a\"", "column 16: expected a string in quotes, found the end".into()),
        ("vin_matches \"a", "column 13: this string does not end; strings run from \" to the next \"".into()),
        ("vin_matches \"*\"", "column 14: this is no regular expression for a filter: repetition operator missing expression".into()),
        ("vin_matches \"é(\"", "column 15: this is no regular expression for a filter: unclosed group".into()),
        ("attr \"a\" > \"b\"", "column 10: expected =, found \">\"".into()),
        ("runs \"a\" ~ \"b\"", "column 10: expected one of = != < <= > >=, found \"~\"".into()),
        ("seen = 7d", "column 6: expected one of < <= > >=, found \"=\"".into()),
        ("seen < 7", "column 8: expected a time span such as 90s, 15m, 12h, 7d or 4w, found 7".into()),
        ("seen < 7y", "column 8: expected a time span such as 90s, 15m, 12h, 7d or 4w, found 7y".into()),
        ("seen < 4294967296s", "column 8: a time span counts up to 4294967295".into()),
        ("seen < -1s", "column 8: expected a time span such as 90s, 15m, 12h, 7d or 4w, found \"-\"".into()),
        ("tag \"\"", "column 5: a tag has 1 to 64 bytes, not 0".into()),
        ("TRUE # all", "column 6: expected AND, OR or the end, found \"#\"".into()),
        ("TRUE /* all */", "column 6: expected AND, OR or the end, found \"/\"".into()),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn what_other_regular_expressions_can_do_is_refused_in_words() {
    let refused = error("vin_matches \"a(?=b)\"");
    assert!(refused.starts_with("column 15: ") && refused.contains("look-around"), "{refused}");
    let refused = error("vin_matches \"(a)\\1\"");
    assert!(refused.contains("backreferences are not supported"), "{refused}");
    assert!(holds("vin_matches \"^[[:upper:]]+[[:digit:]]+$\""), "POSIX classes are there");
}

#[test]
fn nesting_ten_thousand_deep_is_refused_and_a_long_chain_is_not() {
    let deep = format!("{}TRUE{}", "(".repeat(10_000), ")".repeat(10_000));
    assert_eq!(
        error(&deep),
        "column 101: nested more than 100 deep; a long AND or OR needs no parentheses"
    );
    let deep = format!("{}TRUE", "NOT ".repeat(10_000));
    assert!(error(&deep).contains("nested more than 100 deep"));
    let most = format!("{}TRUE{}", "(".repeat(DEPTH_MAX), ")".repeat(DEPTH_MAX));
    assert_eq!(parse(&most), Filter::True);
    let chain = vec!["TRUE"; 7_000].join(" AND ");
    assert!(holds(&chain));
    let groups = format!("vin_matches \"{}{}\"", "(".repeat(10_000), ")".repeat(10_000));
    assert!(error(&groups).contains("nest"), "{}", error(&groups));
}

#[test]
fn an_expression_ends_at_64_kib() {
    let fits = format!("TRUE{}", " ".repeat(EXPRESSION_BYTES_MAX - 4));
    assert_eq!(parse(&fits), Filter::True);
    assert_eq!(error(&format!("{fits} ")), "column 65537: an expression has at most 65536 bytes");
    // Cut inside a character, it is still a place between two.
    assert!(error(&format!("attr \"k\" = \"{}\"", "€".repeat(30_000))).contains("65536 bytes"));
}

#[test]
fn regular_expressions_that_blow_up_elsewhere_are_linear_or_refused() {
    let mut long = device();
    long.id = "a".repeat(64).parse().unwrap();
    assert!(!parse("vin_matches \"^(a+)+$b\"").matches(&long, NOW));
    assert!(!parse("vin_matches \"^(a|a)*c\"").matches(&long, NOW));
    assert!(error("vin_matches \"(\\w{1000}){1000}\"").contains("larger than 1 MiB"));
}

#[test]
fn one_filter_holds_a_bounded_number_of_regular_expressions() {
    let many =
        |count, pattern: &str| vec![format!("vin_matches \"{pattern}\""); count].join(" OR ");
    assert!(many(PATTERNS_MAX, "a").parse::<Filter>().is_ok());
    assert!(error(&many(PATTERNS_MAX + 1, "a")).contains("at most 1000 regular expressions"));
    assert!(many(LARGE_PATTERNS_MAX, "\\w{20}").parse::<Filter>().is_ok());
    assert!(error(&many(LARGE_PATTERNS_MAX + 1, "\\w{20}")).contains("as large as this"));
}

#[test]
fn an_error_does_not_repeat_all_that_was_sent() {
    let long = "x".repeat(60_000);
    assert!(error(&long).len() < 300);
    assert!(error(&format!("\"{long}\"")).len() < 300);
}

#[test]
fn the_example_of_the_requirements_is_understood() {
    let text = "vin_matches \"^WVW\" OR has_package \"^IVI_image$\" \"^1\\.[1-3]\" AND has_component \"backseat\"";
    assert_eq!(parse(text).to_string(), text);
}

proptest! {
    #[test]
    fn what_is_printed_parses_to_the_same(filter in filters()) {
        let text = filter.to_string();
        let again: Filter = text.parse().map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        prop_assert_eq!(&again, &filter, "{}", text);
    }

    #[test]
    fn junk_behind_a_filter_is_refused(filter in filters(), junk in "junk|\\)|\"x\"|TRUE|=|NOT") {
        let text = format!("{filter} {junk}");
        prop_assert!(text.parse::<Filter>().is_err(), "{}", text);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[a-zA-Z\"()<>=!0-9 \\\\€_]{0,60}") {
        if let Err(error) = text.parse::<Filter>() {
            prop_assert!(error.column <= text.chars().count() + 1);
        }
    }

    #[test]
    fn not_and_is_or_not(a in filters(), b in filters(), device in devices()) {
        let not = |filter: &Filter| Filter::Not(Box::new(filter.clone()));
        let left = not(&Filter::And(vec![a.clone(), b.clone()]));
        let right = Filter::Or(vec![not(&a), not(&b)]);
        prop_assert_eq!(left.matches(&device, NOW), right.matches(&device, NOW));
    }

    #[test]
    fn what_the_shape_of_a_pattern_says_is_what_it_matches(
        source in "\\^?[ab.]{0,2}\\*?\\$?", text in "[ab]{0,3}",
    ) {
        let Ok(pattern) = Pattern::new(&source) else { return Ok(()) };
        let expected = match pattern.shape() {
            pattern::Shape::Everything => true,
            pattern::Shape::Prefix(start) => text.starts_with(start),
            pattern::Shape::Exactly(whole) => text == *whole,
            pattern::Shape::Contains(part) => text.contains(part),
            pattern::Shape::Other => return Ok(()),
        };
        prop_assert_eq!(pattern.is_match(&text), expected, "{}", source);
    }
}
