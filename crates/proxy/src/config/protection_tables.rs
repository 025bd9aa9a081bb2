//! Readers of what a trunk file says about SRTP.
use super::reader::{Reader, Section};
use crate::protection::{Protection, RtpProfile, Srtp, SrtpSuite};

pub(super) fn protection(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> Protection {
    let mut out = Protection::default();
    let modes = [("off", Srtp::Off), ("optional", Srtp::Optional), ("required", Srtp::Required)];
    out.srtp = reader.choice(section, "srtp", &modes).unwrap_or_default();
    let suites = reader.list(section, "srtp_suites", |text| {
        SrtpSuite::NAMES.iter().find(|(name, _)| *name == text).map(|(_, suite)| *suite).ok_or_else(
            || {
                let names: Vec<&str> = SrtpSuite::NAMES.iter().map(|(name, _)| *name).collect();
                format!("the suite `{text}` is not known; write {}", names.join(" or "))
            },
        )
    });
    if let Some(suites) = suites {
        if suites.is_empty() {
            reader.error(section.place("srtp_suites"), "`srtp_suites` is empty; leave it out");
        }
        out.suites.clear();
        for suite in suites {
            if !out.suites.contains(&suite) {
                out.suites.push(suite);
            }
        }
    }
    let profiles = [
        ("auto", RtpProfile::Auto),
        ("AVP", RtpProfile::Avp),
        ("SAVP", RtpProfile::Savp),
        ("AVPF", RtpProfile::Avpf),
        ("SAVPF", RtpProfile::Savpf),
    ];
    out.profile = reader.choice(section, "rtp_profile", &profiles).unwrap_or_default();
    let secure = matches!(out.profile, RtpProfile::Savp | RtpProfile::Savpf);
    if secure && out.srtp == Srtp::Off {
        let what = "`rtp_profile` names SRTP, but `srtp` is \"off\"; write srtp = \"optional\" or \
                    \"required\"";
        reader.error(section.place("rtp_profile"), what);
    }
    out
}
