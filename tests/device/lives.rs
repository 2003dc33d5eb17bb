//! Lives that end, and what the next one does.

use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta};

use crate::bench::{Device, Vendor};

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
    let time = now(6);
    device.order(&url, "upgrade", &time).unwrap();
    device.kill();
    harness::until("the time comes", || now(0) > time);
    let device = Device::start(&vendor, "cam");
    assert_eq!(device.wait_until_idle()["swupdateresult"], 1, "{}", device.log());
}

pub(crate) fn now(seconds: i64) -> String {
    let now = freshen::clock::now().wall + TimeDelta::seconds(seconds);
    now.to_rfc3339_opts(SecondsFormat::Secs, true)
}
