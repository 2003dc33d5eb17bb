//! Records that an agent cannot read: written by a newer one, or damaged. Whoever can bring that about
//! must not find a device that nobody owns.

use std::fs;
use std::path::Path;

use ciborium::cbor;
use freshen::coap::Code;
use sha2::{Digest, Sha256};

use crate::owner::{OWNER, Owner, anonymous, psk};
use crate::victim::{DOXM, Victim, refusal, wait_until};

/// A record file, read and written as the store does: a header, the body, and a digest over both.
pub(crate) fn rewrite(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    bytes.truncate(bytes.len() - 32);
    change(&mut bytes);
    let digest = Sha256::digest(&bytes);
    bytes.extend(digest);
    fs::write(file, bytes).unwrap();
}

/// The body begins here: magic, generation, forms, length.
const HEADER_BYTES: usize = 6 + 8 + 4 + 4;
const FORMS: std::ops::Range<usize> = 14..18;

/// What may have happened to both copies.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Whole, and none of our forms.
    Newer,
    /// Whole, of our form, and no record.
    Nonsense,
    /// Not whole.
    Damaged,
    /// Whole, of a newer form that says we can read it.
    NewerAndReadable,
}

fn befall(state: &Path, record: &str, fate: Fate) {
    let files = [0, 1].map(|side| state.join(format!("{record}.{side}")));
    for file in files.iter().filter(|file| file.exists()) {
        match fate {
            Fate::Newer => rewrite(file, |bytes| bytes[FORMS].copy_from_slice(&[0, 9, 0, 9])),
            Fate::NewerAndReadable => {
                rewrite(file, |bytes| bytes[FORMS].copy_from_slice(&[0, 9, 0, 1]));
            }
            Fate::Nonsense => rewrite(file, |bytes| bytes[HEADER_BYTES..].fill(0x61)),
            Fate::Damaged => {
                let mut bytes = fs::read(file).unwrap();
                bytes[HEADER_BYTES] ^= 1;
                fs::write(file, bytes).unwrap();
            }
        }
    }
}

#[test]
fn a_device_that_cannot_read_who_owns_it_serves_nobody_until_it_is_reset_by_hand() {
    for fate in [Fate::Newer, Fate::Nonsense, Fate::Damaged] {
        let victim = Victim::start("");
        let owner = Owner::take(&victim);
        let mut directory = victim.end();
        befall(&directory.path().join("state"), "security", fate);
        // Also for more than one life.
        for _ in 0..2 {
            let victim = Victim::live(directory);
            assert_eq!(victim.ready["locked"], true, "{fate:?}: {}", victim.log());
            let mut thief = victim.stranger();
            assert_eq!(thief.get(DOXM), Err(Code::SERVICE_UNAVAILABLE), "{fate:?}");
            let select = cbor!({"oxmsel" => 0}).unwrap();
            assert_eq!(thief.post(DOXM, &select), Code::SERVICE_UNAVAILABLE, "{fate:?}");
            assert!(victim.connect(anonymous()).is_err(), "{fate:?}: the thief is in");
            assert!(victim.connect(psk(OWNER.as_bytes(), &owner.key)).is_err(), "{fate:?}");
            assert!(victim.log().contains("locked"), "{}", victim.log());
            directory = victim.end();
        }
        // The control: whoever has it in hand can use it again.
        let victim = Victim::live(directory);
        victim.press_button();
        wait_until("nobody owns the device", || {
            victim.stranger().get(DOXM).is_ok_and(|doxm| doxm["owned"] == false)
        });
        Owner::take(&victim);
    }
}

/// What a newer agent wrote so that this one can read it, is read.
#[test]
fn a_record_of_a_newer_form_that_says_so_is_read() {
    let victim = Victim::start("");
    let owner = Owner::take(&victim);
    let directory = victim.end();
    for record in ["security", "update", "identity"] {
        befall(&directory.path().join("state"), record, Fate::NewerAndReadable);
    }
    let victim = Victim::live(directory);
    assert!(victim.connect(psk(OWNER.as_bytes(), &owner.key)).is_ok(), "{}", victim.log());
}

/// Without what it knows of its software, a device would take old packages for new ones.
#[test]
fn an_agent_does_not_start_on_an_update_record_that_it_cannot_read() {
    for (record, fate) in [
        ("update", Fate::Newer),
        ("update", Fate::Nonsense),
        ("identity", Fate::Newer),
        ("trust", Fate::Newer),
    ] {
        let directory = Victim::start("").end();
        let state = directory.path().join("state");
        if record == "trust" {
            // None was ever taken; any whole record will do.
            for side in ["0", "1"] {
                let update = state.join(format!("update.{side}"));
                if update.exists() {
                    fs::copy(update, state.join(format!("trust.{side}"))).unwrap();
                }
            }
        }
        befall(&state, record, fate);
        let said = refusal(directory.path());
        let word = if matches!(fate, Fate::Newer) { "newer" } else { "cannot be read" };
        assert!(said.contains(record) && said.contains(word), "{record} {fate:?}: {said}");
    }
}
