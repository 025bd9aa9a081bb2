//! Keys in offers and answers (RFC 4568, RFC 8643), exchange by exchange.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use tandem_sdp::{
    Description, Direction, Encoding, Local, Negotiated, Negotiator, Profile, Refusal, Security,
    SrtpMode, Suite,
};

const KEY: &str = "inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
const OTHER_KEY: &str = "inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj";

fn leg(mode: SrtpMode, profile: Profile, suites: &[Suite]) -> Negotiator {
    let local = Local {
        rtp: "203.0.113.5:20000".parse().unwrap(),
        rtcp: "203.0.113.5:20001".parse().unwrap(),
        codecs: vec![Encoding::Pcma],
        telephone_event: None,
        comfort_noise: false,
        packet_time_ms: 20,
        direction: Direction::SendRecv,
        offer_rtcp_mux: false,
        voip_metrics: false,
        single_codec_answer: false,
        brief: false,
    };
    let readable = false;
    let seed = [3; 32].into();
    let security = Security { mode, suites: suites.to_vec(), profile, readable, seed };
    Negotiator::new(4, local).secured(security)
}

/// The same where others read along.
fn open(mode: SrtpMode, profile: Profile) -> Negotiator {
    let suites = vec![Suite::Aes128CmSha1_80];
    let security = Security { mode, suites, profile, readable: true, seed: [3; 32].into() };
    Negotiator::new(4, usual(mode).local().clone()).secured(security)
}

fn usual(mode: SrtpMode) -> Negotiator {
    leg(mode, Profile::Auto, &[Suite::Aes128Gcm, Suite::Aes128CmSha1_80])
}

fn sdp(transport: &str, crypto: &[String]) -> String {
    moved(transport, crypto, "198.51.100.7", 4000)
}

fn moved(transport: &str, crypto: &[String], ip: &str, port: u16) -> String {
    let lines: String = crypto.iter().map(|c| format!("a=crypto:{c}\r\n")).collect();
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} {transport} 8\r\n{lines}"
    )
}

fn plain(tag: u32, key: &str) -> String {
    format!("{tag} AES_CM_128_HMAC_SHA1_80 {key}")
}

fn answer(leg: &mut Negotiator, offer: &str) -> Result<(String, Negotiated), Refusal> {
    leg.answer(offer.as_bytes())
}

fn keys_of(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("a=crypto:")).collect()
}

fn transport_of(text: &str) -> &str {
    let line = text.lines().find(|line| line.starts_with("m=audio")).unwrap();
    line.split(' ').nth(2).unwrap()
}

#[test]
fn a_protected_offer_is_answered_with_its_tag_and_suite_and_a_key_of_our_own() {
    for mode in [SrtpMode::Optional, SrtpMode::Required] {
        let offer = sdp(
            "RTP/SAVP",
            &[
                format!("1 F8_128_HMAC_SHA1_80 {KEY}"),
                format!("2 AES_CM_128_HMAC_SHA1_32 {KEY}"),
                format!("3 AES_CM_128_HMAC_SHA1_80 {KEY}|2^20|1:4 UNKNOWN"),
                format!("4 AES_CM_128_HMAC_SHA1_80 {OTHER_KEY}|2^20|1:4"),
                format!("5 AES_CM_128_HMAC_SHA1_80 {KEY}"),
            ],
        );
        let (text, agreed) = answer(&mut usual(mode), &offer).unwrap();
        assert_eq!(transport_of(&text), "RTP/SAVP");
        let keys = keys_of(&text);
        assert_eq!(keys.len(), 1, "RFC 4568 §5.1.2: exactly one");
        // The third asks for what nobody knows, so that the fourth is the first that can be used.
        assert!(keys[0].starts_with("4 AES_CM_128_HMAC_SHA1_80 inline:"), "{keys:?}");
        assert!(keys[0].ends_with("|1:4") && !keys[0].contains(OTHER_KEY));
        let protection = agreed.protection.unwrap();
        assert_eq!(protection.suite, Suite::Aes128CmSha1_80);
        assert_eq!(protection.receive[0].lifetime, Some(1 << 20));
        assert_ne!(protection.send.secret(), protection.receive[0].secret());
    }
}

