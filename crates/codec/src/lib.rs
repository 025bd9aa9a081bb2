//! The sound codecs of a telephone call and what surrounds them. Pure; the only crate that touches
//! C (libopus, behind the safe `opus` crate).
//!
//! Every function on the packet path works in the caller's slices and allocates nothing:
//!
//! | module | what |
//! |---|---|
//! | [`g711`] | µ-law and A-law, bit-exact with ITU-T G.191 |
//! | [`g722`] | ITU-T G.722 at 64 kbit/s, fixed-point as the Recommendation |
//! | [`opus`] | encoder, decoder with concealment and in-band FEC, packet inspection |
//! | [`plc`] | packet loss concealment for G.711 (ITU-T G.711 Appendix I) |
//! | [`comfort_noise`] | RFC 3389 noise level, written and generated |
//! | [`dtmf`] | telephone keys heard in sound (ITU-T Q.23, Q.24) |
//! | [`tone`] | call progress tones by country (ITU-T E.180) and DTMF (Q.23) |
//! | [`resample`] | between 8, 16 and 48 kHz |
//! | [`stretch`] | speech made shorter or longer without a click |
//! | [`wav`] | recordings: WAV files, brought to the telephone's rate |
//! | [`level`] | RMS and dBov of a frame |

pub mod comfort_noise;
pub mod dtmf;
pub mod g711;
pub mod g722;
pub mod level;
pub mod opus;
pub mod plc;
pub mod resample;
pub mod stretch;
pub mod tone;
pub mod wav;

mod codec;

pub use codec::Codec;
