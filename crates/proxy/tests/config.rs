//! Trunk files and routes as text: defaults, every key, every mistake with its line, and the files
//! shipped in `config/`.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
use std::time::Duration;

use tandem_proxy::{
    ConfigError, Trunk, check_trunks,
    config::keys,
    protection::{KeysOver, Protection, RtpProfile, Srtp, SrtpSuite},
    read_routes, read_trunk,
    registration::Retry,
    routes::{DialTo, Fork, InboundTo},
    sessions::{HoldStyle, MissingAck, Reinvite},
    trunk::{Asserted, CodecName, Direction, JitterBuffer, Limits},
};
use tandem_sip::{Transport, session_timer::Mode};

const LEAST: &str = "[trunk]\nname = \"acme\"\n[[gateway]]\nuri = \"sip:203.0.113.4\"\n";

const PHONES: &str = "[trunk]\nname = \"phones\"\n[registrar]\ndomain = \"example.com\"\n\
    [[account]]\nuser = \"alice\"\npassword = \"p\"\n";

const REGISTER: &str = "[register]\nregistrar = \"sip:x\"\naor = \"sip:u@x\"\n";

fn secrets(what: &str) -> Result<String, String> {
    match what {
        "env:PASSWORD" => Ok("s3cret-value".into()),
        "env:GATEWAY" => Ok("sip:203.0.113.9".into()),
        other => Err(format!("{other} is not set")),
    }
}

fn read(text: &str) -> Result<Trunk, Vec<ConfigError>> {
    read_trunk("acme.toml", text, &secrets)
}

/// The mistakes of a text as `line: words`.
fn mistakes(text: &str) -> Vec<String> {
    read(text).unwrap_err().iter().map(|e| format!("{}: {}", e.line, e.what)).collect()
}

fn with(table: &str) -> String {
    format!("{LEAST}{table}")
}

#[test]
fn a_name_and_a_gateway_are_enough() {
    let trunk = read(LEAST).unwrap();
    assert_eq!(trunk.name, "acme");
    assert!(trunk.enabled && trunk.direction == Direction::Both && trunk.auth.is_none());
    assert_eq!(trunk.gateways[0].peer.literal().unwrap().to_string(), "203.0.113.4:5060");
    assert_eq!(trunk.call.ring_timeout, Duration::from_secs(60));
    assert_eq!(trunk.call.failover.answer_within, Duration::from_secs(10));
    assert!(trunk.call.failover.tries_next(503) && !trunk.call.failover.tries_next(486));
    // RFC 3261 §8.1.3.2: an unknown status is the x00 of its class; a known one is itself.
    assert!(trunk.call.failover.tries_next(599) && !trunk.call.failover.tries_next(501));
    assert!(!trunk.call.failover.tries_next(699) && !trunk.call.failover.tries_next(499));
    assert_eq!(trunk.media.codecs, [CodecName::Pcma, CodecName::Pcmu]);
    assert_eq!(trunk.media.telephone_event.unwrap().payload, 101);
    assert_eq!(trunk.limits, Limits::default());
    assert_eq!(trunk.identity.asserted, Asserted::Pai);
    assert!(trunk.identity.trust_pai);
}

/// The places where keys of a table can be written.
fn document(table: &str, line: &str) -> String {
    match table {
        "" => format!("{line}\n{LEAST}"),
        "trunk" => LEAST.replace("[[gateway]]", &format!("{line}\n[[gateway]]")),
        "gateway" => format!("{LEAST}{line}\n"),
        "numbers.rules" => with(&format!("[[numbers.rules]]\n{line}\n")),
        "auth" => with(&format!("[auth]\nusername = \"u\"\npassword = \"p\"\n{line}\n")),
        "register" => with(&format!("{REGISTER}{line}\n")),
        "registrar" => PHONES.replace("[[account]]", &format!("{line}\n[[account]]")),
        "registrar.expires" => format!("{PHONES}[registrar.expires]\n{line}\n"),
        "account" => format!("{PHONES}{line}\n"),
        "register.outbound" | "register.retry" => with(&format!("{REGISTER}[{table}]\n{line}\n")),
        table if table.starts_with("expect.") => {
            let mut text = with("[[expect]]\n");
            let other = match table {
                "expect.out" => "[expect.sip]\nto = \"x\"\n",
                "expect.sip" => "[expect.out]\ndial = \"+44123\"\n",
                "expect.in" => "[expect.app]\nto = \"x\"\n",
                _ => "[expect.in]\nrequest_uri = \"sip:1@x\"\n",
            };
            text.push_str(&format!("[{table}]\n{line}\n{other}"));
            text
        }
        table => with(&format!("[{table}]\n{line}\n")),
    }
}

