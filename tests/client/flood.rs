//! A hundred thousand senders that nobody knows, each with an address of its own.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use freshen::coap::limits::MEMORY_BYTES_MAX;

use super::freshen;
use super::ours::Device;

const SENDERS: u32 = 100_000;

/// What the process may grow by beside the endpoint's state: buffers of sockets' batches, the
/// allocator's slack, KiB.
const SLACK_KIB: u64 = 8 << 10;

/// All of 127/8 is this machine: so each has an address that it can receive at, but never looks.
fn sender(n: u32) -> UdpSocket {
    let address = std::net::Ipv4Addr::from(0x7f01_0000 + n);
    UdpSocket::bind(SocketAddr::from((address, 0))).unwrap()
}

/// One request of each kind in turn: an observation, a change, the first block of a body, and plain
/// reading.
fn request(n: u32) -> Vec<u8> {
    let [high, low] = (n as u16).to_be_bytes();
    let token = n.to_be_bytes();
    let path = [&[0xbd, 7][..], b"softwareupdateResURI"].concat();
    let (code, options): (u8, Vec<u8>) = match n % 4 {
        0 => (1, [&[0x60][..], &[0x5d, 7], b"softwareupdateResURI"].concat()),
        1 => (2, [&path[..], &[0xff, 0xa0]].concat()),
        2 => (2, [&path[..], &[0xd1, 3, 0x0e, 0xff], &[0xa5; 1024]].concat()),
        _ => (1, path),
    };
    [&[0x44, code, high, low][..], &token, &options].concat()
}

#[test]
fn a_hundred_thousand_senders_leave_little_behind_and_lock_nobody_out() {
    let device = Device::open();
    let at = device.coap[0];
    let before = device.memory_kib();
    let honest = UdpSocket::bind("127.0.0.1:0").unwrap();
    honest.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    honest.connect(at).unwrap();
    for n in 0..SENDERS {
        sender(n).send_to(&request(n), at).unwrap();
        if n % 1000 == 0 {
            // What was sent before is worked off by the time the answer is there.
            let id = (n / 1000) as u8;
            let get = [&[0x41, 1, 0, id, id][..], &[0xb3], b"oic", &[0x01], b"d"].concat();
            honest.send(&get).unwrap();
            let mut answer = [0; 1500];
            let length = honest.recv(&mut answer).expect("the honest client has its answer");
            assert_eq!(answer[..5], [0x61, 0x45, 0, id, id], "{:02x?}", &answer[..length]);
        }
    }
    let grown = device.memory_kib().saturating_sub(before);
    let most = MEMORY_BYTES_MAX as u64 / 1024 + SLACK_KIB;
    println!("{SENDERS} senders: {before} KiB before, {grown} KiB more; at most {most}");
    assert!(grown <= most, "{grown} KiB more than {before}; at most {most}");
    // And a whole client of ours is served as well.
    freshen(&format!("get --json coap://{at}/oic/res")).done();
}
