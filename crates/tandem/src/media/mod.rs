//! Media workers: sockets and threads around the media processor.
