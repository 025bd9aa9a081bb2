//! Every key of a trunk file and of `routes.toml`: what the reader accepts, and the reference in
//! `docs/trunks.md` (a test compares them).

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its table as a dotted path; "" for the top level. `gateway`, `account`, `expect` and
    /// `numbers.rules` are lists of tables.
    pub table: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What is written there.
    pub kind: &'static str,
    /// The default as TOML; "" when the key has none.
    pub default: &'static str,
    /// Meaning.
    pub doc: &'static str,
}

impl Key {
    /// A value for error messages.
    pub fn example(&self) -> &'static str {
        if !self.default.is_empty() {
            return self.default;
        }
        match self.kind {
            "number" => "10",
            "duration" => "\"6s\"",
            "true or false" => "true",
            "list of strings" | "list of patterns" | "list of sources" => "[\"…\"]",
            "list of numbers" => "[5060]",
            "table of strings" => "{ name = \"…\" }",
            _ => "\"…\"",
        }
    }
}

/// The names that may stand in a table: its keys and the tables right below it.
pub fn names(keys: &'static [Key], table: &str) -> Vec<&'static str> {
    let mut names = Vec::new();
    for key in keys {
        let name = if key.table == table {
            Some(key.name)
        } else if table.is_empty() {
            key.table.split('.').next()
        } else {
            key.table
                .strip_prefix(table)
                .and_then(|rest| rest.strip_prefix('.'))
                .and_then(|rest| rest.split('.').next())
        };
        names.extend(name.filter(|n| !n.is_empty() && !names.contains(n)));
    }
    names
}

/// The reference of some keys as a Markdown table.
pub fn reference(keys: &[Key]) -> String {
    let mut out = String::from("| key | value | default | meaning |\n|---|---|---|---|\n");
    for key in keys {
        let name = if key.table.is_empty() {
            key.name.to_owned()
        } else {
            format!("{}.{}", key.table, key.name)
        };
        let default =
            if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
        out.push_str(&format!("| `{name}` | {} | {default} | {} |\n", key.kind, key.doc));
    }
    out
}

const fn k(
    table: &'static str,
    name: &'static str,
    kind: &'static str,
    default: &'static str,
    doc: &'static str,
) -> Key {
    Key { table, name, kind, default, doc }
}

/// Keys of `trunks/*.toml`.
#[rustfmt::skip]
pub const TRUNK: &[Key] = &[
    k("", "schema", "number", "1", "Version of this format."),
    k("trunk", "name", "string", "", "Required. Unique; letters, digits, `-` and `_`. Used in API, CDR, metrics and routes."),
    k("trunk", "description", "string", "\"\"", "For people."),
    k("trunk", "enabled", "true or false", "true", "`false` drains: calls that are up go on, new ones get 503, none go out."),
    k("trunk", "direction", "string", "\"both\"", "`inbound`, `outbound` or `both`. An inbound call on an outbound trunk gets 403."),
    k("trunk", "country", "string", "\"\"", "ISO 3166-1 code of the home number plan; sets the inbound plans to `auto:CC`, and the tones."),
    k("trunk", "tags", "table of strings", "{}", "For reports."),
    k("gateway", "uri", "string", "", "Required. `sip:host[:port][;transport=udp, tcp or tls]`; UDP and 5060 unless written, 5061 for TLS."),
    k("gateway", "priority", "number", "10", "Lower is tried first."),
    k("gateway", "weight", "number", "10", "Share of the calls among gateways of one priority."),
    k("gateway", "direction", "string", "\"both\"", "`outbound`: only called; `inbound`: only a source of calls; `both`."),
    k("gateway", "tech_prefix", "string", "\"\"", "Put in front of the Request-URI's number, after everything else."),
    k("transport", "local", "string", "", "Name of the `[[listener]]` that requests leave from; without it the first one."),
    k("transport", "outbound_proxy", "string", "", "`sip:host;lr`: every INVITE is sent there, with it as first Route."),
    k("transport", "route", "list of strings", "[]", "More Route values, in order, each `sip:host;lr`. Without `outbound_proxy` the first one is where INVITEs are sent."),
    k("transport", "max_udp_size", "number", "1300", "The largest request sent as one datagram, in bytes (RFC 3261 §18.1.1), 500 to 65000."),
    k("transport", "oversize", "string", "\"tcp\"", "What becomes of larger ones: `tcp` (over TCP to the same address, over UDP if that is refused), `fragment` (over UDP all the same), `slim-sdp` (as `tcp`, and session descriptions of ours say nothing that holds without being said)."),
    k("transport.timers", "t1", "duration", "\"500ms\"", "Round-trip estimate (RFC 3261 §17.1.1.1), 50ms to 4s."),
    k("transport.timers", "timer_b", "duration", "", "An INVITE without any response is given up after this; 64 × t1 without it."),
    k("transport.keepalive", "method", "string", "\"none\"", "How the ways to the gateways are kept open: `none`; `crlf` on connections (RFC 5626 §4.4.1; a carrier that sends no pong within 10s loses the connection); `stun` does that and sends STUN Binding requests over UDP (§4.4.2), for carriers that answer them: one that stops is passed over for 30s, and a changed address registers again. TCP keep-alive is always on."),
    k("transport.keepalive", "interval", "duration", "", "How often, 5s to 1h. Without it 95 to 120 s, spread over the connections, and 24 to 29 s over UDP."),
    k("transport.connection", "reuse", "true or false", "true", "New calls take an open connection. `false` opens one for each request outside a dialog."),
    k("transport.connection", "alias", "true or false", "true", "Over TLS with certificates on both sides the carrier may send its requests on our connection (`alias` in our Via, RFC 5923), and ours take a connection it has opened and called an alias, if its certificate holds `server_name`."),
    k("transport.connection", "idle", "duration", "\"2h\"", "A connection without a message for so long is closed, 32s to 48h."),
    k("transport.tls", "min_version", "string", "\"1.2\"", "Oldest version taken: `1.2` or `1.3`."),
    k("transport.tls", "verify", "string", "\"full\"", "What the carrier's certificate must prove: `full` (a trusted authority and the name), `ca` (a trusted authority), `none` (nothing: anybody on the way can listen; warned about in the log)."),
    k("transport.tls", "server_name", "string", "\"\"", "The name asked for (SNI) and expected in the certificate; `\"\"` = the gateway's host."),
    k("transport.tls", "wildcard", "true or false", "false", "Let `*.acme.example` in a certificate fit one label. SIP forbids it (RFC 5922 §7.2), some carriers need it."),
    k("transport.tls", "ca_file", "string", "", "PEM file of trusted authorities; without it the system's."),
    k("transport.tls", "client_cert", "string", "", "PEM file of our certificate and its chain, for carriers that ask for one."),
    k("transport.tls", "client_key", "string", "", "PEM file of its key."),
    k("transport.tls", "alpn", "list of strings", "[]", "Protocols offered (RFC 7301), `[\"sip\"]`; `[]` leaves the extension out."),
    k("transport.tls", "pin_sha256", "list of strings", "[]", "SHA-256 of certificates (64 hexadecimal digits) or of their public keys (44 characters of Base64): the carrier's must be one of them, whatever `verify` says."),
    k("auth", "username", "string", "", "Answers 401 and 407 of this carrier. Required with `password`."),
    k("auth", "password", "string", "", "Best as `\"${file:/run/secrets/…}\"` or `\"${env:…}\"`."),
    k("auth", "realm", "string", "\"\"", "Only this realm is answered; `\"\"` = any that the trunk's own hosts name."),
    k("auth", "algorithms", "list of strings", "[\"SHA-512-256\", \"SHA-256\", \"MD5\"]", "Challenges of other algorithms are not answered (RFC 8760). Of several the carrier's first counts."),
    k("auth", "preemptive", "true or false", "true", "Later calls use the nonce of an earlier one at once; `false` waits for a challenge each time."),
    k("register", "registrar", "string", "", "Required below `[register]`. `sip:host[:port][;transport=udp, tcp or tls]`: the carrier's registrar; the trunk registers there and stays registered (RFC 3261 §10.2). Goes through `outbound_proxy` where there is one."),
    k("register", "aor", "string", "", "The address of record, `sip:user@host`; without it `[auth] username` at the registrar's host."),
    k("register", "contact_user", "string", "", "User part of our Contact; without it the user of `aor`."),
    k("register", "expires", "duration", "\"1h\"", "The time asked for, 1m to 24h; the carrier grants what it likes, and the trunk registers again after 50 to 90 % of that."),
    k("register", "line", "true or false", "true", "The Contact carries a secret `line` parameter; calls that bring it back are this trunk's, whatever address they come from."),
    k("register", "gin", "true or false", "false", "One registration for all numbers of the trunk (RFC 6140, SIPconnect)."),
    k("register.outbound", "enabled", "true or false", "false", "RFC 5626: the registration belongs to its connection, and is made anew when that is lost."),
    k("register.outbound", "reg_id", "number", "1", "Its `reg-id`, 1 to 2147483647."),
    k("register.retry", "initial", "duration", "\"5s\"", "Wait after a first failure, 1s to 1h, then twice as long each time (30s with `outbound`) …"),
    k("register.retry", "max", "duration", "\"5m\"", "… up to this, 1s to 24h (30m with `outbound`). A longer Retry-After is obeyed."),
    k("register.retry", "forbidden", "duration", "\"1h\"", "Wait after 401, 403, 404 and 407, 1s to 24h."),
    k("register.retry", "jitter", "number", "0.3", "Share of each wait that chance takes away, 0 to 1 (0.5 with `outbound`)."),
    k("registrar", "domain", "string", "", "Required below `[registrar]`: the trunk is of phones that register here, and has no `[[gateway]]`. The host of their Request-URIs and addresses of record, `sip:user@domain`."),
    k("registrar", "realm", "string", "\"tandem\"", "The realm of the challenges."),
    k("registrar", "algorithms", "list of strings", "[\"SHA-256\", \"MD5\"]", "One challenge of each, in this order; also `SHA-512-256`. `[\"MD5\"]` is for phones that stumble over what they do not know (RFC 8760 §2.4)."),
    k("registrar", "fork", "string", "\"parallel\"", "How the phones of a user ring: `parallel` (all at once), `q` (those of the highest q first, the next when they cannot serve the call)."),
    k("registrar.expires", "min", "duration", "\"60s\"", "Phones that ask for less get 423, 10s to 24h."),
    k("registrar.expires", "max", "duration", "\"1h\"", "Phones that ask for more get this."),
    k("registrar.expires", "default", "duration", "\"1h\"", "Phones that ask for nothing get this."),
    k("account", "user", "string", "", "Required. The user of the address of record and of the challenge; what is dialled to call the phone."),
    k("account", "password", "string", "", "Required. Best as `\"${file:/run/secrets/…}\"` or `\"${env:…}\"`."),
    k("account", "number", "string", "", "Its number (E.164): dialled to call the phone as well, and shown as the caller of its calls. Without it the caller is the user."),
    k("inbound", "sources", "list of sources", "[]", "Who may call in: addresses, networks (`203.0.113.0/28`), host names. Empty: the gateways' addresses. Gateways with `direction = \"inbound\"` always may."),
    k("inbound", "proxies", "list of sources", "[]", "Proxies and load balancers in front of this gateway: addresses, networks, host names. What comes from one of them is of the first hop along its Via values that is none (`received`, else the address it names), and `sources` and `ports` are about that one. Each must write `received` over whatever a request brings."),
    k("inbound", "ports", "list of numbers", "[]", "Source ports; empty = any."),
    k("inbound", "tls_names", "list of strings", "[]", "Names of which the caller's verified TLS certificate must hold one (`sbc.acme.example`, `*.acme.example`); the listener needs `client_ca`. Without `sources` it stands for them. Empty = no certificate is asked for."),
    k("inbound", "did", "list of patterns", "[]", "Called numbers of this trunk, normalised: `+442079460123`, `+44*`, `+442079460000..99`. Empty = any. Among trunks of one source the longest match wins."),
    k("inbound", "callers", "list of patterns", "[]", "Calling numbers that are taken, normalised. Empty = any."),
    k("inbound", "unmatched", "string", "\"404\"", "What a known source gets for other numbers: `drop` (silence), `403` or `404`."),
    k("inbound", "auth", "string", "\"none\"", "What a call must know: `none`, `ip+digest` (a listed source, and `username` and `password`), `digest` (these alone, from anywhere). Challenges are SHA-256 and MD5."),
    k("inbound", "username", "string", "", "The user of `auth`."),
    k("inbound", "password", "string", "", "Its password; best as `\"${file:/run/secrets/…}\"` or `\"${env:…}\"`."),
    k("inbound", "realm", "string", "\"tandem\"", "The realm of these challenges."),
    k("inbound", "anonymous", "string", "\"accept\"", "`reject`: callers without a number get 433 (RFC 5079)."),
    k("numbers", "min_digits", "number", "3", "Shorter numbers are not sent out."),
    k("numbers", "max_digits", "number", "15", "Longer numbers are not sent out."),
    k("numbers.outbound", "request_uri", "string", "\"e164-plus\"", "Number plan of the Request-URI."),
    k("numbers.outbound", "from", "string", "\"e164-plus\"", "Number plan of From and of the asserted identity."),
    k("numbers.outbound", "to", "string", "\"e164-plus\"", "Number plan of To."),
    k("numbers.outbound", "strip", "string", "\"\"", "Cut from the front of the Request-URI's number if it stands there …"),
    k("numbers.outbound", "prepend", "string", "\"\"", "… and put there instead."),
    k("numbers.inbound", "request_uri", "string", "", "How the carrier writes the called number; `auto:CC` with a `country`, else `e164`."),
    k("numbers.inbound", "from", "string", "", "How the carrier writes the calling number; as above."),
    k("numbers.rules", "when", "string", "", "Required. `outbound` (after the plan) or `inbound` (before the plan)."),
    k("numbers.rules", "field", "string", "", "Required. `request_uri`, `from`, `to` or `asserted`."),
    k("numbers.rules", "match", "string", "", "Required. A regular expression; the first hit is replaced."),
    k("numbers.rules", "replace", "string", "", "Required. `$1` or `${1}` is the first group."),
    k("identity", "from_user", "string", "\"caller\"", "From's user: `caller`, `auth-username` or `fixed:+44…`."),
    k("identity", "from_domain", "string", "", "From's host; without it the gateway's host."),
    k("identity", "display_name", "string", "\"omit\"", "From's display name: `omit` or `fixed:Text`."),
    k("identity", "asserted", "string", "\"pai\"", "Header that carries the caller's number: `pai`, `ppi`, `rpid` or `none`."),
    k("identity", "asserted_uri", "string", "\"sip\"", "`sip`, `tel` or `sip+user=phone`."),
    k("identity", "caller_ids", "list of strings", "[]", "Our numbers on this trunk (E.164). A caller that is not among them is replaced by the first. Empty: any caller goes out."),
    k("identity", "caller_id_pick", "string", "\"first\"", "Which one replaces: `first`."),
    k("identity", "trust_in", "list of strings", "[\"pai\", \"history-info\", \"diversion\"]", "What is believed of this carrier: `pai` (before From), `history-info` and `diversion` (who sent the call on before). What is not listed is not read."),
    k("identity", "privacy", "string", "\"trusted\"", "A caller that is not to be shown (RFC 3323, RFC 3325) is anonymous in From. `trusted`: its number is asserted with `Privacy: id`, and private stations of the call keep their mark. `anonymize`: the carrier is told neither. `refuse`: such calls do not leave by this trunk (433). `ignore`: the number is sent openly."),
    k("identity", "diversion", "string", "\"history-info\"", "How the carrier is told who sent a call on: `history-info` (RFC 7044), `diversion` (RFC 5806), `both` or `none`. What came by the other header is converted (RFC 7544)."),
    k("headers", "add", "table of strings", "{}", "Headers added to every INVITE to this carrier. Not those Tandem writes itself."),
    k("headers", "remove", "list of strings", "[]", "Headers that never leave by this trunk nor pass on from it; a `*` at the end stands for anything (`X-Internal*`)."),
    k("headers", "to_app", "list of strings", "[\"User-to-User\"]", "Headers of this carrier's INVITEs that applications see (`headers` of `call.incoming`), and that another carrier gets whose `from_app` holds them too. 16 of 1024 bytes at most. `Call-Info` and `Alert-Info` pass only when listed."),
    k("headers", "from_app", "list of strings", "[\"User-to-User\", \"X-*\"]", "Headers of applications, and of another carrier whose `to_app` holds them too, that leave in INVITEs to this carrier."),
    k("call", "rel100", "string", "\"supported\"", "Reliable provisional responses (RFC 3262) on this carrier's legs: `off` (a call that requires them gets 420), `supported`, `required` (a caller without them gets 421)."),
    k("call", "early_media", "string", "\"relay\"", "What is heard before the answer: `relay` (the carrier's sound), `suppress` (nothing of it: 183 becomes 180), `one-way` (the carrier is heard, the caller is not), `local-ringback` (our ringback instead)."),
    k("call", "early_fork", "string", "\"latest\"", "Of several phones that ring with sound: `first`, `latest`, or `rtp` (whose packets arrive)."),
    k("call", "ignore_183_without_sdp", "true or false", "false", "A 183 without SDP is passed over."),
    k("call", "fake_180_after", "duration", "\"0s\"", "So long after a 183 without a 180 the caller is told 180 all the same, up to 60s; `0s`: never."),
    k("call", "late_offer", "string", "\"accept\"", "INVITEs without SDP: `accept`, or `reject` (488)."),
    k("call", "hold", "string", "\"sendonly\"", "What our hold offers: `sendonly`, or `inactive` for carriers that know nothing else."),
    k("call", "hold_music", "string", "", "What the party hears that is held when a phone of this trunk holds, or is held: a file of `[media] sounds`, or `\"\"` for silence; without it `[media] hold_music`. A hold that is passed on (`reinvite = \"relay\"`) plays nothing."),
    k("call", "reinvite", "string", "\"local\"", "A re-INVITE or UPDATE of the carrier is settled on its leg: `local`; `relay` passes its hold and resume on to the other side as well, where both trunks say `relay`; `forbid` sends none, and refuses with 488 what would change the session."),
    k("call", "missing_ack", "string", "\"drop\"", "A 200 that nobody acknowledges within 64 × t1 ends the call: `drop`; `keep-if-media` only if no sound has come."),
    k("call", "ring_timeout", "duration", "\"60s\"", "How long an outbound call may ring, 1s to 10m."),
    k("call", "max_duration", "duration", "\"4h\"", "How long a call may last, 1s to 48h."),
    k("call.session_timer", "mode", "string", "\"accept\"", "RFC 4028: `off`, `accept` (what the carrier asks for), `always` (asked for in every call, and kept by us alone with a carrier that does not know it). `off` with `reinvite = \"forbid\"`, unless written."),
    k("call.session_timer", "expires", "duration", "\"30m\"", "The interval we ask for with `always`, 90s to 24h."),
    k("call.session_timer", "min_se", "duration", "\"90s\"", "A shorter interval gets 422, 90s to 24h."),
    k("call.session_timer", "refresher", "string", "\"peer\"", "Who refreshes where we may choose: `peer` or `us`."),
    k("call.session_timer", "method", "string", "\"update\"", "How we refresh: `update` (without SDP, where the carrier's Allow has it) or `reinvite`."),
    k("call.refer", "out", "string", "\"auto\"", "How an application's transfer reaches the carrier: `auto` (REFER where its Allow has it), `refer`, `local` (the gateway places the new call), `off`."),
    k("call.refer", "in", "string", "\"terminate\"", "A REFER of the carrier: `terminate` (the gateway places the new call and tells the carrier how it goes), `pass` (it goes on to the other side where that is a phone whose Allow has REFER, otherwise as `terminate`) or `refuse` (603)."),
    k("call.refer", "to_pstn", "true or false", "false", "A REFER may lead to numbers of the public network, by the dial routes. Otherwise only to the carrier's own extensions."),
    k("call.refer", "max", "number", "3", "Transfers of one call, 0 to 255."),
    k("call.refer", "hold", "true or false", "false", "A REFER of ours leaves when the phone has been put on hold (RFC 5589)."),
    k("call.redirect_3xx", "mode", "string", "\"reject\"", "A 3xx of this carrier to a call of ours: `reject` (the attempt has failed: 480 to the caller), `follow` (its contacts are called, by q), `relay` (the caller gets the 3xx; an application the 480)."),
    k("call.redirect_3xx", "max", "number", "1", "How often one call follows, 1 to 10."),
    k("call.redirect_3xx", "allow", "list of sources", "[]", "Where contacts may lead besides this trunk's own gateways: addresses, networks, names. Never from `sips:` to `sip:`, never to a URI that was asked already."),
    k("call.diversions", "max", "number", "5", "How often a call may have been sent on (History-Info, Diversion with its counters, and what Tandem adds), 0 to 20. A smaller `limit` of a Diversion holds instead."),
    k("call.diversions", "status", "number", "483", "What a call gets that was sent on more often, 400 to 699 (`480` where 483 is taken for a fault)."),
    k("call", "info", "list of strings", "[]", "INFO that passes to the other leg and to applications: content types (`application/vnd.door+xml`) and packages (`package:NAME`, RFC 6086). Others get 415, or 469."),
    k("call.failover", "codes", "list of numbers", "[408, 500, 502, 503, 504]", "Final statuses after which the next gateway or trunk is tried."),
    k("call.failover", "final", "list of numbers", "[486, 600, 603, 607, 608]", "Final statuses that always end the call."),
    k("call.failover", "answer_within", "duration", "\"10s\"", "Without any response within this the next one is tried, 500ms to 3m."),
    k("call.failover", "retry_after", "true or false", "true", "A gateway that says 503 with Retry-After gets no call for so long (an hour at most)."),
    k("call.options_ping", "interval", "duration", "\"30s\"", "With this table, each address of each gateway is asked by OPTIONS so often (5s to 1h, a tenth more or less); one that does not answer gets no calls until it does, unless all others are down too. Without the table only calls show whether a gateway answers."),
    k("call.options_ping", "down_after", "number", "3", "So many failures in a row (no answer within 5s, or not the one wanted) take an address down, 1 to 100."),
    k("call.options_ping", "up_after", "number", "2", "So many answers in a row bring it up again, 1 to 100."),
    k("call.options_ping", "ok", "string", "\"any-reply\"", "What counts as an answer: `any-reply` (any status but 503) or `2xx`."),
    k("call.options_ping", "from_user", "string", "\"\"", "User part of From; empty: none."),
    k("call.options_ping", "contact_fqdn", "true or false", "true", "From and Contact have the listener's advertised name, for carriers that know us by it. `false`: From has the trunk's `from_domain`, and there is no Contact."),
    k("media", "codecs", "list of strings", "[\"PCMA\", \"PCMU\", \"telephone-event\"]", "In order of preference: `PCMA`, `PCMU`, `G722`, `opus`; `telephone-event` for DTMF."),
    k("media", "single_codec_answer", "true or false", "true", "Answers name one codec only."),
    k("media", "ptime", "number", "20", "Milliseconds per packet that we ask for: 10, 20, 30, 40, 50 or 60."),
    k("media", "symmetric", "string", "\"auto\"", "Send RTP to where RTP comes from: `off`, `auto` (private address in SDP, or mismatch), `on`. Unless it is off, a stream that goes on from elsewhere, once its source has been silent for 200 ms, is followed."),
    k("media", "comfort_noise", "true or false", "true", "Offer and take comfort noise (RFC 3389)."),
    k("media", "jitter_buffer", "string", "\"none\"", "`adaptive` takes the jitter of who speaks out of what is sent to the carrier: packets are held back for 20 to 200 ms, as long as they are late by, and sent by the clock. `none`: they go on as they come."),
    k("media", "rtcp_mux", "string", "\"offer-no\"", "`offer` asks for RTP and RTCP on one port (RFC 5761); `offer-no` takes it only when asked."),
    k("media", "rtcp_xr", "true or false", "false", "Our SDP asks for VoIP metrics in the carrier's reports (RFC 3611): loss and its bursts, delay, quality, as `voip_sent` of a leg's figures. A carrier that asks for ours gets them either way."),
    k("media", "circuit_breaker", "true or false", "false", "Sound is sent no more to a carrier whose reports cease for 15 s, name the same highest packet five times in a row, show ten times the load that TCP would put on that path, or tell six times in a row of loss or delay with which nobody understands a word, a score below 1.6 by the E-model (RFC 8083); `call.one_way` says which. A re-INVITE lets it go on, to the same address 15 s after it was stopped at the soonest. One that never reports is sent to all the same. Off as shipped: more carriers report wrongly than have paths to be spared."),
    k("media", "srtp", "string", "\"off\"", "SRTP with keys in SDP (RFC 4568): `off`, `optional` (offered within RTP/AVP as RFC 8643 has it, taken where the carrier can), `required` (a call without it is refused with 488, one of ours that the carrier answers without is ended)."),
    k("media", "srtp_keys_over", "string", "\"tls\"", "Which signalling the keys may stand in: `tls` (RFC 4568 §8.3), or `any` where nobody reads along on the network. With `tls`, `srtp` and a gateway that is not reached by TLS are a mistake; a call that comes without TLS, or would leave so, has no keys where they are `optional` and is refused (488) where they are `required`."),
    k("media", "srtp_suites", "list of strings", "[\"AES_CM_128_HMAC_SHA1_80\", \"AES_256_CM_HMAC_SHA1_80\", \"AEAD_AES_128_GCM\", \"AEAD_AES_256_GCM\", \"AES_CM_128_HMAC_SHA1_32\"]", "What is offered, in this order, and taken: those, and `AES_256_CM_HMAC_SHA1_32`."),
    k("media", "rtp_profile", "string", "\"auto\"", "The transport our offers name: `auto` (RTP/SAVP where SRTP is required, else RTP/AVP), `AVP`, `SAVP`, `AVPF`, `SAVPF`. Theirs is answered as it is."),
    k("media.media_timeout", "initial", "duration", "\"30s\"", "The call ends when nothing has come from the carrier so long after the answer; `0s`: never. Up to 48h, as the next two."),
    k("media.media_timeout", "active", "duration", "\"20s\"", "… or nothing more for so long …"),
    k("media.media_timeout", "hold", "duration", "\"4h\"", "… or for so long while either side holds. After a hold `active` begins anew."),
    k("media.media_timeout", "rtcp_counts", "true or false", "true", "RTCP counts as a sign of life."),
    k("media.dtmf", "send", "string", "\"rfc4733\"", "How digits are sent: `rfc4733` (as telephone-events, in the sound to a peer without them), `info` (SIP INFO, application/dtmf-relay), `info-dtmf` (application/dtmf) or `inband` (in the sound)."),
    k("media.dtmf", "receive", "list of strings", "[\"rfc4733\", \"info\"]", "Where digits are heard: `rfc4733`, `info`, `inband` (in the sound of a peer without telephone-events; costs CPU, and a packet's time of delay, in which the beginning of a key is cut out). A digit that comes in several ways is one digit."),
    k("media.dtmf", "mask", "true or false", "false", "The ledger of a call and its record do not tell which digits they were."),
    k("media.dtmf", "payload", "number", "101", "Payload type we offer for telephone-event, 96 to 127."),
    k("media.dtmf", "clock", "number", "8000", "Its clock: 8000 or 48000."),
    k("limits", "channels", "number", "", "Calls at once, both ways; above it 503 with Retry-After. Without it no limit."),
    k("limits", "channels_in_reserved", "number", "0", "Of those, kept free for inbound calls."),
    k("limits", "cps", "number", "", "New calls per second, both ways; above it 503 with Retry-After. Without it no limit."),
    k("limits", "burst", "number", "1", "Seconds of that rate that may come at once, 1 to 60."),
    k("fraud", "allow_countries", "list of strings", "[]", "Countries whose numbers are called (`GB`, `FR`); calls to others do not leave here: the next trunk of the route, or 403. Numbers of at most six digits always may. Empty: all."),
    k("fraud", "deny_prefixes", "list of strings", "[]", "Beginnings of numbers that are never called (`+881`), whatever the countries."),
    k("fraud", "daily_minutes", "number", "", "Minutes of calls out within 24 hours, counted when a call ends; above it new ones get 503 with Retry-After. Without it no limit."),
    k("expect.out", "dial", "string", "", "An outbound test: this number …"),
    k("expect.out", "cli", "string", "", "… from this caller …"),
    k("expect.sip", "request_uri", "string", "", "… gives this Request-URI by the first gateway,"),
    k("expect.sip", "from", "string", "", "this From,"),
    k("expect.sip", "to", "string", "", "this To,"),
    k("expect.sip", "pai", "string", "", "this P-Asserted-Identity (`\"\"` = none),"),
    k("expect.sip", "ppi", "string", "", "this P-Preferred-Identity (`\"\"` = none)."),
    k("expect.in", "source", "string", "", "An inbound test: a call from this address …"),
    k("expect.in", "request_uri", "string", "", "… with this Request-URI,"),
    k("expect.in", "from", "string", "", "this From,"),
    k("expect.in", "pai", "string", "", "and this P-Asserted-Identity …"),
    k("expect.app", "to", "string", "", "… is, for the application, a call to this number"),
    k("expect.app", "from", "string", "", "from this one."),
];

/// Keys of `routes.toml`.
#[rustfmt::skip]
pub const ROUTES: &[Key] = &[
    k("route", "trunk", "string", "", "Inbound calls of this trunk (`*` = of any) …"),
    k("route", "did", "string", "", "… to these numbers: `+442079460123`, `+44*`, `+442079460000..99`, `*`."),
    k("route", "dial", "string", "", "Instead of the two: calls of applications to these numbers."),
    k("route", "to", "string or list of strings", "", "Required. Inbound: `user:NAME`, `app:echo`, `app:tone`, `app:play/FILE` (a recording of `[media] sounds`, then the end; `?loop=true`: again and again), `trunk:NAME` (out again, number kept), `sip:URI` (proxied), `request-uri` (proxied to the host that the request names, when `follow` lists it; otherwise the next route is tried), `reject:CODE`; a list of trunks is tried in order, one of URIs as `fork` says. Dial: `trunk:NAME`, a list of them, or `reject:CODE`."),
    k("route", "fork", "string", "\"failover\"", "How a list of `sip:` URIs is tried: `failover` (in order, the next when one cannot serve the call: 408, 500, 502, 503, 504 or silence), `serial` (in order, the next whenever one refuses, but for a 6xx), `parallel` (all at once), `q` (as `<sip:host>;q=0.5`: those of the highest q at once, then the next), `balance` (one by Call-ID and `<sip:host>;weight=70`, the others as in `failover`; weight 0 is drained)."),
    k("route", "ring", "duration", "", "How long one `sip:` target, or all that ring at once, may ring before the next, 1s to 180s. Without it as long as it rings."),
    k("route", "answer_within", "duration", "", "How long a `sip:` target may stay silent before the next, 500ms to 32s. Without it 32s."),
    k("route", "follow", "list of sources", "[]", "Redirections (3xx) of `sip:` targets to these addresses, networks and names are followed; others are handed to the caller. Of `request-uri`: the hosts that requests may name, required."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_table_are_its_keys_and_sub_tables() {
        assert!(names(TRUNK, "").contains(&"gateway"));
        assert!(names(TRUNK, "").contains(&"schema"));
        assert!(names(TRUNK, "call").contains(&"failover"));
        assert!(names(TRUNK, "call").contains(&"ring_timeout"));
        assert_eq!(
            names(TRUNK, "call.failover"),
            ["codes", "final", "answer_within", "retry_after"]
        );
        assert!(!names(TRUNK, "call").contains(&"codes"));
    }

    /// The reference stands in the documentation between two marks, word for word.
    #[test]
    fn the_documentation_holds_the_reference() {
        let docs = include_str!("../../../../docs/trunks.md");
        for (mark, keys) in [("trunk keys", TRUNK), ("route keys", ROUTES)] {
            let begin = format!("<!-- {mark} -->\n");
            let end = format!("<!-- end of {mark} -->");
            let (_, rest) = docs.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
            let (table, _) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
            assert_eq!(table, reference(keys), "write this between the marks of {mark}");
        }
    }
}
