//! What was sent and told, as words of a ladder: the first names it, the others say more.
use tandem_b2bua::{
    Cdr, DigitRecord, Diverted, EndReason, EndedBy, Event, EventKind, HeldBy, Refusal, Reply,
};
use tandem_media::control as media;
use tandem_sdp::{Description, Encoding};
use tandem_sip::{Message, Method, endpoint::MAX_DATAGRAM, header::HeaderName, uri::decode};

/// A value as one word.
fn word(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join("_")
}

/// A SIP message.
pub fn message(message: &Message) -> Vec<String> {
    let mut out = match message.status() {
        Some(status) => {
            let mut out = vec![status.code().to_string()];
            let method = message.method();
            out.push(method.as_str().to_owned());
            out.push(format!("phrase={}", word(message.reason())));
            if status.is_provisional() {
                let reliable = tandem_sip::reliable::rseq_of(message).is_some();
                out.push(if reliable { "reliable" } else { "unreliable" }.to_owned());
            }
            out
        }
        None => vec![message.method().as_str().to_owned()],
    };
    if message.is_request() {
        out.extend(request(message));
    }
    if message.is_request() && message.method().as_str() == "INFO" {
        let body = String::from_utf8_lossy(&message.body()).into_owned();
        out.extend(body.split_whitespace().map(str::to_owned));
    }
    match message.sdp() {
        Some(sdp) => out.extend(description(&sdp)),
        None => out.push("no-sdp".to_owned()),
    }
    if let Some(reason) = message.reasons() {
        out.extend(reason.q850.map(|n| format!("q850={n}")));
        out.extend(reason.sip.map(|n| format!("said={n}")));
        out.extend(reason.location.map(|l| format!("location={}", l.as_str())));
        out.extend(reason.text.map(|t| format!("text={}", word(&t))));
    }
    for (name, header) in [
        ("allow", HeaderName::Allow),
        ("rack", HeaderName::RAck),
        ("require", HeaderName::Require),
        ("proxy-require", HeaderName::ProxyRequire),
        ("supported", HeaderName::Supported),
        ("pem", HeaderName::PEarlyMedia),
        ("accept", HeaderName::Accept),
        ("warning", HeaderName::Warning),
        ("retry-after", HeaderName::RetryAfter),
        ("unsupported", HeaderName::Unsupported),
        ("authorization", HeaderName::Authorization),
        ("pai", HeaderName::PAssertedIdentity),
    ] {
        if let Some(value) = message.header(header) {
            out.push(name.to_owned());
            let first = value.split([' ', ',']).next().unwrap_or_default();
            out.push(format!("{name}={}", word(first)));
        }
    }
    out.extend(as_written(message));
    if message.method() == Method::Register {
        out.extend(registering(message));
    }
    out.extend(message.other_header("X-Ticket").map(|v| format!("x-ticket={}", word(v))));
    out.extend(stations(message));
    out
}

/// Where a call has been, value by value, and headers of ours or nobody's.
fn stations(message: &Message) -> Vec<String> {
    let mut out = Vec::new();
    for name in [HeaderName::HistoryInfo, HeaderName::Diversion, HeaderName::Contact] {
        let values = message.header_values(name).map(|v| format!("{name}:{}", word(v)));
        out.extend(values);
    }
    let known = [
        HeaderName::CallInfo,
        HeaderName::AlertInfo,
        HeaderName::MaxBreadth,
        HeaderName::InfoPackage,
        HeaderName::RecvInfo,
        HeaderName::ContentType,
        HeaderName::PAssertedIdentity,
    ];
    if message.sdp().is_none() && !message.body().is_empty() {
        out.push(format!("body={}", word(&String::from_utf8_lossy(&message.body()))));
    }
    out.extend(known.iter().filter_map(|n| Some(format!("{n}:{}", word(message.header(*n)?)))));
    let other = message.headers().filter(|(name, _)| name.starts_with("X-"));
    out.extend(other.map(|(name, value)| format!("{name}:{}", word(value))));
    if message.is_request() {
        out.push(format!("uri={}", message.request_uri_str()));
    }
    out
}

