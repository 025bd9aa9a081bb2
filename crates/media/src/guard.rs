//! What stands between an RTP session and its ports: nothing, or SRTP (RFC 3711).
//!
//! | state | what comes | what leaves |
//! |---|---|---|
//! | `Open` | is read as it is | leaves as it is |
//! | `Waiting`: keys are offered, the peer's is not known | is not read: it may be protected | nothing, as nobody knows where to |
//! | `Shut` | is authenticated and decrypted, or dropped | is protected, or does not leave |
//!
//! After the peer has changed its key, the one before is tried beside it until the new one has
//! proved itself often enough: packets that are on their way are not lost (RFC 4568 §7.1.4).
use tandem_rtp::srtp::{self, MAX_OVERHEAD, Unsendable};

use crate::{control::Protection, refusals::Why};

/// Longest packet protected: an Ethernet frame's.
const MAX_PACKET: usize = 1_500;
/// Packets under a new key after which the one before is forgotten: a second of sound and more, which
/// is longer than packets overtake each other.
const PROOFS: u8 = 100;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) enum Guard {
    #[default]
    Open,
    Waiting,
    Shut(Box<Shut>),
}

/// SRTP, both ways.
#[derive(Debug)]
pub(crate) struct Shut {
    protection: Protection,
    sender: srtp::Sender,
    receiver: srtp::Receiver,
    /// The peer's key before, and for how many more packets of the new one.
    before: Option<(srtp::Receiver, u8)>,
    /// Where packets are protected.
    buffer: [u8; MAX_PACKET + MAX_OVERHEAD],
}

impl Guard {
    /// Keys have been offered: until an answer nothing can be read. Or they have been left out of
    /// the offer again.
    pub(crate) fn wait(&mut self, offered: bool) {
        match (&*self, offered) {
            (Self::Open, true) => *self = Self::Waiting,
            (Self::Waiting, false) => *self = Self::Open,
            (Self::Open | Self::Waiting | Self::Shut(_), _) => {}
        }
    }

    /// Sets what is agreed. `moved`: the peer is at another address, where nobody may know how
    /// often our numbers have wrapped (RFC 4568 §7.1.4).
    pub(crate) fn connect(&mut self, protection: Option<&Protection>, moved: bool) {
        match (protection, &mut *self) {
            (None, _) => *self = Self::Open,
            (Some(protection), Self::Shut(shut)) => shut.connect(protection, moved),
            (Some(protection), Self::Open | Self::Waiting) => {
                *self = Self::Shut(Box::new(Shut::new(protection)));
            }
        }
    }

    /// The suite, if packets are protected.
    pub(crate) fn suite(&self) -> Option<srtp::Suite> {
        match self {
            Self::Shut(shut) => Some(shut.protection.send.suite()),
            Self::Open | Self::Waiting => None,
        }
    }

    /// Reads a packet in place; whether its sender has proved to be the peer, and its length.
    pub(crate) fn open_rtp(&mut self, packet: &mut [u8]) -> Result<(bool, usize), Why> {
        match self {
            Self::Open => Ok((false, packet.len())),
            Self::Waiting => Err(Why::Early),
            Self::Shut(shut) => shut.open_rtp(packet).map(|len| (true, len)).map_err(Why::of),
        }
    }

    /// The same of RTCP.
    pub(crate) fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<(bool, usize), Why> {
        match self {
            Self::Open => Ok((false, packet.len())),
            Self::Waiting => Err(Why::Early),
            Self::Shut(shut) => {
                let opened = shut.receiver.unprotect_rtcp(packet);
                let opened = match (&opened, &mut shut.before) {
                    (Err(srtp::Refused::Forged), Some((before, _))) => {
                        before.unprotect_rtcp(packet).or(opened)
                    }
                    (Ok(_) | Err(_), _) => opened,
                };
                opened.map(|len| (true, len)).map_err(Why::of)
            }
        }
    }

    /// The RTP packet as it leaves. `None`: it must not.
    pub(crate) fn seal_rtp<'a>(&'a mut self, packet: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Self::Open => Some(packet),
            Self::Waiting => None,
            Self::Shut(shut) => shut.seal(packet, srtp::Sender::protect_rtp),
        }
    }

    /// The same of RTCP.
    pub(crate) fn seal_rtcp<'a>(&'a mut self, packet: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Self::Open => Some(packet),
            Self::Waiting => None,
            Self::Shut(shut) => shut.seal(packet, srtp::Sender::protect_rtcp),
        }
    }
}

impl Shut {
    fn new(protection: &Protection) -> Self {
        Self {
            sender: srtp::Sender::new(&protection.send),
            receiver: srtp::Receiver::new(&protection.receive),
            protection: protection.clone(),
            before: None,
            buffer: [0; MAX_PACKET + MAX_OVERHEAD],
        }
    }

    fn connect(&mut self, protection: &Protection, moved: bool) {
        if self.protection.send != protection.send {
            self.sender = match moved {
                true => srtp::Sender::new(&protection.send),
                false => self.sender.rekey(&protection.send),
            };
        }
        if self.protection.receive != protection.receive {
            let next = self.receiver.rekey(&protection.receive);
            self.before = Some((std::mem::replace(&mut self.receiver, next), PROOFS));
        }
        self.protection = protection.clone();
    }

    fn open_rtp(&mut self, packet: &mut [u8]) -> Result<usize, srtp::Refused> {
        let opened = self.receiver.unprotect_rtp(packet);
        let Some((before, left)) = &mut self.before else { return opened };
        match opened {
            Ok(_) => {
                *left -= 1;
                if *left == 0 {
                    self.before = None;
                }
                opened
            }
            Err(srtp::Refused::Forged) => before.unprotect_rtp(packet).or(opened),
            Err(_) => opened,
        }
    }

    fn seal(
        &mut self,
        packet: &[u8],
        seal: impl FnOnce(&mut srtp::Sender, &mut [u8], usize) -> Result<usize, Unsendable>,
    ) -> Option<&[u8]> {
        self.buffer.get_mut(..packet.len().min(MAX_PACKET))?.copy_from_slice(packet);
        let len = seal(&mut self.sender, &mut self.buffer, packet.len()).ok()?;
        self.buffer.get(..len)
    }
}
