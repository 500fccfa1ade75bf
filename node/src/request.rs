//! What a service is asked and what it answers: Ockam's envelope (docs/formats.md, "requests and responses"). A header, with
//! the body right behind it, and around both the length in BARE's form.
//!
//! Everything that the reference takes is taken: integers of any width, unknown fields, methods and statuses that nobody knows
//! yet, bytes after the end. What is decoded borrows from what came, so that no length on the wire costs memory.

use std::fmt;

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

use crate::error::{Error, Kind, Result};

/// How deep causes of errors are followed. What is below is left out.
const MAX_CAUSES: usize = 8;

/// What to do with what the path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Read it.
    Get,
    /// Add to it.
    Post,
    /// Put it there.
    Put,
    /// Delete it.
    Delete,
    /// Change it.
    Patch,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 5] = [Self::Get, Self::Post, Self::Put, Self::Delete, Self::Patch];

    /// Its number on the wire.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Get => 0,
            Self::Post => 1,
            Self::Put => 2,
            Self::Delete => 3,
            Self::Patch => 4,
        }
    }

    fn of(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.number() == number)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
        })
    }
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It was done. There is no other success.
    Ok,
    /// It was not understood.
    BadRequest,
    /// Who asks is not known.
    Unauthorized,
    /// Who asks may not.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// What the path names does not take the method.
    MethodNotAllowed,
    /// It took too long.
    Timeout,
    /// It contradicts what is there.
    Conflict,
    /// The service failed.
    InternalServerError,
    /// The service does not do that.
    NotImplemented,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 10] = [
        Self::Ok,
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Timeout,
        Self::Conflict,
        Self::InternalServerError,
        Self::NotImplemented,
    ];

    /// Its number on the wire.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Ok => 200,
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Timeout => 408,
            Self::Conflict => 409,
            Self::InternalServerError => 500,
            Self::NotImplemented => 501,
        }
    }

    fn of(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.number() == number)
    }
}

/// What a service is asked. Printed for debugging without the body, which may be a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Request<'b> {
    /// What the answer names it by. Never 0.
    pub id: u32,
    /// What it is about.
    pub path: &'b str,
    /// What to do with it; nothing for a method that is not known here.
    pub method: Option<Method>,
    /// What there is to say beyond that, if anything.
    pub body: Option<&'b [u8]>,
    /// The idempotency key that it is asked under, if any: ours, which the reference skips. Without one the encoding is the
    /// reference's to the byte.
    pub key: Option<&'b str>,
}

impl<'b> Request<'b> {
    /// A request with a new id.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when the system gives no randomness.
    pub fn new(method: Method, path: &'b str, body: Option<&'b [u8]>) -> Result<Self> {
        Ok(Self { id: new_id()?, path, method: Some(method), body, key: None })
    }

    /// The same request, asked under an idempotency key.
    #[must_use]
    pub fn under(self, key: &'b str) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The payload of a message to a service.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let room = self.path.len() + self.key.map_or(0, str::len) + 40;
        let header = encoded(room, |e| {
            e.map(3 + u64::from(self.method.is_some()) + u64::from(self.key.is_some()))?;
            e.u8(1)?.u32(self.id)?.u8(2)?.str(self.path)?;
            if let Some(method) = self.method {
                e.u8(3)?.u32(method.number())?;
            }
            e.u8(4)?.bool(self.body.is_some())?;
            if let Some(key) = self.key {
                e.u32(KEY)?.str(key)?;
            }
            Ok(())
        });
        enclose(&header, self.body.unwrap_or_default())
    }

    /// Reads the payload of a message to a service.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for what is no request.
    pub fn decode(payload: &'b [u8]) -> Result<Self> {
        decode_request(payload).ok_or_else(|| Error::new(Kind::Invalid, "this is not a request"))
    }

    /// The path's segments, as services tell paths apart: slashes before the first one do not count.
    #[must_use]
    pub fn segments(&self) -> Vec<&'b str> {
        self.path.trim_start_matches('/').split('/').collect()
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("id", &self.id)
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What a service answers. Printed for debugging without the body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Response<'b> {
    /// What names it.
    pub id: u32,
    /// The request that it answers; 0 when that could not be read.
    pub re: u32,
    /// What came of it; nothing for a status that is not known here, which is no success.
    pub status: Option<Status>,
    /// What there is to say beyond that: of a failure, an [`ErrorBody`].
    pub body: Option<&'b [u8]>,
}

impl<'b> Response<'b> {
    /// An answer with a new id.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when the system gives no randomness.
    pub fn new(re: u32, status: Status, body: Option<&'b [u8]>) -> Result<Self> {
        Ok(Self { id: new_id()?, re, status: Some(status), body })
    }

