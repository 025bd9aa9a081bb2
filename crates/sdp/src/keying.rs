//! One leg's side of the keys: what it offers, takes and answers (RFC 4568 §5, §7; RFC 8643).
//!
//! | our mode | offer | answer to RTP/SAVP | to RTP/AVP with keys | to RTP/AVP without |
//! |---|---|---|---|---|
//! | off | no keys | refused | without keys | without keys |
//! | optional | keys, RTP/AVP unless told otherwise | keys | keys | without keys |
//! | required | keys, RTP/SAVP unless told otherwise | keys | keys | refused |
//!
//! Where others may read along, keys are neither offered nor taken: `optional` is then as `off`, and
//! `required` refuses everything (RFC 4568 §8.3).
//!
//! Our key of a suite is the same in every description until the peer brings another key or address,
//! so that a refresh changes nothing (RFC 4568 §7.1.4).
use std::{fmt, net::SocketAddr};

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use zeroize::Zeroizing;

use crate::{
    Audio, Refusal,
    crypto::{Crypto, Key, Mki, Suite},
};

/// Whether packets are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SrtpMode {
    /// Never.
    #[default]
    Off,
    /// Where the peer can.
    Optional,
    /// Always: a session without is refused.
    Required,
}

/// The transport of our offers (RFC 3551, RFC 4585, RFC 3711, RFC 5124).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// `RTP/SAVP` where protection is required, else `RTP/AVP`.
    #[default]
    Auto,
    /// `RTP/AVP`, with keys where they are wanted (RFC 8643).
    Avp,
    /// `RTP/SAVP`.
    Savp,
    /// `RTP/AVPF`.
    Avpf,
    /// `RTP/SAVPF`.
    Savpf,
}

/// What a leg may do about protection.
#[derive(Clone, PartialEq, Eq)]
pub struct Security {
    /// Whether.
    pub mode: SrtpMode,
    /// By which suites, best first.
    pub suites: Vec<Suite>,
    /// By which transport.
    pub profile: Profile,
    /// Others may read along: no key may stand in a description.
    pub readable: bool,
    /// What keys are made of: random, of this leg alone, secret.
    pub seed: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, suites, profile, readable, seed: _ } = self;
        let mut shown = f.debug_struct("Security");
        shown.field("mode", mode).field("suites", suites).field("profile", profile);
        shown.field("readable", readable);
        shown.finish_non_exhaustive()
    }
}

/// How an agreed session is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// The suite, of both ways.
    pub suite: Suite,
    /// Our key: of what we send.
    pub send: Key,
    /// The peer's: of what it sends.
    pub receive: Vec<Key>,
}

/// Why keys are refused.
const ONLY_TLS: &str = "keys of SRTP are taken over TLS only";

/// What stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Agreed {
    /// Our line.
    ours: Crypto,
    theirs: Vec<Key>,
    remote: Option<SocketAddr>,
    epoch: u32,
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(crate) struct Keying {
    security: Security,
    /// Keys made anew so far.
    epoch: u32,
    agreed: Option<Agreed>,
}

/// What an exchange settles: kept once the rest of it is settled, too.
#[derive(Debug)]
pub(crate) struct Settled(Option<Agreed>);

impl Settled {
    /// Without keys.
    pub(crate) const PLAIN: Self = Self(None);

    /// Our line, for an answer.
    pub(crate) fn line(&self) -> Vec<Crypto> {
        self.0.iter().map(|agreed| agreed.ours.clone()).collect()
    }

    pub(crate) fn protection(&self) -> Option<Box<Protection>> {
        let Agreed { ours, theirs, .. } = self.0.as_ref()?;
        let send = ours.keys.first()?.clone();
        Some(Box::new(Protection { suite: ours.suite, send, receive: theirs.clone() }))
    }
}

impl Keying {
    pub(crate) fn new(security: Security) -> Self {
        Self { security, epoch: 0, agreed: None }
    }

