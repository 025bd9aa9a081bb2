//! Trunk files that are read anew.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods)]
use std::{net::SocketAddr, time::Instant};

use tandem_proxy::{Change, NotReloaded, Proxy, Registers, Routes, Trunk, read_routes, read_trunk};
use tandem_sip::{
    Endpoint, Message, Output,
    endpoint::{Config, Local, Timers},
    flow::{ListenerId, ProfileId},
    header::HeaderName,
};

const ACME: &str = "[trunk]\nname = \"acme\"\n[[gateway]]\nuri = \"sip:192.0.2.10\"\n";
const REG: &str = "[trunk]\nname = \"reg\"\n[[gateway]]\nuri = \"sip:192.0.2.70\"\n[auth]\n\
    username = \"u\"\npassword = \"secret\"\n[register]\nregistrar = \"sip:192.0.2.70\"\n";
const ROUTES: &str = "[[route]]\ndial = \"*\"\nto = \"trunk:acme\"\n";

struct Gateway {
    proxy: Proxy,
    sip: Endpoint,
    now: Instant,
}

fn read(texts: &[&str]) -> (Vec<Trunk>, Routes) {
    let nothing = |what: &str| Err(format!("{what} is not set"));
    let trunks: Vec<Trunk> =
        texts.iter().map(|text| read_trunk("t.toml", text, &nothing).unwrap()).collect();
    let has_acme = trunks.iter().any(|trunk| trunk.name == "acme");
    let routes = if has_acme { ROUTES } else { "" };
    let routes = read_routes("routes.toml", routes, &trunks).unwrap();
    (trunks, routes)
}

impl Gateway {
    fn start(texts: &[&str]) -> Self {
        let (trunks, routes) = read(texts);
        let bound: SocketAddr = "198.18.0.1:5060".parse().unwrap();
        let local =
            Local { listener: ListenerId(0), host: bound.ip().to_string(), port: 5060, bound };
        let config = Config {
            locals: vec![local],
            timers: Timers::default(),
            product: String::new(),
            max_transactions: 100,
        };
        let now = Instant::now();
        let listeners = vec![("lan".to_owned(), ListenerId(0))];
        let mut proxy = Proxy::new(trunks, routes, listeners, false);
        proxy.start(now, [5; 32]);
        Self { proxy, sip: Endpoint::new(config, [3; 32]), now }
    }

    fn reload(&mut self, texts: &[&str]) -> Vec<(String, Change, Registers)> {
        let (trunks, routes) = read(texts);
        let planned = self.proxy.plan(&trunks, &routes);
        let profiles = self.proxy.profiles_with(&trunks, &routes);
        let plan = self.proxy.reload(self.now, &mut self.sip, trunks, routes).unwrap();
        assert_eq!(plan, planned, "what was planned is done");
        assert_eq!(self.proxy.profiles(), profiles);
        plan.trunks.into_iter().map(|t| (t.trunk, t.change, t.registers)).collect()
    }

    /// The Expires of each REGISTER that is sent now, with its Call-ID.
    fn registers(&mut self) -> Vec<(String, String)> {
        self.proxy.handle_timeout(self.now, &mut self.sip);
        let mut sent = Vec::new();
        while let Some(output) = self.sip.poll_output() {
            let Output::Transmit(transmit) = output else { continue };
            let message = Message::parse(transmit.data).unwrap();
            let expires = message.header(HeaderName::Expires).unwrap_or_default().to_owned();
            sent.push((message.call_id().to_owned(), expires));
        }
        sent
    }

    fn profile(&mut self) -> ProfileId {
        self.proxy.dial(self.now, "+442079460123", None).unwrap()[0].flow.profile
    }
}

#[test]
fn lines_that_move_change_nothing() {
    let mut gateway = Gateway::start(&[ACME, REG]);
    assert_eq!(gateway.registers().len(), 1);
    assert_eq!(gateway.reload(&[&format!("# a comment\n{ACME}"), REG]), []);
    assert_eq!(gateway.registers(), [], "the REGISTER that is out stays the only one");
}

#[test]
fn a_new_password_registers_anew_over_the_same_contact() {
    let mut gateway = Gateway::start(&[REG]);
    let before = gateway.registers();
    let changed = gateway.reload(&[&REG.replace("secret", "other")]);
    assert_eq!(changed, [("reg".to_owned(), Change::Changed, Registers::Anew)]);
    let after = gateway.registers();
    assert_eq!(after.len(), 1, "nothing is taken back: {after:?}");
    assert_eq!((after[0].1.as_str(), after[0].0 == before[0].0), ("3600", false));
}

#[test]
fn a_trunk_that_is_switched_off_registers_no_more() {
    let mut gateway = Gateway::start(&[REG]);
    let off = REG.replace("name = \"reg\"", "name = \"reg\"\nenabled = false");
    let changed = gateway.reload(&[&off]);
    assert_eq!(changed, [("reg".to_owned(), Change::Changed, Registers::NoMore)]);
    assert_eq!(gateway.registers(), []);
    let changed = gateway.reload(&[REG]);
    assert_eq!(changed, [("reg".to_owned(), Change::Changed, Registers::Anew)]);
    assert_eq!(gateway.registers().len(), 1);
}

#[test]
fn connections_are_opened_anew_only_where_they_would_be_others() {
    let mut gateway = Gateway::start(&[ACME, REG]);
    let first = gateway.profile();
    gateway.reload(&[&format!("{ACME}[limits]\nchannels = 3\n"), REG]);
    assert_eq!(gateway.profile(), first, "the connection serves");
    let tcp = ACME.replace("192.0.2.10", "192.0.2.10;transport=tcp");
    gateway.reload(&[&tcp, REG]);
    let second = gateway.profile();
    assert_ne!(second, first);
    let retired = |id: ProfileId| gateway.proxy.profiles()[usize::from(id.0) - 1].retired;
    assert_eq!((retired(first), retired(second)), (true, false));
}

#[test]
fn more_gateways_than_can_be_told_apart_are_refused() {
    let mut gateway = Gateway::start(&[ACME]);
    let gateways = "[[gateway]]\nuri = \"sip:192.0.2.9\"\n".repeat(31);
    let (trunks, routes) = read(&[&format!("{ACME}{gateways}")]);
    let many = |n: usize| -> Vec<Trunk> {
        let named = |i| Trunk { name: format!("acme{i}"), ..trunks[0].clone() };
        (0..n).map(named).collect()
    };
    let now = gateway.now;
    let refused = gateway.proxy.reload(now, &mut gateway.sip, many(2_048), routes.clone());
    assert_eq!(refused, Err(NotReloaded::TooMany));
    let names: Vec<String> =
        gateway.proxy.trunks().iter().map(|state| state.trunk.name.clone()).collect();
    assert_eq!(names, ["acme"], "nothing has changed");
    assert!(gateway.proxy.reload(now, &mut gateway.sip, many(2_047), routes).is_ok());
}
