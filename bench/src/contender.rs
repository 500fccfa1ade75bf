//! One way to do the operation of a row.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;
use std::thread;

use tokio::runtime::Runtime;

use crate::Result;

/// What a contender is asked to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Job {
    /// The operation once, and a look at what came out.
    Check,
    /// The operation this often.
    Times(u64),
}

/// One way to do the operation of a row: timed in batches, and shown to be right.
pub struct Contender {
    name: String,
    run: Box<dyn FnMut(Job) -> Result<u64>>,
}

/// What runs a future to its end. It is entered once for a batch, so that its own price is not measured.
#[derive(Clone, Debug)]
pub(crate) enum Runner {
    /// The calling thread.
    Plain,
    /// The published crates need tokio.
    Tokio(Arc<Runtime>),
}

impl Runner {
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        match self {
            Self::Plain => vault::block_on(future),
            Self::Tokio(runtime) => runtime.block_on(future),
        }
    }
}

impl Contender {
    /// Something that is called.
    pub(crate) fn called<T>(
        name: impl Into<String>,
        op: impl Fn() -> Result<T> + 'static,
        right: impl Fn(T) -> Result<()> + 'static,
    ) -> Self {
        let run = move |job| match job {
            Job::Check => right(op()?).map(|()| 1),
            Job::Times(times) => {
                for _ in 0..times {
                    black_box(op()?);
                }
                Ok(times)
            }
        };
        Self { name: name.into(), run: Box::new(run) }
    }

    /// Something that is awaited.
    pub(crate) fn awaited<T>(
        name: impl Into<String>,
        runner: Runner,
        op: impl AsyncFn() -> Result<T> + 'static,
        right: impl Fn(T) -> Result<()> + 'static,
    ) -> Self {
        let run = move |job| match job {
            Job::Check => right(runner.run(op())?).map(|()| 1),
            Job::Times(times) => runner.run(async {
                for _ in 0..times {
                    black_box(op().await?);
                }
                Ok(times)
            }),
        };
        Self { name: name.into(), run: Box::new(run) }
    }

    /// Something that is done in batches of its own: so many operations, of which the last is waited for.
    pub(crate) fn batches(name: impl Into<String>, mut op: impl FnMut(u64) -> Result<()> + 'static) -> Self {
        let run = move |job| {
            let times = match job {
                Job::Check => 1,
                Job::Times(times) => times,
            };
            op(times).map(|()| times)
        };
        Self { name: name.into(), run: Box::new(run) }
    }

    /// Something that several callers do at once, each in a thread of its own with what belongs to it.
    pub(crate) fn crowd<C: Send + 'static, T>(
        name: impl Into<String>,
        mut callers: Vec<C>,
        op: impl Fn(&mut C) -> Result<T> + Sync + 'static,
        right: impl Fn(T) -> Result<()> + 'static,
    ) -> Self {
        let run = move |job| match job {
            Job::Check => callers.iter_mut().try_fold(0, |sum, caller| right(op(caller)?).map(|()| sum + 1)),
            Job::Times(times) => {
                let each = share(times, callers.len());
                let op = &op;
                thread::scope(|scope| {
                    let threads: Vec<_> = callers
                        .iter_mut()
                        .map(|caller| {
                            scope.spawn(move || -> Result<u64> {
                                for _ in 0..each {
                                    black_box(op(caller)?);
                                }
                                Ok(each)
                            })
                        })
                        .collect();
                    threads.into_iter().try_fold(0, |sum, thread| {
                        let done = thread.join().map_err(|_| "a caller panicked")??;
                        Ok(sum + done)
                    })
                })
            }
        };
        Self { name: name.into(), run: Box::new(run) }
    }

    /// Something that several callers do at once, each as a task on the threads of a runtime.
    pub(crate) fn tasks<C, T, F>(
        name: impl Into<String>,
        runtime: Arc<Runtime>,
        callers: Vec<C>,
        op: impl Fn(C) -> F + Clone + Send + 'static,
        right: impl Fn(T) -> Result<()> + 'static,
    ) -> Self
    where
        C: Clone + Send + 'static,
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        let run = move |job| match job {
            Job::Check => callers
                .iter()
                .try_fold(0, |sum, caller| right(runtime.block_on(op(caller.clone()))?).map(|()| sum + 1)),
            Job::Times(times) => {
                let each = share(times, callers.len());
                let tasks: Vec<_> = callers
                    .iter()
                    .cloned()
                    .map(|caller| {
                        let op = op.clone();
                        runtime.spawn(async move {
                            for _ in 0..each {
                                black_box(op(caller.clone()).await?);
                            }
                            Result::Ok(each)
                        })
                    })
                    .collect();
                runtime.block_on(async {
                    let mut sum = 0;
                    for task in tasks {
                        sum += task.await??;
                    }
                    Ok(sum)
                })
            }
        };
        Self { name: name.into(), run: Box::new(run) }
    }

    /// What it is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does the operation once for each caller and looks at what came out.
    ///
    /// # Errors
    /// When the operation fails or its outcome is wrong.
    pub fn check(&mut self) -> Result<()> {
        (self.run)(Job::Check).map(drop).map_err(|e| format!("{}: {e}", self.name).into())
    }

    /// Does the operation about this often, at least once for each caller, and says how often.
    ///
    /// # Errors
    /// When the operation fails.
    pub fn batch(&mut self, times: u64) -> Result<u64> {
        (self.run)(Job::Times(times)).map_err(|e| format!("{}: {e}", self.name).into())
    }
}

fn share(times: u64, callers: usize) -> u64 {
    u64::try_from(callers).map_or(1, |callers| times.div_ceil(callers.max(1))).max(1)
}

impl fmt::Debug for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contender").field("name", &self.name).finish_non_exhaustive()
    }
}
