//! The four transaction machines (RFC 3261 §17 with RFC 6026), one file each.
