//! What carriers are like. Each habit is one that is seen in the field, or one that an RFC allows
//! and few peers expect.
use super::net::Net;

/// Where a party says it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contact {
    Own,
    /// Another machine of the same carrier.
    Foreign,
    /// None at all, against RFC 3261 §8.1.1.8.
    Missing,
}

/// Proxies between the party and the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routers {
    None,
    /// A Record-Route with another port than the messages come from.
    Loose,
    /// One without `lr` (RFC 3261 §16.12.1.2).
    Strict,
    Two,
}

/// What an INVITE meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Not even a 100.
    Silent,
    /// A 100 and nothing more.
    Trying,
    Refuse(u16),
    /// Rings for ever.
    Ring,
    Answer,
    /// 183 with sound, then a failure.
    Announce(u16),
}

/// What a cancelled INVITE gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterCancel {
    Terminated,
    /// The 200 was faster.
    Answered,
    Nothing,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    /// Never acknowledges and answers no request.
    pub(crate) deaf: bool,
    pub(crate) late_offer: bool,
    /// The ACK of a late offer brings no answer.
    pub(crate) no_late_answer: bool,
    pub(crate) contact: Contact,
    pub(crate) routers: Routers,
    pub(crate) plan: Plan,
    pub(crate) after_cancel: AfterCancel,
    /// To tags that answer one INVITE.
    pub(crate) forks: u8,
    /// Several of them answer with 200.
    pub(crate) many_answer: bool,
    /// 180s that are sent in one breath.
    pub(crate) flood: u8,
    /// Challenges before anything else: how many.
    pub(crate) challenges: u8,
    /// Provisional responses are reliable when the gateway can (RFC 3262).
    pub(crate) reliable: bool,
    /// Session timer (RFC 4028).
    pub(crate) timer: bool,
    /// First ACKs are lost on the way.
    pub(crate) lost_acks: u8,
    /// ACKs a second INVITE's worth of time too late.
    pub(crate) slow_ack: bool,
    pub(crate) codec: &'static str,
    /// BYE at some time; otherwise the other side has to.
    pub(crate) hangs_up: bool,
    /// Things it does during a call.
    pub(crate) restless: u8,
    pub(crate) cancels: bool,
    /// Breaks its connection at some time.
    pub(crate) resets: bool,
    /// Answers re-INVITEs of the gateway so.
    pub(crate) refuses_reinvites: u16,
}

impl Habits {
    /// Half of all are well-behaved; the others have a few habits each.
    pub(crate) fn draw(net: &mut Net) -> Self {
        let mut habits = Self::plain(net);
        if net.chance(50) {
            net.saw("well-behaved");
            return habits;
        }
        for _ in 0..net.random.range(1, 3) {
            habits.acquire(net);
        }
        habits
    }

    fn plain(net: &mut Net) -> Self {
        let plan = match net.random.range(0, 19) {
            0 => Plan::Silent,
            1 => Plan::Trying,
            2 => Plan::Refuse(486),
            3 => Plan::Refuse(503),
            4 => Plan::Refuse(net.pick(&[404, 480, 500, 600, 603, 606, 302, 488])),
            5 => Plan::Announce(net.pick(&[404, 486, 503])),
            6 | 7 => Plan::Ring,
            _ => Plan::Answer,
        };
        Self {
            deaf: false,
            late_offer: false,
            no_late_answer: false,
            contact: Contact::Own,
            routers: Routers::None,
            plan,
            after_cancel: AfterCancel::Terminated,
            forks: 1,
            many_answer: false,
            flood: 0,
            challenges: 0,
            reliable: false,
            timer: false,
            lost_acks: 0,
            slow_ack: false,
            codec: net.pick(&["pcma", "pcmu", "both"]),
            hangs_up: net.chance(65),
            restless: u8::from(net.chance(20)),
            cancels: net.chance(15),
            resets: false,
            refuses_reinvites: 0,
        }
    }

    fn acquire(&mut self, net: &mut Net) {
        let name = match net.random.range(0, 20) {
            n @ 0..=6 => self.acquire_manner(net, n),
            n @ 7..=14 => self.acquire_answer(net, n),
            15 => {
                self.lost_acks = net.pick(&[1, 2, 4]);
                "lost ACK"
            }
            16 => {
                self.slow_ack = true;
                "slow ACK"
            }
            17 => {
                self.codec = "g729";
                "no common codec"
            }
            18 | 19 => {
                self.restless = 8;
                "storm of re-INVITEs"
            }
            _ => {
                self.refuses_reinvites = net.pick(&[488, 491, 481, 408]);
                "refuses re-INVITEs"
            }
        };
        net.saw(name);
    }

    /// What it is like whoever calls.
    fn acquire_manner(&mut self, net: &mut Net, which: u64) -> &'static str {
        match which {
            0 => {
                self.deaf = true;
                "deaf"
            }
            1 | 2 => {
                self.late_offer = true;
                self.no_late_answer = net.chance(10);
                "late offer"
            }
            3 => {
                self.contact = Contact::Foreign;
                "foreign Contact"
            }
            4 => {
                self.contact = Contact::Missing;
                "missing Contact"
            }
            5 => {
                self.routers = Routers::Loose;
                "Record-Route with another port"
            }
            _ => {
                self.routers = net.pick(&[Routers::Strict, Routers::Two]);
                "strict router"
            }
        }
    }

    /// What it makes of a call.
    fn acquire_answer(&mut self, net: &mut Net, which: u64) -> &'static str {
        match which {
            7 => {
                self.after_cancel = AfterCancel::Answered;
                self.plan = Plan::Ring;
                "200 after CANCEL"
            }
            8 => {
                self.after_cancel = AfterCancel::Nothing;
                self.plan = Plan::Ring;
                "nothing after CANCEL"
            }
            9 | 10 => {
                self.forks = 3;
                self.many_answer = net.chance(50);
                "forked answers"
            }
            11 => {
                self.flood = net.pick(&[10, 40, 120]);
                "flood of 1xx"
            }
            12 => {
                self.challenges = net.pick(&[1, 1, 1, 2, 9]);
                "challenge"
            }
            13 => {
                self.reliable = true;
                "reliable 1xx"
            }
            _ => {
                self.timer = true;
                "session timer"
            }
        }
    }
}
