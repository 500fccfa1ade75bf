//! Records: each message of an open channel, sealed under a counter and a key that follows from it.
//!
//! The key changes every [`REKEY`] counters, in each direction by itself. Nothing moves on before a record has proven to
//! be the peer's: what is forged, replayed, cut or lost costs the genuine records nothing.

use std::fmt;

use crate::error::{RecordError, RecordFault};
use crate::keys::{RecordKey, TAG};
use crate::message::Message;
use crate::window::{WINDOW, Window};

/// How many records have the same key.
pub(crate) const REKEY: u64 = 32;

/// The most bytes of a record: what a transport of Ockam's carries.
pub const MAX_RECORD: usize = 16 * 1024 * 1024;

/// What a record has beside the text: a counter and a tag.
pub const RECORD_OVERHEAD: usize = COUNTER + TAG;

const COUNTER: usize = size_of::<u64>();

/// Never used: under the nonce of this number keys are made (Noise §5.1).
const LAST: u64 = u64::MAX;

// INVARIANT: within the window of a record lie the keys before and after that of the highest one, and no further.
const _: () = assert!(WINDOW <= REKEY);

/// The sending half of a channel.
pub struct RecordSealer {
    key: RecordKey,
    counter: u64,
}

impl RecordSealer {
    pub(crate) fn new(key: RecordKey) -> Self {
        Self { key, counter: 0 }
    }

    /// Seals a message.
    ///
    /// # Errors
    /// [`TooLong`](RecordError::TooLong), [`Exhausted`](RecordError::Exhausted).
    pub fn seal(&mut self, message: Message<'_>) -> Result<Vec<u8>, RecordError> {
        // What the peer refuses costs a counter all the same, and it follows over a window of them only.
        if !message.is_taken() {
            return Err(RecordError::TooLong);
        }
        let mut record = room(message.room());
        message.encode(&mut record)?;
        self.seal_in_place(&mut record)?;
        Ok(record)
    }

    /// Seals bytes that are no message of a node, for callers that carry something else through the channel.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub fn seal_bytes(&mut self, text: &[u8]) -> Result<Vec<u8>, RecordError> {
        if text.len() > MAX_RECORD {
            return Err(RecordError::TooLong);
        }
        let mut record = room(text.len());
        record.extend_from_slice(text);
        self.seal_in_place(&mut record)?;
        Ok(record)
    }

    /// Seals the last message, which tells the peer that nothing comes after it.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub fn close(mut self) -> Result<Vec<u8>, RecordError> {
        self.seal(Message::Close)
    }

    /// Room for the counter and the text, to which the tag is added.
    fn seal_in_place(&mut self, record: &mut Vec<u8>) -> Result<(), RecordError> {
        if record.len() + TAG > MAX_RECORD {
            return Err(RecordError::TooLong);
        }
        if self.counter == LAST {
            return Err(RecordError::Exhausted);
        }
        let rekey = self.counter > 0 && self.counter.is_multiple_of(REKEY);
        let next = if rekey { Some(self.key.next()?) } else { None };
        let (head, text) = record.split_at_mut_checked(COUNTER).ok_or(RecordError::TooLong)?;
        head.copy_from_slice(&self.counter.to_be_bytes());
        let tag = next.as_ref().unwrap_or(&self.key).seal(self.counter, &[], text)?;
        record.extend_from_slice(&tag);
        if let Some(next) = next {
            self.key = next;
        }
        self.counter += 1;
        Ok(())
    }
}

fn room(text: usize) -> Vec<u8> {
    let mut record = Vec::with_capacity(text + RECORD_OVERHEAD);
    record.resize(COUNTER, 0);
    record
}

/// The receiving half of a channel.
pub struct RecordOpener {
    window: Window,
    // INVARIANT: the key of the highest counter that was taken, and the one before it.
    current: RecordKey,
    previous: Option<RecordKey>,
    closed: bool,
}

impl RecordOpener {
    pub(crate) fn new(key: RecordKey) -> Self {
        Self { window: Window::default(), current: key, previous: None, closed: false }
    }

    /// Opens a record in place and reads its message. The bytes of a record that is refused are not what they were.
    ///
    /// # Errors
    /// [`Peer`](RecordError::Peer): the channel is as it was before, and goes on with the next record.
    pub fn open<'r>(&mut self, record: &'r mut [u8]) -> Result<Message<'r>, RecordError> {
        let text = self.open_bytes(record)?;
        let message = Message::decode(text).ok_or(RecordFault::Malformed)?;
        self.closed = message == Message::Close;
        Ok(message)
    }

    /// Opens a record of [`RecordSealer::seal_bytes`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_bytes<'r>(&mut self, record: &'r mut [u8]) -> Result<&'r mut [u8], RecordError> {
        if self.closed {
            return Err(RecordFault::Closed.into());
        }
        if record.len() > MAX_RECORD {
            return Err(RecordFault::Length.into());
        }
        let (counter, sealed) = record.split_first_chunk_mut().ok_or(RecordFault::Length)?;
        if sealed.len() < TAG {
            return Err(RecordFault::Length.into());
        }
        let counter = u64::from_be_bytes(*counter);
        let refused = RecordFault::Counter(counter);
        if counter == LAST {
            return Err(refused.into());
        }
        let Some(window) = self.window.take(counter) else { return Err(refused.into()) };
        let (span, newest) = (counter / REKEY, self.window.highest() / REKEY);
        // Made anew for each record ahead until one of them is genuine: only then is it kept.
        let next = if span > newest { Some(self.current.next()?) } else { None };
        let key = match &next {
            Some(next) => next,
            None if span == newest => &self.current,
            None => self.previous.as_ref().ok_or(refused)?,
        };
        let text = key.open(counter, &[], sealed).map_err(|_| RecordFault::Rejected)?;
        self.window = window;
        if let Some(next) = next {
            self.previous = Some(std::mem::replace(&mut self.current, next));
        }
        Ok(text)
    }

    /// Whether the peer has closed the channel.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }
}

impl fmt::Debug for RecordSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordSealer").field("counter", &self.counter).finish_non_exhaustive()
    }
}

impl fmt::Debug for RecordOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordOpener")
            .field("highest", &self.window.highest())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
