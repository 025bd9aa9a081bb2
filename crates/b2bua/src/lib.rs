//! Calls: legs joined by one bridge; application commands and events; CDRs (RFC 7092). Pure.
