//! Where one message ends (RFC 3261 §18.3): datagrams and streams.
use bytes::{Bytes, BytesMut};
use memchr::memmem;

use crate::message::{
    Message, ParseError,
    parse::{self, ContentLength},
};

/// What a datagram holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datagram {
    /// A message; bytes after Content-Length are cut off.
    Message(Message),
    /// A keep-alive (empty, CRLF, CRLFCRLF, NULs, "jaK"): nothing to do (SIP-KA-06).
    KeepAlive,
    /// Not SIP, or broken SIP.
    Bad(ParseError),
}

/// Reads one datagram: frames, parses and validates.
pub fn datagram(data: Bytes) -> Datagram {
    let blank = |b: &u8| matches!(b, b'\r' | b'\n' | 0);
    let leading = data.iter().take_while(|b| blank(b)).count();
    let data = data.slice(leading..);
    if data.is_empty() || data.as_ref() == b"jaK" || data.as_ref() == b"jaK\0" {
        return Datagram::KeepAlive;
    }
    match Message::parse_datagram(data) {
        Ok(message) => Datagram::Message(message),
        Err(error) => Datagram::Bad(error),
    }
}

/// What a stream gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A parsed and validated message.
    Message(Message),
    /// A message that is framed but wrong: answer it by its error and read on.
    Bad(ParseError),
    /// The second CRLF of CRLFCRLF between messages: answer with one CRLF (RFC 5626 §4.4.1).
    Ping,
    /// A CRLF between messages: the pong to our ping, or the first half of a ping, or nothing.
    Pong,
    /// The framing is lost (bad Content-Length, over the limit): answer if possible, then close.
    Lost(ParseError),
}

/// Cuts a byte stream into messages; holds at most one message of [`StreamDecoder::LIMIT`] bytes
/// besides what one call of [`StreamDecoder::push`] brings.
///
/// The frames are the same however the bytes are cut. A single CRLF cannot be told from the first
/// half of a ping until more arrives, and a pong must not wait: so a ping gives `Pong`, then `Ping`.
#[derive(Debug, Default)]
pub struct StreamDecoder {
    buffer: BytesMut,
    /// How far the end of the head has been looked for.
    searched: usize,
    /// The whole length of the message at the front, once its head is known.
    length: Option<usize>,
    /// A CRLF has been seen since the last message or ping.
    half_ping: bool,
    lost: bool,
}

impl StreamDecoder {
    /// The largest message taken from a stream, in bytes (SIP-MSG-28).
    pub const LIMIT: usize = parse::MAX_MESSAGE;

    /// Adds received bytes. Ignored once the framing is lost.
    pub fn push(&mut self, data: &[u8]) {
        if !self.lost {
            self.buffer.extend_from_slice(data);
        }
    }

    /// The next frame, `None` when more bytes are needed or the framing is lost.
    pub fn next_frame(&mut self) -> Option<Frame> {
        if self.lost {
            return None;
        }
        if self.length.is_none() {
            match self.buffer.get(..2) {
                Some(b"\r\n") => return Some(self.keep_alive()),
                Some(_) => {}
                None => return None,
            }
            if let Err(lost) = self.head()? {
                self.lost = true;
                self.buffer = BytesMut::new();
                return Some(Frame::Lost(lost));
            }
        }
        let length = self.length.filter(|length| self.buffer.len() >= *length)?;
        let raw = self.buffer.split_to(length).freeze();
        (self.length, self.searched, self.half_ping) = (None, 0, false);
        match Message::parse(raw).and_then(|message| message.validate().map(|()| message)) {
            Ok(message) => Some(Frame::Message(message)),
            Err(error) => Some(Frame::Bad(error)),
        }
    }

    /// Whether nothing of a message has arrived that is not whole yet.
    pub fn is_between(&self) -> bool {
        self.buffer.is_empty()
    }

    fn keep_alive(&mut self) -> Frame {
        drop(self.buffer.split_to(2));
        self.half_ping = !self.half_ping;
        if self.half_ping { Frame::Pong } else { Frame::Ping }
    }

    /// Finds the end of the head and from Content-Length the end of the message.
    fn head(&mut self) -> Option<Result<(), ParseError>> {
        let Some(end) = self.head_end() else {
            let too_long = self.buffer.len() >= Self::LIMIT;
            return too_long.then(|| Err(self.lost("head too large", 513, Self::LIMIT)));
        };
        if end > Self::LIMIT {
            return Some(Err(self.lost("head too large", 513, Self::LIMIT)));
        }
        let head = Bytes::copy_from_slice(self.buffer.get(..end)?);
        let length = match Message::content_length_of(head) {
            ContentLength::Missing => return Some(Err(self.lost("no Content-Length", 400, end))),
            ContentLength::Bad => return Some(Err(self.lost("bad Content-Length", 400, end))),
            ContentLength::Bytes(length) => length,
        };
        match end.checked_add(length).filter(|whole| *whole <= Self::LIMIT) {
            Some(whole) => {
                self.length = Some(whole);
                Some(Ok(()))
            }
            None => Some(Err(self.lost("message too large", 513, end))),
        }
    }

    fn head_end(&mut self) -> Option<usize> {
        let from = self.searched.saturating_sub(3);
        let found = memmem::find(self.buffer.get(from..)?, b"\r\n\r\n");
        self.searched = self.buffer.len();
        found.map(|at| from + at + 4)
    }

    /// An error about the first bytes of the buffer.
    fn lost(&self, what: &'static str, status: u16, end: usize) -> ParseError {
        let head = self.buffer.get(..end).unwrap_or(&self.buffer);
        Message::broken(Bytes::copy_from_slice(head), what, status)
    }
}
