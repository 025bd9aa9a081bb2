//! A 3xx to a call of ours (RFC 3261 §8.1.3.4): refused, followed within bounds, or handed to the
//! caller, as the trunk says.
use tandem_proxy::{Target, passing::RedirectMode};
use tandem_sip::{
    Message, Uri,
    endpoint::Headers,
    header::{HeaderName, Index, NameAddr},
};

use super::{Call, refer::add_escaped};
use crate::{
    LegId,
    leg::{Leg, Role},
    plane::Plane,
};

/// Contacts of one 3xx that are looked at.
const MOST_CONTACTS: usize = 8;

/// What a call has followed so far.
#[derive(Debug, Default)]
pub(crate) struct Redirected {
    /// Redirections.
    times: u8,
    /// Every URI that was called, or is to be.
    asked: Vec<Uri>,
    /// Targets of the last redirection that are still to be tried, the current one included.
    left: usize,
    /// Contacts for the caller.
    pub(super) relayed: Vec<String>,
}

/// A contact that may be called.
struct Contact {
    uri: Uri,
    q: u16,
    found: Option<(&'static str, Index)>,
    targets: Vec<Target>,
}

impl Call {
    /// The response that ended an attempt is looked at for contacts. `true`: there is somebody else
    /// to call, in front of the other targets.
    pub(super) fn on_redirection(
        &mut self,
        plane: &mut Plane,
        id: LegId,
        status: u16,
        response: &Message,
    ) -> bool {
        let left = self.egress_mut().map_or(0, |egress| {
            egress.redirected.left = egress.redirected.left.saturating_sub(1);
            egress.redirected.left
        });
        let Some(target) = self.leg(id).and_then(Leg::target).cloned() else { return false };
        if !(300..400).contains(&status) {
            // The other contacts are asked, unless nobody wants the call (§8.1.3.4, §21.6).
            self.note_failure(id, status, Some(response));
            return left > 0 && status < 600;
        }
        let followed = match target.trunk.call.redirect.mode {
            RedirectMode::Reject => false,
            RedirectMode::Follow => self.follow(plane, &target, status, response),
            RedirectMode::Relay => {
                self.keep_contacts(response);
                false
            }
        };
        if !followed {
            self.note_failure(id, status, Some(response));
        }
        followed || left > 0
    }

    fn follow(
        &mut self,
        plane: &mut Plane,
        target: &Target,
        status: u16,
        response: &Message,
    ) -> bool {
        // 305 names a proxy and 380 a service: neither is another place for this call.
        if !matches!(status, 300..=302) {
            return false;
        }
        let contacts = self.contacts(plane, target, response);
        let Some(first) = contacts.first() else { return false };
        let (was, is) = (Uri::parse(&target.request_uri).and_then(|u| u.user()), first.uri.user());
        let moved = was != is;
        let found = first.found.clone();
        let targets: Vec<Target> = contacts.into_iter().flat_map(|c| c.targets).collect();
        let Some(egress) = self.egress_mut() else { return false };
        egress.redirected.times += 1;
        egress.redirected.left += targets.len();
        for target in targets.into_iter().rev() {
            egress.targets.push_front(target);
        }
        if moved {
            self.note_redirection(&target.request_uri, status, response, found);
            self.ring_caller(plane, 181, false);
        }
        moved || {
            // The same number elsewhere is no diversion.
            self.note_target(&target.request_uri, status, response);
            true
        }
    }

    fn note_target(&mut self, uri: &str, status: u16, response: &Message) {
        if let Some(trail) = self.passed.as_deref_mut().and_then(|p| p.trail.as_mut()) {
            let reasons: Vec<&str> = response.header_values(HeaderName::Reason).collect();
            trail.failed(uri, status, &reasons);
        }
    }

    /// The contacts that may be called, the best first.
    fn contacts(&mut self, plane: &mut Plane, target: &Target, response: &Message) -> Vec<Contact> {
        let most = target.trunk.call.redirect.most;
        let Some(egress) = self.egress_mut().filter(|e| e.redirected.times < most) else {
            return Vec::new();
        };
        let mut asked = std::mem::take(&mut egress.redirected.asked);
        asked.extend(Uri::parse(&target.request_uri));
        let mut found: Vec<Contact> = Vec::new();
        for value in response.header_values(HeaderName::Contact).take(MOST_CONTACTS) {
            let contact = NameAddr::parse(value).and_then(|c| self.contact(plane, target, &c));
            let Some(contact) = contact else { continue };
            // §8.1.3.4: no URI is asked twice.
            if asked.iter().any(|uri| uri.is_equivalent(&contact.uri)) {
                continue;
            }
            asked.push(contact.uri.clone());
            found.push(contact);
        }
        if let Some(egress) = self.egress_mut() {
            egress.redirected.asked = asked;
        }
        found.sort_by_key(|contact| std::cmp::Reverse(contact.q));
        found
    }

    fn contact(&self, plane: &mut Plane, target: &Target, contact: &NameAddr) -> Option<Contact> {
        let Uri::Sip(mut uri) = contact.uri.clone() else { return None };
        // RFC 3261 §19.1.5: what would make another request of it is not honoured.
        let method = uri.params.get("method").map(str::to_owned);
        if method.is_some_and(|method| !method.eq_ignore_ascii_case("INVITE")) {
            return None;
        }
        if target.request_uri.starts_with("sips:") && !uri.secure {
            return None;
        }
        uri.params.remove("method");
        let mut extra = Headers::default();
        if let Some(escaped) = uri.headers.take() {
            add_escaped(&escaped, &mut extra).ok()?;
        }
        let user = uri.user_decoded().filter(|user| !user.is_empty())?;
        let number = target.trunk.numbers.inbound_request_uri.normalise(&user);
        let same = Uri::parse(&target.request_uri).and_then(|u| u.user()) == Some(user);
        if !same && self.may_divert(&target.trunk, &number).is_err() {
            return None;
        }
        let uri = Uri::Sip(uri);
        let mut targets = plane.proxy.redirected(target, &uri);
        for target in &mut targets {
            let lets_out = |name: &str| target.trunk.headers.lets_out(name);
            extra
                .known
                .retain(|(name, _)| *name != HeaderName::Replaces && lets_out(name.as_str()));
            extra.other.retain(|(name, _)| lets_out(name));
            target.headers.known.extend(extra.known.iter().cloned());
            target.headers.other.extend(extra.other.iter().cloned());
        }
        let index = |name: &'static str| {
            let index = contact.params.get(name).and_then(Index::parse);
            index.map(|index| (name, index))
        };
        let q = contact.params.get("q").and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0);
        (!targets.is_empty()).then(|| Contact {
            uri,
            // Thousandths, as RFC 3261 §25.1 has no more digits.
            q: (q.clamp(0.0, 1.0) * 1000.0) as u16,
            found: index("mp").or_else(|| index("rc")),
            targets,
        })
    }

    /// The caller shall choose itself: it is a carrier, or it gets 480.
    fn keep_contacts(&mut self, response: &Message) {
        let is_carrier =
            matches!(self.caller().and_then(Leg::sip).map(|sip| &sip.role), Some(Role::Uas { .. }));
        let contacts = response.header_values(HeaderName::Contact).take(MOST_CONTACTS);
        let contacts = contacts.filter(|value| NameAddr::parse(value).is_some());
        let contacts: Vec<String> = contacts.map(str::to_owned).collect();
        if let Some(egress) = self.egress_mut().filter(|_| is_carrier) {
            egress.redirected.relayed = contacts;
        }
    }
}
