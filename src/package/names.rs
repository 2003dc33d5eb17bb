//! What people call the numbers of SUIT and COSE, and why some of them are refused.
//!
//! The names are those of the IANA registries "SUIT" and "COSE Algorithms". A number that is in none of
//! these tables is shown as a number.

use super::codes::{TAG_ENVELOPE, TAG_SIGN1};

/// A number, what it is called, and why a device does not take it; empty where it does, somewhere.
type Known = (i64, &'static str, &'static str);

const ONE_MANIFEST: &str =
    "a package is one manifest here; what it depends on has a package of its own";
const WHOLE_SLOTS: &str =
    "new software is written beside the old and switched to as a whole, so nothing is moved about";
const NO_SLOTS: &str = "which slot new software goes to is for the device to say";
const NO_DEVICE: &str = "a package is for a class of devices; encrypt it to name single ones";

/// Members of the manifest, and of the envelope where they were cut out.
const MEMBERS: &[Known] = &[
    (1, "manifest-version", ""),
    (2, "manifest-sequence-number", ""),
    (3, "common", ""),
    (4, "reference-uri", ""),
    (5, "manifest-component-id", ""),
    (6, "set-version", ""),
    (7, "validate", ""),
    (8, "load", "software runs from where it is installed, and is not loaded elsewhere first"),
    (9, "invoke", ""),
    (14, "coswid", ""),
    (15, "dependency-resolution", ONE_MANIFEST),
    (16, "payload-fetch", ""),
    (17, "install", "it has the number of a draft before -27; today it is 20"),
    (18, "candidate-verification", ONE_MANIFEST),
    (20, "install", ""),
    (23, "text", ""),
    (24, "uninstall", "what a new package does not have goes with the old slot"),
];

const ENVELOPE: &[Known] = &[
    (1, "delegation", "who may sign is said by trust sets: `freshen trust`"),
    (2, "authentication-wrapper", ""),
    (3, "manifest", ""),
];

const COMMON: &[Known] =
    &[(1, "dependencies", ONE_MANIFEST), (2, "components", ""), (4, "shared-sequence", "")];

/// Conditions and directives.
const COMMANDS: &[Known] = &[
    (1, "condition-vendor-identifier", ""),
    (2, "condition-class-identifier", ""),
    (3, "condition-image-match", "there is nothing to compare before it is fetched"),
    (4, "condition-use-before", ""),
    (5, "condition-component-slot", NO_SLOTS),
    (
        6,
        "condition-check-content",
        "what runs is known by its digest; a patch names what it is for",
    ),
    (7, "condition-dependency-integrity", ONE_MANIFEST),
    (8, "condition-is-dependency", ONE_MANIFEST),
    (11, "directive-process-dependency", ONE_MANIFEST),
    (12, "directive-set-component-index", "an alternative is about one component"),
    (14, "condition-abort", "what is not to be installed is not packed"),
    (
        15,
        "directive-try-each",
        "alternatives are ways to fetch one payload, without others in them",
    ),
    (18, "directive-write", "content travels as an integrated payload, which is fetched"),
    (19, "directive-set-parameters", "a parameter has one value: directive-override-parameters"),
    (20, "directive-override-parameters", ""),
    (21, "directive-fetch", "payloads are fetched in payload-fetch and install"),
    (22, "directive-copy", WHOLE_SLOTS),
    (23, "directive-invoke", "software is switched to in the sequence invoke"),
    (24, "condition-device-identifier", NO_DEVICE),
    (25, "condition-image-not-match", "what is installed already is not fetched again as it is"),
    (26, "condition-minimum-battery", "the device's own `veto` program puts an installation off"),
    (27, "condition-update-authorized", ""),
    (28, "condition-version", ""),
    (29, "directive-wait", "the device's own `window` and `veto` say when it is installed"),
    (31, "directive-swap", WHOLE_SLOTS),
    (32, "directive-run-sequence", "a package needs no subroutines: write its commands in a row"),
    (33, "directive-unlink", "what a new package does not have goes with the old slot"),
];

const PARAMETERS: &[Known] = &[
    (1, "parameter-vendor-identifier", ""),
    (2, "parameter-class-identifier", ""),
    (3, "parameter-image-digest", ""),
    (4, "parameter-use-before", ""),
    (5, "parameter-component-slot", NO_SLOTS),
    (12, "parameter-strict-order", "commands are carried out in their order"),
    (13, "parameter-soft-failure", "a package is installed as a whole or not at all"),
    (14, "parameter-image-size", ""),
    (18, "parameter-content", "content travels as an integrated payload, which is fetched"),
    (19, "parameter-encryption-info", ""),
    (21, "parameter-uri", ""),
    (22, "parameter-source-component", WHOLE_SLOTS),
    (23, "parameter-invoke-args", "how software is started is for the device to say"),
    (24, "parameter-device-identifier", NO_DEVICE),
    (25, "parameter-fetch-arguments", "a payload is fetched by its URI alone"),
    (26, "parameter-minimum-battery", "the device's own `veto` program puts an installation off"),
    (27, "parameter-update-priority", ""),
    (28, "parameter-version", ""),
    (29, "parameter-wait-info", "the device's own `window` and `veto` say when it is installed"),
    (30, "parameter-component-metadata", "permissions travel in archives"),
    (-256, "freshen payload-format", ""),
    (-257, "freshen unpacked-bytes-max", ""),
    (-258, "freshen transfer-digest", ""),
    (-259, "freshen transfer-size", ""),
    (-260, "freshen encoding", ""),
    (-261, "freshen precursor-digest", ""),
];

