//! Bugs that are planted between the gateway and the world, to show that the simulation finds them.
//!
//! Each is one the field knows: the saboteur sees what goes in and out, and makes of it what a
//! gateway with that bug would have done.
use std::collections::HashSet;

use bytes::Bytes;
use tandem_b2bua::{EventKind, Output};
use tandem_media::control::{Command, SessionId};
use tandem_sip::{Message, Transmit};

use super::judge::Cause;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A call has two records.
    RecordTwice,
    /// A 2xx that comes again, because its ACK was lost, is not acknowledged again.
    AcknowledgesOnce,
    /// A call that is answered while it is cancelled is not hung up (RFC 3261 §9.1).
    LateAnswerStays,
    /// A re-INVITE on one leg sets up the other leg's media anew.
    ReachesTheOtherLeg,
    /// The media of a leg whose INVITE failed stays open.
    SessionStays,
    /// A call that is cancelled and refused at once is told both.
    TwoFinals,
    /// A request whose answer was lost is not answered again (RFC 3261 §17.2.2).
    ForgetsAnswers,
    /// A cancelled call keeps its channel of the trunk.
    ChannelStays,
    /// A changed description keeps its version (RFC 3264 §8).
    SameVersion,
}

impl Bug {
    /// All of them, each with what the judge must say of it.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::RecordTwice, "has two records"),
        (Self::AcknowledgesOnce, "got no ACK"),
        (Self::LateAnswerStays, "got no BYE"),
        (Self::ReachesTheOtherLeg, "leg isolation"),
        (Self::SessionStays, "a media session outlives"),
        (Self::TwoFinals, "[(486"),
        (Self::ForgetsAnswers, "got no final response"),
        (Self::ChannelStays, "channels"),
        (Self::SameVersion, "two descriptions of version"),
    ];
}

pub(crate) struct Saboteur {
    bug: Bug,
    /// What was said already, as far as the bug asks.
    said: HashSet<String>,
    channels: usize,
}

impl Saboteur {
    pub(crate) fn new(bug: Bug) -> Self {
        Self { bug, said: HashSet::new(), channels: 0 }
    }

    /// Channels that are taken in vain.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// What the gateway with the bug would have said instead.
    pub(crate) fn lets_out(&mut self, cause: &Cause, output: Output) -> Vec<Output> {
        match output {
            Output::Sip(sent) => {
                let said = self.sip(sent);
                said.into_iter().map(Output::Sip).collect()
            }
            Output::Media(command) => {
                let commanded = self.media(cause, command);
                commanded.into_iter().map(Output::Media).collect()
            }
            Output::Ended { cdr, ended } => {
                let cancelled = matches!(&ended.kind, EventKind::Ended { reason } if reason.code == "cancelled");
                self.channels += usize::from(self.bug == Bug::ChannelStays && cancelled);
                let mut out = vec![Output::Ended { cdr: cdr.clone(), ended: ended.clone() }];
                if self.bug == Bug::RecordTwice {
                    out.push(Output::Ended { cdr, ended });
                }
                out
            }
            Output::Reply { .. } | Output::Event(_) => vec![output],
        }
    }

    fn sip(&mut self, sent: Transmit) -> Vec<Transmit> {
        let Ok(message) = Message::parse(sent.data.clone()) else { return vec![sent] };
        let method = message.method();
        let cseq = message.cseq_ref().map_or(0, |(n, _)| n);
        let dialog = format!("{} {}", message.call_id(), message.to_tag().unwrap_or("-"));
        let lost = match (self.bug, message.is_request(), method.as_str()) {
            (Bug::AcknowledgesOnce, true, "ACK") => !self.said.insert(format!("{dialog} {cseq}")),
            (Bug::LateAnswerStays, true, "CANCEL") => {
                self.said.insert(message.call_id().to_owned());
                false
            }
            (Bug::LateAnswerStays, true, "BYE") => self.said.contains(message.call_id()),
            (Bug::ForgetsAnswers, false, "BYE" | "INFO" | "OPTIONS" | "UPDATE") => {
                let branch = message.top_via_branch().unwrap_or_default();
                !self.said.insert(format!("{branch} {}", method.as_str()))
            }
            _ => false,
        };
        if lost {
            return Vec::new();
        }
        match self.bug {
            Bug::TwoFinals if sent.data.starts_with(b"SIP/2.0 487 ") => {
                let refused =
                    replaced(&sent.data, "SIP/2.0 487 Request Terminated", "SIP/2.0 486 Busy Here");
                vec![Transmit { flow: sent.flow, data: refused }, sent]
            }
            Bug::SameVersion => vec![self.with_first_version(&message, sent)],
            _ => vec![sent],
        }
    }

    /// Writes the version of the dialog's first description into each one.
    fn with_first_version(&mut self, message: &Message, sent: Transmit) -> Transmit {
        let text = String::from_utf8_lossy(&sent.data).into_owned();
        let origin = text.lines().find(|line| line.starts_with("o=")).map(str::to_owned);
        let Some(origin) = origin else { return sent };
        let own = format!("{} ", message.call_id());
        let Some(first) = self.said.iter().find_map(|said| said.strip_prefix(&own)) else {
            self.said.insert(format!("{own}{origin}"));
            return sent;
        };
        // A version as long keeps Content-Length right.
        let data = if first.len() == origin.len() {
            replaced(&sent.data, &origin, first)
        } else {
            sent.data
        };
        Transmit { flow: sent.flow, data }
    }

    fn media(&self, cause: &Cause, command: Command) -> Vec<Command> {
        let Cause::Message { renegotiates, answers, .. } = cause else { return vec![command] };
        match (self.bug, &command) {
            (Bug::ReachesTheOtherLeg, Command::Connect { session, stream }) if *renegotiates => {
                let other = SessionId(session.0 ^ 1);
                let too = Command::Connect { session: other, stream: stream.clone() };
                vec![command, too]
            }
            (Bug::SessionStays, Command::Close { .. }) if *answers => Vec::new(),
            _ => vec![command],
        }
    }
}

fn replaced(data: &Bytes, old: &str, new: &str) -> Bytes {
    Bytes::from(String::from_utf8_lossy(data).replacen(old, new, 1))
}
