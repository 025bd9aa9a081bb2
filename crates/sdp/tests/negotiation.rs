//! Offer and answer by the rules of RFC 3264, both roles.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
use tandem_sdp::{Direction, Encoding, Local, Negotiator, OpusLimits};

fn local() -> Local {
    Local {
        rtp: "203.0.113.5:20000".parse().unwrap(),
        rtcp: "203.0.113.5:20001".parse().unwrap(),
        codecs: vec![Encoding::Pcma, Encoding::Pcmu],
        telephone_event: Some((8000, 101)),
        comfort_noise: false,
        packet_time_ms: 20,
        direction: Direction::SendRecv,
        offer_rtcp_mux: false,
        voip_metrics: false,
        single_codec_answer: true,
        brief: false,
    }
}

fn with_opus() -> Local {
    Local { codecs: vec![Encoding::Opus, Encoding::Pcma], single_codec_answer: false, ..local() }
}

fn offer(media: &str) -> Vec<u8> {
    format!("v=0\r\no=c 7 1 IN IP4 192.0.2.1\r\ns=call\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{media}")
        .into_bytes()
}

fn lines<'a>(sdp: &'a str, kind: &str) -> Vec<&'a str> {
    sdp.lines().filter(|l| l.starts_with(kind)).collect()
}

#[test]
fn an_offer_of_g711_names_events_at_8000_hertz_only() {
    let sdp = Negotiator::new(40, local()).offer();
    assert_eq!(
        sdp,
        "v=0\r\no=- 10 1 IN IP4 203.0.113.5\r\ns=-\r\nc=IN IP4 203.0.113.5\r\nt=0 0\r\n\
         m=audio 20000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
    );
}

#[test]
fn a_brief_description_says_the_same_in_fewer_lines() {
    let brief = |local: Local| Local { brief: true, comfort_noise: true, ..local };
    let mut leg = Negotiator::new(40, brief(local()));
    let sdp = leg.offer();
    assert_eq!(
        sdp,
        "v=0\r\no=- 10 1 IN IP4 203.0.113.5\r\ns=-\r\nc=IN IP4 203.0.113.5\r\nt=0 0\r\n\
         m=audio 20000 RTP/AVP 8 0 13 101\r\na=rtpmap:101 telephone-event/8000\r\n"
    );
    let full = |local: Local| Local { comfort_noise: true, ..local };
    let from_brief = Negotiator::new(1, full(local())).answer(sdp.as_bytes()).unwrap().1;
    let text = Negotiator::new(40, full(local())).offer();
    let from_full = Negotiator::new(1, full(local())).answer(text.as_bytes()).unwrap().1;
    assert_eq!(from_brief, from_full);

    leg.accept(&offer("m=audio 4000 RTP/AVP 8\r\n")).unwrap();
    let held = leg.offer_direction(Direction::SendOnly).unwrap();
    assert!(held.contains(" 2 IN IP4 203.0.113.5\r\n") && held.ends_with("a=sendonly\r\n"));
    let odd = Local { packet_time_ms: 30, ..brief(with_opus()) };
    let sdp = Negotiator::new(40, odd).offer();
    assert!(sdp.contains("a=rtpmap:111 opus/48000/2\r\n") && sdp.contains("a=ptime:30\r\n"));
}

#[test]
fn an_offer_names_events_once_at_the_clock_that_is_wanted() {
    let sdp = Negotiator::new(40, with_opus()).offer();
    assert_eq!(lines(&sdp, "m="), ["m=audio 20000 RTP/AVP 111 8 101"]);
    assert!(sdp.contains("a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n"));
    assert!(sdp.contains("a=rtpmap:101 telephone-event/8000\r\n"));
    let at_48 = Local { telephone_event: Some((48_000, 110)), ..with_opus() };
    let sdp = Negotiator::new(40, at_48).offer();
    assert_eq!(lines(&sdp, "m="), ["m=audio 20000 RTP/AVP 111 8 110"]);
    // A clock that no codec has is not offered (RFC 4733 §2.1).
    let opus_only = Local { codecs: vec![Encoding::Opus], ..with_opus() };
    let sdp = Negotiator::new(40, opus_only).offer();
    assert_eq!(lines(&sdp, "a=rtpmap:110"), ["a=rtpmap:110 telephone-event/48000"]);
}