/// Headers shown whole, what signs a request, and what a message/sipfrag tells.
fn as_written(message: &Message) -> Vec<String> {
    let mut out = Vec::new();
    for name in [
        HeaderName::ReferTo,
        HeaderName::ReferSub,
        HeaderName::ReferredBy,
        HeaderName::Replaces,
        HeaderName::Event,
        HeaderName::SubscriptionState,
        HeaderName::Privacy,
        HeaderName::UserToUser,
        HeaderName::SessionExpires,
        HeaderName::Route,
        HeaderName::MinSe,
    ] {
        out.extend(message.header(name).map(|v| format!("{name}:{}", word(v))));
    }
    out.extend(message.header(HeaderName::Replaces).map(|v| format!("replaces={}", word(v))));
    let refer_to = message.header(HeaderName::ReferTo).and_then(|value| value.split_once('?'));
    if let Some((uri, escaped)) = refer_to {
        out.push(format!("refers={}>", word(uri)));
        let value =
            escaped.trim_end_matches('>').split('&').find_map(|h| h.strip_prefix("Replaces="));
        out.extend(value.map(|value| format!("replaces={}", decode(value))));
    }
    let signed = [HeaderName::Authorization, HeaderName::ProxyAuthorization];
    if let Some(value) = signed.into_iter().find_map(|name| message.header(name)) {
        let params = value.split(", ").filter(|p| p.starts_with("nonce=") || p.starts_with("nc="));
        out.extend(params.map(|p| p.replace('"', "")));
        out.push("signed".to_owned());
    }
    let fragment = message.body();
    if let Some(code) = fragment.strip_prefix(b"SIP/2.0 ").and_then(|rest| rest.get(..3)) {
        out.push(format!("frag={}", String::from_utf8_lossy(code)));
    }
    out
}

/// What a REGISTER and its answers say.
fn registering(message: &Message) -> Vec<String> {
    let mut out = Vec::new();
    out.extend(message.cseq_ref().map(|(number, _)| format!("cseq={number}")));
    if message.is_request() {
        out.push(format!("uri={}", message.request_uri_str()));
    }
    let signed = message.header(HeaderName::Authorization).is_some();
    out.extend((!signed).then(|| "unsigned".to_owned()));
    let contacts = message.header_values(HeaderName::Contact);
    out.extend(contacts.map(|value| format!("contact={}", word(value))));
    for (name, header) in [
        ("expires", HeaderName::Expires),
        ("min-expires", HeaderName::MinExpires),
        ("path", HeaderName::Path),
    ] {
        out.extend(message.header(header).map(|value| format!("{name}={}", word(value))));
    }
    out
}

/// What only a request says.
fn request(message: &Message) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(user) = message.request_uri().and_then(|u| u.user()) {
        out.push(format!("to={user}"));
    }
    if let Some(user) = message.from().and_then(|f| f.uri.user()) {
        out.push(format!("from={user}"));
    }
    if message.method() == Method::Options {
        out.push(format!("uri={}", message.request_uri_str()));
        out.extend(message.from().map(|from| format!("from-uri={}", from.uri)));
        let contact = message.contact().map(|contact| format!("contact={}", contact.uri));
        out.push(contact.unwrap_or_else(|| "no-contact".to_owned()));
    }
    if let Some(hops) = message.max_forwards() {
        out.push(format!("hops={hops}"));
    }
    if message.to_tag().is_some() {
        out.push("in-dialog".to_owned());
    }
    if let Some(via) = message.top_via_ref() {
        out.push(format!("via={}", via.transport.to_ascii_lowercase()));
    }
    if message.as_bytes().len() <= usize::from(MAX_DATAGRAM) {
        out.push("one-datagram".to_owned());
    }
    out
}

fn description(sdp: &[u8]) -> Vec<String> {
    let mut out = vec!["sdp".to_owned()];
    let text = String::from_utf8_lossy(sdp);
    if let Some(version) = text.lines().find_map(|l| l.strip_prefix("o=")?.split(' ').nth(2)) {
        out.push(format!("version={version}"));
    }
    for line in text.lines().filter_map(|l| l.strip_prefix("a=")) {
        match line.split_once(":qos ") {
            Some(("curr", what)) => out.push(format!("curr={}", what.replace(' ', "-"))),
            Some(("conf", _)) => out.push("conf".to_owned()),
            Some(_) | None => {}
        }
    }
    let Some(audio) = Description::parse(sdp).ok().and_then(|d| d.audio(0)) else { return out };
    let codecs: Vec<String> = audio
        .formats
        .iter()
        .filter_map(|f| f.encoding())
        .map(|e| e.name().to_ascii_lowercase())
        .collect();
    out.push(format!("sdp={}", codecs.join(",")));
    let opus = audio.formats.iter().find(|f| f.encoding() == Some(Encoding::Opus));
    out.extend(opus.and_then(|f| f.fmtp.as_ref()).map(|fmtp| format!("fmtp={fmtp}")));
    out.push(format!("dir={}", audio.direction.name()));
    let profile = text.lines().find_map(|l| l.strip_prefix("m=audio ")?.split(' ').nth(1));
    out.extend(profile.and_then(|p| p.strip_prefix("RTP/")).map(|p| format!("profile={p}")));
    out.push(if audio.crypto.usable.is_empty() {
        "no-crypto".to_owned()
    } else {
        let keys = audio.crypto.usable.iter().map(|c| format!("{}/{}", c.tag, c.suite.name()));
        format!("crypto={}", keys.collect::<Vec<_>>().join(","))
    });
    if audio.port == 0 {
        out.push("port=0".to_owned());
    }
    out
}