    /// The payload of the answering message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let header = encoded(32, |e| {
            e.map(3 + u64::from(self.status.is_some()))?;
            e.u8(1)?.u32(self.id)?.u8(2)?.u32(self.re)?;
            if let Some(status) = self.status {
                e.u8(3)?.u32(status.number())?;
            }
            e.u8(4)?.bool(self.body.is_some())?.ok()
        });
        enclose(&header, self.body.unwrap_or_default())
    }

    /// Reads the payload of an answering message.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for what is no response.
    pub fn decode(payload: &'b [u8]) -> Result<Self> {
        decode_response(payload).ok_or_else(|| Error::new(Kind::Invalid, "this is not a response"))
    }

    /// Whether it was done.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.status == Some(Status::Ok)
    }

    /// What is said of a failure. Without anything that can be read it is an error that says nothing.
    #[must_use]
    pub fn error(&self) -> ErrorBody {
        self.body.and_then(ErrorBody::decode).unwrap_or_default()
    }
}

impl fmt::Debug for Response<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("id", &self.id)
            .field("re", &self.re)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// What is said of a failure.
///
/// The last two fields are ours: the reference skips what it does not know, and without them the encoding is the reference's
/// to the byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorBody {
    /// The path of the request.
    pub path: Option<String>,
    /// The method of the request.
    pub method: Option<Method>,
    /// What went wrong, for people.
    pub message: Option<String>,
    /// What is behind it.
    pub cause: Option<Box<Self>>,
    /// What went wrong, as a word for machines, where the status does not tell it.
    pub code: Option<String>,
    /// When to come again, in seconds.
    pub retry_after: Option<u64>,
}

const KEY: u32 = 256;
const CODE: u32 = 256;
const RETRY_AFTER: u32 = 257;

impl ErrorBody {
    /// What is said of a request that failed.
    #[must_use]
    pub fn of(request: &Request<'_>, message: impl Into<String>) -> Self {
        Self {
            path: Some(request.path.to_owned()),
            method: request.method,
            message: Some(message.into()),
            ..Self::default()
        }
    }

    /// The body of a response.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encoded(64, |e| self.write(e))
    }

    fn write(&self, e: &mut Encoder<&mut Vec<u8>>) -> Written {
        let fields = [
            self.path.is_some(),
            self.method.is_some(),
            self.message.is_some(),
            self.cause.is_some(),
            self.code.is_some(),
            self.retry_after.is_some(),
        ];
        e.map(fields.into_iter().map(u64::from).sum())?;
        if let Some(path) = &self.path {
            e.u8(1)?.str(path)?;
        }
        if let Some(method) = self.method {
            e.u8(2)?.u32(method.number())?;
        }
        if let Some(message) = &self.message {
            e.u8(3)?.str(message)?;
        }
        if let Some(cause) = &self.cause {
            cause.write(e.u8(4)?)?;
        }
        if let Some(code) = &self.code {
            e.u32(CODE)?.str(code)?;
        }
        if let Some(seconds) = self.retry_after {
            e.u32(RETRY_AFTER)?.u64(seconds)?;
        }
        Ok(())
    }

    /// Reads the body of a response that is no success: an error, or only its message, as text or as bytes that are text.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        let mut d = Decoder::new(body);
        let message = |text: &str| Self { message: Some(text.to_owned()), ..Self::default() };
        match d.datatype().ok()? {
            Type::String => d.str().ok().map(message),
            Type::Bytes => std::str::from_utf8(d.bytes().ok()?).ok().map(message),
            _ => Self::read(&mut d, MAX_CAUSES),
        }
    }

    fn read(d: &mut Decoder<'_>, depth: usize) -> Option<Self> {
        let mut error = Self::default();
        read_map(d, |d, key| {
            match key {
                1 => error.path = optional(d, |d| d.str().ok())?.map(str::to_owned),
                2 => error.method = optional(d, |d| d.u32().ok())?.and_then(Method::of),
                3 => error.message = optional(d, |d| d.str().ok())?.map(str::to_owned),
                4 if depth > 0 => {
                    error.cause = optional(d, |d| Self::read(d, depth - 1))?.map(Box::new);
                }
                CODE => error.code = optional(d, |d| d.str().ok())?.map(str::to_owned),
                RETRY_AFTER => error.retry_after = optional(d, |d| d.u64().ok())?,
                _ => d.skip().ok()?,
            }
            Some(())
        })?;
        Some(error)
    }
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut next = Some(self);
        let mut between = "";
        while let Some(error) = next {
            if let Some(message) = &error.message {
                write!(f, "{between}{message}")?;
                between = ": ";
            }
            next = error.cause.as_deref();
        }
        Ok(())
    }
}

