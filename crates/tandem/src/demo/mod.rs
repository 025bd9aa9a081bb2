//! `tandem demo`: the main job with nothing else installed, on loopback.
//!
//! A gateway of its own in this process, the simulated carrier (`sim`), and an application: a
//! WebRTC client with Opus that talks the REST API over a socket like any other. One call goes
//! carrier → application, one application → carrier, with speech both ways; what arrives is
//! compared with what was said. Then the softphone is served until Ctrl-C.
//!
//! | module | what |
//! |---|---|
//! | `scene` | the two calls, and what must hold |
//! | `app` | the application's media: ICE, DTLS-SRTP, Opus |
//! | `client` | the application's HTTP and event stream |

mod app;
mod client;
mod scene;

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
};
use tandem_b2bua::Music;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::{client::Client, scene::Scene};
use crate::{
    config::{self, Config},
    serve::{self, Running},
    sim::{self, Carrier, command::say},
};

/// The simulated carrier as the shipped configuration has it; its port is the running one's.
const TRUNK: &str = include_str!("../../../../config/trunks/sim.toml");
const TRUNK_PORT: &str = "127.0.0.1:5070";

const ROUTES: &str = r#"
[[route]]
trunk = "sim"
did   = "+4420794600*"
to    = "user:alice"

[[route]]
dial = "+*"
to   = "trunk:sim"
"#;

/// Runs a gateway, a simulated carrier and an application, and has them call each other
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Only the two calls, on free ports: exit 0 if all held, else 1
    #[arg(long)]
    pub once: bool,
}

/// Runs it; see [`DemoArgs`].
pub fn main(args: &DemoArgs) -> ExitCode {
    let result = match serve::runtime() {
        Ok(runtime) => runtime.block_on(run(args)),
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(what) => {
            // Standard error is all there is to complain on.
            let _ = writeln!(std::io::stderr(), "tandem demo: {what}");
            ExitCode::FAILURE
        }
    }
}

/// What did not hold.
async fn run(args: &DemoArgs) -> Result<Vec<String>, String> {
    let mut end = End::listen().map_err(|error| error.to_string())?;
    let folder = Folder::make()?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // It learns the gateway's address with each call: the gateway's trunk needs its port first.
    let carrier =
        Carrier::start(sim::Options::new(any, any)).await.map_err(|e| format!("carrier: {e}"))?;
    let config = configuration(args, &folder.0, carrier.address())?;
    let gateway = Running::start(config).await.map_err(|error| {
        let hint = if args.once { "" } else { " (`tandem demo --once` takes free ports)" };
        format!("{error}{hint}")
    })?;
    let sip = gateway.sip.first().map(|local| local.bound).ok_or("no SIP listener")?;
    say(&format!("gateway: SIP {sip}, REST http://{}, WebRTC {}", gateway.http, gateway.webrtc));
    say(&format!("simulated carrier: SIP {}", carrier.address()));
    let backend = Client::new(gateway.http, gateway.api_key.clone());
    let token = backend.user_token("alice").await?;
    let mut scene = Scene {
        carrier,
        gateway: sip,
        alice: Client::new(gateway.http, token.clone()),
        problems: Vec::new(),
    };
    let played = tokio::select! {
        () = scene.play() => true,
        () = end.told() => false,
    };
    match scene.problems.len() {
        _ if !played => scene.problems.push("interrupted".to_owned()),
        0 => say("\nEverything held: both calls, both directions."),
        n => {
            say(&format!("\n{n} things did not hold:"));
            scene.problems.iter().for_each(|what| say(&format!("  - {what}")));
        }
    }
    if !args.once && played {
        invite(&gateway, sip, &token);
        tokio::select! {
            () = watch(&mut scene.carrier) => {}
            () = end.told() => {}
        }
    }
    scene.carrier.stop().await;
    gateway.stop().await;
    Ok(scene.problems)
}

fn configuration(args: &DemoArgs, folder: &Path, carrier: SocketAddr) -> Result<Config, String> {
    let lines = |errors: Vec<config::ConfigError>| {
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let [sip, webrtc, stun, http] = if args.once { [0; 4] } else { [5060, 3480, 3478, 8080] };
    // Ports in use are passed over, so a gateway beside this one does not disturb it.
    let text = format!(
        "data_dir = \".\"\n[[listener]]\nname = \"demo\"\nbind = \"127.0.0.1:{sip}\"\n\
         [media]\nports = \"30000-31999\"\nworkers = 1\n[webrtc]\nbind = \"127.0.0.1:{webrtc}\"\n\
         [stun]\nbind = \"127.0.0.1:{stun}\"\nrelay = false\n[http]\nbind = \"127.0.0.1:{http}\"\n"
    );
    let main = config::read_main("demo.toml", &text, folder).map_err(lines)?;
    let trunk = TRUNK.replace(TRUNK_PORT, &carrier.to_string());
    let files = [("trunks/sim.toml", trunk.as_str())];
    let (trunks, routes) = config::read_parts(&files, ROUTES, &main.listeners).map_err(lines)?;
    Ok(Config { main, trunks, routes, music: Music::default() })
}

fn invite(gateway: &Running, sip: SocketAddr, token: &str) {
    say("\nThe softphone, as user alice:");
    say(&format!("  http://{}/#token={token}", gateway.http));
    say("Call any number, +442079460123 say: the simulated carrier answers with speech.");
    say("To be called, run in another terminal:");
    say(&format!("  tandem sim --gateway {sip} --call +442079460000 --duration 60"));
    say("Ctrl-C ends.");
}

/// Prints what the carrier tells.
async fn watch(carrier: &mut Carrier) {
    while let Some(report) = carrier.next_report().await {
        say(&format!("carrier: {report}"));
    }
}

/// Ctrl-C and SIGTERM, from the beginning: what was begun is ended, and the folder goes.
struct End {
    interrupt: Signal,
    terminate: Signal,
}

impl End {
    fn listen() -> std::io::Result<Self> {
        let (interrupt, terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// A folder of our own that goes when we do.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self, String> {
        use std::os::unix::fs::DirBuilderExt;
        let nanos = std::time::SystemTime::now()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.subsec_nanos());
        let name = format!("tandem-demo-{}-{nanos}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Nobody else's: an existing one is refused.
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left lies in the system's folder for temporary things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_configuration_is_right_and_stays_on_loopback() {
        let carrier: SocketAddr = "127.0.0.1:45070".parse().unwrap();
        for once in [true, false] {
            let config = configuration(&DemoArgs { once }, Path::new("/tmp/x"), carrier).unwrap();
            let main = &config.main;
            assert!(main.listeners.iter().all(|l| l.bind.ip().is_loopback()));
            assert!(main.http.bind.ip().is_loopback() && main.webrtc.bind.ip().is_loopback());
            assert_eq!(main.http.bind.port() == 0, once);
            assert!(main.data_dir.starts_with("/tmp/x"));
            assert_eq!(config.trunks.len(), 1);
        }
    }

    #[test]
    fn the_folder_is_private_and_goes() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::make().unwrap();
        let path = folder.0.clone();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        drop(folder);
        assert!(!path.exists());
    }
}
