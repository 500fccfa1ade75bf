//! One TCP connection: a task that reads, a task that writes, and a queue with a budget of bytes between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use channel::{Address, Route};
use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::frame::{self, Frame, MAX_FRAME, VERSION};
use super::writer::Writer;
use super::{TcpConnectionInfo, locked};
use crate::error::{Error, Kind, Result};
use crate::link::Link;
use crate::message::{Message, Origin};
use crate::node::{Node, Place, Rule};
use crate::worker::{Pending, Runs, Worker};

/// Bytes that may wait to be written.
const BUDGET: usize = 4 * 1024 * 1024;
/// How long a message that came from elsewhere waits for room in the queue before it is dropped.
const QUEUE_WAIT: Duration = Duration::from_secs(5);
/// How long a peer may take nothing of what is written, or be silent in the middle of a frame, before it is cut off.
pub(super) const STALL_WAIT: Duration = Duration::from_secs(30);
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
/// What is allocated for a frame before any of it has come.
const AHEAD: usize = 256 * 1024;

/// A TCP connection.
#[derive(Debug)]
pub struct TcpLink {
    link: Link,
    info: TcpConnectionInfo,
    budget: Arc<Semaphore>,
    closing: watch::Sender<bool>,
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

    pub(super) fn close(&self) {
        self.closing.send_replace(true);
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
            let frame = Frame::new(message).ok_or_else(|| {
                Error::new(Kind::Invalid, format!("the message does not fit {MAX_FRAME} bytes"))
            })?;
            let ended = || {
                Error::new(Kind::Unavailable, format!("the connection to `{}` has ended", self.link.remote()))
            };
            // A frame that is larger than the budget takes all of it.
            let room = u32::try_from(frame.len().min(BUDGET)).unwrap_or(u32::MAX);
            let room = match Arc::clone(&self.link.budget).try_acquire_many_owned(room) {
                Ok(room) => room,
                Err(_) => self.room(room, remote).await?.ok_or_else(ended)?,
            };
            if self.writer.send(frame, room) { Ok(()) } else { Err(ended()) }
        })
    }
}

impl Sender {
    /// Waits for room; none when the connection ends.
    async fn room(&self, room: u32, remote: bool) -> Result<Option<OwnedSemaphorePermit>> {
        let waiting = Arc::clone(&self.link.budget).acquire_many_owned(room);
        if !remote {
            return Ok(waiting.await.ok());
        }
        let full = |_| Error::new(Kind::Exhausted, "the connection takes nothing more");
        Ok(tokio::time::timeout(QUEUE_WAIT, waiting).await.map_err(full)?.ok())
    }
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
        listener: Option<Address>,
        place_taken: Option<OwnedSemaphorePermit>,
    ) -> std::io::Result<TcpConnectionInfo> {
        stream.set_nodelay(true)?;
        keep_alive(&stream);
        let address = Self::random_address().map_err(std::io::Error::other)?;
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
            closing: watch::Sender::new(false),
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
        let (of_writer, closing) = (Arc::clone(&link), link.closing.subscribe());
        self.spawn(async move {
            let why = writer.run(closing).await;
            tracing::debug!(remote = %of_writer.remote(), why = ?why.err(), "nothing more is written");
            of_writer.close();
        });
        let mut closing = link.closing.subscribe();
        self.spawn(async move {
            let why = tokio::select! {
                read = read(&node, &link, reading) => read,
                _ = closing.wait_for(|closing| *closing) => Ok(()),
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
        let mut connections = locked(&self.0.tcp.connections);
        connections.remove(&link.info.address);
        for other in connections.values() {
            other.link.part(link.link.number());
        }
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
        let frame = read_frame(&mut reading, length).await?;
        let (onward, mut back, payload) = frame.ok_or_else(|| invalid("it is no frame"))?;
        if onward.0.is_empty() {
            continue; // A heartbeat.
        }
        back.0.insert(0, link.info.address.clone());
        node.send_quietly(Message::from(Origin::Tcp(Arc::clone(link)), onward, back, payload)).await;
    }
}

/// One frame of this length: its routes and its payload. Memory is taken as bytes come, not as they are announced.
async fn read_frame(
    reading: &mut BufReader<OwnedReadHalf>,
    length: usize,
) -> std::io::Result<Option<(Route, Route, Vec<u8>)>> {
    let mut bytes = Vec::with_capacity(length.min(AHEAD));
    if length > LONG {
        // The payload is read to where it stays.
        fill(reading, &mut bytes, HEAD).await?;
        if let Some(head) = frame::head(&bytes)
            && let Some(tail) = (length - head.length).checked_sub(head.payload)
        {
            let mut payload = Vec::with_capacity(head.payload.min(AHEAD));
            payload.extend_from_slice(bytes.get(head.length..).unwrap_or_default());
            fill(reading, &mut payload, head.payload).await?;
            let mut rest = payload.split_off(head.payload);
            fill(reading, &mut rest, tail).await?;
            return Ok(frame::is_tail(&rest, head.fields).then_some((head.onward, head.back, payload)));
        }
    }
    fill(reading, &mut bytes, length).await?;
    Ok(frame::decode(bytes))
}

/// Reads until there are so many bytes.
async fn fill(
    reading: &mut BufReader<OwnedReadHalf>,
    bytes: &mut Vec<u8>,
    length: usize,
) -> std::io::Result<()> {
    while bytes.len() < length {
        let left = u64::try_from(length - bytes.len()).unwrap_or(u64::MAX);
        if within(STALL_WAIT, (&mut *reading).take(left).read_buf(bytes)).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
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
