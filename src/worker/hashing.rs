//! SHA-256 beside the work that reads or writes the bytes: on a machine with two cores it costs nothing.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use sha2::{Digest as _, Sha256};

/// Bytes handed over at once: enough that handing over costs little.
const BLOCK_BYTES: usize = 64 * 1024;

/// Blocks that may wait for the thread; with those in work, under 1 MiB.
const BLOCKS_MAX: usize = 8;

/// A digest that is being made. The thread begins with the second block: small things need none.
#[derive(Debug, Default)]
pub struct Hashing {
    begun: Sha256,
    rest: Vec<u8>,
    thread: Option<(SyncSender<Vec<u8>>, JoinHandle<Sha256>)>,
}

impl Hashing {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while self.rest.len() + bytes.len() >= BLOCK_BYTES {
            let (now, later) = bytes.split_at(BLOCK_BYTES - self.rest.len());
            self.rest.extend_from_slice(now);
            self.hand_over();
            bytes = later;
        }
        self.rest.extend_from_slice(bytes);
    }

    /// The digest of all bytes.
    pub fn finish(mut self) -> [u8; 32] {
        let mut hash = match self.thread.take() {
            None => self.begun,
            Some((blocks, thread)) => {
                drop(blocks);
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
        };
        hash.update(&self.rest);
        hash.finalize().into()
    }

    fn hand_over(&mut self) {
        let block = std::mem::replace(&mut self.rest, Vec::with_capacity(BLOCK_BYTES));
        if self.thread.is_none() {
            let (sender, blocks) = sync_channel::<Vec<u8>>(BLOCKS_MAX);
            let mut hash = self.begun.clone();
            let work = move || {
                blocks.iter().for_each(|block| hash.update(block));
                hash
            };
            let thread = thread::Builder::new().name("hashing".into()).spawn(work);
            self.thread = thread.ok().map(|thread| (sender, thread));
        }
        match &self.thread {
            Some((blocks, _)) => {
                blocks.send(block).expect("the thread takes blocks until the sender is dropped");
            }
            // The system has no thread for us: slower, not wrong.
            None => self.begun.update(block),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_same_in_whatever_pieces_the_bytes_come() {
        let bytes: Vec<u8> = (0..1_000_003_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
        for length in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, bytes.len()] {
            let bytes = &bytes[..length];
            for piece in [1013, BLOCK_BYTES, 3 * BLOCK_BYTES + 5] {
                let mut hashing = Hashing::new();
                bytes.chunks(piece).for_each(|piece| hashing.update(piece));
                assert_eq!(hashing.finish(), <[u8; 32]>::from(Sha256::digest(bytes)), "{length}");
            }
        }
    }
}
