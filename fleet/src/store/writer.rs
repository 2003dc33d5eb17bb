//! The one writer: whoever wants to write waits here, and what has gathered while the disk was busy is
//! one transaction and one sync. Everybody is answered after it.

use tokio::sync::{mpsc, oneshot, watch};

use super::batch::{Batch, Committed};
use super::sql::Failure;

/// Batches that may wait; further callers wait until there is room.
pub(super) const WAITING_MAX: usize = 4096;
/// Batches in one transaction: more would make the first of them wait for the last.
const GROUP_MAX: usize = 1000;

/// A batch, and whom to tell.
type Order = (Batch, oneshot::Sender<Result<Committed, Failure>>);

/// Where batches are handed in.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    orders: mpsc::Sender<Order>,
    head: watch::Receiver<i64>,
}

impl Writer {
    /// Begins a thread that commits groups with `commit`.
    pub(super) fn begin(
        head: i64,
        mut commit: impl FnMut(&[Batch]) -> Result<Vec<Result<Committed, Failure>>, Failure>
        + Send
        + 'static,
    ) -> std::io::Result<Self> {
        let (orders, mut waiting) = mpsc::channel::<Order>(WAITING_MAX);
        let (told, head) = watch::channel(head);
        std::thread::Builder::new().name("writer".into()).spawn(move || {
            let mut group = Vec::with_capacity(GROUP_MAX);
            loop {
                let Some(first) = waiting.blocking_recv() else { return };
                group.push(first);
                while group.len() < GROUP_MAX
                    && let Ok(next) = waiting.try_recv()
                {
                    group.push(next);
                }
                let (batches, callers): (Vec<Batch>, Vec<_>) = group.drain(..).unzip();
                let answers = commit(&batches).unwrap_or_else(|failure| {
                    batches.iter().map(|_| Err(failure.clone())).collect()
                });
                let last = answers.iter().flatten().map(|committed| committed.event).max();
                if let Some(last) = last {
                    told.send_replace(last);
                }
                for (caller, answer) in callers.into_iter().zip(answers) {
                    // A caller who has gone away does not undo what was written.
                    let _ = caller.send(answer);
                }
            }
        })?;
        Ok(Self { orders, head })
    }

    /// Commits a batch. It is on disk when this returns.
    pub(super) async fn commit(&self, batch: Batch) -> Result<Committed, Failure> {
        let (caller, answer) = oneshot::channel();
        let gone = || Failure::Broken("the writer has ended".into());
        self.orders.send((batch, caller)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// The number of the last event that this process committed, as it grows.
    pub(super) fn head(&self) -> watch::Receiver<i64> {
        self.head.clone()
    }
}