/// Every key of the reference is read: a value of a type that no key has is a mistake, at its line.
#[test]
fn every_key_of_the_reference_is_obeyed() {
    for key in keys::TRUNK {
        let line = format!("{} = 1979-05-27", key.name);
        let text = match (key.table, key.name) {
            ("trunk", "name") => LEAST.replace("name = \"acme\"", &line),
            ("gateway", "uri") => LEAST.replace("uri = \"sip:203.0.113.4\"", &line),
            ("auth", name) if name != "realm" => document("auth", "").replace(
                if name == "username" { "username = \"u\"" } else { "password = \"p\"" },
                &line,
            ),
            ("register", "registrar") => {
                document("register", "").replace("registrar = \"sip:x\"", &line)
            }
            ("register", "aor") => document("register", "").replace("aor = \"sip:u@x\"", &line),
            ("registrar", "domain") => PHONES.replace("domain = \"example.com\"", &line),
            ("account", "user") => PHONES.replace("user = \"alice\"", &line),
            ("account", "password") => PHONES.replace("password = \"p\"", &line),
            (table, _) => document(table, &line),
        };
        let at = text.lines().position(|l| l == line).unwrap() + 1;
        let found = mistakes(&text);
        let wanted = format!("{at}: `{}` is a datetime; write", key.name);
        let bounds = format!("{at}: `{}` must be", key.name);
        assert!(
            found.iter().any(|m| m.starts_with(&wanted) || m.starts_with(&bounds)),
            "{}.{}: {found:?}",
            key.table,
            key.name
        );
    }
}

/// The defaults of the reference are the defaults of the code.
#[test]
fn every_default_of_the_reference_holds() {
    for key in keys::TRUNK.iter().filter(|key| !key.default.is_empty()) {
        let text = document(key.table, &format!("{} = {}", key.name, key.default));
        let mut given = read(&text).unwrap_or_else(|e| panic!("{}: {e:?}", key.name));
        let mut bare = read(&document(key.table, "")).unwrap();
        (given.line, bare.line) = (0, 0);
        // A table of timers that says what the default says is not the same as none.
        if key.table == "transport.timers" {
            bare.transport.timers = Some(Default::default());
        }
        assert_eq!(given, bare, "{}.{}", key.table, key.name);
    }
}

#[test]
fn unknown_keys_name_the_nearest() {
    let text = with(
        "[call]\nring_timout = \"5s\"\nptime = 20\n[meida]\nptime = 20\n[media]\nfrobnicate = 1\n",
    );
    assert_eq!(
        mistakes(&text),
        [
            "6: unknown key `ring_timout` in [call]; did you mean `ring_timeout`?",
            "7: unknown key `ptime` in [call]; it belongs in [media]",
            "8: unknown key `meida` in the file; did you mean `media`?",
            "11: unknown key `frobnicate` in [media]; known here: codecs, single_codec_answer, \
             ptime, symmetric, comfort_noise, jitter_buffer, rtcp_mux, rtcp_xr, circuit_breaker, srtp, \
             srtp_keys_over, srtp_suites, rtp_profile, media_timeout, dtmf",
        ]
    );
}

#[test]
fn what_a_trunk_says_about_jitter() {
    assert_eq!(read(LEAST).unwrap().media.jitter_buffer, JitterBuffer::None);
    let trunk = read(&with("[media]\njitter_buffer = \"adaptive\"\n")).unwrap();
    assert_eq!(trunk.media.jitter_buffer, JitterBuffer::Adaptive);
    let wrong = mistakes(&with("[media]\njitter_buffer = \"200ms\"\n"));
    assert!(wrong[0].starts_with("6: ") && wrong[0].contains("adaptive"), "{wrong:?}");
}

