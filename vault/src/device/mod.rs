//! For backends whose device blocks: requests wait in a queue for worker threads that own what talks to the device, and a
//! watchdog answers for a call that hangs. A backend gives each worker its own connection, session or context
//! ([`Pool::start`]) and turns each call of a facet into a request ([`Pool::submit`]); the future that comes back can be
//! dropped at any moment, which abandons the answer and not the device.

use std::time::Duration;

use crate::error::{Error, Retry};

mod pool;
mod reply;

pub use pool::{Effect, Pool, Settings};
pub use reply::{Answer, Reply};

/// How long a caller should wait before it asks a device again that was away or busy.
pub const AGAIN: Retry = Retry::After(Duration::from_secs(1));

/// The same failure, of a request that changes the device and may have happened.
#[must_use]
pub fn indeterminate(error: Error) -> Error {
    error
        .with_retry(Retry::Indeterminate)
        .with_hint("it may have happened: list the keys of the vault before you try again")
}
