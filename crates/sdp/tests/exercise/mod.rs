//! Everything that can be asked of a description from the network; shared with the fuzz target.
use tandem_sdp::{
    Description, Direction, Encoding, Local, Negotiator, Profile, Security, SrtpMode, Suite,
};

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
        voip_metrics: false,
        single_codec_answer: brief,
        brief,
    }
}

fn leg(id: u64, brief: bool, mode: SrtpMode) -> Negotiator {
    let security = Security {
        mode,
        suites: Suite::ALL.to_vec(),
        profile: Profile::Auto,
        readable: false,
        seed: [7; 32].into(),
    };
    Negotiator::new(id, local(brief)).secured(security)
}

/// Reads bytes as a description, answers them as an offer and takes them as an answer; what we write
/// can be read and has as many lines as the offer.
pub(crate) fn describe(data: &[u8]) {
    let modes = [SrtpMode::Off, SrtpMode::Optional, SrtpMode::Required];
    for (brief, mode) in [false, true].into_iter().flat_map(|brief| modes.map(|m| (brief, m))) {
        let mut callee = leg(1, brief, mode);
        if let Ok((answer, agreed)) = callee.answer(data) {
            assert!(mode != SrtpMode::Required || agreed.protection.is_some());
            assert!(mode != SrtpMode::Off || agreed.protection.is_none());
            let offered = Description::parse(data).unwrap();
            let answered = Description::parse(answer.as_bytes()).unwrap();
            assert_eq!(answered.lines(), offered.lines());
            let again = Description::parse(callee.offer().as_bytes()).unwrap();
            assert_eq!(again.lines(), offered.lines());
        }
        let mut caller = leg(2, brief, mode);
        caller.offer();
        if let Ok(agreed) = caller.accept(data) {
            assert!(mode != SrtpMode::Required || agreed.protection.is_some());
            assert!(mode != SrtpMode::Off || agreed.protection.is_none());
            Description::parse(caller.offer().as_bytes()).unwrap();
        }
    }
}
