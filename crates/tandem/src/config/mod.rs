//! `tandem.toml`, and `routes.toml` and `trunks/*.toml` in the same folder: read whole, checked
//! whole; every mistake is one `file:line: what is wrong, and what to write instead`.

mod main_file;
mod music;
mod reader;
mod secrets;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tandem_b2bua::Music;
pub use tandem_proxy::config::ConfigError;
use tandem_sip::Transport;

use crate::{media::GatherTimes, sip::tls};
use tandem_proxy::{Routes, Trunk, check_trunks, connection::Profile, trunk::Gateway};

/// Everything `serve` runs on.
#[derive(Debug, Clone)]
pub struct Config {
    /// The main file.
    pub main: Main,
    /// Trunk files, in the order of their file names.
    pub trunks: Vec<Trunk>,
    /// `routes.toml`.
    pub routes: Routes,
    /// Music on hold and what routes play, decoded.
    pub music: Music,
}

/// `tandem.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Main {
    /// Database, recordings, generated keys.
    pub data_dir: PathBuf,
    /// SIP listeners; a listener's number is its place here.
    pub listeners: Vec<Listener>,
    /// Media of SIP legs.
    pub media: Media,
    /// What may be held at once.
    pub limits: Limits,
    /// The one port of application legs.
    pub webrtc: WebRtc,
    /// The STUN server; `None` = off.
    pub stun: Option<Stun>,
    /// REST, metrics and pages.
    pub http: Http,
    /// Where call records go.
    pub store: Store,
    /// Server-side applications.
    pub api_keys: Vec<ApiKey>,
    /// What is said to strangers.
    pub strangers: Strangers,
    /// How long calls may go on after SIGTERM.
    pub drain: Duration,
}

/// A `[[listener]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name; trunk files refer to it.
    pub name: String,
    /// The bound address; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Whether UDP is served.
    pub udp: bool,
    /// The kind of connections served beside it: TCP, TLS, WebSocket, or WebSocket under TLS.
    pub stream: Option<Transport>,
    /// The certificate of TLS and WSS.
    pub tls: Option<tls::Files>,
    /// Host (and port) for Via, Contact and Record-Route; `None` = `bind`.
    pub advertise: Option<Advertise>,
}

/// `host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertise {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// The port, else the bound one.
    pub port: Option<u16>,
}

/// `[media]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// The bound address.
    pub bind: IpAddr,
    /// The address in SDP; `None` = `bind`.
    pub advertise: Option<IpAddr>,
    /// Further addresses with the same ports, in SDP as they are.
    pub more: Vec<IpAddr>,
    /// RTP on even ports of each, RTCP on odd ones.
    pub ports: RangeInclusive<u16>,
    /// Worker threads; 0 = one per core.
    pub workers: usize,
    /// The folder of recordings; `None`: there are none.
    pub sounds: Option<PathBuf>,
    /// Music on hold: a file of that folder, and the line that names it.
    pub hold_music: Option<(String, usize)>,
    /// Effort of Opus encoders, 0 to 10.
    pub opus_complexity: u8,
    /// Each worker stays on a core of its own.
    pub pin: bool,
    /// For how long a worker may let packets gather.
    pub gather: GatherTimes,
    /// Whether packets come and go by io_uring where the system lets us.
    pub ring: bool,
}

/// `[limits]`: above them new calls are refused with 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls at once.
    pub calls: usize,
    /// SIP transactions at once; one lives up to 32 s after its answer.
    pub transactions: usize,
}

/// `[webrtc]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebRtc {
    /// UDP, and ICE-TCP on the same number; port 0 takes a free one.
    pub bind: SocketAddr,
    /// The address (and port) of candidates; `None` = `bind`.
    pub advertise: Option<(IpAddr, Option<u16>)>,
}

/// `[stun]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stun {
    /// UDP and TCP.
    pub bind: SocketAddr,
}

/// `[http]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Without `tls` only a loopback address is accepted.
    pub bind: SocketAddr,
    /// Certificate chain and key, PEM files.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The SQLite file.
    pub path: PathBuf,
}

/// An `[[api_key]]`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its name, for logs.
    pub id: String,
    /// The secret. Never logged: `Debug` hides it.
    pub secret: String,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a request of no trunk gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strangers {
    /// 403.
    Forbidden,
    /// No answer at all.
    Silent,
}