/// A reply to a command.
pub fn reply(reply: &Reply) -> Vec<String> {
    match reply {
        Reply::Dialed { answer, view, .. } => {
            let mut out = vec!["dialed".to_owned(), format!("state={}", view.state)];
            out.extend(answer.as_ref().map(|_| "sdp".to_owned()));
            out
        }
        Reply::Answered { .. } => vec!["answered".to_owned(), "sdp".to_owned()],
        Reply::Done => vec!["done".to_owned()],
        Reply::Playing { playback, legs } => {
            let legs: Vec<String> = legs.iter().map(|leg| leg.0.to_string()).collect();
            vec![
                "playing".to_owned(),
                format!("playback={playback}"),
                format!("legs={}", legs.join(",")),
            ]
        }
        Reply::Call(view) => {
            let mut out = vec![
                "call".to_owned(),
                format!("state={}", view.state),
                format!("direction={}", view.direction),
                format!("from={}", view.from),
                format!("to={}", view.to),
                format!("muted={}", view.muted),
                format!("legs={}", view.legs.len()),
            ];
            out.extend(passed(&view.diversions, &view.headers));
            out
        }
        Reply::Calls(views) => vec!["calls".to_owned(), format!("n={}", views.len())],
        Reply::Refused(refusal) => {
            let (code, what) = match refusal {
                Refusal::NotFound => ("call-not-found", String::new()),
                Refusal::State(what) => ("call-state", (*what).to_owned()),
                Refusal::Exists => ("call-exists", String::new()),
                Refusal::Invalid(what) => ("invalid-request", what.clone()),
                Refusal::NoRoute => ("no-route", String::new()),
                Refusal::Unsupported(what) => ("unsupported-destination", what.clone()),
                Refusal::BadOffer(what) => ("bad-offer", what.clone()),
                Refusal::Capacity { what, .. } => ("capacity", (*what).to_owned()),
                Refusal::TrunkDown => ("trunk-down", String::new()),
            };
            let mut out = vec!["refused".to_owned(), code.to_owned()];
            if !what.is_empty() {
                out.push(format!("what={}", word(&what)));
            }
            out
        }
    }
}

/// Who sent a call on, and the headers that came with it.
fn passed(diversions: &[Diverted], headers: &[(String, String)]) -> Vec<String> {
    let by = diversions.iter().map(|d| format!("diverted={}/{}", d.number, d.reason));
    let order: Vec<&str> = diversions.iter().map(|d| d.number.as_str()).collect();
    let mut out: Vec<String> = by.collect();
    out.push(format!("diversions={}", order.join(",")));
    out.extend(headers.iter().map(|(name, value)| format!("{name}:{}", word(value))));
    out
}

