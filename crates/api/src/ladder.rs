//! The ladder of a call: every SIP message, REST exchange and media mark, in order.
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// One rung.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LadderEntry {
    /// When.
    pub time: Timestamp,
    /// `sip`, `rest`, `event` or `media`.
    #[schema(example = "sip")]
    pub kind: String,
    /// Who sent it: `tandem`, `app`, `media` or a trunk's name.
    #[schema(example = "acme")]
    pub from: String,
    /// Who received it.
    #[schema(example = "tandem")]
    pub to: String,
    /// In one line: `INVITE sip:…`, `180 Ringing`, `POST …/answer`, `call.answered`.
    #[schema(example = "INVITE")]
    pub label: String,
    /// The leg, where it is one leg's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leg: Option<u16>,
    /// The whole message, without secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The ladder of one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ladder {
    /// The call.
    pub call: String,
    /// In causal order.
    pub entries: Vec<LadderEntry>,
}

/// Columns between two lifelines of the drawing.
const SPAN: usize = 30;

impl Ladder {
    /// Draws it for people: a lifeline per party in the order of their appearance, an arrow per
    /// entry, seconds since the first entry at the left.
    pub fn to_text(&self) -> String {
        let mut parties: Vec<&str> = Vec::new();
        for entry in &self.entries {
            for name in [entry.from.as_str(), entry.to.as_str()] {
                if !parties.contains(&name) {
                    parties.push(name);
                }
            }
        }
        let mut text = format!("call {}\n{:10}", self.call, "");
        for party in &parties {
            let _ = write!(text, "{party:SPAN$}");
        }
        let mut text = text.trim_end().to_owned();
        text.push('\n');
        let start = self.entries.first().map_or(0, |entry| entry.time.0);
        for entry in &self.entries {
            let at = entry.time.0.saturating_sub(start);
            let _ = write!(text, "{:>5}.{:03} ", at / 1000, at % 1000);
            let place = |name: &str| parties.iter().position(|party| *party == name).unwrap_or(0);
            text.push_str(&rung(&entry.label, place(&entry.from), place(&entry.to), parties.len()));
            text.push('\n');
        }
        text
    }
}

/// One line: `|` at each lifeline, the arrow between its two, its label on it.
fn rung(label: &str, from: usize, to: usize, parties: usize) -> String {
    let (left, right) = (from.min(to), from.max(to));
    let mut line = String::new();
    let mut column = 0;
    while column < parties {
        line.push('|');
        if column == left && left < right {
            let width = (right - left) * SPAN - 1;
            let (head, tail) = if from < to { ("", ">") } else { ("<", "") };
            let room = width.saturating_sub(4);
            let label: String = label.chars().take(room).collect();
            let dashes = room - label.chars().count();
            let _ = write!(line, "{head}- {label} {}{tail}", "-".repeat(dashes));
            column = right;
            continue;
        }
        if column == left && left == right {
            let _ = write!(line, " {label}");
        } else if column + 1 < parties {
            line.push_str(&" ".repeat(SPAN - 1));
        }
        column += 1;
        if left == right && column > left {
            // What a party does by itself takes the rest of its line.
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(ms: u64, from: &str, to: &str, label: &str) -> LadderEntry {
        LadderEntry {
            time: Timestamp(ms),
            kind: "sip".to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            label: label.to_owned(),
            leg: None,
            message: None,
        }
    }

    #[test]
    fn draws_arrows_both_ways() {
        let ladder = Ladder {
            call: "c1".to_owned(),
            entries: vec![
                entry(1000, "acme", "tandem", "INVITE"),
                entry(1020, "tandem", "app", "call.incoming"),
                entry(2500, "app", "tandem", "POST answer"),
                entry(2501, "tandem", "acme", "200 OK"),
                entry(2600, "tandem", "tandem", "media connected"),
            ],
        };
        let want = "call c1
          acme                          tandem                        app
    0.000 |- INVITE ------------------->|                             |
    0.020 |                             |- call.incoming ------------>|
    1.500 |                             |<- POST answer --------------|
    1.501 |<- 200 OK -------------------|                             |
    1.600 |                             | media connected
";
        assert_eq!(ladder.to_text(), want);
    }

    #[test]
    fn a_long_label_is_cut_to_its_arrow() {
        let ladder =
            Ladder { call: "c1".to_owned(), entries: vec![entry(0, "a", "b", &"x".repeat(200))] };
        assert!(ladder.to_text().lines().all(|line| line.chars().count() <= 10 + 2 * SPAN));
    }
}
