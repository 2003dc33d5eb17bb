//! The bodies of the fuzz targets, run for a moment with bytes of a seeded generator, and with inputs
//! that once found something.

#[path = "../../fuzz/src/coap.rs"]
mod coap;
#[path = "../../fuzz/src/ocf.rs"]
mod ocf;
#[path = "../../fuzz/src/package.rs"]
mod package;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

fn inputs(seed: u64) -> impl Iterator<Item = Vec<u8>> {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    (0..20_000).map(move |_| {
        let mut bytes = vec![0; (chance.next_u32() % 400) as usize];
        chance.fill_bytes(&mut bytes);
        // Half of the bytes small: lengths, kinds and steps are small numbers.
        bytes.iter_mut().for_each(|byte| *byte >>= chance.next_u32() % 8);
        bytes
    })
}

#[test]
fn any_datagrams_do_no_harm() {
    inputs(1).for_each(|input| coap::datagrams(&input));
}

/// A renewed registration went out with its whole body in one datagram.
#[test]
fn a_long_registration_is_renewed_in_blocks() {
    let mut input = vec![0xd3, 0xb2, 7, 7, 7, 7, 7, 7, 0, 0, 0, 0x18, 7, 0xff, 7];
    input.extend([0xff; 21]);
    input.extend([7, 0xb2, 7, 0x2e, 7, 0xb2, 0xb2, 7, 7, 7, 0x78, 0x78, 0x78, 0, 0x78, 0x78, 0x78]);
    input.extend([7, 0, 0, 0, 0x18, 7, 7, 0xe2]);
    coap::conversation(&input);
}

#[test]
fn any_conversation_does_no_harm() {
    inputs(2).for_each(|input| coap::conversation(&input));
}

#[test]
fn any_orders_do_no_harm() {
    inputs(3).take(4000).for_each(|input| ocf::orders(&input));
}

#[test]
fn any_envelope_does_no_harm() {
    inputs(4).for_each(|input| package::envelopes(&input));
    // What a person made, and bytes of it.
    let vectors = include_str!("../vectors/packages.txt").lines();
    let hex = |line: &str| {
        let digit = |at| u8::from_str_radix(line.get(at..at + 2)?, 16).ok();
        (0..line.len()).step_by(2).map(digit).collect::<Option<Vec<u8>>>()
    };
    for bytes in vectors.filter(|line| line.len() > 20).filter_map(hex) {
        package::envelopes(&bytes);
        (0..bytes.len()).step_by(7).for_each(|end| package::envelopes(&bytes[..end]));
    }
}