#[test]
fn each_mode_answers_each_offer_as_the_table_says() {
    let keys = [plain(1, KEY)];
    let unknown = [format!("1 F8_128_HMAC_SHA1_80 {KEY}")];
    type Row<'a> = (&'a str, &'a [String], [Result<bool, u16>; 3]);
    let rows: [Row<'_>; 6] = [
        ("RTP/SAVP", &keys, [Err(302), Ok(true), Ok(true)]),
        ("RTP/SAVPF", &keys, [Err(302), Ok(true), Ok(true)]),
        ("RTP/SAVP", &unknown, [Err(302), Err(306), Err(306)]),
        ("RTP/AVP", &keys, [Ok(false), Ok(true), Ok(true)]),
        ("RTP/AVPF", &[], [Ok(false), Ok(false), Err(302)]),
        ("UDP/TLS/RTP/SAVP", &keys, [Err(302), Err(302), Err(302)]),
    ];
    for (transport, crypto, expected) in rows {
        let modes = [SrtpMode::Off, SrtpMode::Optional, SrtpMode::Required];
        for (mode, expected) in modes.into_iter().zip(expected) {
            let answered = answer(&mut usual(mode), &sdp(transport, crypto));
            let got = answered.as_ref().map(|(_, agreed)| agreed.protection.is_some());
            assert_eq!(got.map_err(|why| why.warning), expected, "{transport} {mode:?}");
            if let Ok((text, _)) = &answered {
                assert_eq!(transport_of(text), transport, "an answer keeps it");
                assert_eq!(keys_of(text).len(), usize::from(expected == Ok(true)));
            }
        }
    }
    // A leg that nobody secured is one without keys.
    let mut bare = Negotiator::new(1, usual(SrtpMode::Off).local().clone());
    assert_eq!(answer(&mut bare, &sdp("RTP/SAVP", &keys)).unwrap_err().warning, 302);
    assert!(answer(&mut bare, &sdp("RTP/AVP", &keys)).unwrap().1.protection.is_none());
}

#[test]
fn a_tag_that_stands_twice_is_refused() {
    let offer = sdp("RTP/SAVP", &[plain(1, KEY), plain(1, OTHER_KEY)]);
    assert_eq!(answer(&mut usual(SrtpMode::Required), &offer).unwrap_err().warning, 306);
}

#[test]
fn of_two_lines_the_first_that_can_be_is_taken() {
    let both = format!(
        "{}m=audio 4002 RTP/AVP 8\r\n",
        sdp("RTP/SAVP", &[format!("1 F8_128_HMAC_SHA1_80 {KEY}")])
    );
    let (text, agreed) = answer(&mut usual(SrtpMode::Optional), &both).unwrap();
    assert!(agreed.protection.is_none() && agreed.remote.unwrap().port() == 4002);
    assert!(text.contains("m=audio 0 RTP/SAVP 8\r\n"), "{text}");
    assert!(answer(&mut usual(SrtpMode::Required), &both).is_err());
}

#[test]
fn keys_stand_at_the_media_not_at_the_session() {
    let at_session = format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\na=crypto:{}\r\nt=0 0\r\n\
         m=audio 4000 RTP/AVP 8\r\n",
        plain(1, KEY)
    );
    let (_, agreed) = answer(&mut usual(SrtpMode::Optional), &at_session).unwrap();
    assert!(agreed.protection.is_none());
}

#[test]
fn offers_name_each_suite_in_the_transport_of_the_mode() {
    let rows = [
        (SrtpMode::Off, Profile::Auto, "RTP/AVP", 0),
        (SrtpMode::Off, Profile::Avpf, "RTP/AVPF", 0),
        (SrtpMode::Optional, Profile::Auto, "RTP/AVP", 2),
        (SrtpMode::Optional, Profile::Savp, "RTP/SAVP", 2),
        (SrtpMode::Required, Profile::Auto, "RTP/SAVP", 2),
        (SrtpMode::Required, Profile::Savpf, "RTP/SAVPF", 2),
        (SrtpMode::Required, Profile::Avp, "RTP/AVP", 2),
    ];
    for (mode, profile, transport, count) in rows {
        let mut leg = leg(mode, profile, &[Suite::Aes256Gcm, Suite::Aes256CmSha1_80]);
        let offer = leg.offer();
        assert_eq!((transport_of(&offer), keys_of(&offer).len()), (transport, count), "{mode:?}");
        assert_eq!(leg.has_offered_keys(), count > 0);
    }
    let offer = leg(SrtpMode::Required, Profile::Auto, &[Suite::Aes256Gcm]).offer();
    assert!(keys_of(&offer)[0].starts_with("1 AEAD_AES_256_GCM inline:"));
}