/// RFC 7587 §7.1, RFC 3261 §13.2.1, RFC 3264 §8.
#[test]
fn an_answer_says_who_hears_it_when_it_leaves_and_once() {
    let offer = offer("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n");
    let (narrow, wide) = (OpusLimits::of([Encoding::Pcma]), OpusLimits::of([Encoding::G722]));
    let mut leg = Negotiator::new(40, with_opus());
    let (written, agreed) = leg.answer(&offer).unwrap();
    assert_eq!(lines(&written, "a=fmtp:96"), ["a=fmtp:96 useinbandfec=1"]);
    let told = leg.tell(narrow).unwrap().to_owned();
    let fmtp = "a=fmtp:96 maxplaybackrate=8000;sprop-maxcapturerate=8000;\
                maxaveragebitrate=24000;useinbandfec=1";
    assert_eq!(lines(&told, "a=fmtp:96"), [fmtp]);
    assert_eq!(told.replace(fmtp, "a=fmtp:96 useinbandfec=1"), written, "and nothing else");
    assert_eq!(leg.tell(wide), Some(&*told), "as every response");
    assert_eq!(leg.limits(), narrow);
    // What holds then is said of a later offer, under the next version where that is something else.
    assert_eq!(leg.answer(&offer).unwrap(), (told.clone(), agreed));
    leg.limit(OpusLimits::NONE);
    let (later, _) = leg.answer(&offer).unwrap();
    assert_eq!(later, written.replace("o=- 10 1 ", "o=- 10 2 "));
    assert_eq!(leg.tell(narrow), Some(&*later), "it has left");
    let held = leg.offer_direction(Direction::SendOnly).unwrap();
    assert_eq!(lines(&held, "a=fmtp:96"), ["a=fmtp:96 useinbandfec=1"]);
}

#[test]
fn who_hears_g711_says_nothing_of_opus() {
    let mut leg = Negotiator::new(40, local());
    leg.limit(OpusLimits::of([Encoding::Pcma]));
    assert!(!leg.offer().contains("maxplaybackrate"));
    let (answer, _) = leg.answer(&offer("m=audio 4000 RTP/AVP 8\r\n")).unwrap();
    assert_eq!(leg.tell(OpusLimits::of([Encoding::G722])), Some(&*answer));
}

/// What a leg has agreed on is what limits the one joined to it.
#[test]
fn what_an_opus_listener_asks_for_binds_who_speaks_to_it() {
    let of = |media: &str| {
        let (_, agreed) = Negotiator::new(1, with_opus()).answer(&offer(media)).unwrap();
        OpusLimits::of_agreed(&agreed).to_string()
    };
    let opus =
        "a=rtpmap:96 opus/48000/2\r\na=fmtp:96 maxplaybackrate=16000;maxaveragebitrate=20000\r\n";
    assert_eq!(
        of(&format!("m=audio 4000 RTP/AVP 96\r\n{opus}")),
        "maxplaybackrate=16000;maxaveragebitrate=20000;useinbandfec=1"
    );
    // It hears G.711, and may speak Opus.
    assert_eq!(
        of(&format!("m=audio 4000 RTP/AVP 8 96\r\n{opus}")),
        "maxplaybackrate=8000;maxaveragebitrate=24000;useinbandfec=1"
    );
}

#[test]
fn two_lines_of_events_in_an_offer_are_answered_with_the_one_that_fits() {
    let mut leg = Negotiator::new(1, with_opus());
    let (answer, agreed) = leg
        .answer(&offer(
            "m=audio 4000 RTP/AVP 8 96 101 110\r\na=rtpmap:96 opus/48000/2\r\n\
             a=rtpmap:110 telephone-event/48000\r\na=rtpmap:101 telephone-event/8000\r\n",
        ))
        .unwrap();
    let clocks: Vec<u32> = agreed.dtmf_receive.iter().map(|e| e.clock_rate).collect();
    let send = agreed.dtmf_send.unwrap();
    assert_eq!((send.payload_type, send.clock_rate), (101, 8000), "that of PCMA, which is sent");
    // Each codec that may come has its own.
    assert_eq!(lines(&answer, "m="), ["m=audio 20000 RTP/AVP 8 96 101 110"]);
    assert_eq!(clocks, [8000, 48000]);
}

