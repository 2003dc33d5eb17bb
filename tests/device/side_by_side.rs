//! The whole update beside what a person would do by hand, with the same 1 GiB over https.

use std::fs;
use std::process::Command;

use crate::bench::{Device, Vendor};
use crate::lives::now;

/// Files of the package, 16 MiB each.
const FILES: u32 = 64;

/// `cargo test --release --test device beside_curl -- --ignored --nocapture`; `ROUNDS=5` for more.
#[test]
#[ignore = "writes 5 GiB and measures time; the command is above"]
fn a_gigabyte_beside_curl_sha256sum_and_tar() {
    let rounds = std::env::var("ROUNDS").map_or(3, |text| text.parse().unwrap());
    let vendor = Vendor::new();
    let tree = vendor.path("tree");
    fs::create_dir(&tree).unwrap();
    let mut make = Command::new("sh");
    make.arg("-c").arg(format!(
        "for n in $(seq {FILES}); do head -c 16777216 /dev/urandom > {}/$n; done",
        tree.display()
    ));
    assert!(make.status().unwrap().success());
    fs::write(tree.join("health"), "#!/bin/sh\n").unwrap();
    crate::bench::make_executable(&tree.join("health"));
    let configuration = vendor.configuration();
    let (mut by_hand, mut ours) = (vec![], vec![]);
    for round in 1..=rounds {
        let version = format!("1.{round}.0");
        let url = vendor.pack(&tree, &version, round);
        let payload = url.replace(".suit", &format!("-{version}.tar"));
        by_hand.push(curl_and_tar(&vendor, &payload));
        // The same device each time: its spare slot has the round before the last in it.
        let device = Device::start_with(&vendor, "cam", &configuration, &["--insecure"]);
        settle();
        let begun = freshen::clock::now().mono;
        device.order(&url, "upgrade", &now(0)).unwrap();
        assert_eq!(device.wait_until_idle()["swupdateresult"], 1, "{}", device.log());
        ours.push((freshen::clock::now().mono - begun).as_secs_f64());
        fs::remove_file(vendor.nginx.path(payload.rsplit('/').next().unwrap())).unwrap();
        println!(
            "round {round}: by hand {:.2?} s, update {:.2} s, {} KiB at most; {}",
            by_hand[by_hand.len() - 1],
            ours[ours.len() - 1],
            device.peak_kib(),
            fs::read_to_string("/proc/loadavg").unwrap().trim()
        );
    }
    let [plain, safe] = [0, 1].map(|n| least(by_hand.iter().map(|times: &[f64; 2]| times[n])));
    let ours = least(ours.into_iter());
    println!(
        "least: by hand {plain:.2} s, and safe on the disk {safe:.2} s; update {ours:.2} s: {:.2} and \
         {:.2} times",
        ours / plain,
        ours / safe
    );
}

/// Fetches, prints the digest and unpacks: how long that took, and how long until it was safe on the
/// disk. An update that a power cut can undo is none.
fn curl_and_tar(vendor: &Vendor, payload: &str) -> [f64; 2] {
    let into = vendor.path("by-hand");
    fs::create_dir(&into).unwrap();
    fs::write(vendor.path("ca.pem"), &vendor.nginx.certs.ca).unwrap();
    settle();
    let begun = freshen::clock::now().mono;
    let mut hand = Command::new("bash");
    hand.current_dir(&into)
        .arg("-ec")
        .arg(format!("curl -s --cacert ../ca.pem {payload} | tee >(sha256sum > ../sum) | tar x"));
    assert!(hand.status().unwrap().success());
    let plain = (freshen::clock::now().mono - begun).as_secs_f64();
    assert!(Command::new("sync").arg("-f").arg(&into).status().unwrap().success());
    let safe = (freshen::clock::now().mono - begun).as_secs_f64();
    fs::remove_dir_all(into).unwrap();
    [plain, safe]
}

/// What others have written is not ours to wait for.
fn settle() {
    let _ = Command::new("sync").status();
}

fn least(times: impl Iterator<Item = f64>) -> f64 {
    times.fold(f64::INFINITY, f64::min)
}
