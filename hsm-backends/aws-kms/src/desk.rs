//! The thread that talks to KMS: it owns a small runtime, so that callers need none, and works on many requests at once.
//! A request ends at its deadline whatever the network does. One that changes something is not cut off there: its caller gets
//! an answer, and the rest (giving a new key its name, taking it back) still happens.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use vault::device::{AGAIN, Answer, Effect, Reply, indeterminate};
use vault::{Error, Kind, Result, Retry};

/// How long a request may take, its time in the queue included, when nobody says otherwise.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// How many requests KMS works on at once for one vault, and how many may be there in all: one more is refused.
const AT_ONCE: usize = 64;
const QUEUE: usize = 1024;
/// Threads that look names up or read files, beside the one that does everything else.
const BLOCKING: usize = 4;

/// The way to the thread.
pub(crate) struct Desk {
    name: String,
    deadline: Duration,
    handle: Handle,
    places: Arc<Semaphore>,
    present: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Desk {
    /// Starts the thread. The name is for messages.
    ///
    /// # Errors
    /// [`Kind::Exhausted`] when the system gives no thread.
    pub(crate) fn start(name: String, deadline: Duration) -> Result<Self> {
        let no_thread = |e: std::io::Error| {
            Error::new(Kind::Exhausted, "the system gives no more threads").with_source(e)
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING)
            .thread_name("awskms-blocking")
            .build()
            .map_err(no_thread)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new()
            .name("awskms".to_owned())
            .spawn(move || {
                // Either an order to stop, or the desk is gone.
                let _ = runtime.block_on(stopped);
                // Not waiting for a look-up of a name that hangs.
                runtime.shutdown_background();
            })
            .map_err(no_thread)?;
        Ok(Self {
            name,
            deadline,
            handle,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            present: Arc::new(AtomicUsize::new(0)),
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Has the thread do something.
    pub(crate) fn submit<T: Send + 'static>(
        &self,
        effect: Effect,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Answer<T> {
        let (reply, answer) = Reply::new();
        let owed = Owed(reply);
        let Some(ticket) = Ticket::draw(&self.present) else {
            let text = format!("{} has {QUEUE} requests waiting", self.name);
            let busy = Error::new(Kind::Exhausted, text).with_retry(Retry::After(Duration::from_millis(100)));
            owed.0.answer(Err(busy));
            return answer;
        };
        let (places, deadline, name) = (Arc::clone(&self.places), self.deadline, self.name.clone());
        self.handle.spawn(async move {
            let _ticket = ticket;
            let work = async move {
                // The semaphore is never closed.
                let _place = places.acquire().await;
                work.await
            };
            let mut work = std::pin::pin!(work);
            if let Ok(result) = timeout(deadline, &mut work).await {
                owed.0.answer(result);
                return;
            }
            let late = Error::new(
                Kind::Unavailable,
                format!("{name} did not answer within {} ms", deadline.as_millis()),
            )
            .with_retry(AGAIN)
            .with_hint("check the network and the health of the service; the vault recovers by itself");
            match effect {
                Effect::Reads => owed.0.answer(Err(late)),
                Effect::Changes => {
                    owed.0.answer(Err(indeterminate(late)));
                    let _ = timeout(deadline, work).await;
                }
            }
        });
        answer
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// An answer that is owed: given in any case, also when the work panics or the thread stops.
struct Owed<T>(Arc<Reply<T>>);

impl<T> Drop for Owed<T> {
    fn drop(&mut self) {
        // What was answered before counts.
        self.0.answer(Err(Error::new(Kind::Backend, "the request to KMS was given up")));
    }
}

/// A place in the queue.
struct Ticket(Arc<AtomicUsize>);

impl Ticket {
    fn draw(present: &Arc<AtomicUsize>) -> Option<Self> {
        let one_more = |count: usize| (count < QUEUE).then_some(count + 1);
        let drawn = present.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        drawn.is_ok().then(|| Self(Arc::clone(present)))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use vault::block_on;

    use super::*;

    fn desk(deadline: Duration) -> Desk {
        Desk::start("KMS".to_owned(), deadline).unwrap()
    }

    #[test]
    fn work_that_hangs_is_answered_at_the_deadline() {
        let desk = desk(Duration::from_millis(20));
        let hang = || std::future::pending::<Result<()>>();
        let error = block_on(desk.submit(Effect::Reads, hang())).unwrap_err();
        assert_eq!((error.kind(), error.retry()), (Kind::Unavailable, AGAIN));
        let error = block_on(desk.submit(Effect::Changes, hang())).unwrap_err();
        assert_eq!((error.kind(), error.retry()), (Kind::Unavailable, Retry::Indeterminate));
        assert_eq!(block_on(desk.submit(Effect::Reads, async { Ok(1) })).unwrap(), 1);
    }

    #[test]
    fn what_changes_something_goes_on_after_its_deadline() {
        let desk = desk(Duration::from_secs(2));
        let (go, wait) = oneshot::channel::<()>();
        let (done, finished) = std::sync::mpsc::channel();
        let work = async move {
            wait.await.unwrap();
            done.send(()).unwrap();
            Ok(())
        };
        let error = block_on(desk.submit(Effect::Changes, work)).unwrap_err();
        assert_eq!(error.retry(), Retry::Indeterminate);
        go.send(()).unwrap();
        finished.recv_timeout(Duration::from_secs(30)).unwrap();
    }

    #[test]
    fn a_panic_is_an_error_and_the_next_request_works() {
        let desk = desk(DEADLINE);
        let error = block_on(desk.submit::<()>(Effect::Reads, async { panic!("a test's") })).unwrap_err();
        assert_eq!(error.kind(), Kind::Backend);
        assert_eq!(block_on(desk.submit(Effect::Reads, async { Ok(1) })).unwrap(), 1);
    }

    #[test]
    fn one_request_too_many_is_refused_and_all_are_answered_when_the_desk_goes() {
        let desk = desk(DEADLINE);
        let hang = || desk.submit(Effect::Reads, std::future::pending::<Result<()>>());
        let waiting: Vec<_> = (0..QUEUE).map(|_| hang()).collect();
        let error = block_on(hang()).unwrap_err();
        assert_eq!(error.kind(), Kind::Exhausted);
        drop(desk);
        for answer in waiting {
            assert_eq!(block_on(answer).unwrap_err().kind(), Kind::Backend);
        }
    }
}
