//! Quality of service before the phone rings, as IMS networks ask for it (RFC 3312, segmented).
//!
//! This gateway has nothing to reserve: its own side always stands. What it owes a caller is the
//! status lines in each answer, and a request to be told when the caller's side stands (`a=conf`).
use sdp_types::Media;

/// A direction tag, `none` included: whether packets go, seen from whoever wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    sends: bool,
    receives: bool,
}

impl Way {
    const NONE: Self = Self { sends: false, receives: false };
    const BOTH: Self = Self { sends: true, receives: true };

    fn parse(tag: &str) -> Option<Self> {
        Some(match tag {
            "none" => Self::NONE,
            "send" => Self { sends: true, receives: false },
            "recv" => Self { sends: false, receives: true },
            "sendrecv" => Self::BOTH,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match (self.sends, self.receives) {
            (false, false) => "none",
            (true, false) => "send",
            (false, true) => "recv",
            (true, true) => "sendrecv",
        }
    }

    /// The same packets seen from the other end.
    fn reversed(self) -> Self {
        Self { sends: self.receives, receives: self.sends }
    }

    fn covers(self, wanted: Self) -> bool {
        (self.sends || !wanted.sends) && (self.receives || !wanted.receives)
    }
}

/// What an offer says of the caller's side and of ours, from the caller's point of view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Preconditions {
    /// What stands on the caller's side.
    current: Way,
    /// What is wanted there, and how strongly.
    wanted: (Strength, Way),
    /// What is wanted on ours.
    wanted_here: (Strength, Way),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strength {
    None,
    Optional,
    Mandatory,
}

impl Strength {
    fn parse(tag: &str) -> Self {
        match tag {
            "mandatory" => Self::Mandatory,
            "optional" => Self::Optional,
            _ => Self::None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Optional => "optional",
            Self::Mandatory => "mandatory",
        }
    }
}

impl Preconditions {
    /// Of a line with segmented status; end-to-end status, which needs a reservation through the
    /// whole network, is passed over.
    pub(crate) fn read(media: &Media) -> Option<Self> {
        let mut out = Self {
            current: Way::NONE,
            wanted: (Strength::None, Way::BOTH),
            wanted_here: (Strength::None, Way::BOTH),
        };
        let mut found = false;
        for value in media.get_attribute_values("curr").flatten() {
            let mut words = value.split_whitespace();
            if let (Some("qos"), Some("local"), Some(way)) =
                (words.next(), words.next(), words.next().and_then(Way::parse))
            {
                out.current = way;
                found = true;
            }
        }
        for value in media.get_attribute_values("des").flatten() {
            let mut words = value.split_whitespace();
            let (kind, strength, side) = (words.next(), words.next(), words.next());
            let way = words.next().and_then(Way::parse);
            let (Some("qos"), Some(strength), Some(way)) = (kind, strength, way) else { continue };
            let wanted = (Strength::parse(strength), way);
            match side {
                Some("local") => out.wanted = wanted,
                Some("remote") => out.wanted_here = wanted,
                Some(_) | None => continue,
            }
            found = true;
        }
        found.then_some(out)
    }

    /// Whether the caller's side stands as far as it must.
    pub(crate) fn is_met(&self) -> bool {
        let (strength, wanted) = self.wanted;
        strength != Strength::Mandatory || self.current.covers(wanted)
    }

    /// The lines of the answer, seen from our side (RFC 3312 §5.2): what is local there is remote
    /// here.
    pub(crate) fn answer(&self) -> Vec<(&'static str, String)> {
        let wanted_there = self.wanted.1.reversed().name();
        let mut lines = vec![
            ("curr", "qos local sendrecv".to_owned()),
            ("curr", format!("qos remote {}", self.current.reversed().name())),
            (
                "des",
                format!(
                    "qos {} local {}",
                    self.wanted_here.0.name(),
                    self.wanted_here.1.reversed().name()
                ),
            ),
            ("des", format!("qos {} remote {wanted_there}", self.wanted.0.name())),
        ];
        if !self.is_met() {
            lines.push(("conf", format!("qos remote {wanted_there}")));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[(&str, &str)]) -> Option<Preconditions> {
        let mut media = Media {
            media: "audio".to_owned(),
            port: 4000,
            num_ports: None,
            proto: "RTP/AVP".to_owned(),
            fmt: "8".to_owned(),
            media_title: None,
            connections: Vec::new(),
            bandwidths: Vec::new(),
            key: None,
            attributes: Vec::new(),
        };
        for (name, value) in lines {
            media.add_attribute_with_value(*name, (*value).to_owned());
        }
        Preconditions::read(&media)
    }

    #[test]
    fn a_callers_status_is_answered_from_our_side() {
        let asked = read(&[
            ("curr", "qos local none"),
            ("curr", "qos remote none"),
            ("des", "qos mandatory local sendrecv"),
            ("des", "qos optional remote send"),
        ])
        .unwrap();
        assert!(!asked.is_met());
        let lines: Vec<String> =
            asked.answer().into_iter().map(|(name, value)| format!("{name}:{value}")).collect();
        assert_eq!(
            lines,
            [
                "curr:qos local sendrecv",
                "curr:qos remote none",
                "des:qos optional local recv",
                "des:qos mandatory remote sendrecv",
                "conf:qos remote sendrecv",
            ]
        );
    }

    #[test]
    fn what_is_met_or_not_mandatory_asks_for_no_confirmation() {
        let met = |current: &str, strength: &str, wanted: &str| {
            let asked = read(&[
                ("curr", &format!("qos local {current}")),
                ("des", &format!("qos {strength} local {wanted}")),
            ])
            .unwrap();
            assert_eq!(asked.is_met(), asked.answer().len() == 4);
            asked.is_met()
        };
        assert!(met("sendrecv", "mandatory", "sendrecv") && met("send", "mandatory", "send"));
        assert!(met("none", "optional", "sendrecv") && met("none", "none", "sendrecv"));
        assert!(!met("send", "mandatory", "sendrecv") && !met("none", "mandatory", "recv"));
    }

    #[test]
    fn other_lines_are_no_preconditions() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[("curr", "qos e2e none"), ("des", "qos mandatory e2e sendrecv")]), None);
        assert_eq!(read(&[("curr", "sec local none"), ("curr", "qos"), ("des", "x")]), None);
    }
}
