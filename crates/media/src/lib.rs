//! The media processor: sessions and bridges that relay and transcode (RFC 7667). Pure.
