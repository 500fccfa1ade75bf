//! Worker threads, their queue, and the watchdog over both. A device call cannot be interrupted, so a call that hangs
//! ends the *request*: at its deadline the watchdog answers for the worker, writes the worker off and puts another in
//! its place. There is a bound to that; when every worker hangs, requests are refused at once. A worker that comes
//! back after all goes on working if there is room.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::reply::{Answer, Reply, Request};
use super::{AGAIN, indeterminate};
use crate::error::{Error, Kind, Result, Retry};

/// How many workers there are and how long a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many workers there are: how many calls a device takes at once.
    pub workers: usize,
    /// How long a request may take, its time in the queue included.
    pub deadline: Duration,
    /// How many requests may wait; one more is refused.
    pub queue: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { workers: 4, deadline: Duration::from_secs(10), queue: 1024 }
    }
}

impl Settings {
    /// How often the watchdog looks: a request ends at most this much after its deadline.
    fn tick(&self) -> Duration {
        (self.deadline / 8).clamp(Duration::from_millis(5), Duration::from_millis(250))
    }
}

/// How long a worker that has worked looks for its next request before it sleeps: about what waking it takes. A caller that
/// asks again as soon as it has its answer is spared that.
const LOOK: Duration = Duration::from_micros(20);

/// How long a closed pool waits for its workers.
const LEAVE: Duration = Duration::from_secs(2);

/// Whether a request changes the device. One that does may have happened although nobody learnt of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does not: it may be asked again.
    Reads,
    /// It does.
    Changes,
}

type Make<D> = Box<dyn Fn() -> D + Send>;
type Work<D> = Box<dyn FnOnce(&mut D, Instant) + Send>;

struct Job<D> {
    work: Work<D>,
    ticket: Ticket,
}

#[derive(Clone)]
struct Ticket {
    request: Arc<dyn Request>,
    deadline: Instant,
    effect: Effect,
}

/// Threads that each own a `D`.
pub struct Pool<D: 'static> {
    shared: Arc<Shared<D>>,
}

struct Shared<D> {
    name: String,
    settings: Settings,
    /// What makes a worker's `D`, until the pool is closed.
    make: Mutex<Option<Make<D>>>,
    state: Mutex<State<D>>,
    /// Told when the watchdog sleeps and there is something to watch.
    watch: Condvar,
    /// Told when a worker is gone.
    gone: Condvar,
    /// How many requests are in the queue, for who looks without the lock.
    waiting: AtomicUsize,
    /// Whether looking for work can spare anything: there has to be a processor for who makes it.
    looks: bool,
}

struct State<D> {
    queue: VecDeque<Job<D>>,
    running: HashMap<u64, Ticket>,
    /// Workers that wait for work, each with what wakes it. The last is woken first: what it needs is still in the
    /// processor's caches.
    idle: Vec<(u64, Arc<Condvar>)>,
    /// Workers that were written off and have not come back.
    hanging: usize,
    /// Workers that are not written off.
    staff: usize,
    /// All worker threads that have not ended.
    alive: usize,
    threads: Vec<JoinHandle<()>>,
    next: u64,
    /// A worker looks for work: it need not be woken for one request.
    looking: bool,
    asleep: bool,
    closed: bool,
}

impl<D: 'static> Pool<D> {
    /// Starts the threads; each makes its own `D`. The name is that of the device, for messages.
    ///
    /// # Errors
    /// [`Kind::Exhausted`] when the system gives no threads.
    pub fn start(name: &str, settings: Settings, make: impl Fn() -> D + Send + 'static) -> Result<Self> {
        let state = State {
            queue: VecDeque::new(),
            running: HashMap::new(),
            idle: Vec::new(),
            hanging: 0,
            staff: 0,
            alive: 0,
            threads: Vec::new(),
            next: 0,
            looking: false,
            asleep: false,
            closed: false,
        };
        let pool = Self {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                settings,
                make: Mutex::new(Some(Box::new(make))),
                state: Mutex::new(state),
                watch: Condvar::new(),
                gone: Condvar::new(),
                waiting: AtomicUsize::new(0),
                looks: thread::available_parallelism().is_ok_and(|processors| processors.get() > 1),
            }),
        };
        for _ in 0..settings.workers.max(1) {
            pool.shared.lock().staff += 1;
            Shared::hire(&pool.shared)?;
        }
        let shared = Arc::clone(&pool.shared);
        let watchdog = thread::Builder::new().name("device-watch".to_owned());
        watchdog.spawn(move || shared.watch_over()).map_err(no_thread)?;
        Ok(pool)
    }

    /// Puts a request into the queue. What `work` returns is the answer, unless its deadline comes first.
    pub fn submit<T: Send + 'static>(
        &self,
        effect: Effect,
        work: impl FnOnce(&mut D, Instant) -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        let (reply, answer) = Reply::new();
        let deadline = Instant::now() + self.shared.settings.deadline;
        let ticket = Ticket { request: Arc::clone(&reply) as Arc<dyn Request>, deadline, effect };
        let run = Arc::clone(&reply);
        let work = Box::new(move |desk: &mut D, deadline| run.answer(work(desk, deadline)));
        if let Err(error) = self.shared.enqueue(Job { work, ticket }) {
            reply.give_up(error);
        }
        answer
    }
}

