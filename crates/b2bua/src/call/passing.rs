//! What passes from the caller's INVITE to those of ours, and to applications: the call's history,
//! headers that the trunks let through, what ends loops (RFC 7044, RFC 7332, RFC 7433).
use tandem_proxy::{
    Target, Trunk, identity,
    passing::HOPS,
    trail::{Diverted, Trail},
};
use tandem_sip::{Message, Uri, endpoint::Headers, header::HeaderName};

use super::{Call, Plan};
use crate::{
    LegId, Refusal, Reply, begin,
    leg::{Leg, Role},
    plane::Plane,
};

/// A proxy that gets no Max-Breadth writes this one (RFC 5393 §5.3.3), and so do we (RFC 7332 §6).
const MAX_BREADTH: u32 = 60;

impl Call {
    fn trail(&self) -> Option<&Trail> {
        self.passed.as_deref()?.trail.as_ref()
    }

    /// The call's history, begun with the called number where nothing came.
    fn trail_mut(&mut self) -> Option<&mut Trail> {
        let passed = self.passed.get_or_insert_with(Box::default);
        if passed.trail.is_none() {
            passed.trail = Trail::begin(&self.numbers.to);
        }
        passed.trail.as_mut()
    }

    /// Who sent the call on to us, the first one first.
    pub(super) fn diversions(&self) -> Vec<Diverted> {
        self.trail().map(|trail| trail.told().collect()).unwrap_or_default()
    }

    /// The headers of the caller's INVITE that are passed on.
    pub(super) fn passed_headers(&self) -> Vec<(String, String)> {
        self.passed.as_deref().map(|passed| passed.headers.clone()).unwrap_or_default()
    }

    /// The number of a caller that is not to be shown.
    pub(super) fn hidden_caller(&self) -> Option<String> {
        self.passed.as_deref()?.hidden.clone()
    }

    /// What an INVITE of ours says beyond its numbers, and the Request-URI with the cause of what
    /// sent it there (RFC 4458). `trail`: of a call that a party is transferred by.
    pub(super) fn pass(&self, target: &Target, trail: Option<&Trail>) -> (String, Headers) {
        let mut headers = Headers::default();
        let passed = self.passed.as_deref();
        let mut uri = target.request_uri.clone();
        let trail = trail.or_else(|| self.trail());
        if let Some(trail) = trail {
            let told = identity::history(&target.trunk, Some(target.gateway), trail, Some(&uri));
            let by_history = told.iter().any(|(name, _)| *name == HeaderName::HistoryInfo);
            headers.known.extend(told);
            if let (true, Some(cause), Some(Uri::Sip(mut sip))) =
                (by_history, trail.cause(), Uri::parse(&uri))
            {
                sip.params.set("cause", Some(&cause.to_string()));
                uri = sip.to_string();
            }
        }
        let listed = passed.map(|passed| passed.headers.as_slice()).unwrap_or_default();
        let out = listed.iter().filter(|(name, _)| target.trunk.headers.lets_out(name));
        headers.other.extend(out.cloned());
        if matches!(self.caller().and_then(Leg::sip).map(|s| &s.role), Some(Role::Uas { .. })) {
            let breadth = passed.and_then(|p| p.max_breadth).unwrap_or(MAX_BREADTH);
            headers.known.push((HeaderName::MaxBreadth, breadth.to_string()));
            let hops = passed.map_or(0, |passed| passed.hops).saturating_add(1);
            headers.other.push((HOPS.to_owned(), hops.to_string()));
        }
        (uri, headers)
    }

    /// History-Info of a response to the caller, where it wants one (RFC 7044 §9.4).
    pub(super) fn history_for_caller(&self) -> Vec<(HeaderName, String)> {
        let Some(trail) = self.trail().filter(|trail| trail.is_wanted()) else {
            return Vec::new();
        };
        let Some(caller) = self.caller().and_then(Leg::sip) else { return Vec::new() };
        let called = self.legs.iter().rev().find_map(Leg::target);
        let uri = called.map(|target| target.request_uri.as_str());
        let mut told = identity::history(&caller.trunk, None, trail, uri);
        told.retain(|(name, _)| *name == HeaderName::HistoryInfo);
        told
    }

