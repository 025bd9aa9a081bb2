//! From payloads to samples, at the rate that the listener's encoder takes; what is lost is made up.
use tandem_codec::{
    Codec, g711, g722, opus,
    plc::{Beyond, Concealer},
    resample::Resampler,
};

use crate::outbound::{MAX_FRAME_MS, RATE};

/// Looked at of a packet behind a hole: 20 ms of G.711 or G.722.
const LOOKED_AT: usize = 160;

/// A packet of the same codec that has come from behind a hole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Following<'a> {
    pub(crate) payload: &'a [u8],
    /// What is missing between what is made up now and this.
    pub(crate) more_ms: usize,
}

/// The decoders of one talker, each made when its codec is agreed or first heard.
#[derive(Debug, Default)]
pub(crate) struct Decoding {
    opus: Option<opus::Decoder>,
    /// Samples per second of the Opus decoder.
    opus_rate: u32,
    g722: Option<Box<g722::Decoder>>,
    /// Of G.711, and of G.722.
    concealer: Option<Box<Concealer>>,
    wide_concealer: Option<Box<Concealer>>,
    /// Between the codec's rate and the listener's, and those two.
    resampler: Option<Box<(Resampler, u32, u32)>>,
    decoded: Box<[i16]>,
    resampled: Box<[i16]>,
    /// The samples are in `resampled`.
    is_resampled: bool,
    /// Opus payloads that the decoder refused.
    undecodable: u64,
}

impl Decoding {
    /// Makes the decoders of what is agreed, so that no packet has to.
    pub(crate) fn prepare(&mut self, mut codecs: impl Iterator<Item = Codec>) {
        if self.opus.is_none() && codecs.any(|codec| codec == Codec::Opus) {
            self.make_opus(RATE);
        }
    }

    fn make_opus(&mut self, rate: u32) {
        self.opus = opus::Decoder::new(rate, opus::Channels::Mono).ok();
        self.opus_rate = rate;
    }

    /// The first of the samples made last.
    pub(crate) fn samples(&self, count: usize) -> &[i16] {
        let samples = if self.is_resampled { &self.resampled } else { &self.decoded };
        samples.get(..count).unwrap_or_default()
    }

    /// Payloads that could not be decoded.
    pub(crate) fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// Decodes a payload to `rate`; returns the number of samples.
    pub(crate) fn decode(&mut self, codec: Codec, payload: &[u8], rate: u32) -> usize {
        self.make_room(codec, rate);
        let count = match (codec, &mut self.opus) {
            (Codec::Pcmu, _) => g711::decode(g711::Law::Mu, payload, &mut self.decoded),
            (Codec::Pcma, _) => g711::decode(g711::Law::A, payload, &mut self.decoded),
            (Codec::G722, _) => {
                self.g722.get_or_insert_default().decode(payload, &mut self.decoded)
            }
            (Codec::Opus, Some(decoder)) => {
                decoder.decode(payload, &mut self.decoded).unwrap_or_else(|_| {
                    self.undecodable += 1;
                    0
                })
            }
            (Codec::Opus, None) => 0,
        };
        let samples = self.decoded.get_mut(..count).unwrap_or_default();
        match codec {
            Codec::Pcmu | Codec::Pcma => self.concealer.get_or_insert_default().received(samples),
            Codec::G722 => wide(&mut self.wide_concealer).received(samples),
            Codec::Opus => {}
        }
        self.resample(codec, count, rate)
    }

    /// Makes up a lost packet, from the `following` one if that helps; returns the number of samples.
    pub(crate) fn conceal(
        &mut self,
        codec: Codec,
        following: Option<Following<'_>>,
        milliseconds: usize,
        rate: u32,
    ) -> usize {
        self.make_room(codec, rate);
        let count = milliseconds * (self.native(codec, rate) / 1_000) as usize;
        let mut looked_at = [0; 2 * LOOKED_AT];
        let beyond = following.and_then(|f| self.look_at(codec, f, &mut looked_at));
        let Some(samples) = self.decoded.get_mut(..count) else { return 0 };
        // Forward error correction is of the packet before.
        let next = following.filter(|f| f.more_ms == 0).map(|f| f.payload);
        let made = match (codec, &mut self.opus, next) {
            (Codec::Pcmu | Codec::Pcma, _, _) => {
                fill(self.concealer.get_or_insert_default(), samples, beyond);
                count
            }
            (Codec::G722, _, _) => {
                fill(wide(&mut self.wide_concealer), samples, beyond);
                count
            }
            (Codec::Opus, Some(decoder), Some(next)) => decoder.recover(next, samples).unwrap_or(0),
            (Codec::Opus, Some(decoder), None) => decoder.conceal(samples).unwrap_or(0),
            (Codec::Opus, None, _) => 0,
        };
        self.resample(codec, made, rate)
    }