#[test]
fn an_answer_must_hold_a_key_for_what_was_offered() {
    type Row = (SrtpMode, &'static str, Vec<String>, Result<bool, u16>);
    let rows: [Row; 7] = [
        (SrtpMode::Required, "RTP/SAVP", vec![plain(2, KEY)], Ok(true)),
        (SrtpMode::Required, "RTP/SAVP", vec![plain(1, KEY)], Err(306)),
        (SrtpMode::Required, "RTP/SAVP", vec![plain(9, KEY)], Err(306)),
        (SrtpMode::Required, "RTP/AVP", vec![], Err(302)),
        (SrtpMode::Optional, "RTP/AVP", vec![], Ok(false)),
        (SrtpMode::Optional, "RTP/AVP", vec![plain(2, KEY)], Ok(true)),
        (SrtpMode::Optional, "RTP/SAVP", vec![], Err(306)),
    ];
    for (mode, transport, crypto, expected) in rows {
        let mut leg = usual(mode);
        leg.offer();
        let answer = sdp(transport, &crypto);
        for _ in 0..2 {
            // A second time, as in a 200 after its 183.
            let got = leg.accept(answer.as_bytes()).map(|agreed| agreed.protection.is_some());
            assert_eq!(got.map_err(|why| why.warning), expected, "{mode:?} {crypto:?}");
        }
    }
    let mut off = usual(SrtpMode::Off);
    off.offer();
    assert!(off.accept(sdp("RTP/SAVP", &[plain(1, KEY)]).as_bytes()).is_err());
}

#[test]
fn a_refused_invitation_is_repeated_without_keys_only_where_they_are_not_required() {
    let mut optional = leg(SrtpMode::Optional, Profile::Savp, &[Suite::Aes128Gcm]);
    assert_eq!(transport_of(&optional.offer()), "RTP/SAVP");
    assert!(optional.reduce());
    let offer = optional.offer();
    assert_eq!((transport_of(&offer), keys_of(&offer).len()), ("RTP/AVP", 0));
    assert!(optional.accept(sdp("RTP/AVP", &[]).as_bytes()).unwrap().protection.is_none());
    assert!(!optional.reduce());
    let mut required = usual(SrtpMode::Required);
    required.offer();
    assert!(!required.reduce());
    assert_eq!(transport_of(&required.offer()), "RTP/SAVP");
}

#[test]
fn a_refresh_keeps_the_keys_and_a_new_key_or_address_of_the_peer_changes_ours() {
    let mut leg = usual(SrtpMode::Required);
    let offer = sdp("RTP/SAVP", &[plain(1, KEY)]);
    let (first, agreed) = answer(&mut leg, &offer).unwrap();
    let ours = agreed.protection.unwrap().send;
    let (again, same) = answer(&mut leg, &offer).unwrap();
    assert_eq!((again, &same.protection.unwrap().send), (first, &ours), "nothing changed");
    // Our own hold: what stands and nothing else.
    let hold = leg.offer_direction(Direction::SendOnly).unwrap();
    assert_eq!(keys_of(&hold).len(), 1);
    let held = leg.accept(sdp("RTP/SAVP", &[plain(1, KEY)]).as_bytes()).unwrap();
    assert_eq!(held.protection.unwrap().send, ours);
    // RFC 4568 §7.1.4.
    let rekeyed = sdp("RTP/SAVP", &[plain(1, OTHER_KEY)]);
    let second = answer(&mut leg, &rekeyed).unwrap().1.protection.unwrap();
    assert_ne!(second.send, ours);
    let moved = moved("RTP/SAVP", &[plain(1, OTHER_KEY)], "198.51.100.8", 4000);
    let third = answer(&mut leg, &moved).unwrap().1.protection.unwrap();
    assert!(third.send != second.send && third.send != ours);
    assert_eq!(third.receive, second.receive);
}

#[test]
fn a_secured_session_is_not_laid_open_where_that_is_required() {
    let mut required = usual(SrtpMode::Required);
    answer(&mut required, &sdp("RTP/SAVP", &[plain(1, KEY)])).unwrap();
    assert_eq!(answer(&mut required, &sdp("RTP/AVP", &[])).unwrap_err().warning, 302);
    assert!(required.negotiated().unwrap().protection.is_some(), "it is what it was");
}

#[test]
fn no_key_is_shown_and_each_leg_has_its_own() {
    let mut leg = usual(SrtpMode::Required);
    let offer = leg.offer();
    let key = keys_of(&offer)[0].rsplit(':').next().unwrap();
    assert!(!format!("{leg:?}").contains(key));
    let agreed = leg.accept(sdp("RTP/SAVP", &[plain(2, KEY)]).as_bytes()).unwrap();
    assert!(!format!("{agreed:?} {leg:?}").contains("89, 83"));
    let keys: Vec<_> = keys_of(&offer).iter().map(|line| line.rsplit(':').next()).collect();
    assert_ne!(keys[0], keys[1]);
    assert!(Description::parse(offer.as_bytes()).is_ok());
}

#[test]
fn where_others_read_along_no_key_is_offered_or_taken() {
    let key = plain(1, KEY);
    for profile in [Profile::Auto, Profile::Savp] {
        let text = open(SrtpMode::Optional, profile).offer();
        assert_eq!((transport_of(&text), keys_of(&text).len()), ("RTP/AVP", 0));
    }
    assert!(keys_of(&open(SrtpMode::Required, Profile::Auto).offer()).is_empty());
    // Keys beside RTP/AVP are an invitation that is not taken up (RFC 8643).
    let invited = sdp("RTP/AVP", std::slice::from_ref(&key));
    let (text, agreed) = answer(&mut open(SrtpMode::Optional, Profile::Auto), &invited).unwrap();
    assert!(keys_of(&text).is_empty() && agreed.protection.is_none());
    for (mode, offer) in [
        (SrtpMode::Optional, sdp("RTP/SAVP", std::slice::from_ref(&key))),
        (SrtpMode::Required, sdp("RTP/SAVP", std::slice::from_ref(&key))),
        (SrtpMode::Required, invited),
        (SrtpMode::Required, sdp("RTP/AVP", &[])),
    ] {
        let refusal = answer(&mut open(mode, Profile::Auto), &offer).unwrap_err();
        assert_eq!(
            (refusal.warning, &*refusal.text),
            (302, "keys of SRTP are taken over TLS only")
        );
    }
}
