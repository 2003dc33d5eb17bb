//! What tests do to the disk: let the process die or the disk fill up before an operation, forget to
//! wait for the disk, or write down every operation. For the current thread only.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

use super::Op;

/// What happens in this thread.
#[derive(Default)]
struct Faults {
    count: usize,
    dies_before: Option<usize>,
    full_at: Option<usize>,
    never_waits: bool,
    log: Option<Vec<(PathBuf, Op)>>,
    watcher: Option<Box<dyn FnMut(usize)>>,
}

thread_local! {
    static FAULTS: RefCell<Faults> = RefCell::default();
}

/// How many operations `work` makes.
pub(in crate::install) fn count<T>(work: impl FnOnce() -> T) -> (usize, T) {
    with(Faults::default(), work, |faults| faults.count)
}

/// From operation `n` on (counted from 0) nothing reaches the disk: the process is dead and does not
/// know it.
pub(in crate::install) fn dies_before<T>(n: usize, work: impl FnOnce() -> T) -> T {
    with(Faults { dies_before: Some(n), ..Faults::default() }, work, |_| ()).1
}

/// Operation `n` finds the disk full.
pub(in crate::install) fn full_at<T>(n: usize, work: impl FnOnce() -> T) -> T {
    with(Faults { full_at: Some(n), ..Faults::default() }, work, |_| ()).1
}

/// `watcher` is called before each operation with its number; with `never_waits` nothing waits for the
/// disk.
pub(in crate::install) fn watched<T>(
    never_waits: bool,
    watcher: impl FnMut(usize) + 'static,
    work: impl FnOnce() -> T,
) -> T {
    let watcher: Option<Box<dyn FnMut(usize)>> = Some(Box::new(watcher));
    with(Faults { never_waits, watcher, ..Faults::default() }, work, |_| ()).1
}

/// Every operation, with the directory that it stays beneath.
pub(in crate::install) fn logged<T>(work: impl FnOnce() -> T) -> (Vec<(PathBuf, Op)>, T) {
    let faults = Faults { log: Some(vec![]), ..Faults::default() };
    with(faults, work, |faults| faults.log.unwrap_or_default())
}

fn with<T, U>(faults: Faults, work: impl FnOnce() -> T, end: impl FnOnce(Faults) -> U) -> (U, T) {
    FAULTS.set(faults);
    let result = work();
    (end(FAULTS.take()), result)
}

pub(super) fn step(beneath: &Path, op: impl FnOnce() -> Op) -> io::Result<()> {
    watch();
    FAULTS.with_borrow_mut(|faults| {
        let n = faults.count;
        faults.count += 1;
        if faults.dies_before.is_some_and(|death| n >= death) {
            return Err(io::Error::other("dead"));
        }
        if faults.full_at == Some(n) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Some(log) = &mut faults.log {
            log.push((beneath.to_owned(), op()));
        }
        Ok(())
    })
}

/// What the watcher itself does to disks is not watched.
fn watch() {
    let mut faults = FAULTS.take();
    if let Some(watcher) = &mut faults.watcher {
        watcher(faults.count);
    }
    FAULTS.set(faults);
}

pub(super) fn synced(sync: impl FnOnce() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
    if FAULTS.with_borrow(|faults| faults.never_waits) { Ok(()) } else { sync() }
}
