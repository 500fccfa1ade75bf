//! One thread that writes. It takes what waits in a bounded queue as one group, decides each command on the state and on what
//! those before it wrote, has the engine make the whole group durable with one sync, and only then answers. After a write
//! that failed nobody knows what is on the disk: a sync that is tried again may succeed although what it was to sync is
//! lost. So the store answers nothing more until everything was closed and read from the disk again, which it tries until it
//! can.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use identity::{Identifier, Timestamp};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, Kind, Result};
use crate::metrics::StoreMetrics;
use crate::problem::Problem;
use crate::store::apply;
use crate::store::command::{Applied, Command};
use crate::store::overlay::{Batch, Transaction};
use crate::store::{Pending, View};

/// The most commands that share a sync.
const MAX_GROUP: usize = 128;
/// How long it waits before it opens the engine again after a failure, and between two tries.
const REOPEN: Duration = Duration::from_secs(1);
/// How often it looks meanwhile whether somebody waits for an answer.
const REFUSE: Duration = Duration::from_millis(20);
/// The most commands that wait. Whoever comes then is told to come again.
const MAX_WAITING: usize = 4096;

/// What is below a store: an ordered map that takes batches.
pub(crate) trait Engine: View + Send + Sync + fmt::Debug + 'static {
    /// Writes a batch, all or nothing, and returns when it is durable. Readers see it from then on, and not before.
    fn commit(&self, batch: Batch) -> Result<()>;

    /// Closes what is below and opens it again: what cannot be read back then was never durable.
    fn reopen(&self) -> Result<()>;
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
    metrics: StoreMetrics,
    thread: Option<JoinHandle<()>>,
}

impl<E: Engine> Writer<E> {
    /// Checks what is there (or starts anew), and starts the thread.
    pub(crate) fn start(engine: E, authority: Identifier, now: Timestamp) -> Result<Self> {
        apply::prepare(&engine, authority, now)?;
        let engine = Arc::new(engine);
        let failed = Arc::new(AtomicBool::new(false));
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        let metrics = StoreMetrics::default();
        let (to_write, to_fail, counts) = (Arc::clone(&engine), Arc::clone(&failed), metrics.clone());
        let thread = std::thread::Builder::new()
            .name("authority-store".to_owned())
            .spawn(move || write(&*to_write, authority, waiting, &to_fail, &counts))
            .map_err(|error| {
                Error::new(Kind::Unavailable, "the store's thread cannot be started").with_source(error)
            })?;
        Ok(Self { authority, engine, queue: Some(queue), failed, metrics, thread: Some(thread) })
    }

    pub(crate) fn authority(&self) -> Identifier {
        self.authority
    }

