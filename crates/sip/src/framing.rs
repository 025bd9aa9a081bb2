//! Where one message ends (RFC 3261 §18.3): datagrams and streams.
use bytes::Bytes;

use crate::message::{Message, ParseError};

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
pub fn datagram(_data: Bytes) -> Datagram {
    todo!()
}

/// What a stream gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A parsed and validated message.
    Message(Message),
    /// A message that is framed but wrong: answer it by its error and read on.
    Bad(ParseError),
    /// CRLFCRLF between messages: answer with one CRLF (RFC 5626 §4.4.1).
    Ping,
    /// A CRLF between messages: ignored, or the pong to our ping.
    Pong,
    /// The framing is lost (bad Content-Length, over the limit): answer if possible, then close.
    Lost(ParseError),
}

/// Cuts a byte stream into messages; holds at most one message of [`StreamDecoder::LIMIT`] bytes.
#[derive(Debug, Default)]
pub struct StreamDecoder {}

impl StreamDecoder {
    /// The largest message taken from a stream, in bytes (SIP-MSG-28).
    pub const LIMIT: usize = 256 * 1024;

    /// Adds received bytes.
    pub fn push(&mut self, _data: &[u8]) {
        todo!()
    }

    /// The next frame, `None` when more bytes are needed.
    pub fn next_frame(&mut self) -> Option<Frame> {
        todo!()
    }
}
