//! What the HTTP library refuses by itself, before there is a request that could be routed: no HTTP, a target or headers that
//! are too long. It answers those without a body and cannot be told otherwise, so its answer is replaced on its way out by
//! the problem that it means.
//!
//! INVARIANT: every refusal of ours has a body, so a refusal without one is the library's.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::problem::Refused;

/// The most bytes of one read. The library reads 8 KiB at first, and twice as much, in a new buffer, each time that a buffer
/// was filled: with less than that it never is, and whoever is not known yet has one buffer and not two.
const READ: usize = 4096;

/// A connection on which refusals without a body become problems.
#[derive(Debug)]
pub(crate) struct Worded<S> {
    inner: S,
    // What is written in place of what the library wrote, and how much of it has been.
    instead: Vec<u8>,
    done: usize,
}

impl<S> Worded<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, instead: Vec::new(), done: 0 }
    }
}

impl<S: AsyncWrite + Unpin> Worded<S> {
    fn poll_instead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.instead.get(self.done..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.inner).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.done += written,
            }
        }
        self.instead.clear();
        self.done = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Worded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; READ];
        let length = READ.min(into.remaining());
        let Some(room) = bytes.get_mut(..length) else { return Poll::Ready(Ok(())) };
        let mut part = ReadBuf::new(room);
        ready!(Pin::new(&mut self.inner).poll_read(context, &mut part))?;
        into.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

// Not vectored: the head of an answer then comes in one piece, which is what is looked at.
impl<S: AsyncWrite + Unpin> AsyncWrite for Worded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_instead(context))?;
        let Some(instead) = instead_of(bytes) else {
            return Pin::new(&mut self.inner).poll_write(context, bytes);
        };
        self.instead = instead;
        // What cannot be written yet is written by the next flush.
        match self.poll_instead(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// What is to be sent in place of these bytes, when they are a refusal of the library.
fn instead_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let head = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?;
    let refused = match head.get(..3)? {
        b"400" => Refused::NoHttp,
        b"414" => Refused::LongTarget,
        b"431" => Refused::LongHead,
        _ => return None,
    };
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    if !text.lines().any(|line| line.eq_ignore_ascii_case("content-length: 0")) {
        return None;
    }
    let is_date = |line: &&str| line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case("date:"));
    let date = text.lines().find(is_date).map(|line| format!("{line}\r\n")).unwrap_or_default();
    written(&refused, &date)
}

/// A refusal as the bytes of an answer, with these lines in its head; the connection ends with it.
pub(super) fn written(refused: &Refused, lines: &str) -> Option<Vec<u8>> {
    let body = refused.body();
    let status = StatusCode::from_u16(body.status).ok()?;
    let body = serde_json::to_string(&body).ok()?;
    Some(
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n\
             connection: close\r\ncontent-length: {}\r\n{lines}\r\n{body}",
            body.len()
        )
        .into_bytes(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const BARE: &[u8] =
        b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\ndate: Now\r\n\r\n";

    #[tokio::test]
    async fn a_refusal_without_a_body_gets_one_however_slowly_it_is_taken() {
        // A pipe with room for one byte at a time.
        let (near, mut far) = tokio::io::duplex(1);
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            String::from_utf8(all).unwrap()
        });
        let mut near = Worded::new(near);
        near.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        near.write_all(BARE).await.unwrap();
        near.shutdown().await.unwrap();
        drop(near);
        let all = reading.await.unwrap();
        let (first, second) = all.split_once("\r\n\r\n").unwrap();
        assert_eq!(first, "HTTP/1.1 200 OK\r\ncontent-length: 0");
        let (head, body) = second.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 431 ") && head.contains("date: Now"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        assert!(body.contains(r#""type":"urn:ockam-kms:problem:long-head""#), "{body}");
    }

    #[test]
    fn answers_with_a_body_are_left_alone() {
        assert!(instead_of(BARE).is_some());
        for other in [
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n",
            "HTTP/1.1 4",
            "",
        ] {
            assert_eq!(instead_of(other.as_bytes()), None, "{other}");
        }
    }
}
