//! `[media] dtmf` of a trunk file.
use super::reader::{Reader, Section};
use crate::trunk::{Dtmf, DtmfReceive, DtmfSend};

pub(super) fn dtmf(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> Dtmf {
    let send = [
        ("rfc4733", DtmfSend::Rfc4733),
        ("info", DtmfSend::Info),
        ("info-dtmf", DtmfSend::InfoDtmf),
        ("inband", DtmfSend::InBand),
    ];
    Dtmf {
        send: reader.choice(section, "send", &send).unwrap_or_default(),
        receive: receive(reader, section),
        mask: reader.boolean(section, "mask").unwrap_or(false),
    }
}

fn receive(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> DtmfReceive {
    let names = reader.list(section, "receive", |text| match text {
        "rfc4733" | "info" | "inband" => Ok(text.to_owned()),
        _ => Err(format!(
            "digits cannot be received by `{text}`; write \"rfc4733\", \"info\" or \"inband\""
        )),
    });
    names.map_or_else(DtmfReceive::default, |names| {
        let has = |name: &str| names.iter().any(|n| n == name);
        DtmfReceive { rfc4733: has("rfc4733"), info: has("info"), in_band: has("inband") }
    })
}
