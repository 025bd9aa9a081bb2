//! `[call] session_timer`, `hold`, `reinvite`, `missing_ack` and `[media] media_timeout`.
use std::time::Duration;

use tandem_sip::session_timer::{LEAST, Mode, Policy, Refresher};

use super::reader::{Reader, Section};
use crate::{
    sessions::{HoldStyle, MediaTimeout, MissingAck, RefreshMethod, Reinvite, SessionTimer},
    trunk::CallOptions,
};

const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn call(reader: &mut Reader<'_>, section: &Section<'_, '_>, call: &mut CallOptions) {
    let hold = [("sendonly", HoldStyle::SendOnly), ("inactive", HoldStyle::Inactive)];
    call.hold = reader.choice(section, "hold", &hold).unwrap_or_default();
    call.hold_music = reader.text(section, "hold_music").map(|text| text.value);
    let reinvite =
        [("local", Reinvite::Local), ("relay", Reinvite::Relay), ("forbid", Reinvite::Forbid)];
    call.reinvite = reader.choice(section, "reinvite", &reinvite).unwrap_or_default();
    call.session_timer = session_timer(reader, section, call.reinvite);
    let missing = [("drop", MissingAck::Drop), ("keep-if-media", MissingAck::KeepIfMedia)];
    call.missing_ack = reader.choice(section, "missing_ack", &missing).unwrap_or_default();
}

fn session_timer(
    reader: &mut Reader<'_>,
    call: &Section<'_, '_>,
    reinvite: Reinvite,
) -> SessionTimer {
    let mut default = SessionTimer::default();
    // A carrier that takes no re-INVITE can be refreshed only if it takes UPDATE, which the file
    // has to say.
    if reinvite == Reinvite::Forbid {
        default.policy.mode = Mode::Off;
    }
    let Some(section) = reader.open(call, "session_timer") else { return default };
    let modes = [("off", Mode::Off), ("accept", Mode::Accept), ("always", Mode::Always)];
    let who = [("peer", Refresher::Peer), ("us", Refresher::Us)];
    let methods = [("update", RefreshMethod::Update), ("reinvite", RefreshMethod::Reinvite)];
    let mut interval = |name| reader.duration(&section, name, LEAST..24 * HOUR);
    let (expires, min_se) = (interval("expires"), interval("min_se"));
    let policy = Policy {
        mode: reader.choice(&section, "mode", &modes).unwrap_or(default.policy.mode),
        expires: expires.unwrap_or(default.policy.expires),
        min_se: min_se.unwrap_or(default.policy.min_se),
        refresher: reader.choice(&section, "refresher", &who).unwrap_or(default.policy.refresher),
    };
    if policy.min_se > policy.expires {
        let at = section.place("min_se");
        reader.error(at, "`min_se` is above `expires`; write a shorter one");
    }
    let method = reader.choice(&section, "method", &methods).unwrap_or_default();
    SessionTimer { policy, method }
}

pub(super) fn media_timeout(reader: &mut Reader<'_>, media: &Section<'_, '_>) -> MediaTimeout {
    let default = MediaTimeout::default();
    let Some(section) = reader.open(media, "media_timeout") else { return default };
    let mut window = |name| reader.duration(&section, name, Duration::ZERO..48 * HOUR);
    let (initial, active, hold) = (window("initial"), window("active"), window("hold"));
    MediaTimeout {
        initial: initial.unwrap_or(default.initial),
        active: active.unwrap_or(default.active),
        hold: hold.unwrap_or(default.hold),
        rtcp_counts: reader.boolean(&section, "rtcp_counts").unwrap_or(default.rtcp_counts),
    }
}
