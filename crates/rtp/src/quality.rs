//! Listening quality from loss and delay: the E-model of ITU-T G.107 with its defaults for all that
//! RTP cannot see, which leaves R = 93.2 - Id - Ie,eff.

use std::time::Duration;

/// How a codec suffers, and suffers from loss (ITU-T G.113 Appendix I).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impairment {
    /// Equipment impairment Ie without loss.
    pub equipment: f32,
    /// Robustness against loss, Bpl: the higher, the less loss is heard.
    pub robustness: f32,
}

impl Impairment {
    /// G.711 with the concealment of its Appendix I (G.113 table I.4).
    pub const G711: Self = Self { equipment: 0.0, robustness: 25.1 };
    /// Opus. G.113 has no figures for it; these follow its likes of known figures, with in-band
    /// FEC taken to conceal as well as G.711 does.
    pub const OPUS: Self = Self { equipment: 2.0, robustness: 25.1 };
}

/// What happened to a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Path {
    /// Packets lost or too late, 0 to 1.
    pub loss: f32,
    /// How much longer the bursts of loss are than random ones: 1 is random. See [`burst_ratio`].
    pub burst_ratio: f32,
    /// Mouth to ear, one way: half the round trip, buffers and packet time.
    pub delay: Duration,
    /// The codec.
    pub codec: Impairment,
}

/// The transmission rating R, 0 to 93.2 (G.107 §3, simplified).
pub fn rating(path: &Path) -> f32 {
    let delay = path.delay.as_secs_f32() * 1000.0;
    let delay_impairment = 0.024 * delay + 0.11 * (delay - 177.3).max(0.0);
    let loss = path.loss.clamp(0.0, 1.0) * 100.0;
    let Impairment { equipment, robustness } = path.codec;
    // G.107 equation 7-29.
    let burst = path.burst_ratio.max(1.0);
    let effective = equipment + (95.0 - equipment) * loss / (loss / burst + robustness);
    (93.2 - delay_impairment - effective).clamp(0.0, 93.2)
}

/// The mean opinion score of a rating, 1 to 4.41 (G.107 annex B).
pub fn mos(rating: f32) -> f32 {
    let r = rating.clamp(0.0, 100.0);
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5)
}

/// The burst ratio of `lost` packets out of `expected` that came in `bursts` runs: their mean
/// length over that of random loss, 1 / (1 - p) (G.107 §3.5). At least 1.
pub fn burst_ratio(lost: u64, expected: u64, bursts: u64) -> f32 {
    if lost == 0 || bursts == 0 || expected <= lost {
        return 1.0;
    }
    let mean = lost as f32 / bursts as f32;
    (mean * (1.0 - lost as f32 / expected as f32)).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(loss: f32, delay: u64) -> Path {
        Path {
            loss,
            burst_ratio: 1.0,
            delay: Duration::from_millis(delay),
            codec: Impairment::G711,
        }
    }

    #[test]
    fn a_perfect_call_has_the_best_score() {
        let best = mos(rating(&path(0.0, 0)));
        assert!((best - 4.41).abs() < 0.01, "{best}");
    }

    #[test]
    fn figures_agree_with_the_equations_by_hand() {
        // 5 % random loss: Ie,eff = 95 · 5 / (5 + 25.1) = 15.78.
        assert!((rating(&path(0.05, 0)) - 77.42).abs() < 0.01);
        // 300 ms: Id = 7.2 + 13.497.
        assert!((rating(&path(0.0, 300)) - 72.503).abs() < 0.01);
        // G.107 annex B: R = 80 is MOS 4.03, R = 60 is 3.10, R = 50 is 2.58.
        for (r, expected) in [(80.0, 4.03), (60.0, 3.10), (50.0, 2.58), (0.0, 1.0)] {
            assert!((mos(r) - expected).abs() < 0.01, "{r}");
        }
    }

    #[test]
    fn more_loss_burst_or_delay_is_never_better() {
        let scores = |paths: &[Path]| paths.iter().map(rating).collect::<Vec<_>>();
        let falling = |scores: Vec<f32>| scores.windows(2).all(|w| w[0] >= w[1]);
        assert!(falling(scores(&[0.0, 0.01, 0.05, 0.2, 1.0].map(|l| path(l, 50)))));
        assert!(falling(scores(&[0, 100, 177, 200, 400, 5000].map(|d| path(0.02, d)))));
        let bursty = [1.0, 2.0, 5.0].map(|b| Path { burst_ratio: b, ..path(0.05, 50) });
        assert!(falling(scores(&bursty)));
    }

    #[test]
    fn burst_ratio_is_one_for_random_loss() {
        assert_eq!(burst_ratio(0, 100, 0), 1.0);
        assert_eq!(burst_ratio(100, 1000, 90), 1.0);
        assert!((burst_ratio(100, 1000, 20) - 4.5).abs() < 0.001);
    }
}
