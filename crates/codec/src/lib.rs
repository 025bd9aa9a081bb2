//! G.711, Opus and concealment; the only crate that touches C. Pure.

/// The codecs of this gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// G.711 µ-law (RFC 3551 §4.5.14), payload type 0.
    Pcmu,
    /// G.711 A-law, payload type 8.
    Pcma,
    /// Opus (RFC 6716, RFC 7587).
    Opus,
}
