//! Strangers make the device say something, again and again, until its disk is full of it.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use crate::coap::{CON, post};
use crate::hand::{ECDHE_PSK, Hand};
use crate::victim::Victim;

const ORDER: &[u8] = &[0xa0];

#[test]
fn what_strangers_make_the_device_say_does_not_fill_its_disk() {
    let victim = Victim::start("");
    let before = victim.log().len();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(victim.clear).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = [0; 2048];
    for id in 0..5000u16 {
        let path = if id % 2 == 0 { "/softwareupdateResURI" } else { "/oic/sec/cred" };
        socket.send(&post(CON, id, b"", path, ORDER)).unwrap();
        socket.recv(&mut answer).unwrap();
    }
    for n in 0..500u16 {
        let here = IpAddr::V4(Ipv4Addr::new(127, 8, 0, n as u8));
        // Nothing is chosen yet: there is no suite for anybody.
        assert!(Hand::new(here, victim.secure, &[ECDHE_PSK]).knock().is_err());
    }
    let log = victim.log();
    // The control: it does say who knocks.
    assert!(log.contains("is denied") && log.contains("could not connect"), "{log}");
    assert!(log.len() - before < 16 << 10, "{} bytes for 5,500 knocks", log.len() - before);
}
