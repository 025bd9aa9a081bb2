//! Dialogs (RFC 3261 §12): what two user agents remember of each other.

/// A dialog of this endpoint. Opaque and never reused; the protocol's triple (Call-ID, local tag,
/// remote tag) is inside the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DialogId(pub u64);
