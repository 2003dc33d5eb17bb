//! Guessing the PIN of a device that nobody owns yet.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use freshen::dtls::pin_psk;

use crate::hand::{ECDHE_PSK, HANDSHAKE, Hand};
use crate::victim::Victim;

/// What a client calls itself in a transfer by PIN (OCF Security 7.3.5).
const IDENTITY: &[u8] = b"oic.sec.doxm.rdp";

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The control of all that follows: the hand gets in with the right PIN, so that what keeps it out is
/// not its own clumsiness.
#[test]
fn the_adversary_gets_in_with_the_right_pin() {
    let victim = Victim::start("");
    let device = victim.select(1);
    let pin = victim.wait_for_pin();
    let mut hand = Hand::new(HERE, victim.secure, &[ECDHE_PSK]);
    hand.knock().unwrap();
    hand.exchange(IDENTITY);
    let keys = hand.keys(&*pin_psk(pin.as_bytes(), device.as_bytes()));
    let finished = hand.finished(&keys);
    let finished = hand.sealed(&keys, HANDSHAKE, &finished);
    hand.send(&finished);
    let answer = std::iter::from_fn(|| hand.listen(Duration::from_secs(20)))
        .find(|record| record.number >> 48 == 1)
        .unwrap();
    let said = Hand::open(&keys, &answer).expect("the server has the same keys");
    assert_eq!((answer.content, said[0]), (HANDSHAKE, 20), "its Finished: {}", victim.log());
}
