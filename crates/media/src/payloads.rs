//! What the payload types of a stream stand for, and packets read by that.
use tandem_codec::{Codec, comfort_noise};
use tandem_rtp::Packet;

use crate::{
    control::{Event4733, Payload},
    refusals::Why,
};

/// What a payload type stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sound(Codec),
    Event(u32),
    Noise,
}

/// A packet whose payload type is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived<'a> {
    pub(crate) datagram: &'a [u8],
    pub(crate) packet: Packet<'a>,
    pub(crate) kind: Kind,
}

/// A packet behind a gap in the numbers.
#[derive(Debug)]
pub(crate) struct AfterGap<'a> {
    pub(crate) packet: Packet<'a>,
    pub(crate) kind: Kind,
    /// Missing before it, besides the one in question.
    pub(crate) more: u16,
}

/// What the payload types stand for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payloads<'a> {
    pub(crate) sound: &'a [Payload],
    pub(crate) events: &'a [Event4733],
}

impl<'a> Arrived<'a> {
    /// Reads a datagram. `kind` knows the payload types.
    pub(crate) fn read(
        datagram: &'a [u8],
        kind: impl FnOnce(u8) -> Option<Kind>,
    ) -> Result<Self, Why> {
        let packet = Packet::parse(datagram).map_err(|_| Why::Malformed)?;
        let kind = kind(packet.header.payload_type).ok_or(Why::PayloadType)?;
        Ok(Self { datagram, packet, kind })
    }
}

impl Payloads<'_> {
    /// Reads a datagram.
    pub(crate) fn read(self, datagram: &[u8]) -> Result<Arrived<'_>, Why> {
        Arrived::read(datagram, |payload_type| self.kind(payload_type))
    }

    pub(crate) fn following(self, more: u16, datagram: &[u8]) -> Option<AfterGap<'_>> {
        let Arrived { packet, kind, .. } = self.read(datagram).ok()?;
        Some(AfterGap { packet, kind, more })
    }

    pub(crate) fn kind(self, payload_type: u8) -> Option<Kind> {
        if let Some(payload) = self.sound.iter().find(|p| p.payload_type == payload_type) {
            return Some(Kind::Sound(payload.codec));
        }
        if let Some(event) = self.events.iter().find(|e| e.payload_type == payload_type) {
            return Some(Kind::Event(event.clock_rate));
        }
        // Comfort noise is taken whether agreed or not: some gateways send it regardless.
        (payload_type == comfort_noise::PAYLOAD_TYPE).then_some(Kind::Noise)
    }
}
