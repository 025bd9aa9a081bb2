//! What a party does of its own accord.
use super::{
    asks::Ask,
    net::{Net, Then},
    party::{Act, Party, Side},
};

/// What may happen in a call that stands.
const IN_CALL: [Act; 17] = [
    Act::Hold,
    Act::Hold,
    Act::Resume,
    Act::OldHold,
    Act::Offerless,
    Act::Offerless,
    Act::Update,
    Act::Info,
    Act::Options,
    Act::Refer,
    Act::Unknown,
    Act::WrongCseq,
    Act::WrongTag,
    Act::CancelReinvite,
    Act::Resume,
    Act::Update,
    Act::ByeInReinvite,
];

impl Party {
    /// The call stands: what is to come of it.
    pub(crate) fn live(&mut self, net: &mut Net) {
        if std::mem::replace(&mut self.life_began, true) {
            return;
        }
        let no = self.no;
        let storm = self.habits.restless > 2;
        for _ in 0..self.habits.restless {
            let act = if storm && net.chance(70) {
                net.pick(&[Act::Hold, Act::Resume, Act::Offerless])
            } else {
                net.pick(&IN_CALL)
            };
            let last = if storm { 4_000 } else { 20_000 };
            net.soon(100, last, Then::Act(no, act));
        }
        if self.habits.hangs_up {
            let act = if net.chance(10) { Act::ByeTwice } else { Act::Bye };
            net.soon(200, 25_000, Then::Act(no, act));
        }
        if self.habits.resets {
            net.soon(100, 15_000, Then::Act(no, Act::Reset));
        }
    }

    pub(crate) fn act(&mut self, net: &mut Net, act: Act) {
        match act {
            Act::Ring => {
                for fork in 0..self.habits.forks {
                    self.progress(net, 180, fork, false);
                }
            }
            Act::Early => {
                for fork in 0..self.habits.forks {
                    self.progress(net, 183, fork, true);
                }
            }
            Act::Flood => {
                for n in 0..self.habits.flood {
                    let status = net.pick(&[180, 181, 182, 183, 199]);
                    self.progress(net, status, n % self.habits.forks, false);
                }
            }
            Act::Answer => self.pick_up(net),
            Act::Refuse(status) => self.refuse(net, status),
            Act::Cancel => self.cancel(net),
            Act::Ack(known) => self.send_ack(net, known),
            Act::Reset => {
                if let Some(stream) = self.stream {
                    net.reset(stream);
                    self.excused = true;
                }
            }
            Act::Bye
            | Act::Hold
            | Act::OldHold
            | Act::Resume
            | Act::Offerless
            | Act::Update
            | Act::Info
            | Act::Options
            | Act::Refer
            | Act::Unknown
            | Act::WrongCseq
            | Act::WrongTag
            | Act::ByeTwice
            | Act::ByeInReinvite
            | Act::CancelReinvite
            | Act::Refresh => {
                if let Some(place) = self.alive() {
                    self.act_in(net, act, place);
                }
            }
        }
    }