#[test]
fn what_a_trunk_says_about_srtp() {
    let trunk = read(&with(
        "[media]\nsrtp = \"optional\"\nrtp_profile = \"SAVPF\"\nsrtp_keys_over = \"any\"\n\
         srtp_suites = [\"AEAD_AES_256_GCM\", \"AES_CM_128_HMAC_SHA1_80\", \"AEAD_AES_256_GCM\"]\n",
    ))
    .unwrap();
    let suites = vec![SrtpSuite::Aes256Gcm, SrtpSuite::Aes128CmSha1_80];
    let keys_over = KeysOver::Any;
    let wanted = Protection { srtp: Srtp::Optional, suites, profile: RtpProfile::Savpf, keys_over };
    assert_eq!(trunk.media.protection, wanted);
    assert_eq!(read(LEAST).unwrap().media.protection.srtp, Srtp::Off);
    let mistakes = mistakes(&with(
        "[media]\nsrtp = \"yes\"\nsrtp_suites = [\"AES_CM\"]\nrtp_profile = \"SAVP\"\n",
    ));
    for (n, what) in [
        (6, "`srtp` cannot be \"yes\""),
        (7, "the suite `AES_CM` is not known"),
        (8, "`rtp_profile` names SRTP, but `srtp` is \"off\""),
    ] {
        assert!(
            mistakes.iter().any(|m| m.starts_with(&format!("{n}: ")) && m.contains(what)),
            "{what}: {mistakes:?}"
        );
    }
}

#[test]
fn keys_of_srtp_stand_in_tls_unless_the_trunk_says_otherwise() {
    let of = |uri: &str, rest: &str| {
        format!("schema = 1\n[trunk]\nname = \"t\"\n[[gateway]]\nuri = \"{uri}\"\n{rest}")
    };
    let sealed = "[media]\nsrtp = \"optional\"\n";
    let secure = read(&of("sip:192.0.2.1;transport=tls", sealed)).unwrap().media.protection;
    assert!(secure.hides_keys(false) && !secure.hides_keys(true));
    let any = format!("{sealed}srtp_keys_over = \"any\"\n");
    assert!(!read(&of("sip:192.0.2.1", &any)).unwrap().media.protection.hides_keys(false));
    for uri in ["sip:192.0.2.1", "sip:192.0.2.1;transport=tcp"] {
        let mistakes = mistakes(&of(uri, sealed));
        assert!(
            mistakes.len() == 1
                && mistakes[0]
                    .starts_with("7: the keys of `srtp` stand in SIP, and 192.0.2.1 is not")
                && mistakes[0].contains("srtp_keys_over = \"any\""),
            "{mistakes:?}"
        );
    }
    // The first hop is what counts.
    let proxy = |transport: &str| {
        format!(
            "[transport]\noutbound_proxy = \"sip:192.0.2.8;transport={transport};lr\"\n{sealed}"
        )
    };
    assert!(read(&of("sip:192.0.2.1", &proxy("tls"))).is_ok());
    assert!(mistakes(&of("sip:192.0.2.1;transport=tls", &proxy("udp")))[0].contains("192.0.2.8"));
}

#[test]
fn what_a_trunk_says_about_calls_that_are_up() {
    let trunk = read(&with(
        "[call]\nsession_timer = { mode = \"always\", expires = \"10m\", refresher = \"us\" }\n\
         hold = \"inactive\"\nreinvite = \"relay\"\nmissing_ack = \"keep-if-media\"\n\
         [media]\nmedia_timeout = { initial = \"0s\", active = \"5s\", rtcp_counts = false }\n",
    ))
    .unwrap();
    assert_eq!(trunk.call.session_timer.policy.mode, Mode::Always);
    assert_eq!(trunk.call.session_timer.policy.expires, Duration::from_secs(600));
    assert_eq!(trunk.call.hold, HoldStyle::Inactive);
    assert_eq!(trunk.call.reinvite, Reinvite::Relay);
    assert_eq!(trunk.call.missing_ack, MissingAck::KeepIfMedia);
    assert_eq!(trunk.media.media_timeout.initial, Duration::ZERO);
    assert_eq!(trunk.media.media_timeout.active, Duration::from_secs(5));
    // Who takes no re-INVITE could not be refreshed.
    let fixed = read(&with("[call]\nreinvite = \"forbid\"\n")).unwrap();
    assert_eq!(fixed.call.session_timer.policy.mode, Mode::Off);
    let text = with(
        "[call]\nhold = \"music\"\nreinvite = \"never\"\n\
         session_timer = { expires = \"90s\", min_se = \"2m\" }\n\
         [media]\nmedia_timeout = { active = \"72h\" }\n",
    );
    let mistakes = mistakes(&text);
    for (n, what) in [
        (6, "`hold` cannot be \"music\""),
        (7, "`reinvite` cannot be \"never\""),
        (8, "`min_se` is above `expires`"),
        (10, "`active` must be from"),
    ] {
        assert!(
            mistakes.iter().any(|m| m.starts_with(&format!("{n}: ")) && m.contains(what)),
            "{what}: {mistakes:?}"
        );
    }
}

