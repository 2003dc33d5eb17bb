//! Guessing the PIN of a device that nobody owns yet, by every record that a guess can be sealed in.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use freshen::dtls::{ClientPolicy, PreSharedKey, Suite, pin_psk};
use uuid::Uuid;

use crate::hand::{ALERT, DATA, ECDHE_PSK, HANDSHAKE, Hand};
use crate::tool::Tool;
use crate::victim::{Victim, wait_until};

/// What a client calls itself in a transfer by PIN (OCF Security 7.3.5).
pub(crate) const IDENTITY: &[u8] = b"oic.sec.doxm.rdp";

pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Wrong PINs that a device puts up with.
pub(crate) const TRIES: usize = 3;

/// Long enough for an answer that comes.
const A_WHILE: Duration = Duration::from_secs(20);

/// A device that shows a PIN, and what an attacker knows of it.
pub(crate) struct Scene {
    pub(crate) victim: Victim,
    device: Uuid,
    pin: String,
}

impl Scene {
    pub(crate) fn new(configuration: &str) -> Self {
        let victim = Victim::start(configuration);
        let device = victim.select(1);
        let pin = victim.wait_for_pin();
        Self { victim, device, pin }
    }

    pub(crate) fn psk(&self, pin: &str) -> Vec<u8> {
        pin_psk(pin.as_bytes(), self.device.as_bytes()).to_vec()
    }

    /// A handshake up to the moment where the PIN counts; none if the device lets nobody so far.
    pub(crate) fn knock(&self, from: IpAddr) -> Option<Hand> {
        let mut hand = Hand::new(from, self.victim.secure, &[ECDHE_PSK]);
        hand.knock().ok()?;
        hand.exchange(IDENTITY);
        Some(hand)
    }

    /// Sends a Finished under this PIN.
    pub(crate) fn finish(&self, hand: &mut Hand, pin: &str) {
        let keys = hand.keys(&self.psk(pin));
        let finished = hand.finished(&keys);
        let finished = hand.sealed(&keys, HANDSHAKE, &finished);
        hand.send(&finished);
    }

    /// Whether the device answers the Finished under this PIN with its own.
    pub(crate) fn gets_in(&self, hand: &mut Hand, pin: &str) -> bool {
        let keys = hand.keys(&self.psk(pin));
        self.finish(hand, pin);
        while let Some(record) = hand.listen(A_WHILE) {
            match record.content {
                HANDSHAKE if record.number >> 48 == 1 => {
                    let said = Hand::open(&keys, &record).expect("the server has the same keys");
                    return said[0] == 20;
                }
                ALERT => return false,
                _ => {}
            }
        }
        false
    }

    /// Whether a whole new handshake with the first PIN leads in.
    fn lets_in_with_the_first_pin(&self) -> bool {
        self.knock(HERE).is_some_and(|mut hand| self.gets_in(&mut hand, &self.pin))
    }

    fn wait_until_withdrawn(&self) {
        self.wait_until_not(&self.pin);
    }

    pub(crate) fn wait_until_not(&self, pin: &str) {
        wait_until("the PIN is withdrawn", || self.victim.pin() != pin);
    }
}

/// The control of all that follows: the hand gets in with the right PIN, so that what keeps it out is
/// not its own clumsiness.
#[test]
fn the_adversary_gets_in_with_the_right_pin() {
    let scene = Scene::new("");
    assert!(scene.lets_in_with_the_first_pin(), "{}", scene.victim.log());
}

/// The device tries nothing but a Finished, so that no other record tells a right guess from a wrong one:
/// after a thousand of them under wrong PINs, and one under the right one, the handshake stands as before.
#[test]
fn alerts_and_data_sealed_under_guesses_tell_nothing() {
    for (content, said) in [(ALERT, &[2, 40][..]), (ALERT, &[1, 0]), (DATA, b"guess")] {
        let scene = Scene::new("");
        let mut hand = scene.knock(HERE).unwrap();
        let right = hand.keys(&scene.psk(&scene.pin));
        let wrong = hand.keys(&scene.psk("wrong"));
        for keys in std::iter::repeat_n(&wrong, 1000).chain([&right]) {
            let guess = hand.sealed(keys, content, said);
            hand.send(&guess);
        }
        let log = scene.victim.log();
        assert!(scene.gets_in(&mut hand, &scene.pin), "{content} {said:?}: {log}");
    }
}

/// However a handshake ends that had a wrong Finished: by silence, by a new hello, from one address or from
/// many. Three are all there are.
#[test]
fn every_handshake_with_a_wrong_pin_counts_however_it_ends() {
    type Play = fn(&Scene);
    let silent: Play = |scene| {
        for n in 0..TRIES {
            let from = Ipv4Addr::new(127, 0, 0, u8::try_from(n + 2).unwrap());
            let mut hand = scene.knock(from.into()).unwrap();
            scene.finish(&mut hand, "wrong");
        }
    };
    let abandoned: Play = |scene| {
        let mut hand = scene.knock(HERE).unwrap();
        for n in 0..TRIES {
            scene.finish(&mut hand, "wrong");
            // An alert, if there is one, must not be taken for an answer to the next hello.
            hand.listen(Duration::from_secs(5));
            hand.begin_anew();
            if n + 1 < TRIES {
                hand.knock().unwrap();
                hand.exchange(IDENTITY);
            }
        }
    };
    let alerting: Play = |scene| {
        for _ in 0..TRIES {
            let mut hand = scene.knock(HERE).unwrap();
            scene.finish(&mut hand, "wrong");
            let alert = hand.plain(ALERT, &[2, 90]);
            hand.send(&alert);
        }
    };
    for (how, play) in [("silence", silent), ("a new hello", abandoned), ("an alert", alerting)] {
        let scene = Scene::new("");
        play(&scene);
        scene.wait_until_withdrawn();
        assert!(!scene.lets_in_with_the_first_pin(), "{how}: {}", scene.victim.log());
    }
}

/// A handshake has one try. (The control: a Finished that comes twice is no second try, but the first.)
#[test]
fn the_first_wrong_finished_ends_the_handshake() {
    let scene = Scene::new("");
    let mut hand = scene.knock(HERE).unwrap();
    scene.finish(&mut hand, "wrong");
    assert!(!scene.gets_in(&mut hand, &scene.pin), "{}", scene.victim.log());
    assert!(scene.lets_in_with_the_first_pin(), "one try is not all: {}", scene.victim.log());
}

/// Whoever records a handshake with a plain key can try PINs on the recording for as long as he likes.
#[test]
fn a_pin_is_never_used_without_an_ephemeral_key() {
    let named = "[credentials]\npsk = [{ identity = \"fitter\", key_hex = \"6162636465666768696a6b6c6d6e6f70\" }]\n";
    let scene = Scene::new(named);
    let connect = |identity: &[u8], key: &[u8], suite| {
        let psk = Some(PreSharedKey::new(identity, key));
        let policy = ClientPolicy { suites: vec![suite], psk, ..ClientPolicy::default() };
        Tool::connect(&scene.victim.secure.to_string(), policy).is_ok()
    };
    let pin = scene.psk(&scene.pin);
    assert!(connect(b"fitter", b"abcdefghijklmnop", Suite::PskAes128Ccm8), "the suite is spoken");
    assert!(!connect(IDENTITY, &pin, Suite::PskAes128Ccm8));
    assert!(connect(IDENTITY, &pin, Suite::EcdhePskAes128CbcSha256), "{}", scene.victim.log());
}
