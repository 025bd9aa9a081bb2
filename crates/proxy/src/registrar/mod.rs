//! The registrar: phones say where they are (RFC 3261 §10.3, RFC 3327, RFC 5626 §6). Who may is for
//! the digest check before it; here the request is read and the bindings changed, all or none.
mod gruu;
mod location;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tandem_sip::{
    Flow, Message, Uri,
    digest::Algorithm,
    endpoint::Headers,
    header::{HeaderName, NameAddr},
};

use self::location::MOST_BINDINGS;
pub use self::{
    gruu::{Phone, is_gruu},
    location::{Binding, Lifetimes, Location},
};

/// Extensions a REGISTER may require (RFC 3327 §5.3, RFC 5626 §6, RFC 5627 §5.1).
const SERVED: [&str; 3] = ["path", "outbound", "gruu"];

/// A wish of an hour or more is never too short (RFC 3261 §10.3 step 7).
const NEVER_TOO_BRIEF: Duration = Duration::from_secs(3600);

/// Proxies between a phone and us, and bytes of one value that a binding keeps: what is there in any
/// network, so that an account cannot fill our memory.
const MOST_PATH: usize = 8;
const LONGEST: usize = 512;

/// `[registrar]` and its accounts.
#[derive(Debug, Clone, PartialEq)]
pub struct Registrar {
    /// The host of addresses of record, lower case.
    pub domain: String,
    /// The realm of challenges.
    pub realm: String,
    /// The algorithms of challenges, in their order: phones that know several take the first.
    pub algorithms: Vec<Algorithm>,
    /// How the phones of a user ring.
    pub fork: PhoneFork,
    /// How long bindings hold.
    pub lifetimes: Lifetimes,
    /// By user.
    pub accounts: BTreeMap<String, Account>,
}

/// `[[account]]`. `Debug` hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Of the challenge.
    pub password: String,
    /// E.164.
    pub number: Option<String>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("number", &self.number).finish_non_exhaustive()
    }
}

/// `[registrar] fork`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PhoneFork {
    /// All at once.
    #[default]
    Parallel,
    /// Those of the highest q, then those of the next.
    Q,
}

impl Registrar {
    /// The user that is called by this: a user, or the number of one.
    pub fn user_of<'r>(&'r self, called: &str) -> Option<&'r str> {
        if let Some((user, _)) = self.accounts.get_key_value(called) {
            return Some(user);
        }
        let has = |account: &Account| account.number.as_deref() == Some(called);
        self.accounts.iter().find(|(_, account)| has(account)).map(|(user, _)| user.as_str())
    }

    /// How a user is shown to whom it calls.
    pub fn caller(&self, user: &str) -> String {
        let number = self.accounts.get(user).and_then(|account| account.number.clone());
        number.unwrap_or_else(|| user.to_owned())
    }
}

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
            let update = Update { location, lifetimes, now, flow, user, request };
            update.apply(held.clone(), &contacts).map(Some)
        }
    };
    match changed {
        Err(answer) => return answer,
        Ok(Some(bindings)) => location.set(user, bindings),
        Ok(None) => {}
    }
    success(now, location, domain_of(request).as_deref(), user, request)
}

/// The host of the address of record.
fn domain_of(request: &Message) -> Option<String> {
    match request.to()?.uri {
        Uri::Sip(uri) => Some(uri.host),
        Uri::Tel(_) | Uri::Other(_) => None,
    }
}

