//! Anybody may choose how a device is to be taken. What that costs the device, and the person before it.

use std::fs;

use freshen::dtls::pin_psk;

use crate::owner::{anonymous, psk};
use crate::victim::{DOXM, Victim, wait_until};

/// A device that shows its PIN with a program which notes when it begins and when it ends.
fn victim() -> Victim {
    let script = "echo begin >> STATE.runs; cat > STATE.shown; sleep 0.3; echo end >> STATE.runs";
    Victim::start(&format!("[onboarding]\npin_command = [\"/bin/sh\", \"-c\", \"{script}\"]\n"))
}

fn runs(victim: &Victim) -> Vec<String> {
    let runs = fs::read_to_string(victim.state().with_extension("runs")).unwrap_or_default();
    runs.lines().map(str::to_owned).collect()
}

#[test]
fn strangers_who_choose_the_method_change_nothing() {
    let victim = victim();
    let device = victim.select(1);
    let pin = victim.wait_for_pin();
    wait_until("the program has shown it", || runs(&victim).len() == 2);
    let records =
        || ["security.0", "security.1"].map(|name| fs::read(victim.state().join(name)).ok());
    let before = records();
    for n in 0..60 {
        victim.select(n % 2);
    }
    assert_eq!(victim.pin(), pin, "{}", victim.log());
    assert_eq!(records(), before, "nothing was written");
    assert_eq!(runs(&victim).len(), 2, "no program ran");
    // The control: the choice holds, and the person who read the PIN at first gets in.
    let key = pin_psk(pin.as_bytes(), device.as_bytes());
    assert!(victim.connect(psk(b"oic.sec.doxm.rdp", &*key)).is_ok(), "{}", victim.log());
}

/// Each onboarding that breaks off makes the device new, with a new name, for which the PIN has to be
/// another.
#[test]
fn strangers_who_make_the_device_start_anew_run_few_programs() {
    let victim = victim();
    let mut names = std::collections::HashSet::new();
    for _ in 0..6 {
        names.insert(victim.select(0));
        victim.connect(anonymous()).unwrap().close();
        wait_until("the device is new", || {
            victim.stranger().get(DOXM).is_ok_and(|doxm| doxm["oxmsel"] == 4)
        });
        victim.select(1);
    }
    assert_eq!(names.len(), 6, "the control: the device was made new each time");
    let runs = runs(&victim);
    let begun = runs.iter().filter(|line| *line == "begin").count();
    // Three PINs, each shown and withdrawn.
    assert!((1..=6).contains(&begun), "{runs:?} {}", victim.log());
    let overlaps = runs.windows(2).any(|pair| pair[0] == "begin" && pair[1] == "begin");
    assert!(!overlaps, "{runs:?}");
}
