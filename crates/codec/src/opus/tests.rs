use super::*;

fn speechlike(samples: usize, rate: f32) -> Vec<i16> {
    (0..samples)
        .map(|n| {
            let t = n as f32 / rate;
            let voice: f32 = (1..12)
                .map(|h| (std::f32::consts::TAU * 140.0 * h as f32 * t).sin() / h as f32)
                .sum();
            (voice * 6000.0 * (0.6 + 0.4 * (std::f32::consts::TAU * 3.0 * t).sin())) as i16
        })
        .collect()
}

#[test]
fn durations_are_those_of_table_2() {
    let tens = |toc: u8| packet_duration(&[toc << 3, 0, 0]).unwrap();
    assert_eq!([0, 1, 2, 3].map(tens), [480, 960, 1920, 2880]);
    assert_eq!([12, 13, 14, 15].map(tens), [480, 960, 480, 960]);
    assert_eq!([16, 17, 18, 19].map(tens), [120, 240, 480, 960]);
    assert_eq!([28, 29, 30, 31].map(tens), [120, 240, 480, 960]);
    assert_eq!(packet_duration(&[(1 << 3) | 1, 0]), Some(1920));
    assert_eq!(packet_duration(&[(1 << 3) | 3, 3]), Some(2880));
    // Code 3 with no frame, with no count, and with more than 120 ms.
    assert_eq!(packet_duration(&[(1 << 3) | 3, 0]), None);
    assert_eq!(packet_duration(&[(1 << 3) | 3]), None);
    assert_eq!(packet_duration(&[(1 << 3) | 3, 7]), None);
}

#[test]
fn our_durations_agree_with_libopus_for_every_toc() {
    for toc in 0..=255u8 {
        for count in 0..64u8 {
            let packet = [toc, count, 0, 0];
            let theirs = ::opus::packet::get_nb_samples(&packet, 48_000).ok().filter(|n| *n > 0);
            assert_eq!(
                packet_duration(&packet).map(|n| n as usize),
                theirs,
                "toc {toc} count {count}"
            );
        }
    }
}

#[test]
fn every_telephone_frame_length_goes_through() {
    for (rate, channels) in
        [(8_000, Channels::Mono), (16_000, Channels::Mono), (48_000, Channels::Stereo)]
    {
        let mut encoder =
            Encoder::new(&Settings { sample_rate: rate, channels, ..Settings::default() }).unwrap();
        let mut decoder = Decoder::new(rate, channels).unwrap();
        for ms in [10, 20, 40, 60] {
            let samples = rate as usize / 1000 * ms * channels.count();
            let mut packet = [0; MAX_PACKET];
            let length = encoder.encode(&speechlike(samples, rate as f32), &mut packet).unwrap();
            assert_eq!(packet_duration(&packet[..length]), Some(ms as u32 * 48));
            let mut out = vec![0; samples];
            assert_eq!(decoder.decode(&packet[..length], &mut out), Ok(samples));
        }
        let mut packet = [0; MAX_PACKET];
        let odd = encoder.encode(&speechlike(rate as usize / 1000 * 30, rate as f32), &mut packet);
        if channels == Channels::Mono {
            assert_eq!(odd, Err(Error::BadArgument));
        }
    }
}

#[test]
fn sound_arrives_with_its_level() {
    let input = speechlike(8_000, 8_000.0);
    let mut encoder = Encoder::new(&Settings::default()).unwrap();
    let mut decoder = Decoder::new(8_000, Channels::Mono).unwrap();
    let mut output = Vec::new();
    for frame in input.chunks_exact(160) {
        let mut packet = [0; 400];
        let length = encoder.encode(frame, &mut packet).unwrap();
        let mut samples = [0; 160];
        decoder.decode(&packet[..length], &mut samples).unwrap();
        output.extend_from_slice(&samples);
    }
    let change = 20.0 * (crate::level::rms(&output) / crate::level::rms(&input)).log10();
    assert!(change.abs() < 0.5, "level shifted by {change} dB");
}

/// Mean square error of `b` against `a` at the best alignment within 10 ms.
fn error(a: &[i16], b: &[i16]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>()
        / a.len() as f64
}

#[test]
fn fec_recovers_more_than_concealment() {
    // A glide: concealment repeats the old pitch, the copy in the next packet has the new one.
    let input: Vec<i16> = (0..8_000)
        .scan(0.0f32, |phase, n| {
            *phase += std::f32::consts::TAU * (150.0 + n as f32 * 0.08) / 8_000.0;
            Some((1..8).map(|h| (*phase * h as f32).sin() * 4_000.0 / h as f32).sum::<f32>() as i16)
        })
        .collect();
    let mut encoder = Encoder::new(&Settings { packet_loss: 20, ..Settings::default() }).unwrap();
    let packets: Vec<Vec<u8>> = input
        .chunks_exact(160)
        .map(|frame| {
            let mut packet = [0; 400];
            let length = encoder.encode(frame, &mut packet).unwrap();
            packet[..length].to_vec()
        })
        .collect();
    let (mut recovered, mut concealed) = (0.0, 0.0);
    for lost in [20, 27, 34, 41] {
        let frame_of = |how: &dyn Fn(&mut Decoder, &mut [i16])| {
            let mut decoder = Decoder::new(8_000, Channels::Mono).unwrap();
            let mut out = [0; 160];
            for packet in &packets[..lost] {
                decoder.decode(packet, &mut out).unwrap();
            }
            how(&mut decoder, &mut out);
            out
        };
        let truth = frame_of(&|d, out| assert_eq!(d.decode(&packets[lost], out), Ok(160)));
        recovered += error(
            &truth,
            &frame_of(&|d, out| assert_eq!(d.recover(&packets[lost + 1], out), Ok(160))),
        );
        concealed += error(&truth, &frame_of(&|d, out| assert_eq!(d.conceal(out), Ok(160))));
    }
    assert!(recovered < concealed, "FEC {recovered} against PLC {concealed}");
}

#[test]
fn dtx_makes_silence_small() {
    let mut encoder = Encoder::new(&Settings { dtx: true, ..Settings::default() }).unwrap();
    let mut packet = [0; 400];
    let silent = (0..50)
        .filter(|_| {
            let length = encoder.encode(&[0; 160], &mut packet).unwrap();
            !has_sound(&packet[..length])
        })
        .count();
    assert!(silent > 20, "only {silent} of 50 silent frames were left out");
    // A decoder takes such a packet too, as 20 ms of comfort noise.
    let mut decoder = Decoder::new(8_000, Channels::Mono).unwrap();
    assert_eq!(decoder.decode(&[1 << 3], &mut [0; 160]), Ok(160));
}

#[test]
fn bad_input_is_an_error() {
    let mut decoder = Decoder::new(8_000, Channels::Mono).unwrap();
    let mut out = [0; 960];
    assert_eq!(decoder.decode(&[], &mut out), Err(Error::InvalidPacket));
    assert_eq!(decoder.recover(&[], &mut out), Err(Error::InvalidPacket));
    assert_eq!(decoder.decode(&[(1 << 3) | 3, 0], &mut out), Err(Error::InvalidPacket));
    assert_eq!(decoder.decode(&[3 << 3, 0, 0], &mut out[..160]), Err(Error::BufferTooSmall));
    assert_eq!(decoder.conceal(&mut out[..7]), Err(Error::BadArgument));
    assert_eq!(decoder.conceal(&mut []), Err(Error::BadArgument));
    assert!(Decoder::new(11_025, Channels::Mono).is_err());
    assert!(Encoder::new(&Settings { complexity: 11, ..Settings::default() }).is_err());
}