/// An event.
pub fn event(event: &Event) -> Vec<String> {
    let trunk = |t: &Option<String>| t.iter().map(|t| format!("trunk={t}")).collect::<Vec<_>>();
    let mut out = match &event.kind {
        EventKind::Incoming { from, to, trunk: t, diversions, headers } => {
            let mut out =
                vec!["call.incoming".to_owned(), format!("from={from}"), format!("to={to}")];
            out.extend(trunk(t));
            out.extend(passed(diversions, headers));
            out
        }
        EventKind::Dialing { to, trunk: t } => {
            let mut out = vec!["call.dialing".to_owned(), format!("to={to}")];
            out.extend(trunk(t));
            out
        }
        EventKind::Ringing => vec!["call.ringing".to_owned()],
        EventKind::EarlyMedia => vec!["call.early_media".to_owned()],
        EventKind::Answered => vec!["call.answered".to_owned()],
        EventKind::Held { by } => vec!["call.held".to_owned(), held_by(*by).to_owned()],
        EventKind::Resumed { by } => vec!["call.resumed".to_owned(), held_by(*by).to_owned()],
        EventKind::Dtmf { digit, duration_ms, source, sent } => {
            let sent = sent.unwrap_or("no");
            let told = format!("digit={digit} ms={duration_ms} source={source} sent={sent}");
            ["call.dtmf"].into_iter().chain(told.split(' ')).map(str::to_owned).collect()
        }
        EventKind::Message { content_type, body } => vec![
            "call.message".to_owned(),
            format!("type={}", word(content_type)),
            format!("body={}", word(body)),
        ],
        EventKind::Info { package, content_type, body } => {
            let package = package.iter().map(|package| format!("package={package}"));
            let told = [format!("type={}", word(content_type)), format!("body={}", word(body))];
            ["call.info".to_owned()].into_iter().chain(told).chain(package).collect()
        }
        EventKind::PlaybackStarted { playback, source } => {
            let told = [format!("playback={playback}"), format!("source={source}")];
            ["playback.started".to_owned()].into_iter().chain(told).collect()
        }
        EventKind::PlaybackFinished { playback, reason } => {
            let told = [format!("playback={playback}"), format!("reason={reason}")];
            ["playback.finished".to_owned()].into_iter().chain(told).collect()
        }
        EventKind::Transfer { to, state, sip } => {
            let mut out = vec!["call.transfer".to_owned(), format!("to={to}"), (*state).to_owned()];
            out.extend(sip.map(|code| format!("sip={code}")));
            out
        }
        EventKind::OneWay { cause } => {
            let cause = cause.map_or("both".to_owned(), |c| format!("cause={}", c.name()));
            vec!["call.one_way".to_owned(), cause]
        }
        EventKind::MediaTrimmed { trimmed } => {
            vec!["media.trimmed".to_owned(), format!("ms={}", trimmed.as_millis())]
        }
        EventKind::Quality { .. } => vec!["call.quality".to_owned()],
        EventKind::Ended { reason: why } => {
            let mut out = vec!["call.ended".to_owned()];
            out.extend(reason(why));
            out
        }
        EventKind::TrunkUp { trunk } => vec!["trunk.up".to_owned(), format!("trunk={trunk}")],
        EventKind::TrunkDown { trunk, why } => {
            vec!["trunk.down".to_owned(), format!("trunk={trunk}"), format!("why={}", word(why))]
        }
    };
    out.extend(event.leg.map(|leg| format!("leg={}", leg.0)));
    out.extend(event.user.as_ref().map(|user| format!("user={user}")));
    out
}

fn reason(why: &EndReason) -> Vec<String> {
    let by = match why.ended_by {
        EndedBy::Caller => "caller",
        EndedBy::Callee => "callee",
        EndedBy::Gateway => "gateway",
    };
    let mut out = vec![format!("code={}", why.code), format!("by={by}")];
    out.push(why.sip.map_or("sip=none".to_owned(), |n| format!("sip={n}")));
    out.push(why.q850.map_or("q850=none".to_owned(), |n| format!("q850={n}")));
    out.extend(why.location.map(|l| format!("location={}", l.as_str())));
    out.extend(why.text.as_ref().map(|t| format!("text={}", word(t))));
    out
}

/// A record.
pub fn cdr(cdr: &Cdr) -> Vec<String> {
    let none = || "none".to_owned();
    let mut out = vec![
        "cdr".to_owned(),
        format!("direction={}", cdr.direction),
        format!("trunk={}", cdr.trunk.clone().unwrap_or_else(none)),
        format!("user={}", cdr.user.clone().unwrap_or_else(none)),
        format!("from={}", cdr.from_sent),
        format!("to={}", cdr.to_sent),
        format!("duration={}", cdr.duration_ms),
        format!("pdd={}", cdr.post_dial_delay_ms.map_or_else(none, |n| n.to_string())),
        format!("legs={}", cdr.legs.len()),
        if cdr.answered.is_some() { "answered" } else { "unanswered" }.to_owned(),
    ];
    out.extend(reason(&cdr.reason));
    let status = |s: Option<u16>| s.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let statuses: Vec<String> = cdr.legs.iter().map(|l| status(l.sip_status)).collect();
    out.push(format!("statuses={}", statuses.join(",")));
    out.extend((!cdr.digits.is_empty()).then(|| digits(&cdr.digits)));
    out
}

/// `digits=5:rfc4733+info>info/200`: heard, sent, answered.
fn digits(records: &[DigitRecord]) -> String {
    let one = |record: &DigitRecord| {
        let sent = record.sent.map_or_else(String::new, |way| format!(">{way}"));
        let answer = record.answer.map_or_else(String::new, |status| format!("/{status}"));
        format!("{}:{}{sent}{answer}", record.digit, record.heard.join("+"))
    };
    format!("digits={}", records.iter().map(one).collect::<Vec<_>>().join(","))
}

