//! `tandem demo`: the main job on loopback with nothing else installed.
