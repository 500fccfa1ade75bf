//! Doing what a request asks once, however often it comes: idempotency keys.
//!
//! What a caller does under a key leaves a [`Receipt`], written in the same transaction: whoever asks the same again under that
//! key gets the same answer and nothing is done, and whoever asks something else under it is refused. A request that was
//! refused leaves no receipt; it is decided anew. A caller's receipts are found by the caller's identifier and the key
//! together, so nobody meets another's.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use identity::{Identifier, Timestamp};
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedMutexGuard;
use zeroize::Zeroizing;

use crate::problem::Problem;
use crate::ticket::{Code, Reference};

/// The most characters of a key.
pub const MAX_KEY: usize = 128;
/// How long a receipt is kept, in seconds.
pub const RECEIPT_SECONDS: u64 = 86_400;
/// The most receipts of one caller. The oldest make room.
pub const MAX_RECEIPTS: u64 = 1024;

/// An idempotency key of one caller, with what it stands for.
#[derive(Clone)]
pub struct Once {
    id: [u8; 32],
    subject: Identifier,
    request: [u8; 32],
    key: Arc<Zeroizing<String>>,
}

impl Once {
    /// The caller's key for this request, of which `request` is a hash over everything that must not differ.
    ///
    /// # Errors
    /// [`Problem::Malformed`] for a key that is not 1 to [`MAX_KEY`] visible ASCII characters without quotation mark and
    /// backslash.
    pub fn new(subject: Identifier, key: &str, request: [u8; 32]) -> Result<Self, Problem> {
        let fits = |c: u8| c.is_ascii_graphic() && c != b'"' && c != b'\\';
        if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(fits) {
            return Err(Problem::malformed(format!(
                "an idempotency key is 1 to {MAX_KEY} visible characters without quotation mark and backslash"
            )));
        }
        let id = Sha256::new()
            .chain_update(b"ockam-kms idempotency key")
            .chain_update(subject.as_bytes())
            .chain_update(key);
        Ok(Self { id: id.finalize().into(), subject, request, key: Arc::new(Zeroizing::new(key.to_owned())) })
    }

    /// What its receipt is stored under.
    #[must_use]
    pub fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// Whose it is.
    #[must_use]
    pub fn subject(&self) -> Identifier {
        self.subject
    }

    pub(crate) fn request(&self) -> [u8; 32] {
        self.request
    }

    /// The code of a ticket that is made under this key. The store keeps the salt and of the key only a hash, so that what
    /// it holds opens no ticket, and still the same code can be told again to whoever shows the key again.
    pub(crate) fn code(&self, salt: &[u8; 32]) -> Code {
        let code = Sha256::new()
            .chain_update(salt)
            .chain_update(b"ockam-kms enrolment code")
            .chain_update(self.subject.as_bytes())
            .chain_update(self.key.as_bytes());
        Code::from_bytes(code.finalize().into())
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("subject", &self.subject).finish_non_exhaustive()
    }
}

/// What was answered, as far as it takes to answer it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// It was done.
    Done,
    /// So many members were deleted.
    Deleted(u64),
    /// A ticket was made.
    Ticket {
        /// What it is called.
        reference: Reference,
        /// What its code is made from, together with the key.
        salt: [u8; 32],
        /// When.
        created_at: Timestamp,
    },
    /// This credential was issued.
    Credential(Vec<u8>),
}

/// A receipt as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) subject: Identifier,
    pub(crate) request: [u8; 32],
    pub(crate) at: Timestamp,
    pub(crate) number: u64,
    pub(crate) receipt: Receipt,
}

impl Kept {
    /// Whether its time is over.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.at.after(RECEIPT_SECONDS) <= now
    }

    /// The receipt, for whoever asks the same.
    pub(crate) fn matching(self, once: &Once) -> Result<Receipt, Problem> {
        if self.subject == once.subject && self.request == once.request {
            Ok(self.receipt)
        } else {
            Err(Problem::KeyReused)
        }
    }
}

/// Who is at work under which key: whoever comes second waits.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<[u8; 32], Weak<tokio::sync::Mutex<()>>>>);

/// How many keys are remembered before those that nobody works under are dropped.
const CROWD: usize = 1024;

impl Turns {
    /// Waits until nobody else works under this key.
    pub(crate) async fn take(&self, once: &Once) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if turns.len() >= CROWD {
                turns.retain(|_, turn| turn.strong_count() > 0);
            }
            let turn = turns.get(&once.id).and_then(Weak::upgrade).unwrap_or_default();
            turns.insert(once.id, Arc::downgrade(&turn));
            turn
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once(subject: u8, key: &str) -> Once {
        Once::new(Identifier::from_bytes([subject; 32]), key, [7; 32]).unwrap()
    }

    #[test]
    fn keys_are_bound_to_their_callers_and_not_printed() {
        assert_ne!(once(1, "a").id(), once(2, "a").id());
        assert_ne!(once(1, "a").id(), once(1, "b").id());
        assert_eq!(once(1, "a").id(), once(1, "a").id());
        assert!(!format!("{:?}", once(1, "hunter2")).contains("hunter2"));
    }

    #[test]
    fn codes_take_key_and_salt() {
        let code = |subject, key, salt| once(subject, key).code(&[salt; 32]).expose_hex().to_string();
        let one = code(1, "a", 1);
        assert_eq!(one, code(1, "a", 1));
        for other in [code(2, "a", 1), code(1, "b", 1), code(1, "a", 2)] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = "x".repeat(MAX_KEY);
        assert!(Once::new(Identifier::from_bytes([1; 32]), &long, [0; 32]).is_ok());
        for bad in ["", "a b", "a\"", "a\\", "a\n", "\u{e4}", &format!("{long}x")] {
            let refused = Once::new(Identifier::from_bytes([1; 32]), bad, [0; 32]).unwrap_err();
            assert_eq!(refused.code(), "malformed", "{bad}");
        }
    }

    #[tokio::test]
    async fn one_at_a_time_works_under_a_key() {
        let turns = Arc::new(Turns::default());
        let first = turns.take(&once(1, "a")).await;
        let _other = turns.take(&once(1, "b")).await;
        let second = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { drop(turns.take(&once(1, "a")).await) }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap();
        for n in 0..3 * CROWD {
            drop(turns.take(&once(2, &n.to_string())).await);
        }
        assert!(turns.0.lock().unwrap().len() <= CROWD);
    }
}