    /// An attempt came to nothing: its place in the history says why (RFC 7044 §9.3).
    pub(super) fn note_failure(&mut self, id: LegId, status: u16, response: Option<&Message>) {
        let Some(uri) = self.leg(id).and_then(Leg::target).map(|t| t.request_uri.clone()) else {
            return;
        };
        let Some(trail) = self.passed.as_deref_mut().and_then(|p| p.trail.as_mut()) else { return };
        let reasons: Vec<&str> =
            response.iter().flat_map(|r| r.header_values(HeaderName::Reason)).collect();
        trail.failed(&uri, status, &reasons);
    }

    /// Whether the call may be sent on once more, to this number; the error says why not.
    pub(super) fn may_divert(&self, trunk: &Trunk, to: &str) -> Result<(), &'static str> {
        let trail = self.trail();
        let most = u32::from(trunk.call.diversions.most);
        let most = trail.and_then(Trail::limit).map_or(most, |limit| limit.min(most));
        if trail.map_or(0, Trail::count) >= most {
            return Err("the call was sent on too often");
        }
        if self.numbers.to == to || trail.is_some_and(|trail| trail.has_been_at(to)) {
            return Err("the call was at this number before");
        }
        Ok(())
    }

    /// A 3xx sends the call on to another number.
    pub(super) fn note_redirection(
        &mut self,
        request_uri: &str,
        status: u16,
        response: &Message,
        found: Option<(&'static str, tandem_sip::header::Index)>,
    ) {
        let reasons: Vec<&str> = response.header_values(HeaderName::Reason).collect();
        if let Some(trail) = self.trail_mut() {
            trail.redirected(request_uri, status, &reasons, found);
        }
    }

    /// `POST …/redirect`: the application sends an incoming call on to another number.
    pub(super) fn redirect(&mut self, plane: &mut Plane, to: &str) -> Result<Reply, Refusal> {
        self.is_offered()?;
        if self.app_leg().is_some() {
            return Err(Refusal::State("the call is being answered"));
        }
        let caller = self.caller().and_then(Leg::sip);
        let Some(caller) = caller else { return Err(Refusal::State("no carrier calls")) };
        let Role::Uas { max_forwards, .. } = &caller.role else {
            return Err(Refusal::State("no carrier calls"));
        };
        if *max_forwards == 0 {
            return Err(Refusal::State("the call may take no further hop"));
        }
        self.may_divert(&caller.trunk, to).map_err(Refusal::State)?;
        let (from, hidden) = (self.numbers.from.clone(), self.hidden_caller());
        let targets = plane.proxy.divert(plane.now, to, &from, hidden.as_deref());
        let targets = targets.map_err(|refusal| begin::dial_refused(&refusal))?;
        // RFC 4458: deflection during alerting, or at once.
        let cause = if self.ringing.is_some() { 487 } else { 480 };
        if let Some(trail) = self.trail_mut() {
            trail.divert(cause);
        }
        let egress = super::Egress { targets: targets.into(), ..super::Egress::default() };
        self.plan = Plan::Egress(Box::new(egress));
        self.responded.get_or_insert(plane.now);
        self.ring_caller(plane, 181, false);
        self.next_attempt(plane);
        Ok(Reply::Done)
    }
}

/// The history of a call that a party is transferred by: sent on by the number of who leaves.
pub(super) fn transferred_by(number: &str) -> Option<Box<Trail>> {
    let mut trail = Trail::begin(number).filter(|_| number.starts_with('+'))?;
    trail.divert(480);
    Some(Box::new(trail))
}