const SIGNATURES: &str = "a package is signed with COSE_Sign1 by a key of its vendor";
const CONTENT: &str = "payloads are encrypted with A128GCM as COSE_Encrypt";
const RECIPIENT: &str = "keys are wrapped with ECDH-ES+A128KW";

const TAGS: &[Known] = &[
    (16, "COSE_Encrypt0", SIGNATURES),
    (17, "COSE_Mac0", SIGNATURES),
    (TAG_SIGN1 as i64, "COSE_Sign1", CONTENT),
    (96, "COSE_Encrypt", SIGNATURES),
    (97, "COSE_Mac", SIGNATURES),
    (98, "COSE_Sign", SIGNATURES),
    (TAG_ENVELOPE as i64, "SUIT_Envelope", ""),
];

const HEADERS: &[Known] = &[
    (1, "alg", ""),
    (2, "crit", "nothing critical is known here"),
    (3, "content type", "what is signed is always a SUIT digest"),
    (4, "kid", ""),
    (5, "IV", ""),
    (6, "Partial IV", "a nonce is given whole"),
];

const DIGESTS: &str = "every device knows SHA-256, and no other digest is needed";

const ALGORITHMS: &[Known] = &[
    (1, "A128GCM", RECIPIENT),
    (3, "A256GCM", CONTENT),
    (5, "HMAC 256/256", SIGNATURES),
    (-3, "A128KW", RECIPIENT),
    (-5, "A256KW", RECIPIENT),
    (-6, "direct", RECIPIENT),
    (-7, "ES256", ""),
    (-8, "EdDSA", ""),
    (-9, "ESP256", ""),
    (-15, "SHA-256/64", DIGESTS),
    (-16, "SHA-256", ""),
    (-18, "SHAKE128", DIGESTS),
    (-19, "Ed25519", ""),
    (-29, "ECDH-ES+A128KW", ""),
    (-31, "ECDH-ES+A256KW", RECIPIENT),
    (-35, "ES384", ""),
    (-43, "SHA-384", DIGESTS),
    (-44, "SHA-512", DIGESTS),
    (-45, "SHAKE256", DIGESTS),
    (-46, "HSS-LMS", ""),
    (-65531, "A128CBC", CONTENT),
    (-65534, "A128CTR", CONTENT),
];

/// Which of the tables a number is in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Envelope,
    Manifest,
    Common,
    Commands,
    Parameters,
    Tags,
    Headers,
    Algorithms,
}

impl Table {
    fn known(self, number: i64) -> Option<&'static Known> {
        let tables: &[&[Known]] = match self {
            Self::Envelope => &[ENVELOPE, MEMBERS],
            Self::Manifest => &[MEMBERS],
            Self::Common => &[COMMON],
            Self::Commands => &[COMMANDS],
            Self::Parameters => &[PARAMETERS],
            Self::Tags => &[TAGS],
            Self::Headers => &[HEADERS],
            Self::Algorithms => &[ALGORITHMS],
        };
        tables.iter().copied().flatten().find(|(known, _, _)| *known == number)
    }

    /// What a person calls this number.
    pub(super) fn name(self, number: i64) -> String {
        self.known(number).map_or_else(|| number.to_string(), |(_, name, _)| (*name).to_owned())
    }

    /// Where a refusal's words say that a number is from.
    fn of(part: &str, what: &str) -> Option<Self> {
        match (what, part) {
            ("member", "the common section") => Some(Self::Common),
            ("member", "the manifest") => Some(Self::Manifest),
            ("member" | "unsigned member", "the envelope") => Some(Self::Envelope),
            ("command", _) => Some(Self::Commands),
            ("parameter", _) => Some(Self::Parameters),
            ("COSE structure with tag", _) => Some(Self::Tags),
            ("header", _) => Some(Self::Headers),
            ("algorithm" | "digest algorithm", _) => Some(Self::Algorithms),
            _ => None,
        }
    }
}

/// Why something unknown is refused: what it is called, and the reason where there is one to give.
pub(super) fn unsupported(part: &str, what: &str, number: i64) -> String {
    let table = Table::of(part, what);
    let what = what.trim_end_matches(" with tag");
    let Some((_, name, why)) = table.and_then(|table| table.known(number)) else {
        return format!("{part} has the {what} {number}, which this device does not support");
    };
    let words = format!("{part} has the {what} `{name}`, which this device does not support there");
    if why.is_empty() { words } else { format!("{words}: {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_about_each_number_once() {
        for table in [MEMBERS, ENVELOPE, COMMON, COMMANDS, PARAMETERS, TAGS, HEADERS, ALGORITHMS] {
            let mut numbers: Vec<_> = table.iter().map(|(number, _, _)| number).collect();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), table.len());
        }
    }

    #[test]
    fn a_refusal_names_the_member_and_the_reason() {
        let words = unsupported("the manifest", "member", 8);
        assert!(words.contains("`load`") && words.contains("not loaded elsewhere"), "{words}");
        assert!(unsupported("the manifest", "member", 99).contains("member 99"));
        assert!(unsupported("the install sequence", "command", 22).contains("`directive-copy`"));
        let words = unsupported("a signature", "COSE structure with tag", 17);
        assert!(words.contains("`COSE_Mac0`") && words.contains("key of its vendor"), "{words}");
    }
}