/// Reads `tandem.toml` at `path`, and `routes.toml` and `trunks/*.toml` beside it.
pub fn load(path: &Path) -> Result<Config, Vec<ConfigError>> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut errors = Vec::new();
    let main = match read(path) {
        Ok(text) => main_file::read(&path.display().to_string(), &text, folder),
        Err(error) => Err(vec![error]),
    };
    let main = main.map_err(|mut found| errors.append(&mut found)).ok();
    let trunks = load_trunks(&folder.join("trunks"), &mut errors);
    if let Some(main) = &main {
        errors.append(&mut check_trunks(&trunks, &names(&main.listeners)));
    }
    errors.extend(trunks.iter().flat_map(check_certificates));
    let routes_file = folder.join("routes.toml");
    let routes = load_routes(&routes_file, &trunks, &mut errors);
    let routed = (routes_file.as_path(), &routes);
    let music = main.as_ref().map(|main| music::load(path, main, &trunks, routed, &mut errors));
    match main.zip(music) {
        Some((main, music)) if errors.is_empty() => Ok(Config { main, trunks, routes, music }),
        Some(_) | None => Err(errors),
    }
}

/// Reads a main file's text; `folder` is where its relative paths start.
pub fn read_main(file: &str, text: &str, folder: &Path) -> Result<Main, Vec<ConfigError>> {
    main_file::read(file, text, folder)
}

/// Reads trunk files and routes that are texts in memory (`tandem demo`, tests).
pub fn read_parts(
    trunk_files: &[(&str, &str)],
    routes: &str,
    listeners: &[Listener],
) -> Result<(Vec<Trunk>, Routes), Vec<ConfigError>> {
    let mut errors = Vec::new();
    let mut trunks = Vec::new();
    for (file, text) in trunk_files {
        read_trunk(file, text, Path::new(""), &mut trunks, &mut errors);
    }
    errors.append(&mut check_trunks(&trunks, &names(listeners)));
    let routes = tandem_proxy::read_routes("routes.toml", routes, &trunks)
        .map_err(|mut found| errors.append(&mut found));
    match routes {
        Ok(routes) if errors.is_empty() => Ok((trunks, routes)),
        Ok(_) | Err(()) => Err(errors),
    }
}

/// Tries the certificates of a trunk as its connections will use them.
fn check_certificates(trunk: &Trunk) -> Option<ConfigError> {
    let hop = |gateway: &Gateway| {
        let hop = trunk.transport.next_hop.as_ref().unwrap_or(&gateway.peer);
        hop.transport.is_secure().then(|| hop.host.clone())
    };
    let host = trunk.gateways.iter().find_map(hop)?;
    let profile = Profile { host, trunk: Some(Arc::new(trunk.clone())), retired: false };
    let (line, what) = tls::client(&profile).err()?;
    Some(ConfigError { file: trunk.file.clone(), line: line.max(1), what })
}

fn names(listeners: &[Listener]) -> Vec<&str> {
    listeners.iter().map(|listener| listener.name.as_str()).collect()
}

fn read_trunk(
    file: &str,
    text: &str,
    folder: &Path,
    trunks: &mut Vec<Trunk>,
    errors: &mut Vec<ConfigError>,
) {
    let secrets = |name: &str| secrets::look_up(folder, name);
    match tandem_proxy::read_trunk(file, text, &secrets) {
        Ok(trunk) => trunks.push(trunk),
        Err(mut found) => errors.append(&mut found),
    }
}

fn load_trunks(folder: &Path, errors: &mut Vec<ConfigError>) -> Vec<Trunk> {
    let mut trunks = Vec::new();
    for path in trunk_files(folder, errors) {
        match read(&path) {
            Ok(text) => {
                read_trunk(&path.display().to_string(), &text, folder, &mut trunks, errors);
            }
            Err(error) => errors.push(error),
        }
    }
    trunks
}

/// The `*.toml` files of a folder in the order of their names; no folder, no trunks.
fn trunk_files(folder: &Path, errors: &mut Vec<ConfigError>) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            errors.push(unreadable(folder, &error));
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files
}

/// No `routes.toml`, no routes: every call is refused then.
fn load_routes(path: &Path, trunks: &[Trunk], errors: &mut Vec<ConfigError>) -> Routes {
    let file = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Routes::default(),
        Err(error) => {
            errors.push(unreadable(path, &error));
            return Routes::default();
        }
    };
    tandem_proxy::read_routes(&file, &text, trunks).unwrap_or_else(|mut found| {
        errors.append(&mut found);
        Routes::default()
    })
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> ConfigError {
    ConfigError {
        file: path.display().to_string(),
        line: 0,
        what: format!("cannot be read: {error}"),
    }
}