#[test]
fn an_answer_keeps_the_offers_order_and_payload_types() {
    let mut leg = Negotiator::new(1, with_opus());
    let (answer, agreed) = leg
        .answer(&offer(
            "m=audio 4000 RTP/AVP 8 96 97\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 cbr=1\r\n\
             a=rtpmap:97 telephone-event/8000\r\na=fmtp:97 0-11\r\na=ptime:30\r\n",
        ))
        .unwrap();
    assert_eq!(lines(&answer, "m="), ["m=audio 20000 RTP/AVP 8 96 97"]);
    assert_eq!((agreed.send.encoding, agreed.send.payload_type), (Encoding::Pcma, 8));
    assert_eq!(agreed.packet_time_ms, 30);
    assert_eq!(agreed.remote, Some("192.0.2.1:4000".parse().unwrap()));
    assert_eq!(agreed.remote_rtcp, Some("192.0.2.1:4001".parse().unwrap()));
    let event = agreed.dtmf_send.unwrap();
    assert_eq!((event.payload_type, event.clock_rate, event.events), (97, 8000, 0x0fff));
    // A later offer of ours keeps the mapping.
    assert_eq!(lines(&leg.offer(), "m="), ["m=audio 20000 RTP/AVP 96 8 97"]);
}

#[test]
fn a_single_codec_answer_names_one_codec_and_its_events() {
    let (answer, agreed) = Negotiator::new(1, local())
        .answer(&offer("m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"))
        .unwrap();
    assert_eq!(lines(&answer, "m="), ["m=audio 20000 RTP/AVP 0 101"]);
    assert_eq!(agreed.receive.len(), 1);
    assert_eq!(agreed.dtmf_send.unwrap().events, u16::MAX, "no fmtp means 0 to 15");
}

#[test]
fn opus_with_events_at_8000_only_still_gets_digits() {
    let (answer, agreed) = Negotiator::new(1, with_opus())
        .answer(&offer(
            "m=audio 4000 RTP/AVP 111 101\r\na=rtpmap:111 opus/48000/2\r\n\
             a=rtpmap:101 telephone-event/8000\r\n",
        ))
        .unwrap();
    assert_eq!(lines(&answer, "m="), ["m=audio 20000 RTP/AVP 111 101"]);
    assert_eq!(agreed.dtmf_send.unwrap().clock_rate, 8000);
}

#[test]
fn every_line_is_mirrored_and_what_is_not_spoken_gets_port_zero() {
    let (answer, _) = Negotiator::new(1, local())
        .answer(&offer(
            "m=video 5000 RTP/AVP 96 97\r\na=rtpmap:96 H264/90000\r\n\
             m=audio 4000 RTP/SAVP 0\r\nm=audio 4002 RTP/AVP 18\r\nm=audio 4004 RTP/AVP 0\r\n\
             m=image 6000 udptl t38\r\nm=audio 4006 RTP/AVP 8\r\nm=audio 0 RTP/AVP 8\r\n\
             m=x-future 9 FOO/BAR z\r\n",
        ))
        .unwrap();
    assert_eq!(
        lines(&answer, "m="),
        [
            "m=video 0 RTP/AVP 96",
            "m=audio 0 RTP/SAVP 0",
            "m=audio 0 RTP/AVP 18",
            "m=audio 20000 RTP/AVP 0",
            "m=image 0 udptl t38",
            "m=audio 0 RTP/AVP 8",
            "m=audio 0 RTP/AVP 8",
            "m=x-future 0 FOO/BAR z",
        ]
    );
}

#[test]
fn refusals_carry_the_warning_that_fits() {
    for (media, warning) in [
        ("m=video 5000 RTP/AVP 96\r\n", 304),
        ("", 304),
        ("m=audio 0 RTP/AVP 0\r\n", 304),
        ("m=audio 4000 RTP/AVP 18 9\r\n", 305),
        ("m=audio 4000 RTP/SAVP 0\r\n", 302),
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP6 2001:db8::1\r\n", 301),
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 host.example\r\n", 301),
    ] {
        let mut leg = Negotiator::new(1, local());
        let refusal = leg.answer(&offer(media)).unwrap_err();
        assert_eq!(refusal.warning, warning, "{media}: {}", refusal.text);
        assert!(leg.negotiated().is_none() && leg.written().is_none());
    }
}

