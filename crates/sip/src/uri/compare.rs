//! When two URIs are one (RFC 3261 §19.1.4, RFC 3966 §4).
use super::{SipUri, TelUri, Uri, escape::normalize, host};
use crate::header::Params;

/// A parameter of these names in only one of two SIP URIs makes them differ.
const SIGNIFICANT: [&str; 5] = ["transport", "user", "ttl", "method", "maddr"];

pub(super) fn is_equivalent(a: &Uri, b: &Uri) -> bool {
    match (a, b) {
        (Uri::Sip(a), Uri::Sip(b)) => sip(a, b),
        (Uri::Tel(a), Uri::Tel(b)) => tel(a, b),
        (Uri::Other(a), Uri::Other(b)) => other(a, b),
        (Uri::Sip(_), Uri::Tel(_) | Uri::Other(_))
        | (Uri::Tel(_), Uri::Sip(_) | Uri::Other(_))
        | (Uri::Other(_), Uri::Sip(_) | Uri::Tel(_)) => false,
    }
}

fn sip(a: &SipUri, b: &SipUri) -> bool {
    a.secure == b.secure
        && a.user.as_deref().map(normalize) == b.user.as_deref().map(normalize)
        && host::is_equal(&a.host, &b.host)
        && a.port == b.port
        && params(&a.params, &b.params)
        && params(&b.params, &a.params)
        && headers(a.headers.as_deref()) == headers(b.headers.as_deref())
}

/// Whether each parameter of `a` agrees with `b`; one that is written twice, which it must not be,
/// with either of its values.
fn params(a: &Params, b: &Params) -> bool {
    let b = normal_params(b);
    normal_params(a).iter().all(|param| {
        let absent = b.iter().all(|(name, _)| *name != param.0);
        b.contains(param) || (absent && !SIGNIFICANT.contains(&param.0.as_str()))
    })
}

fn normal_params(params: &Params) -> Vec<(String, Option<String>)> {
    let lower = |text: &str| normalize(text).to_ascii_lowercase();
    params.0.iter().map(|(name, value)| (lower(name), value.as_deref().map(lower))).collect()
}

/// Header fields in an order of their own: they may be written in any.
fn headers(text: Option<&str>) -> Vec<(String, String)> {
    let fields = text.unwrap_or("").split('&').filter(|f| !f.is_empty());
    let split = |field: &str| {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        (normalize(name).to_ascii_lowercase(), normalize(value))
    };
    let mut fields: Vec<_> = fields.map(split).collect();
    fields.sort();
    fields
}

fn tel(a: &TelUri, b: &TelUri) -> bool {
    let sorted = |uri: &TelUri| {
        let mut params = normal_params(&uri.params);
        params.sort();
        params
    };
    a.digits().eq_ignore_ascii_case(&b.digits()) && sorted(a) == sorted(b)
}

/// Only the scheme's case is known not to matter.
fn other(a: &str, b: &str) -> bool {
    match (a.split_once(':'), b.split_once(':')) {
        (Some((a, a_rest)), Some((b, b_rest))) => a.eq_ignore_ascii_case(b) && a_rest == b_rest,
        (_, _) => false,
    }
}
