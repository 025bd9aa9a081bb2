//! `[call] options_ping`.
use std::time::Duration;

use tandem_sip::uri::encode_user;

use super::reader::{Reader, Section};
use crate::probe::{OptionsPing, PingOk};

pub(super) fn options_ping(reader: &mut Reader<'_>, call: &Section<'_, '_>) -> Option<OptionsPing> {
    let section = reader.open(call, "options_ping")?;
    let default = OptionsPing::default();
    let interval = OptionsPing::SHORTEST..Duration::from_secs(3_600);
    let replies = [("any-reply", PingOk::AnyReply), ("2xx", PingOk::Success)];
    let mut times = |name, default| reader.integer(&section, name, 1..=100).unwrap_or(default);
    let (down_after, up_after) =
        (times("down_after", default.down_after), times("up_after", default.up_after));
    Some(OptionsPing {
        interval: reader.duration(&section, "interval", interval).unwrap_or(default.interval),
        down_after,
        up_after,
        ok: reader.choice(&section, "ok", &replies).unwrap_or_default(),
        from_user: reader.parsed(&section, "from_user", user).unwrap_or_default(),
        contact_fqdn: reader.boolean(&section, "contact_fqdn").unwrap_or(default.contact_fqdn),
    })
}

/// The user part of a SIP URI, as it is written.
fn user(text: &str) -> Result<String, String> {
    if encode_user(text) == text {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no user part of a SIP URI; write \"ping\""))
    }
}
