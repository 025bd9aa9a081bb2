//! The registrar: phones say where they are (RFC 3261 §10.3, RFC 3327, RFC 5626 §6). Who may is for
//! the digest check before it; here the request is read and the bindings changed, all or none.
mod location;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use tandem_sip::{
    Flow, Message, Uri,
    endpoint::Headers,
    header::{HeaderName, NameAddr},
};

use self::location::MOST_BINDINGS;
pub use self::location::{Binding, Lifetimes, Location};

/// Extensions a REGISTER may require (RFC 3327 §5.3, RFC 5626 §6).
const SERVED: [&str; 2] = ["path", "outbound"];

/// A wish of an hour or more is never too short (RFC 3261 §10.3 step 7).
const NEVER_TOO_BRIEF: Duration = Duration::from_secs(3600);

/// What a REGISTER is answered with. Never 6xx, and Record-Route is ignored both ways (RFC 3261
/// §10.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Contact, Path, Min-Expires, Unsupported … as the status needs.
    pub headers: Headers,
}

impl Answer {
    fn new(status: u16) -> Self {
        Self { status, headers: Headers::default() }
    }

    fn with(status: u16, name: HeaderName, value: String) -> Self {
        Self { status, headers: Headers { known: vec![(name, value)], other: Vec::new() } }
    }
}

/// RFC 3261 §10.3 step 1: what a REGISTER requires must be served. It is checked before the
/// credentials are.
pub fn check_require(request: &Message) -> Result<(), Answer> {
    let served = |tag: &&str| SERVED.iter().any(|known| known.eq_ignore_ascii_case(tag));
    let unknown: Vec<&str> = request
        .header_values(HeaderName::Require)
        .filter(|tag| !tag.is_empty() && !served(tag))
        .collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(Answer::with(420, HeaderName::Unsupported, unknown.join(", "))),
    }
}

/// Steps 6 to 8, for the address of record `user`: changes its bindings as asked, all or none, and
/// answers with those that hold then.
pub fn register(
    location: &mut Location,
    lifetimes: &Lifetimes,
    now: Instant,
    flow: &Flow,
    user: &str,
    request: &Message,
) -> Answer {
    let held = location.of(now, user);
    let changed = match asked(request) {
        Err(status) => return Answer::new(status),
        Ok(Asked::Nothing) => Ok(None),
        Ok(Asked::RemoveAll) => remove_all(&held, request).map(Some),
        Ok(Asked::Update(contacts)) => {
            let update = Update { lifetimes, now, flow, request };
            update.apply(held.clone(), &contacts).map(Some)
        }
    };
    match changed {
        Err(answer) => return answer,
        Ok(Some(bindings)) => location.set(user, bindings),
        Ok(None) => {}
    }
    success(now, &location.of(now, user), request)
}

/// What the Contact values of a REGISTER ask for.
enum Asked {
    Nothing,
    RemoveAll,
    Update(Vec<NameAddr>),
}

fn asked(request: &Message) -> Result<Asked, u16> {
    let values: Vec<&str> = request.header_values(HeaderName::Contact).collect();
    match values.as_slice() {
        [] => Ok(Asked::Nothing),
        // `*` stands alone, with Expires: 0 (RFC 3261 §10.3 step 6).
        ["*"] if expires_header(request) == Some(0) => Ok(Asked::RemoveAll),
        values => {
            let contacts = values.iter().map(|value| NameAddr::parse(value));
            contacts.collect::<Option<Vec<_>>>().map(Asked::Update).ok_or(400)
        }
    }
}

/// Expires in seconds; one that cannot be read counts as 3600 (RFC 3261 §20.19: malformed values
/// are treated so in Contact; the header alike).
fn expires_header(request: &Message) -> Option<u64> {
    request.header(HeaderName::Expires).map(|value| value.trim().parse().unwrap_or(3600))
}

/// A REGISTER of the same Call-ID must have a higher CSeq number than the one before (step 6, 7).
fn is_stale(held: &Binding, request: &Message) -> bool {
    held.call_id == request.call_id() && cseq(request) <= held.cseq
}

fn cseq(request: &Message) -> u32 {
    request.cseq_ref().map_or(0, |(number, _)| number)
}

fn remove_all(held: &[Binding], request: &Message) -> Result<Vec<Binding>, Answer> {
    match held.iter().any(|binding| is_stale(binding, request)) {
        true => Err(Answer::new(500)),
        false => Ok(Vec::new()),
    }
}

/// One REGISTER that adds, refreshes or removes contacts.
struct Update<'a> {
    lifetimes: &'a Lifetimes,
    now: Instant,
    flow: &'a Flow,
    request: &'a Message,
}

