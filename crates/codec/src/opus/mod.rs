//! Opus (RFC 6716) by libopus. It encodes from and decodes to 8, 12, 16, 24 or 48 kHz by itself,
//! so a telephone call needs no resampler.

mod packet;

use std::fmt;

pub use packet::{MAX_PACKET, has_sound, is_stereo, packet_duration};

/// Why libopus refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// A frame that is not 2.5, 5, 10, 20, 40, 60, 80, 100 or 120 ms long, an unsupported
    /// sampling rate, or a setting out of range.
    BadArgument,
    /// The caller's output slice is too short.
    BufferTooSmall,
    /// The packet is not valid Opus.
    InvalidPacket,
    /// libopus failed inside, or had no memory when a codec was made.
    Internal,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadArgument => "frame length, sampling rate or setting that Opus does not have",
            Self::BufferTooSmall => "output buffer too small",
            Self::InvalidPacket => "malformed Opus packet",
            Self::Internal => "libopus failed",
        })
    }
}

impl std::error::Error for Error {}

impl From<::opus::Error> for Error {
    fn from(error: ::opus::Error) -> Self {
        use ::opus::ErrorCode;
        match error.code() {
            ErrorCode::BadArg => Self::BadArgument,
            ErrorCode::BufferTooSmall => Self::BufferTooSmall,
            ErrorCode::InvalidPacket => Self::InvalidPacket,
            ErrorCode::InternalError
            | ErrorCode::Unimplemented
            | ErrorCode::InvalidState
            | ErrorCode::AllocFail
            | ErrorCode::Unknown => Self::Internal,
        }
    }
}

/// How many channels a codec works in. Samples of two channels are interleaved, left first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channels {
    /// One channel.
    Mono,
    /// Two channels.
    Stereo,
}

impl Channels {
    const fn count(self) -> usize {
        match self {
            Self::Mono => 1,
            Self::Stereo => 2,
        }
    }
}

impl From<Channels> for ::opus::Channels {
    fn from(channels: Channels) -> Self {
        match channels {
            Channels::Mono => Self::Mono,
            Channels::Stereo => Self::Stereo,
        }
    }
}

/// What an [`Encoder`] is made with. The default suits a telephone call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Sampling rate of the input, Hz: 8000, 12000, 16000, 24000 or 48000. Default 8000.
    pub sample_rate: u32,
    /// Channels of the input. Default mono.
    pub channels: Channels,
    /// Bits per second, 6000 to 510000 (`maxaveragebitrate`, RFC 7587 §6.1). Default 24000.
    pub bitrate: u32,
    /// 0 (least CPU) to 10 (best sound). Default 5.
    pub complexity: u8,
    /// In-band forward error correction (`useinbandfec`): the packet carries a coarse copy of the
    /// one before it, once [`Encoder::set_packet_loss`] says that packets are lost. Default on.
    pub fec: bool,
    /// Discontinuous transmission (`usedtx`): in silence most packets are [not worth
    /// sending](has_sound). Default off.
    pub dtx: bool,
    /// Constant bit rate (`cbr`). Default off.
    pub cbr: bool,
    /// Expected packet loss, percent. Default 0.
    pub packet_loss: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sample_rate: 8_000,
            channels: Channels::Mono,
            bitrate: 24_000,
            complexity: 5,
            fec: true,
            dtx: false,
            cbr: false,
            packet_loss: 0,
        }
    }
}

/// One direction of a call into Opus. About 32 kB of state, made once and never grown.
#[derive(Debug)]
pub struct Encoder {
    inner: ::opus::Encoder,
}

