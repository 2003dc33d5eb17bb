//! Every single damaged bit, every missing end, every added byte.

use crate::corpus::{Good, corpus};

#[test]
fn every_flipped_bit_is_refused() {
    let (mut flips, mut free) = (0, 0);
    for good in corpus() {
        let original = good.verify(&good.envelope).unwrap();
        let mut envelope = good.envelope.clone();
        for at in 0..envelope.len() {
            for bit in 0..8 {
                envelope[at] ^= 1 << bit;
                flips += 1;
                match good.verify(&envelope) {
                    Err(_) => {}
                    // Neither signed nor used: and it changes nothing.
                    Ok(manifest) if is_free(&good, at) && *manifest == *original => free += 1,
                    Ok(_) => panic!("{}: bit {bit} of byte {at}", good.name),
                }
                envelope[at] ^= 1 << bit;
            }
        }
    }
    println!("{flips} flips, {free} of them in what the device does not need");
    assert!(flips > 100_000 && free > 0);
}

fn is_free(good: &Good, at: usize) -> bool {
    good.free.as_ref().is_some_and(|range| range.contains(&at))
}

#[test]
fn every_truncated_envelope_is_refused() {
    let mut truncations = 0;
    for good in corpus() {
        for length in 0..good.envelope.len() {
            truncations += 1;
            assert!(good.verify(&good.envelope[..length]).is_err(), "{}: {length}", good.name);
        }
    }
    println!("{truncations} truncations");
    assert!(truncations > 10_000);
}

#[test]
fn every_added_byte_is_refused() {
    for good in corpus() {
        for byte in 0..=255 {
            let mut envelope = good.envelope.clone();
            envelope.push(byte);
            assert!(good.verify(&envelope).is_err(), "{}: {byte} at the end", good.name);
            envelope.pop();
            envelope.insert(0, byte);
            assert!(good.verify(&envelope).is_err(), "{}: {byte} at the start", good.name);
        }
    }
}
