//! Lives that end early: killed, stopped, started anew.

use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta};

use crate::bench::{Device, Vendor};

/// Kills in an ordinary run; `KILLS=200 cargo test --release --test device sigkill` for more.
const KILLS: u64 = 12;

#[test]
fn sigkill_at_any_moment_ends_in_the_old_or_the_new_software_with_the_outcome_told() {
    let kills = std::env::var("KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let vendor = Vendor::new();
    let url = vendor.publish("1.1.0", "exit 0", 4_000_000);
    let (mut cut_short, mut ended) = (0, 0);
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for n in 0..kills {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let name = format!("cam-{n}");
        let mut device = Device::start(&vendor, &name);
        device.order(&url, "upgrade", &now(0)).unwrap();
        // An update takes about half a second here; some are killed after it, too.
        std::thread::sleep(Duration::from_micros((seed >> 33) % 700_000));
        device.kill();
        assert!(["", "1.1.0"].contains(&&*device.running()), "{:?}", device.running());
        if device.running().is_empty() {
            cut_short += 1;
        } else {
            ended += 1;
        }
        let device = Device::start(&vendor, &name);
        let value = device.wait_until_idle();
        assert_eq!(value["swupdateresult"], 1, "kill {n}: {}", device.log());
        assert_eq!(device.running(), "1.1.0");
    }
    println!("{kills} kills: {cut_short} before the switch, {ended} after it, 0 bricked, 0 untold");
    assert!(cut_short > 0, "the kills came too late to prove anything");
}

#[test]
fn a_stopped_device_ends_at_once_and_keeps_its_schedule() {
    let vendor = Vendor::new();
    let url = vendor.publish("1.1.0", "exit 0", 1000);
    let mut device = Device::start(&vendor, "cam");
    let di = device.ready["di"].clone();
    device.order(&url, "upgrade", &now(8)).unwrap();
    let stopping = freshen::clock::now().mono;
    assert_eq!(device.stop(), Some(0));
    assert!(freshen::clock::now().mono - stopping < Duration::from_secs(2));
    let device = Device::start(&vendor, "cam");
    assert_eq!(device.ready["di"], di, "the device is still the same");
    assert_eq!(device.wait_until_idle()["swupdateresult"], 1, "{}", device.log());
    assert_eq!(device.running(), "1.1.0");
}

#[test]
fn an_order_whose_time_came_while_the_device_was_off_is_carried_out() {
    let vendor = Vendor::new();
    let url = vendor.publish("1.1.0", "exit 0", 1000);
    let mut device = Device::start(&vendor, "cam");
    device.order(&url, "upgrade", &now(6)).unwrap();
    device.kill();
    std::thread::sleep(Duration::from_secs(7));
    let device = Device::start(&vendor, "cam");
    assert_eq!(device.wait_until_idle()["swupdateresult"], 1, "{}", device.log());
}

pub(crate) fn now(seconds: i64) -> String {
    let now = freshen::clock::now().wall + TimeDelta::seconds(seconds);
    now.to_rfc3339_opts(SecondsFormat::Secs, true)
}