    /// The transport of a first offer.
    pub(crate) fn transport(&self) -> &'static str {
        let (readable, mode) = (self.security.readable, self.security.mode);
        if readable && mode == SrtpMode::Optional {
            return "RTP/AVP";
        }
        match (self.security.profile, mode) {
            (Profile::Auto, SrtpMode::Required) | (Profile::Savp, _) => "RTP/SAVP",
            (Profile::Auto, SrtpMode::Off | SrtpMode::Optional) | (Profile::Avp, _) => "RTP/AVP",
            (Profile::Avpf, _) => "RTP/AVPF",
            (Profile::Savpf, _) => "RTP/SAVPF",
        }
    }

    /// The lines of an offer: one for each suite; only what is agreed if `only_agreed`.
    pub(crate) fn offer(&self, is_first: bool, only_agreed: bool) -> Vec<Crypto> {
        match &self.agreed {
            Some(agreed) if only_agreed => vec![agreed.ours.clone()],
            // A session that stands without keys goes on without.
            None if !is_first => Vec::new(),
            Some(_) | None => (1..)
                .zip(self.wanted())
                .map(|(tag, suite)| Crypto { tag, suite, keys: vec![self.key(suite, None)] })
                .collect(),
        }
    }

    fn wanted(&self) -> impl Iterator<Item = Suite> {
        let some = self.security.mode != SrtpMode::Off && !self.security.readable;
        self.security.suites.iter().copied().filter(move |_| some)
    }

    /// Our key of a suite: the stream of the seed that the epoch and the suite number.
    fn key(&self, suite: Suite, mki: Option<Mki>) -> Key {
        self.key_of(self.epoch, suite, mki)
    }

    fn key_of(&self, epoch: u32, suite: Suite, mki: Option<Mki>) -> Key {
        let mut random = ChaCha20Rng::from_seed(*self.security.seed);
        random.set_stream((u64::from(epoch) << 8) | suite as u64);
        let mut secret = Zeroizing::new(vec![0; suite.secret_len()]);
        random.fill_bytes(&mut secret);
        Key::new(secret, mki)
    }

    /// Whether an offered line can be answered, and how.
    pub(crate) fn answer(&self, audio: &Audio) -> Result<Settled, Refusal> {
        let lines = &audio.crypto;
        let mode = match (self.security.mode, self.security.readable) {
            (SrtpMode::Required, true) => return Err(Refusal::new(302, ONLY_TLS)),
            (SrtpMode::Optional, true) if audio.secure_rtp => {
                return Err(Refusal::new(302, ONLY_TLS));
            }
            (SrtpMode::Optional, true) => SrtpMode::Off,
            (mode, _) => mode,
        };
        if lines.clash && mode != SrtpMode::Off {
            return Err(Refusal::new(306, "two crypto attributes have the same tag"));
        }
        let known = |crypto: &&Crypto| self.security.suites.contains(&crypto.suite);
        // RFC 4568 §5.1.2: the offerer's order.
        let chosen = lines.usable.iter().find(known).filter(|_| mode != SrtpMode::Off);
        match (chosen, audio.secure_rtp, mode) {
            (Some(theirs), ..) => Ok(Settled(Some(self.answer_to(theirs, audio)))),
            (None, true, SrtpMode::Off) => {
                Err(Refusal::new(302, "only RTP/AVP is spoken here, without SRTP"))
            }
            (None, true, SrtpMode::Optional | SrtpMode::Required) => {
                Err(Refusal::new(306, "no crypto suite in common"))
            }
            (None, false, SrtpMode::Required) if lines.some => {
                Err(Refusal::new(306, "no crypto suite in common"))
            }
            (None, false, SrtpMode::Required) => Err(Refusal::new(302, "SRTP is required here")),
            (None, false, SrtpMode::Off | SrtpMode::Optional) => Ok(Settled::PLAIN),
        }
    }

    fn answer_to(&self, theirs: &Crypto, audio: &Audio) -> Agreed {
        let remote = audio.place();
        let stands = self.agreed.as_ref().filter(|agreed| {
            agreed.ours.suite == theirs.suite
                && agreed.theirs == theirs.keys
                && (agreed.remote == remote || remote.is_none())
        });
        let epoch = match (&self.agreed, stands) {
            (_, Some(agreed)) => agreed.epoch,
            (Some(_), None) => self.epoch + 1,
            (None, None) => self.epoch,
        };
        // Some readers look for an identifier in what they receive if they send one themselves.
        let len = theirs.keys.first().and_then(|key| key.mki).map(|mki| mki.len);
        let mki = len.map(|len| Mki { value: 1, len });
        let keys = vec![self.key_of(epoch, theirs.suite, mki)];
        let ours = Crypto { tag: theirs.tag, suite: theirs.suite, keys };
        Agreed { ours, theirs: theirs.keys.clone(), remote, epoch }
    }

    /// Whether an answer to our lines can be used (RFC 4568 §5.1.3).
    pub(crate) fn accept(&self, offered: &[Crypto], audio: &Audio) -> Result<Settled, Refusal> {
        let lines = &audio.crypto;
        let named = |crypto: &&Crypto| {
            offered.iter().any(|o| o.tag == crypto.tag && o.suite == crypto.suite)
        };
        let chosen = lines.usable.iter().find(named);
        let ours = chosen.and_then(|c| offered.iter().find(|o| o.tag == c.tag));
        match (chosen.zip(ours), self.security.mode) {
            (Some((theirs, ours)), _) => Ok(Settled(Some(Agreed {
                ours: ours.clone(),
                theirs: theirs.keys.clone(),
                remote: audio.place(),
                epoch: self.epoch,
            }))),
            (None, _) if lines.some && !offered.is_empty() => {
                Err(Refusal::new(306, "the answer has a key for nothing that was offered"))
            }
            (None, SrtpMode::Required) => {
                Err(Refusal::new(302, "SRTP is required here and the answer has no key"))
            }
            (None, SrtpMode::Off | SrtpMode::Optional) if audio.secure_rtp => {
                Err(Refusal::new(306, "the answer has no key"))
            }
            (None, SrtpMode::Off | SrtpMode::Optional) => Ok(Settled::PLAIN),
        }
    }

    /// The rest of the exchange is settled, too.
    pub(crate) fn keep(&mut self, settled: Settled) {
        if let Some(agreed) = &settled.0 {
            self.epoch = agreed.epoch;
        }
        self.agreed = settled.0;
    }

    /// Goes on without keys, if that is allowed. `false`: nothing to leave out.
    pub(crate) fn reduce(&mut self) -> bool {
        let gives_up = match self.security.mode {
            SrtpMode::Optional => true,
            SrtpMode::Off => self.transport() != "RTP/AVP",
            SrtpMode::Required => false,
        };
        if gives_up {
            self.security.mode = SrtpMode::Off;
            self.security.profile = Profile::Avp;
        }
        gives_up
    }
}