impl Update<'_> {
    fn apply(
        &self,
        mut bindings: Vec<Binding>,
        contacts: &[NameAddr],
    ) -> Result<Vec<Binding>, Answer> {
        for contact in contacts {
            let lasts = self.lifetime(contact)?;
            let binding = self.binding(contact, lasts)?;
            if let Some(place) = bindings.iter().position(|held| held.is_same(&binding)) {
                let stale = bindings.get(place).is_some_and(|held| is_stale(held, self.request));
                if stale {
                    return Err(Answer::new(500));
                }
                bindings.remove(place);
            }
            if !lasts.is_zero() {
                bindings.push(binding);
            }
        }
        if bindings.len() > MOST_BINDINGS {
            return Err(Answer::new(403));
        }
        Ok(bindings)
    }

    /// Step 7: `expires`, else Expires, else the registrar's own.
    fn lifetime(&self, contact: &NameAddr) -> Result<Duration, Answer> {
        let own = contact.params.get("expires").map(|text| text.trim().parse().unwrap_or(3600));
        let wish = own.or_else(|| expires_header(self.request));
        let wish = wish.map_or(self.lifetimes.default, Duration::from_secs);
        let too_brief = !wish.is_zero() && wish < self.lifetimes.min && wish < NEVER_TOO_BRIEF;
        if too_brief {
            let least = self.lifetimes.min.as_secs().to_string();
            return Err(Answer::with(423, HeaderName::MinExpires, least));
        }
        Ok(wish.min(self.lifetimes.max))
    }

    fn binding(&self, contact: &NameAddr, lasts: Duration) -> Result<Binding, Answer> {
        let Uri::Sip(uri) = &contact.uri else { return Err(Answer::new(400)) };
        let path: Vec<String> =
            self.request.header_values(HeaderName::Path).map(str::to_owned).collect();
        let outbound = self.outbound(contact, &path)?;
        let mut sip = uri.clone();
        // Headers of a contact would become headers of every call to it.
        sip.headers = None;
        Ok(Binding {
            contact: sip.to_string(),
            uri: Uri::Sip(sip),
            outbound,
            q: contact.params.get("q").map_or(1000, thousandths),
            path,
            flow: *self.flow,
            call_id: self.request.call_id().to_owned(),
            cseq: cseq(self.request),
            until: self.now + lasts,
        })
    }

    /// RFC 5626 §6: `+sip.instance` and `reg-id` bind the contact to its flow; the first hop must
    /// then be one that keeps flows.
    fn outbound(
        &self,
        contact: &NameAddr,
        path: &[String],
    ) -> Result<Option<(String, u32)>, Answer> {
        let supported = self.request.has_token(HeaderName::Supported, "outbound");
        let instance = contact.params.get("+sip.instance");
        let reg_id = contact.params.get("reg-id").and_then(|id| id.parse::<u32>().ok());
        let (Some(instance), Some(reg_id), true) = (instance, reg_id, supported) else {
            return Ok(None);
        };
        if reg_id == 0 || reg_id > 0x7fff_ffff {
            return Err(Answer::new(400));
        }
        let passed_a_proxy = self.request.header_values(HeaderName::Via).nth(1).is_some();
        let keeps_flows = path
            .last()
            .and_then(|hop| NameAddr::parse(hop))
            .is_some_and(|hop| matches!(hop.uri, Uri::Sip(uri) if uri.params.get("ob").is_some()));
        if passed_a_proxy && !keeps_flows {
            return Err(Answer::new(439));
        }
        Ok(Some((instance.to_owned(), reg_id)))
    }
}

/// `q` in thousandths (RFC 3261 §25.1); one that cannot be read counts as the highest.
fn thousandths(text: &str) -> u16 {
    let q = text.trim().parse::<f32>().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(1.0);
    (q * 1000.0).round() as u16
}

/// Step 8: every binding that holds, with the seconds it still does.
fn success(now: Instant, bindings: &[Binding], request: &Message) -> Answer {
    let mut known = Vec::new();
    for binding in bindings {
        let mut value = format!("<{}>;expires={}", binding.contact, binding.seconds(now));
        if binding.q < 1000 {
            value += &format!(";q={:.3}", f32::from(binding.q) / 1000.0);
        }
        if let Some((instance, reg_id)) = &binding.outbound {
            value += &format!(";+sip.instance=\"{}\";reg-id={reg_id}", instance.trim_matches('"'));
        }
        known.push((HeaderName::Contact, value));
    }
    let of_this = |binding: &&Binding| binding.call_id == request.call_id();
    if bindings.iter().filter(of_this).any(|binding| binding.outbound.is_some()) {
        known.push((HeaderName::Require, "outbound".to_owned()));
    }
    if request.has_token(HeaderName::Supported, "path") {
        let path = request.header_lines(HeaderName::Path);
        known.extend(path.map(|value| (HeaderName::Path, value.to_owned())));
    }
    known.push((HeaderName::Supported, SERVED.join(", ")));
    Answer { status: 200, headers: Headers { known, other: Vec::new() } }
}