#[test]
fn directions_are_answered_by_the_table() {
    use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    for (offered, ours, answered) in [
        (SendRecv, SendRecv, SendRecv),
        (SendRecv, SendOnly, SendOnly),
        (SendRecv, Inactive, Inactive),
        (SendOnly, SendRecv, RecvOnly),
        (SendOnly, SendOnly, Inactive),
        (RecvOnly, SendRecv, SendOnly),
        (RecvOnly, RecvOnly, Inactive),
        (Inactive, SendRecv, Inactive),
    ] {
        let mut leg = Negotiator::new(1, Local { direction: ours, ..local() });
        let text = format!("m=audio 4000 RTP/AVP 8\r\na={}\r\n", offered.name());
        let (answer, agreed) = leg.answer(&offer(&text)).unwrap();
        assert_eq!(agreed.direction, answered, "{offered:?} to {ours:?}");
        assert!(answer.ends_with(&format!("a={}\r\n", answered.name())));
    }
}

#[test]
fn hold_and_resume_raise_the_version_by_one_each_and_keep_the_origin() {
    let mut leg = Negotiator::new(44, local());
    let plain = "m=audio 4000 RTP/AVP 8\r\n";
    let held = "m=audio 4000 RTP/AVP 8\r\na=sendonly\r\n";
    let (first, _) = leg.answer(&offer(plain)).unwrap();
    let (again, _) = leg.answer(&offer(plain)).unwrap();
    assert_eq!(first, again, "nothing changed, nothing changes");
    let (hold, agreed) = leg.answer(&offer(held)).unwrap();
    assert!(agreed.is_held_by_peer());
    let (resumed, agreed) = leg.answer(&offer(plain)).unwrap();
    assert!(!agreed.is_held_by_peer());
    let origins: Vec<_> = [&first, &hold, &resumed].map(|s| lines(s, "o=")[0]).to_vec();
    assert_eq!(
        origins,
        [
            "o=- 11 1 IN IP4 203.0.113.5",
            "o=- 11 2 IN IP4 203.0.113.5",
            "o=- 11 3 IN IP4 203.0.113.5"
        ]
    );
}

#[test]
fn an_address_of_zeros_holds() {
    let mut leg = Negotiator::new(1, local());
    let text = "m=audio 4000 RTP/AVP 8\r\nc=IN IP4 0.0.0.0\r\n";
    let (answer, agreed) = leg.answer(&offer(text)).unwrap();
    assert!(answer.contains("a=recvonly") && !answer.contains("0.0.0.0"));
    assert_eq!((agreed.remote, agreed.direction), (None, Direction::RecvOnly));
}

#[test]
fn a_refused_offer_leaves_the_session_as_it_was() {
    let mut leg = Negotiator::new(1, local());
    let (first, agreed) = leg.answer(&offer("m=audio 4000 RTP/AVP 8\r\n")).unwrap();
    leg.answer(&offer("m=audio 4000 RTP/AVP 18\r\n")).unwrap_err();
    leg.answer(&offer("")).unwrap_err();
    assert_eq!(leg.written(), Some(first.as_str()));
    assert_eq!(leg.negotiated(), Some(&agreed));
}

#[test]
fn an_answer_is_taken_with_the_peers_payload_types_for_sending_and_ours_for_receiving() {
    let mut leg = Negotiator::new(1, with_opus());
    leg.offer();
    let agreed = leg
        .accept(&offer(
            "m=audio 4000 RTP/AVP 120 121\r\na=rtpmap:120 opus/48000/2\r\na=ptime:40\r\n\
             a=rtpmap:121 telephone-event/48000\r\na=rtcp:4009\r\na=recvonly\r\n",
        ))
        .unwrap();
    assert_eq!(agreed.send.payload_type, 120);
    assert_eq!(agreed.receive[0].payload_type, 111);
    assert_eq!(agreed.dtmf_send.map(|e| (e.payload_type, e.clock_rate)), Some((121, 48000)));
    assert_eq!(agreed.remote_rtcp, Some("192.0.2.1:4009".parse().unwrap()));
    assert_eq!((agreed.packet_time_ms, agreed.direction), (40, Direction::SendOnly));
}

#[test]
fn answers_that_agree_on_nothing_are_refused() {
    for (media, warning) in [
        ("m=audio 0 RTP/AVP 8\r\n", 305),
        ("m=audio 4000 RTP/AVP 18\r\n", 305),
        ("m=video 4000 RTP/AVP 8\r\n", 304),
        ("", 304),
    ] {
        let mut leg = Negotiator::new(1, local());
        leg.offer();
        assert_eq!(leg.accept(&offer(media)).unwrap_err().warning, warning, "{media}");
    }
}