#[test]
fn what_a_trunk_registers_as() {
    let auth = "[auth]\nusername = \"user123\"\npassword = \"p\"\n";
    let read = |register: &str| read(&with(&format!("{auth}[register]\n{register}\n"))).unwrap();
    let plain = read("registrar = \"sip:sip.acme.example:5070;transport=tls\"").register.unwrap();
    assert_eq!(plain.registrar, "sip:sip.acme.example:5070", "a domain and nothing else");
    assert_eq!((plain.peer.transport, plain.peer.effective_port()), (Transport::Tls, 5070));
    assert_eq!(plain.aor, "sip:user123@sip.acme.example");
    assert_eq!(plain.contact_user, "user123");
    assert_eq!((plain.line, plain.gin, plain.reg_id), (true, false, None));
    assert_eq!(plain.retry, Retry::default());
    let all = read(
        "registrar = \"sip:acme.example\"\naor = \"sip:desk@acme.example\"\n\
         contact_user = \"line7\"\nexpires = \"10m\"\nline = false\ngin = true\n\
         outbound = { enabled = true, reg_id = 3 }\nretry = { jitter = 0.25, forbidden = \"2h\" }",
    );
    let all = all.register.unwrap();
    assert_eq!((all.aor.as_str(), all.contact_user.as_str()), ("sip:desk@acme.example", "line7"));
    assert_eq!((all.line, all.gin, all.reg_id), (false, true, Some(3)));
    assert_eq!(all.expires, Duration::from_secs(600));
    let wanted = Retry { jitter: 0.25, forbidden: Duration::from_secs(7200), ..Retry::of_flows() };
    assert_eq!(all.retry, wanted, "without a word of it as RFC 5626 says");
}

#[test]
fn mistakes_about_registrations_say_what_to_write() {
    let text = with(
        "[register]\nregistrar = \"sip:bob@x\"\ncontact_user = \"\"\nexpires = \"1s\"\n\
         outbound = { enabled = true, reg_id = 0 }\nretry = { initial = \"20m\", jitter = 2 }\n",
    );
    let mistakes = mistakes(&text);
    for (n, what) in [
        (5, "the registration has no account; write aor = \"sip:user@host\", or [auth]"),
        (6, "`sip:bob@x` has a user part, but names a registrar; write \"sip:x\""),
        (7, "`` is no user part"),
        (8, "`expires` must be from 1m to 24h"),
        (9, "`reg_id` must be a whole number from 1 to"),
        (10, "`jitter` must be a number from 0 to 1"),
    ] {
        let starts = format!("{n}: {what}");
        assert!(mistakes.iter().any(|m| m.starts_with(&starts)), "{what}: {mistakes:?}");
    }
    for (aor, what) in [
        ("aor = \"sip:x\"", "6: `sip:x` is no address of record"),
        ("retry = { initial = \"20m\" }", "6: `initial` is above `max`"),
    ] {
        let text = with(&format!("[register]\n{aor}\nregistrar = \"sip:x\"\n"));
        let found = self::mistakes(&text);
        assert!(found.iter().any(|m| m.starts_with(what)), "{found:?}");
    }
    assert!(self::mistakes(&with("[register]\n"))[0].contains("no registrar"));
    for (algorithms, what) in
        [("\"SHA-1\"", "5: the algorithm `SHA-1` is not known"), ("", "5: no algorithm; write")]
    {
        let line = format!("algorithms = [{algorithms}]\n[[account]]");
        let found = self::mistakes(&PHONES.replace("[[account]]", &line));
        assert!(found.iter().any(|m| m.starts_with(what)), "{found:?}");
    }
}

#[test]
fn mistakes_about_phones_say_what_to_write() {
    let text = "[trunk]\nname = \"phones\"\n[[gateway]]\nuri = \"sip:x\"\n[registrar]\n\
        domain = \"a b\"\nexpires = { min = \"2h\" }\n[[account]]\nuser = \"a b\"\n";
    let found = mistakes(text);
    for wanted in [
        "5: a trunk of phones has no gateway; remove [[gateway]], or [registrar]",
        "5: nobody can register; write [[account]] with user and password",
        "6: `a b` is no domain",
        "7: `default` must lie between `min` and `max`",
        "8: the account has no password",
        "9: `a b` is no user",
    ] {
        assert!(found.iter().any(|m| m.starts_with(wanted)), "{wanted}: {found:?}");
    }
    let twice = format!("{PHONES}[[account]]\nuser = \"alice\"\npassword = \"q\"\n");
    assert!(mistakes(&twice)[0].starts_with("9: the user `alice` is there twice"));
    let alone = with("[[account]]\nuser = \"a\"\npassword = \"p\"\n");
    assert!(mistakes(&alone)[0].contains("accounts belong to a registrar"));
    assert!(mistakes("[trunk]\nname = \"a\"\n[registrar]\n")[0].contains("no domain"));
}

