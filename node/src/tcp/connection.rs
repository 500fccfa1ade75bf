//! One TCP connection: a task that reads, a task that writes, and a queue with a budget of bytes between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use channel::{Address, MAX_HOPS, Route};
use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;

use super::frame::{self, Frame, MAX_FRAME, VERSION};
use super::listener::FreePlace;
use super::writer::Writer;
use super::{TcpConnectionInfo, locked};
use crate::error::{Error, Kind, Result};
use crate::link::Link;
use crate::message::{Message, Origin};
use crate::node::{Node, Place, Rule};
use crate::source::Source;
use crate::worker::{Pending, Runs, Worker};

/// Bytes that may wait to be written.
const BUDGET: usize = 4 * 1024 * 1024;
/// How long a message that came from elsewhere waits for room in the queue before it is dropped.
const QUEUE_WAIT: Duration = Duration::from_secs(5);
/// How long a peer may take nothing of what is written before it is cut off; what a frame may take beside the time for its
/// length, and how long it waits for room; and what is left to be written when a connection is closed.
pub(super) const STALL_WAIT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });
/// The fewest bytes a second of a frame that comes.
const SLOWEST: u32 = 64 * 1024;
/// How long the first byte of the other side may take.
const VERSION_WAIT: Duration = Duration::from_secs(10);
/// When a line that is silent is asked whether the other end is still there, how soon again, and how often before it has ended.
/// One that was cut without a word is known to be after a minute: what goes over it ends, and relays are registered anew. The
/// reference's nodes take seven for that, and so send pings of their own.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEP_ALIVE_AGAIN: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMES: u32 = 3;
/// What is read at once of small frames.
const BUFFER: usize = 16 * 1024;
/// Frames longer than this have their payload read to where it stays, and this much of them before.
const LONG: usize = 16 * 1024;
const HEAD: usize = 4 * 1024;
/// What is allocated for a frame before any of it has come. What is longer is read on when there is room for all of it.
const AHEAD: usize = 256 * 1024;

/// A TCP connection.
#[derive(Debug)]
pub struct TcpLink {
    link: Link,
    info: TcpConnectionInfo,
    budget: Arc<Semaphore>,
    ending: watch::Sender<Ending>,
    /// Whether a whole frame came.
    heard: AtomicBool,
}

/// Whether a connection is to end, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It goes on.
    No,
    /// When what is left has been written.
    Close,
    /// At once.
    Cut,
}

impl TcpLink {
    /// Who is at the other end.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.info.remote
    }

    /// The listener that took it; none for what this node dialled.
    #[must_use]
    pub fn listener(&self) -> Option<&Address> {
        self.info.listener.as_ref()
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    pub(super) fn info(&self) -> TcpConnectionInfo {
        self.info.clone()
    }

    pub(super) fn source(&self) -> Source {
        self.info.remote.ip().into()
    }

    /// Whether a whole frame came, and it goes on.
    pub(super) fn is_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed) && *self.ending.borrow() == Ending::No
    }

    pub(super) fn is_cut(&self) -> bool {
        *self.ending.borrow() == Ending::Cut
    }

    pub(super) fn close(&self) {
        self.ending.send_if_modified(|ending| {
            let goes_on = *ending == Ending::No;
            if goes_on {
                *ending = Ending::Close;
            }
            goes_on
        });
    }

    pub(super) fn cut(&self) {
        self.ending.send_replace(Ending::Cut);
    }

    /// Waits until there is room for a message of so many bytes.
    pub(super) async fn ready(&self, length: usize) -> Result<()> {
        // With what surrounds the payload of a frame.
        if length > MAX_FRAME - HEAD {
            return Err(too_long());
        }
        if self.has_room(length) { Ok(()) } else { self.room(length, true).await.map(drop) }
    }

    /// Whether there is room for so many bytes now.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.budget.available_permits() >= length.min(BUDGET)
    }

    /// Room for so many bytes in the queue. What came from elsewhere waits for it only so long.
    async fn room(&self, length: usize, remote: bool) -> Result<OwnedSemaphorePermit> {
        // What is larger than the budget takes all of it.
        let bytes = u32::try_from(length.min(BUDGET)).unwrap_or(u32::MAX);
        if let Ok(room) = Arc::clone(&self.budget).try_acquire_many_owned(bytes) {
            return Ok(room);
        }
        let waiting = Arc::clone(&self.budget).acquire_many_owned(bytes);
        let room = if remote {
            let full = |_| Error::new(Kind::Exhausted, "the connection takes nothing more");
            tokio::time::timeout(QUEUE_WAIT, waiting).await.map_err(full)?
        } else {
            waiting.await
        };
        room.map_err(|_| self.ended())
    }

    fn ended(&self) -> Error {
        Error::new(Kind::Unavailable, format!("the connection to `{}` has ended", self.remote()))
    }

    /// Waits until nothing waits to be written.
    pub(super) async fn flushed(&self) {
        let all = u32::try_from(BUDGET).unwrap_or(u32::MAX);
        let _ = self.budget.acquire_many(all).await;
    }
}

