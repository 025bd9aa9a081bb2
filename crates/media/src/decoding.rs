//! From payloads to samples, at the rate that the listener's encoder takes; what is lost is made up.
use tandem_codec::{Codec, g711, g722, opus, plc::Concealer, resample::Resampler};

use crate::outbound::{MAX_FRAME_MS, RATE};

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
    resampler: Option<(Resampler, u32, u32)>,
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

    /// Makes up a lost packet, from the `next` one if it is there and helps; returns the number of
    /// samples.
    pub(crate) fn conceal(
        &mut self,
        codec: Codec,
        next: Option<&[u8]>,
        milliseconds: usize,
        rate: u32,
    ) -> usize {
        self.make_room(codec, rate);
        let count = milliseconds * (self.native(codec, rate) / 1_000) as usize;
        let Some(samples) = self.decoded.get_mut(..count) else { return 0 };
        let made = match (codec, &mut self.opus, next) {
            (Codec::Pcmu | Codec::Pcma, _, _) => {
                self.concealer.get_or_insert_default().conceal(samples);
                count
            }
            (Codec::G722, _, _) => {
                wide(&mut self.wide_concealer).conceal(samples);
                count
            }
            (Codec::Opus, Some(decoder), Some(next)) => decoder.recover(next, samples).unwrap_or(0),
            (Codec::Opus, Some(decoder), None) => decoder.conceal(samples).unwrap_or(0),
            (Codec::Opus, None, _) => 0,
        };
        self.resample(codec, made, rate)
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
        if let Some((resampler, _, _)) = &mut self.resampler {
            resampler.reset();
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
        if between != self.resampler.as_ref().map(|(_, from, to)| (*from, *to)) {
            self.resampler =
                between.and_then(|(from, to)| Some((Resampler::new(from, to)?, from, to)));
        }
        if between.is_some() {
            grow(&mut self.resampled, rate);
        }
    }

    fn resample(&mut self, codec: Codec, count: usize, rate: u32) -> usize {
        self.is_resampled = self.native(codec, rate) != rate;
        match &mut self.resampler {
            Some((resampler, _, _)) if self.is_resampled => {
                let samples = self.decoded.get(..count).unwrap_or_default();
                resampler.process(samples, &mut self.resampled)
            }
            Some(_) | None => count,
        }
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
