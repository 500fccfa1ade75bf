//! One thread that writes. It takes what waits in a bounded queue as one group, decides each command on the state and on what
//! those before it wrote, has the engine make the whole group durable with one sync, and only then answers. After a write
//! that failed nobody knows what is on the disk, so the store answers nothing more until it is opened again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use identity::{Identifier, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, Kind, Result};
use crate::problem::Problem;
use crate::store::apply;
use crate::store::command::{Applied, Command};
use crate::store::overlay::{Batch, Transaction};
use crate::store::{Pending, View};

/// The most commands that share a sync.
const MAX_GROUP: usize = 128;
/// The most commands that wait. Whoever comes then waits for a place.
const MAX_WAITING: usize = 1024;

/// What is below a store: an ordered map that takes batches.
pub(crate) trait Engine: View + Send + Sync + fmt::Debug + 'static {
    /// Writes a batch, all or nothing, and returns when it is durable. Readers see it from then on, and not before.
    fn commit(&self, batch: Batch) -> Result<()>;
}

struct Job {
    command: Command,
    answer: oneshot::Sender<std::result::Result<Applied, Problem>>,
}

/// A store on an engine.
pub(crate) struct Writer<E> {
    authority: Identifier,
    engine: Arc<E>,
    queue: Option<mpsc::Sender<Job>>,
    failed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<E: Engine> Writer<E> {
    /// Checks what is there (or starts anew), and starts the thread.
    pub(crate) fn start(engine: E, authority: Identifier, now: Timestamp) -> Result<Self> {
        apply::prepare(&engine, authority, now)?;
        let engine = Arc::new(engine);
        let failed = Arc::new(AtomicBool::new(false));
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        let (to_write, to_fail) = (Arc::clone(&engine), Arc::clone(&failed));
        let thread = std::thread::Builder::new()
            .name("authority-store".to_owned())
            .spawn(move || write(&*to_write, authority, waiting, &to_fail))
            .map_err(|error| {
                Error::new(Kind::Unavailable, "the store's thread cannot be started").with_source(error)
            })?;
        Ok(Self { authority, engine, queue: Some(queue), failed, thread: Some(thread) })
    }

    pub(crate) fn authority(&self) -> Identifier {
        self.authority
    }

    pub(crate) fn execute(&self, command: Command) -> Pending<'_, Applied> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let queue = self.queue.as_ref().ok_or_else(Problem::unavailable)?;
            queue.send(Job { command, answer }).await.map_err(|_| Problem::unavailable())?;
            answered.await.map_err(|_| Problem::unavailable())?
        })
    }

    pub(crate) fn view(&self) -> Result<&dyn View> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(Error::new(Kind::Unavailable, "a write to the authority's store failed").with_hint(
                "find out why in the log, make room or repair the disk, and start the authority again",
            ));
        }
        Ok(&*self.engine)
    }
}

impl<E> Drop for Writer<E> {
    fn drop(&mut self) {
        // Closing the queue ends the thread, once it has done what waits; the engine is closed after it.
        drop(self.queue.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's thread had panicked");
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for Writer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("authority", &self.authority)
            .field("engine", &self.engine)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

fn write(engine: &dyn Engine, authority: Identifier, mut waiting: mpsc::Receiver<Job>, failed: &AtomicBool) {
    // INVARIANT: however this thread ends before its queue is closed, the store counts as failed.
    struct Ended<'a>(&'a AtomicBool);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let _ended = Ended(failed);
    let mut group = Vec::with_capacity(MAX_GROUP);
    while waiting.blocking_recv_many(&mut group, MAX_GROUP) > 0 {
        if failed.load(Ordering::SeqCst) {
            answer(group.drain(..).map(|job| (job, Err(Problem::unavailable()))));
            continue;
        }
        let mut transaction = Transaction::new(engine);
        let outcomes: Vec<_> =
            group.iter().map(|job| apply::apply(&mut transaction, authority, &job.command)).collect();
        let batch = transaction.into_batch();
        let committed = if batch.is_empty() { Ok(()) } else { engine.commit(batch) };
        match committed {
            Ok(()) => answer(group.drain(..).zip(outcomes)),
            Err(error) => {
                failed.store(true, Ordering::SeqCst);
                tracing::error!(%error, source = ?std::error::Error::source(&error), "a write to the store failed: it takes no more");
                answer(group.drain(..).map(|job| (job, Err(Problem::unavailable()))));
            }
        }
    }
}

fn answer(outcomes: impl Iterator<Item = (Job, std::result::Result<Applied, Problem>)>) {
    for (job, outcome) in outcomes {
        // Whoever asked may have gone away; what was done stays done.
        let _ = job.answer.send(outcome);
    }
}
