//! Session descriptions and offer/answer for an RTP audio leg (RFC 8866, RFC 3264), with keys of SRTP
//! (RFC 4568). Pure.
//!
//! [`Description`] reads what a peer wrote. [`Negotiator`] is one leg's side of every offer and
//! answer: it knows what the leg can do ([`Local`]), writes our descriptions with the version
//! discipline of RFC 3264 §5 and §8, and tells what was agreed ([`Negotiated`]). What a peer is
//! given holds only what was understood and written again, never a copied line.
mod audio;
mod crypto;
mod description;
mod encoding;
mod keying;
mod negotiate;
mod opus;
mod precondition;
mod text;

pub use audio::{Audio, Direction, Format};
pub use crypto::{Crypto, CryptoLines, Key, Mki, Suite};
pub use description::Description;
pub use encoding::Encoding;
pub use keying::{Profile, Protection, Security, SrtpMode};
pub use negotiate::{Event, Local, Negotiated, Negotiator, Payload, Refusal};
pub use opus::{OpusLimits, OpusParameters};

/// The media type of a session description in a SIP body.
pub const CONTENT_TYPE: &str = "application/sdp";

/// m= lines of one description that are looked at. A phone call has one to four; the bound keeps an
/// answer, which must mirror every line, small.
pub const MAX_LINES: usize = 32;

/// Formats of one m= line that are looked at.
pub const MAX_FORMATS: usize = 64;

/// Bytes of a description that are read at all: what fits a SIP message over a stream.
pub const MAX_BYTES: usize = 65_535;
