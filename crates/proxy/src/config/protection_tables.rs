//! Readers of what a trunk file says about SRTP.
use super::reader::{Reader, Section};
use crate::{
    protection::{KeysOver, Protection, RtpProfile, Srtp, SrtpSuite},
    trunk::{Gateway, Peer, TransportOptions},
};

/// What a trunk is reached by, of all that an INVITE to it may pass.
pub(super) fn hops<'t>(
    transport: &'t TransportOptions,
    gateways: &'t [Gateway],
) -> impl Iterator<Item = &'t Peer> {
    let beyond = transport.next_hop.is_none();
    let gateways = gateways.iter().filter(move |_| beyond).map(|gateway| &gateway.peer);
    transport.next_hop.iter().chain(gateways)
}

pub(super) fn protection<'t>(
    reader: &mut Reader<'_>,
    section: &Section<'_, '_>,
    mut hops: impl Iterator<Item = &'t Peer>,
) -> Protection {
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
    let over = [("tls", KeysOver::Tls), ("any", KeysOver::Any)];
    out.keys_over = reader.choice(section, "srtp_keys_over", &over).unwrap_or_default();
    if let Some(open) = hops.find(|hop| out.hides_keys(hop.transport.is_secure())) {
        let what = format!(
            "the keys of `srtp` stand in SIP, and {} is not reached by TLS (RFC 4568 §8.3); write \
             ;transport=tls at its URI, or srtp_keys_over = \"any\" if nobody reads along on that \
             network",
            open.host
        );
        reader.error(section.place("srtp"), what);
    }
    out
}
