//! Where a transfer may lead that a trunk's peer asks for (RFC 3515), and what the trunk file says
//! about transfers.
use std::time::Instant;

use tandem_sip::Uri;

use crate::proxy::{Proxy, Refusal, Target};

/// How a call is transferred that an application transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReferOut {
    /// By REFER where the peer's Allow has it, otherwise as `Local`.
    #[default]
    Auto,
    /// By REFER.
    Refer,
    /// The gateway places the new call itself.
    Local,
    /// Not at all.
    Off,
}

/// What a REFER of the trunk's peer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReferIn {
    /// The gateway places the new call itself and tells the peer how it goes.
    #[default]
    Terminate,
    /// It goes on to the other side, where that is a phone whose Allow has it; otherwise as
    /// `Terminate`.
    Pass,
    /// 603.
    Refuse,
}

/// `[call] refer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refer {
    /// See [`ReferOut`].
    pub outgoing: ReferOut,
    /// See [`ReferIn`].
    pub incoming: ReferIn,
    /// The peer may send a call to numbers of the public network, by the dial routes. Otherwise only
    /// to its own extensions.
    pub to_pstn: bool,
    /// Transfers of one call.
    pub most: u8,
    /// The peer is held before a REFER of ours leaves (RFC 5589 §6.1).
    pub holds: bool,
}

impl Default for Refer {
    fn default() -> Self {
        Self {
            outgoing: ReferOut::default(),
            incoming: ReferIn::default(),
            to_pstn: false,
            most: 3,
            holds: false,
        }
    }
}

impl Proxy {
    /// The targets of a transfer to `to` that the peer of a trunk asks for, from `from`. A number of
    /// the public network goes by the dial routes, if the trunk may (toll fraud); anything else is an
    /// extension of the peer itself.
    pub fn refer(
        &mut self,
        now: Instant,
        trunk: &str,
        to: &Uri,
        from: &str,
    ) -> Result<Vec<Target>, Refusal> {
        let Some(options) = self.trunk(trunk).cloned() else { return Err(Refusal::NoRoute) };
        let user = to.user().filter(|user| !user.is_empty());
        let user = user.ok_or_else(|| Refusal::BadNumber("no number to transfer to".to_owned()))?;
        let number = options.numbers.inbound_request_uri.normalise(&user);
        let public = number.starts_with('+');
        if !public {
            return self.transit(now, &[trunk.to_owned()], &number, from);
        }
        if !options.call.refer.to_pstn {
            return Err(Refusal::BadNumber("not to the public network".to_owned()));
        }
        self.dial(now, &number, Some(from))
    }
}
