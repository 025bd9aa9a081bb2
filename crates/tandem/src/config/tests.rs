use std::path::Path;

use super::{Advertise, Main, Strangers, read_main};

fn read(text: &str) -> Result<Main, String> {
    read_main("tandem.toml", text, Path::new("/etc/tandem"))
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

const LISTENER: &str = "[[listener]]\nname = \"lan\"\nbind = \"127.0.0.1:5060\"\n";

fn refused(text: &str) -> String {
    read(&format!("{LISTENER}{text}")).unwrap_err()
}

#[test]
fn the_shipped_file_is_read_and_stays_on_loopback() {
    let text = include_str!("../../../../config/tandem.toml");
    let main = read(text).unwrap();
    assert!(main.listeners.iter().all(|listener| listener.bind.ip().is_loopback()));
    assert!(main.http.bind.ip().is_loopback() && main.media.bind.is_loopback());
    assert!(main.webrtc.bind.ip().is_loopback());
    assert_eq!(main.data_dir, Path::new("/etc/tandem/../data"));
    assert_eq!(main.store.path, Path::new("/etc/tandem/../data/tandem.db"));
}

#[test]
fn a_listener_is_enough() {
    let main = read(LISTENER).unwrap();
    assert!(main.listeners[0].udp && main.listeners[0].stream.is_some());
    assert_eq!(main.http.bind, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(main.media.ports, 20_000..=29_999);
    assert_eq!((main.stun, main.strangers), (None, Strangers::Forbidden));
}

#[test]
fn advertised_hosts_have_their_forms() {
    let host = |text: &str| super::main_file::host_port(text);
    let is = |host: &str, port| Some(Advertise { host: host.to_owned(), port });
    assert_eq!(host("sip.example.net"), is("sip.example.net", None));
    assert_eq!(host("203.0.113.1:5080"), is("203.0.113.1", Some(5080)));
    assert_eq!(host("[2001:db8::1]:5080"), is("2001:db8::1", Some(5080)));
    assert_eq!(host("2001:db8::1"), is("2001:db8::1", None));
    assert_eq!(host("no spaces"), None);
    assert_eq!(host("host:70000"), None);
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    assert_eq!(
        refused("[media]\nprots = \"20000-20100\"\n[htpp]\nbind = \"127.0.0.1:1\"\n"),
        "tandem.toml:5: unknown key `prots` in [media]; did you mean `ports`?\n\
         tandem.toml:6: unknown key `htpp`; did you mean `http`?"
    );
    assert_eq!(
        refused("[store]\nurl = \"sqlite:x\"\ncompression = 1\n"),
        "tandem.toml:6: unknown key `compression` in [store]; known here: url"
    );
}

#[test]
fn every_mistake_is_reported_with_its_line() {
    let text = "[media]\nbind = 5\nports = \"9-3\"\nworkers = 1000\n[stun]\nrelay = true\n";
    assert_eq!(
        refused(text),
        "tandem.toml:5: `bind` is a integer; write a string in quotes\n\
         tandem.toml:6: `ports` = \"9-3\" is not understood; write \"20000-29999\": two ports at \
         least, the lower first\n\
         tandem.toml:7: `workers` is a integer; write a number from 0 to 256\n\
         tandem.toml:8: [stun] without `bind`; write bind = \"127.0.0.1:3478\", or leave [stun] out\n\
         tandem.toml:9: relaying (TURN) is not served yet, only STUN; write relay = false"
    );
}

#[test]
fn what_is_not_served_yet_is_said_plainly() {
    let tls =
        "[[listener]]\nname = \"x\"\nbind = \"127.0.0.1:5061\"\ntransports = [\"udp\", \"tls\"]\n";
    assert_eq!(
        read(tls).unwrap_err(),
        "tandem.toml:1: tls and wss need `cert` and `key`: PEM files of this host's certificate"
    );
    assert_eq!(
        refused("[store]\nurl = \"postgres://db\"\n"),
        "tandem.toml:5: only SQLite is served yet; write url = \"sqlite:tandem.db\""
    );
}

#[test]
fn an_open_door_is_refused() {
    assert!(refused("[http]\nbind = \"0.0.0.0:8080\"\n").starts_with(
        "tandem.toml:5: without `cert` and `key` only a loopback address is accepted"
    ));
    assert_eq!(
        refused("[media]\nbind = \"0.0.0.0\"\n"),
        "tandem.toml:5: 0.0.0.0 is every address, which peers cannot be told; write `advertise` too"
    );
    assert!(
        refused("[[api_key]]\nid = \"a\"\nsecret = \"short\"\n")
            .contains(":6: the secret is shorter")
    );
}

#[test]
fn a_missing_certificate_and_a_missing_variable_are_one_line_each() {
    let cert = refused("[http]\nbind = \"127.0.0.1:1\"\ncert = \"no.pem\"\nkey = \"no.key\"\n");
    assert_eq!(cert.lines().count(), 2, "{cert}");
    assert!(cert.starts_with("tandem.toml:6: cannot read /etc/tandem/no.pem: "), "{cert}");
    let key = refused("[[api_key]]\nid = \"a\"\nsecret = \"${env:TANDEM_NO_SUCH_VARIABLE}\"\n");
    assert!(
        key.contains(":6: `secret`: the environment variable TANDEM_NO_SUCH_VARIABLE is not set")
    );
}

#[test]
fn broken_toml_and_no_listener_have_a_line() {
    assert!(read("[[listener]]\nname = \n").unwrap_err().starts_with("tandem.toml:2: "));
    assert!(read("").unwrap_err().starts_with("tandem.toml:1: no [[listener]]"));
    assert!(
        read(&format!("{LISTENER}{LISTENER}"))
            .unwrap_err()
            .contains(":5: another listener is named")
    );
}

#[test]
fn secrets_do_not_show() {
    let main = read(&format!("{LISTENER}[[api_key]]\nid = \"a\"\nsecret = \"0123456789abcdef\"\n"));
    let shown = format!("{:?}", main.unwrap());
    assert!(shown.contains("\"a\"") && !shown.contains("0123456789abcdef"), "{shown}");
}

#[test]
fn limits_and_further_media_addresses_are_read() {
    let main = read(LISTENER).unwrap();
    assert_eq!((main.limits.calls, main.limits.transactions), (10_000, 200_000));
    let text = "[limits]\ncalls = 25000\n[media]\nmore = [\"127.0.0.21\", \"::1\"]\n";
    let main = read(&format!("{LISTENER}{text}")).unwrap();
    assert_eq!(main.limits.calls, 25_000);
    assert_eq!(main.media.more.len(), 2);
    assert_eq!(
        refused("[limits]\ncalls = 0\n[media]\nmore = [\"0.0.0.0\"]\n"),
        "tandem.toml:5: `calls` is a integer; write a number from 1 to 1000000\n\
         tandem.toml:7: \"0.0.0.0\" in `more` is no address of this host: \"192.0.2.2\""
    );
}

/// The examples of TLS with certificates beside them.
#[test]
fn the_shipped_files_of_tls_are_read() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/tls");
    let folder = crate::testing::Folder::new();
    std::fs::create_dir_all(folder.join("trunks")).unwrap();
    for file in ["tandem.toml", "routes.toml", "trunks/secure.toml"] {
        std::fs::copy(shipped.join(file), folder.join(file)).unwrap();
    }
    let made = rcgen::generate_simple_self_signed(["sbc.example.com".to_owned()]).unwrap();
    for file in ["gw.pem", "carriers.pem"] {
        std::fs::write(folder.join(file), made.cert.pem()).unwrap();
    }
    let errors = super::load(&folder.join("tandem.toml")).unwrap_err();
    assert!(errors.iter().all(|error| error.to_string().contains("gw.key")), "{errors:?}");
    std::fs::write(folder.join("gw.key"), made.signing_key.serialize_pem()).unwrap();
    let config = super::load(&folder.join("tandem.toml")).unwrap();
    assert_eq!(config.main.listeners.iter().filter(|l| l.tls.is_some()).count(), 2);
    assert!(config.main.http.tls.is_some());
    let tls = &config.trunks[0].transport.tls;
    assert!(tls.only_tls13 && tls.client_cert.is_some());
}
