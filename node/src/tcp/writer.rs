//! The writing side of a connection. Who sends writes by itself what the system takes at once, without a change of task; what
//! is left, and whatever comes after it, is written by a task.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Mutex;

use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};

use super::connection::{Ending, STALL_WAIT, within};
use super::frame::{Frame, TAIL, VERSION};
use super::locked;

/// The most frames that are written at once.
const AT_ONCE: usize = 16;

pub(super) struct Writer {
    half: OwnedWriteHalf,
    left: Mutex<Left>,
    more: Notify,
}

/// What could not be written at once.
struct Left {
    parts: VecDeque<Part>,
    closed: bool,
}

/// A frame of which so many bytes are written.
struct Part {
    frame: Frame,
    tail: &'static [u8],
    written: usize,
    /// Given back when all of it is written.
    _room: Option<OwnedSemaphorePermit>,
}

impl Part {
    /// What is left of it.
    fn slices(&self) -> impl Iterator<Item = IoSlice<'_>> {
        let mut skip = self.written;
        [&self.frame.head[..], &self.frame.payload, self.tail].into_iter().filter_map(move |piece| {
            let (skipped, rest) = piece.split_at(skip.min(piece.len()));
            skip -= skipped.len();
            (!rest.is_empty()).then(|| IoSlice::new(rest))
        })
    }

    fn len(&self) -> usize {
        self.frame.head.len() + self.frame.payload.len() + self.tail.len()
    }

    /// Writes as much as the system takes; whether that was all.
    fn write(&mut self, half: &OwnedWriteHalf) -> bool {
        while self.written < self.len() {
            let slices: Vec<_> = self.slices().collect();
            match half.try_write_vectored(&slices) {
                Ok(written) if written > 0 => self.written += written,
                // Whatever it is, the task meets it again.
                _ => return false,
            }
        }
        true
    }
}

impl Writer {
    /// A writer whose first byte is the version.
    pub(super) fn new(half: OwnedWriteHalf) -> Self {
        let version = Frame { head: vec![VERSION], payload: Vec::new() };
        let first = Part { frame: version, tail: &[], written: 0, _room: None };
        let left = Left { parts: VecDeque::from([first]), closed: false };
        Self { half, left: Mutex::new(left), more: Notify::new() }
    }

    /// Writes a frame, or leaves it to the task. Whether the connection takes any.
    pub(super) fn send(&self, frame: Frame, room: OwnedSemaphorePermit) -> bool {
        let mut part = Part { frame, tail: &TAIL, written: 0, _room: Some(room) };
        let mut left = locked(&self.left);
        if left.closed {
            return false;
        }
        if left.parts.is_empty() && part.write(&self.half) {
            return true;
        }
        left.parts.push_back(part);
        drop(left);
        self.more.notify_one();
        true
    }

    /// The task. When the connection is closed, what is left then is still written, as far as that does not take too long.
    pub(super) async fn run(&self, mut ending: watch::Receiver<Ending>) -> io::Result<()> {
        let mut until = ending.clone();
        let too_late = async {
            let ending = until.wait_for(|ending| *ending != Ending::No).await.map(|ending| *ending);
            if matches!(ending, Ok(Ending::Close)) {
                let cut = until.wait_for(|ending| *ending == Ending::Cut);
                let _ = tokio::time::timeout(STALL_WAIT, cut).await;
            }
        };
        let written = tokio::select! {
            written = self.write_left(&mut ending) => written,
            () = too_late => Err(ErrorKind::ConnectionAborted.into()),
        };
        let mut left = locked(&self.left);
        left.closed = true;
        left.parts.clear();
        written
    }

    async fn write_left(&self, ending: &mut watch::Receiver<Ending>) -> io::Result<()> {
        loop {
            let (empty, closed) = {
                let left = locked(&self.left);
                (left.parts.is_empty(), left.closed)
            };
            match (empty, closed) {
                (true, true) => return Ok(()),
                (true, false) => self.wait(ending).await,
                (false, _) => {
                    within(STALL_WAIT, self.half.writable()).await?;
                    self.write_some()?;
                }
            }
        }
    }

    async fn wait(&self, ending: &mut watch::Receiver<Ending>) {
        tokio::select! {
            () = self.more.notified() => {}
            _ = ending.wait_for(|ending| *ending != Ending::No) => locked(&self.left).closed = true,
        }
    }

    /// Writes what the system takes of the next frames.
    fn write_some(&self) -> io::Result<()> {
        let mut left = locked(&self.left);
        let slices: Vec<_> = left.parts.iter().take(AT_ONCE).flat_map(Part::slices).collect();
        let mut written = match self.half.try_write_vectored(&slices) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        };
        drop(slices);
        while let Some(part) = left.parts.front_mut() {
            let rest = part.len() - part.written;
            if written < rest {
                part.written += written;
                break;
            }
            written -= rest;
            left.parts.pop_front();
        }
        Ok(())
    }
}