/// Keys of the schema that nothing obeys yet are not silently taken.
#[test]
fn keys_that_do_not_work_are_unknown() {
    for table in [
        "[stir]\n",
        "[recording]\nmode = \"always\"",
        "[media]\nsrtp_keying = \"dtls\"",
        "[fraud]\nnight_factor = 0.3\n",
    ] {
        assert!(mistakes(&with(table))[0].contains("unknown key"), "{table}");
    }
}

#[test]
fn all_mistakes_are_told_each_at_its_line() {
    let text = "schema = 2\n\
        [trunk]\n\
        name = \"a b\"\n\
        country = \"XX\"\n\
        [[gateway]]\n\
        uri = \"sips:sbc.acme.example;transport=udp\"\n\
        [[gateway]]\n\
        priority = -1\n\
        [auth]\n\
        username = \"u\"\n\
        [inbound]\n\
        sources = [\"203.0.113.1/28\", \"10.0.0.0/8\"]\n\
        did = [\"+4420..\"]\n\
        unmatched = \"ignore\"\n\
        [numbers]\n\
        outbound = { request_uri = \"auto:GB\", strip = \"x\" }\n\
        rules = [ { when = \"outbound\", field = \"from\", match = \"(\", replace = \"\" } ]\n\
        [call]\n\
        ring_timeout = 60\n\
        max_duration = \"4 hours\"\n\
        [media]\n\
        codecs = [\"G729\", \"telephone-event\"]\n\
        ptime = 25\n\
        [limits]\n\
        channels = 5\n\
        channels_in_reserved = 6\n";
    let found = mistakes(text);
    let wanted = [
        (1, "`schema` must be"),
        (3, "`a b` is not a trunk name"),
        (4, "`XX` is no country"),
        (6, "is not served; write udp, tcp or tls"),
        (7, "the gateway has no uri"),
        (8, "`priority` must be"),
        (9, "[auth] has no password"),
        (12, "has bits set after its length"),
        (13, "is not a range"),
        (14, "`unmatched` cannot be \"ignore\"; write \"drop\" or \"403\" or \"404\""),
        (16, "only reads numbers"),
        (16, "goes in front of a number"),
        (17, "is not a regular expression"),
        (19, "`ring_timeout` is a integer; write duration: ring_timeout = \"60s\""),
        (20, "is not a duration"),
        (22, "the codec `G729` is not served"),
        (22, "no codec for speech"),
        (23, "`ptime` must be 10, 20"),
        (26, "`channels_in_reserved` is above"),
    ];
    for (line, words) in wanted {
        let here = format!("{line}: ");
        assert!(
            found.iter().any(|m| m.starts_with(&here) && m.contains(words)),
            "no {line}: {words} in {found:#?}"
        );
    }
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
}

#[test]
fn broken_toml_has_its_line() {
    let found = mistakes("[trunk]\nname = \"acme\"\n[[gateway]\nuri = \"sip:203.0.113.4\"\n");
    assert!(found.iter().any(|m| m.starts_with("3: not TOML: ")), "{found:?}");
    let twice = mistakes(&format!("{LEAST}[call]\nring_timeout = \"5s\"\nring_timeout = \"6s\"\n"));
    assert!(twice.iter().any(|m| m.starts_with("7: not TOML: ")), "{twice:?}");
}

#[test]
fn a_trunk_without_head_or_gateway_says_so() {
    assert!(mistakes("")[0].contains("there is no [trunk]"));
    assert!(mistakes("[trunk]\nname = \"a\"\n")[0].contains("there is no gateway"));
    let inside = mistakes("[trunk]\nname = \"a\"\ngateway = 1\n");
    assert!(inside.iter().any(|m| m.contains("`gateway` is a table of its own")), "{inside:?}");
    assert!(mistakes("gateway = 1\n[trunk]\nname = \"a\"\n")[0].contains("list of tables"));
}