impl Encoder {
    /// # Errors
    /// [`Error::BadArgument`] for a sampling rate or setting outside its range.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let inner = ::opus::Encoder::new(
            settings.sample_rate,
            settings.channels.into(),
            ::opus::Application::Voip,
        )?;
        let mut encoder = Self { inner };
        encoder.inner.set_signal(::opus::Signal::Voice)?;
        encoder.inner.set_inband_fec(settings.fec)?;
        encoder.inner.set_dtx(settings.dtx)?;
        encoder.inner.set_vbr(!settings.cbr)?;
        encoder.inner.set_complexity(i32::from(settings.complexity))?;
        encoder.set_bitrate(settings.bitrate)?;
        encoder.set_packet_loss(settings.packet_loss)?;
        Ok(encoder)
    }

    /// Encodes one frame of interleaved samples, 10 to 60 ms (libopus also takes 2.5, 5 and 80 to
    /// 120 ms), and returns the packet's length. [`MAX_PACKET`] octets of room always suffice.
    ///
    /// # Errors
    /// [`Error::BadArgument`] for a frame of another length, [`Error::BufferTooSmall`].
    pub fn encode(&mut self, samples: &[i16], packet: &mut [u8]) -> Result<usize, Error> {
        Ok(self.inner.encode(samples, packet)?)
    }

    /// Sets the bit rate, bits per second.
    ///
    /// # Errors
    /// [`Error::BadArgument`] if libopus does not take it.
    pub fn set_bitrate(&mut self, bitrate: u32) -> Result<(), Error> {
        let bits = i32::try_from(bitrate).map_err(|_| Error::BadArgument)?;
        Ok(self.inner.set_bitrate(::opus::Bitrate::Bits(bits))?)
    }

    /// Tells the encoder the loss that the far end reports, percent (more than 100 counts as 100).
    /// With [`Settings::fec`] this decides how much of a packet goes into error correction.
    ///
    /// # Errors
    /// [`Error::Internal`] only.
    pub fn set_packet_loss(&mut self, percent: u8) -> Result<(), Error> {
        Ok(self.inner.set_packet_loss_perc(i32::from(percent.min(100)))?)
    }

    /// Forgets the past: the next frame starts a new stream. Settings stay.
    ///
    /// # Errors
    /// [`Error::Internal`] only.
    pub fn reset(&mut self) -> Result<(), Error> {
        Ok(self.inner.reset_state()?)
    }
}

/// One direction of a call out of Opus. About 18 kB of state, made once and never grown.
#[derive(Debug)]
pub struct Decoder {
    inner: ::opus::Decoder,
    sample_rate: u32,
    channels: Channels,
}

impl Decoder {
    /// A decoder to `sample_rate` Hz (8000, 12000, 16000, 24000 or 48000), whatever the packets
    /// were encoded from.
    ///
    /// # Errors
    /// [`Error::BadArgument`] for another sampling rate.
    pub fn new(sample_rate: u32, channels: Channels) -> Result<Self, Error> {
        let inner = ::opus::Decoder::new(sample_rate, channels.into())?;
        Ok(Self { inner, sample_rate, channels })
    }

    /// Decodes a packet and returns how many samples (of all channels together) it wrote. A packet
    /// may last up to 120 ms; [`packet_duration`] tells beforehand.
    ///
    /// # Errors
    /// [`Error::InvalidPacket`] (also for an empty one), [`Error::BufferTooSmall`].
    pub fn decode(&mut self, packet: &[u8], samples: &mut [i16]) -> Result<usize, Error> {
        if packet.is_empty() {
            return Err(Error::InvalidPacket);
        }
        Ok(self.inner.decode(packet, samples, false)? * self.channels.count())
    }

    /// Fills `samples` with what a lost packet probably held. The slice's length is the lost time:
    /// a multiple of 2.5 ms. Returns the number of samples written.
    ///
    /// # Errors
    /// [`Error::BadArgument`] for another length.
    pub fn conceal(&mut self, samples: &mut [i16]) -> Result<usize, Error> {
        self.check_length(samples)?;
        Ok(self.inner.decode(&[], samples, false)? * self.channels.count())
    }

    /// Fills `samples` with the lost packet before `next`, from the copy that `next` carries if
    /// its encoder used in-band FEC, by concealment otherwise. The slice's length is the lost
    /// time, a multiple of 2.5 ms. `next` itself is then decoded as usual. Returns the number of
    /// samples written.
    ///
    /// # Errors
    /// [`Error::BadArgument`] for another length, [`Error::InvalidPacket`].
    pub fn recover(&mut self, next: &[u8], samples: &mut [i16]) -> Result<usize, Error> {
        if next.is_empty() {
            return Err(Error::InvalidPacket);
        }
        self.check_length(samples)?;
        Ok(self.inner.decode(next, samples, true)? * self.channels.count())
    }

    /// Forgets the past: the next packet starts a new stream.
    ///
    /// # Errors
    /// [`Error::Internal`] only.
    pub fn reset(&mut self) -> Result<(), Error> {
        Ok(self.inner.reset_state()?)
    }

    /// libopus answers a length that is no multiple of 2.5 ms differently in different versions.
    fn check_length(&self, samples: &[i16]) -> Result<(), Error> {
        let step = self.sample_rate as usize / 400 * self.channels.count();
        if samples.is_empty() || !samples.len().is_multiple_of(step) {
            return Err(Error::BadArgument);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
