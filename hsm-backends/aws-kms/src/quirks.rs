//! What KMS does that one would not expect, each with its reason.
//!
//! * **It is eventually consistent.** A key that was just made can be unknown to the next call, as can an alias; tags show up after
//!   seconds. Nothing tells when. So what was just made is looked for several times ([`settled`]); what was opened is not: there,
//!   unknown means gone.
//! * **One code for many states.** `KMSInvalidStateException` is the answer for a key that is about to be deleted, that is being
//!   made, or whose material is away; for a disabled key it is that or `DisabledException`. [`crate::keys::state_of`] asks which.
//! * **A message has 1 to 4096 bytes.** P-256 does not feel it: we hash. Ed25519 signs the message itself (RFC 8032 has no
//!   other way to the same signature; KMS's `ED25519_PH_SHA_512` is another algorithm, which no peer expects), so longer ones, and
//!   the empty one, cannot be signed ([`MESSAGE`]). What this software signs itself has 32 bytes.
//! * **CreateKey cannot be repeated.** It takes no token that would make a second one the same; see [`crate::making`].
//! * **A cancelled deletion leaves the key disabled.** It has to be enabled after that.
//! * **An alias outlives what it means.** It can be pointed at another key by whoever may; so keys are kept by their id, and an alias is
//!   only the way to it.

use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::time::sleep;

use crate::errors::{Fault, Meaning};

/// How many bytes a message has that KMS signs without hashing.
pub(crate) const MESSAGE: RangeInclusive<usize> = 1..=4096;

/// The pauses between looks at what was just made: some ten seconds together, of which the deadline takes what it takes.
const LOOKS: [u64; 7] = [50, 100, 200, 400, 800, 1600, 3200];

/// Asks for something that was just made until it is there.
pub(crate) async fn settled<T, F>(mut ask: impl FnMut() -> F) -> Result<T, Fault>
where
    F: Future<Output = Result<T, Fault>>,
{
    for pause in LOOKS {
        match ask().await {
            Err(fault) if fault.meaning() == Some(Meaning::Gone) => sleep(Duration::from_millis(pause)).await,
            other => return other,
        }
    }
    ask().await
}

/// The same for what may come up empty.
pub(crate) async fn found<T, F>(mut ask: impl FnMut() -> F) -> Result<Option<T>, Fault>
where
    F: Future<Output = Result<Option<T>, Fault>>,
{
    for pause in LOOKS {
        match ask().await {
            Ok(None) => sleep(Duration::from_millis(pause)).await,
            other => return other,
        }
    }
    ask().await
}
