//! Trickled candidates: the body of `PATCH /v1/calls/{id}/sdp` (RFC 8840).

/// What an `application/trickle-ice-sdpfrag` brings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fragment {
    /// `candidate:…` values without `a=` (RFC 8839 §5.1), in order.
    pub candidates: Vec<String>,
    /// `a=ice-ufrag`, as RFC 8840 §4.4 wants it; some clients leave it out.
    pub ufrag: Option<String>,
    /// `a=end-of-candidates` came (RFC 8838 §8.2).
    pub end: bool,
}

/// The content type.
pub const CONTENT_TYPE: &str = "application/trickle-ice-sdpfrag";

/// Candidates one body may bring; a browser with many interfaces sends a dozen.
const MAX_CANDIDATES: usize = 100;

/// Reads a fragment (RFC 8840 §9). Lines end with CRLF or LF; attributes it does not know are
/// passed over; `Err` says what is wrong and in which line.
pub fn parse(body: &str) -> Result<Fragment, String> {
    let mut fragment = Fragment::default();
    for (index, line) in body.lines().enumerate() {
        let number = index + 1;
        if line.is_empty() || line.starts_with("m=") {
            continue;
        }
        let Some(attribute) = line.strip_prefix("a=") else {
            return Err(format!("line {number}: only `a=` and `m=` lines belong here"));
        };
        if let Some(ufrag) = attribute.strip_prefix("ice-ufrag:") {
            fragment.ufrag = Some(ufrag.trim().to_owned());
        } else if attribute == "end-of-candidates" {
            fragment.end = true;
        } else if attribute.starts_with("candidate:") {
            check_candidate(attribute).map_err(|what| format!("line {number}: {what}"))?;
            if fragment.candidates.len() == MAX_CANDIDATES {
                return Err(format!("line {number}: more than {MAX_CANDIDATES} candidates"));
            }
            fragment.candidates.push(attribute.trim_end().to_owned());
        }
    }
    if fragment == Fragment::default() {
        return Err("neither candidates nor their end are in it".to_owned());
    }
    Ok(fragment)
}

/// `candidate:foundation component transport priority address port typ type …` (RFC 8839 §5.1).
fn check_candidate(candidate: &str) -> Result<(), &'static str> {
    let mut words = candidate.split_ascii_whitespace();
    let mut next = |what| words.next().ok_or(what);
    next("candidate without foundation")?;
    let component = next("candidate without component")?;
    next("candidate without transport")?;
    let priority = next("candidate without priority")?;
    next("candidate without address")?;
    let port = next("candidate without port")?;
    if component.parse::<u16>().is_err() {
        return Err("the component is not a number");
    }
    if priority.parse::<u32>().is_err() {
        return Err("the priority is not a number");
    }
    if port.parse::<u16>().is_err() {
        return Err("the port is not a number of 0 to 65535");
    }
    if next("candidate without `typ`")? != "typ" {
        return Err("`typ` must follow the port");
    }
    next("candidate without type").map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_browser_sends() {
        let body = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\n\
            a=mid:0\r\na=candidate:1 1 UDP 2130706431 10.0.0.5 5000 typ host\r\n\
            a=candidate:2 1 UDP 1694498815 198.51.100.7 5000 typ srflx raddr 10.0.0.5 rport 5000\r\n\
            a=end-of-candidates\r\n";
        let fragment = parse(body).unwrap();
        assert_eq!(fragment.ufrag.as_deref(), Some("EsAw"));
        assert!(fragment.end);
        assert_eq!(
            fragment.candidates,
            [
                "candidate:1 1 UDP 2130706431 10.0.0.5 5000 typ host",
                "candidate:2 1 UDP 1694498815 198.51.100.7 5000 typ srflx raddr 10.0.0.5 rport 5000"
            ]
        );
    }

    #[test]
    fn the_end_alone_is_enough() {
        assert!(parse("a=ice-ufrag:x\na=end-of-candidates\n").unwrap().end);
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        for (body, what) in [
            ("", "neither"),
            ("v=0\r\n", "line 1"),
            ("a=mid:0\r\na=candidate:1 1 UDP\r\n", "line 2: candidate without priority"),
            ("a=candidate:1 1 UDP x 10.0.0.5 5000 typ host", "priority"),
            ("a=candidate:1 1 UDP 1 10.0.0.5 99999 typ host", "port"),
            ("a=candidate:1 1 UDP 1 10.0.0.5 5000 host", "`typ`"),
        ] {
            let error = parse(body).unwrap_err();
            assert!(error.contains(what), "{body:?}: {error}");
        }
    }

    #[test]
    fn candidates_are_bounded() {
        let line = "a=candidate:1 1 UDP 1 10.0.0.5 5000 typ host\r\n";
        assert_eq!(parse(&line.repeat(100)).unwrap().candidates.len(), 100);
        assert!(parse(&line.repeat(101)).unwrap_err().contains("line 101"));
    }
}
