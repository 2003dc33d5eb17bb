//! Hellos that are cut in the middle of their cookie.

use super::network::{CLIENT, Pair, SERVER, Travelling, policies};
use crate::dtls::wire::put_u24;
use crate::dtls::{ClientPolicy, Config, Policy, Suite, message, record};

/// Version, random, no session id, and the length of the cookie.
const BEFORE_THE_COOKIE: usize = 36;

/// Up to the hello that brings the cookie, which is on its way as two fragments, the first this long.
fn with_a_hello_cut_at(length: usize, policies: (ClientPolicy, Policy)) -> Pair {
    let mut pair = Pair::new(Config::default(), policies.1);
    pair.connect(policies.0);
    for _ in 0..2 {
        let datagram = pair.wire.pop_front().unwrap();
        pair.deliver(&datagram);
    }
    let hello = pair.wire.pop_front().unwrap().bytes;
    let (record, rest) = hello.split_at(record::HEADER_BYTES);
    let (header, body) = rest.split_at(message::HEADER_BYTES);
    let (number, message) = (u64::from_be_bytes(record[3..11].try_into().unwrap()), &header[..6]);
    for (n, from, to) in [(0, 0, length), (1, length, body.len())] {
        let mut bytes = vec![];
        record::put_header(&mut bytes, record[0], number + n, message::HEADER_BYTES + to - from);
        bytes.extend(message);
        put_u24(&mut bytes, from);
        put_u24(&mut bytes, to - from);
        bytes.extend(&body[from..to]);
        pair.wire.push_back(Travelling { from: CLIENT, bytes });
    }
    pair
}

#[test]
fn a_hello_may_be_cut_anywhere_after_the_first_bytes_of_its_cookie() {
    for cut in 1..80 {
        let mut pair = with_a_hello_cut_at(cut, policies(Suite::PskAes128Ccm8));
        pair.settle();
        let failed = &pair.said[SERVER].failed;
        let answered = pair.sessions().is_some();
        assert_eq!(answered, cut >= BEFORE_THE_COOKIE + 4, "cut at {cut}: {failed:?}");
        assert!(answered || pair.ends[SERVER].footprint() == (0, 0), "what is not, leaves nothing");
    }
}

#[test]
fn the_rest_of_a_cookie_has_to_be_right_before_the_server_makes_keys() {
    for wrong in 0..32 {
        let mut pair = with_a_hello_cut_at(BEFORE_THE_COOKIE + 8, policies(Suite::PskAes128Ccm8));
        let header = record::HEADER_BYTES + message::HEADER_BYTES;
        match wrong {
            0..8 => pair.wire[0].bytes[header + BEFORE_THE_COOKIE + wrong] ^= 1,
            _ => pair.wire[1].bytes[header + wrong - 8] ^= 1,
        }
        for _ in 0..2 {
            let fragment = pair.wire.pop_front().unwrap();
            pair.deliver(&fragment);
        }
        assert!(pair.sessions().is_none() && pair.ends[SERVER].footprint() == (0, 0), "{wrong}");
        // An alert or another cookie, but no flight.
        let said: usize = pair.wire.iter().map(|datagram| datagram.bytes.len()).sum();
        assert!(said <= 60, "{wrong}: {said} bytes");
    }
}
