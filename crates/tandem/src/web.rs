//! The pages and client library in the binary.
