//! The ledger of a call's digits: how each was heard, and how it was sent on.
use std::collections::VecDeque;

use tandem_media::control::KeyBy;

use crate::{LegId, UnixMillis};

/// Digits kept of one call: more than any menu, card number or conference code asks for. Of a call
/// with more the latest are kept.
const MOST: usize = 64;

/// One digit of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigitRecord {
    /// When it had been heard, or was asked for.
    pub time: UnixMillis,
    /// `0-9 * # A-D`; `?` where the trunk wants digits masked.
    pub digit: char,
    /// How long it was pressed, milliseconds.
    pub duration_ms: u32,
    /// The leg whose peer pressed it; `None`: the application asked for it.
    pub from: Option<LegId>,
    /// The ways it was heard in, in their order: `rfc4733`, `info`, `inband`. More than one: the
    /// copies were joined.
    pub heard: Vec<&'static str>,
    /// The leg it was sent to.
    pub to: Option<LegId>,
    /// … and in which way.
    pub sent: Option<&'static str>,
    /// The status that the peer answered to the INFO.
    pub answer: Option<u16>,
}

/// The digits of a call, none of which is counted twice.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    records: VecDeque<(char, DigitRecord)>,
}

impl Ledger {
    /// Notes a digit. `digit` is the real one, whatever the record shows.
    pub(crate) fn note(&mut self, digit: char, record: DigitRecord) {
        if self.records.len() >= MOST {
            self.records.pop_front();
        }
        self.records.push_back((digit, record));
    }

    /// The same digit was heard in another way.
    pub(crate) fn copied(&mut self, from: LegId, digit: char, by: KeyBy) {
        let name = by.name();
        let first =
            self.records.iter_mut().map(|(real, record)| (*real, record)).find(|(real, record)| {
                *real == digit
                    && record.from == Some(from)
                    && !record.heard.contains(&name)
                    && !record.heard.is_empty()
            });
        if let Some((_, record)) = first {
            record.heard.push(name);
        }
    }

    /// The peer of a leg has answered the oldest INFO that was not answered.
    pub(crate) fn answered(&mut self, to: LegId, status: u16) {
        let waits = |record: &&mut DigitRecord| {
            record.to == Some(to)
                && record.sent == Some(KeyBy::Info.name())
                && record.answer.is_none()
        };
        if let Some(record) = self.records.iter_mut().map(|(_, record)| record).find(waits) {
            record.answer = Some(status);
        }
    }

    /// What there is.
    pub(crate) fn records(&self) -> Vec<DigitRecord> {
        self.records.iter().map(|(_, record)| record.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(from: u16, by: KeyBy) -> DigitRecord {
        DigitRecord {
            time: UnixMillis(1),
            digit: '?',
            duration_ms: 100,
            from: Some(LegId(from)),
            heard: vec![by.name()],
            to: Some(LegId(2)),
            sent: Some("info"),
            answer: None,
        }
    }

    #[test]
    fn copies_and_answers_find_their_digits() {
        let mut ledger = Ledger::default();
        ledger.note('5', record(1, KeyBy::Rfc4733));
        ledger.note('5', record(1, KeyBy::Rfc4733));
        ledger.copied(LegId(1), '5', KeyBy::Info);
        ledger.copied(LegId(2), '5', KeyBy::Info);
        ledger.answered(LegId(2), 200);
        ledger.answered(LegId(2), 415);
        let records = ledger.records();
        assert_eq!(records[0].heard, ["rfc4733", "info"]);
        assert_eq!(records[1].heard, ["rfc4733"]);
        assert_eq!([records[0].answer, records[1].answer], [Some(200), Some(415)]);
    }

    #[test]
    fn a_call_that_dials_for_ever_keeps_the_latest() {
        let mut ledger = Ledger::default();
        for n in 0..1_000u64 {
            let time = UnixMillis(n);
            ledger.note('1', DigitRecord { time, ..record(1, KeyBy::InBand) });
        }
        let records = ledger.records();
        assert_eq!((records.len(), records[0].time), (MOST, UnixMillis(1_000 - MOST as u64)));
    }
}