/// A command of the media plane.
pub fn command(command: &media::Command) -> Vec<String> {
    let leg = |session: &media::SessionId| format!("leg={}", session.0 & 0xff);
    match command {
        media::Command::OpenRtp { session, .. } => vec!["open-rtp".to_owned(), leg(session)],
        media::Command::OpenWebRtc { session, .. } => vec!["open-webrtc".to_owned(), leg(session)],
        media::Command::Connect { session, stream } => vec![
            "connect".to_owned(),
            leg(session),
            format!("remote={}", stream.remote),
            format!("rtcp={}", stream.remote_rtcp.port()),
            format!("codec={:?}", stream.send.codec).to_ascii_lowercase(),
            format!("dir={:?}", stream.direction).to_ascii_lowercase(),
            format!("latch={:?}", stream.latch).to_ascii_lowercase(),
            format!("receive={}", {
                let names = stream.receive.iter().map(|p| format!("{:?}", p.codec));
                names.collect::<Vec<_>>().join(",").to_ascii_lowercase()
            }),
            format!("ptime={}", stream.packet_time_ms),
            format!("event={}", stream.dtmf_send.map_or(0, |event| event.payload_type)),
            stream.protection.as_ref().map_or("plain".to_owned(), |keys| {
                format!("srtp={:?}", keys.send.suite()).to_ascii_lowercase()
            }),
            format!("digits={}", stream.digits.send.name()),
            format!("inband={}", stream.digits.in_band),
        ],
        media::Command::AwaitKeys { session, offered } => {
            vec!["await-keys".to_owned(), leg(session), format!("offered={offered}")]
        }
        media::Command::Candidate { session, .. } => vec!["candidate".to_owned(), leg(session)],
        media::Command::Mute { session, muted } => {
            vec!["mute".to_owned(), leg(session), format!("muted={muted}")]
        }
        media::Command::SendDtmf { session, digits, duration } => vec![
            "send-dtmf".to_owned(),
            leg(session),
            format!("digits={digits}"),
            format!("ms={}", duration.as_millis()),
        ],
        media::Command::Pressed { session, digit, duration } => vec![
            "pressed".to_owned(),
            digit.to_string(),
            leg(session),
            format!("ms={}", duration.as_millis()),
        ],
        media::Command::Play { session, tone } => play(session, tone),
        media::Command::PlayClip { session, playback } => vec![
            "play-clip".to_owned(),
            leg(session),
            playback.clip.name().to_owned(),
            format!("gain={}", playback.gain),
            if playback.repeats { "loop" } else { "once" }.to_owned(),
        ],
        media::Command::Join { session, bridge } => vec![
            "join".to_owned(),
            leg(session),
            if *bridge == bridge.main() { "main" } else { "aside" }.to_owned(),
        ],
        media::Command::Watch { session, silence, speaks } => {
            let mut out = watch(session, silence.as_ref());
            out.push(format!("speaks={speaks}"));
            out
        }
        media::Command::StopPlay { session } => vec!["stop-play".to_owned(), leg(session)],
        media::Command::Echo { session } => vec!["echo".to_owned(), leg(session)],
        media::Command::Close { session } => vec!["close".to_owned(), leg(session)],
    }
}

fn held_by(by: HeldBy) -> &'static str {
    match by {
        HeldBy::Peer => "by=peer",
        HeldBy::Application => "by=application",
    }
}

/// The tone that plays.
fn play(session: &media::SessionId, tone: &media::Tone) -> Vec<String> {
    let name = match tone {
        media::Tone::Ringback { .. } => "ringback".to_owned(),
        media::Tone::Busy { .. } => "busy".to_owned(),
        media::Tone::Congestion { .. } => "congestion".to_owned(),
        media::Tone::Information => "sit".to_owned(),
        media::Tone::Steady { hertz } => format!("steady={hertz}"),
    };
    vec!["play".to_owned(), format!("leg={}", session.0 & 0xff), name]
}

/// How long a peer may be silent: before its first packet, and after.
fn watch(session: &media::SessionId, silence: Option<&media::Silence>) -> Vec<String> {
    let mut out = vec!["watch".to_owned(), format!("leg={}", session.0 & 0xff)];
    match silence {
        Some(silence) => {
            out.push(format!("first={}", silence.first.as_secs()));
            out.push(format!("next={}", silence.next.as_secs()));
        }
        None => out.push("off".to_owned()),
    }
    out
}
