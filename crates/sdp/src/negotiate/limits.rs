//! What our descriptions say of Opus. Who will hear is often not known yet when an offer is answered, so
//! that the first answer is settled when it leaves.
use super::{Negotiator, Written};
use crate::{Encoding, OpusLimits};

impl Negotiator {
    /// From the next description on.
    pub fn limit(&mut self, limits: OpusLimits) {
        self.limits = limits;
    }

    /// What our descriptions say now.
    pub fn limits(&self) -> OpusLimits {
        self.limits
    }

    /// Our first answer as it leaves: with these limits the first time, and the same ever after, as
    /// every response to one INVITE must (RFC 3261 §13.2.1).
    pub fn tell(&mut self, limits: OpusLimits) -> Option<&str> {
        if !std::mem::replace(&mut self.told, true) && self.limits != limits {
            let opus = self.codec_types.iter().find(|p| p.encoding == Encoding::Opus);
            if let (Some(opus), Some(Written { text, .. })) = (opus, &mut self.written) {
                let line = |limits| format!("a=fmtp:{} {limits}\r\n", opus.payload_type);
                *text = text.replacen(&line(self.limits), &line(limits), 1);
            }
            self.limits = limits;
        }
        self.written()
    }
}
