//! How loud a frame is.

/// The root mean square of the samples, 0 to 32768. An empty frame is silent.
pub fn rms(samples: &[i16]) -> f32 {
    if samples.is_empty() {
        return 0.0;
    }
    (energy(samples) as f64 / samples.len() as f64).sqrt() as f32
}

/// The sum of the squares. A 16-bit square fits 31 bits, so even minutes of sound cannot overflow it.
pub fn energy(samples: &[i16]) -> u64 {
    samples.iter().map(|s| u64::from(s.unsigned_abs()).pow(2)).sum()
}

/// The level below overload in whole decibels: 0 is a full-scale square wave, 127 is silence or
/// anything softer. This is `-dBov` of RFC 6464 §3 and the noise level of RFC 3389 §3.
pub fn below_overload(samples: &[i16]) -> u8 {
    let rms = rms(samples);
    if rms <= 0.0 {
        return 127;
    }
    let decibels = -20.0 * (rms / 32768.0).log10();
    decibels.round().clamp(0.0, 127.0) as u8
}

/// The root mean square that [`below_overload`] reports as `level`.
pub fn amplitude(level: u8) -> f32 {
    if level >= 127 {
        return 0.0;
    }
    32768.0 * 10f32.powf(-f32::from(level) / 20.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_scale_is_zero_and_silence_is_127() {
        assert_eq!(below_overload(&[i16::MIN; 160]), 0);
        assert_eq!(below_overload(&[i16::MAX; 160]), 0);
        assert_eq!(below_overload(&[0; 160]), 127);
        assert_eq!(below_overload(&[]), 127);
    }

    #[test]
    fn a_full_scale_sine_is_three_decibels_below_overload() {
        let sine: Vec<i16> = (0..800)
            .map(|n| ((n as f32 * 0.05 * std::f32::consts::TAU).sin() * 32767.0) as i16)
            .collect();
        assert_eq!(below_overload(&sine), 3);
    }

    #[test]
    fn amplitude_is_the_inverse() {
        for level in 0..=65 {
            let amplitude = amplitude(level).round().min(32767.0) as i16;
            assert_eq!(below_overload(&[amplitude; 10]), level, "level {level}");
        }
    }
}