#[test]
fn rtcp_is_multiplexed_only_when_both_want_it() {
    let with = offer("m=audio 4000 RTP/AVP 8\r\na=rtcp-mux\r\n");
    let without = offer("m=audio 4000 RTP/AVP 8\r\n");
    let (answer, agreed) = Negotiator::new(1, local()).answer(&with).unwrap();
    assert!(answer.contains("a=rtcp-mux") && agreed.rtcp_mux);
    assert_eq!(agreed.remote_rtcp, agreed.remote);
    let (answer, agreed) = Negotiator::new(1, local()).answer(&without).unwrap();
    assert!(!answer.contains("rtcp-mux") && !agreed.rtcp_mux);
    for (asks, agrees) in [(false, false), (true, true)] {
        let mut leg = Negotiator::new(1, Local { offer_rtcp_mux: asks, ..local() });
        assert_eq!(leg.offer().contains("rtcp-mux"), asks);
        assert_eq!(leg.accept(&with).unwrap().rtcp_mux, agrees);
        assert!(!leg.accept(&without).unwrap().rtcp_mux);
    }
}

#[test]
fn a_later_offer_of_ours_keeps_every_line_of_the_peers() {
    let mut leg = Negotiator::new(1, local());
    let text = "m=video 5000 RTP/AVP 96\r\nm=audio 4000 RTP/AVP 0\r\n";
    leg.answer(&offer(text)).unwrap();
    assert_eq!(
        lines(&leg.offer(), "m="),
        ["m=video 0 RTP/AVP 96", "m=audio 20000 RTP/AVP 8 0 101"]
    );
    let refusal = leg.answer(&offer("m=audio 4000 RTP/AVP 0\r\n")).unwrap_err();
    assert_eq!(refusal.warning, 307, "a line has vanished");
}

#[test]
fn the_origin_starts_small_and_rises_by_one_with_every_change() {
    let mut leg = Negotiator::new(u64::MAX, local());
    let origin = |sdp: &str| {
        let line = lines(sdp, "o=")[0].to_owned();
        let mut words = line.split(' ').skip(1).map(|w| w.parse::<u64>().unwrap_or_default());
        (words.next().unwrap(), words.next().unwrap())
    };
    let (id, version) = origin(&leg.offer());
    assert!(id < 1 << 62 && version == 1, "RFC 3264 §5");
    assert_eq!(origin(&leg.offer()), (id, 1), "the same offer again");
    leg.accept(&offer("m=audio 4000 RTP/AVP 8\r\n")).unwrap();
    let (answer, _) = leg.answer(&offer("m=audio 4000 RTP/AVP 8\r\n")).unwrap();
    assert_eq!(origin(&answer), (id, 2), "one codec now");
    assert_eq!(origin(&leg.offer_direction(Direction::SendOnly).unwrap()), (id, 3));
    assert_eq!(origin(&leg.refuse(&offer("m=audio 4000 RTP/AVP 18\r\n")).unwrap()), (id, 4));
}

/// RFC 3264 §8.4: what the peer knows already, in another direction.
#[test]
fn a_hold_offers_what_stands_and_a_refused_one_leaves_it() {
    let mut leg = Negotiator::new(1, with_opus());
    assert_eq!(leg.offer_direction(Direction::SendOnly), None, "no session yet");
    let sdp = "m=audio 4000 RTP/AVP 8 97\r\na=rtpmap:97 telephone-event/8000\r\n";
    let (answer, _) = leg.answer(&offer(sdp)).unwrap();
    let held = leg.offer_direction(Direction::SendOnly).unwrap();
    assert_eq!(lines(&held, "m="), ["m=audio 20000 RTP/AVP 8 97"], "no codec is added");
    assert_eq!(lines(&held, "a=sendonly").len(), 1);
    leg.withdraw();
    assert_eq!(leg.written(), Some(&*answer));
    // What was said before is not said again under its version.
    let held = leg.offer_direction(Direction::SendOnly).unwrap();
    assert!(lines(&held, "o=")[0].contains(" 3 IN "), "{held}");
    let agreed = leg.accept(&offer(&format!("{sdp}a=recvonly\r\n"))).unwrap();
    assert_eq!((agreed.direction, agreed.is_held_by_peer()), (Direction::SendOnly, false));
    leg.withdraw();
    assert_eq!(leg.written(), Some(&*held), "an accepted offer stands");
    let resumed = leg.offer_direction(Direction::SendRecv).unwrap();
    let agreed = leg.accept(&offer(sdp)).unwrap();
    assert_eq!(agreed.direction, Direction::SendRecv);
    assert_eq!(lines(&resumed, "a=sendrecv").len(), 1);
}

