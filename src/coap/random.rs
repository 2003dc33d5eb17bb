//! Chance and secrets, all from one seed, so that a simulation can be repeated.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hasher};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Tokens, jitter, first message ids.
#[derive(Debug)]
pub(super) struct Random(ChaCha8Rng);

impl Random {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(seed))
    }

    pub(super) fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Evenly between zero and `most`.
    pub(super) fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.0.next_u32() as f64 / f64::from(u32::MAX))
    }

    /// Evenly between `base` and `base` times `factor`.
    pub(super) fn stretched(&mut self, base: Duration, factor: f64) -> Duration {
        base + self.up_to(base.mul_f64(factor - 1.0))
    }
}

/// A keyed SipHash: peers choose what goes into our tables, so they must not know where it lands.
/// Unlike the standard library's `RandomState` it is made from the seed.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    key: [u64; 2],
    /// A hasher that has taken the key in.
    hasher: DefaultHasher,
}

impl Keyed {
    pub(super) fn new(random: &mut Random) -> Self {
        let key = [random.u64(), random.u64()];
        let mut hasher = DefaultHasher::new();
        mix(key, &mut hasher);
        Self { key, hasher }
    }
}

impl Keyed {
    /// Mixes the key into what is hashed.
    pub(super) fn mix_into(&self, hasher: &mut DefaultHasher) {
        mix(self.key, hasher);
    }
}

fn mix(key: [u64; 2], hasher: &mut DefaultHasher) {
    hasher.write_u64(key[0]);
    hasher.write_u64(key[1]);
}

impl BuildHasher for Keyed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        self.hasher.clone()
    }
}

/// For what needs no hash: fingerprints are keyed hashes already, and tickets are numbers of our own.
#[derive(Debug, Default)]
pub(super) struct AsItIsHasher(u64);

pub(super) type AsItIs = BuildHasherDefault<AsItIsHasher>;

impl Hasher for AsItIsHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
