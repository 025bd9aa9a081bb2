//! Whatever a peer writes: no panic, and an answer is always a well-formed answer to it.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
use proptest::prelude::*;
use tandem_sdp::{Description, Direction, Encoding, Local, Negotiator};

fn leg(mux: bool, single: bool) -> Negotiator {
    Negotiator::new(
        77,
        Local {
            rtp: "203.0.113.5:20000".parse().unwrap(),
            rtcp: "203.0.113.5:20001".parse().unwrap(),
            codecs: vec![Encoding::Opus, Encoding::Pcma, Encoding::Pcmu],
            telephone_event: Some((8000, 101)),
            comfort_noise: true,
            packet_time_ms: 20,
            direction: Direction::SendRecv,
            offer_rtcp_mux: mux,
            voip_metrics: false,
            single_codec_answer: single,
            brief: false,
        },
    )
}

/// The rules of RFC 3264 §6 that hold between any offer and its answer.
fn check_answer(offer: &[u8], answer: &str) {
    let theirs = Description::parse(offer).unwrap();
    let ours = Description::parse(answer.as_bytes()).unwrap();
    assert_eq!(theirs.lines(), ours.lines());
    let mut used = 0;
    for n in 0..ours.lines() {
        assert_eq!(theirs.audio(n).is_some(), ours.audio(n).is_some());
        let (Some(theirs), Some(ours)) = (theirs.audio(n), ours.audio(n)) else { continue };
        if ours.port == 0 {
            continue;
        }
        used += 1;
        assert_ne!(theirs.port, 0, "a refused stream stays refused");
        assert!(!ours.direction.sends() || theirs.direction.receives());
        assert!(!ours.direction.receives() || theirs.direction.sends());
        assert!(!ours.rtcp_mux || theirs.rtcp_mux);
        assert!(!ours.formats.is_empty());
        for format in &ours.formats {
            let same = |f: &tandem_sdp::Format| {
                f.payload_type == format.payload_type
                    && f.name.eq_ignore_ascii_case(&format.name)
                    && f.clock_rate == format.clock_rate
            };
            assert!(theirs.formats.iter().any(same), "{format:?} was not offered");
        }
    }
    assert_eq!(used, 1, "exactly one stream");
}

fn attribute() -> impl Strategy<Value = String> {
    prop_oneof![
        (
            90u8..130,
            "(PCMU|pcma|opus|telephone-event|CN|G729|[a-z]{0,4})",
            prop_oneof![Just(8000u32), Just(48000), any::<u32>()]
        )
            .prop_map(|(n, name, clock)| format!("a=rtpmap:{n} {name}/{clock}")),
        (90u8..130, "[ -~]{0,20}").prop_map(|(n, v)| format!("a=fmtp:{n} {v}")),
        "a=(sendrecv|sendonly|recvonly|inactive|rtcp-mux|ptime:[0-9]{0,6}|maxptime:[0-9]{0,3})",
        "a=rtcp:[0-9]{1,6}( IN IP4 [0-9.]{1,9})?",
        "c=IN IP4 (0.0.0.0|192.0.2.[0-9]|224.1.1.1/127|host)",
        "c=IN IP6 (::|2001:db8::[0-9]|x)",
        "[a-z]=[ -~]{0,20}",
    ]
}

fn description() -> impl Strategy<Value = String> {
    let media = (
        "(audio|audio|audio|video|image|Audio)",
        prop_oneof![Just(0u16), any::<u16>()],
        "(RTP/AVP|RTP/AVP|RTP/AVPF|RTP/SAVP|udptl|x)",
        proptest::collection::vec(prop_oneof![Just(0u16), Just(8), Just(13), 90u16..300], 1..8),
        proptest::collection::vec(attribute(), 0..8),
    )
        .prop_map(|(kind, port, proto, formats, attributes)| {
            let formats: Vec<String> = formats.iter().map(u16::to_string).collect();
            let head = format!("m={kind} {port} {proto} {}\r\n", formats.join(" "));
            attributes.iter().fold(head, |out, line| out + line + "\r\n")
        });
    proptest::collection::vec(media, 0..6).prop_map(|media| {
        format!(
            "v=0\r\no=x 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{}",
            media.concat()
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_refused_or_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok((answer, _)) = leg(true, true).answer(&bytes) {
            check_answer(&bytes, &answer);
        }
        let mut caller = leg(true, true);
        caller.offer();
        let _ = caller.accept(&bytes);
    }

    #[test]
    fn every_answer_fits_its_offer(
        offers in proptest::collection::vec(description(), 1..4),
        mux: bool,
        single: bool,
    ) {
        let mut leg = leg(mux, single);
        for offer in &offers {
            let before = leg.written().map(str::to_owned);
            match leg.answer(offer.as_bytes()) {
                Ok((answer, agreed)) => {
                    check_answer(offer.as_bytes(), &answer);
                    prop_assert!((10..=60).contains(&agreed.packet_time_ms));
                    prop_assert!(agreed.remote.is_some() || !agreed.direction.sends());
                }
                Err(refusal) => {
                    prop_assert!((300..400).contains(&refusal.warning));
                    prop_assert_eq!(leg.written().map(str::to_owned), before);
                }
            }
        }
    }

    #[test]
    fn any_answer_is_taken_or_refused(answer in description()) {
        let mut leg = leg(true, false);
        leg.offer();
        if let Ok(agreed) = leg.accept(answer.as_bytes()) {
            prop_assert!(!agreed.receive.is_empty());
            prop_assert!(agreed.remote.is_some() || !agreed.direction.sends());
        }
    }
}
