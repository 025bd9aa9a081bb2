//! `[[expect]]`: the tests a trunk file carries of itself. They run at every load.
use std::net::IpAddr;

use tandem_sip::{Uri, header::HeaderName};

use super::reader::{Reader, Section, Text};
use crate::{
    identity::{Caller, Presented, address_outbound},
    source::Source,
    trunk::Trunk,
};

/// One test: what is given, and each wanted value by its key.
pub(super) struct Expectation {
    given: Given,
    wanted: Vec<(&'static str, Text)>,
}

enum Given {
    Out { dial: Text, cli: Option<Text> },
    In(Box<CallIn>),
}

struct CallIn {
    source: Option<(Text, IpAddr)>,
    request_uri: (Text, Uri),
    from: Option<Uri>,
    pai: Option<Uri>,
}

pub(super) fn read(reader: &mut Reader<'_>, root: &Section<'_, '_>) -> Vec<Expectation> {
    let sections = reader.open_list(root, "expect");
    sections.iter().filter_map(|section| read_one(reader, section)).collect()
}

fn read_one(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> Option<Expectation> {
    let (out, sip) = (section.has("out"), section.has("sip"));
    let (inbound, app) = (section.has("in"), section.has("app"));
    if (out, sip) == (true, true) && !inbound && !app {
        return read_out(reader, section);
    }
    if (inbound, app) == (true, true) && !out && !sip {
        return read_in(reader, section);
    }
    reader.error(
        section.at,
        "an [[expect]] is either `out = { dial, cli }` with `sip = { … }`, or `in = { … }` with \
         `app = { to, from }`",
    );
    None
}

fn read_out(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> Option<Expectation> {
    let out = reader.open(section, "out")?;
    let sip = reader.open(section, "sip")?;
    if !out.has("dial") {
        reader.error(out.at, "the test dials nothing; write dial = \"+44…\"");
    }
    let cli = reader.text(&out, "cli");
    let wanted = wanted(reader, &sip, &["request_uri", "from", "to", "pai", "ppi"]);
    Some(Expectation { given: Given::Out { dial: reader.text(&out, "dial")?, cli }, wanted })
}

fn read_in(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> Option<Expectation> {
    let inbound = reader.open(section, "in")?;
    let app = reader.open(section, "app")?;
    if !inbound.has("request_uri") {
        reader.error(inbound.at, "the test calls nothing; write request_uri = \"sip:…\"");
    }
    let source = reader.text(&inbound, "source").and_then(|text| {
        let ip = reader.parse_text(&text, |s| {
            s.parse().map_err(|_| format!("`{s}` is not an address; write \"203.0.113.4\""))
        })?;
        Some((text, ip))
    });
    let from = reader.parsed(&inbound, "from", uri);
    let pai = reader.parsed(&inbound, "pai", uri);
    let wanted = wanted(reader, &app, &["to", "from"]);
    let text = reader.text(&inbound, "request_uri")?;
    let called = reader.parse_text(&text, uri)?;
    Some(Expectation {
        given: Given::In(Box::new(CallIn { source, request_uri: (text, called), from, pai })),
        wanted,
    })
}

fn wanted(
    reader: &mut Reader<'_>,
    section: &Section<'_, '_>,
    names: &[&'static str],
) -> Vec<(&'static str, Text)> {
    let wanted: Vec<_> =
        names.iter().filter_map(|name| Some((*name, reader.text(section, name)?))).collect();
    if wanted.is_empty() {
        let what = format!("the test wants nothing; write one of {}", names.join(", "));
        reader.error(section.at, what);
    }
    wanted
}

fn uri(text: &str) -> Result<Uri, String> {
    match Uri::parse(text) {
        Some(uri @ (Uri::Sip(_) | Uri::Tel(_))) => Ok(uri),
        Some(Uri::Other(_)) | None => {
            Err(format!("`{text}` is not a URI; write \"sip:user@host\" or \"tel:+44…\""))
        }
    }
}

impl Expectation {
    /// Each failure with its place.
    pub(super) fn run(&self, trunk: &Trunk) -> Vec<(usize, String)> {
        match &self.given {
            Given::Out { dial, cli } => self.run_out(trunk, dial, cli.as_ref()),
            Given::In(call) => self.run_in(trunk, call),
        }
    }

    fn run_out(&self, trunk: &Trunk, dial: &Text, cli: Option<&Text>) -> Vec<(usize, String)> {
        let first = trunk.gateways.iter().filter(|g| g.direction.outbound());
        let Some(gateway) = first.min_by_key(|g| g.priority) else {
            return vec![(dial.at, "expected a call, but no gateway may be called".to_owned())];
        };
        let caller = cli.map(|t| t.value.as_str());
        let from = Caller { shown: caller, hidden: None };
        let sent = match address_outbound(trunk, gateway, &dial.value, from) {
            Ok(sent) => sent,
            Err(why) => return vec![(dial.at, format!("expected a call, but {why}"))],
        };
        let header = |name: HeaderName| {
            sent.headers.known.iter().find(|(n, _)| *n == name).map_or("", |(_, v)| v.as_str())
        };
        let got = |name: &str| match name {
            "request_uri" => sent.request_uri.clone(),
            "from" => bare(&sent.from),
            "to" => bare(&sent.to),
            "pai" => bare(header(HeaderName::PAssertedIdentity)),
            _ => bare(header(HeaderName::PPreferredIdentity)),
        };
        self.compare(got)
    }

    fn run_in(&self, trunk: &Trunk, given: &CallIn) -> Vec<(usize, String)> {
        let CallIn { source, request_uri: (shown, request_uri), from, pai } = given;
        if let Some((text, ip)) = source
            && !may_be_source(trunk, *ip)
        {
            let what = format!("expected a call, but {} is no source of this trunk", text.shown);
            return vec![(text.at, what)];
        }
        let call = Presented::of(trunk, request_uri, from.as_ref(), pai.as_ref(), false);
        if crate::pattern::best(&trunk.inbound.did, &call.to).is_none() {
            let what = format!("expected a call, but {} is not in `did`", call.to);
            return vec![(shown.at, what)];
        }
        if crate::pattern::best(&trunk.inbound.callers, &call.from).is_none() {
            let what = format!("expected a call, but {} is not in `callers`", call.from);
            return vec![(shown.at, what)];
        }
        self.compare(|name| if name == "to" { call.to.clone() } else { call.from.clone() })
    }

    fn compare(&self, got: impl Fn(&str) -> String) -> Vec<(usize, String)> {
        let failed = self.wanted.iter().filter(|(name, want)| got(name) != want.value);
        failed
            .map(|(name, want)| {
                let what = format!(
                    "expected {name} to be \"{}\", got \"{}\"; correct the test or the trunk",
                    want.shown,
                    got(name)
                );
                (want.at, what)
            })
            .collect()
    }
}

/// Whether an address may call in, as far as it can be told without resolving names.
fn may_be_source(trunk: &Trunk, ip: IpAddr) -> bool {
    let named = |source: &Source| matches!(source, Source::Name(_));
    crate::identity::sources(trunk).iter().any(|s| named(s) || s.contains(ip, |_| &[]))
}

/// The URI of a name-addr.
fn bare(value: &str) -> String {
    let Some((_, rest)) = value.split_once('<') else { return value.to_owned() };
    rest.split_once('>').map_or(rest, |(uri, _)| uri).to_owned()
}