#[test]
fn secrets_are_expanded_and_never_shown() {
    let text = with(
        "[auth]\nusername = \"u\"\npassword = \"${env:PASSWORD}\"\n\
         [headers]\nadd = { X-Token = \"t-${env:PASSWORD}\" }\n",
    );
    let trunk = read(&text).unwrap();
    assert_eq!(trunk.auth.as_ref().unwrap().password, "s3cret-value");
    assert_eq!(trunk.headers.add, [("X-Token".to_owned(), "t-s3cret-value".to_owned())]);
    assert!(!format!("{trunk:?}").contains("s3cret"));
    let wrong =
        with("[call]\nring_timeout = \"${env:PASSWORD}\"\nlate_offer = \"${env:PASSWORD}\"\n");
    for mistake in mistakes(&wrong) {
        assert!(!mistake.contains("s3cret") && mistake.contains("${env:PASSWORD}"), "{mistake}");
    }
    let missing = mistakes(&with("[auth]\nusername = \"u\"\npassword = \"${env:NONE}\"\n"));
    assert_eq!(missing, ["7: env:NONE is not set"]);
    let open = mistakes(&with("[auth]\nusername = \"u\"\npassword = \"${env:NONE\"\n"));
    assert!(open[0].contains("closing brace"), "{open:?}");
    let gateway = LEAST.replace("sip:203.0.113.4", "${env:GATEWAY}");
    assert_eq!(read(&gateway).unwrap().gateways[0].peer.host, "203.0.113.9");
}

#[test]
fn headers_of_our_own_cannot_be_added() {
    for name in ["From", "v", "Content-Length", "Contact", "P-Asserted-Identity"] {
        let found = mistakes(&with(&format!("[headers]\nadd = {{ {name} = \"x\" }}\n")));
        assert!(found[0].contains("written by Tandem itself"), "{name}: {found:?}");
    }
    let found = mistakes(&with("[headers]\nadd = { \"X Y\" = \"x\", X-A = \"a\\r\\nVia: b\" }\n"));
    assert!(found[0].contains("must be one line") || found[1].contains("must be one line"));
}

#[test]
fn what_passes_is_checked() {
    for (text, words) in [
        ("[headers]\nto_app = [\"Via\"]", "cannot hold `via`"),
        ("[headers]\nfrom_app = [\"P-*\"]", "it would take in `p-asserted-identity`"),
        ("[headers]\nfrom_app = [\"*\"]", "it would take in"),
        ("[headers]\nremove = [\"X-*-Y\"]", "is not a header name"),
        ("[headers]\nto_app = [\"History-Info\"]", "cannot hold `history-info`"),
        ("[identity]\ntrust_in = [\"rpid\"]", "`trust_in` cannot hold \"rpid\""),
        ("[identity]\ndiversion = \"hi\"", "diversion"),
        ("[identity]\nprivacy = \"full\"", "privacy"),
        ("[call]\nredirect_3xx = { mode = \"obey\" }", "mode"),
        ("[call]\nredirect_3xx = { max = 0 }", "max"),
        ("[call]\nredirect_3xx = { allow = [\"a b\"] }", "is not a source"),
        ("[fraud]\nallow_countries = [\"XX\"]", "`XX` is no country"),
        ("[fraud]\ndeny_prefixes = [\"0881\"]", "is no beginning of a number"),
        ("[fraud]\ndaily_minutes = 0", "daily_minutes"),
        ("[inbound]\nproxies = [\"10.1.0.1/24\"]", "has bits set after its length"),
        ("[inbound]\nproxies = [\"10.1.0.1:5060\"]", "is not a source"),
        ("[call]\nrefer = { in = \"relay\" }", "or \"pass\""),
        ("[call]\nrefer = { hold = \"yes\" }", "hold"),
        ("[call]\ndiversions = { status = 200 }", "status"),
        ("[call]\ninfo = [\"door\"]", "`info` cannot hold \"door\""),
    ] {
        let found = mistakes(&with(&format!("{text}\n")));
        assert!(found[0].contains(words), "{text}: {found:?}");
    }
}

