//! Why calls fail: SIP statuses, Q.850 causes and the stable codes of events and CDRs
//! (RFC 3398 §7.2.4.1 and §8.2.6.1, RFC 3326, RFC 6432).
use tandem_sip::{
    Message,
    header::{HeaderName, Location, Reason},
};

use crate::{EndReason, EndedBy};

/// The Q.850 cause of a SIP failure (RFC 3398 §8.2.6.1). `warning` is the code of a Warning header,
/// which decides for 488 and 606. 487 has none: it only confirms a CANCEL.
pub(crate) fn q850_of_status(status: u16, warning: Option<u16>) -> Option<u8> {
    Some(match status {
        487 => return None,
        401 | 402 | 403 | 407 | 603 | 607 | 608 => 21,
        404 | 485 | 604 => 1,
        405 => 63,
        406 | 415 | 501 => 79,
        400 | 481 | 500 | 503 => 41,
        408 | 504 => 102,
        410 => 22,
        413 | 414 | 416 | 420 | 421 | 423 | 505 | 513 => 127,
        480 => 18,
        482 | 483 => 25,
        484 => 28,
        486 | 600 => 17,
        502 => 38,
        // Warnings 304 to 307 speak of media: bearer capability not implemented.
        488 | 606 if matches!(warning, Some(304..=307)) => 65,
        _ => 31,
    })
}

/// The SIP status for a Q.850 cause (RFC 3398 §7.2.4.1).
pub(crate) fn status_of_q850(cause: u8, location: Option<Location>) -> u16 {
    match cause {
        // The user's own refusal, not the network's.
        21 if location == Some(Location::USER) => 603,
        1..=3 | 26 => 404,
        17 => 486,
        18 => 408,
        19 | 20 | 31 => 480,
        21 | 55 | 57 | 87 => 403,
        22 | 23 => 410,
        27 => 502,
        28 => 484,
        29 | 79 => 501,
        34 | 38 | 41 | 42 | 47 | 58 | 88 => 503,
        65 | 70 => 488,
        102 => 504,
        _ => 500,
    }
}

/// Whether a failure's own Q.850 cause speaks of the called line and not of the way there, whatever
/// status it travels in: no such number, busy, no answer, rejected, moved (ITU-T Q.850 §2.2.7).
pub(crate) fn is_of_the_user(response: &Message) -> bool {
    let given = response.reasons().and_then(|reason| reason.q850);
    matches!(given, Some(1 | 17 | 18 | 19 | 20 | 21 | 22 | 28))
}

/// The stable code of a failure. A Q.850 cause says more than the status it travels in
/// (a busy line behind a gateway that answers 503 is still busy), so it decides where it is plain.
pub(crate) fn code_of(status: u16, q850: Option<u8>) -> &'static str {
    match q850 {
        Some(17) => return "busy",
        Some(18 | 19) if status != 408 => return "no-answer",
        Some(1 | 22 | 28) => return "unallocated",
        Some(34 | 42) => return "capacity",
        Some(_) | None => {}
    }
    match understood(status) {
        486 | 600 => "busy",
        603 | 607 | 608 => "declined",
        401 | 402 | 403 | 407 => "rejected",
        404 | 410 | 484 | 485 | 604 => "unallocated",
        480 | 487 => "no-answer",
        408 => "unreachable",
        406 | 415 | 488 | 606 => "incompatible",
        _ => "failed",
    }
}

/// An unknown status counts as the x00 of its class (RFC 3261 §8.1.3.2).
fn understood(status: u16) -> u16 {
    tandem_sip::StatusCode::new(status).map_or(status, |known| known.understood().code())
}

/// What a carrier's final failure means.
pub(crate) fn of_response(status: u16, response: Option<&Message>, by: EndedBy) -> EndReason {
    let given = response.and_then(Message::reasons).unwrap_or_default();
    let warning = response
        .and_then(|r| r.header(HeaderName::Warning))
        .and_then(|w| w.split_whitespace().next()?.parse().ok());
    let q850 = given.q850.or_else(|| q850_of_status(status, warning));
    // The words of a Reason, else a reason phrase that is not the status's own.
    let phrase = response.map(Message::reason).filter(|p| !p.is_empty()).map(str::to_owned);
    let usual = tandem_sip::StatusCode::new(status).map_or("", tandem_sip::StatusCode::reason);
    let text = given.text.or(phrase.filter(|p| p != usual));
    // RFC 3398 §8.2.6.1: a cause of our own making has the user for its place, or our side's network.
    let place = match status {
        600.. => Location::USER,
        _ => Location::BEYOND,
    };
    let location = match (given.q850, q850) {
        (Some(_), _) => given.location,
        (None, Some(_)) => response.map(|_| place),
        (None, None) => None,
    };
    let code = code_of(status, given.q850);
    EndReason { code, sip: Some(status), q850, location, text, ended_by: by }
}

/// What a BYE or CANCEL means: its Reason, else normal clearing (RFC 3398 §8.2.6.1).
pub(crate) fn of_request(request: &Message, code: &'static str, by: EndedBy) -> EndReason {
    let given = request.reasons().unwrap_or_default();
    // RFC 3326 §3.1: the call was completed elsewhere.
    let elsewhere = code == "cancelled" && given.sip == Some(200);
    EndReason {
        code: if elsewhere { ELSEWHERE } else { code },
        sip: given.sip,
        q850: given.q850.or(Some(if elsewhere { 26 } else { 16 })),
        location: given.location,
        text: given.text,
        ended_by: by,
    }
}

