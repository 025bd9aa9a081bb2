//! What became of a call.
use std::sync::Arc;

use serde::Serialize;

use super::{Speech, correlation, leg::Heard};

/// Which way a call went, from the simulator's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The simulator placed it.
    Placed,
    /// It came in.
    Received,
}

/// Who ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndedBy {
    /// The simulator hung up, gave up or refused.
    Us,
    /// The other side did.
    Peer,
    /// No answer, or no transport.
    Network,
}

/// The speech that resembles best what was heard.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Match {
    /// Its name.
    pub speech: String,
    /// Normalised cross-correlation, 0 to 1.
    pub correlation: f32,
}

/// One call, when it is over.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// SIP Call-ID.
    pub call_id: String,
    /// Which way it went.
    pub direction: Direction,
    /// Calling party, the user part of From.
    pub from: String,
    /// Called party, the user part of the Request-URI.
    pub to: String,
    /// Final status of the INVITE.
    pub status: u16,
    /// Who ended it.
    pub ended_by: EndedBy,
    /// The other side's Reason on BYE or CANCEL, or the Warning of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds from answer to end.
    pub seconds: f32,
    /// Codec received last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<&'static str>,
    /// RTP packets sent.
    pub packets_sent: u32,
    /// RTP packets received.
    pub packets_received: u64,
    /// RTP packets that never came.
    pub packets_lost: u64,
    /// Interarrival jitter, milliseconds.
    pub jitter_ms: f32,
    /// Level of all that was heard, dBov; -127 is silence.
    pub level_dbov: i16,
    /// What it resembles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard: Option<Match>,
    /// Digits received (RFC 4733).
    pub digits: String,
    /// The sound itself, the first minute, 8 kHz.
    #[serde(skip)]
    pub samples: Arc<[i16]>,
}

impl Report {
    /// Whether the call was answered.
    pub fn is_answered(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Adds what was heard. Compares a minute of sound with each speech: not for an async task.
    pub(super) fn with_sound(mut self, heard: Heard, known: &[Speech]) -> Self {
        self.codec = heard.codec.map(tandem_sdp::Encoding::name);
        self.packets_sent = heard.sent;
        self.packets_received = heard.statistics.received;
        self.packets_lost = heard.statistics.lost;
        self.jitter_ms = heard.statistics.jitter.as_secs_f32() * 1_000.0;
        self.level_dbov = -i16::from(tandem_codec::level::below_overload(&heard.samples));
        self.heard = known
            .iter()
            .map(|speech| Match {
                speech: speech.name.clone(),
                correlation: correlation(&heard.samples, &speech.samples),
            })
            .max_by(|a, b| a.correlation.total_cmp(&b.correlation))
            .filter(|_| !heard.samples.is_empty());
        self.digits = heard.digits;
        self.samples = heard.samples.into();
        self
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let way = match self.direction {
            Direction::Placed => "placed",
            Direction::Received => "received",
        };
        let by = match self.ended_by {
            EndedBy::Us => "us",
            EndedBy::Peer => "the peer",
            EndedBy::Network => "the network",
        };
        write!(f, "{way} {} -> {}: {}, ended by {by}", self.from, self.to, self.status)?;
        if let Some(reason) = &self.reason {
            write!(f, " ({reason})")?;
        }
        if self.is_answered() {
            write!(
                f,
                "; {:.1} s {}, {} packets sent, {} received, {} lost, jitter {:.1} ms, {} dBov",
                self.seconds,
                self.codec.unwrap_or("no sound"),
                self.packets_sent,
                self.packets_received,
                self.packets_lost,
                self.jitter_ms,
                self.level_dbov,
            )?;
        }
        if let Some(heard) = self.heard.as_ref().filter(|_| self.is_answered()) {
            write!(f, "; heard {:?} ({:.2})", heard.speech, heard.correlation)?;
        }
        if !self.digits.is_empty() {
            write!(f, "; digits {}", self.digits)?;
        }
        Ok(())
    }
}
