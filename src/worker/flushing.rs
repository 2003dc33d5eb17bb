//! Keeps the disk busy while bytes are still coming, so that the wait at the end is short.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Bytes after which the disk is told to begin: some tenths of a second of a fast one.
const FLUSH_BYTES: u64 = 32 << 20;

/// Waits for the disk in a thread of its own, now and then.
pub struct Flushing {
    sync: Arc<dyn Fn() -> io::Result<()> + Send + Sync>,
    written: u64,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Flushing {
    /// `sync` waits until what was written is on the disk.
    pub fn new(sync: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self { sync: Arc::new(sync), written: 0, thread: None }
    }

    /// So many bytes more were written.
    ///
    /// # Errors
    ///
    /// What the disk said to an earlier wait: it says so once, and the wait at the end would not hear
    /// of it.
    pub fn wrote(&mut self, bytes: u64) -> io::Result<()> {
        self.written += bytes;
        let busy = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        if self.written < FLUSH_BYTES || busy {
            return Ok(());
        }
        self.settle()?;
        self.written = 0;
        let sync = self.sync.clone();
        // Without a thread all of the wait is at the end.
        self.thread = thread::Builder::new().name("flushing".into()).spawn(move || sync()).ok();
        Ok(())
    }

    /// Waits until no wait is under way any more. The last bytes are not covered.
    ///
    /// # Errors
    ///
    /// As [`Self::wrote`].
    pub fn settle(&mut self) -> io::Result<()> {
        match self.thread.take() {
            None => Ok(()),
            Some(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        }
    }
}

impl fmt::Debug for Flushing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flushing").field("written", &self.written).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn the_disk_is_told_now_and_then_and_what_it_says_is_heard() {
        let count = Arc::new(AtomicU32::new(0));
        let counted = count.clone();
        let mut flushing = Flushing::new(move || match counted.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(()),
            _ => Err(io::ErrorKind::StorageFull.into()),
        });
        flushing.wrote(FLUSH_BYTES - 1).unwrap();
        flushing.settle().unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 0);
        flushing.wrote(1).unwrap();
        flushing.settle().unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 1);
        flushing.wrote(FLUSH_BYTES).unwrap();
        assert_eq!(flushing.settle().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