#[test]
fn a_stream_that_the_peer_holds_is_held_with_inactive() {
    let mut leg = Negotiator::new(1, local());
    let (_, agreed) = leg.answer(&offer("m=audio 4000 RTP/AVP 8\r\na=sendonly\r\n")).unwrap();
    assert_eq!((agreed.peer, agreed.is_held_by_peer()), (Direction::SendOnly, true));
    let held = leg.offer_direction(Direction::SendOnly).unwrap();
    assert_eq!(lines(&held, "a=inactive").len(), 1);
    leg.accept(&offer("m=audio 4000 RTP/AVP 8\r\na=inactive\r\n")).unwrap();
    // The peer lets go; our hold stands.
    let (answer, agreed) = leg.answer(&offer("m=audio 4000 RTP/AVP 8\r\n")).unwrap();
    assert_eq!((agreed.direction, agreed.is_held_by_peer()), (Direction::SendOnly, false));
    assert_eq!(lines(&answer, "a=sendonly").len(), 1);
    let resumed = leg.offer_direction(Direction::SendRecv).unwrap();
    assert_eq!(lines(&resumed, "a=sendrecv").len(), 1);
}

#[test]
fn a_plainer_offer_has_g711_and_digits_only() {
    let rich = Local { offer_rtcp_mux: true, comfort_noise: true, ..with_opus() };
    let mut leg = Negotiator::new(1, rich);
    leg.offer();
    assert!(leg.reduce());
    let sdp = leg.offer();
    assert_eq!(lines(&sdp, "m="), ["m=audio 20000 RTP/AVP 8 101"]);
    assert!(lines(&sdp, "a=rtcp-mux").is_empty());
    assert!(!leg.reduce(), "there is nothing left to leave out");
    // A leg that has nothing else keeps what it has.
    let only = Local { codecs: vec![Encoding::Opus], ..with_opus() };
    assert!(!Negotiator::new(1, only).reduce());
    assert!(!Negotiator::new(1, local()).reduce());
}

#[test]
fn the_time_of_an_answer_is_the_offers() {
    let text = String::from_utf8(offer("m=audio 4000 RTP/AVP 8\r\n")).unwrap();
    let mut leg = Negotiator::new(1, local());
    assert!(leg.offer().contains("t=0 0\r\n"));
    let (answer, _) = leg.answer(text.replace("t=0 0", "t=3724394400 0").as_bytes()).unwrap();
    assert_eq!(lines(&answer, "t="), ["t=3724394400 0"]);
}

#[test]
fn an_offer_that_no_status_can_refuse_gets_port_zero_everywhere() {
    let mut leg = Negotiator::new(1, local());
    let (_, agreed) = leg.answer(&offer("m=audio 4000 RTP/AVP 8\r\n")).unwrap();
    let text = "m=audio 4000 RTP/AVP 18\r\nm=video 4002 RTP/AVP 96\r\n";
    let answer = leg.refuse(&offer(text)).unwrap();
    assert_eq!(lines(&answer, "m="), ["m=audio 0 RTP/AVP 18", "m=video 0 RTP/AVP 96"]);
    assert_eq!(leg.negotiated(), Some(&agreed), "the session goes on as it was");
    assert_eq!(leg.refuse(b"nonsense"), None);
}

#[test]
fn new_lines_of_the_peer_are_appended_to_what_we_offer_later() {
    let mut leg = Negotiator::new(1, local());
    leg.offer();
    leg.accept(&offer("m=audio 4000 RTP/AVP 8\r\n")).unwrap();
    let text = "m=audio 4000 RTP/AVP 8\r\nm=image 4002 udptl t38\r\n";
    leg.answer(&offer(text)).unwrap();
    let again = lines(&leg.offer(), "m=").join("|");
    assert_eq!(again, "m=audio 20000 RTP/AVP 8 0 101|m=image 0 udptl t38");
}

