use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use crate::block_on;

use super::*;

const DEADLINE: Duration = Duration::from_millis(100);
const LATE: Duration = Duration::from_millis(600);

fn pool(workers: usize, queue: usize) -> Pool<usize> {
    let made = AtomicUsize::new(0);
    let settings = Settings { workers, deadline: DEADLINE, queue };
    Pool::start("device", settings, move || made.fetch_add(1, Ordering::SeqCst)).unwrap()
}

/// A request that hangs until the sender is dropped.
fn hang(pool: &Pool<usize>, effect: Effect) -> (Answer<()>, Sender<()>) {
    let (release, held) = channel::<()>();
    let answer = pool.submit(effect, move |_, _| {
        let _ = held.recv();
        Ok(())
    });
    (answer, release)
}

#[test]
fn many_requests_share_the_workers() {
    let pool = pool(3, 1024);
    let answers: Vec<_> =
        (0..500_usize).map(|n| pool.submit(Effect::Reads, move |desk, _| Ok((n, *desk)))).collect();
    for (n, answer) in answers.into_iter().enumerate() {
        let (answered, desk) = block_on(answer).unwrap();
        assert_eq!(answered, n);
        assert!(desk < 3);
    }
}

#[test]
fn a_hanging_call_ends_its_request_and_not_the_service() {
    let pool = pool(2, 1024);
    for (effect, retry) in [(Effect::Reads, AGAIN), (Effect::Changes, Retry::Indeterminate)] {
        let start = Instant::now();
        let (answer, _release) = hang(&pool, effect);
        let error = block_on(answer).unwrap_err();
        assert!(start.elapsed() >= DEADLINE && start.elapsed() < LATE, "{:?}", start.elapsed());
        assert_eq!((error.kind(), error.retry()), (Kind::Unavailable, retry), "{error}");
        assert_eq!(block_on(pool.submit(Effect::Reads, |_, _| Ok(7))).unwrap(), 7);
    }
}

#[test]
fn when_all_hang_requests_are_refused_at_once_until_one_returns() {
    let pool = pool(2, 1024);
    let mut held = Vec::new();
    let mut answers = Vec::new();
    for _ in 0..4 {
        let (answer, release) = hang(&pool, Effect::Reads);
        answers.push(answer);
        held.push(release);
    }
    for answer in answers {
        assert_eq!(block_on(answer).unwrap_err().kind(), Kind::Unavailable);
    }
    // Two workers and the two put in their place, all of them hanging, or two requests still in the queue at the deadline.
    let start = Instant::now();
    loop {
        let start = Instant::now();
        let (answer, release) = hang(&pool, Effect::Reads);
        held.push(release);
        let error = block_on(answer).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        if start.elapsed() < DEADLINE / 2 {
            assert!(error.to_string().contains("every call to it hangs"), "{error}");
            break;
        }
        assert!(held.len() < 20, "the number of workers is bounded");
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    held.clear();
    let back = Instant::now();
    while block_on(pool.submit(Effect::Reads, |_, _| Ok(()))).is_err() {
        assert!(back.elapsed() < Duration::from_secs(1));
        thread::sleep(Duration::from_millis(5));
    }
    let state = pool.shared.lock();
    assert!(state.staff <= 2, "{} workers stayed", state.staff);
}

#[test]
fn what_waits_in_the_queue_has_a_deadline_too_and_did_not_happen() {
    let pool = pool(1, 2);
    let (first, release) = hang(&pool, Effect::Reads);
    while pool.shared.lock().running.is_empty() {
        thread::yield_now();
    }
    let done = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&done);
    let waiting = pool.submit(Effect::Changes, move |_, _| Ok(counted.fetch_add(1, Ordering::SeqCst)));
    let second = pool.submit(Effect::Reads, |_, _| Ok(()));
    let full = block_on(pool.submit(Effect::Reads, |_, _| Ok(()))).unwrap_err();
    assert_eq!(full.kind(), Kind::Exhausted);
    drop(second);
    assert!(block_on(first).is_err());
    match block_on(waiting) {
        // The worker put in place took it in time, or it ran into its deadline in the queue.
        Ok(_) => assert_eq!(done.load(Ordering::SeqCst), 1),
        Err(error) => {
            assert_eq!(error.retry(), AGAIN, "it was never sent");
            assert_eq!(done.load(Ordering::SeqCst), 0);
        }
    }
    drop(release);
}

#[test]
fn what_nobody_waits_for_does_not_happen() {
    let pool = pool(1, 8);
    let (busy, release) = hang(&pool, Effect::Reads);
    while pool.shared.lock().running.is_empty() {
        thread::yield_now();
    }
    let done = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&done);
    drop(pool.submit(Effect::Changes, move |_, _| Ok(counted.fetch_add(1, Ordering::SeqCst))));
    drop(release);
    block_on(busy).unwrap();
    block_on(pool.submit(Effect::Reads, |_, _| Ok(()))).unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 0);
}

#[test]
fn a_closed_pool_ends_its_threads() {
    let pool = pool(4, 8);
    block_on(pool.submit(Effect::Reads, |_, _| Ok(()))).unwrap();
    let shared = Arc::downgrade(&pool.shared);
    drop(pool);
    let start = Instant::now();
    while shared.strong_count() > 0 {
        assert!(start.elapsed() < Duration::from_secs(2), "{} threads hold on", shared.strong_count());
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn one_caller_is_served_by_one_worker() {
    let settings = Settings { workers: 4, deadline: Duration::from_secs(60), queue: 16 };
    let made = AtomicUsize::new(0);
    let pool = Pool::start("device", settings, move || made.fetch_add(1, Ordering::SeqCst)).unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    let all_are_idle = || {
        while pool.shared.lock().idle.len() < 4 {
            assert!(Instant::now() < until, "the workers do not come to rest");
            thread::yield_now();
        }
    };
    let served: Vec<usize> = (0..20)
        .map(|_| {
            all_are_idle();
            block_on(pool.submit(Effect::Reads, |desk, _| Ok(*desk))).unwrap()
        })
        .collect();
    assert!(served.iter().all(|desk| Some(desk) == served.first()), "{served:?}");
}

/// A request that comes while a worker looks for one wakes nobody. It, and what comes with it, is answered all the same: who
/// is forgotten gets the deadline.
#[test]
fn bursts_right_after_an_answer_lose_nobody() {
    let settings = Settings { workers: 3, deadline: Duration::from_secs(20), queue: 1024 };
    let pool = Arc::new(Pool::start("device", settings, || ()).unwrap());
    let callers: Vec<_> = (0..2)
        .map(|caller| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                for round in 0..2_000_usize {
                    let burst: Vec<_> = (0..1 + (round + caller) % 4)
                        .map(|n| pool.submit(Effect::Reads, move |(), _| Ok(n)))
                        .collect();
                    for (n, answer) in burst.into_iter().enumerate() {
                        assert_eq!(block_on(answer).unwrap(), n);
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
}
