//! Redirections that are followed (RFC 3261 §16.5, §16.7 step 4).
use tandem_sip::{
    Message,
    header::{HeaderName, NameAddr},
};

use super::{
    context::{Context, MOST_BRANCHES, Target},
    request::Hop,
};
use crate::{config::thousandths, proxy::Proxy};

/// What is made of a 3xx.
#[derive(Debug)]
pub(super) struct Redirect {
    /// To be tried, the best first.
    pub(super) targets: Vec<Target>,
    /// The response with the contacts that are not followed, if there are any.
    pub(super) rest: Option<Message>,
}

/// The contacts of a 3xx that the route allows to follow; `None` when there is none. Contacts that
/// were asked already are not asked again, and a `sips` request never becomes a `sip` one.
pub(super) fn read(proxy: &Proxy, context: &mut Context, response: &Message) -> Option<Redirect> {
    let code = response.status()?.code();
    let request = &context.prepared.request;
    if !matches!(code, 300..=302) || context.plan.follow.is_empty() || request.to_tag().is_some() {
        return None;
    }
    let secure = context.prepared.is_secure();
    let mut room = MOST_BRANCHES.saturating_sub(context.asked.len());
    let (mut found, mut left) = (Vec::new(), Vec::new());
    for value in response.header_values(HeaderName::Contact) {
        let contact = NameAddr::parse(value);
        let uri = contact.as_ref().and_then(|contact| contact.uri.as_sip());
        let (Some(contact), Some(uri)) = (&contact, uri) else {
            left.push(value);
            continue;
        };
        let host = uri.params.get("maddr").unwrap_or(&uri.host);
        let allowed = context.plan.follow.iter().any(|source| source.names(host));
        let new = !context.asked.iter().any(|asked| asked.is_equivalent(&contact.uri));
        let hop = Hop::to_target(contact.uri.clone(), secure);
        let Some(hop) = hop.filter(|_| allowed && new && room > 0) else {
            left.push(value);
            continue;
        };
        room -= 1;
        context.asked.push(contact.uri.clone());
        let q = contact.params.get("q").and_then(thousandths).unwrap_or(1000);
        found.push((q, hop));
    }
    if found.is_empty() {
        return None;
    }
    found.sort_by_key(|(q, _)| std::cmp::Reverse(*q));
    let rest = (!left.is_empty()).then(|| {
        let edit = response.edit().remove(HeaderName::Contact);
        left.iter().fold(edit, |edit, value| edit.push(HeaderName::Contact, value)).build()
    });
    let call_id = response.call_id();
    let targets = found.into_iter().map(|(_, hop)| hop.by_address(proxy, call_id).into()).collect();
    Some(Redirect { targets, rest })
}