impl<D: 'static> Shared<D> {
    fn lock(&self) -> MutexGuard<'_, State<D>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(&self, job: Job<D>) -> Result<()> {
        let mut state = self.lock();
        if state.staff == 0 {
            return Err(self.hangs());
        }
        if state.queue.len() >= self.settings.queue {
            return Err(Error::new(
                Kind::Exhausted,
                format!("{} has {} requests waiting", self.name, state.queue.len()),
            )
            .with_retry(Retry::After(Duration::from_millis(100))));
        }
        state.queue.push_back(job);
        self.waiting.store(state.queue.len(), Ordering::Release);
        let asleep = state.asleep;
        let found = state.looking && state.queue.len() == 1;
        let woken = if found { None } else { state.idle.pop() };
        drop(state);
        if let Some((_, bell)) = woken {
            bell.notify_one();
        }
        if asleep {
            self.watch.notify_one();
        }
        Ok(())
    }

    fn hangs(&self) -> Error {
        Error::new(Kind::Unavailable, format!("{} does not answer: every call to it hangs", self.name))
            .with_retry(AGAIN)
            .with_hint("check the device and its driver; requests go through again as soon as it answers")
    }

    /// Starts a worker whose place among the staff the caller has taken for it.
    fn hire(shared: &Arc<Self>) -> Result<()> {
        let mut state = shared.lock();
        let id = state.next;
        state.next += 1;
        state.alive += 1;
        drop(state);
        let worker = Arc::clone(shared);
        let spawned = thread::Builder::new().name(format!("device-{id}")).spawn(move || worker.serve(id));
        let mut state = shared.lock();
        match spawned {
            Ok(thread) => state.threads.push(thread),
            Err(e) => {
                state.staff -= 1;
                state.alive -= 1;
                return Err(no_thread(e));
            }
        }
        state.threads.retain(|thread| !thread.is_finished());
        Ok(())
    }

    /// The life of a worker.
    fn serve(&self, id: u64) {
        let desk = self.make.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|make| make());
        match desk {
            Some(desk) => self.work_at(id, desk),
            None => self.lock().staff -= 1,
        }
        self.lock().alive -= 1;
        self.gone.notify_all();
    }

    fn work_at(&self, id: u64, mut desk: D) {
        let bell = Arc::new(Condvar::new());
        let mut worked = false;
        while let Some(job) = self.take(id, &bell, worked) {
            worked = true;
            let deadline = job.ticket.deadline;
            (job.work)(&mut desk, deadline);
            let mut state = self.lock();
            if state.running.remove(&id).is_some() {
                continue;
            }
            // Written off. Somebody else may have the place by now.
            state.hanging -= 1;
            if state.staff >= self.settings.workers.max(1) {
                return;
            }
            state.staff += 1;
        }
    }

    fn take(&self, id: u64, bell: &Arc<Condvar>, worked: bool) -> Option<Job<D>> {
        let mut state = self.lock();
        let mut looks = self.looks && worked;
        loop {
            while let Some(job) = state.queue.pop_front() {
                self.waiting.store(state.queue.len(), Ordering::Release);
                // Nobody waits for it any more, so nothing has to happen.
                if !job.ticket.request.is_open() {
                    continue;
                }
                state.running.insert(id, job.ticket.clone());
                // What came while this one was looking woke nobody.
                if !state.queue.is_empty()
                    && let Some((_, bell)) = state.idle.pop()
                {
                    bell.notify_one();
                }
                return Some(job);
            }
            if state.closed {
                state.staff -= 1;
                return None;
            }
            if looks && !state.looking {
                looks = false;
                state.looking = true;
                drop(state);
                self.look();
                state = self.lock();
                state.looking = false;
                continue;
            }
            state.idle.push((id, Arc::clone(bell)));
            state = bell.wait(state).unwrap_or_else(PoisonError::into_inner);
            // It may have woken by itself.
            state.idle.retain(|(other, _)| *other != id);
        }
    }

    /// Waits for a request without sleeping, for [`LOOK`] at most.
    fn look(&self) {
        let start = Instant::now();
        while self.waiting.load(Ordering::Acquire) == 0 && start.elapsed() < LOOK {
            std::hint::spin_loop();
        }
    }

    /// The life of the watchdog. It ticks while there is something to watch, and sleeps after a while without: waking
    /// it for every request would cost more than the request.
    fn watch_over(self: Arc<Self>) {
        let mut quiet = 0;
        let mut state = self.lock();
        loop {
            if state.queue.is_empty() && state.running.is_empty() {
                if state.closed {
                    return;
                }
                quiet += 1;
            } else {
                quiet = 0;
            }
            if quiet > 8 {
                state.asleep = true;
                state = self.watch.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.asleep = false;
                quiet = 0;
                continue;
            }
            let tick = self.settings.tick();
            state = self.watch.wait_timeout(state, tick).unwrap_or_else(PoisonError::into_inner).0;
            let hire = self.sweep(&mut state);
            if hire > 0 {
                drop(state);
                for _ in 0..hire {
                    // Without a thread there is one worker less; the next sweep does not try again.
                    let _ = Self::hire(&self);
                }
                state = self.lock();
            }
        }
    }

    /// Answers what is past its deadline. Says how many workers to put in place of those written off.
    fn sweep(&self, state: &mut State<D>) -> usize {
        let now = Instant::now();
        let late: Vec<u64> =
            state.running.iter().filter(|(_, ticket)| ticket.deadline <= now).map(|(id, _)| *id).collect();
        let mut hire = 0;
        for id in late {
            let Some(ticket) = state.running.remove(&id) else { continue };
            state.staff -= 1;
            state.hanging += 1;
            if state.hanging <= self.settings.workers.max(1) {
                // Taken here, under the lock, so that one who comes back meanwhile finds the place occupied.
                state.staff += 1;
                hire += 1;
            }
            ticket.request.give_up(self.late(ticket.effect));
        }
        while state.queue.front().is_some_and(|job| job.ticket.deadline <= now) {
            if let Some(job) = state.queue.pop_front() {
                job.ticket.request.give_up(self.late(Effect::Reads));
            }
        }
        if state.staff == 0 {
            for job in state.queue.drain(..) {
                job.ticket.request.give_up(self.hangs());
            }
        }
        hire
    }

    fn late(&self, effect: Effect) -> Error {
        let error = Error::new(
            Kind::Unavailable,
            format!("{} did not answer within {} ms", self.name, self.settings.deadline.as_millis()),
        );
        match effect {
            Effect::Reads => error.with_retry(AGAIN),
            Effect::Changes => indeterminate(error),
        }
    }
}

fn no_thread(e: std::io::Error) -> Error {
    Error::new(Kind::Exhausted, "the system gives no more threads").with_source(e)
}

impl<D: 'static> Drop for Pool<D> {
    /// Waits for the workers to end, except those that hang. A process that ends while a thread is inside a module, or
    /// while a thread that was there is ending (libraries clean up after their threads), can crash in the module's own
    /// clean-up.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.idle.drain(..).for_each(|(_, bell)| bell.notify_one());
        self.shared.watch.notify_all();
        let until = Instant::now() + LEAVE;
        while state.alive > state.hanging {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.shared.gone.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let threads = std::mem::take(&mut state.threads);
        let all = state.alive == 0;
        drop(state);
        for thread in threads.into_iter().filter(|thread| all || thread.is_finished()) {
            let _ = thread.join();
        }
        drop(self.shared.make.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl<D: 'static> fmt::Debug for Pool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
