//! Applications: they answer, refuse, forget and disturb as they please.
use std::collections::BTreeSet;

use tandem_b2bua::{CallId, Command, Dial, EventKind, ReplyId};

use super::net::{Net, Then};

/// What an application does to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Answer,
    Reject,
    Ring,
    Hangup,
    Dtmf,
    Mute,
    Trickle,
    Get,
    Transfer,
    Consult,
    Complete,
    TakeBack,
    Hold,
    Resume,
}

/// Commands that wait for their one reply.
#[derive(Debug, Default)]
pub(crate) struct Apps {
    pub(crate) asked: BTreeSet<ReplyId>,
    last: u64,
}

impl Apps {
    pub(crate) fn next(&mut self) -> ReplyId {
        self.last += 1;
        let reply = ReplyId(self.last);
        self.asked.insert(reply);
        reply
    }
}

pub(crate) fn dial(net: &mut Net) -> Command {
    let to = net.pick(&[
        "+442079460123",
        "+442079460124",
        "+33142685300",
        "+493012345678",
        "+31201234567",
        "+12125550100",
        "app:echo",
    ]);
    net.saw("application dials");
    Command::Dial(Dial {
        id: None,
        to: to.to_owned(),
        from: None,
        offer: Some("offer".to_owned()),
        timeout: None,
        headers: Vec::new(),
        recording: None,
    })
}

/// The command of a wish.
pub(crate) fn command(call: CallId, wish: Wish) -> Command {
    match wish {
        Wish::Answer => Command::Answer { call, offer: "offer".to_owned() },
        Wish::Reject => Command::Reject { call, code: None },
        Wish::Ring => Command::Ring { call },
        Wish::Hangup => Command::Hangup { call },
        Wish::Dtmf => Command::Dtmf { call, digits: "1#".to_owned(), duration: None },
        Wish::Mute => Command::Mute { call, muted: true },
        Wish::Trickle => {
            let candidates = vec!["candidate:1 1 udp 1 192.0.2.1 9 typ host".to_owned()];
            Command::Trickle { call, candidates }
        }
        Wish::Get => Command::Get { call },
        Wish::Hold => Command::Hold { call, hold: true },
        Wish::Resume => Command::Hold { call, hold: false },
        Wish::Transfer | Wish::Consult => {
            let consult = wish == Wish::Consult;
            Command::Transfer { call, to: "+442079460125".to_owned(), consult }
        }
        Wish::Complete => Command::CompleteTransfer { call },
        Wish::TakeBack => Command::CancelTransfer { call },
    }
}

/// What an application makes of an event.
pub(crate) fn react(net: &mut Net, call: &CallId, kind: &EventKind) {
    let want = |net: &mut Net, from, to, wish| {
        net.soon(from, to, Then::App(call.clone(), wish));
    };
    match kind {
        EventKind::Incoming { .. } => {
            if net.chance(60) {
                want(net, 10, 1_500, Wish::Ring);
            }
            match net.random.range(0, 9) {
                0 => {}
                1 => want(net, 50, 9_000, Wish::Reject),
                2 => want(net, 50, 9_000, Wish::Hangup),
                3 => {
                    // Two windows of one user answer at once.
                    want(net, 50, 4_000, Wish::Answer);
                    want(net, 50, 4_000, Wish::Answer);
                }
                _ => want(net, 50, 9_000, Wish::Answer),
            }
        }
        EventKind::Dialing { .. } if net.chance(15) => want(net, 10, 12_000, Wish::Hangup),
        EventKind::Answered => {
            if net.chance(40) {
                let wish = net.pick(&[Wish::Dtmf, Wish::Mute, Wish::Trickle, Wish::Get]);
                want(net, 50, 15_000, wish);
            }
            if net.chance(10) {
                net.saw("application holds");
                want(net, 300, 8_000, Wish::Hold);
                want(net, 300, 15_000, Wish::Resume);
            }
            if net.chance(4) {
                net.saw("application transfers");
                want(net, 500, 10_000, Wish::Transfer);
            }
            if net.chance(4) {
                net.saw("application consults");
                want(net, 500, 10_000, Wish::Consult);
            }
            if net.chance(35) {
                want(net, 500, 30_000, Wish::Hangup);
            }
        }
        EventKind::Transfer { state: "started", .. } if net.chance(15) => {
            let wish = net.pick(&[Wish::Complete, Wish::TakeBack]);
            want(net, 100, 3_000, wish);
        }
        EventKind::Transfer { state: "consulting", .. } if net.chance(80) => {
            net.saw("application consulted");
            let wish = net.pick(&[Wish::Complete, Wish::Complete, Wish::TakeBack]);
            want(net, 100, 5_000, wish);
        }
        EventKind::Ended { .. } if net.chance(3) => want(net, 0, 500, Wish::Hangup),
        _ => {}
    }
}