impl AsRef<Link> for TcpLink {
    fn as_ref(&self) -> &Link {
        &self.link
    }
}

/// The worker that stands for a connection.
struct Sender {
    link: Arc<TcpLink>,
    writer: Arc<Writer>,
}

impl Worker for Sender {
    fn receive<'a>(&'a self, _: &'a Node, mut message: Message) -> Pending<'a, ()> {
        Box::pin(async move {
            message.take_next();
            let remote = !message.origin().is_local();
            let frame = Frame::new(message).ok_or_else(too_long)?;
            let room = self.link.room(frame.len(), remote).await?;
            if self.writer.send(frame, room) { Ok(()) } else { Err(self.link.ended()) }
        })
    }
}

fn too_long() -> Error {
    Error::new(
        Kind::Invalid,
        format!("the message does not fit {MAX_FRAME} bytes, or a route has more than {MAX_HOPS} addresses"),
    )
}

/// Has the system ask the other end whether it is still there. A system that does not know one of the options keeps its own.
fn keep_alive(stream: &TcpStream) {
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, KEEP_ALIVE_AFTER);
    let _ = sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE_AGAIN);
    let _ = sockopt::set_tcp_keepcnt(stream, KEEP_ALIVE_TIMES);
}

impl Node {
    /// Runs a connection until one side ends it.
    pub(super) fn run_connection(
        &self,
        stream: TcpStream,
        listener: Option<(Address, FreePlace)>,
    ) -> std::io::Result<TcpConnectionInfo> {
        stream.set_nodelay(true)?;
        keep_alive(&stream);
        let address = Self::random_address().map_err(std::io::Error::other)?;
        let (listener, free) = listener.unzip();
        let info = TcpConnectionInfo {
            address: address.clone(),
            remote: stream.peer_addr()?,
            local: stream.local_addr()?,
            listener,
        };
        let link = Arc::new(TcpLink {
            link: Link::new(),
            info: info.clone(),
            budget: Arc::new(Semaphore::new(BUDGET)),
            ending: watch::Sender::new(Ending::No),
            heard: AtomicBool::new(false),
        });
        let (reading, writing) = stream.into_split();
        let writer = Arc::new(Writer::new(writing));
        let sender = Sender { link: Arc::clone(&link), writer: Arc::clone(&writer) };
        let place = Place {
            rule: Rule::Through(Some(Arc::clone(&link) as Arc<dyn AsRef<Link> + Send + Sync>)),
            kind: "tcp",
            of: None,
        };
        self.place(address.clone(), Box::new(sender), Runs::Inline, place).map_err(std::io::Error::other)?;
        locked(&self.0.tcp.connections).insert(address.clone(), Arc::clone(&link));
        tracing::debug!(remote = %info.remote, %address, "a TCP connection is open");
        // Reading and writing are tasks of their own: a peer that takes nothing is heard all the same.
        let (node, ended) = (self.clone(), self.stopped());
        let (of_writer, ending) = (Arc::clone(&link), link.ending.subscribe());
        // The connection has its place until both are done.
        let place_taken = Arc::new(free.map(|free| free.take(Arc::clone(&link))));
        let place_of_writer = Arc::clone(&place_taken);
        self.spawn(async move {
            let why = writer.run(ending).await;
            tracing::debug!(remote = %of_writer.remote(), why = ?why.err(), "nothing more is written");
            of_writer.close();
            drop(writer);
            drop(place_of_writer);
        });
        let mut ending = link.ending.subscribe();
        self.spawn(async move {
            let why = tokio::select! {
                read = read(&node, &link, reading) => read,
                _ = ending.wait_for(|ending| *ending != Ending::No) => Ok(()),
                () = ended => Ok(()),
            };
            tracing::debug!(remote = %link.remote(), address = %link.info.address, why = ?why.err(), "a TCP connection ended");
            link.close();
            node.end_connection(&link);
            drop(place_taken);
        });
        Ok(info)
    }

    fn end_connection(&self, link: &TcpLink) {
        link.budget.close();
        self.remove(&link.info.address);
        self.remove_of(link.link.number());
        locked(&self.0.tcp.connections).remove(&link.info.address);
    }
}

