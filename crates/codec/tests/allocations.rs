//! A frame costs no allocation, in Rust or (as libopus allocates only when a codec is made) in C.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use tandem_codec::{
    comfort_noise, g711, level, opus,
    plc::{Beyond, Concealer},
    tone::{self, Tone},
};

#[test]
fn a_frame_costs_no_allocation() {
    let speech = common::speech();
    let settings = opus::Settings { packet_loss: 5, dtx: true, ..opus::Settings::default() };
    let mut encoder = opus::Encoder::new(&settings).unwrap();
    let mut decoder = opus::Decoder::new(8_000, opus::Channels::Mono).unwrap();
    let mut concealer = Concealer::new();
    let mut noise = comfort_noise::Generator::new(1);
    let mut ringing = tone::Generator::new(&Tone::steady(425));
    let info = allocation_counter::measure(|| {
        let mut samples = [0; 160];
        let mut octets = [0; 160];
        let mut packet = [0; 400];
        for (n, frame) in speech.chunks_exact(160).enumerate() {
            for law in [g711::Law::A, g711::Law::Mu] {
                g711::encode(law, frame, &mut octets);
                g711::decode(law, &octets, &mut samples);
            }
            if n % 9 == 0 {
                concealer.conceal(&mut samples);
            } else if n % 9 == 4 {
                concealer.conceal_towards(&mut samples, Beyond { samples: frame, distance: 160 });
            } else {
                concealer.received(&mut samples);
            }
            let length = encoder.encode(&samples, &mut packet).unwrap();
            if n % 7 == 0 {
                decoder.conceal(&mut samples).unwrap();
            } else {
                if n % 7 == 1 {
                    decoder.recover(&packet[..length], &mut samples).unwrap();
                }
                decoder.decode(&packet[..length], &mut samples).unwrap();
            }
            noise.set_level(level::below_overload(&samples));
            noise.fill(&mut samples);
            ringing.fill(&mut samples);
        }
    });
    assert_eq!(info.count_total, 0);
}
