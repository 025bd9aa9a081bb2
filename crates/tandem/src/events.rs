//! The event log that SSE replays from.
