//! Everything that can be asked of a description from the network; shared with the fuzz target.
use tandem_sdp::{Description, Direction, Encoding, Local, Negotiator};

fn local(brief: bool) -> Local {
    Local {
        rtp: "203.0.113.5:20000".parse().unwrap(),
        rtcp: "203.0.113.5:20001".parse().unwrap(),
        codecs: vec![Encoding::Opus, Encoding::Pcma, Encoding::Pcmu],
        telephone_event: Some((8000, 101)),
        comfort_noise: true,
        packet_time_ms: 20,
        direction: Direction::SendRecv,
        offer_rtcp_mux: brief,
        single_codec_answer: brief,
        brief,
    }
}

/// Reads bytes as a description, answers them as an offer and takes them as an answer; what we write
/// can be read and has as many lines as the offer.
pub(crate) fn describe(data: &[u8]) {
    for brief in [false, true] {
        let mut callee = Negotiator::new(1, local(brief));
        if let Ok((answer, _)) = callee.answer(data) {
            let offered = Description::parse(data).unwrap();
            let answered = Description::parse(answer.as_bytes()).unwrap();
            assert_eq!(answered.lines(), offered.lines());
            let again = Description::parse(callee.offer().as_bytes()).unwrap();
            assert_eq!(again.lines(), offered.lines());
        }
        let mut caller = Negotiator::new(2, local(brief));
        caller.offer();
        if caller.accept(data).is_ok() {
            Description::parse(caller.offer().as_bytes()).unwrap();
        }
    }
}
