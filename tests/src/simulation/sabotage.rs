//! Bugs that are planted between the gateway and the world, to show that the simulation finds them.
use std::time::Instant;

use tandem_b2bua::Output;
use tandem_sip::{Flow, Message};

use super::{judge::Cause, net::Net};

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A call has two records.
    RecordTwice,
}

pub(crate) struct Saboteur {
    bug: Bug,
}

impl Saboteur {
    pub(crate) fn new(bug: Bug) -> Self {
        Self { bug }
    }
    pub(crate) fn timeout(&self, own: Option<Instant>, _now: Instant) -> Option<Instant> {
        own
    }
    pub(crate) fn channels(&self) -> usize {
        0
    }
    pub(crate) fn lets_in(&mut self, _net: &mut Net, _flow: &Flow, _message: &Message) -> bool {
        true
    }
    pub(crate) fn lets_out(&mut self, _cause: &Cause, output: Output) -> Vec<Output> {
        let _ = self.bug;
        vec![output]
    }
}
