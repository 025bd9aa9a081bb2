//! What is tried before anything runs: the data folder, the HTTP port; and media's addresses.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
};

use super::{StartError, engine};
use crate::{config::Main, media, sip};

/// Makes the folder if it is missing and tries to write in it.
pub(super) fn writable(folder: &Path) -> Result<(), StartError> {
    let probe = folder.join(format!(".tandem-{}", std::process::id()));
    let tried = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&probe, b""))
        .and_then(|()| std::fs::remove_file(&probe));
    tried.map_err(|error| {
        StartError(format!(
            "{}: the data folder cannot be written: {error}; make it writable, or set another \
             `data_dir`",
            folder.display()
        ))
    })
}

/// Binds the HTTP port.
pub(super) fn http(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| {
        let reason = sip::reason(&error);
        StartError(format!("cannot bind {address} (http): {reason}"))
    })
}

/// Sessions of media: two per call.
const MAX_SESSIONS: usize = 2 * engine::MAX_CALLS;

/// What the media workers are started with.
pub(super) fn media(main: &Main) -> media::Config {
    let webrtc_advertise = main
        .webrtc
        .advertise
        .map(|(address, port)| SocketAddr::new(address, port.unwrap_or(main.webrtc.bind.port())));
    media::Config {
        addresses: vec![media::MediaAddress {
            bind: main.media.bind,
            advertise: main.media.advertise.unwrap_or(main.media.bind),
        }],
        ports: main.media.ports.clone(),
        workers: main.media.workers,
        webrtc_bind: main.webrtc.bind,
        webrtc_advertise,
        max_sessions: MAX_SESSIONS,
        ..media::Config::loopback()
    }
}