#[test]
fn an_offer_asked_for_names_everything_again() {
    let mut leg = Negotiator::new(1, with_opus());
    leg.answer(&offer("m=audio 4000 RTP/AVP 8\r\n")).unwrap();
    assert_eq!(lines(&leg.offer(), "m="), ["m=audio 20000 RTP/AVP 111 8 101"]);
}

#[test]
fn telephone_event_has_a_type_of_its_own_in_each_direction_and_at_each_clock() {
    let mut leg = Negotiator::new(1, with_opus());
    leg.offer();
    let agreed = leg
        .accept(&offer(
            "m=audio 4000 RTP/AVP 8 96 97\r\na=rtpmap:96 telephone-event/8000\r\n\
             a=rtpmap:97 telephone-event/48000\r\n",
        ))
        .unwrap();
    let sent = agreed.dtmf_send.unwrap();
    assert_eq!((sent.payload_type, sent.clock_rate), (96, 8000), "the clock of PCMA");
    let taken = agreed.dtmf_receive.iter().map(|e| (e.payload_type, e.clock_rate));
    assert_eq!(taken.collect::<Vec<_>>(), [(101, 8000)], "by our own type");
    // The peer moves its type; ours in the answer moves with it (RFC 3264 §6.1).
    let text = "m=audio 4000 RTP/AVP 8 100\r\na=rtpmap:100 telephone-event/8000\r\n";
    let (answer, agreed) = leg.answer(&offer(text)).unwrap();
    assert_eq!(lines(&answer, "m="), ["m=audio 20000 RTP/AVP 8 100"]);
    assert_eq!(agreed.dtmf_send.unwrap().payload_type, 100);
}

#[test]
fn unknown_attributes_and_unmapped_types_are_passed_over() {
    let text = "m=audio 4000 RTP/AVP 96 8 97\r\na=rtpmap:97 G726-32/8000\r\na=fax\r\n\
                a=ptime:0\r\na=X-unknown:1 2 3\r\na=candidate:x\r\n";
    let (answer, agreed) = Negotiator::new(1, local()).answer(&offer(text)).unwrap();
    assert_eq!(lines(&answer, "m="), ["m=audio 20000 RTP/AVP 8"]);
    assert!(!answer.contains("unknown") && !answer.contains("candidate"));
    assert_eq!(agreed.packet_time_ms, 20);
}

#[test]
fn preconditions_are_answered_until_the_peers_side_stands() {
    let text = |current: &str| {
        format!(
            "m=audio 4000 RTP/AVP 8\r\na=curr:qos local {current}\r\na=curr:qos remote none\r\n\
             a=des:qos mandatory local sendrecv\r\na=des:qos mandatory remote sendrecv\r\n"
        )
    };
    let mut leg = Negotiator::new(1, local());
    let (answer, _) = leg.answer(&offer(&text("none"))).unwrap();
    assert!(leg.waits_for_peer());
    assert!(answer.contains("a=curr:qos local sendrecv\r\na=curr:qos remote none\r\n"));
    assert!(answer.contains("a=conf:qos remote sendrecv\r\n"));
    let (answer, _) = leg.answer(&offer(&text("sendrecv"))).unwrap();
    assert!(!leg.waits_for_peer());
    assert!(answer.contains("a=curr:qos remote sendrecv\r\n") && !answer.contains("a=conf"));
    let (answer, _) = leg.answer(&offer("m=audio 4000 RTP/AVP 8\r\n")).unwrap();
    assert!(!answer.contains("qos"), "a re-INVITE later says nothing of it");
}

#[test]
fn an_odd_rtcp_port_of_ours_is_written() {
    let rtcp = "203.0.113.5:30001".parse().unwrap();
    let sdp = Negotiator::new(1, Local { rtcp, ..local() }).offer();
    assert!(sdp.contains("a=rtcp:30001 IN IP4 203.0.113.5\r\n"));
}

#[test]
fn two_of_ours_agree() {
    let mut caller = Negotiator::new(1, with_opus());
    let mut callee =
        Negotiator::new(2, Local { rtp: "203.0.113.6:4000".parse().unwrap(), ..with_opus() });
    let offer = caller.offer();
    let (answer, at_callee) = callee.answer(offer.as_bytes()).unwrap();
    let at_caller = caller.accept(answer.as_bytes()).unwrap();
    assert_eq!(at_caller.send, at_callee.send);
    assert_eq!(at_caller.receive, at_callee.receive);
    assert_eq!(at_caller.dtmf_receive, at_callee.dtmf_receive);
}