/// The code of a call that another phone has answered.
const ELSEWHERE: &str = "answered-elsewhere";

/// A reason of ours without a carrier's words.
pub(crate) fn local(code: &'static str, sip: Option<u16>, q850: u8, by: EndedBy) -> EndReason {
    EndReason { code, sip, q850: Some(q850), location: None, text: None, ended_by: by }
}

/// The value of a Reason header: the Q.850 cause with its words (RFC 6432: in responses too).
pub(crate) fn header(reason: &EndReason) -> Option<String> {
    let q850 = reason.q850?;
    let text = reason.text.clone();
    let value = match reason.code {
        ELSEWHERE => {
            let text = text.or_else(|| Some("Call completed elsewhere".to_owned()));
            Reason { sip: Some(200), q850: None, location: None, text }
        }
        _ => Reason { sip: None, q850: Some(q850), location: reason.location, text },
    };
    Some(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_causes_map_as_rfc_3398_prints_them() {
        for (status, cause) in [
            (400, 41),
            (401, 21),
            (404, 1),
            (405, 63),
            (406, 79),
            (408, 102),
            (410, 22),
            (413, 127),
            (480, 18),
            (481, 41),
            (482, 25),
            (484, 28),
            (485, 1),
            (486, 17),
            (500, 41),
            (501, 79),
            (502, 38),
            (503, 41),
            (504, 102),
            (505, 127),
            (600, 17),
            (603, 21),
            (604, 1),
            (499, 31),
        ] {
            assert_eq!(q850_of_status(status, None), Some(cause), "{status}");
        }
        assert_eq!(q850_of_status(487, None), None);
        assert_eq!(q850_of_status(488, Some(305)), Some(65));
        assert_eq!(q850_of_status(488, None), Some(31));
        for (cause, status) in [
            (1, 404),
            (17, 486),
            (18, 408),
            (19, 480),
            (21, 403),
            (22, 410),
            (27, 502),
            (28, 484),
            (34, 503),
            (65, 488),
            (79, 501),
            (102, 504),
            (111, 500),
            (127, 500),
        ] {
            assert_eq!(status_of_q850(cause, None), status, "{cause}");
        }
        assert_eq!(status_of_q850(21, Some(Location::USER)), 603);
        assert_eq!(status_of_q850(21, Some(Location::BEYOND)), 403);
    }

    /// RFC 3398 §7.2.4.1 and §8.2.6.1, every line of the tables.
    #[test]
    fn the_tables_are_complete() {
        let to_sip: &[(&[u8], u16)] = &[
            (&[1, 2, 3, 26], 404),
            (&[17], 486),
            (&[18], 408),
            (&[19, 20, 31], 480),
            (&[21, 55, 57, 87], 403),
            (&[22, 23], 410),
            (&[27], 502),
            (&[28], 484),
            (&[29, 79], 501),
            (&[34, 38, 41, 42, 47, 58, 88], 503),
            (&[65, 70], 488),
            (&[102], 504),
        ];
        for cause in 0..=127 {
            let row = to_sip.iter().find(|(causes, _)| causes.contains(&cause));
            let status = row.map_or(500, |(_, status)| *status);
            assert_eq!(status_of_q850(cause, None), status, "{cause}");
        }
        let to_q850: &[(&[u16], u8)] = &[
            (&[400, 481, 500, 503], 41),
            (&[401, 402, 403, 407, 603, 607, 608], 21),
            (&[404, 485, 604], 1),
            (&[405], 63),
            (&[406, 415, 501], 79),
            (&[408, 504], 102),
            (&[410], 22),
            (&[413, 414, 416, 420, 421, 423, 505, 513], 127),
            (&[480], 18),
            (&[482, 483], 25),
            (&[484], 28),
            (&[486, 600], 17),
            (&[502], 38),
        ];
        for status in (400..700).filter(|status| *status != 487) {
            let row = to_q850.iter().find(|(statuses, _)| statuses.contains(&status));
            let cause = row.map_or(31, |(_, cause)| *cause);
            assert_eq!(q850_of_status(status, None), Some(cause), "{status}");
        }
        assert_eq!(q850_of_status(606, Some(304)), Some(65));
        assert_eq!(q850_of_status(606, Some(399)), Some(31));
    }

    #[test]
    fn a_plain_cause_decides_over_the_status_it_travels_in() {
        assert_eq!(code_of(503, Some(17)), "busy");
        assert_eq!(code_of(503, Some(41)), "failed");
        assert_eq!(code_of(480, None), "no-answer");
        assert_eq!(code_of(603, Some(21)), "declined");
        // RFC 8197, RFC 8688.
        assert_eq!((code_of(607, None), code_of(608, None)), ("declined", "declined"));
    }

    /// RFC 3261 §8.1.3.2; its Q.850 cause is that of all others (RFC 3398 §8.2.6.1).
    #[test]
    fn an_unknown_status_counts_as_the_first_of_its_class() {
        assert_eq!((code_of(699, None), q850_of_status(699, None)), ("busy", Some(31)));
        assert_eq!(code_of(599, None), code_of(500, None));
    }
}
