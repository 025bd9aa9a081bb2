//! A REFER whose Replaces names another dialog of its sender's with us (RFC 5589 §7): whoever is beyond
//! knows that call by a dialog of its own, which the INVITE is to name.
use tandem_sip::{
    DialogId, Message, Method, Uri,
    endpoint::Stage,
    header::{HeaderName, NameAddr},
    uri::{decode, encode_header},
};

use crate::{
    B2bua,
    call::{Call, refer::replaces},
    plane::{Key, Plane},
};

impl B2bua {
    /// The request as its call is to see it.
    pub(crate) fn seen_beyond(&mut self, dialog: DialogId, request: Message) -> Message {
        if request.method() != Method::Refer {
            return request;
        }
        match self.refer_to_beyond(dialog, &request) {
            Some(value) => request.edit().set(HeaderName::ReferTo, &value).build(),
            None => request,
        }
    }

    /// Refer-To with the dialog beyond; `None`: it names none of the sender's trunk.
    fn refer_to_beyond(&mut self, dialog: DialogId, request: &Message) -> Option<String> {
        let value = NameAddr::parse(request.header(HeaderName::ReferTo)?)?;
        let Uri::Sip(mut uri) = value.uri else { return None };
        let escaped = uri.headers.take()?;
        let is_replaces = |name: &str| decode(name).eq_ignore_ascii_case("Replaces");
        let mut pairs = escaped.split('&').filter_map(|pair| pair.split_once('='));
        let named = pairs.find(|(name, _)| is_replaces(name)).map(|(_, value)| decode(value))?;
        let (call_id, to, from, _) = replaces(&named)?;
        let (other, Stage::Confirmed) = self.plane.sip.find_dialog(call_id, to, from)? else {
            return None;
        };
        let trunk = |call: &mut Call, _: &mut Plane| call.trunk_of_dialog(dialog);
        let trunk = self.keyed(Key::Dialog(dialog), trunk)??;
        let beyond = self.keyed(Key::Dialog(other), |call, plane| {
            let same = call.trunk_of_dialog(other)? == trunk;
            call.dialog_beyond(other).filter(|_| same).and_then(|d| plane.sip.name_dialog(d))
        })??;
        let pairs = escaped.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) if is_replaces(name) => {
                format!("Replaces={}", encode_header(&beyond.replaces))
            }
            Some(_) | None => pair.to_owned(),
        });
        let escaped = pairs.collect::<Vec<_>>().join("&");
        Some(format!("<{uri}?{escaped}>"))
    }
}
