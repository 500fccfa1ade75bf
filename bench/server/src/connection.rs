//! HTTP/1.1 over one connection that stays open: writes what was written before, reads an answer with a length.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Result;

/// More than any answer here is long.
const MAX_ANSWER: usize = 64 * 1024;
/// When a server does not answer any more.
const DEADLINE: Duration = Duration::from_secs(60);

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends a request, and gives the body of the answer if it has this status.
    ///
    /// # Errors
    /// For another status, with what was answered.
    pub(crate) fn ask(&mut self, request: &[u8], wanted: u16) -> Result<Vec<u8>> {
        self.stream.write_all(request)?;
        self.buffer.clear();
        let mut chunk = [0; 4096];
        let (status, head, length) = loop {
            if let Some(found) = head(&self.buffer)? {
                break found;
            }
            let read = self.stream.read(&mut chunk)?;
            self.take(&chunk, read)?;
        };
        while self.buffer.len() < head + length {
            let read = self.stream.read(&mut chunk)?;
            self.take(&chunk, read)?;
        }
        let body = self.buffer.split_off(head);
        if status == wanted {
            Ok(body)
        } else {
            Err(format!("answered {status}: {}", String::from_utf8_lossy(&body)).into())
        }
    }

    fn take(&mut self, chunk: &[u8], read: usize) -> Result<()> {
        match chunk.get(..read) {
            Some(part) if read > 0 && self.buffer.len() + read <= MAX_ANSWER => {
                self.buffer.extend_from_slice(part);
                Ok(())
            }
            _ => Err("the answer ends early or not at all".into()),
        }
    }
}

/// Status, length of the head and length of the body, once the head is there.
fn head(bytes: &[u8]) -> Result<Option<(u16, usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Ok(0), |(_, value)| value.trim().parse());
    Ok(Some((status.ok_or("the answer has no status")?, end + 4, length?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(head(answer).unwrap(), Some((200, answer.len() - 3, 3)));
        assert_eq!(head(&answer[..20]).unwrap(), None);
        assert_eq!(head(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap(), Some((204, 27, 0)));
        assert!(head(b"nonsense\r\n\r\n").is_err());
    }
}