#[test]
fn failed_expectations_refuse_the_trunk() {
    let numbers = "[numbers]\nrules = [ { when = \"outbound\", field = \"request_uri\", \
                   match = '^\\+44(\\d+)$', replace = '0044$1' } ]\n";
    let expect = |uri: &str| {
        with(&format!(
            "{numbers}[[expect]]\nout = {{ dial = \"+442079460123\", cli = \"+442079460000\" }}\n\
             sip = {{ request_uri = \"{uri}\", from = \"sip:+442079460000@203.0.113.4\" }}\n"
        ))
    };
    read(&expect("sip:00442079460123@203.0.113.4")).unwrap();
    assert_eq!(
        mistakes(&expect("sip:+442079460123@203.0.113.4")),
        ["9: expected request_uri to be \"sip:+442079460123@203.0.113.4\", got \
          \"sip:00442079460123@203.0.113.4\"; correct the test or the trunk"]
    );
    let inbound = |source: &str, to: &str| {
        with(&format!(
            "[inbound]\ndid = [\"+44*\"]\n[numbers.inbound]\nrequest_uri = \"national:GB\"\n\
             [[expect]]\nin = {{ source = \"{source}\", request_uri = \"sip:02079460000@gw\" }}\n\
             app = {{ to = \"{to}\", from = \"anonymous\" }}\n"
        ))
    };
    read(&inbound("203.0.113.4", "+442079460000")).unwrap();
    assert!(mistakes(&inbound("203.0.113.4", "+33"))[0].starts_with("11: expected to to be"));
    assert!(mistakes(&inbound("203.0.113.9", "+442079460000"))[0].contains("is no source"));
    let neither = mistakes(&with("[[expect]]\nout = { dial = \"1\" }\n"));
    assert!(neither[0].contains("an [[expect]] is either"), "{neither:?}");
}

#[test]
fn files_together_are_checked() {
    let one = read(&with("[transport]\nlocal = \"wan\"\n")).unwrap();
    let mut two = read(LEAST).unwrap();
    two.file = "other.toml".into();
    let found: Vec<_> =
        check_trunks(&[one, two], &["lan"]).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "acme.toml:6: no [[listener]] is called `wan`; write one of: lan",
            "other.toml:2: the name `acme` is taken by acme.toml:2; give this trunk another one",
        ]
    );
}

fn routes(text: &str) -> Result<tandem_proxy::Routes, Vec<String>> {
    read_routes("routes.toml", text, &[read(LEAST).unwrap()])
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn a_route_says_how_its_targets_are_asked() {
    let route = |more: &str| routes(&format!("[[route]]\ntrunk = \"*\"\ndid = \"*\"\n{more}\n"));
    let read = route(
        "to = [\"<sip:a@10.0.0.5;transport=tcp>;q=0.7\", \"<sip:10.0.0.6>;weight=0\"]\n\
         fork = \"q\"\nring = \"20s\"\nanswer_within = \"2s\"\n\
         follow = [\"10.0.0.0/8\", \"pbx.example\"]",
    )
    .unwrap();
    let Some(InboundTo::Forward(to)) = read.inbound("acme", "+1", "gw") else { panic!() };
    assert_eq!(
        (to.targets[0].uri.as_str(), to.targets[0].q),
        ("sip:a@10.0.0.5;transport=tcp", 700)
    );
    assert_eq!((to.targets[1].q, to.targets[1].weight), (1000, 0));
    assert_eq!((to.fork, to.follow.len()), (Fork::Q, 2));
    assert_eq!(to.ring, Some(Duration::from_secs(20)));
    for (bad, what) in [
        ("to = \"<sip:10.0.0.5>;q=1.5\"", "q=1.5 is not from 0 to 1"),
        ("to = \"<sip:10.0.0.5>;expires=5\"", "`expires` says nothing about a target"),
        ("to = \"<sip:10.0.0.5>;weight=-1\"", "weight=-1 is not a whole number"),
        ("to = \"sip:10.0.0.5\"\nfork = \"race\"", "fork"),
        ("to = \"user:bob\"\nfork = \"parallel\"", "`fork` is for routes to sip: URIs"),
        ("to = \"sip:10.0.0.5\"\nring = \"1h\"", "`ring` must be from 1s to"),
    ] {
        let errors = route(bad).unwrap_err();
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|line| line.contains(what)), "{bad}: {said:?}");
    }
}