    fn act_in(&mut self, net: &mut Net, act: Act, place: usize) {
        let expect: &'static [u16] = if self.proxied { &[] } else { SURE };
        match act {
            Act::Bye | Act::ByeTwice => {
                self.hang_up(net, place);
                if act == Act::ByeTwice {
                    net.saw("BYE twice");
                    self.ask(net, Ask::of("BYE", place));
                }
            }
            Act::Hold => self.reinvite(net, place, "sendonly", false),
            Act::OldHold => self.reinvite(net, place, "sendrecv", true),
            Act::Resume => self.reinvite(net, place, "sendrecv", false),
            Act::Offerless => {
                net.saw("offerless re-INVITE");
                self.ask(net, Ask::of("INVITE", place));
            }
            Act::Update => self.update(net, place, 70),
            Act::Refresh => self.refresh(net, place),
            Act::Info => {
                let extra = "Info-Package: foo\r\n";
                self.ask(net, Ask { extra, ..Ask::of("INFO", place) });
            }
            Act::Options => self.ask(net, Ask { expect, ..Ask::of("OPTIONS", place) }),
            Act::Refer => {
                net.saw("REFER");
                let extra = "Refer-To: <sip:+442079460077@198.18.0.1>\r\n";
                self.ask(net, Ask { extra, ..Ask::of("REFER", place) });
            }
            Act::Unknown => self.ask(net, Ask { ..Ask::of("FLY", place) }),
            // What a callee asked first may have been lost; a caller's INVITE was not.
            Act::WrongCseq if self.side == Side::Callee => {}
            Act::WrongCseq => {
                net.saw("wrong CSeq");
                let expect: &'static [u16] = if self.proxied { &[] } else { &[500, 481] };
                let cseq = Some(1);
                self.ask(net, Ask { cseq, expect, ..Ask::of("INFO", place) });
            }
            Act::WrongTag => {
                net.saw("wrong tag");
                let expect: &'static [u16] = if self.proxied { &[] } else { &[481] };
                let remote_tag = Some("nobody");
                self.ask(net, Ask { remote_tag, expect, ..Ask::of("BYE", place) });
            }
            Act::ByeInReinvite => {
                net.saw("BYE inside a re-INVITE");
                self.reinvite(net, place, "sendrecv", false);
                self.hang_up(net, place);
            }
            Act::CancelReinvite => {
                self.reinvite(net, place, "sendonly", false);
                net.soon(0, 300, Then::Act(self.no, Act::Cancel));
            }
            Act::Ring
            | Act::Early
            | Act::Flood
            | Act::Answer
            | Act::Refuse(_)
            | Act::Cancel
            | Act::Ack(_)
            | Act::Reset => {}
        }
    }

    /// A lost 200 is not repeated in a dialog that is over.
    pub(crate) fn over(&mut self, place: usize) {
        self.dialogs[place].over = true;
        for wait in self.waits.iter_mut().filter(|w| w.dialog == Some(place)) {
            wait.overtaken |= wait.method == "INVITE";
        }
    }

    fn hang_up(&mut self, net: &mut Net, place: usize) {
        self.owed.retain(|o| !o.is_success);
        self.over(place);
        let expect: &'static [u16] = if self.proxied { &[] } else { SURE };
        self.ask(net, Ask { expect, ..Ask::of("BYE", place) });
    }

    fn refresh(&mut self, net: &mut Net, place: usize) {
        net.saw("refresh");
        net.soon(50_000, 58_000, Then::Act(self.no, Act::Refresh));
        if net.chance(50) {
            self.reinvite(net, place, "sendrecv", false);
        } else {
            self.update(net, place, 0);
        }
    }

    /// `with_offer`: how many of a hundred carry one.
    fn update(&mut self, net: &mut Net, place: usize, with_offer: u64) {
        net.saw("UPDATE");
        let body = if net.chance(with_offer) { self.sdp("sendrecv", false) } else { String::new() };
        self.ask(net, Ask { body, ..Ask::of("UPDATE", place) });
    }

    fn reinvite(&mut self, net: &mut Net, place: usize, direction: &str, nothing: bool) {
        let waits = self.waits.iter().any(|w| w.method == "INVITE");
        if waits && self.habits.restless < 3 {
            return;
        }
        if waits {
            net.saw("re-INVITE upon re-INVITE");
        }
        net.saw(match (direction, nothing) {
            (_, true) => "hold at 0.0.0.0",
            ("sendonly", _) => "hold",
            _ => "re-INVITE",
        });
        let body = self.sdp(direction, nothing);
        self.ask(net, Ask { body, ..Ask::of("INVITE", place) });
    }
}

/// What a question gets: 481 when the dialog is gone, 500 when a later request overtook it.
const SURE: &[u16] = &[200, 481, 500];