/// Reads frames and has them delivered, one after the other: a peer that sends faster than what it sends is taken waits.
async fn read(node: &Node, link: &Arc<TcpLink>, reading: OwnedReadHalf) -> std::io::Result<()> {
    let invalid = |why: &'static str| std::io::Error::new(std::io::ErrorKind::InvalidData, why);
    let mut reading = BufReader::with_capacity(BUFFER, reading);
    let version = within(VERSION_WAIT, reading.read_u8()).await?;
    if version != VERSION {
        return Err(invalid("the other side speaks another version"));
    }
    loop {
        let length = match reading.read_u32().await {
            Ok(length) => usize::try_from(length).map_err(|_| invalid("the frame is too long"))?,
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(e) => return Err(e),
        };
        if length > MAX_FRAME {
            return Err(invalid("the frame is too long"));
        }
        let frame = read_frame(node, &mut reading, length).await?;
        link.heard.store(true, Ordering::Relaxed);
        let Some((onward, mut back, payload)) = frame else {
            // It costs who sent it the frame, and nobody else the connection: a node in between passes on what others send.
            tracing::debug!(remote = %link.remote(), length, "what came is no frame");
            continue;
        };
        if onward.0.is_empty() {
            continue; // A heartbeat.
        }
        back.0.insert(0, link.info.address.clone());
        node.send_quietly(Message::from(Origin::Tcp(Arc::clone(link)), onward, back, payload)).await;
    }
}

/// How long a frame of this length may take: a byte now and then is not enough to hold what was announced.
fn longest(length: usize) -> Duration {
    STALL_WAIT + Duration::from_secs(1) * u32::try_from(length).unwrap_or(u32::MAX) / SLOWEST
}

/// One frame of this length: its routes and its payload, or nothing when it is none. Memory is taken as bytes come, not as they
/// are announced; of long frames, only so many are read at a time.
async fn read_frame(
    node: &Node,
    reading: &mut BufReader<OwnedReadHalf>,
    length: usize,
) -> std::io::Result<Option<(Route, Route, Vec<u8>)>> {
    let mut until = Instant::now() + longest(length);
    let mut bytes = Vec::with_capacity(length.min(AHEAD));
    if length > LONG {
        // The payload is read to where it stays.
        fill(reading, &mut bytes, HEAD, until).await?;
        if let Some(head) = frame::head(&bytes)
            && let Some(tail) = (length - head.length).checked_sub(head.payload)
        {
            let mut payload = Vec::with_capacity(head.payload.min(AHEAD));
            payload.extend_from_slice(bytes.get(head.length..).unwrap_or_default());
            fill(reading, &mut payload, head.payload.min(AHEAD), until).await?;
            let _room = room_for(node, length, &mut until).await?;
            fill(reading, &mut payload, head.payload, until).await?;
            let mut rest = payload.split_off(head.payload);
            fill(reading, &mut rest, tail, until).await?;
            return Ok(frame::is_tail(&rest, head.fields).then_some((head.onward, head.back, payload)));
        }
    }
    fill(reading, &mut bytes, length.min(AHEAD), until).await?;
    let _room = room_for(node, length, &mut until).await?;
    fill(reading, &mut bytes, length, until).await?;
    Ok(frame::decode(bytes))
}

/// Room for a long frame beside the others that are being read. Waiting for it does not count into the time that the frame has:
/// the peer can do nothing about it.
async fn room_for<'a>(
    node: &'a Node,
    length: usize,
    until: &mut Instant,
) -> std::io::Result<Option<SemaphorePermit<'a>>> {
    if length <= AHEAD {
        return Ok(None);
    }
    let kib = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX);
    let start = Instant::now();
    let room = async { node.0.tcp.long_frames.acquire_many(kib).await.map_err(std::io::Error::other) };
    let room = within(STALL_WAIT, room).await?;
    *until += start.elapsed();
    Ok(Some(room))
}

/// Reads until there are so many bytes.
async fn fill(
    reading: &mut BufReader<OwnedReadHalf>,
    bytes: &mut Vec<u8>,
    length: usize,
    until: Instant,
) -> std::io::Result<()> {
    let filling = async {
        while bytes.len() < length {
            let left = u64::try_from(length - bytes.len()).unwrap_or(u64::MAX);
            if (&mut *reading).take(left).read_buf(bytes).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    };
    tokio::time::timeout_at(until, filling).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

pub(super) async fn within<T>(
    wait: Duration,
    doing: impl Future<Output = std::io::Result<T>>,
) -> std::io::Result<T> {
    tokio::time::timeout(wait, doing).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_frame_comes_in_time_or_not_at_all() {
        for (length, seconds) in [(0, 0), (64 * 1024, 1), (1024 * 1024, 16), (MAX_FRAME, 256)] {
            assert_eq!(longest(length), STALL_WAIT + Duration::from_secs(seconds), "{length}");
        }
    }

    #[tokio::test]
    async fn a_silent_line_is_asked_after() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert!(!sockopt::socket_keepalive(&stream).unwrap());
        keep_alive(&stream);
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), KEEP_ALIVE_AFTER);
        assert_eq!(sockopt::tcp_keepintvl(&stream).unwrap(), KEEP_ALIVE_AGAIN);
        assert_eq!(sockopt::tcp_keepcnt(&stream).unwrap(), KEEP_ALIVE_TIMES);
    }
}