/// Bytes with their length before them, as BARE writes data and text: how a string is carried to a worker.
#[must_use]
pub fn to_bare(bytes: &[u8]) -> Vec<u8> {
    enclose(bytes, &[])
}

/// Reads that. What comes after is not looked at, as the reference does not look.
#[must_use]
pub fn from_bare(bytes: &[u8]) -> Option<&[u8]> {
    let mut length = 0_u64;
    // BARE: groups of seven bits, the lowest first, at most ten of them; of the tenth one bit is left.
    for (index, byte) in (0_u32..10).zip(bytes) {
        if index == 9 && *byte > 1 {
            return None;
        }
        length |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            let start = usize::try_from(index).ok()? + 1;
            let end = start.checked_add(usize::try_from(length).ok()?)?;
            return bytes.get(start..end);
        }
    }
    None
}

type Written = std::result::Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn encoded(room: usize, write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Written) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(room);
    // Writing into a vector does not fail.
    let _ = write(&mut Encoder::new(&mut bytes));
    bytes
}

fn enclose(header: &[u8], body: &[u8]) -> Vec<u8> {
    let inner = header.len() + body.len();
    // At once in its whole length: what is moved leaves a copy, and a body may be a secret.
    let mut bytes = Vec::with_capacity(inner + 10);
    let mut rest = inner;
    while rest >= 0x80 {
        bytes.push(0x80 | low_bits(rest));
        rest >>= 7;
    }
    bytes.push(low_bits(rest));
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(body);
    bytes
}

fn low_bits(number: usize) -> u8 {
    u8::try_from(number & 0x7f).unwrap_or_default()
}

fn new_id() -> Result<u32> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)
        .map_err(|e| Error::new(Kind::Unavailable, "the system gives no randomness").with_source(e))?;
    Ok(u32::from_be_bytes(bytes).max(1))
}

fn decode_request(payload: &[u8]) -> Option<Request<'_>> {
    let mut d = Decoder::new(from_bare(payload)?);
    let (mut id, mut path, mut method, mut has_body) = (None, None, None, None);
    let mut asked_under = None;
    read_map(&mut d, |d, key| {
        match key {
            1 => id = Some(d.u32().ok()?),
            KEY => asked_under = Some(d.str().ok()?),
            2 => path = Some(d.str().ok()?),
            3 => method = optional(d, |d| d.u32().ok())?.and_then(Method::of),
            4 => has_body = Some(d.bool().ok()?),
            _ => d.skip().ok()?,
        }
        Some(())
    })?;
    let body = d.input().get(d.position()..)?;
    Some(Request { id: id?, path: path?, method, body: has_body?.then_some(body), key: asked_under })
}

fn decode_response(payload: &[u8]) -> Option<Response<'_>> {
    let mut d = Decoder::new(from_bare(payload)?);
    let (mut id, mut re, mut status, mut has_body) = (None, None, None, None);
    read_map(&mut d, |d, key| {
        match key {
            1 => id = Some(d.u32().ok()?),
            2 => re = Some(d.u32().ok()?),
            3 => status = optional(d, |d| d.u32().ok())?.and_then(Status::of),
            4 => has_body = Some(d.bool().ok()?),
            _ => d.skip().ok()?,
        }
        Some(())
    })?;
    let body = d.input().get(d.position()..)?;
    // What is said of a failure is there whether it is announced or not.
    let is_there = has_body? || status != Some(Status::Ok);
    Some(Response { id: id?, re: re?, status, body: is_there.then_some(body) })
}

/// Gives each field of a map to `field`, which reads or skips its value; the last one of a key counts.
fn read_map<'b>(
    d: &mut Decoder<'b>,
    mut field: impl FnMut(&mut Decoder<'b>, u32) -> Option<()>,
) -> Option<()> {
    let mut left = d.map().ok()?;
    loop {
        match &mut left {
            Some(0) => return Some(()),
            Some(count) => *count -= 1,
            None if d.datatype().ok()? == Type::Break => return d.skip().ok(),
            None => {}
        }
        let key = d.u32().ok()?;
        field(d, key)?;
    }
}

/// A value that may be null.
fn optional<'b, T>(
    d: &mut Decoder<'b>,
    read: impl FnOnce(&mut Decoder<'b>) -> Option<T>,
) -> Option<Option<T>> {
    if matches!(d.datatype().ok()?, Type::Null | Type::Undefined) {
        return d.skip().ok().map(|()| None);
    }
    read(d).map(Some)
}

#[cfg(test)]
mod tests;
