//! Strangers send changes in clear, under as many addresses as they like, until the device can remember
//! no more of them.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::coap::{CON, Message, post};
use crate::victim::{DOXM, Victim};

/// More than the device remembers: it holds some 10,000 answers at most.
const CHANGES: u32 = 24_000;

/// `{"oxmsel": 0}`
const JUST_WORKS: &[u8] = &[0xa1, 0x66, b'o', b'x', b'm', b's', b'e', b'l', 0];

/// Sends changes until the device has answered so many; the codes of the answers.
fn flood(victim: &Victim, changes: u32) -> Vec<u32> {
    let mut codes = vec![];
    for address in 0..changes.div_ceil(1000) {
        let from = SocketAddr::from((Ipv4Addr::from(0x7f05_0000 + address), 0));
        let socket = UdpSocket::bind(from).unwrap();
        socket.connect(victim.clear).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut datagram = [0; 2048];
        for id in 0..1000 {
            socket.send(&post(CON, id, &id.to_be_bytes(), DOXM, JUST_WORKS)).unwrap();
            let length = socket.recv(&mut datagram).expect("each change is answered");
            codes.push(Message::read(&datagram[..length]).code);
        }
    }
    codes
}

#[test]
fn onboarding_goes_on_during_and_after_a_flood_of_changes_in_clear() {
    let victim = Victim::start("[onboarding]\nmethods = [\"jw\"]\n");
    let codes = flood(&victim, CHANGES);
    // The control: they were changes, and taken; so they had to be remembered.
    let taken = codes.iter().filter(|code| **code == 204).count();
    let refused = codes.iter().filter(|code| **code == 503).count();
    assert!(refused == 0 && taken == codes.len(), "{taken} taken, {refused} refused");
    let keys = tempfile::tempdir().unwrap();
    let own = |uri: &str| {
        Command::new(env!("CARGO_BIN_EXE_freshen"))
            .args(["own", uri, "--credentials"])
            .arg(keys.path().join("owner"))
            .output()
            .unwrap()
    };
    let over = AtomicBool::new(false);
    let done = std::thread::scope(|scope| {
        // During the next flood: strangers speak while the owner does.
        scope.spawn(|| flood_until(&victim, &over));
        let output = own(&victim.clear.to_string());
        over.store(true, Ordering::Relaxed);
        output
    });
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Strangers who do not care about answers.
fn flood_until(victim: &Victim, over: &AtomicBool) {
    let socket = UdpSocket::bind("127.6.0.1:0").unwrap();
    socket.connect(victim.clear).unwrap();
    for id in (0..=u16::MAX).cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let _ = socket.send(&post(CON, id, &id.to_be_bytes(), DOXM, JUST_WORKS));
        if id % 64 == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
