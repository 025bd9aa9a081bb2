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

#[cfg(test)]
mod tests {
    use super::super::read_trunk;
    use super::*;

    fn read(dtmf: &str) -> Result<Dtmf, String> {
        let text = format!(
            "schema = 1\n[trunk]\nname = \"t\"\n[[gateway]]\nuri = \"sip:192.0.2.1\"\n[media]\n{dtmf}\n"
        );
        let trunk = read_trunk("t.toml", &text, &|_| Err(String::new()));
        trunk.map(|trunk| trunk.media.dtmf).map_err(|errors| format!("{}", errors[0]))
    }

    #[test]
    fn ways_of_digits_are_read() {
        assert_eq!(read(""), Ok(Dtmf::default()));
        let all = "dtmf = { send = \"inband\", receive = [\"rfc4733\", \"inband\"], mask = true }";
        let receive = DtmfReceive { rfc4733: true, info: false, in_band: true };
        assert_eq!(read(all), Ok(Dtmf { send: DtmfSend::InBand, receive, mask: true }));
    }

    #[test]
    fn an_unknown_way_is_told_with_its_line() {
        let wrong = read("dtmf = { receive = [\"sipinfo\"] }").unwrap_err();
        assert!(wrong.starts_with("t.toml:7: ") && wrong.contains("\"inband\""), "{wrong}");
        let wrong = read("dtmf = { send = \"auto\" }").unwrap_err();
        assert!(wrong.starts_with("t.toml:7: ") && wrong.contains("\"info-dtmf\""), "{wrong}");
    }
}
