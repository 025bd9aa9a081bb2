//! A session description as a peer wrote it, read tolerantly (RFC 8866 §5).
use sdp_types::Session;

use crate::{MAX_BYTES, MAX_LINES, Refusal, audio::Audio, precondition::Preconditions};

/// A parsed description.
///
/// Lines that decide nothing for a call (`i= u= e= p= b= k= r= z=`) are not looked at, so that a
/// mistake in one of them cannot refuse a call; LF alone ends a line as CRLF does (RFC 8866 §5).
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    session: Session,
}

impl Description {
    /// Reads a description. The refusal says what is wrong with it in words.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > MAX_BYTES {
            return Err(Refusal::malformed("the session description is too long"));
        }
        let text = String::from_utf8_lossy(bytes);
        let mut kept = String::with_capacity(text.len());
        let mut media = 0;
        for line in text.split('\n') {
            let line = line.trim_end_matches(['\r', '\0', ' ', '\t']);
            match line.as_bytes().first() {
                Some(b'm') => media += 1,
                Some(b'i' | b'u' | b'e' | b'p' | b'b' | b'k' | b'r' | b'z') | None => continue,
                Some(_) => {}
            }
            if media > MAX_LINES {
                return Err(Refusal::malformed("the session description has too many m= lines"));
            }
            match line.strip_prefix("o=").and_then(small_version) {
                Some(origin) => kept.push_str(&origin),
                None => kept.push_str(line),
            }
            kept.push_str("\r\n");
        }
        let session = Session::parse(kept.as_bytes())
            .map_err(|e| Refusal::malformed(&format!("not a session description: {e}")))?;
        Ok(Self { session })
    }

    /// `o=`'s session version: unchanged means an unchanged description (RFC 3264 §8).
    pub fn version(&self) -> u64 {
        self.session.origin.sess_version
    }

    /// Start and stop of the first `t=` line; both 0 without one.
    pub(crate) fn time(&self) -> (u64, u64) {
        self.session.times.first().map_or((0, 0), |time| (time.start_time, time.stop_time))
    }

    /// The number of m= lines.
    pub fn lines(&self) -> usize {
        self.session.medias.len()
    }

    /// Everything an `m=audio` line says, by its place; `None` for other media.
    pub fn audio(&self, line: usize) -> Option<Audio> {
        let media = self.session.medias.get(line)?;
        media.media.eq_ignore_ascii_case("audio").then(|| Audio::read(&self.session, media))
    }

    /// What a line says about quality of service before the phone rings.
    pub(crate) fn preconditions(&self, line: usize) -> Option<Preconditions> {
        Preconditions::read(self.session.medias.get(line)?)
    }

    /// Media type, protocol and first format of each line, as written.
    pub(crate) fn shapes(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.session.medias.iter().map(|media| {
            let format = media.fmt.split_whitespace().next().unwrap_or("0");
            (media.media.as_str(), media.proto.as_str(), format)
        })
    }
}

/// An `o=` line whose version is no number of 64 bits, with one that is: RFC 8866 §5.2 sets no
/// bound to its digits, and no call may fail for what only has to differ. `None`: it is well as it
/// is.
fn small_version(origin: &str) -> Option<String> {
    let (place, version) = origin.split(' ').enumerate().nth(2)?;
    if version.parse::<u64>().is_ok() {
        return None;
    }
    let digits: Vec<u8> = version.bytes().filter(u8::is_ascii_digit).collect();
    let last = digits.get(digits.len().saturating_sub(18)..)?;
    let small = last.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')).to_string();
    let words = origin.split(' ').enumerate();
    let words: Vec<&str> = words.map(|(n, word)| if n == place { &small } else { word }).collect();
    Some(format!("o={}", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_feeds_alone_and_broken_side_lines_are_tolerated() {
        let text = "v=0\no=- 1 1 IN IP4 1.2.3.4\ns=\nc=IN IP4 1.2.3.4\nb=nonsense\nk=\nt=0 0\n\
                    m=audio 4000 RTP/AVP 0\n";
        let got = Description::parse(text.as_bytes()).unwrap();
        assert_eq!(got.lines(), 1);
        assert_eq!(got.audio(0).unwrap().port, 4000);
    }

    #[test]
    fn a_version_of_any_length_is_read() {
        let of = |version: &str| {
            let text = format!("v=0\r\no=- 1 {version} IN IP4 1.2.3.4\r\ns=-\r\nt=5 9\r\n");
            Description::parse(text.as_bytes()).unwrap()
        };
        assert_eq!(of("18446744073709551615").version(), u64::MAX);
        assert_eq!(of("18446744073709551616").version(), 446_744_073_709_551_616);
        assert_eq!(of("20260101120000.123456789").version(), 101_120_000_123_456_789);
        assert_eq!(of("x").version(), 0);
        assert_eq!(of("1").time(), (5, 9));
    }

    #[test]
    fn what_is_no_description_is_refused_with_words() {
        for text in ["", "hello", "v=1\r\n", "v=0\r\nm=audio x RTP/AVP 0\r\n"] {
            let refusal = Description::parse(text.as_bytes()).unwrap_err();
            assert_eq!(refusal.warning, 307, "{text:?}");
            assert!(!refusal.text.is_empty());
        }
        let many = format!("v=0\r\n{}", "m=audio 1 RTP/AVP 0\r\n".repeat(MAX_LINES + 1));
        assert!(Description::parse(many.as_bytes()).is_err());
    }
}
