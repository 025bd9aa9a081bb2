//! Call detail records on disk.
