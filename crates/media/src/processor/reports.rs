//! What the peers' reports lead to.
use std::{net::SocketAddr, time::Instant};

use rand::RngExt;
use tandem_rtp::rtcp::{ReportBlock, VoipMetrics};

use super::{Processor, Sink};
use crate::{
    breaker::News,
    control::{Event, OneWay, SessionId},
    one_way::Listening,
    session::Session,
    transport::{Due, Transport},
};

impl Processor {
    /// The network says (ICMP) that a packet from a session's RTP port was not delivered.
    pub fn handle_undelivered(&mut self, now: Instant, session: SessionId) {
        let Some(&slot) = self.by_id.get(&session) else { return };
        let Some(session) = self.session_mut(slot) else { return };
        let (id, sent) = (session.id, session.outbound.packets);
        let cause = session.listening.as_mut().and_then(|l| l.undelivered(now, sent));
        if cause.is_some() {
            self.events.push_back(Event::OneWay { session: id, cause });
            self.touch(now, slot);
        }
    }

    /// A peer sends under our SSRC. The first time it has chosen the same by chance: we take leave
    /// and another one (RFC 3550 §8.2). If it follows us to that one, our own packets come back from
    /// it: they are counted, and heard, as who calls an echo wants it.
    pub(super) fn collide(
        &mut self,
        now: Instant,
        slot: usize,
        source: SocketAddr,
        sink: &mut impl Sink,
    ) {
        let clock = self.clock(now);
        let random = self.rng.random();
        let (ssrc, timestamp) = (self.rng.random(), self.rng.random());
        let sequence = self.rng.random::<u16>() & 0x7fff;
        let Some(session) = self.session_mut(slot) else { return };
        if session.collided.is_some_and(|known| known.ip() == source.ip()) {
            session.looped += 1;
            return;
        }
        session.collided = Some(source);
        let Transport::Rtp(ports) = &mut session.transport else { return };
        let stream = &mut session.outbound.stream;
        let due = Due { clock, block: None, voip: None, goodbye: true, random };
        ports.report(now, due, stream, sink);
        stream.renumber(ssrc, sequence, timestamp);
    }

    /// The peer's reports are overdue, perhaps.
    pub(super) fn breaker_timeout(&mut self, now: Instant, slot: usize) {
        let Some(session) = self.session_mut(slot) else { return };
        let sent = session.outbound.packets;
        let news = session.breaker.as_mut().map(|breaker| breaker.handle_timeout(now, sent));
        self.cut_or_mend(now, slot, news.unwrap_or(News::None));
    }

    /// Sending stops or goes on, and the event says why.
    pub(super) fn cut_or_mend(&mut self, now: Instant, slot: usize, news: News) {
        let Some(session) = self.session_mut(slot) else { return };
        let cause = match news {
            News::None => return,
            News::Stop(why) => Some(why),
            News::Resume => None,
        };
        session.outbound.set_open(now, cause.is_none());
        let event = Event::OneWay { session: session.id, cause };
        self.events.push_back(event);
        self.touch(now, slot);
    }
}

impl Session {
    /// How the peer is heard, if it wants to know and a report to it is due; `None`: the last one is.
    pub(super) fn voip_wanted(&self, now: Option<Instant>) -> Option<VoipMetrics> {
        let Transport::Rtp(ports) = &self.transport else { return None };
        let due = ports.wanted.voip_metrics && now.is_none_or(|now| ports.next_report() <= now);
        due.then(|| self.voip_report()).flatten()
    }

    /// Whether a report shows that the peer hears us, if that is news: the cause, or that it does
    /// again. `sends`: it describes its own sending.
    pub(super) fn hears_us(
        &mut self,
        ours: Option<&ReportBlock>,
        sends: bool,
    ) -> Option<Option<OneWay>> {
        let sent = self.outbound.packets;
        let listening = self.listening.as_mut().filter(|_| sends)?;
        let deaf = |listening: &Listening| listening.told() == Some(OneWay::SendOnlyPeer);
        let before = deaf(listening);
        let ours = ours.map(|block| (block.loss(), block.extended_highest));
        match listening.report(ours, sent) {
            Some(cause) => Some(Some(cause)),
            None if before && !deaf(listening) => Some(None),
            None => None,
        }
    }

    /// Whether what is sent arrives, by a report.
    pub(super) fn judge(&mut self, now: Instant, block: &ReportBlock) -> News {
        let (trip, ..) = self.reported();
        let sent = self.outbound.packets;
        if self.breaker.is_none() {
            return News::None;
        }
        let rating = self.rating_sent();
        let judged = self.breaker.as_mut().map(|b| b.report(now, block, trip, rating, sent));
        judged.unwrap_or(News::None)
    }
}
