//! Counting of messages by method and status.

use std::cell::RefCell;

use metrics::Counter;
use tandem_sip::Message;

use crate::metrics::{SIP_REQUESTS, SIP_RESPONSES};

/// A label has few values: a method that only a stranger uses is not one of them.
const METHODS: [&str; 15] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "REGISTER",
    "PRACK",
    "SUBSCRIBE",
    "NOTIFY",
    "PUBLISH",
    "INFO",
    "REFER",
    "MESSAGE",
    "UPDATE",
    "OTHER",
];

/// Status codes are 100 to 699.
const CODES: usize = 600;

/// The counters of one direction, found once: looking one up by its labels costs more than the
/// message's first line.
#[derive(Default)]
struct Found {
    requests: [Option<Counter>; METHODS.len()],
    responses: Vec<Option<Counter>>,
}

thread_local! {
    /// Of what is received, and of what is sent.
    static FOUND: RefCell<[Found; 2]> = RefCell::default();
}

const IN: (usize, &str) = (0, "in");
const OUT: (usize, &str) = (1, "out");

/// Counts what stands in the first line; the message is not parsed a second time.
pub(super) fn count_sent(data: &[u8]) {
    let line = memchr::memchr(b'\r', data).and_then(|end| data.get(..end)).unwrap_or_default();
    if let Some(rest) = line.strip_prefix(b"SIP/2.0 ") {
        let code = rest.get(..3).and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
        response(OUT, code.unwrap_or(0));
    } else if let Some(end) = memchr::memchr(b' ', line) {
        let name = line.get(..end).and_then(|name| std::str::from_utf8(name).ok());
        request(OUT, name.unwrap_or_default());
    }
}

pub(super) fn count_received(message: &Message) {
    match message.status() {
        Some(status) => response(IN, status.code()),
        None => request(IN, message.method().as_str()),
    }
}

fn request((way, direction): (usize, &'static str), method: &str) {
    let place = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
    FOUND.with_borrow_mut(|found| {
        let slot = found.get_mut(way).and_then(|found| found.requests.get_mut(place));
        let (Some(slot), Some(name)) = (slot, METHODS.get(place)) else { return };
        let look = || metrics::counter!(SIP_REQUESTS, "direction" => direction, "method" => *name);
        slot.get_or_insert_with(look).increment(1);
    });
}

fn response((way, direction): (usize, &'static str), code: u16) {
    let Some(place) = usize::from(code).checked_sub(100).filter(|place| *place < CODES) else {
        return;
    };
    FOUND.with_borrow_mut(|found| {
        let Some(found) = found.get_mut(way) else { return };
        if found.responses.is_empty() {
            found.responses.resize_with(CODES, || None);
        }
        let Some(slot) = found.responses.get_mut(place) else { return };
        let look = || {
            let code = code.to_string();
            metrics::counter!(SIP_RESPONSES, "direction" => direction, "code" => code)
        };
        slot.get_or_insert_with(look).increment(1);
    });
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn messages_are_counted_by_direction_and_first_line() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let text = "OPTIONS sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
            From: <sip:a@h>;tag=1\r\nTo: <sip:a@h>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n";
        let received = Message::parse(Bytes::from_static(text.as_bytes())).unwrap();
        metrics::with_local_recorder(&recorder, || {
            count_received(&received);
            count_sent(b"SIP/2.0 200 OK\r\n");
            count_sent(b"SIP/2.0 200 Fine\r\n");
            count_sent(b"MAGIC sip:a@h SIP/2.0\r\n");
            for broken in [&b"\r\n"[..], b"SIP/2.0 \r\n", b"SIP/2.0 9999\r\n", b"", b"x"] {
                count_sent(broken);
            }
        });
        let page = handle.render();
        let told = |line: &str| assert!(page.contains(line), "{page}");
        told("tandem_sip_requests_total{direction=\"in\",method=\"OPTIONS\"} 1");
        told("tandem_sip_responses_total{direction=\"out\",code=\"200\"} 2");
        told("tandem_sip_requests_total{direction=\"out\",method=\"OTHER\"} 1");
    }
}