    pub(crate) fn execute(&self, command: Command) -> Pending<'_, Applied> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let queue = self.queue.as_ref().ok_or_else(Problem::unavailable)?;
            // What ends something that was begun is waited for: refused, it would leave a signature without a record.
            let place = if command.operation.ends_something() {
                queue.reserve().await.map_err(|_| Problem::unavailable())?
            } else {
                queue.try_reserve().map_err(|_| {
                    self.metrics.full.inc();
                    Problem::unavailable()
                })?
            };
            place.send(Job { command, answer });
            answered.await.map_err(|_| Problem::unavailable())?
        })
    }

    pub(crate) fn metrics(&self) -> &StoreMetrics {
        &self.metrics
    }

    pub(crate) fn view(&self) -> Result<&dyn View> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(Error::new(Kind::Unavailable, "a write to the authority's store failed").with_hint(
                "find out why in the log, and make room or repair the disk: the store is opened again as soon as it can be",
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

fn write(
    engine: &dyn Engine,
    authority: Identifier,
    mut waiting: mpsc::Receiver<Job>,
    failed: &AtomicBool,
    metrics: &StoreMetrics,
) {
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
        let mut transaction = Transaction::new(engine);
        let outcomes: Vec<_> =
            group.iter().map(|job| apply::apply(&mut transaction, authority, &job.command)).collect();
        let batch = transaction.into_batch();
        metrics.commands.inc_by(outcomes.len() as u64);
        let begin = Instant::now();
        let committed = if batch.is_empty() { Ok(()) } else { engine.commit(batch) };
        metrics.seconds.observe(begin.elapsed().as_secs_f64());
        match committed {
            Ok(()) => {
                metrics.commits.inc();
                answer(group.drain(..).zip(outcomes));
            }
            Err(error) => {
                metrics.failures.inc();
                failed.store(true, Ordering::SeqCst);
                tracing::error!(%error, source = ?std::error::Error::source(&error), "a write to the store failed: it takes no more");
                refuse(group.drain(..));
                if !open_again(engine, authority, &mut waiting) {
                    return;
                }
                tracing::warn!("the store is open again, and takes writes");
                failed.store(false, Ordering::SeqCst);
            }
        }
    }
}

/// Tries to open the engine again until it can, and refuses whoever waits meanwhile. Gives up when the queue is closed, and
/// when what is on the disk breaks its own rules.
fn open_again(engine: &dyn Engine, authority: Identifier, waiting: &mut mpsc::Receiver<Job>) -> bool {
    let mut damaged = false;
    loop {
        let next = Instant::now() + REOPEN;
        while damaged || Instant::now() < next {
            match waiting.try_recv() {
                Ok(job) => refuse([job]),
                Err(TryRecvError::Empty) => std::thread::sleep(REFUSE),
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        match engine.reopen().and_then(|()| apply::check_ends(engine, authority)) {
            Ok(()) => return true,
            Err(error) => {
                damaged = error.kind() == Kind::Corrupt;
                tracing::error!(%error, source = ?std::error::Error::source(&error), "the store cannot be opened again");
            }
        }
    }
}

fn refuse(jobs: impl IntoIterator<Item = Job>) {
    answer(jobs.into_iter().map(|job| (job, Err(Problem::unavailable()))));
}

fn answer(outcomes: impl Iterator<Item = (Job, std::result::Result<Applied, Problem>)>) {
    for (job, outcome) in outcomes {
        // Whoever asked may have gone away; what was done stays done.
        let _ = job.answer.send(outcome);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::authz::{Actor, Rules};
    use crate::member::MemberAttributes;
    use crate::store::command::Operation;
    use crate::store::memory::Memory;
    use crate::store::{Entry, query};

    /// An engine whose syncs are counted, held back or made to fail.
    #[derive(Debug, Default)]
    struct Scripted {
        memory: Memory,
        commits: AtomicUsize,
        fail_from: Option<usize>,
        /// Whether it cannot be opened again.
        broken: AtomicBool,
        reopened: AtomicUsize,
        panic_at: Option<usize>,
        held: Mutex<()>,
    }

    impl View for Arc<Scripted> {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
            self.memory.get(key)
        }

        fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>> {
            self.memory.scan(prefix, after, limit)
        }
    }

    impl Engine for Arc<Scripted> {
        fn commit(&self, batch: Batch) -> Result<()> {
            let _held = self.held.lock().unwrap();
            let number = self.commits.fetch_add(1, Ordering::SeqCst);
            assert_ne!(self.panic_at, Some(number), "told to panic");
            if self.fail_from.is_some_and(|from| number == from) {
                return Err(Error::new(Kind::Internal, "the disk is full"));
            }
            self.memory.commit(batch)
        }

        fn reopen(&self) -> Result<()> {
            self.reopened.fetch_add(1, Ordering::SeqCst);
            if self.broken.load(Ordering::SeqCst) {
                return Err(Error::new(Kind::Internal, "the disk is still full"));
            }
            Ok(())
        }
    }

    fn start(scripted: Scripted) -> (Arc<Scripted>, Arc<Writer<Arc<Scripted>>>) {
        let engine = Arc::new(scripted);
        let writer =
            Writer::start(Arc::clone(&engine), Identifier::from_bytes([1; 32]), Timestamp(7)).unwrap();
        (engine, Arc::new(writer))
    }

    fn add(n: u8) -> Command {
        let (identifier, attributes) = (Identifier::from_bytes([n; 32]), MemberAttributes::default());
        Command {
            actor: Actor::Operator,
            at: Timestamp(7),
            rules: Arc::new(Rules::default()),
            operation: Operation::AddMember { identifier, attributes },
        }
    }

    #[tokio::test]
    async fn after_a_failed_write_nothing_is_answered_until_it_is_opened_again() {
        let broken = AtomicBool::new(true);
        let (engine, writer) = start(Scripted { fail_from: Some(2), broken, ..Scripted::default() });
        writer.execute(add(1)).await.unwrap();
        let failed = writer.execute(add(2)).await.unwrap_err();
        assert!(failed.is_fault());
        // The disk may be good again (every later write would succeed); what is on it nobody knows.
        let commits = engine.commits.load(Ordering::SeqCst);
        while engine.reopened.load(Ordering::SeqCst) < 2 {
            let error = writer.view().map(drop).unwrap_err();
            assert_eq!(error.kind(), Kind::Unavailable);
            assert!(error.hint().is_some());
            assert!(writer.execute(add(3)).await.unwrap_err().is_fault());
        }
        assert_eq!(engine.commits.load(Ordering::SeqCst), commits, "not even tried");
        engine.broken.store(false, Ordering::SeqCst);
        while writer.view().is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(query::members(writer.view().unwrap(), None, 9).unwrap().items.len(), 1);
        writer.execute(add(3)).await.unwrap();
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_opened_again_ends_all_the_same() {
        let broken = AtomicBool::new(true);
        let (engine, writer) = start(Scripted { fail_from: Some(1), broken, ..Scripted::default() });
        assert!(writer.execute(add(1)).await.unwrap_err().is_fault());
        drop(writer);
        assert!(Arc::into_inner(engine).is_some(), "its thread has ended");
    }

    #[tokio::test]
    async fn commands_that_wait_share_a_sync_and_nobody_sees_them_before() {
        let (engine, writer) = start(Scripted::default());
        let before = engine.commits.load(Ordering::SeqCst);
        let tasks: Vec<_> = {
            let _held = engine.held.lock().unwrap();
            (0..60)
                .map(|n| {
                    let writer = Arc::clone(&writer);
                    tokio::spawn(async move { writer.execute(add(n)).await.unwrap() })
                })
                .collect()
        };
        for task in tasks {
            task.await.unwrap();
        }
        let commits = engine.commits.load(Ordering::SeqCst) - before;
        assert!(commits < 60, "{commits} syncs for 60 commands");
        assert_eq!(query::members(writer.view().unwrap(), None, 99).unwrap().items.len(), 60);
    }

    /// Lets a command come as far as the queue; whether it is in there, or what it is told.
    fn begin(command: &mut Pending<'_, Applied>) -> Option<std::result::Result<Applied, Problem>> {
        match command.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(answer) => Some(answer),
            std::task::Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn who_would_wait_behind_a_crowd_is_told_to_come_again() {
        let (engine, writer) = start(Scripted::default());
        let crowd = {
            let _held = engine.held.lock().unwrap();
            // The thread takes one group off the queue and is held in its sync.
            let mut crowd = vec![writer.execute(add(1))];
            assert!(begin(&mut crowd[0]).is_none());
            while writer.queue.as_ref().unwrap().capacity() < MAX_WAITING {
                std::thread::yield_now();
            }
            for _ in 0..MAX_WAITING {
                let mut command = writer.execute(add(1));
                assert!(begin(&mut command).is_none(), "at the limit all wait");
                crowd.push(command);
            }
            let refused = begin(&mut writer.execute(add(2))).unwrap().unwrap_err();
            assert!(refused.retry_after().is_some(), "{refused:?}");
            assert_eq!(writer.metrics().full.get(), 1);
            // What ends something waits for its place.
            let mut ends = writer.execute(Command { operation: Operation::Abandon([0; 32]), ..add(3) });
            assert!(begin(&mut ends).is_none());
            crowd.push(ends);
            crowd
        };
        for command in crowd {
            let _ = command.await;
        }
        writer.execute(add(2)).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_not_synced_is_not_seen() {
        let (engine, writer) = start(Scripted::default());
        let task = {
            let held = engine.held.lock().unwrap();
            let execute = {
                let writer = Arc::clone(&writer);
                std::thread::spawn(move || vault::block_on(writer.execute(add(1))))
            };
            std::thread::sleep(std::time::Duration::from_millis(100));
            assert!(!execute.is_finished());
            assert!(query::members(writer.view().unwrap(), None, 9).unwrap().items.is_empty());
            drop(held);
            execute
        };
        task.join().unwrap().unwrap();
        assert_eq!(query::members(writer.view().unwrap(), None, 9).unwrap().items.len(), 1);
    }

    #[tokio::test]
    async fn a_thread_that_panics_takes_the_store_with_it_and_hangs_nobody() {
        let (_, writer) = start(Scripted { panic_at: Some(1), ..Scripted::default() });
        assert!(writer.execute(add(1)).await.unwrap_err().is_fault());
        assert!(writer.execute(add(2)).await.unwrap_err().is_fault());
        while writer.view().is_ok() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_command_does_not_need_its_asker() {
        let (engine, writer) = start(Scripted::default());
        {
            let _held = engine.held.lock().unwrap();
            let mut first = writer.execute(add(1));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(first.as_mut().poll(&mut context).is_pending());
        }
        // Behind it in the queue, so that it has been done.
        writer.execute(add(2)).await.unwrap();
        assert_eq!(query::members(writer.view().unwrap(), None, 9).unwrap().items.len(), 2);
    }
}
