//! A reply slot: filled once, by the worker that did the work or by the watchdog that gave up on it, and awaited by
//! the caller.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::{Error, Result};

/// Where the answer goes.
pub struct Reply<T>(Mutex<Slot<T>>);

enum Slot<T> {
    Waiting(Option<Waker>),
    Answered(Result<T>),
    /// Taken, or nobody waits any more.
    Closed,
}

impl<T> Reply<T> {
    /// A slot, and the future of what will be in it.
    pub fn new() -> (Arc<Self>, Answer<T>) {
        let reply = Arc::new(Self(Mutex::new(Slot::Waiting(None))));
        (Arc::clone(&reply), Answer(reply))
    }

    /// Answers, if nobody else did and somebody still waits.
    pub fn answer(&self, result: Result<T>) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Slot::Waiting(waker) = &mut *slot else { return };
        let waker = waker.take();
        *slot = Slot::Answered(result);
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply(..)")
    }
}

/// A request as the watchdog sees it, whatever it answers with.
pub(super) trait Request: Send + Sync {
    /// Answers with an error, unless there is an answer already.
    fn give_up(&self, error: Error);
    /// Whether somebody still waits for an answer.
    fn is_open(&self) -> bool;
}

impl<T: Send> Request for Reply<T> {
    fn give_up(&self, error: Error) {
        self.answer(Err(error));
    }

    fn is_open(&self) -> bool {
        matches!(&*self.0.lock().unwrap_or_else(PoisonError::into_inner), Slot::Waiting(_))
    }
}

/// The answer, when it comes. Dropping it abandons the request.
pub struct Answer<T>(Arc<Reply<T>>);

impl<T> Future for Answer<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *slot, Slot::Closed) {
            Slot::Answered(result) => Poll::Ready(result),
            Slot::Waiting(_) => {
                *slot = Slot::Waiting(Some(context.waker().clone()));
                Poll::Pending
            }
            Slot::Closed => Poll::Pending,
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = Slot::Closed;
    }
}

impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_counts() {
        let (reply, answer) = Reply::new();
        assert!(reply.is_open());
        reply.answer(Ok(1));
        reply.give_up(Error::rejected());
        assert_eq!(crate::block_on(answer).unwrap(), 1);
        assert!(!reply.is_open());
    }

    #[test]
    fn an_answer_from_another_thread_wakes_the_caller() {
        let (reply, answer) = Reply::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(20));
                reply.answer(Ok(2));
            });
            assert_eq!(crate::block_on(answer).unwrap(), 2);
        });
    }

    #[test]
    fn nobody_waits_for_what_was_dropped() {
        let (reply, answer) = Reply::<()>::new();
        drop(answer);
        assert!(!reply.is_open());
    }
}
