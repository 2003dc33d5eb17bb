//! Guesses at a PIN in numbers: sealed alerts, data and Finished, handshakes that are left, addresses.

use std::net::{IpAddr, Ipv4Addr};

use freshen::clock;

use crate::hand::{ALERT, DATA, HANDSHAKE, Hand};
use crate::pin_guesses::{HERE, IDENTITY, Scene, TRIES};

/// Guesses under the keys of one handshake, in one go.
const IN_ONE_GO: usize = 2000;
/// Sealed records in one datagram.
const IN_A_DATAGRAM: usize = 12;

/// A flood of guesses, and what the device has had of them.
struct Flood {
    scene: Scene,
    /// Keys of wrong PINs.
    wrong: Vec<Vec<u8>>,
    sent: usize,
    addresses: u32,
}

impl Flood {
    fn new() -> Self {
        let scene = Scene::new("");
        let wrong = (0..256).map(|n| scene.psk(&format!("{n:08}x"))).collect();
        Self { scene, wrong, sent: 0, addresses: 0 }
    }

    /// An address that nobody came from yet.
    fn elsewhere(&mut self) -> IpAddr {
        self.addresses += 1;
        let [_, a, b, c] = (0x10_0000 + self.addresses).to_be_bytes();
        Ipv4Addr::new(127, a, b, c).into()
    }

    /// So many guesses in one handshake, sealed as this kind of record; one of the last has the PIN.
    fn seal(&mut self, hand: &mut Hand, content: u8, pin: &str) {
        let mut datagram = vec![];
        for n in 0..IN_ONE_GO {
            let right = n + IN_A_DATAGRAM == IN_ONE_GO;
            let keys = match right {
                true => hand.keys(&self.scene.psk(pin)),
                false => hand.keys(&self.wrong[n % self.wrong.len()]),
            };
            let said = match content {
                ALERT => vec![2, 40],
                HANDSHAKE => hand.finished(&keys),
                _ => b"guess".to_vec(),
            };
            datagram.extend(hand.sealed(&keys, content, &said));
            if n % IN_A_DATAGRAM == IN_A_DATAGRAM - 1 {
                hand.send(&datagram);
                datagram.clear();
            }
        }
        self.sent += IN_ONE_GO;
    }

    /// One PIN's life, as an attacker fills it: what costs no try, `times` over, and then the three
    /// tries, each in another way. The PIN is among the guesses each time but in a first place.
    fn use_up(&mut self, pin: &str, times: usize) {
        let mut hand = self.scene.knock(HERE).expect("a PIN is shown");
        for _ in 0..times {
            self.seal(&mut hand, ALERT, pin);
            self.seal(&mut hand, DATA, pin);
            // A handshake ends after half a minute, and is left for another before.
            hand.begin_anew();
            hand.knock().expect("none of this was a try");
            hand.exchange(IDENTITY);
        }
        // Two thousand Finished in one handshake are one try.
        self.seal(&mut hand, HANDSHAKE, pin);
        // A handshake that is left for another; each handshake has keys of its own.
        let mut left = self.scene.knock(HERE).expect("one try is not all");
        self.scene.finish(&mut left, "wrong");
        left.begin_anew();
        // From ever new addresses, until nobody is let so far any more; all of them know the PIN by now.
        let somewhere = self.elsewhere();
        if let Some(mut hand) = self.scene.knock(somewhere) {
            self.scene.finish(&mut hand, "wrong");
        }
        self.scene.wait_until_not(pin);
        for _ in 0..100 {
            let somewhere = self.elsewhere();
            if let Some(mut hand) = self.scene.knock(somewhere) {
                assert!(!self.scene.gets_in(&mut hand, pin), "{}", self.scene.victim.log());
            }
        }
        self.sent += 2 + 100;
    }

    /// Sends so many at least, through as many PINs as there are meanwhile. The tries that there were.
    fn go_on(&mut self, guesses: usize, times: usize) -> usize {
        let mut tries = 0;
        while self.sent < guesses {
            let pin = self.scene.victim.wait_for_pin();
            self.use_up(&pin, times);
            tries += TRIES;
        }
        let log = self.scene.victim.log();
        assert!(!log.contains("onboards the device"), "{log}");
        let compared = log.lines().rev().find_map(|line| line.split_once("compared so far: "));
        let compared: usize = compared.unwrap().1.trim().parse().unwrap();
        assert_eq!(compared, tries, "{log}");
        // The control: the PIN that is shown next does open the door.
        let pin = self.scene.victim.wait_for_pin();
        let mut hand = self.scene.knock(HERE).unwrap();
        assert!(self.scene.gets_in(&mut hand, &pin), "{}", self.scene.victim.log());
        tries
    }
}

#[test]
fn of_ten_thousand_guesses_three_reach_a_comparison() {
    let mut flood = Flood::new();
    assert_eq!(flood.go_on(10_000, 2), TRIES);
}

/// `GUESSES=10000000 cargo test --test adversary -- --ignored --nocapture ten_million`; each round has
/// its pause, so that most of the guesses are those that cost nothing.
#[test]
#[ignore = "minutes"]
fn of_ten_million_guesses_the_counted_tries_reach_a_comparison() {
    let guesses = std::env::var("GUESSES").ok().and_then(|text| text.parse().ok());
    let start = clock::now().mono;
    let mut flood = Flood::new();
    // Three PINs' lives: the pause after the fifth is longer than a scenario is patient.
    let tries = flood.go_on(guesses.unwrap_or(10_000_000), 850);
    let (sent, seconds) = (flood.sent, (clock::now().mono - start).as_secs());
    let lost = flood.scene.victim.lost_datagrams();
    println!(
        "{sent} guesses in {seconds} s: {tries} compared; the kernel dropped {lost} datagrams"
    );
}