/// `+sip.instance` without quotes and angle brackets.
fn instance(contact: &NameAddr) -> Option<String> {
    let value = contact.params.get("+sip.instance")?;
    let urn = value.trim_matches('"').trim_start_matches('<').trim_end_matches('>');
    // A URN is written without what would end a parameter (RFC 8141 §2).
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:+/".contains(&b);
    (urn.len() <= 128 && urn.starts_with("urn:") && urn.bytes().all(plain)).then(|| urn.to_owned())
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
    location: &'a Location,
    lifetimes: &'a Lifetimes,
    now: Instant,
    flow: &'a Flow,
    user: &'a str,
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
            let mut binding = self.binding(contact, lasts)?;
            self.location.begin_series(self.user, &mut bindings, &mut binding);
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
        let instance = contact.params.get("+sip.instance");
        let Uri::Sip(uri) = &contact.uri else {
            // RFC 5627 §5.1.
            return Err(Answer::new(if instance.is_some() { 403 } else { 400 }));
        };
        if instance.is_some() && self.is_circle(&contact.uri) {
            return Err(Answer::new(403));
        }
        let path: Vec<String> =
            self.request.header_values(HeaderName::Path).map(str::to_owned).collect();
        let instance = instance.unwrap_or_default();
        let kept = path.iter().map(String::as_str).chain([self.request.call_id(), instance]);
        if path.len() > MOST_PATH || kept.map(str::len).max() > Some(LONGEST) {
            return Err(Answer::new(403));
        }
        let outbound = self.outbound(contact, &path)?;
        let mut sip = uri.clone();
        // Headers of a contact would become headers of every call to it.
        sip.headers = None;
        let text = sip.to_string();
        if text.len() > LONGEST {
            return Err(Answer::new(403));
        }
        Ok(Binding {
            contact: text,
            uri: Uri::Sip(sip),
            instance: self::instance(contact),
            outbound,
            q: contact.params.get("q").map_or(1000, thousandths),
            path,
            flow: *self.flow,
            call_id: self.request.call_id().to_owned(),
            cseq: cseq(self.request),
            series: 0,
            until: self.now + lasts,
        })
    }

    /// RFC 5627 §5.1: a contact that is the address of record, or a GRUU of it, leads back here.
    fn is_circle(&self, contact: &Uri) -> bool {
        let Some(aor) = self.request.to().map(|to| to.uri) else { return false };
        let host = |uri: &Uri| uri.as_sip().map(|sip| sip.host.to_ascii_lowercase());
        let is_temporary = || self.location.temporary_phone(&contact.user().unwrap_or_default());
        aor.is_equivalent(contact)
            || host(&aor) == host(contact)
                && is_gruu(contact)
                && (aor.user() == contact.user()
                    || is_temporary().is_some_and(|phone| phone.user == self.user))
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
fn success(
    now: Instant,
    location: &Location,
    domain: Option<&str>,
    user: &str,
    request: &Message,
) -> Answer {
    let bindings = location.of(now, user);
    let domain = domain.filter(|_| request.has_token(HeaderName::Supported, "gruu"));
    let mut known = Vec::new();
    for binding in &bindings {
        let mut value = format!("<{}>;expires={}", binding.contact, binding.seconds(now));
        if binding.q < 1000 {
            value += &format!(";q={:.3}", f32::from(binding.q) / 1000.0);
        }
        if let Some((instance, reg_id)) = &binding.outbound {
            value += &format!(";+sip.instance=\"{}\";reg-id={reg_id}", instance.trim_matches('"'));
        } else if let Some(instance) = &binding.instance {
            value += &format!(";+sip.instance=\"<{instance}>\"");
        }
        // RFC 5627 §5.2: the address of record with the instance, and one that tells neither.
        if let (Some(instance), Some(domain)) = (&binding.instance, domain) {
            let user = tandem_sip::uri::encode_user(user);
            let temporary = location.temporary_gruu(binding);
            value += &format!(";pub-gruu=\"sip:{user}@{domain};gr={instance}\"");
            value += &format!(";temp-gruu=\"sip:{temporary}@{domain};gr\"");
        }
        known.push((HeaderName::Contact, value));
    }
    let mut of_this = bindings.iter().filter(|binding| binding.call_id == request.call_id());
    let mut other = Vec::new();
    if let Some(flow) = of_this.find(|b| b.outbound.is_some()).map(|binding| binding.flow) {
        known.push((HeaderName::Require, "outbound".to_owned()));
        // RFC 5626 §5.4: the last proxy before the phone says it, which may be us.
        if request.header(HeaderName::Path).is_none() {
            other.push(("Flow-Timer".to_owned(), flow_timer(&flow).to_string()));
        }
    }
    if request.has_token(HeaderName::Supported, "path") {
        let path = request.header_lines(HeaderName::Path);
        known.extend(path.map(|value| (HeaderName::Path, value.to_owned())));
    }
    // RFC 5627 §5.2: gruu is not among them.
    known.push((HeaderName::Supported, "path, outbound".to_owned()));
    Answer { status: 200, headers: Headers { known, other } }
}

/// The seconds within which a phone is to send a keep-alive: NATs forget UDP after 30 s, and
/// connections after minutes (RFC 5626 §4.4.1, §4.4.2).
fn flow_timer(flow: &Flow) -> u16 {
    if flow.connection.is_some() { 120 } else { 29 }
}