#[test]
fn the_first_route_that_matches_wins() {
    let routes = routes(
        "[[route]]\ntrunk = \"acme\"\ndid = \"+4420*\"\nto = \"user:alice\"\n\
         [[route]]\ntrunk = \"*\"\ndid = \"*\"\nto = [\"sip:10.0.0.5\", \"sip:10.0.0.6\"]\n\
         [[route]]\ndial = \"+1900*\"\nto = \"reject:403\"\n\
         [[route]]\ndial = \"+*\"\nto = [\"trunk:acme\"]\n",
    )
    .unwrap();
    assert_eq!(routes.inbound("acme", "+44207", "gw"), Some(&InboundTo::User("alice".into())));
    for (trunk, number) in [("acme", "+4930"), ("other", "+44207")] {
        let Some(InboundTo::Forward(to)) = routes.inbound(trunk, number, "gw") else { panic!() };
        let uris: Vec<_> = to.targets.iter().map(|target| target.uri.as_str()).collect();
        assert_eq!((uris, to.fork), (vec!["sip:10.0.0.5", "sip:10.0.0.6"], Fork::Failover));
    }
    assert!(matches!(routes.dial("+19005"), Some(DialTo::Reject(s)) if s.code() == 403));
    assert_eq!(routes.dial("+44"), Some(&DialTo::Trunks(vec!["acme".into()])));
    assert_eq!(routes.dial("112"), None);
}

#[test]
fn mistakes_in_routes_have_their_line() {
    let table = [
        (
            "trunk = \"acmee\"\ndid = \"*\"\nto = \"user:a\"",
            "2: no trunk is called `acmee`; did you mean `acme`?",
        ),
        (
            "trunk = \"acme\"\ndid = \"*\"\nto = \"group:sales\"",
            "4: `group:sales`: groups are not served",
        ),
        (
            "trunk = \"acme\"\ndid = \"*\"\nto = \"app:record/x.wav\"",
            "4: `app:record/x.wav` is not served; write app:echo",
        ),
        (
            "trunk = \"acme\"\ndid = \"*\"\nto = \"alice\"",
            "4: `alice` is no destination; write user:NAME",
        ),
        ("trunk = \"acme\"\ndid = \"*\"\nto = \"reject:200\"", "4: `reject:200` has no status"),
        ("trunk = \"acme\"\ndid = \"*\"\nto = \"sip:pbx;transport=ws\"", "4: the transport of"),
        (
            "trunk = \"acme\"\ndid = \"*\"\nto = [\"user:a\", \"user:b\"]",
            "4: a list is of trunks only",
        ),
        ("trunk = \"acme\"\nto = \"user:a\"", "1: the route has no `did`"),
        ("did = \"*\"\nto = \"user:a\"", "1: the route has no `trunk`"),
        (
            "trunk = \"acme\"\ndid = \"*\"\ndial = \"*\"\nto = \"user:a\"",
            "1: a route has `trunk` and `did`",
        ),
        ("dial = \"*\"\nto = \"user:a\"", "3: dialled numbers go to trunks"),
        ("dial = \"*\"", "1: the route leads nowhere"),
        ("dial = \"*\"\nto = []", "3: the route leads nowhere"),
        ("dial = \"*\"\nto = 5", "3: `to` is a integer"),
        (
            "dail = \"*\"\nto = \"trunk:acme\"",
            "2: unknown key `dail` in [route]; did you mean `dial`?",
        ),
    ];
    for (route, wanted) in table {
        let found = routes(&format!("[[route]]\n{route}\n")).unwrap_err();
        let wanted = format!("routes.toml:{wanted}");
        assert!(found.iter().any(|m| m.starts_with(&wanted)), "{route}: {found:?}");
    }
}

/// The files in `config/` are read as `tandem check` reads them.
#[test]
fn the_shipped_files_are_good() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let nothing = |what: &str| Err(format!("{what} is not set"));
    let mut trunks = Vec::new();
    for name in ["digest", "phones", "register", "sim", "static"] {
        let text = std::fs::read_to_string(folder.join(format!("trunks/{name}.toml"))).unwrap();
        let trunk = read_trunk(name, &text, &nothing).unwrap_or_else(|e| panic!("{e:#?}"));
        assert_eq!(trunk.name, name);
        // Nothing leaves the machine as shipped.
        assert_eq!(trunk.enabled, name == "sim");
        trunks.push(trunk);
    }
    assert_eq!(check_trunks(&trunks, &["lan"]), []);
    let text = std::fs::read_to_string(folder.join("routes.toml")).unwrap();
    let routes = read_routes("routes.toml", &text, &trunks).unwrap_or_else(|e| panic!("{e:#?}"));
    assert_eq!(
        routes.inbound("sim", "+442079460000", "gw"),
        Some(&InboundTo::User("alice".into()))
    );
    assert_eq!(routes.dial("+442079460200"), Some(&DialTo::Trunks(vec!["sim".into()])));
}
