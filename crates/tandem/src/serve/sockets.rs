//! What is tried before anything runs: the data folder, the HTTP port; and media's addresses.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
};

use super::StartError;
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

/// What the media workers are started with.
pub(super) fn media(main: &Main) -> media::Config {
    let webrtc_advertise = main
        .webrtc
        .advertise
        .map(|(address, port)| SocketAddr::new(address, port.unwrap_or(main.webrtc.bind.port())));
    let first = media::MediaAddress {
        bind: main.media.bind,
        advertise: main.media.advertise.unwrap_or(main.media.bind),
    };
    let more = main.media.more.iter();
    let more = more.map(|address| media::MediaAddress { bind: *address, advertise: *address });
    media::Config {
        addresses: std::iter::once(first).chain(more).collect(),
        ports: main.media.ports.clone(),
        workers: main.media.workers,
        opus_complexity: main.media.opus_complexity,
        pin: main.media.pin,
        gather: main.media.gather,
        ring: main.media.ring,
        webrtc_bind: main.webrtc.bind,
        webrtc_advertise,
        // A call has two, and for a moment a third: a worker's share is rarely even.
        max_sessions: main.limits.calls.saturating_mul(3),
    }
}