#[test]
fn g722_has_its_static_type_and_a_clock_of_8000_hertz() {
    let wide = || Local { codecs: vec![Encoding::G722, Encoding::Pcma], ..local() };
    let sdp = Negotiator::new(1, wide()).offer();
    assert_eq!(lines(&sdp, "m="), ["m=audio 20000 RTP/AVP 9 8 101"]);
    assert_eq!(lines(&sdp, "a=rtpmap:9"), ["a=rtpmap:9 G722/8000"]);
    // With or without its rtpmap, and under another number.
    for (media, payload_type) in [
        ("m=audio 4000 RTP/AVP 9 8 101\r\na=rtpmap:101 telephone-event/8000\r\n", 9),
        (
            "m=audio 4000 RTP/AVP 9 8 101\r\na=rtpmap:9 g722/8000/1\r\na=rtpmap:101 telephone-event/8000\r\n",
            9,
        ),
        (
            "m=audio 4000 RTP/AVP 98 101\r\na=rtpmap:98 G722/8000\r\na=rtpmap:101 telephone-event/8000\r\n",
            98,
        ),
    ] {
        let (answer, agreed) = Negotiator::new(1, wide()).answer(&offer(media)).unwrap();
        assert_eq!(lines(&answer, "m="), [format!("m=audio 20000 RTP/AVP {payload_type} 101")]);
        assert_eq!(
            (agreed.send.encoding, agreed.send.payload_type),
            (Encoding::G722, payload_type)
        );
        assert_eq!(agreed.dtmf_send.unwrap().clock_rate, 8000);
    }
    // G722/16000 is not G.722 as RFC 3551 §4.5.2 has it.
    assert!(
        Negotiator::new(1, wide())
            .answer(&offer("m=audio 4000 RTP/AVP 98\r\na=rtpmap:98 G722/16000\r\n"))
            .is_err()
    );
}

#[test]
fn figures_of_speech_are_sent_to_who_asks_and_asked_for_where_wanted() {
    let asks = |attribute: &str| {
        let sdp = offer(&format!("m=audio 4000 RTP/AVP 8\r\n{attribute}"));
        Negotiator::new(1, local()).answer(&sdp).unwrap()
    };
    for (attribute, asked) in [
        ("a=rtcp-xr:voip-metrics\r\n", true),
        ("a=rtcp-xr:rcvr-rtt=all:10 VoIP-metrics stat-summary=loss\r\n", true),
        ("a=rtcp-xr:stat-summary=loss\r\n", false),
        // RFC 3611 §5.1: understood, and nothing wanted.
        ("a=rtcp-xr:\r\n", false),
        ("a=rtcp-xr\r\n", false),
        ("", false),
    ] {
        let (answer, agreed) = asks(attribute);
        assert_eq!(agreed.voip_metrics, asked, "{attribute}");
        assert!(!answer.contains("rtcp-xr"));
    }
    // What stands at the stream counts in place of what stands above it.
    let above = |attribute: &str| {
        let sdp = format!(
            "v=0\r\no=c 7 1 IN IP4 192.0.2.1\r\ns=c\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             a=rtcp-xr:voip-metrics\r\nm=audio 4000 RTP/AVP 8\r\n{attribute}"
        );
        Negotiator::new(1, local()).answer(sdp.as_bytes()).unwrap().1.voip_metrics
    };
    assert!(above("") && !above("a=rtcp-xr:\r\n"));
    let wanting = Local { voip_metrics: true, ..local() };
    let mut leg = Negotiator::new(1, wanting.clone());
    assert_eq!(lines(&leg.offer(), "a=rtcp-xr"), ["a=rtcp-xr:voip-metrics"]);
    assert!(leg.reduce(), "a plain telephone may stumble over it");
    assert!(!leg.offer().contains("rtcp-xr"));
    let (answer, _) =
        Negotiator::new(1, wanting).answer(&offer("m=audio 4000 RTP/AVP 8\r\n")).unwrap();
    assert!(answer.contains("a=rtcp-xr:voip-metrics\r\n"));
}
