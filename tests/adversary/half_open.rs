//! One address begins handshakes and finishes none of them, as fast as it can, so that nobody else finds
//! a place; and one datagram asks for many cookies, for an address that may be somebody else's.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use freshen::clock;
use freshen::dtls::{ClientPolicy, PreSharedKey, Suite};

use crate::hand::{ECDHE_PSK, Hand};
use crate::tool::Tool;
use crate::victim::{Victim, wait_until};

const CONFIGURATION: &str = "[credentials]\npsk = [{ identity = \"honest\", key_hex = \"00112233445566778899aabbccddeeff\" }]\n";

/// Half-open places of a device.
const PLACES: usize = 64;

fn honest(victim: &Victim) -> Tool {
    let key = [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77];
    let key = [key, key.map(|byte| byte + 0x88)].concat();
    let psk = Some(PreSharedKey::new("honest".as_bytes(), key));
    let policy =
        ClientPolicy { psk, suites: vec![Suite::PskAes128Ccm8], ..ClientPolicy::default() };
    Tool::connect(&victim.secure.to_string(), policy).unwrap()
}

#[test]
fn a_flood_of_half_open_handshakes_from_one_address_keeps_nobody_out() {
    let victim = Victim::start(CONFIGURATION);
    let (over, begun) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let here = IpAddr::V4(Ipv4Addr::new(127, 9, 0, 1));
                while !over.load(Ordering::Relaxed) {
                    Hand::new(here, victim.secure, &[ECDHE_PSK]).knock().unwrap();
                    begun.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _end = Over(&over);
        wait_until("all places are taken", || begun.load(Ordering::Relaxed) > 4 * PLACES);
        let slowest = (0..10)
            .map(|_| {
                let start = clock::now().mono;
                let mut honest = honest(&victim);
                assert!(honest.get("/oic/d").is_ok(), "{}", victim.log());
                clock::now().mono - start
            })
            .max();
        // The first retransmission would come after a second.
        assert!(slowest < Some(Duration::from_secs(1)), "{slowest:?}");
    });
    // The control: the places were all taken, and had to be given up for others.
    assert!(victim.log().contains("the handshake was given up"), "{}", victim.log());
}

/// Ends the flood, however the scenario ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A record with as much of a ClientHello as a cookie depends on; each has its own random.
fn hello_front(n: u8) -> Vec<u8> {
    let body = [&[0xfe, 0xfd][..], &[n; 32], &[0, 0]].concat();
    let length = body.len() as u8;
    let fragment = [&[1, 0, 0, 200, 0, 0, 0, 0, 0, 0, 0, length][..], &body].concat();
    let header = [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, n, 0, fragment.len() as u8];
    [&header[..], &fragment].concat()
}

#[test]
fn a_datagram_of_many_hellos_brings_one_cookie() {
    let victim = Victim::start("");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(victim.secure).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let answers = || {
        let mut datagram = [0; 2048];
        std::iter::from_fn(|| socket.recv(&mut datagram).ok()).collect::<Vec<usize>>()
    };
    let many: Vec<u8> = (0..36).flat_map(hello_front).collect();
    socket.send(&many).unwrap();
    assert_eq!(answers().len(), 1);
    // The control: each of them alone is worth a cookie, which is no longer than what it answers.
    for n in 0..36 {
        socket.send(&hello_front(n)).unwrap();
    }
    let alone = answers();
    assert!(alone.len() == 36 && alone.iter().all(|bytes| *bytes <= hello_front(0).len()));
}