    /// Decodes the beginning of what comes behind a hole, where that tells how to fill it.
    fn look_at<'a>(
        &self,
        codec: Codec,
        following: Following<'_>,
        samples: &'a mut [i16],
    ) -> Option<Beyond<'a>> {
        let payload = following.payload.get(..LOOKED_AT)?;
        let (count, rate) = match codec {
            Codec::Pcmu => (g711::decode(g711::Law::Mu, payload, samples), RATE),
            Codec::Pcma => (g711::decode(g711::Law::A, payload, samples), RATE),
            // The decoder will be as it is now when the packet's turn comes.
            Codec::G722 => {
                (self.g722.as_deref()?.clone().decode(payload, samples), g722::SAMPLE_RATE)
            }
            Codec::Opus => return None,
        };
        let distance = following.more_ms * (rate / 1_000) as usize;
        Some(Beyond { samples: samples.get(..count)?, distance })
    }

    /// Sound goes by undecoded: what came before it conceals nothing that comes after.
    pub(crate) fn pass_by(&mut self) {
        self.concealer = None;
        self.wide_concealer = None;
        self.g722 = None;
    }

    /// The stream's past says nothing about its future.
    pub(crate) fn reset(&mut self) {
        if let Some(concealer) = &mut self.concealer {
            **concealer = Concealer::new();
        }
        if let Some(concealer) = &mut self.wide_concealer {
            **concealer = Concealer::wide();
        }
        if let Some(decoder) = &mut self.g722 {
            **decoder = g722::Decoder::new();
        }
        if let Some(resampler) = &mut self.resampler {
            resampler.0.reset();
        }
        if let Some(decoder) = &mut self.opus {
            // Resetting needs no memory, so it cannot fail.
            let _ = decoder.reset();
        }
    }

    /// Samples per second that come out of a codec's decoder: libopus decodes to any rate.
    fn native(&self, codec: Codec, rate: u32) -> u32 {
        match codec {
            Codec::Pcmu | Codec::Pcma => RATE,
            Codec::G722 => g722::SAMPLE_RATE,
            Codec::Opus => rate,
        }
    }

    /// Memory is taken with the first sound, and once more if it becomes wideband.
    fn make_room(&mut self, codec: Codec, rate: u32) {
        if codec == Codec::Opus && self.opus_rate != rate && self.opus.is_some() {
            self.make_opus(rate);
        }
        let native = self.native(codec, rate);
        grow(&mut self.decoded, native);
        let between = (native != rate).then_some((native, rate));
        if between != self.resampler.as_ref().map(|r| (r.1, r.2)) {
            self.resampler = between
                .and_then(|(from, to)| Some(Box::new((Resampler::new(from, to)?, from, to))));
        }
        if between.is_some() {
            grow(&mut self.resampled, rate);
        }
    }

    fn resample(&mut self, codec: Codec, count: usize, rate: u32) -> usize {
        self.is_resampled = self.native(codec, rate) != rate;
        match &mut self.resampler {
            Some(resampler) if self.is_resampled => {
                let samples = self.decoded.get(..count).unwrap_or_default();
                resampler.0.process(samples, &mut self.resampled)
            }
            Some(_) | None => count,
        }
    }
}

fn fill(concealer: &mut Concealer, lost: &mut [i16], beyond: Option<Beyond<'_>>) {
    match beyond {
        Some(beyond) => concealer.conceal_towards(lost, beyond),
        None => concealer.conceal(lost),
    }
}

fn wide(concealer: &mut Option<Box<Concealer>>) -> &mut Concealer {
    concealer.get_or_insert_with(|| Box::new(Concealer::wide()))
}

/// Room for the longest frame.
fn grow(samples: &mut Box<[i16]>, rate: u32) {
    let needed = MAX_FRAME_MS * (rate / 1_000) as usize;
    if samples.len() < needed {
        *samples = vec![0; needed].into_boxed_slice();
    }
}
